//! ADDITIONAL-ADDRESS-FAMILY: one allocation with a relayed address of each family (RFC 8656 sections 7.2, 8.2 and 18.11).

use std::net::SocketAddr;
use std::time::Duration;

use super::harness::*;
use crate::turn::{Client, Limits, RelayId, Settings};
use crate::wire::*;

const DIALOG_V6: &str = "[2001:db8::5]:40123";

fn client() -> Client {
    udp("198.51.100.7:50000")
}

fn world() -> World {
    World::with(Settings { families: vec![Family::V4, Family::V6], ..settings() })
}

fn ask(world: &mut World, caller: &mut Caller, fill: impl FnOnce(Builder) -> Builder) -> Message {
    caller.ask(world, Method::Allocate, |it| {
        fill(it.requested_transport(PROTOCOL_UDP).additional_address_family(Family::V6))
    })
}

fn relayed(answer: &Message) -> Vec<SocketAddr> {
    answer.xor_relayed_addresses().map(Result::unwrap).collect()
}

/// A client with both, and the relay of each family.
fn allocated() -> (World, Caller, [RelayId; 2]) {
    let mut world = world();
    let mut caller = Caller::new(&mut world, client());
    assert_eq!(code(&ask(&mut world, &mut caller, |it| it)), 0);
    let relay = |is_ipv6| {
        let mut relays = world.relays.iter();
        *relays.find(|(_, address)| address.is_ipv6() == is_ipv6).unwrap().0
    };
    let relays = [relay(false), relay(true)];
    (world, caller, relays)
}

#[test]
fn who_asks_for_both_families_gets_both_in_one_answer() {
    let mut world = world();
    let mut caller = Caller::new(&mut world, client());
    let answer = ask(&mut world, &mut caller, |it| it);
    assert_eq!(code(&answer), 0);
    let families: Vec<bool> = relayed(&answer).iter().map(SocketAddr::is_ipv6).collect();
    assert_eq!(families, [false, true]);
    assert_eq!(answer.address_error_code(), Ok(None));
    assert_eq!(world.relays.len(), 2);
}

#[test]
fn a_retransmitted_allocate_gets_the_same_two_addresses() {
    let mut world = world();
    let mut caller = Caller::new(&mut world, client());
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP);
    let request = caller.sign(request.additional_address_family(Family::V6));
    let first = world.request(client(), request.clone()).unwrap();
    let second = world.request(client(), request).unwrap();
    assert_eq!((code(&first), relayed(&first)), (0, relayed(&second)));
    assert_eq!(world.relays.len(), 2);
}

#[test]
fn a_family_that_we_do_not_have_is_a_440_in_the_answer_with_the_other() {
    for (have, lacks) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
        let mut world = World::with(Settings { families: vec![have], ..settings() });
        let mut caller = Caller::new(&mut world, client());
        let answer = ask(&mut world, &mut caller, |it| it);
        assert_eq!((code(&answer), relayed(&answer).len()), (0, 1));
        assert_eq!(answer.address_error_code(), Ok(Some((lacks, ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED))));
    }
}

#[test]
fn a_family_for_which_there_is_no_port_is_a_508_in_the_answer_with_the_other() {
    for lacks in [Family::V4, Family::V6] {
        let mut world = world();
        world.unavailable = Some(lacks);
        let mut caller = Caller::new(&mut world, client());
        let answer = ask(&mut world, &mut caller, |it| it);
        assert_eq!((code(&answer), relayed(&answer).len()), (0, 1));
        assert_eq!(answer.address_error_code(), Ok(Some((lacks, ErrorCode::INSUFFICIENT_CAPACITY))));
        assert_eq!(world.server.sessions(), 1);
    }
    let mut world = world();
    world.ports_left = 0;
    let mut caller = Caller::new(&mut world, client());
    assert_eq!(code(&ask(&mut world, &mut caller, |it| it)), 508);
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn both_families_go_with_no_other_wish_for_an_address() {
    let mut world = world();
    let mut caller = Caller::new(&mut world, client());
    let token = ReservationToken([7; 8]);
    assert_eq!(code(&ask(&mut world, &mut caller, |it| it.requested_address_family(Family::V4))), 400);
    assert_eq!(code(&ask(&mut world, &mut caller, |it| it.reservation_token(token))), 400);
    assert_eq!(code(&ask(&mut world, &mut caller, |it| it.even_port(true))), 400);
    let ipv4_in_addition = caller.ask(&mut world, Method::Allocate, |it| {
        it.requested_transport(PROTOCOL_UDP).additional_address_family(Family::V4)
    });
    assert_eq!(code(&ipv4_in_addition), 400);
    assert_eq!(world.server.sessions(), 0);
    let even = ask(&mut world, &mut caller, |it| it.even_port(false));
    assert!(relayed(&even).iter().all(|it| it.port().is_multiple_of(2)));
}

#[test]
fn both_families_count_as_two() {
    let limits = Limits { sessions_per_address: Some(1), ..settings().limits };
    let mut world = World::with(Settings { families: vec![Family::V4, Family::V6], limits, ..settings() });
    let mut caller = Caller::new(&mut world, client());
    assert_eq!(code(&ask(&mut world, &mut caller, |it| it)), 486);
    let limits = Limits { sessions: 1, ..settings().limits };
    world.server.set_limits(limits);
    assert_eq!(code(&ask(&mut world, &mut caller, |it| it)), 508);
    assert_eq!(code(&caller.allocate(&mut world)), 0);
}

#[test]
fn each_peer_is_reached_from_the_address_of_its_family() {
    let (mut world, mut caller, relays) = allocated();
    assert_eq!(code(&caller.permit(&mut world, &[DIALOG, DIALOG_V6])), 0);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, DIALOG)), 0);
    assert_eq!(code(&caller.bind(&mut world, 0x4001, DIALOG_V6)), 0);
    for (peer, channel, relay) in [(DIALOG, 0x4000, relays[0]), (DIALOG_V6, 0x4001, relays[1])] {
        assert_eq!(world.client_sends(client(), &send(peer, b"indication")).unwrap().relay, relay);
        assert_eq!(world.client_sends(client(), &channel_data(channel, b"channel")).unwrap().relay, relay);
        let (to, received) = world.peer_sends(relay, peer, b"back").unwrap();
        assert_eq!((to, received), (client(), channel_data(channel, b"back")));
    }
    assert!(world.peer_sends(relays[0], DIALOG_V6, b"the wrong socket").is_none());
}

#[test]
fn a_channel_number_is_one_peers_whatever_its_family() {
    let (mut world, mut caller, _) = allocated();
    assert_eq!(code(&caller.bind(&mut world, 0x4000, DIALOG)), 0);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, DIALOG_V6)), 400);
    world.wait(Duration::from_mins(9));
    assert_eq!(code(&caller.refresh(&mut world, 3600)), 0);
    world.wait(Duration::from_mins(1));
    assert_eq!(code(&caller.bind(&mut world, 0x4000, DIALOG_V6)), 0, "the other one has expired");
}

#[test]
fn permissions_of_both_families_are_granted_together_or_not_at_all() {
    let limits = Limits { permissions: 1, ..settings().limits };
    let mut world = World::with(Settings { families: vec![Family::V4, Family::V6], limits, ..settings() });
    let mut caller = Caller::new(&mut world, client());
    assert_eq!(code(&ask(&mut world, &mut caller, |it| it)), 0);
    assert_eq!(code(&caller.permit(&mut world, &[DIALOG_V6, DIALOG, NEIGHBOUR])), 508);
    assert!(world.client_sends(client(), &send(DIALOG_V6, b"not permitted")).is_none());
    assert_eq!(code(&caller.permit(&mut world, &[DIALOG_V6, REFUSED])), 403);
    assert!(world.client_sends(client(), &send(DIALOG_V6, b"not permitted")).is_none());
    assert_eq!(code(&caller.permit(&mut world, &[DIALOG_V6, DIALOG])), 0);
    assert!(world.client_sends(client(), &send(DIALOG_V6, b"permitted")).is_some());
}

#[test]
fn a_refresh_is_for_both_unless_it_names_one() {
    let (mut world, mut caller, relays) = allocated();
    let refresh = |caller: &mut Caller, world: &mut World, family: Family, seconds| {
        caller.ask(world, Method::Refresh, |it| {
            it.lifetime(Duration::from_secs(seconds)).requested_address_family(family)
        })
    };
    assert_eq!(code(&refresh(&mut caller, &mut world, Family::V6, 3600)), 0);
    world.wait(Duration::from_mins(10));
    assert_eq!(world.relays.keys().collect::<Vec<_>>(), [&relays[1]], "the other one has expired");
    assert_eq!(code(&refresh(&mut caller, &mut world, Family::V4, 600)), 443);
    assert_eq!(code(&caller.permit(&mut world, &[DIALOG])), 443);
    assert_eq!(code(&caller.permit(&mut world, &[DIALOG_V6])), 0);
    assert_eq!(code(&caller.refresh(&mut world, 0)), 0);
    assert!(world.relays.is_empty());
}

#[test]
fn one_address_can_be_given_back_and_the_other_kept() {
    for (given_back, kept) in [(Family::V4, DIALOG_V6), (Family::V6, DIALOG)] {
        let (mut world, mut caller, _) = allocated();
        caller.permit(&mut world, &[DIALOG, DIALOG_V6]);
        let answer = caller.ask(&mut world, Method::Refresh, |it| {
            it.lifetime(Duration::ZERO).requested_address_family(given_back)
        });
        assert_eq!((code(&answer), world.relays.len()), (0, 1));
        assert!(world.client_sends(client(), &send(kept, b"still here")).is_some());
        world.disconnect(client());
        assert!(world.relays.is_empty());
        assert_eq!(world.server.sessions(), 0);
    }
}
