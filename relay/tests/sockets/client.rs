//! A TURN client over real sockets, which waits for each answer.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hubs_relay::wire::*;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::identity::Identity;

/// Nothing on loopback takes this long.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
pub(crate) const REALM: &str = "turkey";
pub(crate) const USER: (&str, &str) = ("ann", "correct horse");

/// How a client reaches the relay.
pub(crate) trait Link {
    /// Sends one frame.
    fn send(&mut self, frame: &[u8]);
    /// The next frame; nothing when the relay has closed the connection.
    fn receive(&mut self) -> Option<Vec<u8>>;
}

impl Link for UdpSocket {
    fn send(&mut self, frame: &[u8]) {
        Self::send(self, frame).unwrap();
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        Some(heard(self).0)
    }
}

/// The next datagram, and where it came from. A wait with a time limit may be interrupted (signal(7)), and goes on.
pub(crate) fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        match socket.recv_from(&mut bytes) {
            Ok((len, from)) => {
                bytes.truncate(len);
                return (bytes, from);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("nothing heard: {error}"),
        }
    }
}

/// A TCP or TLS connection.
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    decoder: StreamDecoder,
    frames: VecDeque<Vec<u8>>,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        let decoder = StreamDecoder::new(StreamDecoder::MAX_FRAME);
        Self { stream, decoder, frames: VecDeque::new() }
    }
}

impl<S: Read + Write> Link for Connection<S> {
    fn send(&mut self, frame: &[u8]) {
        // Whoever sends ChannelData on a stream pads it; a message's length is a multiple of four anyway.
        let padding = [0; 3];
        let padding = &padding[..frame.len().next_multiple_of(4) - frame.len()];
        self.stream.write_all(&[frame, padding].concat()).unwrap();
        self.stream.flush().unwrap();
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = [0; 1 << 14];
        while self.frames.is_empty() {
            let len = match self.stream.read(&mut bytes) {
                Ok(len) if len > 0 => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came for {LIMIT:?}"),
                _ => return None,
            };
            let frames = &mut self.frames;
            let keep = |frame: Frame<'_>| {
                frames.push_back(match frame {
                    Frame::Message(bytes) => bytes.to_vec(),
                    Frame::ChannelData(data) => channel_data(data.channel, data.payload),
                });
            };
            self.decoder.decode(&bytes[..len], keep).unwrap();
        }
        self.frames.pop_front()
    }
}

pub(crate) fn udp(relay: SocketAddr) -> UdpSocket {
    let any = if relay.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(relay).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

pub(crate) fn tcp(relay: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(relay).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn tls(stream: TcpStream, identity: &Identity) -> StreamOwned<ClientConnection, TcpStream> {
    tls_with(stream, identity, &browser(identity, ALL_VERSIONS))
}

pub(crate) fn tls_with(
    stream: TcpStream,
    identity: &Identity,
    browser: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = identity.name.try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(browser), name).unwrap(), stream)
}

/// What the connections of one browser have in common: whom it trusts, and the tickets that it got.
pub(crate) fn browser(
    identity: &Identity,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A client that knows its credentials.
pub(crate) struct Client<L> {
    pub(crate) link: L,
    username: String,
    password: String,
    nonce: String,
    transaction: u32,
}

impl<L: Link> Client<L> {
    pub(crate) fn new(link: L) -> Self {
        Self::named(link, USER.0, USER.1)
    }

    pub(crate) fn named(link: L, username: &str, password: &str) -> Self {
        let (username, password) = (username.to_owned(), password.to_owned());
        Self { link, username, password, nonce: String::new(), transaction: 0 }
    }

    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        self.link.receive()
    }

    /// The server's view of us.
    pub(crate) fn binding(&mut self) -> SocketAddr {
        let request = Builder::request(Method::Binding, self.next_transaction());
        self.ask(request).xor_mapped_address().unwrap().unwrap()
    }

    /// Sends a signed request, with the challenge before it if it is the first, and returns the answer.
    pub(crate) fn request(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Message {
        if self.nonce.is_empty() {
            let unsigned = Builder::request(method, self.next_transaction());
            let challenge = self.ask(unsigned);
            assert_eq!(code(&challenge), 401);
            challenge.nonce().unwrap().unwrap().clone_into(&mut self.nonce);
        }
        let key = IntegrityKey::long_term(&self.username, REALM, &self.password);
        let request = fill(Builder::request(method, self.next_transaction()));
        let request = request.username(&self.username).realm(REALM).nonce(&self.nonce).integrity(&key);
        let answer = self.ask(request);
        assert!(answer.class() != Class::Success || answer.verify(&key));
        answer
    }

    pub(crate) fn try_allocate(&mut self) -> Message {
        self.request(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP))
    }

    /// Allocates, and returns the relayed address.
    pub(crate) fn allocate(&mut self) -> SocketAddr {
        let answer = self.try_allocate();
        assert_eq!(code(&answer), 0);
        answer.xor_relayed_address().unwrap().unwrap()
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) -> u16 {
        code(&self.request(Method::CreatePermission, |it| it.xor_peer_address(peer)))
    }

    pub(crate) fn bind(&mut self, channel: ChannelNumber, peer: SocketAddr) -> u16 {
        code(&self.request(Method::ChannelBind, |it| it.channel_number(channel).xor_peer_address(peer)))
    }

    pub(crate) fn refresh(&mut self, lifetime: Duration) -> u16 {
        code(&self.request(Method::Refresh, |it| it.lifetime(lifetime)))
    }

    pub(crate) fn send_on(&mut self, channel: ChannelNumber, payload: &[u8]) {
        self.link.send(&channel_data(channel, payload));
    }

    pub(crate) fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) {
        let message = Builder::new(Class::Indication, Method::Send, self.next_transaction());
        self.link.send(&message.xor_peer_address(peer).data(payload).finish());
    }

    fn ask(&mut self, request: Builder) -> Message {
        let request = request.finish();
        self.link.send(&request);
        // Media may come before it.
        let answer = std::iter::from_fn(|| self.link.receive()).find_map(|frame| Message::parse(&frame).ok());
        let answer = answer.expect("an answer");
        assert_eq!(answer.transaction(), Message::parse(&request).unwrap().transaction());
        answer
    }

    fn next_transaction(&mut self) -> TransactionId {
        self.transaction += 1;
        let mut id = [0; 12];
        id[8..].copy_from_slice(&self.transaction.to_be_bytes());
        TransactionId(id)
    }
}

/// The code of an error answer, or 0 for success.
pub(crate) fn code(answer: &Message) -> u16 {
    answer.error_code().unwrap().map_or(0, |(code, _)| code.0)
}

pub(crate) fn channel(number: u16) -> ChannelNumber {
    ChannelNumber::new(number).unwrap()
}

pub(crate) fn channel_data(channel: ChannelNumber, payload: &[u8]) -> Vec<u8> {
    [&ChannelData::header(channel, payload.len() as u16), payload].concat()
}
