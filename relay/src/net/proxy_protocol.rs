//! The PROXY protocol, versions 1 and 2: what a load balancer says in front of a connection's own bytes about the client
//! behind it (haproxy's `doc/proxy-protocol.txt`).
//!
//! Whoever may say so can give himself any address. So a header counts from senders that the operator named, and from
//! anybody else ends the connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// With these begins a header, and neither a TLS handshake nor a client's first STUN message.
const FIRST_BYTES: [u8; 2] = [V1[0], V2[0]];
const V1: &[u8; 6] = b"PROXY ";
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest first line of version 1, its end included (section 2.1).
const V1_MAX: usize = 107;
/// Addresses and what else haproxy may add. Version 2 could announce 64 KiB, and nobody needs them.
const V2_MAX: usize = 2048;

/// Whom a header names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Named {
    /// The client behind the proxy.
    Client(SocketAddr),
    /// Nobody: the proxy speaks for itself, as for a health check, or for somebody without an IP address.
    Nobody,
}

/// Why a header is not one.
#[derive(Debug, Error)]
pub(crate) enum BadHeader {
    #[error("the PROXY header breaks off: {0}")]
    Io(#[from] io::Error),
    #[error("what begins like a PROXY header is none")]
    Malformed,
    #[error("a PROXY header of {0} bytes")]
    TooLong(usize),
}

/// Whether a connection that begins with this byte begins with a header.
pub(super) fn begins_header(first: u8) -> bool {
    FIRST_BYTES.contains(&first)
}

/// Reads a header and not a byte more.
pub(crate) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Named, BadHeader> {
    if stream.read_u8().await? == V2[0] { read_v2(stream).await } else { read_v1(stream).await }
}

/// Nothing but the end of the line tells how long it is.
async fn read_v1(stream: &mut (impl AsyncRead + Unpin)) -> Result<Named, BadHeader> {
    let mut line = vec![V1[0]];
    while !line.ends_with(b"\r\n") {
        if line.len() == V1_MAX {
            return Err(BadHeader::Malformed);
        }
        line.push(stream.read_u8().await?);
    }
    parse_v1(&line).ok_or(BadHeader::Malformed)
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> Result<Named, BadHeader> {
    let mut fixed = [0; 15];
    stream.read_exact(&mut fixed).await?;
    let [.., version_and_command, family, high, low] = fixed;
    let is_version_2 = fixed[..V2.len() - 1] == V2[1..] && version_and_command >> 4 == 2;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if !is_version_2 {
        return Err(BadHeader::Malformed);
    }
    if len > V2_MAX {
        return Err(BadHeader::TooLong(len));
    }
    let mut rest = vec![0; len];
    stream.read_exact(&mut rest).await?;
    match version_and_command & 0x0f {
        LOCAL => Ok(Named::Nobody),
        PROXY => parse_v2(family, &rest).ok_or(BadHeader::Malformed),
        _ => Err(BadHeader::Malformed),
    }
}

const LOCAL: u8 = 0;
const PROXY: u8 = 1;

/// The client of a whole first line.
fn parse_v1(line: &[u8]) -> Option<Named> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = text.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Named::Nobody);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let port = words.next()?.parse().ok()?;
    words.next()?.parse::<u16>().ok()?;
    let ip = match family {
        "TCP4" => IpAddr::V4(source.parse().ok().filter(|_| destination.parse::<Ipv4Addr>().is_ok())?),
        "TCP6" => IpAddr::V6(source.parse().ok().filter(|_| destination.parse::<Ipv6Addr>().is_ok())?),
        _ => return None,
    };
    words.next().is_none().then(|| client(ip, port))
}

/// The client of the addresses that follow version 2's fixed part (section 2.2): source, destination, their ports.
fn parse_v2(family: u8, addresses: &[u8]) -> Option<Named> {
    let port = |bytes: &[u8; 2]| u16::from_be_bytes(*bytes);
    match family >> 4 {
        1 => {
            let addresses: &[u8; 12] = addresses.first_chunk()?;
            let (ip, port) = (addresses.first_chunk::<4>()?, port(addresses[8..].first_chunk()?));
            Some(client(IpAddr::from(*ip), port))
        }
        2 => {
            let addresses: &[u8; 36] = addresses.first_chunk()?;
            let (ip, port) = (addresses.first_chunk::<16>()?, port(addresses[32..].first_chunk()?));
            Some(client(IpAddr::from(*ip), port))
        }
        // Unspecified, and UNIX sockets.
        0 | 3 => Some(Named::Nobody),
        _ => None,
    }
}

/// A listener for both families shows an IPv4 client as an IPv6 address.
fn client(ip: IpAddr, port: u16) -> Named {
    Named::Client(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a header says, and the bytes that are left after it.
    fn read(bytes: &[u8]) -> (Result<Named, BadHeader>, Vec<u8>) {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let client = runtime.block_on(read_header(&mut rest));
        (client, rest.to_vec())
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let len = (addresses.len() as u16).to_be_bytes();
        [&V2[..], &[command, family], &len, addresses].concat()
    }

    fn named(text: &str) -> Named {
        Named::Client(text.parse().unwrap())
    }

    #[test]
    fn version_1_names_the_client() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", named("192.0.2.7:56324")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", named("[2001:db8::7]:1")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 5 6\r\n", named("192.0.2.7:5")),
            ("PROXY UNKNOWN\r\n", Named::Nobody),
            ("PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n", Named::Nobody),
        ] {
            let (read, rest) = read(format!("{line}\x16\x03").as_bytes());
            assert_eq!(read.unwrap(), client, "{line}");
            assert_eq!(rest, b"\x16\x03", "what follows is left alone");
        }
    }

    #[test]
    fn version_2_names_the_client() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 187];
        let v6 = [&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0, 9, 1, 187]];
        let v6 = v6.concat();
        // What haproxy adds about TLS follows the addresses and is passed over.
        let with_tlv = [&v4[..], &[0x20, 0, 3, 1, 2, 3]].concat();
        for (header, client) in [
            (v2(0x21, 0x11, &v4), named("192.0.2.7:56324")),
            (v2(0x21, 0x11, &with_tlv), named("192.0.2.7:56324")),
            (v2(0x21, 0x21, &v6), named("[2001:db8::7]:9")),
            (v2(0x20, 0x11, &v4), Named::Nobody),
            (v2(0x20, 0, &[]), Named::Nobody),
            (v2(0x21, 0, &[]), Named::Nobody),
            (v2(0x21, 0x31, &[0; 216]), Named::Nobody),
        ] {
            let (read, rest) = read(&[&header[..], b"\0\x01"].concat());
            assert_eq!(read.unwrap(), client, "{header:x?}");
            assert_eq!(rest, b"\0\x01", "what follows is left alone");
        }
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        for bytes in [
            &b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n"[..],
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 nobody 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY \xff\r\n",
            b"POST / HTTP/1.1\r\n",
            &[b'P'; 200],
            b"PROXY TCP4",
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x41, &[0; 36]),
            &v2(0x21, 0x11, &[0; 3000]),
            &v2(0x21, 0x11, &[0; 12])[..20],
            b"\r\n\r\n\0\r\nQUIX\n!\x11\0\0",
        ] {
            assert!(read(bytes).0.is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn an_endless_line_is_not_read_to_its_end() {
        let (result, rest) = read(&[b'P'; 200]);
        assert!(result.is_err());
        assert_eq!(rest.len(), 200 - V1_MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, in_v2: bool) {
            let bytes = if in_v2 { [&V2[..], &bytes].concat() } else { [&V1[..], &bytes, b"\r\n"].concat() };
            let _ = read(&bytes);
        }
    }
}
