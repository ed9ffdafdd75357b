//! Who is reached, under which name, and what a changed policy does to sessions that live.

use super::harness::*;
use crate::turn::{AnsweringAddress, MappedAddress, PeerPolicy, RelayId};
use crate::wire::*;

fn allocated() -> (World, Caller, RelayId) {
    let mut world = World::new();
    let (caller, relay) = Caller::allocated(&mut world, udp("198.51.100.7:50000"));
    (world, caller, relay)
}

/// The name under which a peer's packet reaches the client.
fn name_of(world: &mut World, relay: RelayId, from: &str) -> Option<std::net::SocketAddr> {
    let (_, bytes) = world.peer_sends(relay, from, b"x")?;
    Indication::read(&bytes).map(|data| data.peer)
}

#[test]
fn an_announced_address_is_reached_at_its_real_one_and_answers_in_its_own_name() {
    let (mut world, mut caller, relay) = allocated();
    assert_eq!(code(&caller.permit(&mut world, &[ANNOUNCED])), 0);
    assert_eq!(world.client_sends(caller.client, &send(ANNOUNCED, b"x")).unwrap().peer, addr(DIALOG));
    assert_eq!(name_of(&mut world, relay, DIALOG), Some(addr(ANNOUNCED)));
    assert_eq!(name_of(&mut world, relay, "10.0.0.5:40999"), Some(addr("203.0.113.9:40999")));
    assert_eq!(name_of(&mut world, relay, ANNOUNCED), None, "nobody is there");
}

#[test]
fn a_host_with_two_names_answers_in_the_one_that_was_asked() {
    let (mut world, mut caller, relay) = allocated();
    let (by_its_own, by_announced) = ("10.0.0.5:40001", "203.0.113.9:40002");
    caller.permit(&mut world, &[by_its_own, by_announced]);
    world.client_sends(caller.client, &send(by_its_own, b"x")).unwrap();
    world.client_sends(caller.client, &send(by_announced, b"x")).unwrap();
    assert_eq!(name_of(&mut world, relay, "10.0.0.5:40001"), Some(addr(by_its_own)));
    assert_eq!(name_of(&mut world, relay, "10.0.0.5:40002"), Some(addr(by_announced)));
}

#[test]
fn browsers_get_a_403_for_dialogs_loopback_candidate_and_go_on() {
    let (mut world, mut caller, _) = allocated();
    assert_eq!(code(&caller.permit(&mut world, &["127.0.0.1:40100"])), 403);
    assert_eq!(code(&caller.permit(&mut world, &[ANNOUNCED])), 0);
}

#[test]
fn more_peers_than_are_remembered_still_get_their_packets() {
    let (mut world, mut caller, _) = allocated();
    caller.permit(&mut world, &[NEIGHBOUR]);
    for _ in 0..2 {
        for port in 40000..40020 {
            let peer = format!("10.0.0.6:{port}");
            assert_eq!(world.client_sends(caller.client, &send(&peer, b"x")).unwrap().peer, addr(&peer));
        }
    }
}

#[test]
fn a_policy_that_refuses_a_peer_ends_its_permissions_and_channels() {
    let (mut world, mut caller, relay) = allocated();
    caller.bind(&mut world, 0x4000, NEIGHBOUR);
    world.client_sends(caller.client, &send(NEIGHBOUR, b"x")).unwrap();
    world.server.set_peers(PeerPolicy::default());
    assert_eq!(world.client_sends(caller.client, &channel_data(0x4000, b"x")), None);
    assert_eq!(world.client_sends(caller.client, &send(NEIGHBOUR, b"x")), None);
    assert_eq!(world.peer_sends(relay, NEIGHBOUR, b"x"), None);
}

#[test]
fn a_policy_that_maps_elsewhere_moves_permissions_and_channels() {
    let (mut world, mut caller, relay) = allocated();
    caller.bind(&mut world, 0x4000, ANNOUNCED);
    let moved = MappedAddress { announced: addr(ANNOUNCED).ip(), actual: addr(NEIGHBOUR).ip() };
    world.server.set_peers(PeerPolicy { map: vec![moved], ..policy() });
    let media = world.client_sends(caller.client, &channel_data(0x4000, b"x")).unwrap();
    assert_eq!(media.peer, addr("10.0.0.6:40123"));
    assert!(world.peer_sends(relay, "10.0.0.6:40123", b"x").is_some());
    assert_eq!(world.peer_sends(relay, DIALOG, b"x"), None);
}

/// Dialog listens on every address of its node, and its kernel answers a neighbour from the one that lies towards it.
#[test]
fn who_answers_from_another_address_of_its_own_is_heard_by_the_name_that_was_asked() {
    let bridge = "10.244.0.1:40123";
    let answers = AnsweringAddress { from: addr(bridge).ip(), actual: addr(DIALOG).ip() };
    let with_bridge = PeerPolicy { answers: vec![answers], ..policy() };
    let (mut world, mut caller, relay) = allocated();
    caller.permit(&mut world, &[ANNOUNCED]);
    assert_eq!(world.peer_sends(relay, bridge, b"who are you?"), None);
    world.server.set_peers(with_bridge);
    let (_, received) = world.peer_sends(relay, bridge, b"media").unwrap();
    let data = Indication::read(&received).unwrap();
    assert_eq!((data.peer, data.payload), (addr(ANNOUNCED), &b"media"[..]));
    caller.bind(&mut world, 0x4000, ANNOUNCED);
    let (_, received) = world.peer_sends(relay, bridge, b"media").unwrap();
    assert_eq!(received, channel_data(0x4000, b"media"));
    world.wait(std::time::Duration::from_mins(5));
    assert_eq!(world.peer_sends(relay, bridge, b"too late"), None, "the permission is over");
}
