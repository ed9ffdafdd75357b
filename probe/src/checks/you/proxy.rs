//! A proxy in the environment: many programs here go through it, browsers perhaps among them, and the probe never does.

use url::Url;

use crate::{check::Context, codes::Code, finding::Finding};

/// The variables that name one, as curl reads them; each is written in lower case as well.
const PROXIES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];

pub(crate) fn environment(cx: &Context) -> Vec<Finding> {
    vec![judge(cx.target.domain(), |name| std::env::var(name).ok())]
}

fn judge(domain: &str, variable: impl Fn(&str) -> Option<String>) -> Finding {
    let code = Code::NoProxy;
    let value = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let set = [lower, name.to_owned()].into_iter().find_map(|n| variable(&n).map(|value| (n, value)));
        set.filter(|(_, value)| !value.trim().is_empty())
    };
    let named: Vec<_> = PROXIES.iter().filter_map(|name| value(name)).collect();
    if named.is_empty() {
        return Finding::pass(code, "no proxy is named in the environment");
    }
    let exceptions = value("NO_PROXY").map(|(_, value)| value).unwrap_or_default();
    let finding = if excepts(&exceptions, domain) {
        Finding::pass(code, "a proxy is named in the environment, and not for this domain")
            .seen("NO_PROXY", &exceptions)
    } else {
        Finding::warn(code, "a proxy is named in the environment: browsers may go through it, and this check did not")
            .because("what works here may fail behind the proxy, and the other way round; media over UDP never takes it")
            .advise("If people here hear nobody although all else is well, let the proxy pass WebSockets, and TLS to port 5349")
    };
    named.iter().fold(finding, |finding, (name, value)| finding.seen(name, without_login(value)))
}

/// Whether `NO_PROXY`, a list of domains, is about this one.
fn excepts(list: &str, domain: &str) -> bool {
    list.split([',', ' ']).map(|entry| entry.trim().trim_start_matches(['*', '.'])).any(|entry| {
        let is_above = || domain.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'));
        !entry.is_empty() && (entry.eq_ignore_ascii_case(domain) || is_above())
    }) || list.trim() == "*"
}

/// A proxy's place; whoever reads a report needs no password.
fn without_login(proxy: &str) -> String {
    let url = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
    match Url::parse(&url) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
        }
        Err(_) => "not a URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::Status, testing::DOMAIN};

    fn found(variables: &[(&str, &str)]) -> Finding {
        judge(DOMAIN, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_proxy_is_named_without_its_password() {
        let finding = found(&[("https_proxy", "http://me:hunter2@proxy.example.test:3128")]);
        assert_eq!((finding.status, finding.remedy.is_some()), (Status::Warn, true));
        assert_eq!(finding.evidence[0].value, "http://proxy.example.test:3128");
        assert!(!format!("{finding:?}").contains("hunter2"));
        assert!(!format!("{:?}", found(&[("ALL_PROXY", "me:hunter2@proxy:x")])).contains("hunter2"));
    }

    #[test]
    fn without_a_proxy_or_with_an_exception_there_is_nothing_to_warn_of() {
        assert_eq!(found(&[]).status, Status::Pass);
        assert_eq!(found(&[("HTTP_PROXY", "")]).status, Status::Pass);
        for (exceptions, status) in [
            ("localhost,.example.test", Status::Pass),
            ("hubs.example.test", Status::Pass),
            ("*", Status::Pass),
            ("bs.example.test,other.test", Status::Warn),
        ] {
            let finding = found(&[("HTTPS_PROXY", "proxy:3128"), ("NO_PROXY", exceptions)]);
            assert_eq!(finding.status, status, "{exceptions}");
        }
    }
}
