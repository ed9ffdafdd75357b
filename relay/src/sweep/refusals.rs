//! ICMP's word that a port of the other side is closed, as a prober's socket hears it beside its packets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use crate::net::icmp;
use crate::wire::Icmp;

/// Asks the kernel to keep what it hears; `address` is of the socket's family.
pub fn hear_refusals(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
    icmp::listen(socket, address)
}

/// Where the next packet went that somebody says did not arrive; nothing if there is no more to hear.
pub fn next_refusal(socket: &impl AsRawFd) -> Option<SocketAddr> {
    loop {
        match icmp::receive(socket) {
            Ok(Some((to, icmp))) if is_refusal(icmp) => return Some(to),
            // Something else about a packet: what comes behind it may be a refusal.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// "Unreachable", for whichever reason but the size of the packet (RFC 792, RFC 4443).
const fn is_refusal(icmp: Icmp) -> bool {
    matches!((icmp.kind, icmp.code), (3, 0..=3 | 5..) | (1, _))
}
