//! RFC 8656 section 7: Allocate.

use std::time::Duration;

use super::harness::*;
use crate::turn::{Limits, Settings};
use crate::wire::*;

fn client() -> crate::turn::Client {
    udp("198.51.100.7:50000")
}

#[test]
fn an_allocation_comes_with_its_addresses_and_lifetime_signed() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let answer = caller.allocate(&mut world);
    assert_eq!(code(&answer), 0);
    let relayed = world.relays.values().next().copied();
    assert_eq!(answer.xor_relayed_address().unwrap(), relayed);
    assert_eq!(answer.xor_mapped_address().unwrap(), Some(client().remote));
    assert_eq!(answer.lifetime().unwrap(), Some(Duration::from_mins(10)));
    assert!(answer.verify(&caller.key()));
}

#[test]
fn a_lifetime_is_granted_between_ten_minutes_and_an_hour() {
    for (asked, granted) in [(0, 600), (1, 600), (601, 601), (3600, 3600), (86400, 3600)] {
        let mut world = World::new();
        let mut caller = Caller::new(&mut world, client());
        let answer = caller.ask(&mut world, Method::Allocate, |it| {
            it.requested_transport(PROTOCOL_UDP).lifetime(Duration::from_secs(asked))
        });
        assert_eq!(answer.lifetime().unwrap(), Some(Duration::from_secs(granted)), "{asked}");
    }
}

#[test]
fn a_retransmitted_allocate_gets_the_same_answer_and_no_second_relay() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP);
    let request = caller.sign(request);
    let first = world.request(client(), request.clone()).unwrap();
    world.wait(Duration::from_secs(8));
    let second = world.request(client(), request).unwrap();
    assert_eq!(code(&first), 0);
    assert_eq!(first.xor_relayed_address(), second.xor_relayed_address());
    assert_eq!(first.lifetime(), second.lifetime());
    assert!(second.verify(&caller.key()));
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn a_second_allocate_of_the_same_client_is_a_437() {
    let mut world = World::new();
    let (mut caller, _) = Caller::allocated(&mut world, client());
    assert_eq!(code(&caller.allocate(&mut world)), 437);
    let mut hubs = Caller::from_hubs(&mut world, client());
    assert_eq!(code(&hubs.allocate(&mut world)), 437, "whoever asks");
    assert_eq!(world.relays.len(), 1);
}

#[test]
fn clients_are_told_apart_by_all_of_their_five_tuple() {
    let mut world = World::new();
    let other_port = udp("198.51.100.7:50001");
    let other_local = crate::turn::Client { local: addr("192.0.2.2:3478"), ..client() };
    for client in [client(), other_port, other_local, stream("198.51.100.7:50000")] {
        Caller::allocated(&mut world, client);
    }
    assert_eq!(world.relays.len(), 4);
}

#[test]
fn an_allocate_without_transport_is_a_400_and_with_tcp_a_442() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    assert_eq!(code(&caller.ask(&mut world, Method::Allocate, |it| it)), 400);
    assert_eq!(code(&caller.ask(&mut world, Method::Allocate, |it| it.requested_transport(6))), 442);
    let short =
        caller.ask(&mut world, Method::Allocate, |it| it.attribute(attribute::REQUESTED_TRANSPORT, &[17]));
    assert_eq!(code(&short), 400);
    assert!(world.relays.is_empty());
}

#[test]
fn an_allocate_may_ask_for_dont_fragment() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let answer =
        caller.ask(&mut world, Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP).dont_fragment());
    assert_eq!(code(&answer), 0);
}

#[test]
fn an_even_port_can_be_asked_for() {
    let mut world = World::new();
    world.ports_left = 99;
    let mut caller = Caller::new(&mut world, client());
    let answer = caller.ask(&mut world, Method::Allocate, |it| {
        it.requested_transport(PROTOCOL_UDP).attribute(attribute::EVEN_PORT, &[0])
    });
    assert!(answer.xor_relayed_address().unwrap().unwrap().port().is_multiple_of(2));
}

fn families(families: &[Family]) -> World {
    World::with(Settings { families: families.to_vec(), ..settings() })
}

#[test]
fn the_relays_family_is_the_one_that_was_asked_for() {
    for (asked, is_ipv6) in [(Family::V4, false), (Family::V6, true)] {
        let mut world = families(&[Family::V4, Family::V6]);
        let mut caller = Caller::new(&mut world, client());
        let answer = caller.ask(&mut world, Method::Allocate, |it| {
            it.requested_transport(PROTOCOL_UDP).requested_address_family(asked)
        });
        assert_eq!(answer.xor_relayed_address().unwrap().unwrap().is_ipv6(), is_ipv6);
    }
}

#[test]
fn a_family_that_we_do_not_have_or_that_does_not_exist_is_a_440() {
    let mut world = families(&[Family::V4]);
    let mut caller = Caller::new(&mut world, client());
    for family in [2, 3] {
        let answer = caller.ask(&mut world, Method::Allocate, |it| {
            it.requested_transport(PROTOCOL_UDP)
                .attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0])
        });
        assert_eq!(code(&answer), 440);
    }
}

#[test]
fn without_a_wish_the_family_follows_the_client_as_far_as_we_have_it() {
    let ipv6_client = udp("[2001:db8::7]:50000");
    for (have, client, is_ipv6) in [
        (&[Family::V4, Family::V6][..], client(), false),
        (&[Family::V4, Family::V6], ipv6_client, true),
        (&[Family::V4], ipv6_client, false),
    ] {
        let mut world = families(have);
        let answer = Caller::new(&mut world, client).allocate(&mut world);
        assert_eq!(answer.xor_relayed_address().unwrap().unwrap().is_ipv6(), is_ipv6);
    }
}

#[test]
fn one_address_gets_as_many_allocations_as_the_quota_says_then_486() {
    let limits = Limits { sessions_per_address: Some(2), ..settings().limits };
    let mut world = World::with(Settings { limits, ..settings() });
    let (mut first, _) = Caller::allocated(&mut world, udp("198.51.100.7:50000"));
    Caller::allocated(&mut world, udp("198.51.100.7:50001"));
    let mut third = Caller::new(&mut world, udp("198.51.100.7:50002"));
    assert_eq!(code(&third.allocate(&mut world)), 486);
    assert_eq!(code(&Caller::new(&mut world, udp("198.51.100.8:50002")).allocate(&mut world)), 0);
    assert_eq!(code(&first.refresh(&mut world, 0)), 0);
    assert_eq!(code(&third.allocate(&mut world)), 0);
    assert_eq!(code(&first.allocate(&mut world)), 486);
}

#[test]
fn a_network_of_ipv6_has_one_quota() {
    let limits = Limits { sessions_per_address: Some(1), ..settings().limits };
    let mut world = World::with(Settings { limits, ..settings() });
    let mut allocate = |remote| code(&Caller::new(&mut world, udp(remote)).allocate(&mut world));
    assert_eq!(allocate("[2001:db8::1]:50000"), 0);
    assert_eq!(allocate("[2001:db8::ffff]:50000"), 486);
    assert_eq!(allocate("[2001:db8:0:1::1]:50000"), 0);
}

#[test]
fn a_full_server_says_508_and_has_room_again_when_a_session_ends() {
    let limits = Limits { sessions: 1, ..settings().limits };
    let mut world = World::with(Settings { limits, ..settings() });
    let (mut first, _) = Caller::allocated(&mut world, client());
    let mut second = Caller::new(&mut world, udp("198.51.100.8:50000"));
    assert_eq!(code(&second.allocate(&mut world)), 508);
    assert_eq!(code(&first.refresh(&mut world, 0)), 0);
    assert_eq!(code(&second.allocate(&mut world)), 0);
}

#[test]
fn a_relay_socket_that_cannot_be_opened_is_a_508_and_leaves_nothing_behind() {
    let mut world = World::new();
    world.ports_left = 0;
    let mut caller = Caller::new(&mut world, client());
    assert_eq!(code(&caller.allocate(&mut world)), 508);
    assert_eq!((world.server.sessions(), world.server.poll_timeout()), (0, None));
    world.ports_left = 1;
    assert_eq!(code(&caller.allocate(&mut world)), 0);
}

#[test]
fn a_closed_connection_closes_its_relay() {
    let mut world = World::new();
    let (caller, relay) = Caller::allocated(&mut world, stream("198.51.100.7:50000"));
    world.disconnect(caller.client);
    assert!(!world.relays.contains_key(&relay));
    assert_eq!(world.server.sessions(), 0);
}
