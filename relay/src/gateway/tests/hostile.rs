//! Who has no password gets nothing through, and costs little.

use std::time::Duration;

use super::harness::*;
use crate::gateway::*;
use crate::wire::*;

const ATTACKER: &str = "203.0.113.66:666";
const MEDIA: &[u8] = &[0x80, 111, 1, 2, 3];

#[test]
fn without_a_check_that_verifies_nothing_passes_and_nothing_is_answered() {
    let mut world = World::new(1);
    let check = world.check();
    let request = Builder::request(Method::Binding, TransactionId([1; 12])).username(&check.name);
    let key = IntegrityKey::short_term(PASSWORD);
    let truncated = &check.bytes()[..40];
    for (packet, reason) in [
        (MEDIA.to_vec(), Rejected::NoWay),
        (vec![22, 254, 253], Rejected::NoWay),
        (
            Check { name: "nobodyknowsthis:browser".to_owned(), ..check.clone() }.bytes(),
            Rejected::UnknownName,
        ),
        (
            Check { password: "a guess that somebody has made".to_owned(), ..check.clone() }.bytes(),
            Rejected::WrongPassword,
        ),
        (request.clone().priority(1).finish(), Rejected::WrongPassword),
        (request.clone().integrity(&key).priority(1).finish(), Rejected::Malformed),
        (request.clone().integrity(&key).finish(), Rejected::Malformed),
        (
            Builder::request(Method::Allocate, TransactionId([1; 12]))
                .username(&check.name)
                .priority(1)
                .integrity(&key)
                .finish(),
            Rejected::Malformed,
        ),
        (truncated.to_vec(), Rejected::Malformed),
        (vec![0], Rejected::Malformed),
    ] {
        let before = world.rejected(reason);
        assert!(!world.send(0, udp(ATTACKER), &packet), "{packet:x?}");
        assert_eq!(world.rejected(reason), before + 1, "{reason:?}");
    }
    assert_eq!((world.workers[0].ways(), world.dialog().tuples.len()), (0, 0));
}

#[test]
fn an_overheard_check_is_good_from_nowhere_else() {
    let mut world = World::new(2);
    let overheard = Check { use_candidate: true, ..world.check() }.bytes();
    assert!(world.send(0, udp(BROWSER), &overheard));
    assert!(world.send(0, udp(BROWSER), &overheard), "the browser itself sends it twice");
    for worker in [0, 1] {
        assert!(!world.send(worker, udp(ATTACKER), &overheard));
        world.advance(Duration::from_secs(5));
        assert!(!world.send(worker, udp(ATTACKER), &overheard));
    }
    assert_eq!(world.rejected(Rejected::Replayed), 4);
    assert_eq!(world.media(), Some(udp(BROWSER)));
}

#[test]
fn the_address_of_a_browser_does_not_help_who_has_no_password() {
    let mut world = World::new(1);
    assert!(world.selects(0, udp(BROWSER)));
    world.open("anothertransport", "passwordofanothertransport", "10.0.0.5:40002");
    let forged = Check { name: "anothertransport:browser".to_owned(), ..world.check() };
    assert!(!world.send(0, udp(BROWSER), &forged.bytes()));
    assert!(world.send(0, udp(BROWSER), MEDIA), "the browser's way stays its own");
}

#[test]
fn a_flood_of_names_leaves_nothing_behind_and_takes_nothing_from_the_others() {
    let mut world = World::new(1);
    assert!(world.selects(0, udp(BROWSER)));
    for number in 0..10_000_u32 {
        let name = format!("name{number}:x");
        let flood = Check { name, ..world.check() };
        assert!(!world.send(0, udp(ATTACKER), &flood.bytes()));
    }
    let counts = world.workers[0].counts();
    assert!(counts.rejected(Rejected::UnknownName) <= 2000, "{counts:?}");
    assert!(counts.limited_checks >= 8_000, "{counts:?}");
    assert_eq!(world.workers[0].ways(), 1);
    assert!(world.checks(0, udp(BROWSER)));
}

#[test]
fn a_flood_from_everywhere_is_bounded_as_a_whole() {
    let mut world = World::new(1);
    let flood = Check { name: "nobodyknowsthis:x".to_owned(), ..world.check() }.bytes();
    for number in 0..50_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        assert!(!world.send(0, udp(&format!("10.{a}.{b}.{c}:1")), &flood));
    }
    let counts = world.workers[0].counts();
    assert!(counts.rejected(Rejected::UnknownName) <= 40_000, "{counts:?}");
    assert!(counts.limited_checks_total > 0, "{counts:?}");
}

#[test]
fn who_speaks_to_a_socket_towards_dialog_and_is_not_dialog_is_not_heard() {
    let mut world = World::new(1);
    let (now, client) = (world.now, udp(BROWSER));
    let check = world.check().bytes();
    let ToDialog { upstream, .. } = world.workers[0].handle_browser(now, client, &check).unwrap();
    let forged = Builder::success(&Message::parse(&check).unwrap()).fingerprint().finish();
    for from in ["10.0.0.9:40001", "10.0.0.5:40002", ATTACKER] {
        for packet in [MEDIA, &forged, &check, &[]] {
            assert_eq!(world.workers[0].handle_dialog(now, upstream, addr(from), packet), None);
        }
    }
}
