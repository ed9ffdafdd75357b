//! What a relay in public must stand: messages that are not quite right, and clients who come and go without end.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::harness::*;
use crate::turn::{Client, Command, Limits, Now, RelayId, RelayPort, Server, Settings};
use crate::wire::*;

const ID: TransactionId = TransactionId([1; 12]);

fn client() -> Client {
    udp("198.51.100.7:50000")
}

fn allocated() -> (World, Caller, RelayId) {
    let mut world = World::new();
    let (caller, relay) = Caller::allocated(&mut world, client());
    (world, caller, relay)
}

/// What comes back on these bytes, if they are a message at all.
fn is_answered(world: &mut World, bytes: &[u8]) -> bool {
    let Some(frame) = Frame::of_datagram(bytes) else { return false };
    assert_eq!(world.server.handle_client(world.now, client(), frame), None);
    std::iter::from_fn(|| world.server.poll_command()).count() > 0
}

#[test]
fn a_request_with_a_wrong_fingerprint_gets_no_answer() {
    let (mut world, mut caller, _) = allocated();
    let request = caller.unsigned(Method::Refresh).lifetime(Duration::ZERO);
    let right = caller.sign(request).fingerprint().finish();
    for byte in right.len() - 4..right.len() {
        let mut wrong = right.clone();
        wrong[byte] ^= 1;
        assert!(!is_answered(&mut world, &wrong));
    }
    assert_eq!(world.server.sessions(), 1);
    assert!(is_answered(&mut world, &right));
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn a_message_whose_length_is_not_that_of_its_datagram_or_no_multiple_of_four_gets_no_answer() {
    let mut world = World::new();
    let right = Builder::request(Method::Binding, ID).software("four").finish();
    assert!(is_answered(&mut world, &right));
    let announced = right.len() as u16 - 20;
    for wrong in [0, 1, announced - 4, announced - 1, announced + 1, announced + 4, 0xfffc, 0xffff] {
        let mut bytes = right.clone();
        bytes[2..4].copy_from_slice(&wrong.to_be_bytes());
        assert!(!is_answered(&mut world, &bytes), "{wrong}");
    }
    for len in 0..right.len() {
        assert!(!is_answered(&mut world, &right[..len]), "{len}");
    }
}

#[test]
fn an_attribute_that_reaches_beyond_its_message_gets_no_answer() {
    let mut world = World::new();
    let right = Builder::request(Method::Binding, ID).software("four").finish();
    for len in [5_u16, 8, 0x7fff, 0xffff] {
        let mut bytes = right.clone();
        bytes[22..24].copy_from_slice(&len.to_be_bytes());
        assert!(!is_answered(&mut world, &bytes), "{len}");
    }
}

#[test]
fn a_message_without_the_magic_cookie_gets_no_answer() {
    let mut world = World::new();
    for byte in 4..8 {
        let mut bytes = Builder::request(Method::Binding, ID).finish();
        bytes[byte] ^= 0x80;
        assert!(!is_answered(&mut world, &bytes));
    }
}

#[test]
fn of_two_equal_attributes_the_first_decides() {
    let (mut world, mut caller, _) = allocated();
    let twice = |first: &'static str, second: &'static str| {
        move |it: Builder| {
            it.channel_number(ChannelNumber::MIN).xor_peer_address(addr(first)).xor_peer_address(addr(second))
        }
    };
    assert_eq!(code(&caller.ask(&mut world, Method::ChannelBind, twice(REFUSED, NEIGHBOUR))), 403);
    assert_eq!(code(&caller.ask(&mut world, Method::ChannelBind, twice(NEIGHBOUR, REFUSED))), 0);
    let delivered = world.client_sends(caller.client, &channel_data(0x4000, b"x")).unwrap();
    assert_eq!(delivered.peer, addr(NEIGHBOUR));
    let send = Builder::new(Class::Indication, Method::Send, ID);
    let send = |first, second| {
        send.clone().xor_peer_address(addr(first)).xor_peer_address(addr(second)).data(b"x").finish()
    };
    assert_eq!(world.client_sends(caller.client, &send(REFUSED, NEIGHBOUR)), None);
    assert_eq!(world.client_sends(caller.client, &send(NEIGHBOUR, REFUSED)).unwrap().peer, addr(NEIGHBOUR));
    let lifetimes = |it: Builder| it.lifetime(Duration::from_mins(20)).lifetime(Duration::ZERO);
    let answer = caller.ask(&mut world, Method::Refresh, lifetimes);
    assert_eq!((answer.lifetime().unwrap(), world.server.sessions()), (Some(Duration::from_mins(20)), 1));
}

/// Opens and closes what a server asks for, and forgets what it answers. Without reading any of it: a test that asks ten thousand
/// times has to be quick.
#[derive(Default)]
struct Pool {
    relays: BTreeSet<RelayId>,
    reserved: HashSet<ReservationToken>,
    /// The highest number that a relay had.
    highest: usize,
}

impl Pool {
    fn obey(&mut self, server: &mut Server) {
        while let Some(command) = server.poll_command() {
            match command {
                Command::OpenRelay { relay, port, .. } => {
                    assert!(self.relays.insert(relay));
                    self.highest = self.highest.max(relay.index());
                    if let RelayPort::EvenAndNext(token) = port {
                        assert!(self.reserved.insert(token));
                    }
                    server.handle_relay_opened(relay, Some(addr("192.0.2.99:50000")));
                }
                Command::CloseRelay { relay, .. } => assert!(self.relays.remove(&relay)),
                Command::CloseReserved { token } => assert!(self.reserved.remove(&token)),
                Command::Send { .. } => {}
                Command::Reread { .. } => panic!("these secrets do not rotate"),
            }
        }
    }
}

#[test]
fn the_places_and_ports_of_ten_thousand_allocations_all_come_back() {
    let limits = Limits { sessions: 2, sessions_per_address: Some(2), ..settings().limits };
    let mut world = World::with(Settings { limits, ..settings() });
    let mut pool = Pool::default();
    for _ in 0..10 {
        let mut caller = Caller::new(&mut world, client());
        let mut signed = |method, fill: fn(Builder) -> Builder| {
            let request = fill(caller.unsigned(method));
            caller.sign(request).finish()
        };
        let any = signed(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP));
        let even = signed(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP).even_port(false));
        let pair = signed(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP).even_port(true));
        let release = signed(Method::Refresh, |it| it.lifetime(Duration::ZERO));
        let (server, now) = (&mut world.server, &mut world.now);
        let ask = |server: &mut Server, now: Now, request: &[u8]| {
            server.handle_client(now, client(), Frame::of_datagram(request).unwrap());
        };
        for round in 0..1000 {
            let request = [&any, &even, &any, &even, &pair][if round == 999 { 4 } else { round % 4 }];
            ask(server, *now, request);
            pool.obey(server);
            assert_eq!(pool.relays.len(), 1, "{round}");
            match round {
                // Nobody comes for the second port, and this one is not refreshed.
                999 => now.instant += Duration::from_mins(10),
                _ if round % 10 == 0 => ask(server, *now, &release),
                _ => server.handle_client_closed(client()),
            }
            server.handle_timeout(*now);
            pool.obey(server);
            assert!(pool.relays.is_empty(), "{round}");
        }
        world.now.unix += 600;
    }
    assert!(pool.relays.is_empty() && pool.reserved.is_empty());
    assert_eq!((pool.highest, world.server.sessions(), world.server.poll_timeout()), (0, 0, None));
}

/// coturn lost a port to each of these (GHSA-847g-qmc6-6m4r).
#[test]
fn an_even_port_that_reserves_nothing_keeps_no_port() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let answer =
        caller.ask(&mut world, Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP).even_port(false));
    assert_eq!((code(&answer), answer.reservation_token().unwrap()), (0, None));
    assert_eq!((world.relays.len(), world.reserved.len()), (1, 0));
    assert_eq!(code(&caller.refresh(&mut world, 0)), 0);
    assert_eq!((world.relays.len(), world.server.poll_timeout()), (0, None));
}

#[test]
fn the_quota_holds_for_a_new_port_a_new_connection_and_a_second_try() {
    let limits = Limits { sessions_per_address: Some(2), ..settings().limits };
    let mut world = World::with(Settings { limits, ..settings() });
    Caller::allocated(&mut world, client());
    Caller::allocated(&mut world, stream("198.51.100.7:50000"));
    for other in [udp("198.51.100.7:50001"), Client { local: addr("192.0.2.2:3478"), ..client() }] {
        let mut caller = Caller::new(&mut world, other);
        for _ in 0..3 {
            assert_eq!(code(&caller.allocate(&mut world)), 486);
        }
    }
    assert_eq!(world.relays.len(), 2);
}

#[test]
fn whatever_a_stranger_sends_leaves_nothing_behind() {
    let mut world = World::new();
    let mut request = |remote: &str, bytes: Builder| {
        let client = udp(remote);
        world.request(client, bytes);
        assert!(!world.server.is_allocated(&client));
        assert_eq!((world.server.sessions(), world.server.poll_timeout()), (0, None));
    };
    for port in 1..200 {
        let remote = format!("198.51.100.7:{port}");
        let id = TransactionId([2; 12]);
        let signed = |it: Builder, nonce: &str| {
            it.username("alice")
                .realm(REALM)
                .nonce(nonce)
                .integrity(&IntegrityKey::long_term("alice", REALM, "guess"))
        };
        let allocate = Builder::request(Method::Allocate, id).requested_transport(PROTOCOL_UDP);
        request(&remote, allocate.clone());
        request(&remote, signed(allocate, "made up"));
        request(&remote, signed(Builder::request(Method::Refresh, id).lifetime(Duration::ZERO), ""));
        request(&remote, Builder::request(Method::Binding, id));
    }
}

#[test]
fn an_answer_to_a_stranger_is_little_longer_than_the_shortest_question_that_it_answers() {
    let mut world = World::new();
    // 28 bytes of IP and UDP are in front of both, so 92 bytes for 20 are two and a half times as many on the wire. 12 of
    // them name the password algorithms, 13 the nonce's features (RFC 8489 section 9.2.4).
    let length = |world: &mut World, request: Builder| {
        let request = request.finish();
        let frame = Frame::of_datagram(&request).unwrap();
        world.server.handle_client(world.now, client(), frame);
        let Some(Command::Send { bytes, .. }) = world.server.poll_command() else { panic!("no answer") };
        bytes.len()
    };
    for method in [Method::Allocate, Method::Refresh, Method::CreatePermission, Method::ChannelBind] {
        assert!(length(&mut world, Builder::request(method, ID)) <= 92);
    }
    assert!(length(&mut world, Builder::request(Method::Binding, ID)) <= 32);
    let unknown =
        (0..400).fold(Builder::request(Method::Binding, ID), |it, n| it.attribute(AttrType(0x1000 + n), &[]));
    assert!(length(&mut world, unknown) <= 100);
}
