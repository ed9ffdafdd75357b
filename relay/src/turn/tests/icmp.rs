//! RFC 8656 section 11.5: what the network says of packets to peers.

use super::harness::*;
use crate::turn::RelayId;
use crate::wire::*;

const UNREACHABLE: Icmp = Icmp { kind: 3, code: 3, data: 0 };

fn allocated() -> (World, Caller, RelayId) {
    let mut world = World::new();
    let (caller, relay) = Caller::allocated(&mut world, udp("198.51.100.7:50000"));
    (world, caller, relay)
}

#[test]
fn the_client_of_a_permitted_peer_hears_of_it_by_the_name_that_it_uses() {
    let (mut world, mut caller, relay) = allocated();
    caller.permit(&mut world, &[ANNOUNCED]);
    world.client_sends(caller.client, &send(ANNOUNCED, b"anybody there?")).unwrap();
    let (client, told) = world.network_says(relay, DIALOG, UNREACHABLE).unwrap();
    assert_eq!(client, caller.client);
    assert_eq!((told.class(), told.method()), (Class::Indication, Method::Data));
    assert_eq!(told.xor_peer_address(), Ok(Some(addr(ANNOUNCED))));
    assert_eq!(told.icmp(), Ok(Some(UNREACHABLE)));
    assert_eq!(told.data(), None);
}

#[test]
fn what_is_said_of_a_channels_peer_names_the_peer_as_the_channel_does() {
    let (mut world, mut caller, relay) = allocated();
    caller.permit(&mut world, &[DIALOG]);
    caller.bind(&mut world, 0x4000, ANNOUNCED);
    let too_big = Icmp { kind: 3, code: 4, data: 1280 };
    let (_, told) = world.network_says(relay, DIALOG, too_big).unwrap();
    assert_eq!(told.xor_peer_address(), Ok(Some(addr(ANNOUNCED))));
    assert_eq!(told.icmp(), Ok(Some(too_big)));
}

#[test]
fn nobody_hears_of_a_peer_without_a_permission() {
    let (mut world, mut caller, relay) = allocated();
    assert!(world.network_says(relay, DIALOG, UNREACHABLE).is_none());
    caller.permit(&mut world, &[ANNOUNCED]);
    assert!(world.network_says(relay, NEIGHBOUR, UNREACHABLE).is_none());
    world.wait(std::time::Duration::from_mins(5));
    assert!(world.network_says(relay, DIALOG, UNREACHABLE).is_none());
    caller.refresh(&mut world, 0);
    assert!(world.network_says(relay, DIALOG, UNREACHABLE).is_none());
}
