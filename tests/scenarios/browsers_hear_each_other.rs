//! Two people with stock browsers hear each other through hubs-relay, although nothing leads to the address that dialog
//! announces.

use hubs_tests::bed::{ANNOUNCED, Bed};
use hubs_tests::browsers::{Browser, State, call};
use hubs_tests::need::{self, skip};
use hubs_tests::relay::{self, ADVERTISED, RELAYED};

#[test]
fn firefox_hears_chromium_through_the_relay() {
    assert_heard(Browser::Chromium, Browser::Firefox);
}

#[test]
fn chromium_hears_firefox_through_the_relay() {
    assert_heard(Browser::Firefox, Browser::Chromium);
}

fn assert_heard(speaker: Browser, listener: Browser) {
    if skip(&[need::BED, need::BROWSERS]) {
        return;
    }
    let bed = Bed::start();
    let _relay = relay::start_for(&bed, crate::RELAY);
    let (speaking, listening) = call(&bed, speaker, listener);

    let send = &speaking["send"];
    assert_connected_through_the_relay(send);
    assert!(send["outbound"]["packetsSent"].as_u64() > Some(0), "{send:#}");
    assert!(send["dialog"]["rtpBytesReceived"].as_u64() > Some(0), "{send:#}");

    let recv = &listening["recv"];
    assert_connected_through_the_relay(recv);
    let inbound = &recv["inbound"];
    // Fifty packets hold the second of sound that `call` waits for; what is concealed was never in a packet.
    assert!(inbound["packetsReceived"].as_u64() >= Some(50), "{recv:#}");
    let decoded = count(inbound, "totalSamplesReceived") - count(inbound, "concealedSamples");
    assert!(decoded >= 48_000.0, "{recv:#}");
    assert!(count(inbound, "totalAudioEnergy") > 0.0, "silence: {recv:#}");
}

/// ICE and DTLS are done at both ends, the browser's way is TURN over TLS, and what dialog sees of it is the relay.
fn assert_connected_through_the_relay(leg: &State) {
    assert!(leg["ice"] == "connected" || leg["ice"] == "completed", "{leg:#}");
    assert_eq!(leg["dtls"], "connected", "{leg:#}");
    let local = &leg["localCandidate"];
    assert_eq!(local["relayProtocol"], "tls", "{leg:#}");
    // Chromium goes by what dialog sees of the relay, where that differs from what the relay advertises.
    match local["candidateType"].as_str() {
        Some("relay") => assert_eq!(local["address"], ADVERTISED, "{leg:#}"),
        _ => assert_eq!(local["relatedAddress"], ADVERTISED, "{leg:#}"),
    }
    assert_eq!(leg["remoteCandidate"]["address"], ANNOUNCED, "{leg:#}");
    assert_eq!(leg["dialog"]["iceState"], "completed", "{leg:#}");
    assert_eq!(leg["dialog"]["dtlsState"], "connected", "{leg:#}");
    assert_eq!(leg["dialog"]["iceSelectedTuple"]["remoteIp"], RELAYED, "{leg:#}");
}

fn count(statistics: &State, name: &str) -> f64 {
    statistics[name].as_f64().unwrap_or_else(|| panic!("no {name}: {statistics:#}"))
}
