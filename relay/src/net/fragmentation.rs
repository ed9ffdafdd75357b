//! Whether the packets of a relay socket may be cut up on their way (RFC 8656 section 14).

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::libc;
use nix::setsockopt_impl;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;

/// What the kernel does about packets that are too long, for IPv4 and IPv6 alike in number.
#[derive(Clone, Copy, Debug)]
struct MtuDiscovery;

#[derive(Clone, Copy, Debug)]
struct Ipv6MtuDiscovery;

setsockopt_impl!(
    MtuDiscovery,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int,
    SetStruct<'_, libc::c_int>
);
setsockopt_impl!(
    Ipv6MtuDiscovery,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU_DISCOVER,
    libc::c_int,
    SetStruct<'_, libc::c_int>
);

/// Lets every packet of a socket be cut up, as long as nobody says otherwise: what clients send without DONT-FRAGMENT has to
/// arrive.
pub(super) fn allow(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
    set(socket, address, libc::IP_PMTUDISC_DONT)
}

/// Sends with "don't fragment" set, whatever the kernel believes to know of the path: the answer is the client's to hear.
pub(super) fn forbid_during<T>(
    socket: &impl AsFd,
    address: SocketAddr,
    send: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    set(socket, address, libc::IP_PMTUDISC_PROBE)?;
    let result = send();
    allow(socket, address)?;
    result
}

fn set(socket: &impl AsFd, address: SocketAddr, discovery: libc::c_int) -> io::Result<()> {
    Ok(if address.is_ipv4() {
        setsockopt(socket, MtuDiscovery, &discovery)
    } else {
        setsockopt(socket, Ipv6MtuDiscovery, &discovery)
    }?)
}
