//! Many calls at once in one process: each says numbers on a channel to a peer that returns them, and misses none.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hubs_relay::wire::{
    Builder, ChannelData, ChannelNumber, Frame, IntegrityKey, Message, Method, PROTOCOL_UDP, StreamDecoder,
    TransactionId,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bed::{REALM, loopback};

/// How long a number may take to come back. It takes milliseconds, unless the machine is busy with something else.
const PATIENCE: Duration = Duration::from_secs(20);
const CHANNEL: ChannelNumber = ChannelNumber::MIN;
/// Bytes of a packet: about a frame of Opus, and a length that makes a stream pad.
const PACKET: usize = 101;

/// A server as callers know it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it takes UDP.
    pub udp: SocketAddr,
    /// Where it takes TLS.
    pub tls: SocketAddr,
    /// The name that its certificate is for.
    pub name: &'static str,
    /// Whom callers trust.
    pub trust: Arc<rustls::ClientConfig>,
}

/// Over what a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Datagrams.
    Udp,
    /// A connection.
    Tls,
}

/// Why there is no call, or no call any more.
#[derive(Debug)]
pub enum Failed {
    /// The server refused something with this code.
    Refused(u16),
    /// The connection failed, or nothing came.
    Lost(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// A client with an allocation, and a channel to its peer.
#[derive(Debug)]
pub struct Call {
    link: Link,
    username: String,
    password: String,
    nonce: String,
    transaction: u32,
    /// How many numbers have been said, and have all come back.
    said: u64,
}

#[derive(Debug)]
enum Link {
    Datagrams(UdpSocket),
    Stream { stream: Box<TlsStream<TcpStream>>, decoder: StreamDecoder, frames: VecDeque<Vec<u8>> },
}

impl Call {
    /// Allocates, and binds a channel to a peer.
    pub async fn start(
        server: &Server,
        over: Over,
        (username, password): (&str, &str),
        peer: SocketAddr,
    ) -> Result<Self, Failed> {
        let link = match over {
            Over::Udp => {
                let socket = UdpSocket::bind(loopback(0)).await?;
                socket.connect(server.udp).await?;
                Link::Datagrams(socket)
            }
            Over::Tls => {
                let stream = TcpStream::connect(server.tls).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from(server.name).map_err(io::Error::other)?;
                let stream = TlsConnector::from(Arc::clone(&server.trust)).connect(name, stream).await?;
                let decoder = StreamDecoder::new(StreamDecoder::MAX_FRAME);
                Link::Stream { stream: Box::new(stream), decoder, frames: VecDeque::new() }
            }
        };
        let (username, password) = (username.to_owned(), password.to_owned());
        let mut call = Self { link, username, password, nonce: String::new(), transaction: 0, said: 0 };
        call.ask(Method::Allocate, |it| it.requested_transport(PROTOCOL_UDP)).await?;
        call.ask(Method::ChannelBind, |it| it.channel_number(CHANNEL).xor_peer_address(peer)).await?;
        Ok(call)
    }

    /// Says this many numbers without a pause, and hears all of them again.
    pub async fn talk(&mut self, numbers: u64) -> Result<(), Failed> {
        let mut bytes = Vec::new();
        let new = self.said..self.said + numbers;
        for number in new.clone() {
            let mut payload = [0; PACKET];
            payload[..8].copy_from_slice(&number.to_be_bytes());
            bytes.clear();
            bytes.extend(ChannelData::header(CHANNEL, PACKET as u16));
            bytes.extend(payload);
            self.link.send(&mut bytes).await?;
        }
        for number in new {
            let frame = self.link.receive().await?;
            let heard = ChannelData::read(&frame).and_then(|data| data.payload.first_chunk());
            if heard != Some(&number.to_be_bytes()) {
                return Err(io::Error::other(format!("said {number}, heard {heard:?}")).into());
            }
        }
        self.said += numbers;
        Ok(())
    }

    /// How many numbers have been said, and have all come back.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// Gives the allocation back.
    pub async fn end(mut self) -> Result<(), Failed> {
        self.ask(Method::Refresh, |it| it.lifetime(Duration::ZERO)).await
    }

    /// A request and its answer; with the nonce of a challenge if there was one.
    async fn ask(&mut self, method: Method, fill: impl Fn(Builder) -> Builder) -> Result<(), Failed> {
        let key = IntegrityKey::long_term(&self.username, REALM, &self.password);
        loop {
            self.transaction += 1;
            let mut id = [0; 12];
            id[8..].copy_from_slice(&self.transaction.to_be_bytes());
            let request = fill(Builder::request(method, TransactionId(id)));
            let had_nonce = !self.nonce.is_empty();
            let request = if had_nonce {
                request.username(&self.username).realm(REALM).nonce(&self.nonce).integrity(&key)
            } else {
                request
            };
            self.link.send(&mut request.finish()).await?;
            let answer = Message::parse(&self.link.receive().await?).map_err(io::Error::other)?;
            match (answer.error_code().map_err(io::Error::other)?, answer.nonce()) {
                (None, _) => return Ok(()),
                (Some(_), Ok(Some(nonce))) if !had_nonce => nonce.clone_into(&mut self.nonce),
                (Some((code, _)), _) => return Err(Failed::Refused(code.0)),
            }
        }
    }
}

impl Link {
    async fn send(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => socket.send(frame).await.map(drop),
            Self::Stream { stream, .. } => {
                frame.resize(frame.len().next_multiple_of(4), 0);
                stream.write_all(frame).await?;
                stream.flush().await
            }
        }
    }

    /// The next frame; ChannelData without its padding.
    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        timeout(PATIENCE, self.receive_patiently()).await?
    }

    async fn receive_patiently(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 2048];
        match self {
            Self::Datagrams(socket) => {
                let len = socket.recv(&mut bytes).await?;
                bytes.truncate(len);
                Ok(bytes)
            }
            Self::Stream { stream, decoder, frames } => loop {
                if let Some(frame) = frames.pop_front() {
                    return Ok(frame);
                }
                let len = stream.read(&mut bytes).await?;
                if len == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let keep = |frame: Frame<'_>| {
                    frames.push_back(match frame {
                        Frame::Message(bytes) => bytes.to_vec(),
                        Frame::ChannelData(data) => {
                            let header = ChannelData::header(data.channel, data.payload.len() as u16);
                            [&header, data.payload].concat()
                        }
                    });
                };
                decoder.decode(&bytes[..len], keep).map_err(io::Error::other)?;
            },
        }
    }
}

/// Opens this many peers that return what they get, for as long as the runtime runs.
pub async fn peers(count: usize) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for _ in 0..count {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(socket.local_addr()?);
        tokio::spawn(async move {
            let mut bytes = [0; 2048];
            // An error is one packet's: a relay socket that has closed is no reason to stop.
            loop {
                if let Ok((len, from)) = socket.recv_from(&mut bytes).await {
                    let _ = socket.send_to(&bytes[..len], from).await;
                }
            }
        });
    }
    Ok(addresses)
}

/// Lets this process have as many files open as the system grants: each call is one.
pub fn raise_open_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}
