//! Ports that come back, streams that stay in step, and what leaves no trace: the core's duties as sockets see them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hubs_relay::wire::{Builder, Method, PROTOCOL_UDP, StreamDecoder};
use hubs_relay::{Config, Relay};
use nix::sys::signal::Signal;

use crate::client::{self, Client, Connection, LIMIT, Link, USER, channel, code, heard};
use crate::identity::Identity;
use crate::program::Running;

fn start(rest: &str) -> Relay {
    let (user, password) = USER;
    let text = format!(
        "listen = ['udp://127.0.0.1:0', 'tcp://127.0.0.1:0']\nauth.users = {{ {user} = '{password}' }}\n\
         peers.allow = ['127.0.0.1:1-65535']\n[relay]\naddress = '127.0.0.1'\nworkers = 1\n{rest}"
    );
    Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap()
}

/// The first of eight ports in a row, an even one, that happen to be free.
fn eight_free_ports() -> u16 {
    let are_free = |first: &u16| (*first..first + 8).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
    (30_000..40_000).step_by(8).find(are_free).unwrap()
}

/// How a client asks for its port.
const ASKS: [fn(Builder) -> Builder; 3] = [|it| it, |it| it.even_port(false), |it| it.even_port(true)];

#[test]
fn the_pool_of_ports_is_full_again_whatever_clients_did() {
    let first = eight_free_ports();
    let relay = start(&format!("ports = '{first}-{}'\n", first + 7));
    let [udp, tcp] = relay.listeners() else { panic!("two listeners") };
    for round in 0..600 {
        let fill = |it: Builder| ASKS[round % 3](it.requested_transport(PROTOCOL_UDP));
        let token = if round % 2 == 0 {
            let mut client = Client::new(client::udp(udp.address));
            let answer = client.request(Method::Allocate, fill);
            assert_eq!(code(&answer), 0, "{round}");
            assert_eq!(client.refresh(Duration::ZERO), 0);
            answer.reservation_token().unwrap()
        } else {
            let mut client = Client::new(Connection::new(client::tcp(tcp.address)));
            let answer = client.request(Method::Allocate, fill);
            assert_eq!(code(&answer), 0, "{round}");
            // And is gone.
            answer.reservation_token().unwrap()
        };
        if let Some(token) = token {
            let mut client = Client::new(client::udp(udp.address));
            let claim = |it: Builder| it.requested_transport(PROTOCOL_UDP).reservation_token(token);
            assert_eq!(code(&client.request(Method::Allocate, claim)), 0, "{round}");
            assert_eq!(client.refresh(Duration::ZERO), 0);
        }
    }
    // The relay learns a moment later that the last connection is gone.
    let mut everybody: Vec<_> = (0..8).map(|_| Client::new(client::udp(udp.address))).collect();
    for client in &mut everybody {
        let is_granted = (0..1000).any(|_| code(&client.try_allocate()) == 0);
        assert!(is_granted, "a port is missing");
    }
    assert_eq!(code(&Client::new(client::udp(udp.address)).try_allocate()), 508, "there are eight");
}

/// A client on TCP with a channel to a peer.
fn call(relay: &Relay) -> (Client<Connection<std::net::TcpStream>>, UdpSocket, SocketAddr) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    let mut client = Client::new(Connection::new(client::tcp(relay.listeners()[1].address)));
    let relayed = client.allocate();
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
    (client, peer, relayed)
}

#[test]
fn channel_data_on_tcp_is_padded_both_ways() {
    let relay = start("");
    let (mut client, peer, relayed) = call(&relay);
    for len in 0..=8_usize {
        let payload = vec![7; len];
        let padded = len.next_multiple_of(4);
        let mut frame = [&[0x40, 0, 0, len as u8][..], &payload].concat();
        frame.resize(4 + padded, 0);
        // What the padding holds is nobody's business.
        let mut sent = frame.clone();
        sent[4 + len..].fill(0xee);
        client.link.stream.write_all(&sent).unwrap();
        assert_eq!(heard(&peer), (payload.clone(), relayed));
        peer.send_to(&payload, relayed).unwrap();
        let mut received = vec![1; frame.len()];
        client.link.stream.read_exact(&mut received).unwrap();
        assert_eq!(received, frame);
    }
}

#[test]
fn frames_of_64_kib_are_lost_where_no_datagram_is_as_long_and_the_stream_stays_in_step() {
    let relay = start("");
    let (mut client, peer, relayed) = call(&relay);
    for len in [0xffff_u16, 0xfffc, 65_508] {
        let header = [0x40, 0, len.to_be_bytes()[0], len.to_be_bytes()[1]];
        client.link.send(&[&header[..], &vec![7; usize::from(len)]].concat());
        client.send_on(channel(0x4000), b"short");
        assert_eq!(heard(&peer), (b"short".to_vec(), relayed));
    }
    for len in [65_507, 40_000] {
        client.send_on(channel(0x4000), &vec![7; len]);
        assert_eq!(heard(&peer).0.len(), len);
    }
    let longest = Builder::request(Method::Binding, client_transaction())
        .software(&"x".repeat(700))
        .attribute(hubs_relay::wire::AttrType(0x8fff), &vec![0; 0xf000]);
    let longest = longest.finish();
    assert!(longest.len() < StreamDecoder::MAX_FRAME);
    client.link.send(&longest);
    let answer = client.receive().unwrap();
    assert_eq!(answer[8..20], longest[8..20]);
}

fn client_transaction() -> hubs_relay::wire::TransactionId {
    hubs_relay::wire::TransactionId([9; 12])
}

/// Each hello offers what its version could do: TLS 1.1, 1.0, and SSL 3.
#[test]
fn tls_below_1_2_is_refused() {
    let identity = Identity::new("turn.test");
    let text = format!("listen = ['tls://127.0.0.1:0']\nrelay.address = '127.0.0.1'\n{}", identity.config());
    let relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();
    for minor in [0, 1, 2] {
        let hello =
            [&[3, minor][..], &[7; 32], &[0, 0, 6, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f, 1, 0]].concat();
        let hello = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
        let record = [&[22, 3, 1, 0, hello.len() as u8][..], &hello].concat();
        let mut stream = client::tcp(relay.listeners()[0].address);
        stream.write_all(&record).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        // A fatal alert, and its reason: protocol_version, or handshake_failure for what only that had.
        let [21, _, _, 0, 2, 2, reason] = answer[..] else { panic!("{answer:?}") };
        assert!([40, 70].contains(&reason), "{reason}");
    }
}

#[test]
fn packets_that_nobody_permitted_leave_no_line_in_the_log() {
    let users = format!("{}={}", USER.0, USER.1);
    let (mut relay, address) = Running::start(&[
        ("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1"),
        ("HUBS_RELAY_AUTH__USERS", &users),
        ("RUST_LOG", "trace"),
    ]);
    let mut client = Client::new(client::udp(address));
    let relayed = client.allocate();
    relay.line_with("allocated");
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..500 {
        stranger.send_to(b"nobody asked for this", relayed).unwrap();
        client.send_to(stranger.local_addr().unwrap(), b"nor for this");
        client.send_on(channel(0x4000), b"nor for this");
        client.binding();
    }
    relay.signal(Signal::SIGTERM);
    relay.line_with("draining");
    let lines = relay.said().lines().skip_while(|line| !line.contains("allocated")).count();
    assert!(lines < 10, "{}", relay.said());
}
