//! A NAT gives a browser another address in the middle of a call. Checks come every five seconds from Firefox, which says
//! USE-CANDIDATE in the first one only, and every two and a half from Chromium.

use std::time::Duration;

use super::harness::*;
use crate::gateway::*;
use crate::turn::Link;

const MEDIA: &[u8] = &[0x80, 111, 1, 2, 3];
const INTERVAL: Duration = Duration::from_secs(5);

#[test]
fn the_new_address_takes_the_old_ones_way_and_dialog_sees_no_change() {
    for (before, after) in
        [(udp(BROWSER), udp(REBOUND)), (tcp(BROWSER), Client { link: Link::Stream(9), ..tcp(REBOUND) })]
    {
        let mut world = World::new(1);
        assert!(world.selects(0, before));
        let tuples = world.dialog().tuples.clone();
        world.advance(INTERVAL);
        assert!(!world.send(0, after, MEDIA), "without a check nobody knows who that is");
        assert!(world.checks(0, after));
        assert_eq!(world.dialog().tuples, tuples);
        assert_eq!(world.media(), Some(after));
        assert!(world.send(0, after, MEDIA));
        assert!(!world.send(0, before, MEDIA));
        assert_eq!((world.workers[0].counts().take_overs, world.workers[0].ways()), (1, 1));
    }
}

#[test]
fn at_another_worker_dialog_is_told_to_go_there() {
    let mut world = World::new(2);
    assert!(world.selects(0, udp(BROWSER)));
    world.advance(INTERVAL);
    assert!(world.checks(1, udp(REBOUND)));
    assert_eq!(world.dialog().tuples.len(), 2);
    assert_eq!(world.media(), Some(udp(REBOUND)));
    world.tick();
    assert_eq!(world.closed, [(0, Ended::Replaced)]);
    assert_eq!(world.workers[1].counts().take_overs, 1);
}

#[test]
fn a_check_that_comes_too_soon_after_the_old_address_was_heard_is_not_the_last() {
    for worker in [0, 1] {
        let mut world = World::new(2);
        assert!(world.selects(0, udp(BROWSER)));
        world.advance(INTERVAL);
        assert!(world.send(0, udp(BROWSER), MEDIA));
        world.advance(Duration::from_millis(20));
        assert!(world.checks(worker, udp(REBOUND)));
        assert_eq!(world.media(), Some(udp(BROWSER)), "it may be a second pair");
        world.advance(INTERVAL);
        assert!(world.checks(worker, udp(REBOUND)));
        assert_eq!(world.media(), Some(udp(REBOUND)));
        world.tick();
        assert_eq!(world.closed, [(0, Ended::Replaced)]);
    }
}

#[test]
fn pairs_that_are_alive_side_by_side_stay_two() {
    for worker in [0, 1] {
        let mut world = World::new(2);
        assert!(world.selects(0, udp(BROWSER)));
        world.advance(Duration::from_millis(50));
        assert!(world.checks(worker, udp(REBOUND)));
        for _ in 0..20 {
            world.advance(INTERVAL);
            assert!(world.checks(0, udp(BROWSER)));
            world.advance(Duration::from_secs(1));
            assert!(world.checks(worker, udp(REBOUND)));
            world.tick();
            assert_eq!((world.media(), world.closed.len()), (Some(udp(BROWSER)), 0));
        }
    }
}

#[test]
fn another_interface_transport_or_address_of_ours_is_another_pair() {
    let mut world = World::new(1);
    assert!(world.selects(0, udp(BROWSER)));
    world.advance(INTERVAL);
    let other_interface = Check { priority: 77, ..world.check() };
    assert!(world.send(0, udp(REBOUND), &other_interface.bytes()));
    assert!(world.checks(0, tcp("192.0.2.7:70")));
    let other_local = Client { local: addr("198.51.100.2:3478"), ..udp("192.0.2.7:71") };
    assert!(world.checks(0, other_local));
    let other_browser = Check { name: format!("{NAME}:somebody"), ..world.check() };
    assert!(world.send(0, udp("192.0.2.7:72"), &other_browser.bytes()));
    assert_eq!(world.workers[0].ways(), 5);
    assert_eq!(world.workers[0].counts().take_overs, 0);
    assert_eq!(world.media(), Some(udp(BROWSER)));
}

#[test]
fn a_browser_whose_address_changes_again_and_again_has_one_way() {
    let mut world = World::new(3);
    assert!(world.selects(0, udp(BROWSER)));
    for number in 0..100 {
        world.advance(INTERVAL);
        let browser = udp(&format!("192.0.2.7:{}", 10_000 + number));
        assert!(world.checks(number % 3, browser));
        assert_eq!(world.media(), Some(browser));
        world.tick();
        assert_eq!(world.workers.iter().map(Gateway::ways).sum::<usize>(), 1);
    }
    assert!(world.dialog().tuples.len() <= WAYS, "{:?}", world.dialog().tuples);
}
