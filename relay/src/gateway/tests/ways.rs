//! How ways come to be, what goes on them, and how they end.

use super::harness::*;
use crate::gateway::*;
use crate::turn::Link;
use crate::wire::*;

const MEDIA: &[u8] = &[0x80, 111, 1, 2, 3];
const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

#[test]
fn a_check_that_verifies_opens_a_way_on_which_everything_goes_as_it_is() {
    for client in [udp(BROWSER), tcp(BROWSER)] {
        let mut world = World::new(1);
        assert!(world.selects(0, client));
        let client_hello = [22, 254, 253, 0];
        assert!(world.send(0, client, &client_hello) && world.send(0, client, MEDIA));
        assert_eq!(world.dialog().received, [&client_hello[..], MEDIA]);
        assert_eq!(world.media(), Some(client));
        assert!(world.workers[0].has(&client));
    }
}

#[test]
fn what_is_for_turn_is_not_the_gateways() {
    let mut world = World::new(1);
    let check = world.check().bytes();
    let request = |method| Builder::request(method, TransactionId([1; 12]));
    for (datagram, expected) in [
        (check, true),
        (vec![22, 254, 253], true),
        (MEDIA.to_vec(), true),
        (request(Method::Binding).finish(), false),
        (request(Method::Allocate).username("1:coturn").finish(), false),
        (vec![0x40, 0, 0, 0], false),
        (vec![0x4f, 0xff], false),
        (vec![], false),
        (vec![255], false),
    ] {
        assert_eq!(Gateway::is_for(&datagram), expected, "{datagram:x?}");
    }
}

#[test]
fn ways_of_one_transport_have_sockets_of_their_own_and_those_of_others_share_them() {
    let mut world = World::new(1);
    let (one, other) = (udp("192.0.2.7:1"), udp("192.0.2.7:2"));
    assert!(world.checks(0, one));
    assert!(world.checks(0, other));
    assert_eq!(world.dialog().tuples.len(), 2);
    world.open("anothertransport", "passwordofanothertransport", "10.0.0.5:40002");
    let check = Check {
        name: "anothertransport:browser".to_owned(),
        password: "passwordofanothertransport".to_owned(),
        ..world.check()
    };
    assert!(world.send(0, udp("192.0.2.8:3"), &check.bytes()));
    let tuples = &world.transports[&addr("10.0.0.5:40002")].tuples;
    assert_eq!(tuples[..], world.dialog().tuples[..1]);
}

#[test]
fn two_dialogs_on_the_same_port_are_told_apart_by_the_name() {
    let mut world = World::new(1);
    world.open("thenameatanotherdialog", "passwordofanotherdialog", "10.0.0.6:40001");
    assert!(world.checks(0, udp(BROWSER)));
    let check = Check {
        name: "thenameatanotherdialog:browser".to_owned(),
        password: "passwordofanotherdialog".to_owned(),
        ..world.check()
    };
    let other = udp("192.0.2.8:3");
    assert!(world.send(0, other, &check.bytes()) && world.send(0, other, MEDIA));
    assert_eq!(world.transports[&addr("10.0.0.6:40001")].received, [MEDIA]);
    assert!(world.dialog().received.is_empty());
}

#[test]
fn an_address_that_speaks_of_another_transport_goes_there() {
    let mut world = World::new(1);
    assert!(world.checks(0, udp(BROWSER)));
    world.open("anothertransport", "passwordofanothertransport", "10.0.0.5:40002");
    let check = Check {
        name: "anothertransport:browser".to_owned(),
        password: "passwordofanothertransport".to_owned(),
        ..world.check()
    };
    assert!(world.send(0, udp(BROWSER), &check.bytes()) && world.send(0, udp(BROWSER), MEDIA));
    assert_eq!(world.transports[&addr("10.0.0.5:40002")].received, [MEDIA]);
    assert_eq!(world.closed, [(0, Ended::Repointed)]);
    assert_eq!(world.workers[0].counts().repointed, 1);
}

#[test]
fn after_a_restart_both_names_are_good_and_after_a_minute_the_new_one_only() {
    let mut world = World::new(1);
    assert!(world.selects(0, udp(BROWSER)));
    let (name, password) = ("newnameoftransportone", "newpasswordoftransportone");
    let target = addr(DIALOG);
    let id = world.dialog().id;
    world.directory.rename(world.now, id, name, IntegrityKey::short_term(password)).unwrap();
    assert!(world.selects(0, udp(BROWSER)), "the old name");
    let transport = world.transports.get_mut(&target).unwrap();
    (transport.name, transport.password) = (name.to_owned(), password.to_owned());
    let restarted = Check { name: format!("{name}:new"), password: password.to_owned(), ..world.check() };
    assert!(world.send(0, udp(BROWSER), &restarted.bytes()));
    assert_eq!(world.workers[0].ways(), 1, "it is the same way");
    world.advance(61 * SECOND);
    assert!(!world.checks(0, udp(BROWSER)));
    assert_eq!(world.rejected(Rejected::UnknownName), 1);
}

#[test]
fn restarts_without_end_leave_a_few_names() {
    let world = World::new(1);
    let id = world.dialog().id;
    for number in 0..100 {
        let name = format!("name{number}");
        world.directory.rename(world.now, id, &name, IntegrityKey::short_term(PASSWORD)).unwrap();
    }
    let known = (0..100).filter(|number| world.directory.find(world.now, &format!("name{number}")).is_some());
    assert_eq!(known.collect::<Vec<_>>(), [96, 97, 98, 99]);
}

#[test]
fn nothing_goes_to_a_transport_that_is_closed_or_comes_from_it() {
    let mut world = World::new(2);
    assert!(world.selects(0, udp(BROWSER)));
    world.directory.close(world.dialog().id);
    assert_eq!(world.directory.transports(), 0);
    assert_eq!(world.media(), None);
    assert!(!world.send(0, udp(BROWSER), MEDIA));
    assert!(!world.checks(0, udp(BROWSER)) && !world.checks(1, udp(REBOUND)));
    assert_eq!(world.closed, [(0, Ended::TransportClosed)]);
}

#[test]
fn a_way_without_checks_is_closed_whatever_else_comes_on_it() {
    let mut world = World::new(1);
    assert!(world.selects(0, udp(BROWSER)));
    for _ in 0..29 {
        world.advance(SECOND);
        world.tick();
        assert!(world.send(0, udp(BROWSER), MEDIA));
    }
    assert!(world.checks(0, udp(BROWSER)));
    for _ in 0..30 {
        world.advance(SECOND);
        assert!(world.send(0, udp(BROWSER), MEDIA));
        world.tick();
    }
    assert_eq!(world.closed, [(0, Ended::Idle)]);
    assert!(!world.send(0, udp(BROWSER), MEDIA));
    assert_eq!((world.media(), world.workers[0].ways()), (None, 0));
    // Who comes back is served as before.
    assert!(world.checks(0, udp(BROWSER)));
    assert_eq!(world.media(), Some(udp(BROWSER)));
}

#[test]
fn the_end_of_a_connection_or_a_listener_is_the_end_of_its_ways() {
    let mut world = World::new(1);
    assert!(world.checks(0, tcp(BROWSER)) && world.checks(0, udp(REBOUND)));
    world.workers[0].handle_client_closed(&tcp(BROWSER));
    world.workers[0].handle_link_closed(Link::Datagram(0));
    world.obey(0);
    assert_eq!(world.closed, [(0, Ended::Disconnected); 2]);
    assert_eq!(world.workers[0].ways(), 0);
}

#[test]
fn dialog_may_answer_from_another_address_of_its_node() {
    let mut world = World::new(1);
    let (now, client) = (world.now, udp(BROWSER));
    let check = world.check().bytes();
    let ToDialog { upstream, .. } = world.workers[0].handle_browser(now, client, &check).unwrap();
    let bridge = addr("172.17.0.1:40001");
    let mut hear = |packet: &[u8]| world.workers[0].handle_dialog(now, upstream, bridge, packet);
    assert_eq!(hear(MEDIA), None, "nobody knows yet who that is");
    let answer = |password: &str| {
        let success = Builder::success(&Message::parse(&check).unwrap());
        success.integrity(&IntegrityKey::short_term(password)).fingerprint().finish()
    };
    assert_eq!(hear(&answer("a guess that somebody has made")), None);
    assert_eq!(hear(&answer(PASSWORD)).map(|it| it.client), Some(client));
    assert_eq!(hear(MEDIA).map(|it| it.client), Some(client));
}

#[test]
fn all_ways_of_a_transport_are_as_many_as_mediasoup_keeps() {
    let mut world = World::new(2);
    let browsers: Vec<_> = (0..WAYS as u16).map(|port| udp(&format!("192.0.2.7:{}", 1000 + port))).collect();
    for (number, browser) in browsers.iter().enumerate() {
        assert!(world.checks(number % 2, *browser));
    }
    assert!(!world.checks(0, udp(BROWSER)));
    assert_eq!(world.rejected(Rejected::Full), 1);
    world.advance(SECOND);
    for browser in &browsers[1..] {
        let worker = browsers.iter().position(|it| it == browser).unwrap() % 2;
        assert!(world.send(worker, *browser, MEDIA));
    }
    let check = Check { priority: 5, ..world.check() };
    assert!(world.send(0, udp(BROWSER), &check.bytes()), "one has been silent and makes room");
    assert!(!world.send(0, browsers[0], MEDIA));
}
