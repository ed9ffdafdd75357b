//! A client's way to the relay: a UDP socket or a TLS connection.

use std::io;
use std::net::SocketAddr;

use hubs_relay::wire::{Frame, StreamDecoder};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bed::loopback;

/// What is read at once; no datagram of ours is longer.
const READ_SIZE: usize = 4096;

#[derive(Debug)]
pub(super) struct Link {
    wire: Wire,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Wire {
    Udp(UdpSocket),
    Tls { stream: Box<TlsStream<TcpStream>>, decoder: StreamDecoder },
}

impl Link {
    pub(super) async fn udp(relay: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(loopback(0)).await?;
        socket.connect(relay).await?;
        Ok(Self::over(Wire::Udp(socket)))
    }

    /// Connects and shakes hands.
    pub(super) async fn tls(relay: SocketAddr, connector: &TlsConnector, name: &str) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(relay).await?;
        stream.set_nodelay(true)?;
        let stream = Box::new(connector.connect(name, stream).await?);
        Ok(Self::over(Wire::Tls { stream, decoder: StreamDecoder::new(StreamDecoder::MAX_FRAME) }))
    }

    fn over(wire: Wire) -> Self {
        Self { wire, bytes: vec![0; READ_SIZE] }
    }

    /// Sends a frame, padded where it has to be.
    pub(super) async fn send(&mut self, mut frame: Vec<u8>) -> io::Result<()> {
        match &mut self.wire {
            Wire::Udp(socket) => socket.send(&frame).await.map(drop),
            Wire::Tls { stream, .. } => {
                frame.resize(frame.len().next_multiple_of(4), 0);
                stream.write_all(&frame).await?;
                stream.flush().await
            }
        }
    }

    /// Reads once, and hands out the frames that this completes. Nothing is lost if it is given up before.
    pub(super) async fn receive(&mut self, mut each: impl FnMut(Frame<'_>)) -> io::Result<()> {
        match &mut self.wire {
            Wire::Udp(socket) => {
                let len = socket.recv(&mut self.bytes).await?;
                let frame = Frame::of_datagram(&self.bytes[..len]);
                each(frame.ok_or_else(|| io::Error::other("a datagram is neither STUN nor ChannelData"))?);
                Ok(())
            }
            Wire::Tls { stream, decoder } => match stream.read(&mut self.bytes).await? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                len => decoder.decode(&self.bytes[..len], each).map_err(io::Error::other),
            },
        }
    }

    /// Says goodbye as TLS has it, if this is TLS.
    pub(super) async fn shut_down(&mut self) -> io::Result<()> {
        match &mut self.wire {
            Wire::Udp(_) => Ok(()),
            Wire::Tls { stream, .. } => stream.shutdown().await,
        }
    }

    pub(super) const fn is_stream(&self) -> bool {
        matches!(self.wire, Wire::Tls { .. })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.wire {
            Wire::Udp(socket) => socket.local_addr(),
            Wire::Tls { stream, .. } => stream.get_ref().0.local_addr(),
        }
    }

    /// The certificate that the relay showed, if this is TLS.
    pub(super) fn certificate(&self) -> Option<CertificateDer<'static>> {
        match &self.wire {
            Wire::Udp(_) => None,
            Wire::Tls { stream, .. } => {
                Some(stream.get_ref().1.peer_certificates()?.first()?.clone().into_owned())
            }
        }
    }
}
