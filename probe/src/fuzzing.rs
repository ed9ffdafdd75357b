//! What the fuzzer gets to: each reader of bytes that a server sends, as it is. Only in a build with `--cfg fuzzing`.

use url::Url;

use crate::{
    checks,
    csp::Policies,
    html::Page,
    ice::{Agent, Credentials},
    net, phoenix, protoo, stun,
};

/// Lets the first byte choose who reads the others.
///
/// # Panics
/// Never, or a server could end the probe.
pub fn read_from_server(bytes: &[u8]) {
    let Some((reader, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match reader % 9 {
        0 => protoo::fuzz(&text),
        1 => phoenix::fuzz(&text),
        2 => read_page(&text),
        3 => read_policies(&text),
        4 => read_check(bytes),
        5 => stun::fuzz(bytes),
        6 => net::fuzz(bytes),
        7 => checks::mail::fuzz(&text),
        _ => checks::tls::fuzz(bytes),
    }
}

fn read_page(html: &str) {
    if let Ok(url) = Url::parse("https://hubs.example.org/") {
        let _ = Page::read(html, &url).is_cut_short();
    }
}

fn read_policies(headers: &str) {
    let (page, dialog) =
        (Url::parse("https://hubs.example.org/"), Url::parse("wss://stream.example.org:4443"));
    if let (Ok(page), Ok(dialog)) = (page, dialog) {
        let _ = Policies::read(headers.lines()).forbids("connect-src", &dialog, &page);
    }
}

fn read_check(datagram: &[u8]) {
    if let Some(remote) = Credentials::new("u".repeat(32), "p".repeat(32)) {
        let _ = Agent::new(&remote).read(datagram);
    }
}
