//! Whatever a browser and dialog say to each other, in any pieces: it passes as it is, or with other candidates, and what
//! was learned from it goes when they part.

#![no_main]

use std::sync::Arc;
use std::time::Instant;

use arbitrary::Arbitrary;
use hubs_relay::gateway::Directory;
use hubs_relay::gateway::signalling::{Offer, Signalling};
use libfuzzer_sys::fuzz_target;

const TRANSPORTS: usize = 4;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes as they come.
    FromBrowser(Vec<u8>),
    FromDialog(Vec<u8>),
    /// A request that matters here.
    Asks { id: u8, method: u8, transport: u8 },
    /// Dialog's answer, which may say too little.
    Answers { id: u8, transport: u8, name: String, password: String, candidates: Vec<(u8, u16)>, is_ok: bool },
}

fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0xfe];
    frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    // A mask of zeros leaves the text as it is.
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn plain(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

fuzz_target!(|steps: Vec<Step>| {
    let now = Instant::now();
    let directory = Arc::new(Directory::new(now));
    let dialog = "10.0.0.5".parse().expect("an address");
    let mut signalling = Signalling::new(Arc::clone(&directory), dialog, (TRANSPORTS, TRANSPORTS));
    let place = "203.0.113.10:3478".parse().expect("a place");
    let offer = Offer { udp: vec![place], tcp: vec![place], keeps_dialogs: true };
    let mut rewritten = 0;
    for step in steps {
        let mut heard = Vec::new();
        match step {
            Step::FromBrowser(bytes) => signalling.handle_browser(&bytes),
            Step::FromDialog(bytes) => signalling.handle_dialog(now, &bytes, &offer, &mut heard),
            Step::Asks { id, method, transport } => {
                let method = ["createWebRtcTransport", "restartIce", "closeWebRtcTransport", "join"][usize::from(method % 4)];
                let text = format!(
                    r#"{{"request":true,"id":{id},"method":"{method}","data":{{"transportId":"{transport}"}}}}"#
                );
                signalling.handle_browser(&masked(&text));
            }
            Step::Answers { id, transport, name, password, candidates, is_ok } => {
                let candidates: Vec<String> = candidates
                    .iter()
                    .take(20)
                    .map(|(host, port)| format!(r#"{{"ip":"{host}.0.0.1","port":{port},"protocol":"udp"}}"#))
                    .collect();
                let text = format!(
                    r#"{{"response":true,"id":{id},"ok":{is_ok},"data":{{"id":"{transport}","usernameFragment":{name:?},"password":{password:?},"iceParameters":{{"usernameFragment":{name:?},"password":{password:?}}},"iceCandidates":[{}]}}}}"#,
                    candidates.join(",")
                );
                let Ok(_) = u16::try_from(text.len()) else { continue };
                signalling.handle_dialog(now, &plain(&text), &offer, &mut heard);
            }
        }
        rewritten += signalling.take_counts().rewritten;
        assert!(directory.transports() <= TRANSPORTS);
    }
    assert!(rewritten > 0 || directory.transports() == 0);
    drop(signalling);
    assert_eq!(directory.transports(), 0);
});
