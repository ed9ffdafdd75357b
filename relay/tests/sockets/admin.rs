//! What an operator and Kubernetes are told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use hubs_relay::{Config, Relay};

use crate::client::{self, Client, Connection, LIMIT, USER, channel};
use crate::identity::Identity;

/// A relay on UDP, TCP and TLS, and where it answers.
fn start(identity: &Identity) -> (Relay, SocketAddr) {
    let (user, password) = USER;
    let text = format!(
        "listen = ['udp://127.0.0.1:0', 'tcp://127.0.0.1:0', 'tls://127.0.0.1:0']\n\
         relay.address = '127.0.0.1'\nrelay.workers = 2\nauth.users = {{ {user} = '{password}' }}\n\
         peers.allow = ['127.0.0.1:1-65535']\n{}",
        identity.config()
    );
    let mut relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    (relay, admin)
}

/// The status line, the headers and the body of an answer.
pub(crate) fn get(admin: SocketAddr, path: &str) -> (String, String, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap();
    (status.to_owned(), headers.to_lowercase(), body.to_owned())
}

/// Reads a document as the OpenMetrics specification has it: families announced once and not interleaved, counters'
/// samples called `_total`, no sample twice, an end. Returns each sample's value by name and labels.
pub(crate) fn parse(document: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut kind) = ("", "");
    let mut lines = document.lines();
    for line in lines.by_ref() {
        if line == "# EOF" {
            break;
        }
        if let Some(comment) = line.strip_prefix("# ") {
            let (what, rest) = comment.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();
            assert!(name == family || families.insert(name), "{name} comes in two pieces");
            family = name;
            match what {
                "TYPE" => kind = value,
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                _ => assert_eq!(what, "HELP"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        match kind {
            "counter" => assert_eq!(name, format!("{family}_total")),
            "gauge" => assert_eq!(name, family),
            other => panic!("{family} is a {other}"),
        }
        assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{sample} twice");
    }
    assert_eq!(lines.next(), None, "nothing follows the end");
    samples
}

/// Waits until the workers have reported this.
pub(crate) fn wait_for(admin: SocketAddr, sample: &str, value: f64) {
    wait_until(admin, sample, |it| it == Some(&value));
}

/// Waits until the workers have counted some of this.
pub(crate) fn wait_for_some(admin: SocketAddr, sample: &str) {
    wait_until(admin, sample, |it| it.is_some_and(|value| *value > 0.0));
}

fn wait_until(admin: SocketAddr, sample: &str, is_it: impl Fn(Option<&f64>) -> bool) {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let samples = parse(&get(admin, "/metrics").2);
        if is_it(samples.get(sample)) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{sample} is not so in {samples:#?}");
    }
}

/// What Prometheus' own parser makes of a document: its samples; nothing where that parser is missing.
fn parse_as_prometheus(document: &str) -> Option<BTreeMap<String, f64>> {
    const SCRIPT: &str = "\
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
samples = []
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.type in ('counter', 'gauge') and family.documentation, family
    for sample in family.samples:
        labels = ','.join(f'{name}=\\\"{value}\\\"' for name, value in sample.labels.items())
        samples.append([sample.name + (labels and '{' + labels + '}'), sample.value])
json.dump(samples, sys.stdout)";
    // Debian's own, whatever other Python there is.
    let python = || {
        let mut python = Command::new("/usr/bin/python3");
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        python
    };
    let has_parser = python().args(["-c", "import prometheus_client"]).stderr(Stdio::null()).status();
    if !has_parser.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("HUBS_TESTS_SKIP_NOTHING").is_none(), "no python3-prometheus-client");
        return None;
    }
    let mut parser = python().args(["-c", SCRIPT]).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "Prometheus cannot read {document}");
    let samples: Vec<(String, f64)> = serde_json::from_slice(&output.stdout).unwrap();
    Some(samples.into_iter().collect())
}

#[test]
fn metrics_count_what_happens_and_name_nobody() {
    let identity = Identity::new("turn.test");
    let (relay, admin) = start(&identity);
    let (status, headers, document) = get(admin, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains("content-type: application/openmetrics-text; version=1.0.0"), "{headers}");
    assert!(parse(&document).keys().all(|name| name.starts_with("hubs_relay_")), "{document}");

    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    let [udp, tcp, tls] = relay.listeners() else { panic!("three listeners") };
    let tls = client::tls(client::tcp(tls.address), &identity);
    let mut client = Client::new(Connection::new(tls));
    let relayed = client.allocate();
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
    for _ in 0..3 {
        client.send_on(channel(0x4000), b"seventeen bytes!!");
        client::heard(&peer);
        peer.send_to(b"five!", relayed).unwrap();
        client.receive().unwrap();
    }
    let mut second = Client::new(client::udp(udp.address));
    second.allocate();
    assert_eq!(second.permit("192.0.2.1:80".parse().unwrap()), 403);
    let mut forger = Client::named(client::udp(udp.address), USER.0, "guess");
    forger.try_allocate();
    let mut stranger = Client::new(Connection::new(client::tcp(tcp.address)));
    stranger.binding();

    for (sample, value) in [
        ("hubs_relay_error_responses_total{code=\"401\"}", 4.0),
        ("hubs_relay_sessions{transport=\"udp\"}", 1.0),
        ("hubs_relay_sessions{transport=\"tls\"}", 1.0),
        ("hubs_relay_sessions{transport=\"tcp\"}", 0.0),
        ("hubs_relay_allocations_total{transport=\"tls\"}", 1.0),
        ("hubs_relay_packets_total{direction=\"to_peers\"}", 3.0),
        ("hubs_relay_payload_bytes_total{direction=\"to_peers\"}", 51.0),
        ("hubs_relay_packets_total{direction=\"to_clients\"}", 3.0),
        ("hubs_relay_payload_bytes_total{direction=\"to_clients\"}", 15.0),
        ("hubs_relay_error_responses_total{code=\"403\"}", 1.0),
        ("hubs_relay_authentications_total{outcome=\"granted\"}", 2.0),
        ("hubs_relay_authentications_total{outcome=\"wrong_password\"}", 1.0),
        ("hubs_relay_tls_handshakes_total{outcome=\"completed\"}", 1.0),
        ("hubs_relay_strangers", 1.0),
        ("hubs_relay_queue_drops_total", 0.0),
        ("hubs_relay_certificate_expiry_timestamp_seconds", 67_090_118_400.0),
    ] {
        wait_for(admin, sample, value);
    }
    drop(client);
    wait_for(admin, "hubs_relay_sessions{transport=\"tls\"}", 0.0);
    let document = get(admin, "/metrics").2;
    match parse_as_prometheus(&document) {
        Some(samples) => assert_eq!(samples, parse(&document)),
        None => eprintln!("left out: Debian's python3-prometheus-client is missing (tests/run installs it)"),
    }
    for secret in [USER.0, "127.0.0.1", "turn.test", "192.0.2.1"] {
        assert!(!document.contains(&format!("\"{secret}")), "{document}");
    }
}

#[test]
fn it_is_alive_and_ready_once_it_serves() {
    let (_relay, admin) = start(&Identity::new("turn.test"));
    assert_eq!(get(admin, "/livez").0, "HTTP/1.1 200 OK");
    let (status, _, said) = get(admin, "/readyz");
    assert_eq!((status.as_str(), said.as_str()), ("HTTP/1.1 200 OK", "ready\n"));
    assert_eq!(get(admin, "/").0, "HTTP/1.1 404 Not Found");
}

#[test]
fn a_database_that_was_never_read_makes_it_unready_with_the_reason() {
    // A port on which nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "listen = ['udp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\n\
         auth.postgres = 'host=127.0.0.1 port={port} dbname=retdb user=u password=hunter2'"
    );
    let mut relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let (status, _, said) = get(admin, "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(said.starts_with("not ready\ndatabase: ") && !said.contains("hunter2"), "{said}");
    assert_eq!(get(admin, "/livez").0, "HTTP/1.1 200 OK");
    wait_for(admin, "hubs_relay_need_met{need=\"database\"}", 0.0);
}

#[test]
fn a_peer_without_an_address_makes_it_unready_with_the_reason() {
    let text = "listen = ['udp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\n\
                peers.allow = ['dialog.invalid:40000-49999']";
    let mut relay = Relay::start(&Config::from_text(text, None, []).unwrap()).unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let (status, _, said) = get(admin, "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(said.starts_with("not ready\npeers: "), "{said}");
}

#[test]
fn whom_clients_may_reach_is_told_with_the_addresses_that_stand_for_others() {
    let text = "listen = ['udp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\n\
                peers.allow = ['127.0.0.2:40000-49999', '[2001:db8::/64]:7-9']\n\
                peers.map = [{ announced = '192.0.2.7', actual = '127.0.0.2' }]";
    let mut relay = Relay::start(&Config::from_text(text, None, []).unwrap()).unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let said = get(admin, "/peers").2;
    let expected = "map 192.0.2.7 127.0.0.2\nallow 127.0.0.2/32 40000-49999\nallow 2001:db8::/64 7-9\n";
    assert_eq!(said, expected);
}

#[test]
fn connections_that_ask_nothing_keep_nobody_else_from_asking() {
    let (_relay, admin) = start(&Identity::new("turn.test"));
    let connect = || {
        let stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    };
    let is_open = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    let mut silent: Vec<_> = (0..63).map(|_| connect()).collect();
    assert_eq!(get(admin, "/livez").0, "HTTP/1.1 200 OK");
    assert!(silent.iter().all(is_open), "there is room for one more");
    silent.push(connect());
    assert_eq!(get(admin, "/livez").0, "HTTP/1.1 200 OK");
    silent[0].set_nonblocking(false).unwrap();
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0, "the oldest makes room");
    assert!(silent[1..].iter().all(is_open));
    silent.extend((0..200).map(|_| connect()));
    assert_eq!(get(admin, "/livez").0, "HTTP/1.1 200 OK");
}

#[test]
fn an_admin_port_in_use_is_named() {
    let (mut relay, admin) = start(&Identity::new("turn.test"));
    let error = relay.serve_admin(admin).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on admin.address {admin}: ")), "{error}");
    assert!(error.ends_with("stop it, or choose another port"), "{error}");
}
