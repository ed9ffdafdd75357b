//! The value of an XOR-…-ADDRESS attribute (RFC 8489 section 14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};

const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;

/// The longest value: an IPv6 address.
pub(super) const MAX_LEN: usize = 20;

/// Bytes that the value for `address` takes.
pub(super) const fn value_len(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(_) => 8,
        SocketAddr::V6(_) => MAX_LEN,
    }
}

/// The value for `address`; the first [`value_len`] bytes count.
pub(super) fn write(address: SocketAddr, transaction: TransactionId) -> [u8; MAX_LEN] {
    let mask = mask(transaction);
    let mut value = [0; MAX_LEN];
    let [port_high, port_low] = address.port().to_be_bytes();
    value[2] = port_high ^ mask[0];
    value[3] = port_low ^ mask[1];
    match address.ip() {
        IpAddr::V4(ip) => {
            value[1] = FAMILY_IPV4;
            value[4..8].copy_from_slice(&xor(ip.octets(), &mask));
        }
        IpAddr::V6(ip) => {
            value[1] = FAMILY_IPV6;
            value[4..].copy_from_slice(&xor(ip.octets(), &mask));
        }
    }
    value
}

/// The address in `value`, or nothing if the family and the length do not fit each other.
pub(super) fn read(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    let mask = mask(transaction);
    let (&[_, family, port_high, port_low], ip) = value.split_first_chunk()?;
    let port = u16::from_be_bytes([port_high ^ mask[0], port_low ^ mask[1]]);
    let ip = match family {
        FAMILY_IPV4 => IpAddr::V4(Ipv4Addr::from(xor(ip.try_into().ok()?, &mask))),
        FAMILY_IPV6 => IpAddr::V6(Ipv6Addr::from(xor(ip.try_into().ok()?, &mask))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The magic cookie and the transaction id, which mask addresses from meddling middleboxes.
fn mask(transaction: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&transaction.0);
    mask
}

fn xor<const N: usize>(mut bytes: [u8; N], mask: &[u8; 16]) -> [u8; N] {
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    bytes
}
