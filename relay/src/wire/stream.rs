//! Frames on a TCP or TLS stream (RFC 8656 section 2.1): one after the other, ChannelData padded to four bytes.
//!
//! What lies complete in the bytes that just arrived is handed on in place; only a frame that two reads share is
//! copied, and no more than `limit` bytes of it are ever kept.

use thiserror::Error;

use super::{ChannelData, ChannelNumber, Frame, MAGIC_COOKIE, MESSAGE_HEADER_LEN, padded, u16_at};

/// Room that stays with an idle stream, so that media does not allocate and idleness does not cost.
const RETAINED: usize = 2048;

/// The stream carries something else, or a frame longer than allowed. There is no way back into step: close it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NotTurn {
    /// These bytes begin neither a STUN message nor ChannelData.
    #[error("the stream carries neither STUN nor ChannelData")]
    Junk,
    /// A frame announces more than the limit.
    #[error("a frame of {len} bytes is longer than the limit of {limit}")]
    TooLong {
        /// What the frame's header announces, header and padding included.
        len: usize,
        /// What was allowed.
        limit: usize,
    },
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub struct StreamDecoder {
    cutter: Cutter,
    limit: usize,
}

impl StreamDecoder {
    /// The longest frame that there can be.
    pub const MAX_FRAME: usize = MESSAGE_HEADER_LEN + 0xfffc;

    /// A decoder that refuses frames of more than `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { cutter: Cutter::new(), limit }
    }

    /// Changes the limit for the frames that follow: a stranger gets less than a client that has authenticated.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether the beginning of a frame is waiting for its rest.
    pub const fn is_waiting(&self) -> bool {
        self.cutter.is_waiting()
    }

    /// Takes what arrived and hands each frame that is now complete to `each`, in order.
    pub fn decode(&mut self, arrived: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), NotTurn> {
        let limit = self.limit;
        self.cutter.cut(arrived, |begun| frame_len(begun, limit), |whole| frame(whole).map(&mut each))
    }
}

/// Cuts a stream into pieces that say themselves how long they are.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The beginning of a piece whose rest has not arrived.
    partial: Vec<u8>,
}

impl Cutter {
    pub(super) const fn new() -> Self {
        Self { partial: Vec::new() }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Hands each whole piece to `each`. `len_of` measures the one that begins with these bytes, as soon as they are
    /// enough to tell.
    pub(super) fn cut<E>(
        &mut self,
        mut arrived: &[u8],
        len_of: impl Fn(&[u8]) -> Result<Option<usize>, E>,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.is_waiting() {
            // Take only what the piece in `partial` still lacks, so that those behind it are read in place.
            let wanted = len_of(&self.partial)?.unwrap_or(self.partial.len() + 1);
            let (missing, rest) = arrived.split_at(arrived.len().min(wanted - self.partial.len()));
            if missing.is_empty() {
                return Ok(());
            }
            self.partial.extend_from_slice(missing);
            arrived = rest;
            if len_of(&self.partial)? == Some(self.partial.len()) {
                each(&self.partial)?;
                self.partial.clear();
                self.partial.shrink_to(RETAINED);
            }
        }
        while let Some(len) = len_of(arrived)?.filter(|len| *len <= arrived.len()) {
            let (whole, rest) = arrived.split_at(len);
            each(whole)?;
            arrived = rest;
        }
        self.partial.extend_from_slice(arrived);
        Ok(())
    }
}

/// How many bytes the frame that begins here takes on the stream; nothing as long as too few are there to tell.
fn frame_len(bytes: &[u8], limit: usize) -> Result<Option<usize>, NotTurn> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let is_message = first & 0xc0 == 0;
    let cookie = bytes.get(4..).unwrap_or_default();
    if is_message && !cookie.iter().zip(MAGIC_COOKIE).all(|(byte, expected)| *byte == expected) {
        return Err(NotTurn::Junk);
    }
    let (Some(kind), Some(len)) = (u16_at(bytes, 0), u16_at(bytes, 2)) else { return Ok(None) };
    let len = usize::from(len);
    let len = if is_message && len.is_multiple_of(4) {
        MESSAGE_HEADER_LEN + len
    } else if !is_message && ChannelNumber::new(kind).is_some() {
        ChannelData::HEADER_LEN + padded(len)
    } else {
        return Err(NotTurn::Junk);
    };
    if len > limit { Err(NotTurn::TooLong { len, limit }) } else { Ok(Some(len)) }
}

/// The frame in bytes that `frame_len` has measured.
fn frame(whole: &[u8]) -> Result<Frame<'_>, NotTurn> {
    Frame::of_datagram(whole).ok_or(NotTurn::Junk)
}
