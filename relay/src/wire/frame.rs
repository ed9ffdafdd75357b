//! What a datagram is, told by its first bytes (RFC 8656 section 12, RFC 8489 section 5).

use super::{ChannelData, MAGIC_COOKIE, MESSAGE_HEADER_LEN, u16_at};

/// The two kinds of things that a TURN client and its server send each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// The bytes of exactly one STUN message; only the header has been looked at.
    Message(&'a [u8]),
    /// A payload on a channel.
    ChannelData(ChannelData<'a>),
}

impl<'a> Frame<'a> {
    /// The frame that a datagram holds, or nothing if it is neither.
    pub fn of_datagram(datagram: &'a [u8]) -> Option<Self> {
        if is_message(datagram) {
            Some(Self::Message(datagram))
        } else {
            ChannelData::read(datagram).map(Self::ChannelData)
        }
    }
}

/// Two zero bits, the cookie, and a length that is a multiple of four and reaches exactly to the end.
fn is_message(bytes: &[u8]) -> bool {
    let Some(len) = u16_at(bytes, 2) else { return false };
    bytes[0] & 0xc0 == 0
        && len % 4 == 0
        && bytes.len() == MESSAGE_HEADER_LEN + usize::from(len)
        && bytes[4..8] == MAGIC_COOKIE
}
