//! Two people with stock browsers hear each other through the gateway, without TURN, although nothing leads to the address
//! that dialog announces.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use hubs_tests::bed::{ANNOUNCED, Bed, Setup};
use hubs_tests::browsers::{Browser, Continued, State, call_by_any_way, call_through};
use hubs_tests::nat::Nat;
use hubs_tests::need::{self, skip};
use hubs_tests::port;
use hubs_tests::relay::{Gateway, RELAYED};
use nix::sys::signal::Signal;

use Browser::{Chromium, Firefox};

#[test]
fn chromium_hears_chromium_through_the_gateway() {
    assert_heard(Chromium, Chromium, "", "udp");
}

#[test]
fn firefox_hears_firefox_through_the_gateway() {
    assert_heard(Firefox, Firefox, "", "udp");
}

#[test]
fn chromium_hears_firefox_through_the_gateway() {
    assert_heard(Firefox, Chromium, "", "udp");
}

#[test]
fn firefox_hears_chromium_through_the_gateway() {
    assert_heard(Chromium, Firefox, "", "udp");
}

/// An address where all packets vanish, as UDP does at many companies.
const NOWHERE: &str = "udp = '203.0.113.10:3478'";

#[test]
fn where_udp_goes_nowhere_chromium_hears_firefox_over_tcp_on_the_port_of_turn() {
    assert_heard(Firefox, Chromium, NOWHERE, "tcp");
}

#[test]
fn where_udp_goes_nowhere_firefox_hears_chromium_over_tcp_on_the_port_of_turn() {
    assert_heard(Chromium, Firefox, NOWHERE, "tcp");
}

#[test]
fn an_ice_restart_costs_chromium_nothing() {
    assert_goes_on(Chromium, Chromium, Happening::Restart, Duration::from_secs(1));
}

#[test]
fn an_ice_restart_costs_firefox_nothing() {
    assert_goes_on(Firefox, Firefox, Happening::Restart, Duration::from_secs(1));
}

#[test]
fn when_the_home_router_gives_both_another_address_chromium_goes_on_with_its_next_check() {
    assert_goes_on(Chromium, Chromium, Happening::Rebinding, Duration::from_secs(5));
}

#[test]
fn when_the_home_router_gives_both_another_address_firefox_goes_on_with_its_next_check() {
    assert_goes_on(Firefox, Firefox, Happening::Rebinding, Duration::from_secs(9));
}

#[test]
fn a_gateway_that_is_killed_and_back_after_a_second_costs_chromium_a_few_seconds() {
    assert_goes_on(Chromium, Chromium, Happening::Crash, Duration::from_secs(8));
}

#[test]
fn a_gateway_that_is_killed_and_back_after_a_second_costs_firefox_a_few_seconds() {
    assert_goes_on(Firefox, Firefox, Happening::Crash, Duration::from_secs(8));
}

#[test]
fn a_dialog_that_is_killed_and_back_after_a_second_costs_chromium_behind_the_gateway_a_few_seconds() {
    assert_goes_on(Chromium, Chromium, Happening::DialogsCrash, Duration::from_secs(8));
}

/// What happens in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Happening {
    Restart,
    Rebinding,
    Crash,
    /// All transports that the gateway knows are gone.
    DialogsCrash,
}

/// After it sound goes on, and was away for no longer than `most`.
#[expect(
    clippy::print_stderr,
    reason = "how long it was silent is worth knowing even where that is short enough"
)]
fn assert_goes_on(speaker: Browser, listener: Browser, happening: Happening, most: Duration) {
    if skip(&[need::BED, need::BROWSERS]) {
        return;
    }
    let bed = Bed::start_with(&Setup::with_gateway());
    let [udp, tcp] = Gateway::places();
    let nat = Nat::between(SocketAddr::new(udp.ip(), port::free()), udp);
    let settings = match happening {
        Happening::Rebinding => format!("udp = '{}'", nat.inside()),
        Happening::Restart | Happening::Crash | Happening::DialogsCrash => String::new(),
    };
    let start = || Gateway::start_at(&bed, crate::RELAY, [udp, tcp], &settings);
    let mut gateway = start();
    let action = if happening == Happening::Restart { "restartIce" } else { "nothing" };
    let continued = call_through(&bed, (speaker, listener), action, 20, || match happening {
        Happening::Restart => {}
        Happening::Rebinding => nat.rebind(),
        Happening::Crash => {
            gateway.signal(Signal::SIGKILL);
            restart_takes_a_second();
            gateway = start();
        }
        Happening::DialogsCrash => bed.restart_dialog(restart_takes_a_second),
    });
    let Continued { states: (speaking, listening), gap, last_second } = &continued;
    eprintln!("{happening:?}, {speaker:?} to {listener:?}: {gap:?} without sound");
    // Opus' discontinuous transmission leaves some out.
    assert!(*last_second >= 20, "{continued:#?}\n{}", gateway.log());
    assert!(*gap < most, "{gap:?}\n{}", gateway.log());
    for leg in [&speaking["send"], &listening["recv"]] {
        assert!(leg["ice"] == "connected" || leg["ice"] == "completed", "{leg:#}");
        assert_ne!(leg["localCandidate"]["candidateType"], "relay", "{leg:#}");
    }
    if happening == Happening::Rebinding {
        gateway.wait_for_log("the browser has come from another address");
    }
}

/// Kubernetes starts again what has ended after about as long.
fn restart_takes_a_second() {
    let (_stays, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(Duration::from_secs(1));
}

/// Which way media takes, and whether it can be heard.
fn assert_heard(speaker: Browser, listener: Browser, settings: &str, protocol: &str) {
    if skip(&[need::BED, need::BROWSERS]) {
        return;
    }
    let bed = Bed::start_with(&Setup::with_gateway());
    let gateway = Gateway::start_for(&bed, crate::RELAY, settings);
    let (speaking, listening) = call_by_any_way(&bed, speaker, listener);
    let place = if protocol == "udp" { gateway.udp } else { gateway.tcp };

    for leg in [&speaking["send"], &listening["recv"]] {
        assert!(leg["ice"] == "connected" || leg["ice"] == "completed", "{leg:#}");
        assert_eq!(leg["dtls"], "connected", "{leg:#}");
        let remote = &leg["remoteCandidate"];
        assert_eq!(leg["localCandidate"]["protocol"], protocol, "{leg:#}");
        assert_ne!(leg["localCandidate"]["candidateType"], "relay", "{leg:#}");
        assert_eq!(remote["address"], place.ip().to_string(), "{leg:#}");
        assert_eq!(remote["port"], place.port(), "{leg:#}");
        assert_eq!(leg["dialog"]["iceSelectedTuple"]["remoteIp"], RELAYED, "{leg:#}");
        assert_ne!(remote["address"], ANNOUNCED, "{leg:#}");
    }
    let inbound = &listening["recv"]["inbound"];
    // Fifty packets hold the second of sound that `call` waits for; what is concealed was never in a packet.
    assert!(inbound["packetsReceived"].as_u64() >= Some(50), "{listening:#}");
    let decoded = count(inbound, "totalSamplesReceived") - count(inbound, "concealedSamples");
    assert!(decoded >= 48_000.0, "{listening:#}");
    assert!(count(inbound, "totalAudioEnergy") > 0.0, "silence: {listening:#}");
}

fn count(statistics: &State, name: &str) -> f64 {
    statistics[name].as_f64().unwrap_or_else(|| panic!("no {name}: {statistics:#}"))
}
