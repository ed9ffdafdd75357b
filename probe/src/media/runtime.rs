//! What the `webrtc` crate takes for its runtime: tokio, with one socket, which leads onto a path.

use std::{
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::mpsc;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use super::Datagram;

/// Tokio, except for sockets: there is one for UDP, which leads onto the path, and none for anything else.
#[derive(Debug)]
pub(super) struct OverPath {
    socket: Mutex<Option<Ends>>,
}

impl OverPath {
    pub(super) fn new(outgoing: mpsc::Sender<Datagram>, incoming: mpsc::Receiver<Datagram>) -> Self {
        Self { socket: Mutex::new(Some(Ends { outgoing, incoming })) }
    }
}

#[derive(Debug)]
struct Ends {
    outgoing: mpsc::Sender<Datagram>,
    incoming: mpsc::Receiver<Datagram>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Runtime for OverPath {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let ends = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Ends { outgoing, incoming } = ends.ok_or(io::ErrorKind::Unsupported)?;
        Ok(Arc::new(PathSocket { bound: socket, outgoing, incoming: Mutex::new(incoming) }))
    }

    fn wrap_tcp_listener(&self, _: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn connect_tcp(&self, _: SocketAddr) -> Boxed<'_, io::Result<Arc<dyn AsyncTcpStream>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve_host<'a>(&'a self, _: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }
}

/// What the crate takes for a UDP socket.
#[derive(Debug)]
struct PathSocket {
    /// Sends and receives nothing: it is there because the crate knows its sockets by the addresses that they have.
    bound: UdpSocket,
    outgoing: mpsc::Sender<Datagram>,
    incoming: Mutex<mpsc::Receiver<Datagram>>,
}

impl AsyncUdpSocket for PathSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.bound.local_addr()
    }

    fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.outgoing.try_send((transmit.contents.to_vec(), transmit.destination));
        Poll::Ready(match sent {
            Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(transmit.contents.len()),
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let Poll::Ready(arrived) = incoming.poll_recv(cx) else { return Poll::Pending };
        let Some((datagram, from)) = arrived else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let len = datagram.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram[..len]);
        (meta.addr, meta.len, meta.stride) = (from, len, len.max(1));
        Poll::Ready(Ok(1))
    }
}
