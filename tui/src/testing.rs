//! A feed for the tests: one small deployment in each state, at times of its own.

use std::time::Duration;

use crate::{
    feed::{Check, Feed, Finding, Note, Path, Status, Verdict},
    model::Model,
    theme::Theme,
    update::{Msg, update},
};

const CHECKS: [(&str, &str, &str); 7] = [
    ("dns.addresses", "Names", "do the four names have addresses, and the same ones?"),
    ("tls.certificates", "Certificates", "would a browser accept the certificates?"),
    ("http.hubs", "Web", "does Hubs answer, and does it call itself well?"),
    ("http.dialog", "Web", "does the ingress lead to dialog?"),
    ("dialog.candidates", "Signalling", "where does dialog want media sent?"),
    ("ice.direct", "Media, direct", "does dialog answer at the address that it announces?"),
    ("turn.media", "Media, through TURN", "does media connect through TURN?"),
];

/// A view that nobody told anything.
pub(crate) fn model() -> Model {
    Model::new("hubs-probe watch".to_owned(), Theme { colour: true, ascii: false })
}

/// A run under way: two checks done, one running; the paths answer.
pub(crate) fn running(model: &mut Model) {
    start(model, 2);
    tell(model, 3, Feed::CheckStarted { check: "http.hubs".to_owned() });
    update(model, Duration::from_secs(12), Msg::Tick);
}

/// A run without a fault.
pub(crate) fn all_pass(model: &mut Model) {
    start(model, CHECKS.len());
    tell(
        model,
        13,
        Feed::Verdict(Verdict {
            status: Status::Pass,
            word: "GOOD".to_owned(),
            headline: "Media reaches dialog, directly and through TURN.".to_owned(),
            advice: Vec::new(),
        }),
    );
    tell(model, 14, Feed::RunFinished);
}

/// A run that found the usual fault; the direct path is silent.
pub(crate) fn failed(model: &mut Model) {
    start(model, 5);
    let finding = Finding {
        status: Status::Fail,
        summary: "203.0.113.9:40123/udp does not answer".to_owned(),
        notes: vec![
            note("seen", "5 Bindings sent, none answered, no ICMP error"),
            note(
                "cause",
                "the address that dialog announces is the cluster's outbound address: packets leave from it and none \
                 ever arrives there, whatever the network security group says",
            ),
            note("fix", "put hubs-relay in coturn's place, or give the node a public address of its own"),
            note("run", "kubectl -n hcce set env deploy/dialog MEDIASOUP_ANNOUNCED_IP=203.0.113.7"),
        ],
    };
    let passing = Finding {
        status: Status::Pass,
        summary: "dialog offers ICE-lite over UDP".to_owned(),
        notes: Vec::new(),
    };
    tell(model, 9, Feed::CheckStarted { check: "ice.direct".to_owned() });
    tell(model, 10, Feed::CheckFinished { check: "ice.direct".to_owned(), findings: vec![passing, finding] });
    let skipped = Finding {
        status: Status::Skip,
        summary: "no TURN credentials: name a room with --room".to_owned(),
        notes: Vec::new(),
    };
    tell(model, 10, Feed::CheckFinished { check: "turn.media".to_owned(), findings: vec![skipped] });
    let unable = Finding {
        status: Status::Error,
        summary: "not finished within 15 s".to_owned(),
        notes: vec![note("see", "hubs-probe explain HP0304")],
    };
    tell(model, 10, Feed::CheckFinished { check: "http.dialog".to_owned(), findings: vec![unable] });
    for second in 10..13 {
        let outcome = Err("no answer within 1 s".to_owned());
        tell(model, second, Feed::Sample { path: "direct UDP".to_owned(), outcome });
    }
    tell(
        model,
        13,
        Feed::Verdict(Verdict {
            status: Status::Fail,
            word: "BROKEN".to_owned(),
            headline: "Nobody hears anybody: dialog announces an address that nothing can reach.".to_owned(),
            advice: vec![
                "fix: give the node a public address, or send media through hubs-relay:".to_owned(),
                "kubectl apply -k deploy/overlay".to_owned(),
                "why: packets leave from that address and none ever arrives there, whatever the network security \
                 group says."
                    .to_owned(),
            ],
        }),
    );
    tell(model, 14, Feed::RunFinished);
}

fn start(model: &mut Model, done: usize) {
    let check = |(id, group, title): (&str, &str, &str)| Check {
        id: id.to_owned(),
        group: group.to_owned(),
        title: title.to_owned(),
    };
    tell(
        model,
        0,
        Feed::RunStarted { target: "hubs.example.org".to_owned(), checks: CHECKS.map(check).to_vec() },
    );
    let path = |name: &str, route: &str| Path { name: name.to_owned(), route: route.to_owned() };
    tell(
        model,
        1,
        Feed::Paths(vec![
            path("direct UDP", "203.0.113.9:40123/udp"),
            path("through TURN", "turns:stream.hubs.example.org:5349 -> 203.0.113.9:40123/udp"),
        ]),
    );
    for (second, (id, ..)) in CHECKS.into_iter().take(done).enumerate() {
        let check = id.to_owned();
        tell(model, second as u64, Feed::CheckStarted { check: check.clone() });
        let finding = Finding { status: Status::Pass, summary: format!("{id} holds"), notes: Vec::new() };
        tell(model, second as u64 + 1, Feed::CheckFinished { check, findings: vec![finding] });
    }
    for (n, millis) in [21_u64, 24, 23, 40, 22, 21, 25].into_iter().enumerate() {
        let direct = Ok(Duration::from_millis(millis));
        tell(model, 2 + n as u64, Feed::Sample { path: "direct UDP".to_owned(), outcome: direct });
        let turn = if n == 3 {
            Err("no answer within 1 s".to_owned())
        } else {
            Ok(Duration::from_millis(millis * 2))
        };
        tell(model, 2 + n as u64, Feed::Sample { path: "through TURN".to_owned(), outcome: turn });
    }
}

fn note(label: &str, text: &str) -> Note {
    Note { label: label.to_owned(), text: text.to_owned() }
}

fn tell(model: &mut Model, second: u64, feed: Feed) {
    update(model, Duration::from_secs(second), Msg::Feed(feed));
}
