//! RFC 8656 section 8: Refresh, and how allocations end.

use std::time::Duration;

use super::harness::*;
use crate::wire::*;

fn client() -> crate::turn::Client {
    udp("198.51.100.7:50000")
}

#[test]
fn an_allocation_expires_when_nobody_refreshes_it() {
    let mut world = World::new();
    let (mut caller, relay) = Caller::allocated(&mut world, client());
    world.wait(Duration::from_secs(599));
    assert!(world.relays.contains_key(&relay));
    world.wait(Duration::from_secs(1));
    assert!(world.relays.is_empty());
    assert_eq!(code(&caller.refresh(&mut world, 600)), 437);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_refresh_keeps_an_allocation_for_the_lifetime_that_it_grants() {
    let mut world = World::new();
    let (mut caller, _) = Caller::allocated(&mut world, client());
    for (asked, granted) in [(3600, 3600), (1, 600), (99999, 3600)] {
        let answer = caller.refresh(&mut world, asked);
        assert_eq!(answer.lifetime().unwrap(), Some(Duration::from_secs(granted)));
        let deadline = world.server.poll_timeout().unwrap();
        assert_eq!(deadline, world.now.instant + Duration::from_secs(granted));
    }
}

#[test]
fn a_refresh_with_lifetime_zero_gives_the_relay_back() {
    let mut world = World::new();
    let (mut caller, _) = Caller::allocated(&mut world, client());
    let answer = caller.refresh(&mut world, 0);
    assert_eq!((code(&answer), answer.lifetime().unwrap()), (0, Some(Duration::ZERO)));
    assert!(world.relays.is_empty());
    assert_eq!(code(&caller.refresh(&mut world, 0)), 437);
    assert_eq!(code(&caller.allocate(&mut world)), 0, "the client may start over");
}

#[test]
fn without_an_allocation_every_request_but_allocate_is_a_437() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    assert_eq!(code(&caller.refresh(&mut world, 600)), 437);
    assert_eq!(code(&caller.permit(&mut world, &[ANNOUNCED])), 437);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, ANNOUNCED)), 437);
}

#[test]
fn a_refresh_for_another_family_is_a_443() {
    let mut world = World::new();
    let (mut caller, relay) = Caller::allocated(&mut world, client());
    let answer = caller.ask(&mut world, Method::Refresh, |it| {
        it.requested_address_family(Family::V6).lifetime(Duration::ZERO)
    });
    assert_eq!(code(&answer), 443);
    assert!(world.relays.contains_key(&relay));
}

#[test]
fn a_relay_that_is_gone_does_not_answer_for_the_one_in_its_place() {
    let mut world = World::new();
    let (mut first, old) = Caller::allocated(&mut world, client());
    first.refresh(&mut world, 0);
    let (mut second, new) = Caller::allocated(&mut world, udp("198.51.100.8:50000"));
    second.permit(&mut world, &[NEIGHBOUR]);
    assert_eq!(old.index(), new.index());
    assert_eq!(world.peer_sends(old, NEIGHBOUR, b"late"), None);
    assert!(world.peer_sends(new, NEIGHBOUR, b"now").is_some());
}
