//! What the network says of packets that a relay socket sent: the kernel keeps it in a queue beside the packets.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{self, sock_extended_err};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt::Ipv4RecvErr,
    sockopt::Ipv6RecvErr,
};

use crate::wire::Icmp;

/// Asks the kernel to keep what it hears.
pub(crate) fn listen(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
    Ok(if address.is_ipv4() {
        setsockopt(socket, Ipv4RecvErr, &true)
    } else {
        setsockopt(socket, Ipv6RecvErr, &true)
    }?)
}

/// What was heard next, and of a packet to whom; nothing if it is none of what clients are told (RFC 8656 section 11.5). When
/// there is no more, the error says "would block".
pub(crate) fn receive(socket: &impl AsRawFd) -> io::Result<Option<(SocketAddr, Icmp)>> {
    // The packet itself does not matter.
    let (mut no_bytes, mut control) = ([0; 1], cmsg_space!(sock_extended_err, libc::sockaddr_in6));
    let mut slices = [IoSliceMut::new(&mut no_bytes)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)
        .map_err(io_error)?;
    let to = received.address.as_ref().and_then(to_socket_addr);
    let mut messages = received.cmsgs().map_err(io_error)?;
    let icmp = messages.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            told(error)
        }
        _ => None,
    });
    Ok(to.zip(icmp))
}

/// Of ICMP "unreachable" and "time exceeded", of `ICMPv6` "packet too big" as well; not what the kernel thinks of itself.
fn told(error: sock_extended_err) -> Option<Icmp> {
    let (kind, code) = (error.ee_type, error.ee_code);
    let is_for_clients = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => matches!(kind, 3 | 11),
        libc::SO_EE_ORIGIN_ICMP6 => matches!(kind, 1..=3),
        _ => false,
    };
    let is_too_big = matches!(
        (error.ee_origin, kind, code),
        (libc::SO_EE_ORIGIN_ICMP, 3, 4) | (libc::SO_EE_ORIGIN_ICMP6, 2, _)
    );
    is_for_clients.then_some(Icmp { kind, code, data: if is_too_big { error.ee_info } else { 0 } })
}

fn to_socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|it| SocketAddr::from((it.ip(), it.port())));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| SocketAddr::from((it.ip(), it.port()))))
}

fn io_error(errno: Errno) -> io::Error {
    errno.into()
}
