//! Ports for programs that cannot choose one themselves and tell.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below the range from which Linux takes the ports of outgoing connections, so that none of those takes it meanwhile.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// A port of 127.0.0.1 that nobody uses at the moment, neither for TCP nor for UDP.
pub fn free() -> u16 {
    free_row(1)
}

/// The first of `count` such ports in a row.
pub fn free_row(count: u16) -> u16 {
    let range = RANGE.start..RANGE.end - count;
    let random = RandomState::new().hash_one(()) % range.len() as u64;
    let mut port = range.start + random as u16;
    while !(port..port + count).all(is_free) {
        port = if port + 1 < range.end { port + 1 } else { range.start };
    }
    port
}

fn is_free(port: u16) -> bool {
    let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    tcp.is_ok() && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}
