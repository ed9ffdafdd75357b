//! Ports for programs that cannot choose one themselves and tell.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below the range from which Linux takes the ports of outgoing connections, so that none of those takes it meanwhile.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// A port of 127.0.0.1 that nobody uses at the moment, neither for TCP nor for UDP.
pub fn free() -> u16 {
    let mut port =
        RANGE.start + (RandomState::new().hash_one(()) % u64::from(RANGE.end - RANGE.start)) as u16;
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        if tcp.is_ok() && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
        port = if port + 1 < RANGE.end { port + 1 } else { RANGE.start };
    }
}
