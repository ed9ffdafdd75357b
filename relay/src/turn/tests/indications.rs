//! RFC 8656 section 11: Send and Data indications.

use super::harness::*;
use crate::wire::*;

fn allocated() -> (World, Caller, crate::turn::RelayId) {
    let mut world = World::new();
    let (caller, relay) = Caller::allocated(&mut world, udp("198.51.100.7:50000"));
    (world, caller, relay)
}

#[test]
fn a_send_indication_goes_to_a_permitted_peer() {
    let (mut world, mut caller, relay) = allocated();
    caller.permit(&mut world, &[NEIGHBOUR]);
    for payload in [&b""[..], b"a", b"some media"] {
        let delivered = world.client_sends(caller.client, &send(NEIGHBOUR, payload));
        let (peer, fragmentation) = (addr(NEIGHBOUR), Fragmentation::Allowed);
        let expected = Delivered { relay, peer, fragmentation, payload: payload.to_vec() };
        assert_eq!(delivered, Some(expected));
    }
}

/// RFC 8656 section 11.2.
#[test]
fn a_send_indication_with_dont_fragment_is_not_cut_up() {
    let (mut world, mut caller, _) = allocated();
    caller.permit(&mut world, &[ANNOUNCED]);
    let id = TransactionId([9; 12]);
    let whole = Builder::new(Class::Indication, Method::Send, id).xor_peer_address(addr(ANNOUNCED));
    let delivered =
        world.client_sends(caller.client, &whole.dont_fragment().data(b"payload").finish()).unwrap();
    assert_eq!(delivered.fragmentation, Fragmentation::Forbidden);
    let delivered = world.client_sends(caller.client, &send(ANNOUNCED, b"payload")).unwrap();
    assert_eq!(delivered.fragmentation, Fragmentation::Allowed);
}

#[test]
fn a_send_indication_without_permission_or_allocation_is_dropped() {
    let (mut world, caller, _) = allocated();
    assert_eq!(world.client_sends(caller.client, &send(NEIGHBOUR, b"x")), None);
    assert_eq!(world.client_sends(udp("198.51.100.8:1"), &send(NEIGHBOUR, b"x")), None);
}

#[test]
fn a_permission_for_a_host_does_not_open_its_refused_ports() {
    let (mut world, mut caller, _) = allocated();
    caller.permit(&mut world, &[NEIGHBOUR]);
    assert_eq!(world.client_sends(caller.client, &send("10.0.0.6:22", b"x")), None);
    assert!(world.client_sends(caller.client, &send("10.0.0.6:49999", b"x")).is_some());
}

#[test]
fn a_send_indication_that_lacks_its_peer_or_data_is_dropped() {
    let (mut world, mut caller, _) = allocated();
    caller.permit(&mut world, &[NEIGHBOUR]);
    let send = || Builder::new(Class::Indication, Method::Send, TransactionId([1; 12]));
    for broken in [send().data(b"x"), send().xor_peer_address(addr(NEIGHBOUR)), send()] {
        assert_eq!(world.client_sends(caller.client, &broken.finish()), None);
    }
}

#[test]
fn a_permitted_peer_reaches_the_client_from_any_of_its_ports() {
    let (mut world, mut caller, relay) = allocated();
    caller.permit(&mut world, &[NEIGHBOUR]);
    for from in [NEIGHBOUR, "10.0.0.6:9"] {
        let (client, bytes) = world.peer_sends(relay, from, b"hello").unwrap();
        assert_eq!(client, caller.client);
        let data = Indication::read(&bytes).unwrap();
        assert_eq!((data.kind, data.peer, data.payload), (IndicationKind::Data, addr(from), &b"hello"[..]));
    }
}

#[test]
fn a_packet_from_a_host_without_permission_is_dropped() {
    let (mut world, mut caller, relay) = allocated();
    caller.permit(&mut world, &[NEIGHBOUR]);
    assert_eq!(world.peer_sends(relay, DIALOG, b"x"), None);
    assert_eq!(world.peer_sends(relay, REFUSED, b"x"), None);
}

#[test]
fn data_indications_have_different_ids() {
    let (mut world, mut caller, relay) = allocated();
    caller.permit(&mut world, &[NEIGHBOUR]);
    let (_, first) = world.peer_sends(relay, NEIGHBOUR, b"x").unwrap();
    let (_, second) = world.peer_sends(relay, NEIGHBOUR, b"x").unwrap();
    assert_ne!(first[8..20], second[8..20]);
}
