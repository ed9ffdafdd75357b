//! The servers under load, each a process of its own on a core of its own, configured alike.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hubs_relay::wire::{Builder, Method};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::cpu;
use crate::error::LoadError;
use crate::identity::Identity;
use crate::link::Link;
use crate::link::{ask, id};

/// What both servers are told, and all clients use.
pub(crate) const REALM: &str = "turkey";
pub(crate) const USER: &str = "load";
pub(crate) const PASSWORD: &str = "correct horse";

/// How long a server may take to start, and to end.
const START_LIMIT: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// A program that relays.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    HubsRelay(PathBuf),
    Coturn(PathBuf),
    /// Datagrams and nothing else.
    Forwarder(PathBuf),
}

/// A running server. Dropped, it is asked to end, and then made to.
#[derive(Debug)]
pub(crate) struct Server {
    program: Program,
    child: Child,
    pub(crate) udp: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// Where a gateway takes signalling.
    pub(crate) signalling: SocketAddr,
    _folder: TempDir,
}

impl Program {
    /// coturn's program is called `turnserver`, the bare forwarder's `hubs-forward`; any other is taken for a hubs-relay.
    pub(crate) fn at(path: &Path) -> Self {
        // It starts in a folder of its own.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match path.file_name().and_then(|name| name.to_str()) {
            Some("turnserver") => Self::Coturn(path),
            Some("hubs-forward") => Self::Forwarder(path),
            _ => Self::HubsRelay(path),
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::HubsRelay(_) => "hubs-relay",
            Self::Coturn(_) => "coturn",
            Self::Forwarder(_) => "forwarder",
        }
    }

    /// What it says of itself.
    pub(crate) fn version(&self) -> Result<String, LoadError> {
        if let Self::Forwarder(_) = self {
            return Ok(env!("CARGO_PKG_VERSION").to_owned());
        }
        let asked = Command::new(self.path()).arg("--version").output();
        let said = asked.map_err(|error| self.failed(error.to_string()))?.stdout;
        let last = String::from_utf8_lossy(&said).lines().last().unwrap_or_default().to_owned();
        Ok(last.trim_start_matches(self.name()).trim().to_owned())
    }

    fn path(&self) -> &Path {
        match self {
            Self::HubsRelay(path) | Self::Coturn(path) | Self::Forwarder(path) => path,
        }
    }

    fn command(&self, server: &Plan<'_>) -> io::Result<Command> {
        let mut command = Command::new(self.path());
        match self {
            Self::HubsRelay(_) => {
                let file = server.folder.join("hubs-relay.toml");
                fs::write(&file, server.hubs_relay())?;
                command.arg("--config").arg(file);
            }
            Self::Coturn(_) => {
                let file = server.folder.join("turnserver.conf");
                fs::write(&file, server.coturn())?;
                command.arg("-c").arg(file);
            }
            Self::Forwarder(_) => {
                command.args([server.udp.to_string(), server.peer.to_string()]);
            }
        }
        Ok(command)
    }

    fn failed(&self, reason: String) -> LoadError {
        LoadError::Start { program: self.path().to_owned(), reason }
    }
}

/// What a server is to do.
struct Plan<'a> {
    identity: &'a Identity,
    peer: SocketAddr,
    udp: SocketAddr,
    tls: SocketAddr,
    /// Where the gateway takes signalling, and dialog's.
    gateway: Option<(SocketAddr, SocketAddr)>,
    folder: &'a Path,
}

impl Plan<'_> {
    fn hubs_relay(&self) -> String {
        let Self { identity, peer, udp, tls, .. } = self;
        let gateway = self.gateway.map_or_else(String::new, |(signalling, dialog)| {
            format!(
                "[gateway]\nlisten = \"tcp://{signalling}\"\ndialog = \"{dialog}\"\nudp = \"{udp}\"\n\
                 [limits]\ntransports_per_connection = 20000\nchecks = 0\n"
            )
        });
        format!(
            "realm = {REALM:?}\n\
             listen = [{{ transport = \"udp\", address = \"{udp}\" }}, {{ transport = \"tls\", address = \"{tls}\" }}]\n\
             [tls]\ncertificate = '{}'\nprivate_key = '{}'\n\
             [relay]\naddress = \"127.0.0.1\"\nworkers = 1\n\
             [auth]\nusers = {{ {USER} = {PASSWORD:?} }}\n\
             [peers]\nallow = [\"{peer}\"]\n{gateway}",
            identity.certificate.display(),
            identity.private_key.display()
        )
    }

    fn coturn(&self) -> String {
        let Self { identity, udp, tls, folder, .. } = self;
        let mut text = String::new();
        for (key, value) in [
            ("realm", REALM),
            ("user", &format!("{USER}:{PASSWORD}")),
            ("listening-ip", "127.0.0.1"),
            ("relay-ip", "127.0.0.1"),
            ("listening-port", &udp.port().to_string()),
            ("tls-listening-port", &tls.port().to_string()),
            ("cert", &identity.certificate.display().to_string()),
            ("pkey", &identity.private_key.display().to_string()),
            ("userdb", &folder.join("turndb").display().to_string()),
            ("pidfile", &folder.join("turnserver.pid").display().to_string()),
            ("log-file", "stdout"),
            ("relay-threads", "1"),
        ] {
            let _ = writeln!(text, "{key}={value}");
        }
        for flag in ["lt-cred-mech", "allow-loopback-peers", "no-cli", "no-dtls", "no-tcp-relay"] {
            let _ = writeln!(text, "{flag}");
        }
        text
    }
}

impl Server {
    /// Starts a program on a core and waits until it answers. Clients may reach `peer`; with a `dialog` a hubs-relay is a
    /// gateway to that.
    pub(crate) fn start(
        program: &Program,
        core: usize,
        own_core: usize,
        identity: &Identity,
        peer: SocketAddr,
        dialog: Option<SocketAddr>,
    ) -> Result<Self, LoadError> {
        let failed = |error: io::Error| program.failed(error.to_string());
        let folder = tempfile::tempdir().map_err(failed)?;
        let (udp, tls) = (free_port().map_err(failed)?, free_port().map_err(failed)?);
        let signalling = free_port().map_err(failed)?;
        let gateway = dialog.map(|dialog| (signalling, dialog));
        let plan = Plan { identity, peer, udp, tls, gateway, folder: folder.path() };
        let log_file = folder.path().join("log");
        let log = File::create(&log_file).map_err(failed)?;
        let mut command = program.command(&plan).map_err(failed)?;
        // Nothing of the caller's environment configures either of them.
        command.env_clear().current_dir(folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        cpu::pin(core)?;
        let child = command.spawn();
        cpu::pin(own_core)?;
        let child = child.map_err(failed)?;
        let mut server = Self { program: program.clone(), child, udp, tls, signalling, _folder: folder };
        server.wait_until_ready().map_err(|reason| {
            let log = fs::read_to_string(log_file).unwrap_or_default();
            program.failed(format!("{reason}\n{log}"))
        })?;
        Ok(server)
    }

    pub(crate) fn name(&self) -> String {
        self.program.name().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        while !self.is_ready() {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended with {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("it does not answer within {}s", START_LIMIT.as_secs()));
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        match self.program {
            Program::HubsRelay(_) | Program::Coturn(_) => {
                TcpStream::connect(self.tls).is_ok() && answers(self.udp)
            }
            // It answers nobody, but has the port.
            Program::Forwarder(_) => UdpSocket::bind(self.udp).is_err(),
        }
    }

    /// How it ended, if it did within the limit.
    fn wait_until_ended(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + END_LIMIT;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => sleep(PAUSE),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        if self.wait_until_ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether something there answers a Binding request at once.
fn answers(udp: SocketAddr) -> bool {
    let request = Builder::request(Method::Binding, id()).finish();
    Link::udp(udp).and_then(|mut link| ask(&mut link, &request)).is_ok()
}

/// A port that nobody uses at the moment, neither for UDP nor for TCP.
fn free_port() -> io::Result<SocketAddr> {
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
}
