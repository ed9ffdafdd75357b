//! What Chromium (libwebrtc's `turn_port.cc`) and Firefox (nICEr's `turn_client_ctx.c`) take for granted. Either gives a server
//! up at the first answer that is not as they expect it.

use std::time::Duration;

use super::harness::*;
use crate::turn::{Client, Command, Settings};
use crate::wire::*;

fn client() -> Client {
    udp("198.51.100.7:50000")
}

fn allocated() -> (World, Caller, crate::turn::RelayId) {
    let mut world = World::new();
    let (caller, relay) = Caller::allocated(&mut world, client());
    (world, caller, relay)
}

/// The bytes that a client is answered with; relay sockets must be open already.
fn answered(world: &mut World, request: &[u8]) -> Vec<u8> {
    let frame = Frame::of_datagram(request).unwrap();
    assert_eq!(world.server.handle_client(world.now, client(), frame), None);
    let Some(Command::Send { bytes, .. }) = world.server.poll_command() else { panic!("no answer") };
    assert!(world.server.poll_command().is_none());
    bytes
}

/// The type of each attribute of a message, in its order.
fn attribute_types(message: &[u8]) -> Vec<u16> {
    let mut rest = &message[20..];
    let mut types = Vec::new();
    while let [high, low, len_high, len_low, ..] = rest {
        types.push(u16::from_be_bytes([*high, *low]));
        let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
        rest = &rest[4 + len.next_multiple_of(4)..];
    }
    types
}

/// Chromium sends an Allocate up to nine times, the last one after half a minute.
#[test]
fn a_retransmitted_allocate_is_answered_with_the_same_bytes() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP);
    let request = caller.sign(request.lifetime(Duration::from_mins(30)));
    assert_eq!(code(&world.request(client(), request.clone()).unwrap()), 0);
    let first = answered(&mut world, &request.clone().finish());
    world.wait(Duration::from_secs(31));
    assert_eq!(code(&caller.refresh(&mut world, 3000)), 0);
    assert_eq!(answered(&mut world, &request.finish()), first);
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn the_first_answer_to_an_allocate_has_the_bytes_that_its_retransmission_gets() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP).even_port(true);
    let request = caller.sign(request).finish();
    let frame = Frame::of_datagram(&request).unwrap();
    world.server.handle_client(world.now, client(), frame);
    let Some(Command::OpenRelay { relay, .. }) = world.server.poll_command() else { panic!("no relay") };
    world.server.handle_relay_opened(relay, Some(addr("192.0.2.99:50000")));
    let Some(Command::Send { bytes: first, .. }) = world.server.poll_command() else { panic!("no answer") };
    assert_eq!(answered(&mut world, &request), first);
}

/// One that comes before the relay socket is open is not answered twice, nor with an error.
#[test]
fn an_allocate_that_is_retransmitted_before_it_is_answered_gets_one_answer() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP);
    let request = caller.sign(request).finish();
    let frame = || Frame::of_datagram(&request).unwrap();
    world.server.handle_client(world.now, client(), frame());
    let Some(Command::OpenRelay { relay, .. }) = world.server.poll_command() else { panic!("no relay") };
    world.server.handle_client(world.now, client(), frame());
    assert!(world.server.poll_command().is_none());
    world.server.handle_relay_opened(relay, Some(addr("192.0.2.99:50000")));
    assert!(matches!(world.server.poll_command(), Some(Command::Send { .. })));
    assert!(world.server.poll_command().is_none());
}

/// libwebrtc discards a response in which there is anything that must be understood and that it does not know.
#[test]
fn answers_carry_nothing_that_a_client_of_2010_would_have_to_understand() {
    const OF_RFC_5389_AND_5766: [u16; 14] =
        [0x1, 0x6, 0x8, 0x9, 0xa, 0xc, 0xd, 0x12, 0x13, 0x14, 0x15, 0x16, 0x20, 0x22];
    let mut world = World::new();
    let id = TransactionId([1; 12]);
    let challenge = answered(&mut world, &Builder::request(Method::Allocate, id).finish());
    let binding = answered(&mut world, &Builder::request(Method::Binding, id).finish());
    let mut caller = Caller::new(&mut world, client());
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP).even_port(true);
    let allocate = caller.sign(request);
    world.request(client(), allocate.clone());
    let mut answers = vec![challenge, binding, answered(&mut world, &allocate.finish())];
    for method in [Method::Refresh, Method::CreatePermission, Method::ChannelBind] {
        for peer in [ANNOUNCED, REFUSED] {
            let request = caller.unsigned(method).xor_peer_address(addr(peer));
            let request = if method == Method::ChannelBind {
                request.channel_number(ChannelNumber::MIN)
            } else {
                request
            };
            answers.push(answered(&mut world, &caller.sign(request).finish()));
        }
    }
    for answer in &answers {
        let unknown = |attr: &u16| *attr < 0x8000 && !OF_RFC_5389_AND_5766.contains(attr);
        assert_eq!(attribute_types(answer).into_iter().find(unknown), None, "{answer:x?}");
    }
}

/// Both browsers look for it and take an answer without for none.
#[test]
fn every_success_is_signed_with_the_key_of_its_request() {
    let (mut world, mut caller, _) = allocated();
    for answer in [
        caller.refresh(&mut world, 600),
        caller.permit(&mut world, &[ANNOUNCED]),
        caller.bind(&mut world, 0x4000, ANNOUNCED),
        caller.refresh(&mut world, 0),
    ] {
        assert!(code(&answer) == 0 && answer.verify(&caller.key()));
    }
}

/// Firefox tries once more after a 438, and not twice.
#[test]
fn each_request_with_a_stale_nonce_gets_one_438_and_is_then_served() {
    let (mut world, mut caller, _) = allocated();
    assert_eq!(code(&caller.refresh(&mut world, 3600)), 0);
    let asks: [fn(&mut Caller, &mut World) -> Message; 3] = [
        |caller, world| caller.refresh(world, 3600),
        |caller, world| caller.permit(world, &[ANNOUNCED]),
        |caller, world| caller.bind(world, 0x4000, ANNOUNCED),
    ];
    for _ in 0..3 {
        for ask in asks {
            for stale in ["", "made up", "0000000000000000000000000000000000000000"] {
                caller.nonce = stale.to_owned();
                let answer = ask(&mut caller, &mut world);
                assert_eq!((code(&answer), answer.realm().unwrap()), (438, Some(REALM)));
                caller.nonce = answer.nonce().unwrap().unwrap().to_owned();
                assert_eq!(code(&ask(&mut caller, &mut world)), 0);
            }
        }
        world.wait(Duration::from_mins(50));
        caller = Caller::new(&mut world, client());
        assert_eq!(code(&caller.refresh(&mut world, 3600)), 0);
    }
}

/// A nonce that was given just before it would be stale is as long good as any: there is no moment at which the one of a
/// 438 is stale as well.
#[test]
fn the_nonce_of_a_438_is_good_for_an_hour_whenever_it_is_given() {
    for minute in 0..120 {
        let mut world = World::new();
        world.wait(Duration::from_secs(minute * 61));
        let mut caller = Caller::new(&mut world, client());
        caller.nonce = "stale".to_owned();
        let answer = caller.allocate(&mut world);
        caller.nonce = answer.nonce().unwrap().unwrap().to_owned();
        assert_eq!(code(&caller.allocate(&mut world)), 0);
        assert_eq!(code(&caller.refresh(&mut world, 3600)), 0);
        world.wait(Duration::from_secs(3595));
        assert_eq!(code(&caller.refresh(&mut world, 600)), 0, "{minute}");
    }
}

/// Anything else than a 403 ends Firefox's whole allocation.
#[test]
fn every_peer_that_is_refused_is_a_403_whatever_its_family_and_the_allocations() {
    for family in [Family::V4, Family::V6] {
        let mut world = World::with(Settings { families: vec![family], ..settings() });
        let (mut caller, _) = Caller::allocated(&mut world, client());
        for refused in [
            REFUSED,
            "127.0.0.1:40000",
            "10.0.0.3:40000",
            "0.0.0.0:40000",
            "255.255.255.255:40000",
            "[::1]:40000",
            "[2001:db8::6]:40000",
            "[fe80::1]:40000",
            "[::ffff:127.0.0.1]:40000",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[2002:a9fe:a9fe::1]:80",
        ] {
            assert_eq!(code(&caller.permit(&mut world, &[refused])), 403, "{refused} {family:?}");
            assert_eq!(code(&caller.bind(&mut world, 0x4000, refused)), 403, "{refused} {family:?}");
        }
    }
}

/// Firefox asks for an hour, and refreshes shortly before that is over; Chromium asks for nothing.
#[test]
fn firefox_gets_the_hour_that_it_asks_for_and_chromium_ten_minutes() {
    for (asked, granted) in [(Some(3600), 3600), (None, 600)] {
        let mut world = World::new();
        let mut caller = Caller::new(&mut world, client());
        let answer = caller.ask(&mut world, Method::Allocate, |it| {
            asked
                .map(Duration::from_secs)
                .into_iter()
                .fold(it.requested_transport(PROTOCOL_UDP), Builder::lifetime)
        });
        assert_eq!(answer.lifetime().unwrap(), Some(Duration::from_secs(granted)));
        world.wait(Duration::from_secs(granted - 10));
        assert_eq!(code(&caller.refresh(&mut world, granted)), 0);
    }
}

/// Chromium binds a channel again every four minutes, and permits its peer as often.
#[test]
fn a_channel_that_is_bound_again_lasts_ten_minutes_from_then_and_its_permission_five() {
    let (mut world, mut caller, relay) = allocated();
    assert_eq!(code(&caller.refresh(&mut world, 3600)), 0);
    for _ in 0..5 {
        assert_eq!(code(&caller.bind(&mut world, 0x4000, NEIGHBOUR)), 0);
        world.wait(Duration::from_secs(299));
        assert!(world.peer_sends(relay, NEIGHBOUR, b"x").is_some());
    }
    world.wait(Duration::from_mins(5));
    assert!(world.client_sends(caller.client, &channel_data(0x4000, b"x")).is_some());
    world.wait(Duration::from_secs(1));
    assert_eq!(world.client_sends(caller.client, &channel_data(0x4000, b"x")), None);
}

/// It numbers channels upward from the first, one for each peer.
#[test]
fn channels_are_bound_one_after_the_other_from_the_first() {
    let (mut world, mut caller, relay) = allocated();
    for channel in 0x4000..0x4004_u16 {
        let peer = format!("10.0.0.6:{}", 40000 + channel % 0x100);
        assert_eq!(code(&caller.bind(&mut world, channel, &peer)), 0);
        let (_, bytes) = world.peer_sends(relay, &peer, b"x").unwrap();
        assert_eq!(bytes, channel_data(channel, b"x"));
    }
}

/// Firefox never binds a channel, and reads what comes on TCP by the header of a message.
#[test]
fn a_client_without_channels_gets_messages_and_nothing_else_on_a_stream() {
    let mut world = World::new();
    let (mut caller, relay) = Caller::allocated(&mut world, stream("198.51.100.7:50000"));
    caller.permit(&mut world, &[NEIGHBOUR]);
    for len in 0..9 {
        let (_, bytes) = world.peer_sends(relay, NEIGHBOUR, &vec![7; len]).unwrap();
        assert!(bytes.len().is_multiple_of(4));
        let announced = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        assert_eq!((bytes[0] & 0xc0, bytes.len()), (0, 20 + announced));
        assert_eq!(Indication::read(&bytes).unwrap().payload, vec![7; len]);
    }
}

/// The last Refresh of a page that closes may never arrive, and the same port of the same computer come again.
#[test]
fn a_client_that_went_without_a_word_can_come_again_once_its_lifetime_is_over() {
    let (mut world, _, _) = allocated();
    let mut again = Caller::new(&mut world, client());
    // Whoever comes again numbers its requests anew; one with a number that was there is a retransmission.
    drop(again.unsigned(Method::Allocate));
    assert_eq!(code(&again.allocate(&mut world)), 437);
    world.wait(Duration::from_mins(10));
    assert_eq!(code(&again.allocate(&mut world)), 0);
}
