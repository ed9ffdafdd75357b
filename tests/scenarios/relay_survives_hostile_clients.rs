//! Whatever clients send, hubs-relay refuses it or closes their connection, serves everybody else as before, and logs no
//! byte of theirs as it came.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use hubs_relay::wire::{
    AttrType, Builder, ChannelNumber, Class, ErrorCode, Method, PROTOCOL_UDP, TransactionId, attribute,
};
use hubs_tests::certs::Authority;
use hubs_tests::relay::{Relay, USER};
use hubs_tests::turn::{self, Stream, TurnClient, connect_tcp, connect_tls};
use tempfile::TempDir;

/// What limits a test that waits for the relay's patience to end.
const IMPATIENT: &str = "handshake_timeout = \"2s\"\nstranger_timeout = \"2s\"";
const NAME: &str = "localhost";
/// Comprehension-required, and assigned to nobody (RFC 8489 section 14).
const UNKNOWN: AttrType = AttrType(0x7ffe);

#[test]
fn datagrams_that_are_not_turn_get_no_answer() {
    let lab = Lab::start("");
    let mut client = lab.udp_client();
    let junk = not_turn().into_iter().chain(unfinished());
    for datagram in junk.chain([Vec::new(), vec![0; 65_000]]) {
        client.send(&datagram);
    }
    let request = Builder::request(Method::Binding, TransactionId([9; 12])).finish();
    assert_eq!(client.answer(&request).transaction(), TransactionId([9; 12]));
    lab.assert_unharmed();
}

#[test]
fn streams_that_are_not_turn_are_closed() {
    let lab = Lab::start("");
    for junk in not_turn().into_iter().chain([longer_than_strangers_may_send()]) {
        for mut stream in lab.streams() {
            let _ = stream.write_all(&junk).and_then(|()| stream.flush());
            assert_closed(stream.as_mut());
        }
    }
    lab.assert_unharmed();
}

#[test]
fn a_frame_whose_end_does_not_come_closes_the_connection() {
    let lab = Lab::start(IMPATIENT);
    let mut waiting = Vec::new();
    for beginning in unfinished() {
        for mut stream in lab.streams() {
            stream.write_all(&beginning).and_then(|()| stream.flush()).unwrap();
            waiting.push(stream);
        }
    }
    for stream in &mut waiting {
        assert_closed(stream.as_mut());
    }
    lab.assert_unharmed();
}

#[test]
fn a_tls_handshake_of_garbage_or_of_silence_is_closed() {
    let lab = Lab::start(IMPATIENT);
    // The last is the header of a ClientHello (RFC 8446 section 5.1) of 512 octets, and three of them.
    let beginnings: [&[u8]; 4] =
        [b"", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 4096], &[0x16, 3, 1, 2, 0, 1, 0, 1]];
    let mut waiting = Vec::new();
    for beginning in beginnings {
        let mut stream = connect_tcp(lab.relay.tls);
        stream.write_all(beginning).unwrap();
        waiting.push(stream);
    }
    for stream in &mut waiting {
        // What may come before the end is an alert, in a record of its own (type 21).
        let mut answer = Vec::new();
        assert_ended(stream.read_to_end(&mut answer));
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    lab.assert_unharmed();
}

#[test]
fn an_attribute_that_must_be_understood_and_is_not_is_named() {
    let lab = Lab::start("");
    for mut client in lab.clients() {
        let request = client
            .signed(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP).attribute(UNKNOWN, b"what?"));
        let answer = client.answer(&request);
        assert_eq!(answer.error_code().unwrap().unwrap().0, ErrorCode(420));
        let named = answer.attribute(attribute::UNKNOWN_ATTRIBUTES).unwrap();
        assert_eq!(named, UNKNOWN.0.to_be_bytes());
    }
    lab.assert_unharmed();
}

#[test]
fn what_stands_behind_the_integrity_does_not_count() {
    let lab = Lab::start("");
    for mut client in lab.clients() {
        client.allocate().unwrap();
        // Somebody on the way adds a lifetime of zero, which would end the allocation.
        let refresh = client.signed(Method::Refresh, |it| it);
        let end = Builder::request(Method::Refresh, TransactionId([7; 12])).lifetime(Duration::ZERO);
        let answer = client.answer(&with_attributes_of(refresh, &end.finish()));
        assert_eq!(answer.class(), Class::Success);
        assert!(answer.lifetime().unwrap().unwrap() > Duration::ZERO);
        // And a peer whom the signature does not cover.
        let request = client.signed(Method::CreatePermission, |it| it);
        let peer =
            Builder::request(Method::CreatePermission, TransactionId([7; 12])).xor_peer_address(lab.peer);
        let answer = client.answer(&with_attributes_of(request, &peer.finish()));
        assert_eq!(answer.error_code().unwrap().unwrap().0, ErrorCode(400));
    }
    lab.assert_unharmed();
}

#[test]
fn channel_data_longer_than_its_datagram_reaches_nobody() {
    let lab = Lab::start("");
    let mut client = lab.udp_client();
    client.allocate().unwrap();
    let bind = client.signed(Method::ChannelBind, |it| {
        it.channel_number(ChannelNumber::new(0x4000).unwrap()).xor_peer_address(lab.peer)
    });
    assert_eq!(client.answer(&bind).class(), Class::Success);
    client.send(&[0x40, 0, 0, 9, b'c', b'u', b't']);
    // What the peer returns first is this, so the other has not arrived.
    client.send(&[0x40, 0, 0, 5, b'w', b'h', b'o', b'l', b'e']);
    assert_eq!(client.receive_frame(), [0x40, 0, 0, 5, b'w', b'h', b'o', b'l', b'e']);
    lab.assert_unharmed();
}

#[test]
fn a_user_name_cannot_forge_lines_of_the_log() {
    let lab = Lab::start("");
    let mut client = TurnClient::new(lab.relay.plain, "\u{1b}[31mann\r\nforged \u{202e}\u{9b}", "guessed");
    assert_eq!(client.allocate(), Err(401));
    lab.relay.wait_for_log("forged");
    lab.assert_unharmed();
}

/// What neither STUN nor ChannelData begins with.
fn not_turn() -> Vec<Vec<u8>> {
    let mut length_of_no_attributes = binding();
    length_of_no_attributes[3] = 3;
    let mut other_cookie = binding();
    other_cookie[4] ^= 1;
    vec![
        b"GET / HTTP/1.1\r\nHost: stream.hubs.test\r\n\r\n".to_vec(),
        b"\x1b[2J\x1b[31mforged\n".to_vec(),
        vec![0xff; 2000],
        vec![0; 2000],
        length_of_no_attributes,
        other_cookie,
    ]
}

/// What ends before it should.
fn unfinished() -> Vec<Vec<u8>> {
    let message =
        Builder::request(Method::Allocate, TransactionId([7; 12])).requested_transport(PROTOCOL_UDP);
    let message = message.finish();
    vec![
        message[..1].to_vec(),
        message[..19].to_vec(),
        message[..message.len() - 1].to_vec(),
        // ChannelData of a hundred bytes, of which three came.
        vec![0x40, 0, 0, 100, 1, 2, 3],
    ]
}

/// A whole message, of which a client without an allocation is not believed that it needs so much.
fn longer_than_strangers_may_send() -> Vec<u8> {
    Builder::request(Method::Binding, TransactionId([7; 12]))
        .attribute(attribute::SOFTWARE, &vec![b'x'; 60_000])
        .finish()
}

fn binding() -> Vec<u8> {
    Builder::request(Method::Binding, TransactionId([7; 12])).finish()
}

/// `message` with what `other` has behind its header, which the length counts in.
fn with_attributes_of(mut message: Vec<u8>, other: &[u8]) -> Vec<u8> {
    message.extend(&other[20..]);
    let len = u16::try_from(message.len() - 20).unwrap();
    message[2..4].copy_from_slice(&len.to_be_bytes());
    message
}

/// The server ends the connection and has said nothing.
fn assert_closed(stream: &mut dyn Stream) {
    let mut answer = Vec::new();
    assert_ended(stream.read_to_end(&mut answer));
    assert!(answer.is_empty(), "{answer:?}");
}

/// An end is an end: in order, by a reset because there was more to read, or in TLS without its last word.
fn assert_ended(read: std::io::Result<usize>) {
    if let Err(error) = read {
        let kind = error.kind();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}");
    }
}

/// A relay, and a peer that returns what it gets.
struct Lab {
    relay: Relay,
    peer: SocketAddr,
    authority: Authority,
    _folder: TempDir,
}

impl Lab {
    fn start(limits: &str) -> Self {
        let folder = TempDir::with_prefix("hubs-hostile-").unwrap();
        let authority = Authority::new();
        let identity = authority.issue(NAME).write(folder.path(), "relay");
        let peer = turn::echo();
        let relay = Relay::start(crate::RELAY, folder.path(), &identity, &peer.to_string(), limits);
        Self { relay, peer, authority, _folder: folder }
    }

    fn udp_client(&self) -> TurnClient {
        let (user, password) = USER;
        TurnClient::new(self.relay.plain, user, password)
    }

    /// A good client on each transport.
    fn clients(&self) -> Vec<TurnClient> {
        let (user, password) = USER;
        let over_streams = self.streams().map(|stream| TurnClient::over_stream(stream, user, password));
        [self.udp_client()].into_iter().chain(over_streams).collect()
    }

    /// A connection over TCP, and one over TLS.
    fn streams(&self) -> [Box<dyn Stream>; 2] {
        let tls = connect_tls(self.relay.tls, &self.authority, NAME);
        [Box::new(connect_tcp(self.relay.plain)), Box::new(tls)]
    }

    /// A client on each transport is served from beginning to end, and the log is one that can be read.
    fn assert_unharmed(&self) {
        for mut client in self.clients() {
            client.allocate().unwrap();
            client.permit(self.peer).unwrap();
            assert_eq!(client.exchange_data(self.peer, b"still there?").unwrap(), b"still there?");
        }
        let log = self.relay.log();
        assert!(!log.contains("panicked"), "{log}");
        for line in log.lines() {
            // Each begins with its time.
            assert!(line.starts_with("20") && !line.contains(char::is_control), "{line:?}");
        }
    }
}
