//! A page's Content Security Policy, as far as it decides what a page may load or connect to (CSP level 3, sections 6.7.2 and 6.8).

use url::{Host, Url};

/// More directives or sources than any sensible policy has; those beyond are not looked at.
const MOST_WORDS: usize = 512;

/// The policies of one page: what one of them forbids is forbidden.
#[derive(Clone, Debug, Default)]
pub struct Policies(Vec<Vec<Directive>>);

#[derive(Clone, Debug)]
struct Directive {
    name: String,
    sources: Vec<String>,
}

impl Policies {
    /// Reads the values of the headers `content-security-policy`.
    pub fn read<'a>(headers: impl Iterator<Item = &'a str>) -> Self {
        // A comma separates policies as two headers do.
        let policies = headers.flat_map(|header| header.split(',')).filter(|p| !p.trim().is_empty());
        Self(policies.take(MOST_WORDS).map(directives).collect())
    }

    /// The first directive that forbids a page of `origin` what `directive` is about for `url`, or nothing.
    pub fn forbids(&self, directive: &str, url: &Url, origin: &Url) -> Option<&str> {
        self.0.iter().find_map(|policy| {
            let named = |name: &str| policy.iter().find(|d| d.name == name);
            let decides = named(directive).or_else(|| named("default-src"))?;
            let allows = decides.sources.iter().any(|source| matches(source, url, origin));
            (!allows).then_some(decides.name.as_str())
        })
    }
}

fn directives(policy: &str) -> Vec<Directive> {
    let mut directives = Vec::new();
    for text in policy.split(';').take(MOST_WORDS) {
        let mut words = text.split_ascii_whitespace().map(str::to_ascii_lowercase);
        let Some(name) = words.next() else { continue };
        // Of two with the same name the first one counts.
        if directives.iter().all(|d: &Directive| d.name != name) {
            directives.push(Directive { name, sources: words.take(MOST_WORDS).collect() });
        }
    }
    directives
}

/// Whether a source expression covers the URL. Where browsers differ, the more generous reading counts.
fn matches(source: &str, url: &Url, origin: &Url) -> bool {
    match source {
        "*" => return matches!(url.scheme(), "http" | "https" | "ws" | "wss"),
        "'self'" => {
            return url.host() == origin.host()
                && url.port_or_known_default() == origin.port_or_known_default();
        }
        _ if source.starts_with('\'') => return false,
        _ => {}
    }
    if let Some(scheme) = source.strip_suffix(':') {
        return covers_scheme(scheme, url.scheme());
    }
    let (scheme, rest) = match source.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, source),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    scheme.is_none_or(|scheme| covers_scheme(scheme, url.scheme()))
        && covers_host(host, url)
        && covers_port(port, url)
}

/// An unencrypted scheme covers its encrypted form as well.
fn covers_scheme(pattern: &str, scheme: &str) -> bool {
    pattern == scheme
        || matches!((pattern, scheme), ("http" | "wss", "https") | ("ws", "wss" | "https" | "http"))
}

fn covers_host(pattern: &str, url: &Url) -> bool {
    let Some(Host::Domain(host)) = url.host() else { return false };
    match pattern.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')),
        None => pattern == "*" || pattern == host,
    }
}

fn covers_port(pattern: Option<&str>, url: &Url) -> bool {
    let port = url.port_or_known_default();
    match pattern {
        Some("*") => true,
        Some(text) => text.parse().ok() == port,
        None => matches!((url.scheme(), port), ("http" | "ws", Some(80)) | ("https" | "wss", Some(443))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIALOG: &str = "wss://stream.example.org:4443";

    fn forbids(policy: &str, directive: &str, url: &str) -> bool {
        let origin = "https://example.org/room".parse().unwrap();
        Policies::read([policy].into_iter()).forbids(directive, &url.parse().unwrap(), &origin).is_some()
    }

    #[test]
    fn reticulums_policy_lets_browsers_reach_dialog() {
        let hubs = "default-src 'none'; connect-src 'self' blob: https://assets.example.org \
            https://example.org:443 wss://example.org:4443 wss://stream.example.org:4443 https://stream.example.org:4443; \
            script-src 'self' 'sha256-AA=' https://assets.example.org";
        for (directive, url) in [
            ("connect-src", DIALOG),
            ("connect-src", "wss://example.org/socket/websocket"),
            ("connect-src", "https://assets.example.org/hubs/a.glb"),
            ("script-src", "https://assets.example.org/hubs/a.js"),
        ] {
            assert!(!forbids(hubs, directive, url), "{directive} {url}");
        }
        assert!(forbids(hubs, "connect-src", "wss://stream.example.org:4444"));
        assert!(forbids(hubs, "img-src", "https://assets.example.org/a.png"));
    }

    #[test]
    fn a_source_covers_what_it_says() {
        for (source, covered) in [
            ("wss://stream.example.org:4443", true),
            ("wss://stream.example.org:*", true),
            ("wss://*.example.org:4443", true),
            ("*", true),
            ("wss:", true),
            ("ws://stream.example.org:4443", true),
            ("stream.example.org:4443", true),
            ("wss://stream.example.org", false),
            ("https://stream.example.org:4443", false),
            ("wss://*.stream.example.org:4443", false),
            ("wss://stream.example.com:4443", false),
            ("'self'", false),
            ("'none'", false),
            ("", false),
        ] {
            assert_eq!(
                !forbids(&format!("connect-src {source}"), "connect-src", DIALOG),
                covered,
                "{source}"
            );
        }
    }

    #[test]
    fn no_policy_forbids_nothing_and_one_of_two_suffices_to_forbid() {
        assert!(!forbids("", "connect-src", DIALOG));
        assert!(!forbids("script-src 'self'", "connect-src", DIALOG));
        assert!(forbids("connect-src *, default-src 'self'", "connect-src", DIALOG));
        assert!(forbids("connect-src 'none'; connect-src *", "connect-src", DIALOG));
    }

    proptest! {
        #[test]
        fn no_policy_makes_the_reader_panic(policy in "[a-z:/.*';, \\-0-9]{0,200}", any in ".{0,200}") {
            forbids(&policy, "connect-src", DIALOG);
            forbids(&any, "connect-src", "https://xn--bcher-kva.example/");
            forbids(&policy, "img-src", "https://[::1]/");
        }
    }
}
