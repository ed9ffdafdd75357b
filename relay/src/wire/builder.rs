//! Writes control messages, for the server and for a client alike.

use std::net::SocketAddr;
use std::time::Duration;

use rtc_stun::fingerprint::fingerprint_value;
use rtc_stun::message::{Message as Codec, MessageType};

use super::{
    ATTRIBUTE_HEADER_LEN, AttrType, ChannelNumber, Class, ErrorCode, Family, Icmp, Integrity, IntegrityKey,
    Message, Method, PasswordAlgorithm, ReservationToken, TransactionId, address, attribute,
};

/// The longest text that RFC 8489 section 14 lets an attribute carry.
const MAX_TEXT_LEN: usize = 763;

/// A message in the making. Attributes are written in the order of the calls; [`Self::integrity`] comes behind
/// everything that it shall cover, [`Self::fingerprint`] last.
#[derive(Clone, Debug)]
pub struct Builder(Codec);

impl Builder {
    /// An empty message.
    pub fn new(class: Class, method: Method, transaction: TransactionId) -> Self {
        let mut codec = Codec::new();
        codec.transaction_id = transaction;
        codec.typ = MessageType::new(method.into(), class.into());
        codec.write_header();
        Self(codec)
    }

    /// A request.
    pub fn request(method: Method, transaction: TransactionId) -> Self {
        Self::new(Class::Request, method, transaction)
    }

    /// The success response to a request.
    pub fn success(request: &Message) -> Self {
        Self::new(Class::Success, request.method(), request.transaction())
    }

    /// The error response to a request, with what the RFC calls the code.
    pub fn error(request: &Message, code: ErrorCode) -> Self {
        Self::new(Class::Error, request.method(), request.transaction()).error_code(code, code.reason())
    }

    /// Any attribute, by its bytes; a value too long for its length field is cut.
    #[must_use]
    pub fn attribute(mut self, attr: AttrType, value: &[u8]) -> Self {
        self.0.add(attr, &value[..value.len().min(0xffff)]);
        self
    }

    /// ERROR-CODE. A text longer than RFC 8489 allows is cut, here and below.
    #[must_use]
    pub fn error_code(self, code: ErrorCode, reason: &str) -> Self {
        let reason = &reason[..reason.floor_char_boundary(MAX_TEXT_LEN)];
        let value = [&[0, 0, (code.0 / 100) as u8, (code.0 % 100) as u8], reason.as_bytes()].concat();
        self.attribute(attribute::ERROR_CODE, &value)
    }

    /// USERNAME.
    #[must_use]
    pub fn username(self, username: &str) -> Self {
        self.text(attribute::USERNAME, username)
    }

    /// USERHASH, in place of a name.
    #[must_use]
    pub fn userhash(self, hash: &[u8; 32]) -> Self {
        self.attribute(attribute::USERHASH, hash)
    }

    /// PASSWORD-ALGORITHM: how the key of this request is made.
    #[must_use]
    pub fn password_algorithm(self, algorithm: PasswordAlgorithm) -> Self {
        self.attribute(attribute::PASSWORD_ALGORITHM, &[0, algorithm as u8, 0, 0])
    }

    /// REALM.
    #[must_use]
    pub fn realm(self, realm: &str) -> Self {
        self.text(attribute::REALM, realm)
    }

    /// NONCE.
    #[must_use]
    pub fn nonce(self, nonce: &str) -> Self {
        self.text(attribute::NONCE, nonce)
    }

    /// SOFTWARE.
    #[must_use]
    pub fn software(self, software: &str) -> Self {
        self.text(attribute::SOFTWARE, software)
    }

    /// XOR-MAPPED-ADDRESS.
    #[must_use]
    pub fn xor_mapped_address(self, mapped: SocketAddr) -> Self {
        self.address(attribute::XOR_MAPPED_ADDRESS, mapped)
    }

    /// XOR-RELAYED-ADDRESS.
    #[must_use]
    pub fn xor_relayed_address(self, relayed: SocketAddr) -> Self {
        self.address(attribute::XOR_RELAYED_ADDRESS, relayed)
    }

    /// XOR-PEER-ADDRESS; CreatePermission may carry several.
    #[must_use]
    pub fn xor_peer_address(self, peer: SocketAddr) -> Self {
        self.address(attribute::XOR_PEER_ADDRESS, peer)
    }

    /// LIFETIME, in whole seconds.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        self.attribute(attribute::LIFETIME, &seconds.to_be_bytes())
    }

    /// CHANNEL-NUMBER.
    #[must_use]
    pub fn channel_number(self, channel: ChannelNumber) -> Self {
        let [high, low] = channel.get().to_be_bytes();
        self.attribute(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
    }

    /// REQUESTED-TRANSPORT, by protocol number.
    #[must_use]
    pub fn requested_transport(self, protocol: u8) -> Self {
        self.attribute(attribute::REQUESTED_TRANSPORT, &[protocol, 0, 0, 0])
    }

    /// REQUESTED-ADDRESS-FAMILY.
    #[must_use]
    pub fn requested_address_family(self, family: Family) -> Self {
        self.attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[family as u8, 0, 0, 0])
    }

    /// ADDITIONAL-ADDRESS-FAMILY.
    #[must_use]
    pub fn additional_address_family(self, family: Family) -> Self {
        self.attribute(attribute::ADDITIONAL_ADDRESS_FAMILY, &[family as u8, 0, 0, 0])
    }

    /// ADDRESS-ERROR-CODE: why there is no relayed address of a family.
    #[must_use]
    pub fn address_error_code(self, family: Family, code: ErrorCode) -> Self {
        let value =
            [&[family as u8, 0, (code.0 / 100) as u8, (code.0 % 100) as u8], code.reason().as_bytes()];
        self.attribute(attribute::ADDRESS_ERROR_CODE, &value.concat())
    }

    /// EVEN-PORT, and whether the port above is to be reserved, too.
    #[must_use]
    pub fn even_port(self, and_next: bool) -> Self {
        self.attribute(attribute::EVEN_PORT, &[u8::from(and_next) << 7])
    }

    /// RESERVATION-TOKEN.
    #[must_use]
    pub fn reservation_token(self, token: ReservationToken) -> Self {
        self.attribute(attribute::RESERVATION_TOKEN, &token.0)
    }

    /// DONT-FRAGMENT.
    #[must_use]
    pub fn dont_fragment(self) -> Self {
        self.attribute(attribute::DONT_FRAGMENT, &[])
    }

    /// ICMP.
    #[must_use]
    pub fn icmp(self, icmp: Icmp) -> Self {
        self.attribute(attribute::ICMP, &icmp.to_value())
    }

    /// DATA.
    #[must_use]
    pub fn data(self, data: &[u8]) -> Self {
        self.attribute(attribute::DATA, data)
    }

    /// UNKNOWN-ATTRIBUTES.
    #[must_use]
    pub fn unknown_attributes(self, unknown: &[AttrType]) -> Self {
        let value: Vec<u8> = unknown.iter().flat_map(|attr| attr.value().to_be_bytes()).collect();
        self.attribute(attribute::UNKNOWN_ATTRIBUTES, &value)
    }

    /// ICE's PRIORITY (RFC 8445 section 16.1).
    #[must_use]
    pub fn priority(self, priority: u32) -> Self {
        self.attribute(attribute::PRIORITY, &priority.to_be_bytes())
    }

    /// ICE-CONTROLLING with its tie-breaker.
    #[must_use]
    pub fn ice_controlling(self, tie_breaker: u64) -> Self {
        self.attribute(attribute::ICE_CONTROLLING, &tie_breaker.to_be_bytes())
    }

    /// ICE-CONTROLLED with its tie-breaker.
    #[must_use]
    pub fn ice_controlled(self, tie_breaker: u64) -> Self {
        self.attribute(attribute::ICE_CONTROLLED, &tie_breaker.to_be_bytes())
    }

    /// USE-CANDIDATE.
    #[must_use]
    pub fn use_candidate(self) -> Self {
        self.attribute(attribute::USE_CANDIDATE, &[])
    }

    /// MESSAGE-INTEGRITY over everything so far.
    #[must_use]
    pub fn integrity(self, key: &IntegrityKey) -> Self {
        self.sign(Integrity::Sha1, key)
    }

    /// MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 over everything so far.
    #[must_use]
    pub fn sign(self, integrity: Integrity, key: &IntegrityKey) -> Self {
        let mac = key.sign(integrity, &self.0.raw);
        self.attribute(integrity.attribute(), mac.as_ref())
    }

    /// FINGERPRINT over everything so far.
    #[must_use]
    pub fn fingerprint(mut self) -> Self {
        // The checksum covers a header whose length includes the FINGERPRINT itself (RFC 8489 section 14.7).
        self.0.length += (ATTRIBUTE_HEADER_LEN + 4) as u32;
        self.0.write_length();
        let crc = fingerprint_value(&self.0.raw);
        self.0.length -= (ATTRIBUTE_HEADER_LEN + 4) as u32;
        self.attribute(attribute::FINGERPRINT, &crc.to_be_bytes())
    }

    /// The bytes to send.
    pub fn finish(self) -> Vec<u8> {
        self.0.raw
    }

    fn text(self, attr: AttrType, text: &str) -> Self {
        self.attribute(attr, &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT_LEN)])
    }

    fn address(self, attr: AttrType, value: SocketAddr) -> Self {
        let bytes = address::write(value, self.0.transaction_id);
        self.attribute(attr, &bytes[..address::value_len(value)])
    }
}
