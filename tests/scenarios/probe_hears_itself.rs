//! With a room, `hubs-probe check` sends Opus through a real dialog to itself, over each way that media has, and says what became
//! of it. Nothing stays behind.

use std::net::SocketAddr;
use std::thread;

use hubs_tests::bed::{Bed, ROOM, Setup};
use hubs_tests::nat::Nat;
use hubs_tests::need::{self, skip};
use hubs_tests::port;
use hubs_tests::probe::{self, Checked};
use hubs_tests::relay::{self, Gateway};
use serde_json::Value;

#[test]
fn sound_comes_back_directly_and_through_turn_over_tls_and_udp() {
    if skip(&[need::BED]) {
        return;
    }
    let Some(setup) = Setup::reachable() else {
        return println!("skipped: this machine has no address but loopback");
    };
    let bed = Bed::start_with(&setup);
    let relay = relay::start_with_udp_for(&bed, crate::RELAY);
    let checked = probe::check(crate::PROBE, &bed, &["--room", ROOM]);
    for code in ["HP0640", "HP0641", "HP0642"] {
        assert_heard(&checked, code);
    }
    let report = &checked.report;
    assert_eq!((checked.status, &report["verdict"]["outcome"]), (0, &"good".into()), "{report:#}");
    // Eight transports, of which each has two ports at that address.
    let ports = finding(&checked, "HP0502");
    assert_eq!(ports["summary"], "all 16 sampled ports of dialog answer", "{ports:#}");
    let log = relay.output();
    assert!(log.contains("the client gave it back") && !log.contains("connection ended"), "{log}");
}

#[test]
fn sound_comes_back_through_turn_where_that_is_the_only_way() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let _relay = relay::start_for(&bed, crate::RELAY);
    let checked = probe::check(crate::PROBE, &bed, &["--room", ROOM]);
    assert_heard(&checked, "HP0641");
    let codes: Vec<_> = findings(&checked).map(|f| f["code"].as_str().unwrap()).collect();
    assert!(!codes.contains(&"HP0640") && !codes.contains(&"HP0642"), "{codes:?}");
}

#[test]
fn sound_goes_on_through_the_gateway_when_the_home_router_gives_both_ends_another_address() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start_with(&Setup::with_gateway());
    let places = Gateway::places();
    let nat = Nat::between(SocketAddr::new(places[0].ip(), port::free()), places[0]);
    let gateway = Gateway::start_at(&bed, crate::RELAY, places, &format!("udp = '{}'", nat.inside()));
    let checked = thread::scope(|scope| {
        let check = || probe::check(crate::PROBE, &bed, &["--room", ROOM, "--only", "audio.*"]);
        let checking = scope.spawn(check);
        nat.wait_for_media(BEFORE);
        nat.rebind();
        checking.join().unwrap()
    });
    gateway.wait_for_log("the browser has come from another address");
    let finding = finding(&checked, "HP0643");
    let summary = finding["summary"].as_str().unwrap();
    eprintln!("rebinding under the probe's sound: {summary}");
    let heard = summary.split(' ').find_map(|word| word.parse::<usize>().ok());
    assert!(heard.unwrap() >= BEFORE + 50, "{finding:#}\n{}", gateway.log());
}

/// Packets of sound before the router forgets.
const BEFORE: usize = 25;

/// Whole, for five seconds and in order, with the figures that were asked for.
fn assert_heard(checked: &Checked, code: &str) {
    let finding = finding(checked, code);
    assert_eq!(finding["status"], "pass", "{finding:#}");
    let summary = finding["summary"].as_str().unwrap();
    assert!(summary.contains("250 of 250 packets"), "{summary}");
    let labels: Vec<_> =
        finding["evidence"].as_array().unwrap().iter().map(|e| e["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["lost", "there and back", "jitter", "sound"], "{finding:#}");
}

fn findings(checked: &Checked) -> impl Iterator<Item = &Value> {
    checked.report["findings"].as_array().unwrap().iter()
}

fn finding<'a>(checked: &'a Checked, code: &str) -> &'a Value {
    let found = findings(checked).find(|f| f["code"] == code);
    found.unwrap_or_else(|| panic!("no {code}: {:#}", checked.report))
}
