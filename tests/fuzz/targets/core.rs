//! Any sequence of inputs to the core: nothing goes to a peer that nobody allowed, no session outlives its relay, and
//! no more of them are than there may be.

#![no_main]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use hubs_relay::auth::{Credentials, Secret};
use hubs_relay::turn::{
    AllowedPeers, AnsweringAddress, Client, Command, Limits, Link, MappedAddress, NonceKey, Now, PeerPolicy, RelayId,
    RelayPort, Server, Settings,
};
use hubs_relay::wire::{
    AttrType, Builder, Family, Frame, Icmp, Integrity, IntegrityKey, Message, Method, ReservationToken,
    TransactionId,
};
use libfuzzer_sys::fuzz_target;

const SESSIONS: usize = 3;
const REALM: &str = "turkey";

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes as they come.
    Bytes {
        client: u8,
        bytes: Vec<u8>,
    },
    /// A request that is signed as it has to be, with these attributes.
    Signed {
        client: u8,
        method: u8,
        is_strong: bool,
        attributes: Vec<(u8, Attribute)>,
    },
    /// A packet from a peer.
    Peer {
        relay: u8,
        ip: IpAddr,
        port: u16,
    },
    /// What the network says of a packet to a peer.
    Icmp {
        relay: u8,
        ip: IpAddr,
        port: u16,
    },
    /// From now on relay sockets of a family can be opened, or cannot.
    Ports {
        ipv6: bool,
        are_free: bool,
    },
    /// Media.
    Channel {
        client: u8,
        number: u8,
        len: u8,
    },
    Wait {
        seconds: u16,
    },
    Disconnect {
        client: u8,
    },
    /// The policy of the operator changes.
    Policy {
        allows: bool,
    },
}

#[derive(Arbitrary, Debug)]
enum Attribute {
    Peer(SocketAddr),
    Dialog { port: u8 },
    Value(Vec<u8>),
    Number(u32),
}

/// What a request can carry that the core looks at.
const TYPES: [u16; 13] =
    [0x000c, 0x000d, 0x0012, 0x0013, 0x0017, 0x0018, 0x0019, 0x0022, 0x001a, 0x001d, 0x001e, 0x8000, 0x8002];
const METHODS: [Method; 5] =
    [Method::Allocate, Method::Refresh, Method::CreatePermission, Method::ChannelBind, Method::Binding];

fn announced() -> IpAddr {
    [203, 0, 113, 9].into()
}

fn policy(allows: bool) -> PeerPolicy {
    let allow = ["10.0.0.5/32", "2001:db8::5/128"].map(|it| it.parse().expect("a network"));
    let allow = allow.into_iter().map(|network| AllowedPeers { network, ports: 40_000..=49_999 });
    let map = vec![MappedAddress { announced: announced(), actual: [10, 0, 0, 5].into() }];
    let answers = vec![AnsweringAddress { from: [10, 244, 0, 1].into(), actual: [10, 0, 0, 5].into() }];
    PeerPolicy { allow: if allows { allow.collect() } else { Vec::new() }, map, answers }
}

fn settings() -> Settings {
    Settings {
        realm: REALM.to_owned(),
        nonce_key: NonceKey::new(&[7; 32]),
        credentials: Credentials {
            users: BTreeMap::from([("ann".to_owned(), Secret::from("password"))]),
            ..Credentials::default()
        },
        secrets_rotate: false,
        peers: policy(true),
        families: vec![Family::V4, Family::V6],
        limits: Limits {
            sessions: SESSIONS,
            sessions_per_address: None,
            permissions: 4,
            channels: 4,
            stranger_answers: None,
            stranger_answers_total: None,
        },
        transaction_seed: 1,
    }
}

struct World {
    server: Server,
    now: Now,
    relays: BTreeSet<RelayId>,
    /// Ports that are kept for a second allocation.
    reserved: HashSet<ReservationToken>,
    allows: bool,
    /// Whether relay sockets of IPv4 and of IPv6 can be opened.
    are_free: [bool; 2],
    /// The last nonce that a client was told.
    nonces: BTreeMap<u8, String>,
    transactions: u64,
}

fn client(number: u8) -> Client {
    let number = number % 4;
    let link = if number < 2 { Link::Datagram(0) } else { Link::Stream(u32::from(number)) };
    let ip = if number.is_multiple_of(2) { "198.51.100.7" } else { "2001:db8::7" };
    let remote = SocketAddr::new(ip.parse().expect("an address"), 50_000 + u16::from(number));
    Client { remote, local: "192.0.2.1:3478".parse().expect("an address"), link }
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Bytes { client, bytes } => self.send(client, &bytes),
            Step::Signed { client, method, is_strong, attributes } => {
                let integrity = if is_strong { Integrity::Sha256 } else { Integrity::Sha1 };
                self.ask(client, method, integrity, &attributes);
            }
            Step::Icmp { relay, ip, port } => {
                let Some(relay) = self.relays.iter().nth(usize::from(relay) % SESSIONS).copied() else {
                    return;
                };
                let icmp = Icmp { kind: 3, code: 1, data: 0 };
                self.server.handle_icmp(self.now, relay, SocketAddr::new(ip, port), icmp);
                self.obey();
            }
            Step::Ports { ipv6, are_free } => self.are_free[usize::from(ipv6)] = are_free,
            Step::Peer { relay, ip, port } => {
                let Some(relay) = self.relays.iter().nth(usize::from(relay) % SESSIONS).copied() else {
                    return;
                };
                let got = self.server.handle_peer(self.now, relay, SocketAddr::new(ip, port));
                assert!(got.is_none() || self.allows, "a peer that nobody allows any more got through");
            }
            Step::Channel { client, number, len } => {
                let mut bytes = vec![0x40, number % 6, 0, len];
                bytes.resize(4 + usize::from(len), 7);
                self.send(client, &bytes);
            }
            Step::Wait { seconds } => {
                self.now.instant += Duration::from_secs(seconds.into());
                self.now.unix += u64::from(seconds);
                self.server.handle_timeout(self.now);
                self.obey();
            }
            Step::Disconnect { client: number } => {
                self.server.handle_client_closed(client(number));
                self.obey();
            }
            Step::Policy { allows } => {
                self.allows = allows;
                self.server.set_peers(policy(allows));
            }
        }
        assert!(self.server.sessions() + self.reserved.len() <= SESSIONS);
        assert_eq!(self.server.sessions(), self.relays.len());
    }

    fn send(&mut self, number: u8, bytes: &[u8]) {
        let Some(frame) = Frame::of_datagram(bytes) else { return };
        if let Some(out) = self.server.handle_client(self.now, client(number), frame) {
            let hosts: [IpAddr; 2] = ["10.0.0.5", "2001:db8::5"].map(|it| it.parse().expect("an address"));
            assert!(self.allows && hosts.contains(&out.peer.ip()), "to {}", out.peer);
            assert!((40_000..=49_999).contains(&out.peer.port()), "to {}", out.peer);
            assert!(self.relays.contains(&out.relay));
        }
        self.obey();
    }

    fn ask(&mut self, number: u8, method: u8, integrity: Integrity, attributes: &[(u8, Attribute)]) {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.transactions.to_be_bytes());
        let mut request = Builder::request(METHODS[usize::from(method) % METHODS.len()], TransactionId(id));
        for (kind, attribute) in attributes.iter().take(8) {
            let kind = AttrType(TYPES[usize::from(*kind) % TYPES.len()]);
            request = match attribute {
                Attribute::Peer(peer) => request.xor_peer_address(*peer),
                Attribute::Dialog { port } => {
                    request.xor_peer_address(SocketAddr::new(announced(), 40_000 + u16::from(*port)))
                }
                Attribute::Value(value) => request.attribute(kind, &value[..value.len().min(64)]),
                Attribute::Number(value) => request.attribute(kind, &value.to_be_bytes()),
            };
        }
        let nonce = self.nonces.get(&(number % 4)).cloned().unwrap_or_default();
        let key = IntegrityKey::long_term("ann", REALM, "password");
        let signed = request.username("ann").realm(REALM).nonce(&nonce).sign(integrity, &key);
        self.send(number, &signed.finish());
    }

    fn obey(&mut self) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Send { client: to, bytes } => {
                    let answer = Message::parse(&bytes).expect("the core sends messages");
                    let number = (0..4).find(|it| client(*it) == to).expect("an answer goes to who asked");
                    if let Ok(Some(nonce)) = answer.nonce() {
                        self.nonces.insert(number, nonce.to_owned());
                    }
                }
                Command::OpenRelay { relay, family, port, .. } => {
                    let is_kept = match port {
                        RelayPort::Reserved(token) => {
                            assert!(self.reserved.remove(&token), "what is claimed is kept");
                            true
                        }
                        RelayPort::Any | RelayPort::Even | RelayPort::EvenAndNext(_) => false,
                    };
                    if !is_kept && !self.are_free[usize::from(family == Family::V6)] {
                        self.server.handle_relay_opened(relay, None);
                        continue;
                    }
                    if let RelayPort::EvenAndNext(token) = port {
                        assert!(self.reserved.insert(token), "a token is given twice");
                    }
                    assert!(self.relays.insert(relay), "a relay is opened twice");
                    let ip: IpAddr = match family {
                        Family::V4 => [192, 0, 2, 9].into(),
                        Family::V6 => "2001:db8::9".parse().expect("an address"),
                    };
                    self.server.handle_relay_opened(relay, Some(SocketAddr::new(ip, 50_000)));
                }
                Command::CloseRelay { relay, .. } => {
                    assert!(self.relays.remove(&relay), "a closed relay is closed")
                }
                Command::CloseReserved { token } => {
                    self.reserved.remove(&token);
                }
                Command::Reread { .. } => panic!("the secrets do not rotate here"),
            }
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let now = Now { instant: Instant::now(), unix: 1_700_000_000 };
    let server = Server::new(settings());
    let (relays, reserved, nonces) = (BTreeSet::new(), HashSet::new(), BTreeMap::new());
    let mut world =
        World { server, now, relays, reserved, allows: true, are_free: [true; 2], nonces, transactions: 0 };
    for step in steps {
        world.take(step);
    }
    world.take(Step::Wait { seconds: 7200 });
    assert_eq!(world.server.sessions(), 0, "a session outlives its lifetime");
    assert!(world.reserved.is_empty(), "a reserved port outlives its time");
});
