//! Opens sockets: listeners that several workers share, and relay sockets in a range of ports.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{PortRange, Transport};

/// Connections that wait to be accepted: a whole room may join at once.
const BACKLOG: i32 = 1024;
/// Asked for on listeners, which take the packets of all clients; the kernel gives what it may.
const LISTENER_BUFFER: usize = 4 << 20;
/// Ports that are tried before we say that none is free.
const PORT_ATTEMPTS: usize = 1000;

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
                // Old kernels lack it, and do without.
                let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
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

/// Opens a relay socket on a free port of the range, beginning at a random one.
pub(crate) fn relay_socket(
    address: IpAddr,
    ports: PortRange,
    parity: PortParity,
    random: u16,
) -> io::Result<UdpSocket> {
    first_free(ports, parity, random, |port| {
        open(Transport::Udp, SocketAddr::new(address, port), false).map(Into::into)
    })
}

/// Opens relay sockets on an even port of the range and on the one above it, beginning at a random one.
pub(crate) fn relay_sockets(
    address: IpAddr,
    ports: PortRange,
    random: u16,
) -> io::Result<(UdpSocket, UdpSocket)> {
    let open = |port| open(Transport::Udp, SocketAddr::new(address, port), false);
    first_free(ports, PortParity::Even, random, |port| {
        // Even numbers end below the highest port, 65535.
        let next =
            Some(port + 1).filter(|next| ports.range().contains(next)).ok_or(io::ErrorKind::AddrInUse)?;
        Ok((open(port)?.into(), open(next)?.into()))
    })
}

/// What `open` returns for the first port that is not in use.
fn first_free<T>(
    ports: PortRange,
    parity: PortParity,
    random: u16,
    open: impl Fn(u16) -> io::Result<T>,
) -> io::Result<T> {
    let ports = ports.range();
    let count = usize::from(ports.end() - ports.start()) + 1;
    let candidates =
        (0..count).map(|attempt| ports.start() + ((usize::from(random) + attempt) % count) as u16);
    let will_do = |port: &u16| parity == PortParity::Any || port.is_multiple_of(2);
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for port in candidates.filter(will_do).take(PORT_ATTEMPTS) {
        result = open(port);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Ok(_) | Err(_) => break,
        }
    }
    result
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn relay_sockets_take_each_port_of_the_range_and_no_other() {
        let address = loopback().ip();
        // Three ports next to each other that happen to be free.
        let range =
            (20000..30000_u16).step_by(3).map(|first| format!("{first}-{}", first + 2).parse().unwrap());
        let free = |range: &PortRange| range.range().all(|port| UdpSocket::bind((address, port)).is_ok());
        let range: PortRange = range.into_iter().find(free).unwrap();
        let sockets: Vec<UdpSocket> =
            (0..3).map(|_| relay_socket(address, range, PortParity::Any, 65535).unwrap()).collect();
        let mut ports: Vec<u16> = sockets.iter().map(|it| it.local_addr().unwrap().port()).collect();
        ports.sort_unstable();
        assert_eq!(ports, range.range().collect::<Vec<_>>());
        let relay_socket = || relay_socket(address, range, PortParity::Any, 1);
        assert_eq!(relay_socket().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        assert!(relay_socket().is_ok());
    }

    #[test]
    fn an_even_port_is_even() {
        for random in 0..4 {
            let range = "30000-59999".parse().unwrap();
            let socket = relay_socket(loopback().ip(), range, PortParity::Even, random).unwrap();
            assert!(socket.local_addr().unwrap().port().is_multiple_of(2));
        }
    }
    #[test]
    fn two_ports_next_to_each_other_lie_both_in_the_range() {
        for random in 0..4 {
            let range: PortRange = "30001-59998".parse().unwrap();
            let (socket, next) = relay_sockets(loopback().ip(), range, random).unwrap();
            let [port, next] = [socket, next].map(|it| it.local_addr().unwrap().port());
            assert!(port.is_multiple_of(2) && next == port + 1 && range.range().contains(&next));
        }
        let only_one = relay_sockets(loopback().ip(), "30000-30000".parse().unwrap(), 0).unwrap_err();
        assert_eq!(only_one.kind(), io::ErrorKind::AddrInUse);
    }
}
