//! The deployment as a whole: starts its parts, exchanges its TURN server, and says how to get there. It ends when it is
//! dropped.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use hubs_relay::{Relay, auth::Secret};
use rustls::{ServerConfig, crypto::ring, server::ResolvesServerCertUsingSni, sign::SingleCertAndKey};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    task::{JoinSet, spawn_blocking},
};
use tokio_rustls::TlsAcceptor;

use super::{
    authority::{Authority, Identity},
    dialog::Dialog,
    dns, dtls,
    front::{self, Backends},
    permission::Key,
    plain,
    reticulum::Reticulum,
    turn::{self, GATEWAY, TurnError},
    web::Web,
};
use crate::{
    check::{Context, Options},
    facts::Facts,
    net::{Net, NetError, NetOptions, Scheme},
    random,
    target::{DIALOG, HTTPS, Name, Room, STUN, TURN, Target},
};

/// The top-level name is reserved for tests (RFC 6761 section 6.2).
const DOMAIN: &str = "hubs.demo.test";

const ROOM: &str = "demo-room";

/// What dialog announces: an address reserved for documentation (RFC 5737), at which nobody can be, as nobody is at the
/// address with which a cluster goes out to the internet.
pub(crate) const ANNOUNCED: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Enough to be heard, and short enough to be waited for.
const AUDIO: Duration = Duration::from_secs(1);

/// The certificate of the demo's authority, in the deployment's folder.
const CA_FILE: &str = "ca.pem";

/// Which TURN server the deployment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Turn {
    /// As Hubs ships it: no browser can use it.
    Shipped,
    /// hubs-relay.
    Relay,
    /// hubs-relay, which is the media gateway as well.
    Gateway,
}

/// Why there is no deployment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeploymentError {
    #[error("cannot keep files in {}: {source}; set TMPDIR to a folder that can be written", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot listen on {HERE} for {what}: {source}")]
    Listen { what: &'static str, source: io::Error },
    #[error(
        "nothing on this machine reaches {HERE} ({0}); bring its loopback interface up: ip link set lo up"
    )]
    Loopback(io::Error),
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot serve TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot serve DTLS: {0}")]
    Dtls(String),
    #[error("cannot start the TURN server: {0}")]
    Turn(#[from] TurnError),
    #[error(transparent)]
    Net(#[from] NetError),
}

/// A deployment of Hubs in this process, on loopback.
pub(crate) struct Deployment {
    target: Target,
    room: Room,
    folder: TempDir,
    ca_pem: String,
    turn_secret: Secret,
    /// The certificate of `stream.`, which is good for TURN as well.
    stream_identity: Identity,
    resolver: SocketAddr,
    front: SocketAddr,
    plain: SocketAddr,
    turn_address: SocketAddr,
    /// Where TURN answers over UDP, if it does.
    stun_address: Option<SocketAddr>,
    /// Where dialog's signalling is for the gateway, which stands in front of it.
    dialog: SocketAddr,
    /// Where the gateway takes signalling, if there is one.
    signalling: Option<SocketAddr>,
    /// None only while another takes its place.
    turn: Option<Relay>,
    _servers: JoinSet<()>,
}

impl Deployment {
    /// Starts it, with this TURN server.
    pub(crate) async fn start(turn: Turn) -> Result<Self, DeploymentError> {
        let target: Target = DOMAIN.parse().expect("a domain; every test of the demo reads it");
        let room: Room = ROOM.parse().expect("a room; every test of the demo reads it");
        let folder = tempfile::Builder::new()
            .prefix("hubs-probe-demo-")
            .tempdir()
            .map_err(|source| DeploymentError::Folder { path: std::env::temp_dir(), source })?;
        let turn_secret = Secret::from(random::name::<32>());

        let authority = Authority::new()?;
        let ca_pem = authority.pem();
        let ca_file = folder.path().join(CA_FILE);
        fs::write(&ca_file, &ca_pem).map_err(|source| DeploymentError::Folder { path: ca_file, source })?;

        let listen = |what| move |source| DeploymentError::Listen { what, source };
        let dns = UdpSocket::bind((HERE, 0)).await.map_err(listen("DNS"))?;
        let resolver = dns.local_addr().map_err(listen("DNS"))?;
        let https = TcpListener::bind((HERE, 0)).await.map_err(listen("HTTPS"))?;
        let front = https.local_addr().map_err(listen("HTTPS"))?;
        let inner = TcpListener::bind((HERE, 0)).await.map_err(listen("dialog"))?;
        let dialog = inner.local_addr().map_err(listen("dialog"))?;
        let http = TcpListener::bind((HERE, 0)).await.map_err(listen("HTTP"))?;
        let plain = http.local_addr().map_err(listen("HTTP"))?;
        // A port can be had where no packet gets to it.
        TcpStream::connect(plain).await.map_err(DeploymentError::Loopback)?;
        let permissions = Key::new();
        let identity = dtls::Identity::new().map_err(DeploymentError::Dtls)?;
        let backends = Arc::new(Backends {
            target: target.clone(),
            web: Web::new(target.clone(), room.clone()),
            reticulum: Reticulum::new(target.clone(), room.clone(), turn_secret.clone(), permissions.clone()),
            dialog: Dialog::new(identity, ANNOUNCED, permissions),
        });
        let mut servers = JoinSet::new();
        let zone = dns::Zone {
            apex: target.domain().to_owned(),
            server: name_server(&target),
            hosts: Name::ALL.map(|name| target.host(name)).into(),
            address: HERE,
        };
        servers.spawn(dns::serve(dns, zone));
        servers.spawn(plain::serve(http));
        servers.spawn(front::serve(https, acceptor(&authority, &target)?, Arc::clone(&backends)));
        servers.spawn(front::serve(inner, dialogs_acceptor()?, backends));

        let mut deployment = Self {
            stream_identity: authority.issue(&target.host(Name::Stream))?,
            target,
            room,
            folder,
            ca_pem,
            turn_secret,
            resolver,
            front,
            plain,
            turn_address: (HERE, 0).into(),
            stun_address: None,
            dialog,
            signalling: None,
            turn: None,
            _servers: servers,
        };
        deployment.put(turn).await?;
        Ok(deployment)
    }

    /// Puts this TURN server in the place of the one that is there, on the same port.
    pub(crate) async fn put(&mut self, turn: Turn) -> Result<(), DeploymentError> {
        if let Some(relay) = self.turn.take() {
            // It waits for its threads. A panic in there is no reason not to start another.
            let _ = spawn_blocking(|| relay.shutdown()).await;
        }
        let place = turn::Place { listen: self.turn_address, folder: self.folder.path() };
        let relay = match turn {
            Turn::Shipped => turn::as_shipped(&place, &Identity::of_coturns_image()?)?,
            Turn::Relay => turn::repaired(&place, &self.stream_identity, &self.turn_secret, ANNOUNCED)?,
            Turn::Gateway => {
                let (identity, secret) = (&self.stream_identity, &self.turn_secret);
                turn::with_gateway(&place, identity, secret, ANNOUNCED, self.dialog)?
            }
        };
        if let Some(listener) = relay.listeners().first() {
            self.turn_address = listener.address;
        }
        self.stun_address = relay.listeners().get(1).map(|listener| listener.address);
        self.signalling = relay.signalling().map(|listener| listener.address);
        self.turn = Some(relay);
        Ok(())
    }

    /// What a check of it begins with. Nothing in here could not stand on a command line, see [`Self::command`].
    pub(crate) fn context(&self) -> Result<Arc<Context>, DeploymentError> {
        let detours = self.detours();
        let net = Net::new(&NetOptions {
            resolver: Some(self.resolver),
            // No resolver of the world knows these names.
            system_resolvers: Some(Vec::new()),
            ca_pem: Some(self.ca_pem.clone().into_bytes()),
            connect_to: detours.iter().filter_map(|detour| detour.parse().ok()).collect(),
            ..NetOptions::default()
        })?;
        Ok(Arc::new(Context {
            target: self.target.clone(),
            net,
            room: Some(self.room.clone()),
            turn_login: None,
            options: Options { audio: Some(AUDIO), ..Options::default() },
            facts: Facts::default(),
        }))
    }

    /// The command line by which `program` gets here from another terminal: `verb` is `check` or `watch`.
    pub(crate) fn command(&self, program: &str, verb: &str) -> Vec<String> {
        let ca_file = self.folder.path().join(CA_FILE);
        let mut words = vec![
            format!("{program} {verb} {}", self.target),
            format!("--room {}", self.room.sid()),
            format!("--resolver {0} --system-resolver {0}", self.resolver),
            format!("--ca-file {}", ca_file.display()),
        ];
        words.extend(self.detours().iter().map(|detour| format!("--connect-to {detour}")));
        words
    }

    /// Its domain.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Its DNS server.
    pub(crate) fn resolver(&self) -> SocketAddr {
        self.resolver
    }

    /// Its ingress.
    pub(crate) fn front(&self) -> SocketAddr {
        self.front
    }

    /// Its TURN server.
    pub(crate) fn turn_address(&self) -> SocketAddr {
        self.turn_address
    }

    /// From the ports of a real deployment, which only root may open, to ours.
    fn detours(&self) -> Vec<String> {
        let https = Name::ALL.map(|name| (name, HTTPS, self.front));
        let others = [
            (Name::Root, Scheme::Http.port(), self.plain),
            (Name::Stream, DIALOG, self.signalling.unwrap_or(self.front)),
            (Name::Stream, TURN, self.turn_address),
        ];
        let stun = self.stun_address.map(|to| (Name::Stream, STUN, to));
        let gateway = self.stun_address.filter(|_| self.signalling.is_some()).map(|udp| {
            [(STUN, udp), (TURN, self.turn_address)].map(|(port, to)| format!("{GATEWAY}:{port}:{to}"))
        });
        https
            .into_iter()
            .chain(others)
            .chain(stun)
            .map(|(name, port, to)| format!("{}:{port}:{to}", self.target.host(name)))
            .chain([format!("{}:53:{}", name_server(&self.target), self.resolver)])
            .chain(gateway.into_iter().flatten())
            .collect()
    }
}

/// The name of the zone's server.
fn name_server(target: &Target) -> String {
    format!("ns.{target}")
}

/// TLS with the certificate that dialog's image makes for itself, of which nobody asks who signed it.
fn dialogs_acceptor() -> Result<TlsAcceptor, DeploymentError> {
    let key = Identity::of_coturns_image()?.certified_key()?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TLS with a certificate for each name.
fn acceptor(authority: &Authority, target: &Target) -> Result<TlsAcceptor, DeploymentError> {
    let mut certificates = ResolvesServerCertUsingSni::new();
    for name in Name::ALL {
        let host = target.host(name);
        certificates.add(&host, authority.issue(&host)?.certified_key()?)?;
    }
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    Ok(TlsAcceptor::from(Arc::new(config)))
}
