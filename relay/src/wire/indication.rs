//! Send and Data indications (RFC 8656 section 11), read and framed in place.
//!
//! Firefox sends every media packet in one, so this path is as hot as ChannelData's: no allocation, no copy.

use std::net::SocketAddr;

use super::{
    ATTRIBUTE_HEADER_LEN, AttrType, MAGIC_COOKIE, MESSAGE_HEADER_LEN, TransactionId, address, attribute,
    padded, u16_at,
};

const SEND: [u8; 2] = [0x00, 0x16];
const DATA: [u8; 2] = [0x00, 0x17];

/// Which way an indication travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IndicationKind {
    /// From the client, for a peer.
    Send,
    /// For the client, from a peer.
    Data,
}

/// Whether a packet may be cut up on its way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fragmentation {
    /// As the network sees fit.
    #[default]
    Allowed,
    /// The client wants to know if it does not fit (DONT-FRAGMENT, RFC 8656 section 18.9).
    Forbidden,
}

/// A payload and the peer that it goes to or came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Indication<'a> {
    /// Which way it travels.
    pub kind: IndicationKind,
    /// The peer, exactly as the message names it.
    pub peer: SocketAddr,
    /// Whether it may be cut up on its way to the peer.
    pub fragmentation: Fragmentation,
    /// The payload; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Indication<'a> {
    /// The longest header: in front of a payload from an IPv6 peer.
    pub const MAX_HEADER_LEN: usize = MESSAGE_HEADER_LEN + 2 * ATTRIBUTE_HEADER_LEN + address::MAX_LEN;

    /// Whether a [`Frame::Message`](super::Frame::Message) is one of the two.
    pub fn is_indication(message: &[u8]) -> bool {
        kind_of(message).is_some()
    }

    /// Reads an indication from the bytes of a STUN message, or finds that it has to be discarded: not one, an
    /// attribute missing or broken, one that must be understood and is not (RFC 8489 section 6.3.2), or a FINGERPRINT that
    /// is wrong or not the last attribute.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let kind = kind_of(message)?;
        let transaction = TransactionId(message.get(8..MESSAGE_HEADER_LEN)?.try_into().ok()?);
        let (mut peer, mut payload, mut fragmentation) = (None, None, Fragmentation::Allowed);
        let mut at = MESSAGE_HEADER_LEN;
        while at < message.len() {
            let attr = AttrType(u16_at(message, at)?);
            let len = usize::from(u16_at(message, at + 2)?);
            let begin = at + ATTRIBUTE_HEADER_LEN;
            let value = message.get(begin..begin + len)?;
            match attr {
                attribute::XOR_PEER_ADDRESS if peer.is_none() => {
                    peer = Some(address::read(value, transaction)?);
                }
                attribute::DATA if payload.is_none() => payload = Some(value),
                attribute::FINGERPRINT => {
                    // Only the last one may be there (RFC 8489 section 14.7), so that it is worked out once.
                    (begin + padded(len) == message.len()).then_some(())?;
                    let crc = rtc_stun::fingerprint::fingerprint_value(&message[..at]);
                    (value == crc.to_be_bytes()).then_some(())?;
                }
                attribute::DONT_FRAGMENT => fragmentation = Fragmentation::Forbidden,
                attribute::XOR_PEER_ADDRESS | attribute::DATA => {}
                // Nothing behind MESSAGE-INTEGRITY is to be believed (RFC 8489 section 14.5).
                attribute::MESSAGE_INTEGRITY | attribute::MESSAGE_INTEGRITY_SHA256 => break,
                unknown if unknown.required() => return None,
                _ => {}
            }
            at = begin + padded(len);
        }
        Some(Self { kind, peer: peer?, fragmentation, payload: payload? })
    }
}

impl IndicationKind {
    /// Bytes that [`Self::write_header`] puts in front of a payload for or from `peer`.
    pub const fn header_len(peer: SocketAddr) -> usize {
        MESSAGE_HEADER_LEN + 2 * ATTRIBUTE_HEADER_LEN + address::value_len(peer)
    }

    /// Zero bytes that must follow a payload of `len` bytes.
    pub const fn padding(len: usize) -> usize {
        padded(len) - len
    }

    /// Writes everything that stands in front of a payload of `len` bytes to the beginning of `out`, and returns
    /// how much that is; nothing if `out` is too short or the message would not fit its length field.
    pub fn write_header(
        self,
        transaction: TransactionId,
        peer: SocketAddr,
        len: usize,
        out: &mut [u8],
    ) -> Option<usize> {
        let header_len = Self::header_len(peer);
        let body_len = u16::try_from(header_len - MESSAGE_HEADER_LEN + padded(len)).ok()?;
        let value_len = address::value_len(peer);
        let out = out.get_mut(..header_len)?;
        out[..2].copy_from_slice(match self {
            Self::Send => &SEND,
            Self::Data => &DATA,
        });
        out[2..4].copy_from_slice(&body_len.to_be_bytes());
        out[4..8].copy_from_slice(&MAGIC_COOKIE);
        out[8..20].copy_from_slice(&transaction.0);
        out[20..22].copy_from_slice(&attribute::XOR_PEER_ADDRESS.value().to_be_bytes());
        out[22..24].copy_from_slice(&(value_len as u16).to_be_bytes());
        out[24..24 + value_len].copy_from_slice(&address::write(peer, transaction)[..value_len]);
        out[24 + value_len..26 + value_len].copy_from_slice(&attribute::DATA.value().to_be_bytes());
        out[26 + value_len..].copy_from_slice(&(len as u16).to_be_bytes());
        Some(header_len)
    }
}

fn kind_of(message: &[u8]) -> Option<IndicationKind> {
    match *message.first_chunk()? {
        SEND => Some(IndicationKind::Send),
        DATA => Some(IndicationKind::Data),
        _ => None,
    }
}
