//! RFC 8656 section 7.2: a server may refuse allocations at any time; the ones that it has go on.

use std::time::Duration;

use super::harness::*;

#[test]
fn while_it_drains_a_new_allocation_is_a_508_and_the_others_go_on() {
    let mut world = World::new();
    let (mut caller, relay) = Caller::allocated(&mut world, stream("198.51.100.7:50000"));
    world.server.drain();

    let mut late = Caller::new(&mut world, udp("198.51.100.8:50000"));
    assert_eq!(code(&late.allocate(&mut world)), 508);

    assert_eq!(code(&caller.permit(&mut world, &[ANNOUNCED])), 0);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, ANNOUNCED)), 0);
    assert!(world.client_sends(caller.client, &channel_data(0x4000, b"opus")).is_some());
    assert!(world.peer_sends(relay, DIALOG, b"opus").is_some());
    world.wait(Duration::from_secs(500));
    assert_eq!(code(&caller.refresh(&mut world, 600)), 0);
    world.wait(Duration::from_secs(500));
    assert_eq!(world.server.sessions(), 1);
    assert_eq!(code(&caller.refresh(&mut world, 0)), 0);
    assert_eq!(world.server.sessions(), 0);
    assert_eq!(code(&caller.allocate(&mut world)), 508);
}
