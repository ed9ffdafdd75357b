//! The vantage: what stands between this machine and any deployment. What is found here is at most a warning, and never a fault of
//! the server.

pub(crate) mod clock;
pub(crate) mod families;
pub(crate) mod interception;
pub(crate) mod ports;
pub(crate) mod proxy;
pub(crate) mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// From where this machine would send to `server`; nothing if it has no way there. Nothing is sent.
fn local_address(server: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(server).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
