//! Reads datagrams: a listener's from clients, a relay socket's from peers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use quinn_udp::BATCH_SIZE;
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;
use tokio::task::coop::consume_budget;
use tracing::debug;

use super::exchange::{Shared, now};
use super::icmp;
use crate::gateway::Upstream;
use crate::turn::{Client, Link, RelayId};
use crate::wire::Icmp;

/// A relay socket has one client's media: a burst of video, seldom more.
const RELAY_BATCH: usize = 8;

/// Serves the clients of a UDP listener for as long as it is there.
pub(crate) async fn serve_datagrams(exchange: Shared, socket: std::net::UdpSocket) -> io::Result<Infallible> {
    let socket = Rc::new(UdpSocket::from_std(socket)?);
    let bound = socket.local_addr()?;
    let number = exchange.borrow_mut().add_listener(Rc::clone(&socket));
    let _listening = Listening { exchange: exchange.clone(), number };
    let link = Link::Datagram(number);
    let received = exchange.borrow().received();
    loop {
        ready(&socket, Interest::READABLE).await?;
        read_batch(&socket, || {
            let now = now();
            let mut exchange = exchange.borrow_mut();
            let is_empty = received.borrow_mut().receive(&*socket, BATCH_SIZE, |datagram| {
                let local = SocketAddr::new(datagram.to.unwrap_or_else(|| bound.ip()), bound.port());
                let client = Client { remote: datagram.from, local, link };
                exchange.take_datagram(now, client, datagram.payload);
            });
            exchange.flush();
            is_empty
        })?;
    }
}

/// A listener as the exchange knows it. Whatever ends its task, the exchange forgets it.
struct Listening {
    exchange: Shared,
    number: u32,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.exchange.borrow_mut().remove_listener(self.number);
    }
}

/// Forwards what peers send to a relay socket, and what the network says of packets to them, until the task is aborted.
pub(super) async fn serve_relay(exchange: Shared, relay: RelayId, socket: Rc<UdpSocket>) {
    let received = exchange.borrow().received();
    loop {
        let read = |ready: Ready| {
            if ready.is_error() {
                read_error(&socket, |to, icmp| exchange.borrow_mut().take_icmp(now(), relay, to, icmp))?;
            }
            if ready.is_readable() {
                read_batch(&socket, || {
                    let now = now();
                    let mut exchange = exchange.borrow_mut();
                    let is_empty = received.borrow_mut().receive(&*socket, RELAY_BATCH, |datagram| {
                        exchange.take_packet(now, relay, datagram.from, datagram.payload);
                    });
                    exchange.flush();
                    is_empty
                })?;
            }
            Ok(())
        };
        let result = ready(&socket, Interest::READABLE | Interest::ERROR).await.and_then(read);
        if let Err(error) = result {
            debug!(%error, "a relay socket cannot be read");
            return;
        }
    }
}

/// Forwards what dialog sends to a socket of the gateway's, until the task is aborted.
pub(super) async fn serve_upstream(exchange: Shared, upstream: Upstream, socket: Rc<UdpSocket>) {
    let received = exchange.borrow().received();
    loop {
        let read = |_| {
            read_batch(&socket, || {
                let now = now();
                let mut exchange = exchange.borrow_mut();
                let is_empty = received.borrow_mut().receive(&*socket, BATCH_SIZE, |datagram| {
                    exchange.take_from_dialog(now, upstream, datagram.from, datagram.payload);
                });
                exchange.flush();
                is_empty
            })
        };
        if let Err(error) = ready(&socket, Interest::READABLE).await.and_then(read) {
            debug!(%error, "a socket towards dialog cannot be read");
            return;
        }
    }
}

/// Waits until the socket has something to read.
async fn ready(socket: &UdpSocket, interest: Interest) -> io::Result<Ready> {
    // The socket itself does not pause while there is something: a flood would have the worker for itself.
    consume_budget().await;
    socket.ready(interest).await
}

/// Lets `read` take a batch of datagrams; `read` says whether that was all. An error of a single packet is not the socket's
/// end.
fn read_batch(socket: &UdpSocket, mut read: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let mut failure = None;
    let result = socket.try_io(Interest::READABLE, || match read() {
        Ok(false) => Ok(()),
        // The socket is empty: say so as the event loop understands it, which saves asking the kernel again.
        Ok(true) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        Err(error) => {
            failure = Some(error);
            Ok(())
        }
    });
    if let Some(error) = failure {
        debug!(%error, "a datagram could not be received");
    }
    unless_empty(result)
}

/// Takes one thing that the network has said of the socket's packets, if it has.
fn read_error(socket: &UdpSocket, each: impl FnOnce(SocketAddr, Icmp)) -> io::Result<()> {
    unless_empty(socket.try_io(Interest::ERROR, || {
        if let Some((to, icmp)) = icmp::receive(socket)? {
            each(to, icmp);
        }
        Ok(())
    }))
}

fn unless_empty(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_is_never_empty_leaves_others_their_turn() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(b"never read", socket.local_addr().unwrap()).await.unwrap();
        socket.readable().await.unwrap();
        let flooded = async {
            for _ in 0..10_000 {
                ready(&socket, Interest::READABLE).await.unwrap();
                read_batch(&socket, || Ok(false)).unwrap();
            }
        };
        tokio::select! {
            biased;
            () = flooded => panic!("nobody else had a turn"),
            () = std::future::ready(()) => {}
        }
    }
}
