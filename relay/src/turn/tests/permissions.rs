//! RFC 8656 sections 9 and 10: permissions.

use std::time::Duration;

use super::harness::*;
use crate::wire::*;

fn allocated() -> (World, Caller, crate::turn::RelayId) {
    let mut world = World::new();
    let (caller, relay) = Caller::allocated(&mut world, udp("198.51.100.7:50000"));
    (world, caller, relay)
}

#[test]
fn one_request_can_permit_several_peers() {
    let (mut world, mut caller, relay) = allocated();
    assert_eq!(code(&caller.permit(&mut world, &[ANNOUNCED, NEIGHBOUR])), 0);
    assert!(world.peer_sends(relay, DIALOG, b"x").is_some());
    assert!(world.peer_sends(relay, NEIGHBOUR, b"x").is_some());
}

#[test]
fn one_refused_peer_is_a_403_for_all_of_a_request() {
    let (mut world, mut caller, relay) = allocated();
    assert_eq!(code(&caller.permit(&mut world, &[NEIGHBOUR, REFUSED, ANNOUNCED])), 403);
    assert_eq!(world.peer_sends(relay, NEIGHBOUR, b"x"), None);
    assert_eq!(world.peer_sends(relay, DIALOG, b"x"), None);
}

#[test]
fn a_permission_is_for_a_host_whatever_port_it_names() {
    let (mut world, mut caller, relay) = allocated();
    for port in ["0", "22", "40001", "65535"] {
        assert_eq!(code(&caller.permit(&mut world, &[&format!("10.0.0.6:{port}")])), 0, "{port}");
        assert_eq!(code(&caller.permit(&mut world, &[&format!("127.0.0.1:{port}")])), 403, "{port}");
    }
    assert!(world.peer_sends(relay, NEIGHBOUR, b"x").is_some());
    for port in ["0", "22", "65535"] {
        let peer = format!("10.0.0.6:{port}");
        assert_eq!(world.client_sends(caller.client, &send(&peer, b"x")), None, "{port}");
        assert_eq!(code(&caller.bind(&mut world, 0x4000, &peer)), 403, "{port}");
    }
}

#[test]
fn a_request_without_a_peer_or_with_a_broken_one_is_a_400() {
    let (mut world, mut caller, _) = allocated();
    assert_eq!(code(&caller.permit(&mut world, &[])), 400);
    let broken = caller.ask(&mut world, Method::CreatePermission, |it| {
        it.xor_peer_address(addr(NEIGHBOUR)).attribute(attribute::XOR_PEER_ADDRESS, &[0, 1, 2])
    });
    assert_eq!(code(&broken), 400);
}

#[test]
fn an_allowed_peer_of_the_other_family_is_a_443() {
    let (mut world, mut caller, _) = allocated();
    assert_eq!(code(&caller.permit(&mut world, &["[2001:db8::5]:40000"])), 443);
    assert_eq!(code(&caller.permit(&mut world, &["[::ffff:10.0.0.5]:40000"])), 443);
}

#[test]
fn a_permission_lasts_five_minutes_and_can_be_renewed() {
    let (mut world, mut caller, relay) = allocated();
    caller.permit(&mut world, &[NEIGHBOUR]);
    world.wait(Duration::from_secs(299));
    assert!(world.peer_sends(relay, NEIGHBOUR, b"x").is_some());
    assert_eq!(code(&caller.permit(&mut world, &[NEIGHBOUR])), 0);
    world.wait(Duration::from_secs(299));
    assert!(world.peer_sends(relay, NEIGHBOUR, b"x").is_some());
    assert!(world.client_sends(caller.client, &send(NEIGHBOUR, b"x")).is_some());
    world.wait(Duration::from_secs(1));
    assert_eq!(world.peer_sends(relay, NEIGHBOUR, b"x"), None);
    assert_eq!(world.client_sends(caller.client, &send(NEIGHBOUR, b"x")), None);
}

#[test]
fn permissions_beyond_the_limit_are_a_508_until_others_expire() {
    let (mut world, mut caller, _) = allocated();
    let peers = ["10.0.0.4:40000", "10.0.0.5:40000", "10.0.0.6:40000", "10.0.0.7:40000"];
    assert_eq!(code(&caller.permit(&mut world, &peers)), 0);
    assert_eq!(code(&caller.permit(&mut world, &peers)), 0, "renewing needs no room");
    assert_eq!(code(&caller.permit(&mut world, &[ANNOUNCED])), 508);
    world.wait(Duration::from_mins(5));
    assert_eq!(code(&caller.permit(&mut world, &[ANNOUNCED])), 0);
}
