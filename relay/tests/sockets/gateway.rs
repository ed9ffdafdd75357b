//! The gateway over real sockets: signalling that passes through it, and media beside TURN on the same ports.

use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hubs_relay::wire::{Builder, IntegrityKey, Message as Stun, Method, PacketDecoder, TransactionId};
use hubs_relay::{Config, Relay};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::admin::{get, parse, wait_for, wait_for_some};
use crate::bounds::assert_closed;
use crate::client::{self, Client, Connection, LIMIT, USER};
use crate::dialog::{Dialog, PASSWORD, heard, say};
use crate::identity::Identity;
use crate::program::Running;

const NAME: &str = "nameofdialogstransport";
const ROOM: &str = "/?roomId=abc&peerId=me";
const MEDIA: &[u8] = &[0x80, 111, 1, 2, 3, 4];

/// A relay with a gateway to these dialogs.
struct Gateway {
    relay: Relay,
    identity: Identity,
}

impl Gateway {
    fn start(dialogs: &[&Dialog]) -> Self {
        let dialogs: Vec<String> = dialogs.iter().map(|it| it.address.to_string()).collect();
        Self::start_with(&dialogs.join(","), "")
    }

    fn start_with(dialogs: &str, rest: &str) -> Self {
        let identity = Identity::new("stream.test");
        let relay = Relay::start(&Self::config(&identity, dialogs, rest)).unwrap();
        Self { relay, identity }
    }

    fn config(identity: &Identity, dialogs: &str, rest: &str) -> Config {
        let (user, password) = USER;
        let listen = |transport| format!("[[listen]]\ntransport = '{transport}'\naddress = '127.0.0.1:0'\n");
        let trusted = "proxy_protocol_from = ['127.0.0.0/8']\n";
        let text = format!(
            "{}{}{trusted}{}{}[relay]\naddress = '127.0.0.1'\nworkers = 2\n[auth]\nusers = {{ {user} = '{password}' }}\n\
             [gateway]\nlisten = 'tcp://127.0.0.1:0'\ndialog = '{dialogs}'\nudp = '203.0.113.10:3478'\ntcp = '203.0.113.10:5349'\n{rest}",
            listen("udp"),
            listen("tls"),
            listen("tcp"),
            identity.config(),
        );
        Config::from_text(&text, None, []).unwrap()
    }

    fn signalling(&self) -> SocketAddr {
        self.relay.signalling().unwrap().address
    }

    fn udp(&self) -> SocketAddr {
        self.relay.listeners()[0].address
    }

    /// Where TLS is spoken, and what the gateway speaks as well.
    fn shared(&self) -> SocketAddr {
        self.relay.listeners()[1].address
    }

    fn admin(&mut self) -> SocketAddr {
        self.relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn connect(&self) -> Browser {
        connect(self.signalling())
    }

    fn ask(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Connected, tungstenite::Error> {
        ask(self.signalling(), path, headers)
    }
}

/// A gateway as a program, with one worker.
pub(crate) struct Program {
    pub(crate) running: Running,
    pub(crate) signalling: SocketAddr,
    pub(crate) udp: SocketAddr,
    admin: SocketAddr,
}

impl Program {
    pub(crate) fn start(dialog: &Dialog, variables: &[(&str, &str)]) -> Self {
        let dialog = dialog.address.to_string();
        let gateway = [
            ("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1"),
            ("HUBS_RELAY_RELAY__WORKERS", "1"),
            ("HUBS_RELAY_GATEWAY__LISTEN", "tcp://127.0.0.1:0"),
            ("HUBS_RELAY_GATEWAY__DIALOG", &dialog),
            ("HUBS_RELAY_GATEWAY__UDP", "203.0.113.10:3478"),
        ];
        let (running, udp) = Running::start(&[&gateway[..], variables].concat());
        let signalling = running.address_behind("signalling: tcp://");
        let admin = running.address_behind("on http://");
        Self { running, signalling, udp, admin }
    }
}

pub(crate) type Browser = WebSocket<TcpStream>;
/// With dialog's answer.
type Connected = (Browser, Response<Option<Vec<u8>>>);

/// A browser in the room.
pub(crate) fn connect(signalling: SocketAddr) -> Browser {
    ask(signalling, ROOM, &[]).unwrap().0
}

fn ask(
    signalling: SocketAddr,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> Result<Connected, tungstenite::Error> {
    let mut request = format!("ws://stream.test{path}").into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("protoo"));
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    match tungstenite::client(request, client::tcp(signalling)) {
        Ok(connected) => Ok(connected),
        Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
        Err(tungstenite::HandshakeError::Interrupted(_)) => panic!("no answer"),
    }
}

/// The browser makes a transport of this name; what it is told.
pub(crate) fn create(
    browser: &mut Browser,
    dialog: &Dialog,
    peer: &mut crate::dialog::Peer,
    name: &str,
) -> Value {
    say(browser, &json!({"request": true, "id": 5, "method": "createWebRtcTransport", "data": {}}));
    peer.create(dialog, name);
    heard(browser)
}

pub(crate) fn check(name: &str, number: u8) -> Vec<u8> {
    let check =
        Builder::request(Method::Binding, TransactionId([number; 12])).username(&format!("{name}:browser"));
    check.priority(7).ice_controlling(1).integrity(&IntegrityKey::short_term(PASSWORD)).fingerprint().finish()
}

/// Checks and says something, which comes back from dialog.
pub(crate) fn talk(socket: &UdpSocket, name: &str, number: u8) {
    let check = check(name, number);
    socket.send(&check).unwrap();
    let answer = Stun::parse(&client::heard(socket).0).unwrap();
    assert_eq!(answer.transaction(), Stun::parse(&check).unwrap().transaction());
    socket.send(MEDIA).unwrap();
    assert_eq!(client::heard(socket).0, MEDIA);
}

/// Packets behind their lengths, on a stream.
struct Packets<S> {
    stream: S,
    decoder: PacketDecoder,
}

impl<S: Read + Write> Packets<S> {
    fn new(stream: S) -> Self {
        Self { stream, decoder: PacketDecoder::new(PacketDecoder::MAX_PACKET) }
    }

    fn send(&mut self, packet: &[u8]) {
        let header = PacketDecoder::header(packet).unwrap();
        self.stream.write_all(&[&header, packet].concat()).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let (mut packets, mut bytes) = (Vec::new(), [0; 2048]);
        while packets.is_empty() {
            let len = self.stream.read(&mut bytes).unwrap();
            assert!(len > 0, "closed");
            self.decoder.decode(&bytes[..len], |packet| packets.push(packet.to_vec())).unwrap();
        }
        assert_eq!(packets.len(), 1);
        packets.remove(0)
    }

    fn talk(&mut self, name: &str, number: u8) {
        self.send(&check(name, number));
        assert!(Stun::parse(&self.receive()).is_ok());
        self.send(MEDIA);
        assert_eq!(self.receive(), MEDIA);
    }
}

#[test]
fn a_browser_reaches_dialog_over_the_udp_port_that_turn_has_as_well() {
    let dialog = Dialog::start("127.0.0.1");
    let mut gateway = Gateway::start(&[&dialog]);
    let admin = gateway.admin();
    let mut browser = gateway.connect();
    let mut peer = dialog.peer();
    let created = create(&mut browser, &dialog, &mut peer, NAME);
    let candidates = created["data"]["iceCandidates"].as_array().unwrap();
    let places: Vec<_> =
        candidates.iter().map(|it| format!("{} {} {}", it["protocol"], it["ip"], it["port"])).collect();
    let own = format!("\"udp\" \"203.0.113.9\" {}", dialog.media.port());
    assert_eq!(places, ["\"udp\" \"203.0.113.10\" 3478", "\"tcp\" \"203.0.113.10\" 5349", &own]);
    let media = client::udp(gateway.udp());
    talk(&media, NAME, 1);
    // TURN is served beside it, even from the same address.
    let mut turn = Client::new(media);
    turn.allocate();
    talk(&turn.link, NAME, 2);
    wait_for(admin, "hubs_relay_gateway_transports", 1.0);
    wait_for(admin, "hubs_relay_gateway_ways{transport=\"udp\"}", 1.0);
    wait_for(admin, "hubs_relay_gateway_packets_total{direction=\"to_dialog\",transport=\"udp\"}", 4.0);
    wait_for(admin, "hubs_relay_gateway_packets_total{direction=\"to_browsers\",transport=\"udp\"}", 4.0);
    let samples = parse(&get(admin, "/metrics").2);
    assert!((samples["hubs_relay_gateway_rewritten_total"] - 1.0).abs() < 0.1);
    assert!((samples["hubs_relay_gateway_requests_total{outcome=\"accepted\"}"] - 1.0).abs() < 0.1);
    // Who leaves is forgotten, with his way.
    drop(browser);
    wait_for(admin, "hubs_relay_gateway_transports", 0.0);
    wait_for(admin, "hubs_relay_gateway_ways{transport=\"udp\"}", 0.0);
    wait_for(admin, "hubs_relay_gateway_signalling", 0.0);
}

#[test]
fn one_stream_listener_takes_turn_over_tls_turn_in_the_clear_and_packets_with_and_without_a_proxy() {
    let dialog = Dialog::start("127.0.0.1");
    let gateway = Gateway::start(&[&dialog]);
    let mut browser = gateway.connect();
    let mut peer = dialog.peer();
    create(&mut browser, &dialog, &mut peer, NAME);
    let header = b"PROXY TCP4 198.51.100.77 192.0.2.1 41000 5349\r\n";
    let connect = |header: &[u8]| {
        let mut stream = client::tcp(gateway.shared());
        stream.write_all(header).unwrap();
        stream
    };
    for (number, header) in [(1, &header[..]), (2, b"")] {
        Packets::new(connect(header)).talk(NAME, number);
        Client::new(Connection::new(client::tls(connect(header), &gateway.identity))).allocate();
        let mut plain = Client::new(Connection::new(connect(header)));
        let seen = plain.binding();
        assert_eq!(header.is_empty(), seen.ip().is_loopback());
        plain.allocate();
    }
    // In pieces as well.
    let mut stream = connect(b"");
    let check = check(NAME, 3);
    for byte in [&PacketDecoder::header(&check).unwrap()[..], &check].concat() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(Stun::parse(&Packets::new(stream).receive()).is_ok());
    // And nothing else.
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 20], &[0, 1, 0, 0, 1, 1, 1, 1, 1, 1]] {
        assert_closed(&mut connect(junk));
    }
}

#[test]
fn header_query_and_subprotocol_pass_and_compression_is_not_offered() {
    let dialog = Dialog::start("127.0.0.1");
    let gateway = Gateway::start(&[&dialog]);
    let headers = [
        ("x-ret-max-room-size", "24"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("X-Forwarded-For", "192.0.2.7"),
    ];
    let (_browser, response) = gateway.ask("/?roomId=a%20b&peerId=me&x=1", &headers).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "protoo");
    let request = dialog.peer().request;
    assert_eq!(request.uri().to_string(), "/?roomId=a%20b&peerId=me&x=1");
    let header = |name: &str| request.headers().get(name).map(|it| it.to_str().unwrap().to_owned());
    assert_eq!(header("x-ret-max-room-size").as_deref(), Some("24"));
    assert_eq!(header("x-forwarded-for").as_deref(), Some("192.0.2.7"));
    assert_eq!(header("host").as_deref(), Some("stream.test"));
    assert_eq!(header("sec-websocket-extensions"), None);
}

#[test]
fn what_dialog_refuses_is_refused_as_dialog_does_it_and_where_it_is_away_as_haproxy_does() {
    let dialog = Dialog::start("127.0.0.1");
    let gateway = Gateway::start(&[&dialog]);
    let refused = |gateway: &Gateway, path: &str| match gateway.ask(path, &[]) {
        Err(tungstenite::Error::Http(response)) => *response,
        other => panic!("{:?}", other.map(|it| it.1)),
    };
    let response = refused(&gateway, "/?peerId=me");
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["X-WebSocket-Reject-Reason"], "no roomId");
    assert_eq!(response.body().as_deref(), Some(&b"no room"[..]));
    let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start_with(&nowhere.to_string(), "");
    assert_eq!(refused(&gateway, ROOM).status(), 503);
}

#[test]
fn requests_notifications_pings_and_close_codes_pass_both_ways() {
    let dialog = Dialog::start("127.0.0.1");
    let gateway = Gateway::start(&[&dialog]);
    let mut browser = gateway.connect();
    let mut peer = dialog.peer();
    let pushed = json!({"request": true, "id": 9, "method": "newConsumer", "data": {"id": "x"}});
    say(&mut peer.socket, &pushed);
    assert_eq!(heard(&mut browser), pushed);
    let accepted = json!({"response": true, "id": 9, "ok": true, "data": {}});
    say(&mut browser, &accepted);
    assert_eq!(heard(&mut peer.socket), accepted);
    // The browser's own pong, and only that.
    peer.socket.send(Message::Ping(b"there?"[..].into())).unwrap();
    assert_eq!(browser.read().unwrap(), Message::Ping(b"there?"[..].into()));
    browser.send(Message::text("after")).unwrap();
    let heard = [(); 2].map(|()| peer.socket.read().unwrap());
    assert!(heard.contains(&Message::Pong(b"there?"[..].into())) && heard.contains(&Message::text("after")));
    let kicked = CloseFrame { code: CloseCode::from(4403), reason: "kicked".into() };
    peer.socket.close(Some(kicked.clone())).unwrap();
    assert_eq!(browser.read().unwrap(), Message::Close(Some(kicked.clone())));
    let mut other = gateway.connect();
    let mut peer = dialog.peer();
    other.close(Some(kicked.clone())).unwrap();
    assert_eq!(peer.socket.read().unwrap(), Message::Close(Some(kicked)));
}

#[test]
fn the_longest_messages_that_dialog_takes_pass_and_longer_ones_end_as_dialog_ends_them() {
    let dialog = Dialog::start("127.0.0.1");
    let gateway = Gateway::start(&[&dialog]);
    let mut browser = gateway.connect();
    let mut peer = dialog.peer();
    for len in [65_535, 65_536, 65_537, 960_000] {
        let long = Message::text("x".repeat(len));
        let sent = long.clone();
        let sending = thread::spawn(move || {
            browser.send(sent).unwrap();
            browser
        });
        assert!(peer.socket.read().unwrap() == long);
        browser = sending.join().unwrap();
        let sent = long.clone();
        let sending = thread::spawn(move || {
            peer.socket.send(sent).unwrap();
            peer
        });
        assert!(browser.read().unwrap() == long);
        peer = sending.join().unwrap();
    }
    let sending = thread::spawn(move || drop(browser.send(Message::text("x".repeat(960_001)))));
    assert!(matches!(peer.socket.read(), Err(tungstenite::Error::Capacity(_))));
    drop(peer);
    sending.join().unwrap();
}

#[test]
fn who_does_not_read_is_waited_for_and_loses_nothing() {
    const MESSAGES: usize = 400;
    let dialog = Dialog::start("127.0.0.1");
    let gateway = Gateway::start(&[&dialog]);
    let mut browser = gateway.connect();
    let mut peer = dialog.peer();
    let (sent, progress) = mpsc::channel();
    let sending = thread::spawn(move || {
        for number in 0..MESSAGES {
            let text = format!("{number}:{}", "x".repeat(200_000));
            peer.socket.send(Message::text(text)).unwrap();
            sent.send(number).unwrap();
        }
        peer
    });
    // Until nothing is accepted any more: what lies between is in buffers.
    let mut accepted = 0;
    while let Ok(number) = progress.recv_timeout(Duration::from_secs(1)) {
        accepted = number;
    }
    assert!(accepted < MESSAGES / 2, "80 MB have gone somewhere");
    for number in 0..MESSAGES {
        let message = browser.read().unwrap();
        assert!(message.to_text().unwrap().starts_with(&format!("{number}:")));
    }
    sending.join().unwrap();
}

#[test]
fn each_room_has_one_of_several_dialogs_and_media_finds_it() {
    let dialogs = [Dialog::start("127.0.0.1"), Dialog::start("127.0.0.5")];
    let gateway = Gateway::start(&[&dialogs[0], &dialogs[1]]);
    let mut served = [false; 2];
    for number in 0..40_u8 {
        if served == [true; 2] {
            break;
        }
        let path = format!("/?roomId=room{number}&peerId=me");
        let mut browser = gateway.ask(&path, &[]).unwrap().0;
        say(&mut browser, &json!({"request": true, "id": 5, "method": "createWebRtcTransport", "data": {}}));
        let (place, mut peer) = loop {
            if let Some(found) = dialogs.iter().position(Dialog::has_peer) {
                break (found, dialogs[found].peer());
            }
            thread::yield_now();
        };
        let name = format!("nameofthetransport{number}");
        peer.create(&dialogs[place], &name);
        heard(&mut browser);
        talk(&client::udp(gateway.udp()), &name, number);
        assert!(!dialogs[place].tuples.lock().unwrap().is_empty());
        served[place] = true;
    }
    assert_eq!(served, [true; 2]);
}

#[test]
fn two_replicas_in_front_of_one_dialog_each_have_the_media_of_their_own_signalling() {
    let dialog = Dialog::start("127.0.0.1");
    let mut replicas = [Gateway::start(&[&dialog]), Gateway::start(&[&dialog])];
    let admin = replicas[1].admin();
    let mut open = Vec::new();
    for (replica, name) in replicas.iter().zip(["nameatthefirstreplica", "nameatthesecondreplica"]) {
        let mut browser = replica.connect();
        let mut peer = dialog.peer();
        create(&mut browser, &dialog, &mut peer, name);
        talk(&client::udp(replica.udp()), name, 1);
        open.push((browser, peer));
    }
    // The other one does not know it and says nothing, but that somebody has come to the wrong one can be seen.
    let stranger = client::udp(replicas[1].udp());
    stranger.send(&check("nameatthefirstreplica", 2)).unwrap();
    stranger.send(MEDIA).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let silence = stranger.recv(&mut [0; 100]).unwrap_err();
    assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert_eq!(dialog.tuples.lock().unwrap().len(), 2);
    wait_for(admin, "hubs_relay_gateway_rejected_total{reason=\"unknown_name\"}", 1.0);
    wait_for(admin, "hubs_relay_gateway_rejected_total{reason=\"no_way\"}", 1.0);
}

#[test]
fn where_signalling_cannot_be_taken_a_reload_leaves_all_listeners_as_they_were() {
    let dialog = Dialog::start("127.0.0.1");
    let mut gateway = Gateway::start(&[&dialog]);
    let (listeners, signalling) = (gateway.relay.listeners().to_vec(), gateway.signalling());
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let mut changed = Gateway::config(&gateway.identity, &dialog.address.to_string(), "");
    changed.listen.truncate(1);
    changed.gateway.listen.as_mut().unwrap().address = taken;
    let error = gateway.relay.reload(Ok(changed)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on tcp://{taken}: ")), "{error}");
    assert_eq!((gateway.relay.listeners(), gateway.signalling()), (&listeners[..], signalling));
    gateway.connect();
    TcpStream::connect(listeners[1].address).unwrap();
}

#[test]
fn a_reload_changes_where_dialog_is_and_what_browsers_are_told_and_disturbs_nobody() {
    let (old, new) = (Dialog::start("127.0.0.1"), Dialog::start("127.0.0.5"));
    let mut gateway = Gateway::start(&[&old]);
    let mut browser = gateway.connect();
    let mut peer = old.peer();
    create(&mut browser, &old, &mut peer, NAME);
    let media = client::udp(gateway.udp());
    talk(&media, NAME, 1);
    let mut changed = Gateway::config(&gateway.identity, &new.address.to_string(), "");
    changed.gateway.udp = vec!["203.0.113.11:3478".parse().unwrap()];
    assert!(gateway.relay.reload(Ok(changed)).unwrap().is_empty());
    // The thread hears of it a moment later.
    let mut second = loop {
        let browser = gateway.connect();
        while !old.has_peer() && !new.has_peer() {
            thread::yield_now();
        }
        if new.has_peer() {
            break browser;
        }
        drop(old.peer());
    };
    let mut peer_of_new = new.peer();
    let created = create(&mut second, &new, &mut peer_of_new, "nameatthenewdialog");
    assert_eq!(created["data"]["iceCandidates"][0]["ip"], "203.0.113.11");
    talk(&client::udp(gateway.udp()), "nameatthenewdialog", 2);
    talk(&media, NAME, 3);
}

#[test]
fn while_it_drains_nobody_is_let_in_calls_go_on_and_it_waits_for_the_last() {
    let dialog = Dialog::start("127.0.0.1");
    let mut gateway =
        Gateway::start_with(&dialog.address.to_string(), "[limits]\nhandshake_timeout = '10m'\n");
    let admin = gateway.admin();
    let mut browser = gateway.connect();
    let mut peer = dialog.peer();
    create(&mut browser, &dialog, &mut peer, NAME);
    let media = client::udp(gateway.udp());
    talk(&media, NAME, 1);
    // They are connected, and no WebSocket yet: one has said nothing, one was refused and may ask again, one is about to ask.
    let mut silent = client::tcp(gateway.signalling());
    let mut refused = client::tcp(gateway.signalling());
    refused.write_all(b"GET /?peerId=me HTTP/1.1\r\nhost: stream.test\r\n\r\n").unwrap();
    let mut head = BufReader::new(&mut refused);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        head.read_line(&mut line).unwrap();
    }
    let request = format!(
        "GET {ROOM} HTTP/1.1\r\nhost: stream.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    let (begin, rest) = request.split_at(30);
    let mut late = client::tcp(gateway.signalling());
    late.write_all(begin.as_bytes()).unwrap();
    wait_for(admin, "hubs_relay_gateway_signalling", 4.0);

    gateway.relay.drain();
    assert_closed(&mut silent);
    let deadline = Instant::now() + LIMIT;
    while TcpStream::connect(gateway.signalling()).is_ok() {
        assert!(Instant::now() < deadline, "still listening");
    }
    let mut said = Vec::new();
    let _ = refused.read_to_end(&mut said);
    // It has heard the beginning, or not; either way it goes no further than here.
    let _ = late.write_all(rest.as_bytes());
    let mut answer = Vec::new();
    let _ = late.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 503 "), "{}", answer.escape_ascii());
    assert!(!dialog.has_peer());
    wait_for(admin, "hubs_relay_gateway_signalling", 1.0);

    talk(&media, NAME, 2);
    let created = create(&mut browser, &dialog, &mut peer, "nameofonemadelater");
    assert_eq!(created["data"]["iceCandidates"][0]["ip"], "203.0.113.10");
    talk(&client::udp(gateway.udp()), "nameofonemadelater", 3);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let drained = |limit| {
        runtime.block_on(async { tokio::time::timeout(limit, gateway.relay.drained()).await.is_ok() })
    };
    assert!(!drained(Duration::from_secs(2)));
    talk(&media, NAME, 4);
    drop((browser, peer));
    assert!(drained(LIMIT));
}

#[test]
fn a_connection_whose_way_another_one_has_taken_over_is_closed_as_a_strangers() {
    let dialog = Dialog::start("127.0.0.1");
    let variables =
        [("HUBS_RELAY_LISTEN", "tcp://127.0.0.1:0"), ("HUBS_RELAY_LIMITS__STRANGER_TIMEOUT", "1s")];
    let mut gateway = Program::start(&dialog, &variables);
    let mut browser = connect(gateway.signalling);
    let mut peer = dialog.peer();
    create(&mut browser, &dialog, &mut peer, NAME);
    let listener = gateway.udp;
    let mut first = Packets::new(client::tcp(listener));
    first.talk(NAME, 1);
    // Nothing is said for longer than a browser in a call is silent.
    first.stream.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    assert_eq!(first.stream.read(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut second = Packets::new(client::tcp(listener));
    second.talk(NAME, 2);
    gateway.running.line_with("way taken over");
    first.stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert_closed(&mut first.stream);
    second.talk(NAME, 3);
}

#[test]
fn metrics_and_the_log_tell_of_ways_that_open_forward_move_and_end() {
    let dialog = Dialog::start("127.0.0.1");
    let mut gateway = Program::start(&dialog, &[]);
    let mut browser = connect(gateway.signalling);
    let mut peer = dialog.peer();
    for name in [NAME, "nameofanothertransport"] {
        create(&mut browser, &dialog, &mut peer, name);
    }
    let [first, second] = [(); 2].map(|()| client::udp(gateway.udp));
    let address = |socket: &UdpSocket| socket.local_addr().unwrap();
    let (before, after) = (address(&first), address(&second));
    talk(&first, NAME, 1);
    // Nothing is said for longer than a browser in a call is silent.
    first.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    assert_eq!(first.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
    talk(&second, NAME, 2);
    talk(&second, "nameofanothertransport", 3);
    drop((browser, peer));
    let line = gateway.running.line_with("way taken over");
    assert!(line.contains(&format!("client={after} before={before}")), "{line}");
    // Each talk is a check and a packet.
    let lens = |name: &str| check(name, 0).len() + MEDIA.len();
    let (twice, once) = (2 * lens(NAME), lens("nameofanothertransport"));
    for (reason, packets, bytes) in [
        ("the browser uses its address for another transport", 4, twice),
        ("dialog's transport is closed", 2, once),
    ] {
        let line = gateway.running.line_with("way over");
        for part in [
            &format!("INFO way over: {reason} client={after} transport=udp seconds="),
            &format!(" to_dialog_packets={packets} to_dialog_bytes={bytes} to_browser_packets={packets} "),
        ] {
            assert!(line.contains(part.as_str()), "no {part:?} in {line}");
        }
        assert!(!line.contains(NAME) && !line.contains(PASSWORD), "{line}");
    }
    let direction = |name: &str| format!("{{direction=\"{name}\",transport=\"udp\"}}");
    let forwarded = "hubs_relay_gateway_forwarded_bytes_total";
    wait_for(gateway.admin, "hubs_relay_gateway_take_overs_total", 1.0);
    wait_for(gateway.admin, "hubs_relay_gateway_repointed_total", 1.0);
    wait_for(gateway.admin, "hubs_relay_gateway_opened_ways_total{transport=\"udp\"}", 2.0);
    wait_for(gateway.admin, "hubs_relay_gateway_ways{transport=\"udp\"}", 0.0);
    wait_for(gateway.admin, &format!("{forwarded}{}", direction("to_dialog")), (twice + once) as f64);
    wait_for_some(gateway.admin, &format!("{forwarded}{}", direction("to_browsers")));
}

#[test]
fn a_gateway_needs_dialog_and_an_address_to_be_ready() {
    let dialog = Dialog::start("127.0.0.1");
    let mut gateway = Gateway::start(&[&dialog]);
    let admin = gateway.admin();
    wait_for(admin, "hubs_relay_need_met{need=\"gateway\"}", 1.0);
    let mut gateway = Gateway::start_with("dialog.invalid:4443", "");
    let admin = gateway.admin();
    wait_for(admin, "hubs_relay_need_met{need=\"gateway\"}", 0.0);
    let (status, _, said) = get(admin, "/readyz");
    assert!(status.contains("503") && said.contains("dialog.invalid"), "{said}");
}

#[test]
fn without_a_gateway_nothing_of_it_is_served() {
    let text = "listen = ['udp://127.0.0.1:0', 'tcp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\n";
    let relay = Relay::start(&Config::from_text(text, None, []).unwrap()).unwrap();
    assert_eq!(relay.signalling(), None);
    let mut packets = client::tcp(relay.listeners()[1].address);
    let check = check(NAME, 1);
    packets.write_all(&[&PacketDecoder::header(&check).unwrap()[..], &check].concat()).unwrap();
    assert_closed(&mut packets);
}
