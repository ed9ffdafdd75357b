//! The one line that each session leaves.

use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{self, Client, Connection, LIMIT, USER, channel};
use crate::program::Running;

const RELAY: [(&str, &str); 2] =
    [("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1"), ("HUBS_RELAY_PEERS__ALLOW", "127.0.0.1:1-65535")];

#[test]
fn a_session_leaves_who_it_was_how_much_it_was_and_why_it_is_over() {
    let users = format!("{}={}", USER.0, USER.1);
    let (mut relay, address) = Running::start(&[&RELAY[..], &[("HUBS_RELAY_AUTH__USERS", &users)]].concat());
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    let socket = client::udp(address);
    let own = socket.local_addr().unwrap();
    let mut client = Client::new(socket);
    let relayed = client.allocate();
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
    for _ in 0..3 {
        client.send_on(channel(0x4000), b"12345");
        client::heard(&peer);
    }
    peer.send_to(b"123456789", relayed).unwrap();
    client.receive().unwrap();
    assert_eq!(client.refresh(Duration::ZERO), 0);
    let line = relay.line_with("session over");
    for part in [
        "INFO session over: the client gave it back",
        &format!("client={own}"),
        "transport=udp",
        "seconds=0",
        "to_peer_packets=3 to_peer_bytes=15",
        "to_client_packets=1 to_client_bytes=9",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    assert!(!line.contains(USER.0) && !line.contains(USER.1), "{line}");

    Client::new(client::udp(address)).allocate();
    relay.signal(Signal::SIGTERM);
    relay.line_with("draining");
    relay.signal(Signal::SIGTERM);
    relay.line_with("session over: the relay stopped");
}

#[test]
fn as_json_it_is_an_object() {
    let users = format!("{}={}", USER.0, USER.1);
    let (mut relay, address) = Running::start(
        &[
            &RELAY[..],
            &[
                ("HUBS_RELAY_AUTH__USERS", &users),
                ("HUBS_RELAY_LOG__FORMAT", "json"),
                ("HUBS_RELAY_LISTEN", "tcp://127.0.0.1:0"),
            ],
        ]
        .concat(),
    );
    let stream = client::tcp(address);
    let own = stream.local_addr().unwrap();
    let mut client = Client::new(Connection::new(stream));
    client.allocate();
    drop(client);
    let line: serde_json::Value = serde_json::from_str(&relay.line_with("session over")).unwrap();
    assert_eq!(line["message"], "session over: the client's connection ended");
    assert_eq!((&line["level"], &line["client"]), (&"INFO".into(), &own.to_string().into()));
    assert_eq!((&line["transport"], &line["to_peer_bytes"]), (&"tcp".into(), &0.into()));
}

#[test]
fn a_session_that_ends_with_the_relay_leaves_one_line_as_well() {
    let users = format!("{}={}", USER.0, USER.1);
    let variables = [("HUBS_RELAY_AUTH__USERS", users.as_str()), ("HUBS_RELAY_LISTEN", "tcp://127.0.0.1:0")];
    let (mut relay, address) = Running::start(&[&RELAY[..], &variables].concat());
    let mut client = Client::new(Connection::new(client::tcp(address)));
    client.allocate();
    relay.signal(Signal::SIGINT);
    relay.line_with("INFO stopped");
    let lines: Vec<_> = relay.said.lines().filter(|line| line.contains("session over")).collect();
    assert!(lines.len() == 1 && lines[0].contains("the relay stopped"), "{lines:#?}");
}
