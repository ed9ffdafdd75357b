//! What is examined, and with whose credentials: parsed once from the command line.

use std::fmt;

use url::{Host, Url};

/// Hubs' HTTPS port.
pub const HTTPS: u16 = 443;
/// Where browsers open dialog's WebSocket.
pub const DIALOG: u16 = 4443;
/// Where browsers look for TURN over TLS.
pub const TURN: u16 = 5349;
/// STUN's and TURN's own port, over UDP (RFC 8489 section 18.6, RFC 8656 section 3.1).
pub(crate) const STUN: u16 = 3478;

/// One of the names that a deployment needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The domain itself: pages, API, Phoenix socket.
    Root,
    /// Static files.
    Assets,
    /// Dialog's WebSocket and TURN.
    Stream,
    /// The CORS proxy and thumbnails.
    Cors,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Assets, Self::Stream, Self::Cors];
}

/// A Hubs deployment, known by its domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    domain: String,
}

impl Target {
    /// The domain, in lower case and without a final dot.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The host name that `name` has in this deployment.
    pub fn host(&self, name: Name) -> String {
        match name {
            Name::Root => self.domain.clone(),
            Name::Assets => format!("assets.{}", self.domain),
            Name::Stream => format!("stream.{}", self.domain),
            Name::Cors => format!("cors.{}", self.domain),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.domain)
    }
}

/// Why a text names no deployment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    /// An address instead of a name.
    #[error("{0} is an address: Hubs needs a domain, since its certificates and its four names hang on it")]
    Address(String),
    /// Not a domain name.
    #[error(
        "{0:?} is no domain name: give the name that people open in their browser, such as hubs.example.org"
    )]
    NotADomain(String),
    /// Not a room.
    #[error("{0:?} names no room: give the room's URL, or the part after the domain, such as k7Xq2Zd")]
    NotARoom(String),
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    /// Reads `hubs.example.org`, or a URL of the deployment.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let bad = || TargetError::NotADomain(text.to_owned());
        let host = match text.split_once("://") {
            Some(_) => Url::parse(text).ok().and_then(|u| u.host_str().map(str::to_owned)).ok_or_else(bad)?,
            None => text.trim_end_matches('/').to_owned(),
        };
        match Host::parse(host.trim_end_matches('.')).map_err(|_| bad())? {
            Host::Domain(domain) if domain.contains('.') && is_host_name(&domain) => Ok(Self { domain }),
            Host::Domain(_) => Err(bad()),
            Host::Ipv4(_) | Host::Ipv6(_) => Err(TargetError::Address(host)),
        }
    }
}

/// Whether a name can be a host's (RFC 1123 section 2.1), with the longest prefix that Hubs puts before it.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.len() + "assets.".len() <= 253 && name.split('.').all(is_label)
}

/// A room, as its URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    sid: String,
    domain: Option<String>,
}

impl Room {
    /// The identifier.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// The domain, in lower case, if it was given.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }
}

impl std::str::FromStr for Room {
    type Err = TargetError;

    /// Reads a room's URL, with or without its scheme, or the part after the domain.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (domain, path) = match (Url::parse(text), text.split_once('/')) {
            (Ok(url), _) => (Some(url.host_str().unwrap_or_default().to_owned()), url.path().to_owned()),
            (Err(_), Some((host, path))) if host.contains('.') => {
                (Some(host.to_ascii_lowercase()), path.to_owned())
            }
            (Err(_), _) => (None, text.to_owned()),
        };
        let sid = path.split('/').find(|part| !part.is_empty()).unwrap_or_default().to_owned();
        let plausible = (3..=64).contains(&sid.len())
            && sid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if plausible && domain.as_deref() != Some("") {
            Ok(Self { sid, domain })
        } else {
            Err(TargetError::NotARoom(text.to_owned()))
        }
    }
}

/// Where hubs-relay answers `/readyz`, `/peers` and `/metrics`, over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAdmin {
    /// The host: a name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The text names no admin address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no admin address of hubs-relay: give its URL, such as http://127.0.0.1:8080")]
pub struct RelayAdminError(String);

impl std::str::FromStr for RelayAdmin {
    type Err = RelayAdminError;

    /// Reads `http://host:port`; what comes behind that is the probe's to add.
    fn from_str(text: &str) -> Result<Self, RelayAdminError> {
        let bad = || RelayAdminError(text.to_owned());
        let url = Url::parse(text).map_err(|_| bad())?;
        let is_plain = url.scheme() == "http" && url.username().is_empty() && url.password().is_none();
        let host = match url.host().filter(|_| is_plain).ok_or_else(bad)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Ok(Self { host, port: url.port_or_known_default().ok_or_else(bad)? })
    }
}

impl fmt::Display for RelayAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "http://[{}]:{}", self.host, self.port);
        }
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// TURN credentials that the operator gave.
#[derive(Clone)]
pub enum TurnLogin {
    /// The secret from which user name and password are derived, as Reticulum does it.
    Secret(String),
    /// A user name and its password.
    User {
        /// The user name.
        name: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for TurnLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "TurnLogin::Secret(••••)",
            Self::User { .. } => "TurnLogin::User(••••)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_read_from_a_name_and_from_a_url() {
        for text in [
            "Hubs.Example.org",
            "hubs.example.org.",
            "https://hubs.example.org/k7Xq2Zd/my-room",
            "hubs.example.org/",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().domain(), "hubs.example.org", "{text}");
        }
    }

    #[test]
    fn what_is_no_domain_is_refused_with_what_to_give_instead() {
        for text in [
            "",
            "localhost",
            "https://",
            "a b.org",
            "hubs.example.org:4443",
            "hubs_example.org",
            "a..b",
            "*.org",
            "-a.org",
        ] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::NotADomain(_))), "{text}");
        }
        assert!(matches!("192.0.2.1".parse::<Target>(), Err(TargetError::Address(_))));
    }

    #[test]
    fn a_room_is_read_from_its_url_and_from_its_identifier() {
        for (text, domain) in [
            ("https://Hubs.example.org/k7Xq2Zd/my-room", Some("hubs.example.org")),
            ("hubs.example.org/k7Xq2Zd/my-room", Some("hubs.example.org")),
            ("/k7Xq2Zd/my-room", None),
            ("k7Xq2Zd/my-room", None),
            ("k7Xq2Zd", None),
        ] {
            let room: Room = text.parse().unwrap();
            assert_eq!((room.sid(), room.domain()), ("k7Xq2Zd", domain), "{text}");
        }
        for text in ["", "/", "https://hubs.example.org/", "hubs.example.org:443/k7Xq2Zd", "k7 Xq"] {
            assert!(text.parse::<Room>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_admin_address_is_a_plain_url() {
        for (text, shown) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost/readyz", "http://localhost:80"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
        ] {
            assert_eq!(text.parse::<RelayAdmin>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "127.0.0.1:8080", "https://relay:8080", "http://", "http://a:b@relay:8080"] {
            assert!(text.parse::<RelayAdmin>().is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_never_print() {
        let login = TurnLogin::User { name: "n".into(), password: "hunter2".into() };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
