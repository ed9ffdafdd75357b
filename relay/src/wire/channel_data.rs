//! ChannelData (RFC 8656 section 12.4): four bytes in front of a payload.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |         Channel Number        |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::fmt;

use super::{padded, u16_at};

/// A channel number that may be bound: 0x4000 to 0x7FFF (RFC 5766 section 11). RFC 8656 tells clients to use a quarter
/// of these, which changes nothing on a TURN port; older clients, coturn's tools among them, use all.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// The lowest number.
    pub const MIN: Self = Self(0x4000);
    /// The highest number.
    pub const MAX: Self = Self(0x7fff);

    /// The channel with this number, if it lies in the range.
    pub const fn new(number: u16) -> Option<Self> {
        if number >= Self::MIN.0 && number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number itself.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ChannelNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// A payload on a channel, where it lay in the datagram or stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChannelData<'a> {
    /// The channel that it came on.
    pub channel: ChannelNumber,
    /// What the peer receives; may be empty.
    pub payload: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Bytes in front of the payload.
    pub const HEADER_LEN: usize = 4;

    /// Reads a frame from the beginning of `bytes`. What follows its length is padding and ignored; a length
    /// beyond the bytes is no frame (RFC 8656 section 12.6).
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let channel = ChannelNumber::new(u16_at(bytes, 0)?)?;
        let len = usize::from(u16_at(bytes, 2)?);
        let payload = bytes.get(Self::HEADER_LEN..Self::HEADER_LEN + len)?;
        Some(Self { channel, payload })
    }

    /// The header for a payload of `len` bytes.
    pub const fn header(channel: ChannelNumber, len: u16) -> [u8; 4] {
        let [channel_high, channel_low] = channel.0.to_be_bytes();
        let [len_high, len_low] = len.to_be_bytes();
        [channel_high, channel_low, len_high, len_low]
    }

    /// Zero bytes that must follow a payload of `len` bytes on a stream (RFC 8656 section 12.5).
    pub const fn stream_padding(len: usize) -> usize {
        padded(len) - len
    }
}
