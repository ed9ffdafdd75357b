//! coturn's own test clients talk to hubs-relay as they do to coturn, and lose nothing on the way to a peer and back.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use hubs_tests::bed::loopback;
use hubs_tests::certs::Authority;
use hubs_tests::need::{self, skip};
use hubs_tests::port;
use hubs_tests::process::{Finished, Process};
use hubs_tests::relay::{Relay, USER};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(1);

/// How data goes to the peer and back.
#[derive(Debug, Clone, Copy)]
enum Data {
    Channels,
    SendIndications,
}

#[test]
fn uclient_over_udp() {
    let Some(lab) = Lab::start() else { return };
    lab.relay_both_ways(&[], lab.relay.plain.port(), Load { clients: 4, messages: 50 });
}

#[test]
fn uclient_over_tcp() {
    let Some(lab) = Lab::start() else { return };
    lab.relay_both_ways(&["-t"], lab.relay.plain.port(), Load { clients: 4, messages: 50 });
}

#[test]
fn uclient_over_tls() {
    let Some(lab) = Lab::start() else { return };
    let ca_file = lab.folder.path().join("ca.pem");
    let verified = ["-t", "-S", "-E", ca_file.to_str().unwrap()];
    // Over TLS uclient takes each record for one message, so no two of a client may ever be on their way together.
    lab.relay_both_ways(&verified, lab.relay.tls.port(), Load { clients: 16, messages: 1 });
}

#[test]
fn stunclient_learns_its_address() {
    let Some(lab) = Lab::start() else { return };
    let client = Process::start(
        "turnutils_stunclient",
        Command::new("turnutils_stunclient").args(["-p", &lab.relay.plain.port().to_string(), "127.0.0.1"]),
    );
    let Finished { status, stdout, .. } = client.finish(LIMIT);
    assert!(status.success(), "{status}: {stdout}");
    assert!(stdout.contains("UDP reflexive addr: 127.0.0.1:"), "{stdout}");
}

/// A relay, and a peer that returns what it gets, on two ports in a row as uclient expects it.
struct Lab {
    relay: Relay,
    peer_port: u16,
    folder: TempDir,
    _peer: Process,
}

/// What one uclient does.
#[derive(Debug, Clone, Copy)]
struct Load {
    clients: u32,
    messages: u32,
}

impl Lab {
    fn start() -> Option<Self> {
        if skip(&[need::TURNUTILS]) {
            return None;
        }
        let folder = TempDir::with_prefix("hubs-turnutils-").unwrap();
        let authority = Authority::new();
        std::fs::write(folder.path().join("ca.pem"), authority.certificate()).unwrap();
        let identity = authority.issue("localhost").write(folder.path(), "relay");
        let peer_port = port::free_row(2);
        let mut peer = Process::start(
            "turnutils_peer",
            Command::new("turnutils_peer").args(["-L", "127.0.0.1", "-p", &peer_port.to_string()]),
        );
        peer.wait_until("echo", || is_echoed(loopback(peer_port)));
        let peers = format!("{}-{}", loopback(peer_port), peer_port + 1);
        let relay = Relay::start(crate::RELAY, folder.path(), &identity, &peers, "");
        Some(Self { relay, peer_port, folder, _peer: peer })
    }

    fn relay_both_ways(&self, transport: &[&str], port: u16, load: Load) {
        thread::scope(|scope| {
            for data in [Data::Channels, Data::SendIndications] {
                scope.spawn(move || self.relay(transport, port, data, load));
            }
        });
    }

    fn relay(&self, transport: &[&str], port: u16, data: Data, load: Load) {
        let Load { clients, messages } = load;
        let (user, password) = USER;
        let mut uclient = Command::new("turnutils_uclient");
        uclient.args(transport);
        if matches!(data, Data::SendIndications) {
            uclient.arg("-s");
        }
        // One allocation for each client (-c), IPv4 (-X); messages whose length makes ChannelData need its padding.
        uclient.args(["-c", "-X", "-l", "101", "-u", user, "-w", password]);
        uclient.args(["-n", &messages.to_string(), "-m", &clients.to_string()]);
        uclient.args(["-e", "127.0.0.1", "-r", &self.peer_port.to_string()]);
        uclient.args(["-p", &port.to_string(), "127.0.0.1"]);
        let Finished { status, stdout, .. } = Process::start("turnutils_uclient", &mut uclient).finish(LIMIT);

        assert!(status.success(), "{data:?}: {status}: {stdout}");
        assert!(!stdout.contains("ERROR"), "{data:?}: {stdout}");
        let count = clients * messages;
        let totals = format!("tot_send_msgs={count}, tot_recv_msgs={count}\n");
        assert!(stdout.contains(&totals), "{data:?}: {stdout}");
        let losses = "Total lost packets 0 (0.000000%), total send dropped 0 (0.000000%)\n";
        assert!(stdout.contains(losses), "{data:?}: {stdout}");
    }
}

fn is_echoed(peer: SocketAddr) -> bool {
    let socket = UdpSocket::bind(loopback(0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.connect(peer).unwrap();
    socket.send(b"echo").is_ok() && socket.recv(&mut [0; 4]).is_ok()
}
