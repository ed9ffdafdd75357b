//! A TURN client over UDP that takes one step at a time.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hubs_relay::wire::{Builder, IntegrityKey, Message, Method, PROTOCOL_UDP, TransactionId};

use crate::bed::{REALM, loopback};

/// A client with a user name and a password.
#[derive(Debug)]
pub struct TurnClient {
    socket: UdpSocket,
    server: SocketAddr,
    username: String,
    password: String,
}

impl TurnClient {
    /// One that has said nothing yet.
    pub fn new(server: SocketAddr, username: &str, password: &str) -> Self {
        let socket = UdpSocket::bind(loopback(0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, server, username: username.to_owned(), password: password.to_owned() }
    }

    /// Asks for an allocation, and returns the code of the refusal.
    pub fn allocate(&self) -> Result<(), u16> {
        self.signed(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP))
    }

    /// Asks for a permission, and returns the code of the refusal.
    pub fn permit(&self, peer: SocketAddr) -> Result<(), u16> {
        self.signed(Method::CreatePermission, |it| it.xor_peer_address(peer))
    }

    fn signed(&self, method: Method, fill: impl Fn(Builder) -> Builder) -> Result<(), u16> {
        let request = || fill(Builder::request(method, TransactionId([7; 12])));
        let challenge = self.answer(request());
        let nonce = challenge.nonce().unwrap().unwrap();
        let key = IntegrityKey::long_term(&self.username, REALM, &self.password);
        let signed = request().username(&self.username).realm(REALM).nonce(nonce).integrity(&key);
        match self.answer(signed).error_code().unwrap() {
            Some((code, _)) => Err(code.0),
            None => Ok(()),
        }
    }

    fn answer(&self, request: Builder) -> Message {
        self.socket.send_to(&request.finish(), self.server).unwrap();
        let mut bytes = [0; 1500];
        let (len, _) = self.socket.recv_from(&mut bytes).unwrap();
        Message::parse(&bytes[..len]).unwrap()
    }
}
