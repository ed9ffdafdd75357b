//! What arrived at the node, as far as it can be a prober's: read from the bytes of an IP packet, which anybody may have
//! written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const IPV6_HEADER: usize = 40;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Something that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// A whole UDP datagram.
    Datagram {
        /// Who sent it, as it is seen here.
        source: SocketAddr,
        /// Where it arrived.
        destination: SocketAddr,
        /// What it carries.
        payload: &'a [u8],
    },
    /// The first packet of a TCP connection.
    Syn {
        /// Who sent it, as it is seen here.
        source: SocketAddr,
        /// Where it arrived.
        destination: SocketAddr,
    },
}

/// Reads an IP packet; nothing if it is a fragment, or none that a prober sends. Checksums are not looked at: network
/// cards fill them in late, and what counts is signed.
pub fn read(packet: &[u8]) -> Option<Arrival<'_>> {
    let (source, destination, protocol, rest) = match packet.first()? >> 4 {
        4 => read_ipv4(packet)?,
        6 => read_ipv6(packet)?,
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    let source = SocketAddr::new(source, port(0)?);
    let destination = SocketAddr::new(destination, port(2)?);
    match protocol {
        UDP => {
            let length = usize::from(port(4)?);
            Some(Arrival::Datagram { source, destination, payload: rest.get(UDP_HEADER..length)? })
        }
        TCP => (rest.get(13)? & (SYN | ACK) == SYN).then_some(Arrival::Syn { source, destination }),
        _ => None,
    }
}

type Parts<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

fn read_ipv4(packet: &[u8]) -> Option<Parts<'_>> {
    let address = |at: usize| {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::from(Ipv4Addr::from(bytes)))
    };
    let header = usize::from(packet[0] & 0xf) * 4;
    let is_fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff != 0;
    let rest = packet.get(header.max(20)..)?;
    (!is_fragment && header >= 20).then_some((address(12)?, address(16)?, *packet.get(9)?, rest))
}

fn read_ipv6(packet: &[u8]) -> Option<Parts<'_>> {
    let address = |at: usize| {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::from(Ipv6Addr::from(bytes)))
    };
    Some((address(8)?, address(24)?, *packet.get(6)?, packet.get(IPV6_HEADER..)?))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An IP packet with this datagram in it.
    pub(in crate::sweep) fn datagram(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let length = (UDP_HEADER + payload.len()) as u16;
        let mut segment = Vec::new();
        for number in [source.port(), destination.port(), length, 0] {
            segment.extend_from_slice(&number.to_be_bytes());
        }
        segment.extend_from_slice(payload);
        packet(source.ip(), destination.ip(), UDP, &segment)
    }

    /// An IP packet with a TCP segment in it that has these flags.
    pub(in crate::sweep) fn segment(source: SocketAddr, destination: SocketAddr, flags: u8) -> Vec<u8> {
        let mut segment = vec![0; 20];
        segment[..2].copy_from_slice(&source.port().to_be_bytes());
        segment[2..4].copy_from_slice(&destination.port().to_be_bytes());
        segment[12..14].copy_from_slice(&[0x50, flags]);
        packet(source.ip(), destination.ip(), TCP, &segment)
    }

    fn packet(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> Vec<u8> {
        let mut bytes = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                // With an option, so that the header's length counts.
                let mut header = vec![0x46, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
                header.extend_from_slice(&source.octets());
                header.extend_from_slice(&destination.octets());
                header.extend_from_slice(&[1; 4]);
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
                header.extend_from_slice(&source.octets());
                header.extend_from_slice(&destination.octets());
                header
            }
            other => panic!("{other:?}"),
        };
        bytes.extend_from_slice(segment);
        bytes
    }

    /// The same addresses of both families.
    pub(in crate::sweep) fn ends() -> [(SocketAddr, SocketAddr); 2] {
        [("198.51.100.20:50123", "10.224.0.4:41000"), ("[2001:db8::20]:50123", "[2001:db8::4]:41000")]
            .map(|(source, destination)| (source.parse().unwrap(), destination.parse().unwrap()))
    }

    #[test]
    fn a_datagram_and_the_beginning_of_a_connection_are_read_of_both_families() {
        for (source, destination) in ends() {
            let bytes = datagram(source, destination, b"payload");
            let expected = Arrival::Datagram { source, destination, payload: b"payload" };
            assert_eq!(read(&bytes), Some(expected));
            let bytes = segment(source, destination, SYN);
            assert_eq!(read(&bytes), Some(Arrival::Syn { source, destination }));
            for flags in [ACK, SYN | ACK, 0] {
                assert_eq!(read(&segment(source, destination, flags)), None, "{flags}");
            }
        }
    }

    #[test]
    fn a_fragment_is_not_read() {
        let (source, destination) = ends()[0];
        for (at, flag) in [(6, 0x20), (7, 1)] {
            let mut bytes = datagram(source, destination, b"payload");
            bytes[at] |= flag;
            assert_eq!(read(&bytes), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(Arrival::Datagram { payload, .. }) = read(&bytes) {
                prop_assert!(payload.len() < bytes.len());
            }
        }

        #[test]
        fn a_packet_that_was_cut_off_is_none(cut in 0_usize..60) {
            for (source, destination) in ends() {
                let bytes = datagram(source, destination, b"payload");
                let length = bytes.len().saturating_sub(1 + cut);
                prop_assert_eq!(read(&bytes[..length]), None);
            }
        }
    }
}
