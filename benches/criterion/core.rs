//! The steps of the core that every packet takes, and those that every request takes. No socket, no system call.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hubs_relay::auth::{Credentials, Secret};
use hubs_relay::turn::{
    AllowedPeers, Client, Command, Limits, Link, NonceKey, Now, PeerPolicy, RelayId, Server, Settings,
};
use hubs_relay::wire::{
    Builder, ChannelData, ChannelNumber, Class, Family, Frame, Indication, IndicationKind, IntegrityKey,
    Message, Method, PROTOCOL_UDP, StreamDecoder, TransactionId,
};

const REALM: &str = "turkey";
const USER: &str = "alice";
const PASSWORD: &str = "wonderland";
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)), 40123);
/// An Opus packet in SRTP, about.
const PAYLOAD: [u8; 160] = [0x5a; 160];
/// Sessions of one worker while a packet is routed: enough that tables do not fit the fastest cache.
const SESSIONS: u16 = 1000;

criterion_group!(benches, wire, integrity, routing, requests);
criterion_main!(benches);

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));
    let channel_data = channel_data();
    group.bench_function("read ChannelData", |bencher| {
        bencher.iter(|| Frame::of_datagram(black_box(&channel_data)));
    });
    group.bench_function("write ChannelData's header", |bencher| {
        bencher.iter(|| ChannelData::header(black_box(ChannelNumber::MIN), black_box(160)));
    });
    let send = send_indication();
    group.bench_function("read a Send indication", |bencher| {
        bencher.iter(|| Indication::read(black_box(&send)));
    });
    let mut header = [0; Indication::MAX_HEADER_LEN];
    group.bench_function("write a Data indication's header", |bencher| {
        bencher.iter(|| {
            IndicationKind::Data.write_header(id(1), black_box(PEER), PAYLOAD.len(), black_box(&mut header))
        });
    });
    // As they lie in a TLS record: ten whole frames, then ten of which the last is cut.
    let stream = channel_data.repeat(10);
    group.throughput(Throughput::Elements(10));
    for (name, arrived) in [("whole", stream.len()), ("cut", stream.len() - 50)] {
        let mut decoder = StreamDecoder::new(StreamDecoder::MAX_FRAME);
        group.bench_function(format!("ten frames of a stream, {name}"), |bencher| {
            bencher.iter(|| {
                let mut frames = 0;
                for bytes in [&stream[..arrived], &stream[arrived..]] {
                    let result = decoder.decode(black_box(bytes), |frame| {
                        black_box(frame);
                        frames += 1;
                    });
                    assert_eq!(result, Ok(()));
                }
                assert_eq!(frames, 10);
            });
        });
    }
    group.finish();
}

fn integrity(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("MESSAGE-INTEGRITY");
    let refresh = signed(Method::Refresh, &"n".repeat(22)).finish();
    group.bench_function("parse a request", |bencher| bencher.iter(|| Message::parse(black_box(&refresh))));
    let (message, key) = (Message::parse(&refresh).expect("well-formed"), key());
    assert!(message.verify(&key));
    group.bench_function("verify", |bencher| bencher.iter(|| black_box(&message).verify(&key)));
    group.bench_function("derive the key", |bencher| {
        bencher.iter(|| IntegrityKey::long_term(black_box(USER), REALM, PASSWORD));
    });
    group.finish();
}

fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("route among {SESSIONS} sessions"));
    group.throughput(Throughput::Elements(1));
    let (channel_data, send) = (channel_data(), send_indication());
    for (name, with_channel) in [("ChannelData", true), ("indication", false)] {
        let mut world = World::with_sessions(SESSIONS, with_channel);
        let bytes = if with_channel { &channel_data } else { &send };
        let mut turn = 0;
        group.bench_function(format!("a client's {name}"), |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % SESSIONS;
                let frame = Frame::of_datagram(black_box(bytes)).expect("a frame");
                assert!(world.server.handle_client(world.now, client(turn), frame).is_some());
            });
        });
        let mut header = [0; Indication::MAX_HEADER_LEN];
        group.bench_function(format!("a peer's packet, as {name}"), |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % SESSIONS;
                let relay = world.relays[usize::from(turn)];
                let to_client = world.server.handle_peer(world.now, relay, black_box(PEER));
                let framing = to_client.expect("a permission").framing;
                black_box(framing.write_header(PAYLOAD.len(), &mut header))
            });
        });
    }
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    let mut world = World::with_sessions(0, true);
    let stranger = Builder::request(Method::Allocate, id(1)).requested_transport(PROTOCOL_UDP).finish();
    group.bench_function("a stranger's, challenged with a nonce", |bencher| {
        bencher.iter(|| world.ask(client(0), black_box(&stranger)));
    });
    let mut world = World::with_sessions(SESSIONS, true);
    let nonce = world.nonce(client(0));
    let refresh = signed(Method::Refresh, &nonce).finish();
    group.bench_function("a Refresh, authenticated", |bencher| {
        bencher.iter(|| world.ask(client(0), black_box(&refresh)));
    });
    group.sample_size(20);
    group.bench_function("a join: challenge, Allocate, ChannelBind", |bencher| {
        bencher.iter_batched(
            || World::with_sessions(0, true),
            |mut world| {
                world.join(client(0), true);
                world
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A server with its relay sockets, in a time that stands still.
struct World {
    server: Server,
    now: Now,
    relays: Vec<RelayId>,
}

impl World {
    fn with_sessions(sessions: u16, with_channel: bool) -> Self {
        let allow = AllowedPeers { network: "10.0.0.4/30".parse().expect("a network"), ports: 40000..=49999 };
        let settings = Settings {
            realm: REALM.to_owned(),
            nonce_key: NonceKey::new(&[7; 32]),
            credentials: Credentials {
                users: BTreeMap::from([(USER.to_owned(), Secret::from(PASSWORD))]),
                secrets: Vec::new(),
                expiry_grace: Duration::ZERO,
            },
            secrets_rotate: false,
            peers: PeerPolicy { allow: vec![allow], ..PeerPolicy::default() },
            families: vec![Family::V4],
            limits: Limits {
                sessions: 10_000,
                sessions_per_address: None,
                permissions: 4,
                channels: 4,
                stranger_answers: None,
                stranger_answers_total: None,
            },
            transaction_seed: 42,
        };
        let now = Now { instant: Instant::now(), unix: 1_700_000_000 };
        let mut world = Self { server: Server::new(settings), now, relays: Vec::new() };
        (0..sessions).for_each(|number| world.join(client(number), with_channel));
        world
    }

    fn join(&mut self, client: Client, with_channel: bool) {
        let nonce = self.nonce(client);
        let key = key();
        let mut granted = |request: Builder| {
            let request = request.username(USER).realm(REALM).nonce(&nonce).integrity(&key);
            let answer = self.ask(client, &request.finish());
            assert_eq!(answer.map(|it| it.class()), Some(Class::Success));
        };
        granted(Builder::request(Method::Allocate, id(2)).requested_transport(PROTOCOL_UDP));
        let permit = if with_channel {
            Builder::request(Method::ChannelBind, id(3)).channel_number(ChannelNumber::MIN)
        } else {
            Builder::request(Method::CreatePermission, id(3))
        };
        granted(permit.xor_peer_address(PEER));
        if !with_channel {
            // A browser has sent its ICE checks before media flows: the decision about the peer is remembered.
            let send = send_indication();
            let frame = Frame::of_datagram(&send).expect("a frame");
            assert!(self.server.handle_client(self.now, client, frame).is_some());
        }
    }

    fn nonce(&mut self, client: Client) -> String {
        let challenge = self.ask(client, &Builder::request(Method::Refresh, id(1)).finish());
        let nonce = challenge.as_ref().and_then(|it| it.nonce().ok().flatten());
        nonce.expect("a challenge has a nonce").to_owned()
    }

    /// Sends a request and returns the answer to it.
    fn ask(&mut self, client: Client, request: &[u8]) -> Option<Message> {
        let frame = Frame::of_datagram(request)?;
        self.server.handle_client(self.now, client, frame);
        let mut answer = None;
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Send { bytes, .. } => answer = Message::parse(&bytes).ok(),
                Command::OpenRelay { relay, .. } => {
                    self.relays.push(relay);
                    let relayed = SocketAddr::from(([192, 0, 2, 99], 50000 + relay.index() as u16));
                    self.server.handle_relay_opened(relay, Some(relayed));
                }
                Command::CloseRelay { .. } | Command::CloseReserved { .. } | Command::Reread { .. } => {}
            }
        }
        answer
    }
}

/// One of many clients behind one address.
fn client(number: u16) -> Client {
    Client {
        remote: ([198, 51, 100, 7], 10000 + number).into(),
        local: ([192, 0, 2, 1], 3478).into(),
        link: Link::Datagram(0),
    }
}

fn channel_data() -> Vec<u8> {
    [&ChannelData::header(ChannelNumber::MIN, PAYLOAD.len() as u16)[..], &PAYLOAD].concat()
}

fn send_indication() -> Vec<u8> {
    Builder::new(Class::Indication, Method::Send, id(9)).xor_peer_address(PEER).data(&PAYLOAD).finish()
}

/// A request of the user's.
fn signed(method: Method, nonce: &str) -> Builder {
    Builder::request(method, id(4)).username(USER).realm(REALM).nonce(nonce).integrity(&key())
}

fn key() -> IntegrityKey {
    IntegrityKey::long_term(USER, REALM, PASSWORD)
}

fn id(number: u8) -> TransactionId {
    TransactionId([number; 12])
}
