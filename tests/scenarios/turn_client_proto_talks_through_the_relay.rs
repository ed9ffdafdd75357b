//! turn-client-proto, a TURN client that nobody here wrote, allocates, gets permissions and channels, talks both ways and
//! refreshes, over UDP and TCP, to peers of both families. It goes by the time that it is told.

use std::fmt::Debug;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hubs_relay::{Config, Relay};
use hubs_tests::bed::{REALM, loopback};
use hubs_tests::relay::USER;
use turn_client_proto::api::{Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPeerData, TurnRecvRet};
use turn_client_proto::stun::Instant as ClientInstant;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{AddressFamily, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

/// How long an answer may take; nothing waits this long on success.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one look at a socket takes at most.
const LOOK: Duration = Duration::from_millis(20);
const PEERS: [(AddressFamily, &str); 2] =
    [(AddressFamily::IPV4, "127.0.0.1:0"), (AddressFamily::IPV6, "[::1]:0")];
const LENGTHS: [usize; 7] = [1, 2, 3, 4, 5, 101, 1200];
/// On TCP this client does without the padding that RFC 8656 section 12.5 demands of ChannelData (0.7.3). The relay keeps to
/// the RFC, so they understand each other where there is none.
const UNPADDED: [usize; 4] = [0, 4, 100, 1200];

#[test]
fn over_udp() {
    for (family, peer) in PEERS {
        let relay = relay();
        let server = relay.listeners()[0].address;
        let socket = UdpSocket::bind(loopback(0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let client = TurnClientUdp::allocate(socket.local_addr().unwrap(), server, config(family));
        Session::new(client, Wire::Datagrams(socket)).live(family, peer);
    }
}

#[test]
fn over_tcp() {
    for (family, peer) in PEERS {
        let relay = relay();
        let server = relay.listeners()[1].address;
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(LOOK)).unwrap();
        let client = TurnClientTcp::allocate(stream.local_addr().unwrap(), server, config(family));
        Session::new(client, Wire::Stream(stream)).live(family, peer);
    }
}

fn relay() -> Relay {
    let (user, password) = USER;
    let text = format!(
        "realm = '{REALM}'\nlisten = ['udp://127.0.0.1:0', 'tcp://127.0.0.1:0']\n\
         relay.address = ['127.0.0.1', '::1']\nauth.users = {{ {user} = '{password}' }}\n\
         peers.allow = ['127.0.0.1:1024-65535', '[::1]:1024-65535']\n"
    );
    Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap()
}

fn config(family: AddressFamily) -> TurnConfig {
    let (user, password) = USER;
    let mut config = TurnConfig::new(TurnCredentials::new(user, password));
    config.set_address_family(family);
    config
}

/// What the client sends through.
enum Wire {
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

/// A client, and the loop around it that it leaves to others.
struct Session<C> {
    client: C,
    wire: Wire,
    began: Instant,
    /// How far the client's clock is ahead.
    ahead: Duration,
    /// What peers sent, and from where.
    heard: Vec<(SocketAddr, Vec<u8>)>,
}

impl<C: TurnClientApi> Session<C> {
    fn new(client: C, wire: Wire) -> Self {
        Self { client, wire, began: Instant::now(), ahead: Duration::ZERO, heard: Vec::new() }
    }

    fn live(&mut self, family: AddressFamily, peer: &str) {
        let relayed = self.until(|event| match event {
            TurnEvent::AllocationCreated(TransportType::Udp, relayed) => Some(relayed),
            _ => None,
        });
        assert_eq!(relayed.is_ipv6(), family == AddressFamily::IPV6);
        let socket = UdpSocket::bind(peer).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let peer = socket.local_addr().unwrap();

        let now = self.now();
        self.client.create_permission(TransportType::Udp, peer.ip(), now).unwrap();
        let permitted = self.until(|event| match event {
            TurnEvent::PermissionCreated(_, host) => Some(host),
            _ => None,
        });
        assert_eq!(permitted, peer.ip());
        self.talk(&socket, relayed, &LENGTHS);

        self.client.bind_channel(TransportType::Udp, peer, now).unwrap();
        let bound = self.until(|event| match event {
            TurnEvent::ChannelCreated(_, bound) => Some(bound),
            _ => None,
        });
        assert_eq!(bound, peer);
        let lengths = match self.wire {
            Wire::Datagrams(_) => &LENGTHS[..],
            Wire::Stream(_) => &UNPADDED,
        };
        self.talk(&socket, relayed, lengths);

        let stranger = if peer.is_ipv4() { "127.0.0.9" } else { "2001:db8::9" }.parse().unwrap();
        self.client.create_permission(TransportType::Udp, stranger, now).unwrap();
        let refused = self.until(|event| match event {
            TurnEvent::PermissionCreateFailed(_, host) => Some(host),
            _ => None,
        });
        assert_eq!(refused, stranger);

        // Half an hour of its life, in which it would have given up an allocation that was not refreshed, and a channel that was
        // not bound again.
        for _ in 0..60 {
            self.ahead += Duration::from_secs(30);
            self.talk(&socket, relayed, &[100]);
        }
        let allocations: Vec<_> = self.client.relayed_addresses().collect();
        assert_eq!(allocations, [(TransportType::Udp, relayed)]);
        let now = self.now();
        self.client.delete(now).unwrap();
        self.turn();
        assert_eq!(self.client.relayed_addresses().count(), 0);
    }

    /// Says something of each of these lengths to a peer, and hears it again.
    fn talk(&mut self, peer: &UdpSocket, relayed: SocketAddr, lengths: &[usize]) {
        let address = peer.local_addr().unwrap();
        for length in lengths {
            let payload = vec![*length as u8; *length];
            let now = self.now();
            let built = self.client.send_to(TransportType::Udp, address, &payload, now).unwrap();
            if let Some(transmit) = built {
                self.wire.send(&transmit.build().data);
            }
            self.turn();
            let mut received = [0; 2048];
            let (len, from) = peer.recv_from(&mut received).unwrap();
            assert_eq!((from, &received[..len]), (relayed, &payload[..]));
            peer.send_to(&payload, relayed).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while self.heard.is_empty() {
                assert!(Instant::now() < deadline, "{length} bytes did not come back");
                self.turn();
            }
            assert_eq!(std::mem::take(&mut self.heard), [(address, payload)]);
        }
    }

    /// Goes on until an event is the one that is looked for.
    fn until<T>(&mut self, mut read: impl FnMut(TurnEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.turn();
            while let Some(event) = self.client.poll_event() {
                let seen = format!("{event:?}");
                if let Some(found) = read(event) {
                    return found;
                }
                assert!(!seen.contains("Failed"), "{seen}");
            }
            assert!(Instant::now() < deadline, "the event never came");
        }
    }

    /// Lets the client do what it has to, and hands it what has come.
    fn turn(&mut self) {
        let now = self.now();
        let _ = self.client.poll(now);
        while let Some(transmit) = self.client.poll_transmit(now) {
            self.wire.send(&transmit.data);
        }
        let Some(bytes) = self.wire.receive() else { return };
        let (from, to) = (self.client.remote_addr(), self.client.local_addr());
        let transmit = Transmit::new(bytes, self.client.transport(), from, to);
        match self.client.recv(transmit, now) {
            TurnRecvRet::Handled => {}
            TurnRecvRet::PeerData(data) => self.hear(&data),
            // It answers what the client gave up when its clock jumped.
            TurnRecvRet::Ignored(_) if !self.ahead.is_zero() => {}
            other => panic!("{other:?}"),
        }
        while let Some(data) = self.client.poll_recv(now) {
            self.hear(&data);
        }
    }

    fn hear<T: AsRef<[u8]> + Debug>(&mut self, data: &TurnPeerData<T>) {
        self.heard.push((data.peer, data.data().to_vec()));
    }

    fn now(&self) -> ClientInstant {
        ClientInstant::ZERO + self.began.elapsed() + self.ahead
    }
}

impl Wire {
    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Datagrams(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Self::Stream(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    /// What is there, or comes soon.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 4096];
        let received = match self {
            Self::Datagrams(socket) => socket.recv(&mut bytes),
            Self::Stream(stream) => stream.read(&mut bytes),
        };
        match received {
            Ok(len) => {
                assert!(len > 0, "the relay has closed the connection");
                bytes.truncate(len);
                Some(bytes)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(error) => panic!("{error}"),
        }
    }
}
