//! A client with an allocation and one peer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hubs_relay::wire::{
    Builder, ChannelData, ChannelNumber, Class, Frame, Indication, IndicationKind, IntegrityKey, Message,
    Method, PROTOCOL_UDP,
};
use rustls::ClientConfig;

use crate::dialog::{self, Signalling};
use crate::echo::EchoPeer;
use crate::error::LoadError;
use crate::link::{Link, Transport, ask, id, unless_blocked};
use crate::server::{PASSWORD, REALM, Server, USER};

/// How payloads travel between client and server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Framing {
    /// On a channel, as Chromium sends media.
    Channel,
    /// In Send and Data indications, as Firefox does.
    Indication,
    /// As they are, through a gateway.
    #[value(skip)]
    Plain,
}

/// What stands in front of a plain payload: the beginning of RTP, by which the gateway knows it.
const PLAIN: [u8; 4] = [0x80, 111, 0, 0];

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) link: Link,
    framing: Framing,
    peer: SocketAddr,
    /// A frame in the making; used again for each.
    frame: Vec<u8>,
}

impl Session {
    /// Connects, allocates, and gets leave to talk with `peer`. Blocks.
    pub(crate) fn join(
        server: &Server,
        transport: Transport,
        tls: &Arc<ClientConfig>,
        framing: Framing,
        peer: SocketAddr,
    ) -> Result<Self, LoadError> {
        let link = match transport {
            Transport::Udp => Link::udp(server.udp),
            Transport::Tls => Link::tls(server.tls, tls),
            Transport::Gateway => {
                return Err(no_answer(server, "a session")(io::ErrorKind::Unsupported.into()));
            }
        };
        let link = link.map_err(no_answer(server, "a connection"))?;
        let mut joining = Joining { server, link, nonce: String::new() };
        joining.allocate()?;
        joining.permit(framing, peer)?;
        let link = joining.link;
        link.set_nonblocking().map_err(no_answer(server, "a connection"))?;
        Ok(Self { link, framing, peer, frame: Vec::new() })
    }

    /// Has dialog make a transport that waits at the echo, and a way to it. Blocks.
    pub(crate) fn join_gateway(
        server: &Server,
        signalling: &mut Signalling,
        echo: &mut EchoPeer,
    ) -> Result<Self, LoadError> {
        let failed = || no_answer(server, "a check");
        signalling.create().map_err(failed())?;
        let peer = echo.address().map_err(failed())?;
        let mut link = Link::udp(server.udp).map_err(failed())?;
        link.send(&dialog::check(peer.port())).map_err(failed())?;
        Self::await_echo(&mut link, echo).map_err(failed())?;
        Ok(Self { link, framing: Framing::Plain, peer, frame: Vec::new() })
    }

    /// Has a forwarder open its way to the peer. Blocks.
    pub(crate) fn join_forwarder(server: &Server, echo: &mut EchoPeer) -> Result<Self, LoadError> {
        let failed = || no_answer(server, "a packet");
        let peer = echo.address().map_err(failed())?;
        let mut link = Link::udp(server.udp).map_err(failed())?;
        link.send(&PLAIN).map_err(failed())?;
        Self::await_echo(&mut link, echo).map_err(failed())?;
        Ok(Self { link, framing: Framing::Plain, peer, frame: Vec::new() })
    }

    /// Sends back what arrives, waits for it, and blocks no more.
    fn await_echo(link: &mut Link, echo: &mut EchoPeer) -> io::Result<()> {
        let before = echo.received;
        while echo.received == before {
            echo.echo().or_else(|error| unless_blocked(Err(error)))?;
        }
        link.receive_datagram(|_| {})?;
        link.set_nonblocking()
    }

    /// Sends a payload of `len` bytes that `write` fills in.
    pub(crate) fn send(&mut self, len: u16, write: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let (header_len, payload_len) = (self.header_len(), usize::from(len));
        // Padded on UDP, too: there it is allowed, and lengths stay alike.
        self.frame.resize(header_len + payload_len.next_multiple_of(4), 0);
        match self.framing {
            Framing::Channel => {
                self.frame[..header_len].copy_from_slice(&ChannelData::header(ChannelNumber::MIN, len));
            }
            Framing::Indication => {
                IndicationKind::Send.write_header(id(), self.peer, payload_len, &mut self.frame);
            }
            Framing::Plain => {
                self.frame.truncate(header_len + payload_len);
                self.frame[..header_len].copy_from_slice(&PLAIN);
            }
        }
        write(&mut self.frame[header_len..header_len + payload_len]);
        self.link.send(&self.frame)
    }

    /// Reads once, and hands out the payloads that arrived from the peer.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let (framing, peer) = (self.framing, self.peer);
        if framing == Framing::Plain {
            return self.link.receive_datagram(|bytes| each(bytes.strip_prefix(&PLAIN).unwrap_or_default()));
        }
        self.link.receive(|frame| match (framing, frame) {
            (Framing::Channel, Frame::ChannelData(data)) if data.channel == ChannelNumber::MIN => {
                each(data.payload);
            }
            (Framing::Indication, Frame::Message(bytes)) => {
                let data =
                    Indication::read(bytes).filter(|it| it.kind == IndicationKind::Data && it.peer == peer);
                // Anything else is handed on as an empty payload, which nobody sent.
                each(data.map_or(&[], |it| it.payload));
            }
            _ => each(&[]),
        })
    }

    fn header_len(&self) -> usize {
        match self.framing {
            Framing::Channel => ChannelData::HEADER_LEN,
            Framing::Indication => IndicationKind::header_len(self.peer),
            Framing::Plain => PLAIN.len(),
        }
    }
}

/// A session on its way.
struct Joining<'a> {
    server: &'a Server,
    link: Link,
    nonce: String,
}

impl Joining<'_> {
    fn allocate(&mut self) -> Result<(), LoadError> {
        let request = || Builder::request(Method::Allocate, id()).requested_transport(PROTOCOL_UDP);
        let challenge = self.ask("an Allocate without credentials", request())?;
        match challenge.nonce() {
            Ok(Some(nonce)) if challenge.class() == Class::Error => nonce.clone_into(&mut self.nonce),
            _ => return Err(self.refused("a nonce", &challenge)),
        }
        self.ask_signed("an Allocate", request())
    }

    fn permit(&mut self, framing: Framing, peer: SocketAddr) -> Result<(), LoadError> {
        match framing {
            Framing::Channel => {
                let request = Builder::request(Method::ChannelBind, id());
                let request = request.channel_number(ChannelNumber::MIN).xor_peer_address(peer);
                self.ask_signed("a ChannelBind", request)
            }
            Framing::Indication => {
                let request = Builder::request(Method::CreatePermission, id()).xor_peer_address(peer);
                self.ask_signed("a CreatePermission", request)
            }
            Framing::Plain => Ok(()),
        }
    }

    /// A request that has to be granted, and the answer signed.
    fn ask_signed(&mut self, what: &'static str, request: Builder) -> Result<(), LoadError> {
        let key = IntegrityKey::long_term(USER, REALM, PASSWORD);
        let request = request.username(USER).realm(REALM).nonce(&self.nonce).integrity(&key);
        let answer = self.ask(what, request)?;
        let is_granted = answer.class() == Class::Success && answer.verify(&key);
        if is_granted { Ok(()) } else { Err(self.refused(what, &answer)) }
    }

    fn ask(&mut self, what: &'static str, request: Builder) -> Result<Message, LoadError> {
        let no_answer = no_answer(self.server, what);
        ask(&mut self.link, &request.finish()).map_err(no_answer)
    }

    fn refused(&self, what: &'static str, answer: &Message) -> LoadError {
        let answer = match answer.error_code() {
            Ok(Some((code, reason))) => format!("{} {reason:?}", code.0),
            _ => format!("a {:?} of {:?}", answer.class(), answer.method()),
        };
        LoadError::Refused { server: self.server.name(), what, answer }
    }
}

fn no_answer(server: &Server, what: &'static str) -> impl FnOnce(io::Error) -> LoadError {
    let server = server.name();
    move |source| LoadError::NoAnswer { server, what, source }
}
