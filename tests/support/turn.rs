//! A TURN client that takes one step at a time, over each transport; and peers for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hubs_relay::wire::{
    Builder, ChannelData, ChannelNumber, Class, Family, IntegrityKey, MESSAGE_HEADER_LEN, Message, Method,
    PROTOCOL_UDP, TransactionId,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::bed::{REALM, loopback};
use crate::certs::Authority;

/// How long an answer may take; nothing waits this long on success.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with a user name and a password.
#[derive(Debug)]
pub struct TurnClient {
    wire: Wire,
    username: String,
    password: String,
}

#[derive(Debug)]
enum Wire {
    Datagrams(UdpSocket),
    Stream(Box<dyn Stream>),
}

/// A connection over TCP or TLS.
pub trait Stream: Read + Write + std::fmt::Debug {}

impl<T: Read + Write + std::fmt::Debug> Stream for T {}

impl TurnClient {
    /// One over UDP that has said nothing yet.
    pub fn new(server: SocketAddr, username: &str, password: &str) -> Self {
        let socket = UdpSocket::bind(loopback(0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(server).unwrap();
        Self::over(Wire::Datagrams(socket), username, password)
    }

    /// One over TCP or TLS.
    pub fn over_stream(stream: Box<dyn Stream>, username: &str, password: &str) -> Self {
        Self::over(Wire::Stream(stream), username, password)
    }

    /// Its own address, if it is one over UDP.
    pub fn local_addr(&self) -> SocketAddr {
        match &self.wire {
            Wire::Datagrams(socket) => socket.local_addr().unwrap(),
            Wire::Stream(_) => unreachable!("a stream has no address here"),
        }
    }

    fn over(wire: Wire, username: &str, password: &str) -> Self {
        Self { wire, username: username.to_owned(), password: password.to_owned() }
    }

    /// Asks for an allocation, and returns the code of the refusal.
    pub fn allocate(&mut self) -> Result<(), u16> {
        self.ask(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP))
    }

    /// Asks for an allocation of this family, and returns its address or the code of the refusal.
    pub fn allocate_family(&mut self, family: Family) -> Result<SocketAddr, u16> {
        let fill = |it: Builder| it.requested_transport(PROTOCOL_UDP).requested_address_family(family);
        let request = self.signed(Method::Allocate, fill);
        let answer = self.answer(&request);
        refusal(&answer).map(|()| answer.xor_relayed_address().unwrap().unwrap())
    }

    /// Asks for a permission, and returns the code of the refusal.
    pub fn permit(&mut self, peer: SocketAddr) -> Result<(), u16> {
        self.permit_all(&[peer])
    }

    /// Asks for permissions in one request, and returns the code of the refusal.
    pub fn permit_all(&mut self, peers: &[SocketAddr]) -> Result<(), u16> {
        self.ask(Method::CreatePermission, |it| with_peers(it, peers))
    }

    /// Asks for a channel, and returns the code of the refusal.
    pub fn bind(&mut self, channel: u16, peer: SocketAddr) -> Result<(), u16> {
        let channel = ChannelNumber::new(channel).unwrap();
        self.ask(Method::ChannelBind, |it| it.channel_number(channel).xor_peer_address(peer))
    }

    /// Asks for a channel for several peers, of whom only the first counts, and returns the code of the refusal.
    pub fn bind_all(&mut self, channel: u16, peers: &[SocketAddr]) -> Result<(), u16> {
        let channel = ChannelNumber::new(channel).unwrap();
        self.ask(Method::ChannelBind, |it| with_peers(it.channel_number(channel), peers))
    }

    /// Refreshes the allocation for the time that it had at first, and returns the code of the refusal.
    pub fn refresh(&mut self) -> Result<(), u16> {
        self.ask(Method::Refresh, |it| it)
    }

    /// Sends something in an indication that names these peers, of whom only the first counts.
    pub fn send_data(&mut self, peers: &[SocketAddr], data: &[u8]) {
        let indication = Builder::new(Class::Indication, Method::Send, transaction());
        self.send(&with_peers(indication, peers).data(data).finish());
    }

    /// Sends a peer something in an indication, and returns what the next message brings from there.
    pub fn exchange_data(&mut self, peer: SocketAddr, data: &[u8]) -> Option<Vec<u8>> {
        self.send_data(&[peer], data);
        self.receive().data().map(<[u8]>::to_vec)
    }

    /// Says something on a channel, over UDP, and returns what comes back on it.
    pub fn exchange_on(&mut self, channel: u16, data: &[u8]) -> Vec<u8> {
        let channel = ChannelNumber::new(channel).unwrap();
        self.send(&[&ChannelData::header(channel, data.len() as u16), data].concat());
        let received = self.receive_frame();
        let received = ChannelData::read(&received).filter(|it| it.channel == channel);
        received.unwrap().payload.to_vec()
    }

    fn ask(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Result<(), u16> {
        let request = self.signed(method, fill);
        refusal(&self.answer(&request))
    }

    /// A request with what `fill` adds, signed with the nonce that it fetches for it.
    pub fn signed(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Vec<u8> {
        let request = || fill(Builder::request(method, transaction()));
        let unsigned = Builder::request(Method::Allocate, transaction()).requested_transport(PROTOCOL_UDP);
        let challenge = self.answer(&unsigned.finish());
        let nonce = challenge.nonce().unwrap().unwrap();
        let key = IntegrityKey::long_term(&self.username, REALM, &self.password);
        request().username(&self.username).realm(REALM).nonce(nonce).integrity(&key).finish()
    }

    /// What the server says to these bytes.
    pub fn answer(&mut self, request: &[u8]) -> Message {
        self.send(request);
        self.receive()
    }

    /// Sends these bytes, whatever they are.
    pub fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Datagrams(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Wire::Stream(stream) => stream.write_all(bytes).and_then(|()| stream.flush()).unwrap(),
        }
    }

    /// The next message from the server.
    pub fn receive(&mut self) -> Message {
        Message::parse(&self.receive_frame()).unwrap()
    }

    /// What comes next, a message or, over UDP, ChannelData as well.
    pub fn receive_frame(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1500];
        let len = match &mut self.wire {
            Wire::Datagrams(socket) => socket.recv(&mut bytes).unwrap(),
            Wire::Stream(stream) => {
                let (header, rest) = bytes.split_at_mut(MESSAGE_HEADER_LEN);
                stream.read_exact(header).unwrap();
                let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
                stream.read_exact(&mut rest[..len]).unwrap();
                header.len() + len
            }
        };
        bytes.truncate(len);
        bytes
    }
}

/// A connection to a server over TCP.
pub fn connect_tcp(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection over TLS to a server that has a certificate of this authority for this name.
pub fn connect_tls(server: SocketAddr, authority: &Authority, name: &str) -> impl Stream + use<> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(trusting(authority), name).unwrap(), connect_tcp(server))
}

/// What a client needs that trusts this authority and no other.
pub fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A peer that returns what it gets, until the test's process ends.
pub fn echo() -> SocketAddr {
    echo_at(loopback(0))
}

/// The same at an address.
pub fn echo_at(address: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..len], from);
        }
    });
    address
}

fn refusal(answer: &Message) -> Result<(), u16> {
    match answer.error_code().unwrap() {
        Some((code, _)) => Err(code.0),
        None => Ok(()),
    }
}

fn with_peers(message: Builder, peers: &[SocketAddr]) -> Builder {
    peers.iter().fold(message, |message, peer| message.xor_peer_address(*peer))
}

/// One at a time is on its way, so one id does for all.
fn transaction() -> TransactionId {
    TransactionId([7; 12])
}
