//! hubs-relay under test.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::bed::{Bed, REALM, TURN_SECRET, loopback, own_address};
use crate::certs::IdentityFiles;
use crate::port;
use crate::process::{Finished, Process};

/// The ports on which mediasoup answers in Hubs.
const MEDIA_PORTS: &str = "40000-49999";

/// The address from which it reaches peers, and no other part does.
pub const RELAYED: &str = "127.0.0.3";
/// What clients hear of that address: browsers take no loopback address for a candidate.
pub const ADVERTISED: &str = "198.51.100.3";

/// A relay that listens on each transport, for clients of its own.
#[derive(Debug)]
pub struct Relay {
    /// Where it takes UDP and TCP.
    pub plain: SocketAddr,
    /// Where it takes TLS.
    pub tls: SocketAddr,
    /// Where it answers operators.
    pub admin: SocketAddr,
    process: Process,
}

/// The user name and password that [`Relay::start`] configures.
pub const USER: (&str, &str) = ("ann", "correct horse");

impl Relay {
    /// Starts `program` on UDP, TCP and TLS. Clients may reach `peers` only (`host:port` or `host:from-to`); `limits` are
    /// lines of that table.
    pub fn start(program: &str, folder: &Path, identity: &IdentityFiles, peers: &str, limits: &str) -> Self {
        Self::start_with(Command::new(program), folder, identity, peers, limits)
    }

    /// The same with a command that starts it.
    pub fn start_with(
        command: Command,
        folder: &Path,
        identity: &IdentityFiles,
        peers: &str,
        limits: &str,
    ) -> Self {
        let [plain, tls, admin] = [(); 3].map(|()| loopback(port::free()));
        let (user, password) = USER;
        let configuration = configuration(
            &[("udp", plain), ("tcp", plain), ("tls", tls)],
            identity,
            &format!("users = {{ {user} = {password:?} }}"),
            &format!("allow = [\"{peers}\"]"),
            &admin.to_string(),
            limits,
        );
        let process = start(command, folder, &configuration, &[plain, tls]);
        Self { plain, tls, admin, process }
    }

    /// Waits until a line of the log contains this.
    pub fn wait_for_log(&self, text: &str) {
        self.process.wait_for_line(text, |line| line.contains(text).then_some(()));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it ends by itself.
    pub fn finish(self, limit: Duration) -> Finished {
        self.process.finish(limit)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// Puts `program` in coturn's place behind the bed's ingress: a good certificate, Reticulum's secret, and dialog reached
/// where it is instead of where it says.
pub fn start_for(bed: &Bed, program: &str) -> Process {
    start_for_listening(bed, program, &[], "")
}

/// The same, and where it answers operators.
pub fn start_with_admin_for(bed: &Bed, program: &str) -> (Process, SocketAddr) {
    let admin = loopback(port::free());
    (start_for_listening(bed, program, &[], &admin.to_string()), admin)
}

/// The same, and datagrams are taken as well, at the port where the room says that TURN is.
pub fn start_with_udp_for(bed: &Bed, program: &str) -> Process {
    start_for_listening(bed, program, &[("udp", loopback(bed.ports().turn))], "")
}

fn start_for_listening(bed: &Bed, program: &str, besides: &[(&str, SocketAddr)], admin: &str) -> Process {
    let address = bed.turn_backend();
    let (announced, node) = (bed.setup().announced, bed.setup().node);
    let listeners: Vec<_> = [("tls", address)].into_iter().chain(besides.iter().copied()).collect();
    let configuration = configuration(
        &listeners,
        bed.turn_identity(),
        &format!("secrets = [\"{TURN_SECRET}\"]"),
        &format!(
            "allow = [\"{node}:{MEDIA_PORTS}\"]\nmap = [{{ announced = \"{announced}\", actual = \"{node}\" }}]"
        ),
        admin,
        "",
    );
    start(Command::new(program), bed.folder(), &configuration, &[address])
}

/// What one replica of a gateway has to itself, besides what browsers are told of.
struct Replica<'a> {
    folder: &'a Path,
    signalling: SocketAddr,
    turn: SocketAddr,
}

/// A gateway behind the bed's ingress, and where browsers are told that it is.
#[derive(Debug)]
pub struct Gateway {
    /// Over UDP.
    pub udp: SocketAddr,
    /// Over TCP, on a listener that serves TURN over TLS as well.
    pub tcp: SocketAddr,
    process: Process,
}

impl Gateway {
    /// Starts `program` where the ingress of the bed looks for dialog, with an address of this machine that is not loopback,
    /// because browsers send nothing to that. `settings` are lines of its table.
    pub fn start_for(bed: &Bed, program: &str, settings: &str) -> Self {
        Self::start_at(bed, program, Self::places(), settings)
    }

    /// Free places for it, over UDP and TCP.
    pub fn places() -> [SocketAddr; 2] {
        let own = own_address().unwrap();
        [(); 2].map(|()| SocketAddr::new(own, port::free()))
    }

    /// The same at places of one's choice.
    pub fn start_at(bed: &Bed, program: &str, places: [SocketAddr; 2], settings: &str) -> Self {
        let here =
            Replica { folder: bed.folder(), signalling: bed.gateway_backend(), turn: bed.turn_backend() };
        Self::start_replica(bed, program, &here, places, settings)
    }

    /// Two replicas, each of which tells browsers of places of its own. TURN leads to the first.
    pub fn start_replicas(bed: &Bed, program: &str) -> [Self; 2] {
        let folders = ["replica-0", "replica-1"].map(|name| bed.folder().join(name));
        let replicas = [(0, bed.turn_backend()), (1, loopback(port::free()))];
        replicas.map(|(number, turn)| {
            fs::create_dir(&folders[number]).unwrap();
            let signalling = bed.gateway_backends()[number];
            let here = Replica { folder: &folders[number], signalling, turn };
            Self::start_replica(bed, program, &here, Self::places(), "")
        })
    }

    fn start_replica(
        bed: &Bed,
        program: &str,
        here: &Replica<'_>,
        [udp, tcp]: [SocketAddr; 2],
        settings: &str,
    ) -> Self {
        let Replica { folder, signalling, turn } = *here;
        let node = bed.setup().node;
        let mut text = configuration(
            &[("udp", udp), ("tls", tcp), ("tls", turn)],
            bed.turn_identity(),
            &format!("secrets = [\"{TURN_SECRET}\"]"),
            &format!("allow = [\"{node}:{MEDIA_PORTS}\"]"),
            "",
            "",
        );
        let given = [("dialog", bed.dialog_backend()), ("udp", udp), ("tcp", tcp)];
        writeln!(text, "[gateway]\nlisten = \"tls://{signalling}\"\n{settings}").unwrap();
        for (name, place) in given.iter().filter(|(name, _)| !settings.contains(&format!("{name} ="))) {
            writeln!(text, "{name} = \"{place}\"").unwrap();
        }
        let process = start(Command::new(program), folder, &text, &[signalling, tcp]);
        Self { udp, tcp, process }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Waits until a line of the log contains this.
    pub fn wait_for_log(&self, text: &str) {
        self.process.wait_for_line(text, |line| line.contains(text).then_some(()));
    }
}

fn configuration(
    listeners: &[(&str, SocketAddr)],
    identity: &IdentityFiles,
    auth: &str,
    peers: &str,
    admin: &str,
    limits: &str,
) -> String {
    // Nobody waits for calls to end, but a test of that.
    let impatient = if limits.contains("drain_deadline") { "" } else { "drain_deadline = \"0s\"\n" };
    let mut text = format!("realm = \"{REALM}\"\n");
    for (transport, address) in listeners {
        writeln!(text, "[[listen]]\ntransport = \"{transport}\"\naddress = \"{address}\"").unwrap();
    }
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    write!(
        text,
        "[tls]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n\
         [relay]\naddress = \"{RELAYED}\"\nadvertise = \"{ADVERTISED}\"\n\
         [auth]\n{auth}\n[peers]\n{peers}\n[admin]\naddress = \"{admin}\"\n\
         [limits]\n{impatient}{limits}\n"
    )
    .unwrap();
    text
}

fn start(mut command: Command, folder: &Path, configuration: &str, accepting: &[SocketAddr]) -> Process {
    let file = folder.join("hubs-relay.toml");
    fs::write(&file, configuration).unwrap();
    // All that it says of clients, for the reader of a failure.
    command.arg("--config").arg(&file).env("RUST_LOG", "hubs_relay=debug");
    let mut relay = Process::start("hubs-relay", &mut command);
    for address in accepting {
        relay.wait_until_accepting(*address);
    }
    relay
}
