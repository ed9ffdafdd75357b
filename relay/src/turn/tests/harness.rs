//! A server, its clients and peers in virtual time: no sockets, no sleeping.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::auth::{Credentials, RestCredential, Secret};
use crate::turn::*;
use crate::wire::*;

pub(super) const REALM: &str = "turkey";
pub(super) const SECRET: &str = "reticulum's";
/// Dialog as it announces itself, where nobody answers …
pub(super) const ANNOUNCED: &str = "203.0.113.9:40123";
/// … and where it really is.
pub(super) const DIALOG: &str = "10.0.0.5:40123";
/// Another allowed peer, known by one name only.
pub(super) const NEIGHBOUR: &str = "10.0.0.6:40001";
/// A host that nobody allowed.
pub(super) const REFUSED: &str = "169.254.169.254:80";
pub(super) const UNIX_START: u64 = 1_700_000_000;

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn udp(remote: &str) -> Client {
    Client { remote: addr(remote), local: addr("192.0.2.1:3478"), link: Link::Datagram(0) }
}

pub(super) fn stream(remote: &str) -> Client {
    Client { link: Link::Stream(1), ..udp(remote) }
}

pub(super) fn policy() -> PeerPolicy {
    let allowed = |network: &str| AllowedPeers { network: network.parse().unwrap(), ports: 40000..=49999 };
    let announced = MappedAddress { announced: addr(ANNOUNCED).ip(), actual: addr(DIALOG).ip() };
    let allow = vec![allowed("10.0.0.4/30"), allowed("2001:db8::5/128")];
    PeerPolicy { allow, map: vec![announced], answers: Vec::new() }
}

pub(super) fn settings() -> Settings {
    Settings {
        realm: REALM.to_owned(),
        nonce_key: NonceKey::new(&[7; 32]),
        credentials: Credentials {
            users: BTreeMap::from([("alice".to_owned(), Secret::from("wonderland"))]),
            secrets: vec![Secret::from(SECRET)],
            expiry_grace: Duration::ZERO,
        },
        secrets_rotate: false,
        peers: policy(),
        families: vec![Family::V4],
        limits: Limits {
            sessions: 10,
            sessions_per_address: None,
            permissions: 4,
            channels: 4,
            stranger_answers: None,
            stranger_answers_total: None,
        },
        transaction_seed: 42,
    }
}

pub(super) struct World {
    pub(super) server: Server,
    pub(super) now: Now,
    /// Where the relay sockets are; one that is gone is closed.
    pub(super) relays: HashMap<RelayId, SocketAddr>,
    /// How many relay sockets can still be opened …
    pub(super) ports_left: u16,
    /// … and of which family none can.
    pub(super) unavailable: Option<Family>,
    /// The sockets that are kept for clients.
    pub(super) reserved: HashMap<ReservationToken, SocketAddr>,
    /// Requests that wait for the secrets to be read anew.
    pub(super) waiting: Vec<(Client, Box<Message>)>,
    /// What clients were sent by command.
    inbox: Vec<(Client, Vec<u8>)>,
}

/// What a peer received.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Delivered {
    pub(super) relay: RelayId,
    pub(super) peer: SocketAddr,
    pub(super) fragmentation: Fragmentation,
    pub(super) payload: Vec<u8>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self {
            server: Server::new(settings),
            now: Now { instant: Instant::now(), unix: UNIX_START },
            relays: HashMap::new(),
            ports_left: 100,
            unavailable: None,
            reserved: HashMap::new(),
            waiting: Vec::new(),
            inbox: Vec::new(),
        }
    }

    /// Lets time pass; deadlines on the way are kept.
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        self.now.unix += duration.as_secs();
        while let Some(deadline) = self.server.poll_timeout().filter(|deadline| *deadline <= end) {
            self.now.instant = self.now.instant.max(deadline);
            self.server.handle_timeout(self.now);
            self.obey();
        }
        self.now.instant = end;
    }

    /// A client sends bytes; what a peer gets of it comes back.
    pub(super) fn client_sends(&mut self, client: Client, bytes: &[u8]) -> Option<Delivered> {
        let frame = Frame::of_datagram(bytes)?;
        let to_peer = self.server.handle_client(self.now, client, frame);
        let delivered = to_peer.map(|it| Delivered {
            relay: it.relay,
            peer: it.peer,
            fragmentation: it.fragmentation,
            payload: it.payload.to_vec(),
        });
        self.obey();
        delivered
    }

    /// The secrets have been read: these are all of them. The answers of those who waited come back.
    pub(super) fn secrets_are_read(&mut self, secrets: &[&str]) -> Vec<Message> {
        let credentials = Credentials {
            secrets: secrets.iter().copied().map(Secret::from).collect(),
            ..settings().credentials
        };
        self.server.set_credentials(credentials);
        for (client, request) in std::mem::take(&mut self.waiting) {
            self.server.handle_reread(self.now, client, &request);
        }
        self.obey();
        let answers = std::mem::take(&mut self.inbox);
        answers.iter().map(|(_, bytes)| Message::parse(bytes).unwrap()).collect()
    }

    /// A client's connection ends.
    pub(super) fn disconnect(&mut self, client: Client) {
        self.server.handle_client_closed(client);
        self.obey();
    }

    /// A peer sends a payload to a relay; what the client gets of it comes back.
    pub(super) fn peer_sends(
        &mut self,
        relay: RelayId,
        from: &str,
        payload: &[u8],
    ) -> Option<(Client, Vec<u8>)> {
        let to_client = self.server.handle_peer(self.now, relay, addr(from))?;
        let mut bytes = vec![0; to_client.framing.header_len()];
        to_client.framing.write_header(payload.len(), &mut bytes).unwrap();
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len() + to_client.framing.padding(payload.len(), to_client.client.link), 0);
        Some((to_client.client, bytes))
    }

    /// The network says that a packet from a relay to a peer did not arrive; what a client hears of that comes back.
    pub(super) fn network_says(&mut self, relay: RelayId, to: &str, icmp: Icmp) -> Option<(Client, Message)> {
        self.server.handle_icmp(self.now, relay, addr(to), icmp);
        self.obey();
        let told = std::mem::take(&mut self.inbox);
        assert!(told.len() <= 1, "{told:?}");
        told.into_iter().next().map(|(client, bytes)| (client, Message::parse(&bytes).unwrap()))
    }

    /// A client sends a message; the one answer that it gets comes back.
    pub(super) fn request(&mut self, client: Client, message: Builder) -> Option<Message> {
        assert_eq!(self.client_sends(client, &message.finish()), None);
        let answers = std::mem::take(&mut self.inbox);
        assert!(answers.len() <= 1, "{answers:?}");
        let (to, bytes) = answers.into_iter().next()?;
        assert_eq!(to, client);
        Some(Message::parse(&bytes).unwrap())
    }

    fn obey(&mut self) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Send { client, bytes } => self.inbox.push((client, bytes)),
                Command::OpenRelay { relay, family, port, .. } => {
                    let relayed = self.open(family, port);
                    if let Some(relayed) = relayed {
                        assert_eq!(self.relays.insert(relay, relayed), None);
                    }
                    self.server.handle_relay_opened(relay, relayed);
                }
                Command::Reread { client, request } => self.waiting.push((client, request)),
                Command::CloseReserved { token } => drop(self.reserved.remove(&token)),
                Command::CloseRelay { relay, .. } => assert!(self.relays.remove(&relay).is_some()),
            }
        }
    }
}

impl World {
    fn open(&mut self, family: Family, port: RelayPort) -> Option<SocketAddr> {
        let address = |port| match family {
            Family::V4 => SocketAddr::from(([192, 0, 2, 99], port)),
            Family::V6 => SocketAddr::new("2001:db8::99".parse().unwrap(), port),
        };
        if let RelayPort::Reserved(token) = port {
            return Some(self.reserved.remove(&token).unwrap());
        }
        if port != RelayPort::Any {
            self.ports_left -= self.ports_left % 2;
        }
        let relayed = (self.ports_left > 0 && self.unavailable != Some(family))
            .then(|| address(50000 + self.ports_left))?;
        self.ports_left -= 1;
        if let RelayPort::EvenAndNext(token) = port {
            let next = SocketAddr::new(relayed.ip(), relayed.port() + 1);
            assert_eq!(self.reserved.insert(token, next), None);
        }
        Some(relayed)
    }
}

/// A TURN client that knows its credentials.
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) nonce: String,
    transaction: u8,
}

impl Caller {
    /// The static user `alice`, who has asked for a nonce already.
    pub(super) fn new(world: &mut World, client: Client) -> Self {
        Self::named(world, client, "alice", "wonderland")
    }

    /// A user with a credential of Reticulum's that is good for two minutes.
    pub(super) fn from_hubs(world: &mut World, client: Client) -> Self {
        let credential = RestCredential::new(&Secret::from(SECRET), "coturn", world.now.unix + 120);
        Self::named(world, client, &credential.username, credential.password.expose())
    }

    pub(super) fn named(world: &mut World, client: Client, username: &str, password: &str) -> Self {
        let (username, password) = (username.to_owned(), password.to_owned());
        let mut caller = Self { client, username, password, nonce: String::new(), transaction: 0 };
        let challenge = world.request(client, caller.unsigned(Method::Refresh)).unwrap();
        caller.nonce = challenge.nonce().unwrap().unwrap().to_owned();
        caller
    }

    /// `alice` with an allocation.
    pub(super) fn allocated(world: &mut World, client: Client) -> (Self, RelayId) {
        let mut caller = Self::new(world, client);
        assert_eq!(code(&caller.allocate(world)), 0);
        let relay = *world.relays.keys().max().unwrap();
        (caller, relay)
    }

    pub(super) fn key(&self) -> IntegrityKey {
        IntegrityKey::long_term(&self.username, REALM, &self.password)
    }

    pub(super) fn unsigned(&mut self, method: Method) -> Builder {
        self.transaction += 1;
        Builder::request(method, TransactionId([self.transaction; 12]))
    }

    pub(super) fn sign(&self, message: Builder) -> Builder {
        message.username(&self.username).realm(REALM).nonce(&self.nonce).integrity(&self.key())
    }

    /// Sends a signed request, made by `fill`; the answer must be signed if the request was good enough to check.
    pub(super) fn ask(
        &mut self,
        world: &mut World,
        method: Method,
        fill: impl FnOnce(Builder) -> Builder,
    ) -> Message {
        let request = fill(self.unsigned(method));
        let request = self.sign(request);
        let answer = world.request(self.client, request).expect("an answer");
        if !matches!(code(&answer), 401 | 437 | 438 | 441) {
            assert!(answer.verify(&self.key()), "the answer to {method:?} is not signed");
        }
        answer
    }

    pub(super) fn allocate(&mut self, world: &mut World) -> Message {
        self.ask(world, Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP))
    }

    pub(super) fn refresh(&mut self, world: &mut World, seconds: u64) -> Message {
        self.ask(world, Method::Refresh, |it| it.lifetime(Duration::from_secs(seconds)))
    }

    pub(super) fn permit(&mut self, world: &mut World, peers: &[&str]) -> Message {
        self.ask(world, Method::CreatePermission, |it| {
            peers.iter().fold(it, |it, peer| it.xor_peer_address(addr(peer)))
        })
    }

    pub(super) fn bind(&mut self, world: &mut World, channel: u16, peer: &str) -> Message {
        let value = [&channel.to_be_bytes()[..], &[0, 0]].concat();
        self.ask(world, Method::ChannelBind, |it| {
            it.attribute(attribute::CHANNEL_NUMBER, &value).xor_peer_address(addr(peer))
        })
    }
}

/// The code of an error answer, or 0 for success.
pub(super) fn code(answer: &Message) -> u16 {
    match answer.class() {
        Class::Success => 0,
        _ => answer.error_code().unwrap().expect("an error answer has a code").0.0,
    }
}

/// A Send indication.
pub(super) fn send(peer: &str, payload: &[u8]) -> Vec<u8> {
    let id = TransactionId([9; 12]);
    Builder::new(Class::Indication, Method::Send, id).xor_peer_address(addr(peer)).data(payload).finish()
}

/// ChannelData as it goes in a datagram.
pub(super) fn channel_data(channel: u16, payload: &[u8]) -> Vec<u8> {
    let header = ChannelData::header(ChannelNumber::new(channel).unwrap(), payload.len() as u16);
    [&header, payload].concat()
}
