//! A client's way to the server: a UDP socket or a TLS connection. Blocking while it joins, and not afterwards.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use hubs_relay::wire::{Frame, Message, StreamDecoder, TransactionId};
use ring::rand::SecureRandom as _;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

use crate::identity::HOST;

/// How long a blocking read waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest datagram that either server sends us.
const MAX_DATAGRAM: usize = 2048;

/// What clients' packets travel in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// Datagrams.
    Udp,
    /// TLS over TCP.
    Tls,
    /// Datagrams through hubs-relay's media gateway, held against what coturn does with datagrams.
    Gateway,
}

#[derive(Debug)]
pub(crate) enum Link {
    Udp(UdpSocket),
    Tls(Box<Tls>),
}

#[derive(Debug)]
pub(crate) struct Tls {
    connection: ClientConnection,
    stream: TcpStream,
    decoder: StreamDecoder,
}

impl Link {
    pub(crate) fn udp(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::Udp(socket))
    }

    /// Connects and shakes hands.
    pub(crate) fn tls(server: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        connection.complete_io(&mut stream)?;
        let decoder = StreamDecoder::new(StreamDecoder::MAX_FRAME);
        Ok(Self::Tls(Box::new(Tls { connection, stream, decoder })))
    }

    /// From now on nothing blocks.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.set_nonblocking(true),
            Self::Tls(tls) => tls.stream.set_nonblocking(true),
        }
    }

    /// Sends a frame, padded as the transport asks. One that there is no room for is lost, as browsers lose it.
    pub(crate) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => unless_blocked(socket.send(frame).map(drop)),
            Self::Tls(tls) => {
                let Tls { connection, stream, .. } = &mut **tls;
                unless_blocked(flush(connection, stream))?;
                if !connection.wants_write() {
                    connection.writer().write_all(frame)?;
                    unless_blocked(flush(connection, stream))?;
                }
                Ok(())
            }
        }
    }

    /// Reads a datagram once, whatever it is.
    pub(crate) fn receive_datagram(&mut self, each: impl FnOnce(&[u8])) -> io::Result<()> {
        let Self::Udp(socket) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut bytes = [0; MAX_DATAGRAM];
        let len = socket.recv(&mut bytes)?;
        each(&bytes[..len]);
        Ok(())
    }

    /// Reads once, and hands out the frames that this completes.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Frame<'_>)) -> io::Result<()> {
        match self {
            Self::Udp(socket) => {
                let mut bytes = [0; MAX_DATAGRAM];
                let len = socket.recv(&mut bytes)?;
                Frame::of_datagram(&bytes[..len]).into_iter().for_each(each);
                Ok(())
            }
            Self::Tls(tls) => {
                let Tls { connection, stream, decoder } = &mut **tls;
                if connection.read_tls(stream)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                connection.process_new_packets().map_err(io::Error::other)?;
                let mut bytes = [0; 1 << 14];
                loop {
                    match connection.reader().read(&mut bytes) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(len) => decoder.decode(&bytes[..len], &mut each).map_err(io::Error::other)?,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Tls(tls) => tls.stream.as_fd(),
        }
    }
}

fn flush(connection: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(stream)?;
    }
    Ok(())
}

/// What would have had to wait is no error.
pub(crate) fn unless_blocked(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) })
}

/// Sends a request and waits for its answer.
pub(crate) fn ask(link: &mut Link, request: &[u8]) -> io::Result<Message> {
    let transaction = Message::parse(request).map_err(io::Error::other)?.transaction();
    link.send(request)?;
    loop {
        let mut answer = None;
        link.receive(|frame| {
            if let Frame::Message(bytes) = frame {
                answer = Message::parse(bytes).ok().filter(|it| it.transaction() == transaction);
            }
        })?;
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
}

/// A transaction id that nobody has.
pub(crate) fn id() -> TransactionId {
    let mut bytes = [0; 12];
    // Without randomness there would be no TLS, either.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    TransactionId(bytes)
}
