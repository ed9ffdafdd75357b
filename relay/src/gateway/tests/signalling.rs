//! What a browser and dialog say to each other, and what each hears.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::harness::{addr, udp};
use crate::gateway::signalling::{Counts, Offer, Signalling};
use crate::gateway::*;
use crate::wire::*;

const NAME: &str = "ufragofdialogstransport123456789";
const PASSWORD: &str = "passwordofdialogstransport123456";

struct Conversation {
    directory: Arc<Directory>,
    signalling: Signalling,
    offer: Offer,
    now: Instant,
}

impl Conversation {
    fn new() -> Self {
        let now = Instant::now();
        let directory = Arc::new(Directory::new(now));
        let dialog = "10.0.0.5".parse().unwrap();
        let signalling = Signalling::new(Arc::clone(&directory), dialog, (100, 3));
        let offer = Offer {
            udp: vec![addr("203.0.113.10:3478"), addr("[2001:db8::10]:3478")],
            tcp: vec![addr("203.0.113.10:5349")],
            keeps_dialogs: true,
        };
        Self { directory, signalling, offer, now }
    }

    fn ask(&mut self, id: u64, method: &str, data: &Value) {
        let request = json!({"request": true, "id": id, "method": method, "data": data}).to_string();
        let mask = [7, 1, 9, 3];
        let mut frame = vec![0x81, 0xfe];
        frame.extend_from_slice(&(request.len() as u16).to_be_bytes());
        frame.extend_from_slice(&mask);
        frame.extend(request.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.signalling.handle_browser(&frame);
    }

    /// Dialog says this; what the browser hears instead, if that is something else.
    fn answer(&mut self, message: &Value) -> Option<Value> {
        let text = message.to_string();
        let mut frame = vec![0x81, 126];
        frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
        frame.extend_from_slice(text.as_bytes());
        let mut heard = Vec::new();
        self.signalling.handle_dialog(self.now, &frame, &self.offer, &mut heard);
        (heard != frame).then(|| serde_json::from_slice(&heard[4..]).unwrap())
    }

    fn create(&mut self, id: u64, name: &str) -> Option<Value> {
        self.ask(id, "createWebRtcTransport", &json!({"producing": true}));
        self.answer(&created(id, name))
    }

    fn knows(&self, name: &str) -> bool {
        self.directory.find(self.now, name).is_some()
    }
}

fn candidates() -> Value {
    let candidate = |ip: &str, port: u16, priority: u32| json!({"foundation": "udpcandidate", "priority": priority, "ip": ip, "protocol": "udp", "port": port, "type": "host"});
    json!([
        candidate("127.0.0.1", 40001, 1_076_302_079),
        candidate("203.0.113.9", 40002, 1_076_276_479),
        candidate("203.0.113.9", 40003, 1_076_250_879),
    ])
}

fn created(id: u64, name: &str) -> Value {
    let parameters = json!({"usernameFragment": name, "password": PASSWORD, "iceLite": true});
    let data = json!({
        "id": format!("transport of {name}"),
        "iceParameters": parameters,
        "iceCandidates": candidates(),
        "dtlsParameters": {"role": "auto", "fingerprints": [{"algorithm": "sha-256", "value": "AA:BB"}]},
    });
    json!({"response": true, "id": id, "ok": true, "data": data})
}

#[test]
fn a_new_transport_is_known_and_the_browser_hears_of_the_gateway_first() {
    let mut conversation = Conversation::new();
    let heard = conversation.create(77, NAME).unwrap();
    let mut expected = created(77, NAME);
    let heard_candidates = heard["data"]["iceCandidates"].as_array().unwrap();
    expected["data"]["iceCandidates"] = heard_candidates.clone().into();
    assert_eq!(heard, expected, "nothing else changes");
    let places: Vec<String> = heard_candidates
        .iter()
        .map(|it| format!("{} {}:{} {}", it["protocol"], it["ip"], it["port"], it["tcpType"]))
        .collect();
    assert_eq!(
        places,
        [
            r#""udp" "203.0.113.10":3478 null"#,
            r#""udp" "2001:db8::10":3478 null"#,
            r#""tcp" "203.0.113.10":5349 "passive""#,
            r#""udp" "203.0.113.9":40002 null"#,
            r#""udp" "203.0.113.9":40003 null"#,
        ]
    );
    let priority = |place: usize| heard_candidates[place]["priority"].as_u64().unwrap();
    assert!(priority(0) > priority(1) && priority(1) > priority(3) && priority(3) > priority(2));
    assert_eq!(conversation.signalling.take_counts(), Counts { rewritten: 1, ..Counts::default() });
    // Its checks lead to the first port that is not for dialog's own node.
    let mut gateway = Gateway::new(
        Settings { checks: None, checks_total: None, seed: 1 },
        Arc::clone(&conversation.directory),
    );
    let check = Builder::request(Method::Binding, TransactionId([1; 12])).username(&format!("{NAME}:b"));
    let check = check.priority(1).integrity(&IntegrityKey::short_term(PASSWORD)).fingerprint().finish();
    let route = gateway.handle_browser(conversation.now, udp("192.0.2.7:1"), &check).unwrap();
    assert_eq!(route.to, addr("10.0.0.5:40002"));
}

#[test]
fn dialogs_own_candidates_may_be_kept_from_browsers() {
    let mut conversation = Conversation::new();
    conversation.offer = Offer { udp: vec![addr("203.0.113.10:3478")], tcp: vec![], keeps_dialogs: false };
    let heard = conversation.create(1, NAME).unwrap();
    assert_eq!(heard["data"]["iceCandidates"].as_array().unwrap().len(), 1);
}

#[test]
fn what_was_not_asked_for_or_says_too_little_passes_as_it_is() {
    let mut conversation = Conversation::new();
    assert_eq!(conversation.answer(&created(1, NAME)), None, "nobody asked");
    for (id, answer) in [
        (2, json!({"response": true, "id": 2, "errorCode": 500, "errorReason": "no more available ports"})),
        (3, json!({"response": true, "id": 3, "ok": true, "data": {}})),
        (
            4,
            json!({"response": true, "id": 4, "ok": true, "data": {"id": 7, "iceParameters": [], "iceCandidates": null}}),
        ),
        (5, json!({"notification": true, "method": "peerClosed", "data": {"peerId": "x"}})),
        (6, json!({"request": true, "id": 6, "method": "newConsumer", "data": {}})),
        (7, json!([1, 2])),
    ] {
        conversation.ask(id, "createWebRtcTransport", &json!({}));
        assert_eq!(conversation.answer(&answer), None, "{answer}");
    }
    let mut tcp_only = created(8, NAME);
    for candidate in tcp_only["data"]["iceCandidates"].as_array_mut().unwrap() {
        candidate["protocol"] = "tcp".into();
    }
    conversation.ask(8, "createWebRtcTransport", &json!({"forceTcp": true}));
    assert_eq!(conversation.answer(&tcp_only), None);
    conversation.offer = Offer::default();
    assert_eq!(conversation.create(9, NAME), None, "there is nothing to tell");
    assert_eq!(conversation.directory.transports(), 0);
}

#[test]
fn a_restart_gives_the_transport_another_name() {
    let mut conversation = Conversation::new();
    conversation.create(1, NAME);
    conversation.ask(2, "restartIce", &json!({"transportId": format!("transport of {NAME}")}));
    let parameters =
        json!({"usernameFragment": "newufragofdialogstransport", "password": PASSWORD, "iceLite": true});
    let answer = json!({"response": true, "id": 2, "ok": true, "data": parameters});
    assert_eq!(conversation.answer(&answer), None, "it passes as it is");
    assert!(conversation.knows("newufragofdialogstransport") && conversation.knows(NAME));
    conversation.now += Duration::from_secs(61);
    assert!(conversation.knows("newufragofdialogstransport") && !conversation.knows(NAME));
}

#[test]
fn what_is_closed_is_forgotten_and_everything_with_the_conversation() {
    let mut conversation = Conversation::new();
    let (one, other) = ("nameofonetransport", "nameofanothertransport");
    conversation.create(1, one);
    conversation.create(2, other);
    conversation.ask(3, "closeWebRtcTransport", &json!({"transportId": format!("transport of {one}")}));
    assert!(conversation.knows(one), "dialog has not agreed yet");
    conversation.answer(&json!({"response": true, "id": 3, "ok": true, "data": {}}));
    assert!(!conversation.knows(one) && conversation.knows(other));
    let Conversation { directory, signalling, .. } = conversation;
    drop(signalling);
    assert_eq!(directory.transports(), 0);
}

#[test]
fn who_opens_a_thousand_transports_has_a_few_at_the_gateway() {
    let mut conversation = Conversation::new();
    let rewritten = (0..1000).filter(|id| conversation.create(*id, &format!("name{id}")).is_some()).count();
    assert_eq!((rewritten, conversation.directory.transports()), (3, 3));
    let counts = Counts { rewritten: 3, limited_of_one: 997, ..Counts::default() };
    assert_eq!(conversation.signalling.take_counts(), counts);
}

#[test]
fn requests_that_dialog_never_answers_are_not_remembered_without_end() {
    let mut conversation = Conversation::new();
    for id in 0..1000 {
        conversation.ask(id, "createWebRtcTransport", &json!({}));
    }
    assert_eq!(conversation.answer(&created(999, NAME)), None);
    assert!(conversation.answer(&created(0, NAME)).is_some());
}

#[test]
fn a_name_that_another_transport_has_is_not_taken_from_it() {
    let mut conversation = Conversation::new();
    let key = IntegrityKey::short_term("passwordofanothertransport");
    conversation.directory.open(NAME, key, addr("10.0.0.9:1"), 100).unwrap();
    assert_eq!(conversation.create(1, NAME), None);
    assert_eq!(conversation.directory.transports(), 1);
}

proptest! {
    #[test]
    fn no_words_of_either_side_make_it_panic(from_browser: Vec<u8>, from_dialog: Vec<u8>, text in ".{0,200}") {
        let mut conversation = Conversation::new();
        conversation.signalling.handle_browser(&from_browser);
        conversation.ask(1, "createWebRtcTransport", &json!({}));
        let mut heard = Vec::new();
        let Conversation { signalling, offer, now, .. } = &mut conversation;
        signalling.handle_dialog(*now, &[&[0x81, text.len().min(125) as u8], text.as_bytes()].concat(), offer, &mut heard);
        signalling.handle_dialog(*now, &from_dialog, offer, &mut heard);
    }
}
