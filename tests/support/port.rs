//! Ports for programs that cannot choose one themselves and tell.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};

/// Below the range from which Linux takes the ports of outgoing connections, so that none of those takes it meanwhile.
const RANGE: Range<u16> = 10_000..32_000;

/// What says, as long as this test runs, that a port is given away: between the choice and the program that binds the port
/// lie seconds. A name without a file belongs to a network namespace, as ports do, and goes with its process.
static GIVEN: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 that nobody uses, neither for TCP nor for UDP, and that no test that runs is given again.
pub fn free() -> u16 {
    free_row(1)
}

/// The first of `count` such ports in a row.
pub fn free_row(count: u16) -> u16 {
    take(RANGE, count).expect("no free ports")
}

fn take(range: Range<u16>, count: u16) -> Option<u16> {
    let starts = range.start..=range.end.checked_sub(count)?;
    let random = RandomState::new().hash_one(()) % u64::try_from(starts.len()).unwrap();
    let middle = starts.start() + u16::try_from(random).unwrap();
    let (port, claims) = (middle..=*starts.end())
        .chain(*starts.start()..middle)
        .find_map(|port| Some((port, (port..port + count).map(claim).collect::<Option<Vec<_>>>()?)))?;
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
    Some(port)
}

/// Nothing if somebody else has the port, or is given it.
fn claim(port: u16) -> Option<UnixDatagram> {
    let name = SocketAddr::from_abstract_name(format!("hubs-tests-port-{port}")).ok()?;
    let claim = UnixDatagram::bind_addr(&name).ok()?;
    let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    let is_free = tcp.is_ok() && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    is_free.then_some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests of this module share a process with others, but these ports with nobody.
    const OWN: Range<u16> = 32_000..32_064;

    #[test]
    fn no_port_is_given_twice() {
        let mut given: Vec<u16> = std::iter::from_fn(|| take(OWN, 1)).take(OWN.len() + 1).collect();
        let all = given.len();
        given.sort_unstable();
        given.dedup();
        assert!(given.len() == all && all > OWN.len() / 2, "{given:?} of {all}");
        assert_eq!(take(OWN, 2), None);
    }
}
