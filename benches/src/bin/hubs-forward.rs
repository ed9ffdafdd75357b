//! `hubs-forward LISTEN PEER`: forwards datagrams and does nothing else. What it costs, nobody who forwards can do without.
//!
//! Each client has a socket of its own towards the peer, as behind a NAT. Datagrams are received in batches, and sent as they are.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use clap::Parser;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};

const MAX_LEN: usize = 2048;
const EVENTS: usize = 64;
/// The listener's number among the events; each client's is its index.
const LISTENER: u64 = u64::MAX;

/// Forwards datagrams and does nothing else.
#[derive(Debug, Parser)]
#[command(name = "hubs-forward", version)]
struct Cli {
    /// Where clients send to, such as 127.0.0.1:3478.
    listen: SocketAddr,
    /// Where that goes, such as 127.0.0.1:40000.
    peer: SocketAddr,
}

fn main() -> io::Result<()> {
    let Cli { listen, peer } = Cli::parse();
    forward(listen, peer)
}

fn forward(listen: SocketAddr, peer: SocketAddr) -> io::Result<()> {
    let listener = UdpSocket::bind(listen)?;
    let mut batch = Batch::new(&listener)?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let wait_for =
        |socket: &UdpSocket, number| epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, number));
    wait_for(&listener, LISTENER)?;
    let mut clients: Vec<(SocketAddr, UdpSocket)> = Vec::new();
    let mut indices = HashMap::new();
    let mut events = [EpollEvent::empty(); EVENTS];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            if let Some((client, socket)) = usize::try_from(event.data()).ok().and_then(|it| clients.get(it))
            {
                batch.receive(socket, |_, payload| send(listener.send_to(payload, client)))?;
                continue;
            }
            batch.receive(&listener, |client, payload| {
                let index = if let Some(index) = indices.get(&client) {
                    *index
                } else {
                    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                    socket.set_nonblocking(true)?;
                    socket.connect(peer)?;
                    wait_for(&socket, clients.len() as u64)?;
                    indices.insert(client, clients.len());
                    clients.push((client, socket));
                    clients.len() - 1
                };
                send(clients[index].1.send(payload))
            })?;
        }
    }
}

/// What there is no room for, or nobody takes, is lost.
fn send(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(error)
            if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

struct Batch {
    state: UdpSocketState,
    bytes: Vec<u8>,
}

impl Batch {
    fn new(socket: &UdpSocket) -> io::Result<Self> {
        // It makes the socket non-blocking.
        let state = UdpSocketState::new(socket.into())?;
        Ok(Self { state, bytes: vec![0; BATCH_SIZE * MAX_LEN] })
    }

    /// Takes what has come, at most one batch.
    fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(SocketAddr, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut chunks = self.bytes.chunks_exact_mut(MAX_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let count = match self.state.recv(socket.into(), &mut slices, &mut meta) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(());
            }
            count => count?,
        };
        for (meta, bytes) in meta[..count].iter().zip(self.bytes.chunks_exact(MAX_LEN)) {
            for payload in bytes[..meta.len].chunks(meta.stride.max(1)) {
                each(meta.addr, payload)?;
            }
        }
        Ok(())
    }
}
