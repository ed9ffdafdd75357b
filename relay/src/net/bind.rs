//! Opens sockets: listeners that several workers share, and relay sockets in a range of ports.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{PortRange, Transport};
use crate::descriptors::for_client;

/// Connections that wait to be accepted: a whole room may join at once.
const BACKLOG: i32 = 1024;
/// Asked for on listeners, which take the packets of all clients; the kernel gives what it may.
const LISTENER_BUFFER: usize = 4 << 20;
/// Ports that other programs turn out to have, before we say that none is free.
const MOST_FOREIGN: usize = 64;

/// A listener's socket.
#[derive(Debug)]
pub(crate) enum Listener {
    /// For datagrams.
    Datagrams(UdpSocket),
    /// For connections.
    Connections(TcpListener),
}

/// Opens one listener for each of `workers`; the kernel spreads clients over them. With port 0 all get the same one.
pub(crate) fn listen(transport: Transport, address: SocketAddr, workers: usize) -> io::Result<Vec<Listener>> {
    // Sockets that share a port would also share it with another process; this one tells whether it is free.
    let probe = open(transport, address, false)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    let listener = |_| {
        let socket = open(transport, address, true)?;
        Ok(match transport {
            Transport::Udp => {
                if address.is_ipv4() {
                    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
                } else {
                    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
                }
                merge_received(&socket);
                socket.set_recv_buffer_size(LISTENER_BUFFER)?;
                socket.set_send_buffer_size(LISTENER_BUFFER)?;
                Listener::Datagrams(socket.into())
            }
            Transport::Tcp | Transport::Tls => {
                socket.listen(BACKLOG)?;
                Listener::Connections(socket.into())
            }
        })
    };
    (0..workers).map(listener).collect()
}

/// Lets the kernel hand out rows of datagrams at once. Old ones lack it, and do without.
pub(super) fn merge_received(socket: &impl AsFd) {
    let _ = setsockopt(socket, sockopt::UdpGroSegment, &true);
}

impl Listener {
    /// Where it is bound.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Datagrams(socket) => socket.local_addr(),
            Self::Connections(socket) => socket.local_addr(),
        }
    }
}

fn open(transport: Transport, address: SocketAddr, share: bool) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp | Transport::Tls => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections of the last run that linger are no reason not to start.
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Which ports of the range will do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PortParity {
    Any,
    Even,
}

/// The ports for relay sockets at one address, and which of them are open. All workers share it, so that none tries what
/// another one has; nobody waits for anybody.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) address: IpAddr,
    range: PortRange,
    /// For each port of the range, from the first.
    open: Vec<AtomicBool>,
}

/// A relay socket, and the port that is its own until this is dropped: after the socket.
#[derive(Debug)]
pub(crate) struct RelaySocket {
    pub(crate) socket: UdpSocket,
    pub(crate) port: TakenPort,
}

/// Counts a port as open.
#[derive(Debug)]
pub(crate) struct TakenPort {
    ports: Arc<Ports>,
    port: u16,
}

impl Ports {
    pub(crate) fn new(address: IpAddr, range: PortRange) -> Arc<Self> {
        let open = range.range().map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self { address, range, open })
    }

    /// Opens a relay socket on a free port of the range, beginning at a random one.
    pub(crate) fn open(self: &Arc<Self>, parity: PortParity, random: u16) -> io::Result<RelaySocket> {
        self.first_free(parity, random, |port| self.take(port).map(TakenPort::open).transpose())
    }

    /// Opens relay sockets on an even port of the range and on the one above it, beginning at a random one.
    pub(crate) fn open_two(self: &Arc<Self>, random: u16) -> io::Result<(RelaySocket, RelaySocket)> {
        self.first_free(PortParity::Even, random, |port| {
            // Even numbers end below the highest port, 65535.
            let two = self.take(port).zip(self.take(port + 1));
            two.map(|(first, second)| Ok((first.open()?, second.open()?))).transpose()
        })
    }

    /// What `open` returns for the first port that it can be had for. Where it returns nothing, nothing was tried.
    fn first_free<T>(
        &self,
        parity: PortParity,
        random: u16,
        open: impl Fn(u16) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let count = self.open.len();
        let candidates = (0..count)
            .map(|attempt| self.range.range().start() + ((usize::from(random) + attempt) % count) as u16);
        let mut foreign = 0;
        for port in candidates.filter(|port| parity == PortParity::Any || port.is_multiple_of(2)) {
            match open(port) {
                Ok(None) => {}
                Ok(Some(opened)) => return Ok(opened),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && foreign < MOST_FOREIGN => {
                    foreign += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Takes a port, unless we have it open already or it is not of the range.
    fn take(self: &Arc<Self>, port: u16) -> Option<TakenPort> {
        let is_open = self.open.get(usize::from(port.checked_sub(*self.range.range().start())?))?;
        let was_open = is_open.swap(true, Ordering::Relaxed);
        (!was_open).then(|| TakenPort { ports: Arc::clone(self), port })
    }
}

impl TakenPort {
    fn open(self) -> io::Result<RelaySocket> {
        let socket = open(Transport::Udp, SocketAddr::new(self.ports.address, self.port), false)?;
        Ok(RelaySocket { socket: for_client(socket)?.into(), port: self })
    }
}

impl Drop for TakenPort {
    fn drop(&mut self) {
        let index = self.port - self.ports.range.range().start();
        self.ports.open[usize::from(index)].store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn workers_share_one_port() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let listeners = listen(transport, loopback(), 3).unwrap();
            let ports: Vec<u16> = listeners.iter().map(|it| it.local_addr().unwrap().port()).collect();
            assert_eq!(ports, [ports[0]; 3]);
        }
    }

    #[test]
    fn a_port_that_another_relay_listens_on_is_in_use() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let first = listen(transport, loopback(), 2).unwrap();
            let error = listen(transport, first[0].local_addr().unwrap(), 2).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    fn ports(range: &str) -> Arc<Ports> {
        Ports::new(loopback().ip(), range.parse().unwrap())
    }

    #[test]
    fn relay_sockets_take_each_port_of_the_range_and_no_other() {
        // Three ports next to each other that happen to be free.
        let range =
            (20000..30000_u16).step_by(3).map(|first| format!("{first}-{}", first + 2).parse().unwrap());
        let free =
            |range: &PortRange| range.range().all(|port| UdpSocket::bind((loopback().ip(), port)).is_ok());
        let range: PortRange = range.into_iter().find(free).unwrap();
        let ports = Ports::new(loopback().ip(), range);
        let open = |random| ports.open(PortParity::Any, random);
        let sockets: Vec<RelaySocket> = (0..3).map(|_| open(65535).unwrap()).collect();
        let mut taken: Vec<u16> = sockets.iter().map(|it| it.socket.local_addr().unwrap().port()).collect();
        taken.sort_unstable();
        assert_eq!(taken, range.range().collect::<Vec<_>>());
        assert_eq!(open(1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        assert!(open(1).is_ok());
    }

    #[test]
    fn the_last_free_port_is_found_however_many_are_open_and_without_trying_those() {
        let ports = ports("30000-59999");
        let taken: Vec<_> =
            (30000..60000).filter(|port| *port != 54321).map(|port| ports.take(port)).collect();
        let tried = Cell::new(0);
        let open = |port| {
            Ok(ports.take(port).map(|port| {
                tried.set(tried.get() + 1);
                port.port
            }))
        };
        assert_eq!(ports.first_free(PortParity::Any, 0, open).unwrap(), 54321);
        assert_eq!(ports.first_free(PortParity::Any, 40000, open).unwrap(), 54321);
        assert_eq!(tried.get(), 2);
        drop(taken);
        assert_ne!(ports.first_free(PortParity::Any, 0, open).unwrap(), 54321);
    }

    #[test]
    fn where_other_programs_have_all_ports_few_are_tried() {
        let ports = ports("30000-59999");
        let tried = Cell::new(0);
        let open = |_| {
            tried.set(tried.get() + 1);
            Err::<Option<()>, _>(io::ErrorKind::AddrInUse.into())
        };
        assert_eq!(ports.first_free(PortParity::Any, 7, open).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(tried.get(), MOST_FOREIGN + 1);
    }

    #[test]
    fn an_even_port_is_even() {
        for random in 0..4 {
            let relay = ports("30000-59999").open(PortParity::Even, random).unwrap();
            assert!(relay.socket.local_addr().unwrap().port().is_multiple_of(2));
        }
    }

    #[test]
    fn two_ports_next_to_each_other_lie_both_in_the_range() {
        for random in 0..4 {
            let (first, second) = ports("30001-59998").open_two(random).unwrap();
            let [port, next] = [first, second].map(|it| it.socket.local_addr().unwrap().port());
            assert!(port.is_multiple_of(2) && next == port + 1 && (30001..=59998).contains(&next));
        }
        let only_one = ports("30000-30000").open_two(0).unwrap_err();
        assert_eq!(only_one.kind(), io::ErrorKind::AddrInUse);
    }
}
