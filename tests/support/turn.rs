//! A TURN client that takes one step at a time, over each transport; and peers for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hubs_relay::wire::{
    Builder, ChannelNumber, Class, IntegrityKey, MESSAGE_HEADER_LEN, Message, Method, PROTOCOL_UDP,
    TransactionId,
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

    fn over(wire: Wire, username: &str, password: &str) -> Self {
        Self { wire, username: username.to_owned(), password: password.to_owned() }
    }

    /// Asks for an allocation, and returns the code of the refusal.
    pub fn allocate(&mut self) -> Result<(), u16> {
        self.ask(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP))
    }

    /// Asks for a permission, and returns the code of the refusal.
    pub fn permit(&mut self, peer: SocketAddr) -> Result<(), u16> {
        self.ask(Method::CreatePermission, |it| it.xor_peer_address(peer))
    }

    /// Asks for a channel, and returns the code of the refusal.
    pub fn bind(&mut self, channel: u16, peer: SocketAddr) -> Result<(), u16> {
        let channel = ChannelNumber::new(channel).unwrap();
        self.ask(Method::ChannelBind, |it| it.channel_number(channel).xor_peer_address(peer))
    }

    /// Sends a peer something in an indication, and returns what the next message brings from there.
    pub fn exchange_data(&mut self, peer: SocketAddr, data: &[u8]) -> Option<Vec<u8>> {
        let indication = Builder::new(Class::Indication, Method::Send, transaction());
        self.send(&indication.xor_peer_address(peer).data(data).finish());
        self.receive().data().map(<[u8]>::to_vec)
    }

    fn ask(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Result<(), u16> {
        let request = self.signed(method, fill);
        match self.answer(&request).error_code().unwrap() {
            Some((code, _)) => Err(code.0),
            None => Ok(()),
        }
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
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect_tcp(server))
}

/// A peer that returns what it gets, until the test's process ends.
pub fn echo() -> SocketAddr {
    let socket = UdpSocket::bind(loopback(0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..len], from);
        }
    });
    address
}

/// One at a time is on its way, so one id does for all.
fn transaction() -> TransactionId {
    TransactionId([7; 12])
}
