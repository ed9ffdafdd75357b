//! Several rooms behind a gateway that speak at the same time, in stock browsers: each with a dialog of its own behind one port,
//! or each with a replica of its own before one dialog.

use std::net::SocketAddr;
use std::time::Duration;

use hubs_tests::bed::{ANNOUNCED, Bed, NODE, OPEN_ROOMS, STREAM, Setup, Signalling, loopback, open_room};
use hubs_tests::browsers::Browser::{Chromium, Firefox};
use hubs_tests::browsers::{State, call_in, call_in_through};
use hubs_tests::need::{self, skip};
use hubs_tests::relay::{Gateway, RELAYED};
use hubs_tests::turn::connect_tls;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};

/// Another dialog's node, and what it announces: as dead as the first one's.
const ANOTHER_NODE: &str = "127.0.0.4";
const ALSO_ANNOUNCED: &str = "203.0.113.11";

#[test]
fn two_dialogs_behind_one_port_are_told_apart_and_both_are_heard() {
    if skip(&[need::BED, need::BROWSERS]) {
        return;
    }
    let bed = Bed::start_with(&Setup::with_gateway());
    let (_dialog, another) = bed.start_another_dialog(ALSO_ANNOUNCED, ANOTHER_NODE);
    let dialogs = format!("dialog = [\"{}\", \"{another}\"]", bed.dialog_backend());
    let gateway = Gateway::start_for(&bed, crate::RELAY, &dialogs);
    let calls = call_in_two(&bed, &|offer| offer.announced.clone());
    for (call, (announced, node)) in calls.iter().zip([(ALSO_ANNOUNCED, ANOTHER_NODE), (ANNOUNCED, NODE)]) {
        assert_eq!(call.offer.announced, announced);
        call.assert_heard(gateway.udp, node);
    }
}

#[test]
fn two_replicas_before_one_dialog_each_carry_the_rooms_whose_signalling_they_have() {
    if skip(&[need::BED, need::BROWSERS]) {
        return;
    }
    let bed = Bed::start_with(&Setup { signalling: Signalling::Replicas, ..Setup::default() });
    let replicas = Gateway::start_replicas(&bed, crate::RELAY);
    let calls = call_in_two(&bed, &|offer| offer.place.to_string());
    let mut places = replicas.each_ref().map(|it| it.udp);
    places.sort_by_key(ToString::to_string);
    assert_eq!(places, calls.each_ref().map(|call| call.offer.place));
    for call in &calls {
        call.assert_heard(call.offer.place, NODE);
    }
}

/// What somebody is told who asks for a transport in a room.
#[derive(Debug)]
struct Offer {
    /// Where the gateway is, over UDP.
    place: SocketAddr,
    /// Where dialog says that it is itself.
    announced: String,
}

/// What speaker and listener report of their call in a room.
#[derive(Debug)]
struct Call {
    offer: Offer,
    states: (State, State),
}

/// For how long the first call goes on: the second one is heard meanwhile.
const SECONDS: u64 = 20;

/// Two calls at the same time, in rooms that differ in this, in its order.
fn call_in_two(bed: &Bed, difference: &dyn Fn(&Offer) -> String) -> [Call; 2] {
    let mut rooms: Vec<(String, Offer)> = Vec::new();
    for room in (0..OPEN_ROOMS).map(open_room) {
        let offer = ask(bed, &room);
        if rooms.iter().all(|(_, other)| difference(other) != difference(&offer)) {
            rooms.push((room, offer));
        }
    }
    rooms.sort_by_key(|(_, offer)| difference(offer));
    let [(room, offer), (another, other)]: [_; 2] = rooms.try_into().unwrap();
    let mut second = None;
    let first = call_in_through(bed, &room, (Firefox, Firefox), "nothing", SECONDS, || {
        second = Some(call_in(bed, &another, Chromium, Chromium));
    });
    // Four browsers share the machine, so that packets come in bursts; but they come, fifty a second, to the end.
    let received = first.states.1["recv"]["inbound"]["packetsReceived"].as_u64();
    assert!(received >= Some(SECONDS * 45), "{first:#?}");
    assert!(first.last_second > 0 && first.gap < Duration::from_secs(2), "{first:#?}");
    [Call { offer, states: first.states }, Call { offer: other, states: second.unwrap() }]
}

/// As a browser does it, through the ingress.
fn ask(bed: &Bed, room: &str) -> Offer {
    let stream = connect_tls(loopback(bed.ports().dialog), bed.authority(), STREAM);
    let url = format!("wss://{STREAM}/?roomId={room}&peerId=scout");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("protoo"));
    let (mut socket, _) = tungstenite::client(request, stream).unwrap();
    let question = json!({
        "request": true, "id": 1, "method": "createWebRtcTransport",
        "data": {"producing": false, "consuming": true},
    });
    socket.send(Message::text(question.to_string())).unwrap();
    let answer: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
    let candidates = answer["data"]["iceCandidates"].as_array().unwrap();
    let ip = |candidate: &Value| candidate["ip"].as_str().unwrap().to_owned();
    let first = &candidates[0];
    let port = u16::try_from(first["port"].as_u64().unwrap()).unwrap();
    Offer {
        place: SocketAddr::new(ip(first).parse().unwrap(), port),
        announced: ip(candidates.last().unwrap()),
    }
}

impl Call {
    /// Both took the way through this place to the dialog on this node, and there was sound.
    fn assert_heard(&self, place: SocketAddr, node: &str) {
        let (speaking, listening) = &self.states;
        for leg in [&speaking["send"], &listening["recv"]] {
            assert_eq!(leg["dtls"], "connected", "{leg:#}");
            let remote = &leg["remoteCandidate"];
            assert_eq!(remote["address"], place.ip().to_string(), "{leg:#}");
            assert_eq!(remote["port"], place.port(), "{leg:#}");
            assert_eq!(leg["localCandidate"]["protocol"], "udp", "{leg:#}");
            let tuple = &leg["dialog"]["iceSelectedTuple"];
            assert_eq!((&tuple["localIp"], &tuple["remoteIp"]), (&node.into(), &RELAYED.into()), "{leg:#}");
        }
        let inbound = &listening["recv"]["inbound"];
        assert!(inbound["packetsReceived"].as_u64() >= Some(50), "{listening:#}");
        assert!(inbound["totalAudioEnergy"].as_f64() > Some(0.0), "silence: {listening:#}");
    }
}
