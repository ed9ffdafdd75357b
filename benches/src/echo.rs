//! The peer of all sessions: it sends back what it gets.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::SockRef;

use crate::link::unless_blocked;

/// A datagram, or a row of them that the kernel merged.
const MAX_LEN: usize = 1 << 16;
/// Room for what arrives while the generator does something else.
const BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct EchoPeer {
    socket: UdpSocket,
    state: UdpSocketState,
    bytes: Vec<u8>,
    /// Datagrams that it got so far.
    pub(crate) received: u64,
}

impl EchoPeer {
    pub(crate) fn new() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
        SockRef::from(&socket).set_send_buffer_size(BUFFER)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket, state, bytes: vec![0; BATCH_SIZE * MAX_LEN], received: 0 })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Takes a batch of datagrams and sends it back. What arrived in a row goes back in a row.
    pub(crate) fn echo(&mut self) -> io::Result<()> {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut chunks = self.bytes.chunks_exact_mut(MAX_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let count = self.state.recv((&self.socket).into(), &mut slices, &mut meta)?;
        for (meta, bytes) in meta[..count].iter().zip(self.bytes.chunks_exact(MAX_LEN)) {
            let stride = meta.stride.max(1);
            self.received += meta.len.div_ceil(stride) as u64;
            let transmit = Transmit {
                destination: meta.addr,
                ecn: None,
                contents: &bytes[..meta.len],
                segment_size: (meta.len > stride).then_some(stride),
                src_ip: None,
            };
            unless_blocked(self.state.try_send((&self.socket).into(), &transmit))?;
        }
        Ok(())
    }
}

impl AsFd for EchoPeer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
