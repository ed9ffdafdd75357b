//! The probe's own way onto the network, the same for each check: its resolver, `--connect-to`, IPv4 or IPv6, time limits,
//! and TLS that keeps what the server sent.

mod http;
mod old_tls;
mod records;
mod resolve;
mod site;
mod tls;
mod websocket;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hickory_resolver::TokioResolver;
use rustls::RootCertStore;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

pub use http::{Answer, HttpError};
pub use old_tls::OldTls;
pub use records::{AskError, Data, Kind, Mode, Over, Record, Reply, ReplyCode};
pub use resolve::{Lookup, ResolveError};
pub use site::{Scheme, Site};
pub use tls::{Handshake, Judgement, Presented, Sni, TlsError, TlsStream, Trust};
pub use websocket::{Endpoint, WebSocket, WebSocketError};

/// For the fuzzer: the bytes that are read here and not by a library.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    records::fuzz(bytes);
    let _ = old_tls::judge(bytes);
}

/// How long a TCP connection to one address may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);

/// How long the next address of a name waits for those before it (RFC 8305 section 5 wants no less).
const HEAD_START: Duration = Duration::from_millis(100);

/// What the command line says about the network.
#[derive(Clone, Debug, Default)]
pub struct NetOptions {
    /// The resolver to ask instead of the system's.
    pub resolver: Option<SocketAddr>,
    /// With which one it is compared then, if not with those of the system's configuration.
    pub system_resolvers: Option<Vec<SocketAddr>>,
    /// Roots to trust besides Mozilla's, in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Detours: connect there instead.
    pub connect_to: Vec<ConnectTo>,
    /// One family of addresses only.
    pub family: Family,
}

/// Which addresses to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Whether `address` belongs to it.
    pub fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// `HOST:PORT:ADDR:PORT`, as curl has it: connections to the first pair go to the second one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    host: String,
    port: u16,
    to: SocketAddr,
}

/// The text is no detour.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not HOST:PORT:ADDRESS:PORT, such as stream.example.org:4443:127.0.0.1:8443 (IPv6 addresses in brackets)"
)]
pub struct ConnectToError(String);

impl FromStr for ConnectTo {
    type Err = ConnectToError;

    fn from_str(text: &str) -> Result<Self, ConnectToError> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let (host, port, to) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Self { host: host.to_ascii_lowercase(), port: port.parse().ok()?, to: to.parse().ok()? })
        };
        parse().filter(|c| !c.host.is_empty()).ok_or_else(|| ConnectToError(text.to_owned()))
    }
}

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The system's resolver configuration does not serve.
    #[error(
        "the system's resolver configuration cannot be used ({0}): name a resolver with --resolver IP:PORT"
    )]
    Resolver(String),
    /// `--ca-file` holds no certificate.
    #[error("--ca-file holds no certificate in PEM ({0})")]
    CaFile(String),
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or the resolver did not answer.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Something at the address refused.
    #[error("{0} refuses the connection: the host is there, but nothing listens on that port")]
    Refused(SocketAddr),
    /// Nothing answered.
    #[error("{0} does not answer within {limit} s: something drops the packets, or no host is there", limit = CONNECT_LIMIT.as_secs())]
    Silent(SocketAddr),
    /// This machine could not try.
    #[error("{address}: {source}")]
    Io {
        /// Where to.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ConnectError {
    /// How much it says about the other end.
    const fn tells(&self) -> u8 {
        match self {
            Self::Resolve(_) => 0,
            Self::Io { .. } => 1,
            Self::Silent(_) => 2,
            Self::Refused(_) => 3,
        }
    }
}

/// The way onto the network.
#[derive(Clone)]
pub struct Net {
    resolver: TokioResolver,
    resolver_name: String,
    resolvers: Vec<SocketAddr>,
    system_resolvers: Vec<SocketAddr>,
    strangers: Vec<String>,
    roots: Arc<RootCertStore>,
    detours: BTreeMap<(String, u16), SocketAddr>,
    family: Family,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("detours", &self.detours)
            .field("family", &self.family)
            .finish_non_exhaustive()
    }
}

impl Net {
    /// Sets up resolver and roots.
    pub fn new(options: &NetOptions) -> Result<Self, NetError> {
        let (resolver, resolver_name) = resolve::resolver(options.resolver)?;
        Ok(Self {
            resolver,
            resolver_name,
            resolvers: records::resolvers(options.resolver),
            system_resolvers: match (&options.system_resolvers, options.resolver) {
                (Some(these), _) => these.clone(),
                (None, Some(_)) => records::resolvers(None),
                (None, None) => Vec::new(),
            },
            strangers: Vec::new(),
            roots: Arc::new(tls::roots(options.ca_pem.as_deref())?),
            detours: options.connect_to.iter().map(|c| ((c.host.clone(), c.port), c.to)).collect(),
            family: options.family,
        })
    }

    /// The same, allowed to ask STUN servers that are not the deployment's, each as HOST:PORT.
    #[must_use]
    pub fn allowed_to_ask(mut self, strangers: Vec<String>) -> Self {
        self.strangers = strangers;
        self
    }

    /// STUN servers that are not the deployment's, and may be asked all the same.
    pub fn strangers(&self) -> &[String] {
        &self.strangers
    }

    /// The servers to which questions about names go.
    pub fn resolvers(&self) -> &[SocketAddr] {
        &self.resolvers
    }

    /// Those of this machine, which browsers here ask, where another one was given. Nothing else goes by them.
    pub fn system_resolvers(&self) -> &[SocketAddr] {
        &self.system_resolvers
    }

    /// Which addresses are used.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Where to connect for `host` and `port`: the detour if there is one, else each address of the name.
    pub async fn route(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(detour) = self.detours.get(&(host.to_owned(), port)) {
            return Ok(vec![*detour]);
        }
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.lookup(host).await?.addresses,
        };
        Ok(addresses.into_iter().map(|a| SocketAddr::new(a, port)).collect())
    }

    /// A TCP connection to this address and no other.
    pub async fn connect_address(&self, address: SocketAddr) -> Result<TcpStream, ConnectError> {
        connect_to(address).await
    }

    /// A TCP connection to `host`: the first address that answers. They are tried as browsers do, each a little after the one
    /// before it; if none answers, the most telling failure counts, so that a family that this machine lacks hides nothing.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses = self.route(host, port).await?;
        let mut attempts: FuturesUnordered<_> = (0..)
            .zip(addresses)
            .map(|(before, address)| async move {
                sleep(HEAD_START * before).await;
                connect_to(address).await
            })
            .collect();
        let mut worst = ConnectError::Resolve(ResolveError::NoAddress { host: host.to_owned() });
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(stream) => return Ok(stream),
                Err(e) if e.tells() > worst.tells() => worst = e,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Handshakes and checks are small messages that must not wait for each other.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => Err(ConnectError::Refused(address)),
        Ok(Err(source)) => Err(ConnectError::Io { address, source }),
        Err(_) => Err(ConnectError::Silent(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bare_context, dns_server};

    #[tokio::test]
    async fn an_address_that_this_machine_cannot_use_does_not_hide_that_another_one_refuses() {
        // Datagrams may go to a broadcast address, connections may not: the system says so itself.
        let names = |_: &str| Ok(vec![[127, 0, 0, 1].into(), [255, 255, 255, 255].into()]);
        let resolver = Some(dns_server(names).await);
        let cx = bare_context(NetOptions { resolver, ..NetOptions::default() });
        let refused = cx.net.connect("hubs.example.test", 9).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Refused(_)), "{refused}");
        let unable = connect_to("255.255.255.255:9".parse().unwrap()).await.unwrap_err();
        assert!(matches!(unable, ConnectError::Io { .. }), "{unable}");
    }

    #[test]
    fn a_detour_is_read_for_both_families() {
        let v4: ConnectTo = "Stream.example.org:4443:127.0.0.1:8443".parse().unwrap();
        assert_eq!(
            (v4.host.as_str(), v4.port, v4.to),
            ("stream.example.org", 4443, "127.0.0.1:8443".parse().unwrap())
        );
        let v6: ConnectTo = "a.org:443:[::1]:8443".parse().unwrap();
        assert_eq!(v6.to, "[::1]:8443".parse::<SocketAddr>().unwrap());
    }

    #[test]
    fn what_is_no_detour_is_refused() {
        for text in [
            "",
            "a.org",
            "a.org:443",
            "a.org:443:127.0.0.1",
            ":443:127.0.0.1:1",
            "a.org:x:127.0.0.1:1",
            "a.org:443:host:1",
        ] {
            assert!(text.parse::<ConnectTo>().is_err(), "{text}");
        }
    }
}
