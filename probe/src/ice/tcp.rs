//! ICE over TCP (RFC 6544), to somebody who waits for connections: each packet stands behind its length (RFC 4571).

use std::{collections::VecDeque, io, net::SocketAddr};

use hubs_relay::wire::{PacketDecoder, PacketTooLong};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{LONGEST_ANSWER, Path};

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// The other end closed it.
    #[error("the connection is closed by the other end")]
    Closed,
    /// It broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// What comes is not what ICE sends.
    #[error("what comes on the connection is no ICE: {0}")]
    Strange(#[from] PacketTooLong),
}

/// A TCP connection to one peer.
#[derive(Debug)]
pub struct TcpPath {
    stream: TcpStream,
    peer: SocketAddr,
    decoder: PacketDecoder,
    /// What came with one read; nothing is read while something is in here.
    arrived: VecDeque<Vec<u8>>,
}

impl TcpPath {
    /// Over a connection that leads to `peer`.
    pub fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        Self { stream, peer, decoder: PacketDecoder::new(LONGEST_ANSWER), arrived: VecDeque::new() }
    }
}

impl Path for TcpPath {
    type Error = TcpError;

    async fn send(&mut self, packet: &[u8], _to: SocketAddr) -> Result<(), TcpError> {
        let limit = PacketDecoder::MAX_PACKET;
        let header = PacketDecoder::header(packet).ok_or(PacketTooLong { len: packet.len(), limit })?;
        Ok(self.stream.write_all(&[&header, packet].concat()).await?)
    }

    async fn receive(&mut self) -> Result<(Vec<u8>, SocketAddr), TcpError> {
        loop {
            if let Some(packet) = self.arrived.pop_front() {
                return Ok((packet, self.peer));
            }
            let mut bytes = [0; LONGEST_ANSWER];
            let len = self.stream.read(&mut bytes).await?;
            if len == 0 {
                return Err(TcpError::Closed);
            }
            self.decoder.decode(&bytes[..len], |packet| self.arrived.push_back(packet.to_vec()))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tcp_server;

    async fn path_to(peer: SocketAddr) -> TcpPath {
        TcpPath::new(TcpStream::connect(peer).await.unwrap(), peer)
    }

    #[tokio::test]
    async fn packets_go_and_come_with_their_lengths_however_the_stream_is_cut() {
        let peer = tcp_server(|mut stream| async move {
            let mut asked = [0; 7];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"\0\x05check");
            for piece in [&b"\0"[..], b"\x03on", b"e\0\x03two\0"] {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
            }
        })
        .await;
        let mut path = path_to(peer).await;
        path.send(b"check", peer).await.unwrap();
        assert_eq!(path.receive().await.unwrap(), (b"one".to_vec(), peer));
        assert_eq!(path.receive().await.unwrap(), (b"two".to_vec(), peer));
        assert!(matches!(path.receive().await, Err(TcpError::Closed)));
    }

    #[tokio::test]
    async fn who_announces_more_than_ice_ever_sends_is_not_listened_to() {
        let peer = tcp_server(|mut stream| async move {
            let _ = stream.write_all(b"\xff\xff and then endless noise").await;
        })
        .await;
        assert!(matches!(path_to(peer).await.receive().await, Err(TcpError::Strange(_))));
        let too_long = path_to(peer).await.send(&vec![0; 0x10000], peer).await;
        assert!(matches!(too_long, Err(TcpError::Strange(_))));
    }
}
