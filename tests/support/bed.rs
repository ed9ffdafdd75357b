//! A Hubs deployment without its TURN server: dialog, Reticulum's stand-in and the ingress.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::certs::{self, Authority, Identity, IdentityFiles};
use crate::process::Process;
use crate::{need, port};

/// The deployment's domain.
pub const DOMAIN: &str = "hubs.test";
/// The name that browsers ask for when they look for dialog and for TURN.
pub const STREAM: &str = "stream.hubs.test";
/// All four names of a deployment.
pub const NAMES: [&str; 4] = [DOMAIN, "assets.hubs.test", STREAM, "cors.hubs.test"];
/// The address that dialog announces, to which nothing in the world has a route.
pub const ANNOUNCED: &str = "203.0.113.9";
/// The address of dialog's node, where it really is. Its loopback candidate, 127.0.0.1, does not lead there.
pub const NODE: &str = "127.0.0.2";
/// A room that anybody may join.
pub const ROOM: &str = "open001";
/// How many rooms there are that anybody may join: [`open_room`] names them.
pub const OPEN_ROOMS: u32 = 16;
/// The secret from which Reticulum makes TURN credentials.
pub const TURN_SECRET: &str = "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d";
/// TURN's realm in Hubs.
pub const REALM: &str = "turkey";

/// How a deployment differs from a good one.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The address that dialog announces; empty or no address at all are possible as well.
    pub announced: &'static str,
    /// The address of dialog's node.
    pub node: &'static str,
    /// Where the ingress sends what is for dialog.
    pub signalling: Signalling,
    /// Whether the ingress prefers its generated self-signed certificate for the domain, as Hubs sets it up.
    pub default_certificate: DefaultCertificate,
    /// What dialog verifies permissions with.
    pub dialog_key: DialogKey,
}

/// What dialog verifies permissions with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialogKey {
    /// The key with which Reticulum signs them.
    #[default]
    Reticulums,
    /// Another one, since only Reticulum was restarted.
    Another,
    /// Reticulum's on a single line, as one backslash in the place of two makes it.
    OnOneLine,
}

/// What the ingress takes for dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalling {
    /// dialog itself.
    Dialog,
    /// A gateway, which may listen where [`Bed::gateway_backend`] says.
    Gateway,
    /// Two replicas of one, which may listen where [`Bed::gateway_backends`] says. A room has always the same.
    Replicas,
}

/// What the ingress shows where it has a choice or does not know the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultCertificate {
    /// The domain's good one.
    Good,
    /// The self-signed one that Hubs' generator makes for the domain.
    Generated,
}

impl Setup {
    /// One whose dialog announces the address where it really is, this machine's own; nothing on a machine that has none.
    pub fn reachable() -> Option<Self> {
        let own: &'static str = Box::leak(own_address()?.to_string().into_boxed_str());
        Some(Self { announced: own, node: own, ..Self::default() })
    }

    /// One in which signalling goes through a gateway.
    pub fn with_gateway() -> Self {
        Self { signalling: Signalling::Gateway, ..Self::default() }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            announced: ANNOUNCED,
            node: NODE,
            signalling: Signalling::Dialog,
            default_certificate: DefaultCertificate::Good,
            dialog_key: DialogKey::Reticulums,
        }
    }
}

/// A running deployment. A TURN server may listen where [`Bed::turn_backend`] says.
#[derive(Debug)]
pub struct Bed {
    folder: TempDir,
    authority: Authority,
    turn: IdentityFiles,
    setup: Setup,
    ports: Ports,
    turn_backend: u16,
    gateway_backends: [u16; 2],
    dialog_backend: SocketAddr,
    dialog_key: PathBuf,
    dialog: Mutex<Process>,
    _reticulum: Process,
    _ingress: Process,
}

/// Where the public ports of a deployment are to be found on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Instead of 80.
    pub http: u16,
    /// Instead of 443.
    pub https: u16,
    /// Instead of 4443.
    pub dialog: u16,
    /// Instead of 5349.
    pub turn: u16,
}

/// Where the ingress listens and where it finds the parts.
#[derive(Debug, Clone)]
pub(crate) struct Ingress {
    /// Where it sends those on who come without TLS.
    pub(crate) http: Option<SocketAddr>,
    /// Where it shows the pages and dialog, with TLS.
    pub(crate) https: Vec<SocketAddr>,
    /// Where it shows them with certificates of another folder, if anywhere.
    pub(crate) dialog: Option<SocketAddr>,
    /// Where it takes what is for TURN.
    pub(crate) turn: SocketAddr,
    /// Reticulum.
    pub(crate) reticulum_backend: SocketAddr,
    /// dialog's own WebSocket, or what stands before it.
    pub(crate) dialog_backends: Vec<SocketAddr>,
    /// What is in coturn's place.
    pub(crate) turn_backend: SocketAddr,
}

impl Bed {
    /// Starts a deployment with nothing wrong but what [`Setup`]'s default has.
    pub fn start() -> Self {
        Self::start_with(&Setup::default())
    }

    /// Starts a deployment.
    pub fn start_with(setup: &Setup) -> Self {
        let folder = TempDir::with_prefix("hubs-bed-").unwrap();
        let authority = Authority::new();
        fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
        let turn = authority.issue(STREAM).write(folder.path(), "turn");
        let ports =
            Ports { http: port::free(), https: port::free(), dialog: port::free(), turn: port::free() };
        let turn_backend = port::free();
        let gateway_backends = [(); 2].map(|()| port::free());
        let perms_key = folder.path().join("perms.pem");
        generate_rsa_key(&perms_key);

        let dialog_key = write_dialog_key(folder.path(), &perms_key, setup.dialog_key);
        let (dialog, dialog_backend) = start_dialog(folder.path(), setup, &dialog_key, 0);
        let (reticulum, reticulum_port) = start_reticulum(ports.turn, &perms_key);
        write_ingress_certificates(folder.path(), &authority, setup.default_certificate);
        let ingress = Ingress {
            http: Some(loopback(ports.http)),
            https: vec![loopback(ports.https), loopback(ports.dialog)],
            dialog: None,
            turn: loopback(ports.turn),
            reticulum_backend: loopback(reticulum_port),
            dialog_backends: match setup.signalling {
                Signalling::Dialog => vec![dialog_backend],
                Signalling::Gateway => vec![loopback(gateway_backends[0])],
                Signalling::Replicas => gateway_backends.map(loopback).to_vec(),
            },
            turn_backend: loopback(turn_backend),
        };
        let ingress = ingress.start(folder.path());
        Self {
            folder,
            authority,
            turn,
            setup: setup.clone(),
            ports,
            turn_backend,
            gateway_backends,
            dialog_backend,
            dialog_key,
            dialog: Mutex::new(dialog),
            _reticulum: reticulum,
            _ingress: ingress,
        }
    }

    /// In what it differs from a good one.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// A folder that goes with the bed.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority that users of this deployment trust.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The authority's certificate, as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    /// Where the deployment is reached.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Where the ingress expects the TURN server.
    pub fn turn_backend(&self) -> SocketAddr {
        loopback(self.turn_backend)
    }

    /// Where dialog's own WebSocket listens, behind the ingress.
    pub fn dialog_backend(&self) -> SocketAddr {
        self.dialog_backend
    }

    /// Where the ingress expects the gateway's signalling, behind TLS.
    pub fn gateway_backend(&self) -> SocketAddr {
        self.gateway_backends()[0]
    }

    /// The same for two replicas.
    pub fn gateway_backends(&self) -> [SocketAddr; 2] {
        self.gateway_backends.map(loopback)
    }

    /// Starts another dialog on another node, and says where its WebSocket is.
    pub fn start_another_dialog(&self, announced: &'static str, node: &'static str) -> (Process, SocketAddr) {
        let setup = Setup { announced, node, ..self.setup.clone() };
        start_dialog(self.folder(), &setup, &self.dialog_key, 0)
    }

    /// Kills dialog, does this, and starts it again at the same place.
    pub fn restart_dialog(&self, meanwhile: impl FnOnce()) {
        let mut dialog = self.dialog.lock().unwrap_or_else(PoisonError::into_inner);
        dialog.signal(Signal::SIGKILL);
        meanwhile();
        let port = self.dialog_backend.port();
        *dialog = start_dialog(self.folder(), &self.setup, &self.dialog_key, port).0;
    }

    /// The good certificate of the TURN server.
    pub fn turn_identity(&self) -> &IdentityFiles {
        &self.turn
    }

    /// The certificate that is built into Hubs' coturn image: self-signed, for `dialog`.
    pub fn shipped_turn_identity(&self) -> IdentityFiles {
        certs::self_signed("dialog").write(self.folder(), "turn-shipped")
    }
}

/// This machine's own address, to which browsers go as to any other; nothing on a machine that has none.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Only chooses a route: nothing is sent.
    socket.connect((ANNOUNCED, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The folder of the certificates that the ingress shows.
pub(crate) const OF_ALL: &str = "ingress";
/// The same where dialog's port has others.
pub(crate) const OF_DIALOG: &str = "ingress-of-dialog";

/// A room that anybody may join, of [`OPEN_ROOMS`]; the first is [`ROOM`].
pub fn open_room(number: u32) -> String {
    format!("open{:03}", number + 1)
}

/// 127.0.0.1 at a port.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// `port` is its WebSocket's; 0 takes any that is free.
fn start_dialog(folder: &Path, setup: &Setup, perms_key: &Path, port: u16) -> (Process, SocketAddr) {
    let tls = certs::self_signed("dialog").write(folder, "dialog");
    // A gateway takes the address of the WebSocket for that of the media.
    let address = match setup.signalling {
        Signalling::Dialog => Ipv4Addr::LOCALHOST.into(),
        Signalling::Gateway | Signalling::Replicas => setup.node.parse::<IpAddr>().unwrap(),
    };
    let (dialog, port) = start_node(
        Command::new("node")
            .arg(need::bed_folder().join("dialog.js"))
            .env("MEDIASOUP_WORKER_BIN", need::mediasoup_worker().unwrap())
            .env("MEDIASOUP_ANNOUNCED_IP", setup.announced)
            .env("NODE_IP", setup.node)
            .env("LISTEN_IP", address.to_string())
            .env("PROTOO_LISTEN_PORT", port.to_string())
            .env("AUTH_KEY", perms_key)
            .env("HTTPS_CERT_FULLCHAIN", tls.certificate)
            .env("HTTPS_CERT_PRIVKEY", tls.key),
        "dialog",
    );
    (dialog, SocketAddr::new(address, port))
}

fn start_reticulum(turn_port: u16, perms_key: &Path) -> (Process, u16) {
    let mut rooms: BTreeMap<String, &str> = (0..OPEN_ROOMS).map(|it| (open_room(it), "open")).collect();
    rooms.insert("closed1".to_owned(), "closed");
    start_node(
        Command::new("node")
            .arg(need::bed_folder().join("reticulum.js"))
            .env("HUB_DOMAIN", DOMAIN)
            .env("PERMS_KEY", perms_key)
            .env("TURN_SECRET", TURN_SECRET)
            .env("TURN_PORTS", turn_port.to_string())
            .env("ROOMS", serde_json::to_string(&rooms).unwrap()),
        "reticulum",
    )
}

/// Our node programs choose a free port and print it as JSON when they listen.
pub(crate) fn start_node(command: &mut Command, name: &str) -> (Process, u16) {
    let process = Process::start(name, command);
    let port = process.wait_for_line("port", |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        u16::try_from(line.get("port")?.as_u64()?).ok()
    });
    (process, port)
}

/// What Reticulum signs permission tokens with and dialog verifies them with. RS512 needs RSA.
pub(crate) fn generate_rsa_key(file: &Path) {
    let made = Command::new("openssl").args(["genrsa", "-out"]).arg(file).arg("2048").output().unwrap();
    assert!(made.status.success(), "openssl genrsa: {}", String::from_utf8_lossy(&made.stderr));
}

/// Writes what dialog verifies permissions with, and says where.
pub(crate) fn write_dialog_key(folder: &Path, reticulums: &Path, key: DialogKey) -> PathBuf {
    let file = folder.join("dialog-perms.pem");
    match key {
        DialogKey::Reticulums => drop(fs::copy(reticulums, &file).unwrap()),
        DialogKey::Another => generate_rsa_key(&file),
        DialogKey::OnOneLine => {
            let lines = fs::read_to_string(reticulums).unwrap();
            fs::write(&file, lines.replace('\n', "n")).unwrap();
        }
    }
    file
}

/// haproxy takes the first certificate for names that it does not know, and for those that several have.
fn write_ingress_certificates(folder: &Path, authority: &Authority, default: DefaultCertificate) {
    let certificates = folder.join("ingress");
    fs::create_dir(&certificates).unwrap();
    let write = |name: &str, identity: &Identity| {
        fs::write(certificates.join(format!("{name}.pem")), identity.certificate.clone() + &identity.key)
            .unwrap();
    };
    for name in NAMES {
        write(name, &authority.issue(name));
    }
    match default {
        DefaultCertificate::Good => write("default", &authority.issue(DOMAIN)),
        DefaultCertificate::Generated => write("default", &certs::self_signed(DOMAIN)),
    }
}

impl Ingress {
    /// Starts haproxy with the certificates in `folder`'s folders.
    pub(crate) fn start(&self, folder: &Path) -> Process {
        let configuration = folder.join("haproxy.cfg");
        fs::write(&configuration, self.configuration(folder)).unwrap();
        let program = need::program("haproxy").unwrap();
        let mut haproxy =
            Process::start("haproxy", Command::new(program).arg("-db").arg("-f").arg(&configuration));
        for address in self.https.iter().chain(&self.dialog).chain(&self.http).chain([&self.turn]) {
            haproxy.wait_until_accepting(*address);
        }
        haproxy
    }

    /// As Hubs' ingress controller writes it, as far as it matters: one HTTPS frontend behind both 443 and 4443, dialog's
    /// own certificate not verified, and TURN passed through as it is.
    fn configuration(&self, folder: &Path) -> String {
        let Self { http, https, dialog, turn, reticulum_backend, dialog_backends, turn_backend } = self;
        let http = http.map(|address| {
            format!("frontend http\n  bind {address}\n  http-request redirect scheme https code 302\n")
        });
        let http = http.unwrap_or_default();
        let bind = |address: &SocketAddr, name: &str| {
            let certificates = folder.join(name);
            let certificates = certificates.display();
            format!(
                "  bind {address} ssl crt {certificates}/default.pem crt {certificates} alpn h2,http/1.1\n"
            )
        };
        let https = https.iter().map(|address| bind(address, OF_ALL));
        let https: String = https.chain(dialog.iter().map(|address| bind(address, OF_DIALOG))).collect();
        let dialog = |(number, address): (usize, &SocketAddr)| {
            format!("  server dialog{number} {address} ssl verify none\n")
        };
        let dialogs: String = dialog_backends.iter().enumerate().map(dialog).collect();
        format!(
            r#"global
  log stdout format raw local0
defaults
  log global
  mode http
  timeout connect 3s
  timeout client 30m
  timeout server 30m
  timeout client-fin 1h
  timeout server-fin 1h
{http}frontend https
{https}  use_backend dialog if {{ req.hdr(host),field(1,:),lower -m str {STREAM} }}
  use_backend ret if {{ req.hdr(host),field(1,:),lower -m str {DOMAIN} assets.{DOMAIN} cors.{DOMAIN} }}
  default_backend none
backend none
  http-request return status 404
backend ret
  http-response set-header access-control-allow-origin "https://{DOMAIN}"
  server ret {reticulum_backend}
backend dialog
  balance url_param roomId
{dialogs}frontend tcp-5349
  mode tcp
  bind {turn}
  default_backend coturn
backend coturn
  mode tcp
  server coturn {turn_backend}
"#
        )
    }
}
