//! What a connection carries, told by its first bytes: one port serves all of it.
//!
//! A TLS handshake begins with 0x16 (RFC 8446 section 5.1), a PROXY header with "P" or a carriage return, STUN and TURN with
//! a type of which the first two bits are zero, and packets (RFC 4571) with their length, which for the check that opens
//! them is short. The last two are told apart by where the cookie of STUN stands.

use super::{MAGIC_COOKIE, MESSAGE_HEADER_LEN, PacketDecoder, u16_at};

/// What a connection carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// What a load balancer says in front of it.
    Proxy,
    /// TLS.
    Tls,
    /// STUN and TURN as they are.
    Turn,
    /// Packets behind their lengths, as ICE-TCP has them.
    Packets,
    /// Nothing of this.
    Junk,
}

impl Opening {
    /// So many bytes always tell.
    pub const ENOUGH: usize = 10;

    /// What begins like this; nothing as long as that could be several things.
    pub fn tell(bytes: &[u8]) -> Option<Self> {
        const TURN_COOKIE: usize = 4;
        const PACKETS_COOKIE: usize = PacketDecoder::HEADER_LEN + TURN_COOKIE;
        let may_have_cookie = |at| bytes.iter().skip(at).zip(MAGIC_COOKIE).all(|(byte, it)| *byte == it);
        match bytes.first()? {
            0x16 => Some(Self::Tls),
            b'P' | b'\r' => Some(Self::Proxy),
            0x40.. => Some(Self::Junk),
            _ if bytes.len() >= TURN_COOKIE + MAGIC_COOKIE.len() && may_have_cookie(TURN_COOKIE) => {
                Some(Self::Turn)
            }
            _ if !may_have_cookie(TURN_COOKIE) && !may_have_cookie(PACKETS_COOKIE) => Some(Self::Junk),
            _ if bytes.len() < Self::ENOUGH => None,
            // A check is a STUN message that its packet holds alone.
            _ => Some(match (u16_at(bytes, 0), u16_at(bytes, PacketDecoder::HEADER_LEN + 2)) {
                (Some(packet), Some(message))
                    if usize::from(packet) == MESSAGE_HEADER_LEN + usize::from(message) =>
                {
                    Self::Packets
                }
                _ => Self::Junk,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Builder, Method, TransactionId};

    fn check() -> Vec<u8> {
        Builder::request(Method::Binding, TransactionId([7; 12])).username("dialog:browser").finish()
    }

    #[test]
    fn each_kind_of_connection_is_told_by_its_first_bytes() {
        let turn = Builder::request(Method::Allocate, TransactionId([7; 12])).finish();
        let packets = [&PacketDecoder::header(&check()).unwrap()[..], &check()].concat();
        for (bytes, opening) in [
            (&[0x16, 3, 1, 2, 0, 1][..], Opening::Tls),
            (b"PROXY TCP4 ", Opening::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\n", Opening::Proxy),
            (&turn, Opening::Turn),
            (&check(), Opening::Turn),
            (&packets, Opening::Packets),
            (b"GET / HTTP/1.1\r\n", Opening::Junk),
            (&[0; 10], Opening::Junk),
            (&[0x40, 0, 0, 4], Opening::Junk),
            (&[0x80; 10], Opening::Junk),
        ] {
            assert_eq!(Opening::tell(bytes), Some(opening), "{bytes:x?}");
            // Fewer bytes say nothing, or the same.
            let told = (0..bytes.len()).find_map(|len| Opening::tell(&bytes[..len]));
            assert!(told.is_none_or(|told| told == opening), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn some_bytes_always_tell_and_more_do_not_change_it(bytes in prop::collection::vec(any::<u8>(), 10..40)) {
            let told = Opening::tell(&bytes[..Opening::ENOUGH]);
            prop_assert!(told.is_some());
            prop_assert_eq!(Opening::tell(&bytes), told);
        }
    }
}
