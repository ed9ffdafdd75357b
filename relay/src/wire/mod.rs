//! Bytes ⇄ messages, without state: what STUN (RFC 8489) and TURN (RFC 8656) look like on the wire.
//!
//! Control messages ([`Message`], [`Builder`]) are rare and go through the general codec of `rtc-stun` and
//! `rtc-turn`. Media ([`ChannelData`], [`Indication`]) is read in place and framed by a header that is written in
//! front of a payload which stays where it is: nothing here allocates for it.
//!
//! Every function takes untrusted bytes: none panics, and none looks beyond a length that it has checked.

mod address;
mod builder;
mod channel_data;
mod check;
mod error_code;
mod frame;
mod icmp;
mod indication;
mod integrity;
mod message;
mod opening;
mod packets;
mod stream;

#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use channel_data::{ChannelData, ChannelNumber};
pub use check::is_check;
pub use error_code::ErrorCode;
pub use frame::Frame;
pub use icmp::Icmp;
pub use indication::{Fragmentation, Indication, IndicationKind};
pub use integrity::{Integrity, IntegrityKey, PasswordAlgorithm, userhash};
pub use message::{BadAttribute, Class, Family, Malformed, Message, Method, ReservationToken};
pub use opening::Opening;
pub use packets::{PacketDecoder, PacketTooLong};
pub use rtc_stun::attributes::AttrType;
pub use rtc_stun::message::TransactionId;
pub use stream::{NotTurn, StreamDecoder};

/// Attribute types, by the names that the RFCs use.
pub mod attribute {
    pub use rtc_stun::attributes::{
        ATTR_CHANNEL_NUMBER as CHANNEL_NUMBER, ATTR_DATA as DATA, ATTR_DONT_FRAGMENT as DONT_FRAGMENT,
        ATTR_ERROR_CODE as ERROR_CODE, ATTR_EVEN_PORT as EVEN_PORT, ATTR_FINGERPRINT as FINGERPRINT,
        ATTR_ICE_CONTROLLED as ICE_CONTROLLED, ATTR_ICE_CONTROLLING as ICE_CONTROLLING,
        ATTR_LIFETIME as LIFETIME, ATTR_MAPPED_ADDRESS as MAPPED_ADDRESS,
        ATTR_MESSAGE_INTEGRITY as MESSAGE_INTEGRITY,
        ATTR_MESSAGE_INTEGRITY_SHA256 as MESSAGE_INTEGRITY_SHA256, ATTR_NONCE as NONCE,
        ATTR_PASSWORD_ALGORITHM as PASSWORD_ALGORITHM, ATTR_PASSWORD_ALGORITHMS as PASSWORD_ALGORITHMS,
        ATTR_PRIORITY as PRIORITY, ATTR_REALM as REALM,
        ATTR_REQUESTED_ADDRESS_FAMILY as REQUESTED_ADDRESS_FAMILY,
        ATTR_REQUESTED_TRANSPORT as REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN as RESERVATION_TOKEN,
        ATTR_SOFTWARE as SOFTWARE, ATTR_UNKNOWN_ATTRIBUTES as UNKNOWN_ATTRIBUTES,
        ATTR_USE_CANDIDATE as USE_CANDIDATE, ATTR_USER_HASH as USERHASH, ATTR_USERNAME as USERNAME,
        ATTR_XOR_PEER_ADDRESS as XOR_PEER_ADDRESS, ATTR_XOR_RELAYED_ADDRESS as XOR_RELAYED_ADDRESS,
        ATTR_XORMAPPED_ADDRESS as XOR_MAPPED_ADDRESS,
    };

    use super::AttrType;

    /// Asks for an address of the other family as well (RFC 8656 section 18.11).
    pub const ADDITIONAL_ADDRESS_FAMILY: AttrType = AttrType(0x8000);
    /// Why there is none (RFC 8656 section 18.12).
    pub const ADDRESS_ERROR_CODE: AttrType = AttrType(0x8001);
    /// What the network said of a packet to a peer (RFC 8656 section 18.13).
    pub const ICMP: AttrType = AttrType(0x8004);
}

/// Bytes of a STUN header (RFC 8489 section 5).
pub const MESSAGE_HEADER_LEN: usize = 20;

/// The protocol number that REQUESTED-TRANSPORT carries for UDP, the only one that this relay serves.
pub const PROTOCOL_UDP: u8 = 17;

const ATTRIBUTE_HEADER_LEN: usize = 4;
const MAGIC_COOKIE: [u8; 4] = rtc_stun::message::MAGIC_COOKIE.to_be_bytes();

/// The big-endian number at `at`, if the bytes reach that far.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Attribute values, and ChannelData on a stream, are padded to 4 bytes.
const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}
