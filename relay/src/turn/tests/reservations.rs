//! RFC 8656 sections 7.2, 18.6 and 18.8: two ports next to each other.

use std::time::Duration;

use super::harness::*;
use crate::auth::Secret;
use crate::turn::{Client, Limits};
use crate::wire::*;

fn client(port: u16) -> Client {
    udp(&format!("198.51.100.7:{port}"))
}

fn allocate(world: &mut World, caller: &mut Caller, fill: impl FnOnce(Builder) -> Builder) -> Message {
    caller.ask(world, Method::Allocate, |it| fill(it.requested_transport(PROTOCOL_UDP)))
}

fn reserve(world: &mut World, caller: &mut Caller) -> Message {
    allocate(world, caller, |it| it.even_port(true))
}

fn claim(world: &mut World, caller: &mut Caller, token: ReservationToken) -> Message {
    allocate(world, caller, |it| it.reservation_token(token))
}

/// A world in which somebody has an even port, and the token for the one above it.
fn reserved() -> (World, Message, ReservationToken) {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client(50000));
    let answer = reserve(&mut world, &mut caller);
    let token = answer.reservation_token().unwrap().unwrap();
    (world, answer, token)
}

fn relayed(answer: &Message) -> std::net::SocketAddr {
    answer.xor_relayed_address().unwrap().unwrap()
}

#[test]
fn who_reserves_the_next_port_gets_it_for_its_token_once() {
    let (mut world, first, token) = reserved();
    assert!(relayed(&first).port().is_multiple_of(2));
    let mut caller = Caller::new(&mut world, client(50001));
    let second = claim(&mut world, &mut caller, token);
    assert_eq!((code(&second), second.reservation_token().unwrap()), (0, None));
    assert_eq!(
        (relayed(&second).ip(), relayed(&second).port()),
        (relayed(&first).ip(), relayed(&first).port() + 1)
    );
    let mut third = Caller::new(&mut world, client(50002));
    assert_eq!(code(&claim(&mut world, &mut third, token)), 508);
    assert!(world.reserved.is_empty());
}

#[test]
fn a_retransmitted_reservation_gets_the_same_token() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client(50000));
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP).even_port(true);
    let request = caller.sign(request);
    let [first, second] = [(); 2].map(|()| world.request(client(50000), request.clone()).unwrap());
    assert!(first.reservation_token().unwrap().is_some());
    assert_eq!(first.reservation_token(), second.reservation_token());
    assert_eq!(world.reserved.len(), 1);
}

#[test]
fn a_reserved_port_that_nobody_claims_is_closed_after_half_a_minute() {
    let (mut world, _, token) = reserved();
    world.wait(Duration::from_secs(29));
    assert_eq!(world.reserved.len(), 1);
    world.wait(Duration::from_secs(1));
    assert!(world.reserved.is_empty());
    let mut caller = Caller::new(&mut world, client(50001));
    assert_eq!(code(&claim(&mut world, &mut caller, token)), 508);
}

#[test]
fn a_token_is_nothing_to_another_user_and_a_made_up_one_to_nobody() {
    let (mut world, _, token) = reserved();
    let mut credentials = settings().credentials;
    credentials.users.insert("mallory".to_owned(), Secret::from("m"));
    world.server.set_credentials(credentials);
    let mut mallory = Caller::named(&mut world, client(50001), "mallory", "m");
    assert_eq!(code(&claim(&mut world, &mut mallory, token)), 508);
    let mut alice = Caller::new(&mut world, client(50002));
    assert_eq!(code(&claim(&mut world, &mut alice, ReservationToken([0; 8]))), 508);
    assert_eq!(code(&claim(&mut world, &mut alice, token)), 0);
}

#[test]
fn a_token_with_even_port_or_a_family_or_of_another_length_is_a_400_and_stays_good() {
    let (mut world, _, token) = reserved();
    let mut caller = Caller::new(&mut world, client(50001));
    for answer in [
        allocate(&mut world, &mut caller, |it| it.reservation_token(token).even_port(false)),
        allocate(&mut world, &mut caller, |it| {
            it.reservation_token(token).requested_address_family(Family::V4)
        }),
        allocate(&mut world, &mut caller, |it| it.attribute(attribute::RESERVATION_TOKEN, &[1; 7])),
    ] {
        assert_eq!(code(&answer), 400);
    }
    assert_eq!(code(&claim(&mut world, &mut caller, token)), 0);
}

#[test]
fn a_reserved_port_counts_as_an_allocation() {
    let limits = Limits { sessions: 3, sessions_per_address: Some(2), ..settings().limits };
    let mut world = World::with(crate::turn::Settings { limits, ..settings() });
    let mut first = Caller::new(&mut world, client(50000));
    let token = reserve(&mut world, &mut first).reservation_token().unwrap().unwrap();
    let mut second = Caller::new(&mut world, client(50001));
    assert_eq!(code(&second.allocate(&mut world)), 486, "of this address");
    let mut other = Caller::new(&mut world, udp("198.51.100.8:50000"));
    assert_eq!(code(&reserve(&mut world, &mut other)), 508, "of the server");
    assert_eq!(code(&other.allocate(&mut world)), 0);
    assert_eq!(code(&claim(&mut world, &mut second, token)), 0, "it is counted already");
    assert_eq!((world.relays.len(), world.reserved.len()), (3, 0));
}

#[test]
fn a_reservation_for_which_there_are_no_ports_leaves_nothing_behind() {
    let mut world = World::new();
    world.ports_left = 0;
    let mut caller = Caller::new(&mut world, client(50000));
    assert_eq!(code(&reserve(&mut world, &mut caller)), 508);
    assert_eq!((world.server.sessions(), world.server.poll_timeout()), (0, None));
}

#[test]
fn a_reservation_outlives_the_allocation_that_made_it() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client(50000));
    let token = reserve(&mut world, &mut caller).reservation_token().unwrap().unwrap();
    assert_eq!(code(&caller.refresh(&mut world, 0)), 0);
    assert_eq!(code(&claim(&mut world, &mut caller, token)), 0);
}
