//! Reads control messages (RFC 8489 section 5), over the codec of `rtc-stun` and `rtc-turn`.
//!
//! A [`Message`] shows only what may be believed: attributes behind MESSAGE-INTEGRITY are not there, a FINGERPRINT
//! has been checked, and of an attribute that occurs twice the first counts.

use std::net::SocketAddr;
use std::time::Duration;

use rtc_stun::attributes::RawAttribute;
use rtc_stun::fingerprint::fingerprint_value;
use rtc_stun::message::{self as codec, Getter};
use rtc_turn::proto::{channum, lifetime::Lifetime, reqtrans::RequestedTransport};
use thiserror::Error;

use super::{
    ATTRIBUTE_HEADER_LEN, AttrType, ChannelNumber, ErrorCode, Frame, Icmp, Integrity, IntegrityKey,
    MESSAGE_HEADER_LEN, TransactionId, address, attribute, padded,
};

/// What a message is: two bits of its type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer of a request that worked.
    Success,
    /// The answer of one that did not.
    Error,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// Tells a client its address, and is ICE's check.
    Binding,
    /// Asks for a relayed address.
    Allocate,
    /// Keeps an allocation, or gives it back.
    Refresh,
    /// Carries a payload to a peer.
    Send,
    /// Carries a payload from a peer.
    Data,
    /// Lets packets from peers in.
    CreatePermission,
    /// Gives a peer a short name.
    ChannelBind,
    /// One that this crate has no use for.
    Other(codec::Method),
}

/// An address family, by its number on the wire.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IPv4.
    V4 = 1,
    /// IPv6.
    V6 = 2,
}

/// Eight bytes for which a server gives out the port that it has kept (RFC 8656 section 18.8).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ReservationToken(pub [u8; 8]);

impl Family {
    /// The family that has this number.
    const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }

    /// The family of an address.
    pub const fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

/// These bytes are no STUN message: discard them (RFC 8489 section 6.3).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Malformed {
    /// The first twenty bytes are no STUN header, or its length is wrong.
    #[error("not a STUN message")]
    Header,
    /// The attributes do not fill the length exactly.
    #[error("the attributes run over the end of the message")]
    Attributes,
    /// FINGERPRINT does not match, or is not the last attribute.
    #[error("the FINGERPRINT is wrong")]
    Fingerprint,
}

/// An attribute is there, but its value is not what the RFC says.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the attribute {:#06x} is malformed", .0.0)]
pub struct BadAttribute(pub AttrType);

/// A control message.
#[derive(Clone, Debug)]
pub struct Message {
    codec: codec::Message,
    class: Class,
    signature: Option<Signature>,
}

#[derive(Clone, Debug)]
struct Signature {
    integrity: Integrity,
    /// Where its attribute begins.
    offset: usize,
    mac: Vec<u8>,
}

impl Message {
    /// Reads the bytes of exactly one message.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(Frame::Message(_)) = Frame::of_datagram(bytes) else { return Err(Malformed::Header) };
        let mut codec = codec::Message { raw: bytes.to_vec(), ..codec::Message::default() };
        codec.decode().map_err(|_| Malformed::Attributes)?;
        check_fingerprint(&codec)?;
        let signature = cut_at_integrity(&mut codec);
        let class = Class::from(codec.typ.class);
        Ok(Self { codec, class, signature })
    }

    /// Request, indication, success or error.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// What it is about.
    pub fn method(&self) -> Method {
        Method::from(self.codec.typ.method)
    }

    /// The id that ties a response to its request.
    pub const fn transaction(&self) -> TransactionId {
        self.codec.transaction_id
    }

    /// How it is signed, rightly or wrongly, if it is. Of the two ways the stronger one counts.
    pub fn integrity(&self) -> Option<Integrity> {
        self.signature.as_ref().map(|it| it.integrity)
    }

    /// Whether it carries a MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 that `key` made; compared in constant time.
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        let signed = |it: &Signature| key.verify(it.integrity, &self.codec.raw[..it.offset], &it.mac);
        self.signature.as_ref().is_some_and(signed)
    }

    /// How many unknown attributes are looked for: an answer lists no more, so that it is never much longer than the question.
    pub const MAX_UNKNOWN: usize = 16;

    /// Attributes that must be understood (0x0000 to 0x7FFF) and are not among `known`, each once; the first
    /// [`Self::MAX_UNKNOWN`] of them.
    pub fn unknown_required(&self, known: &[AttrType]) -> Vec<AttrType> {
        let mut unknown = Vec::new();
        for attr in self.codec.attributes.0.iter().map(|attribute| attribute.typ) {
            if attr.required() && !known.contains(&attr) && !unknown.contains(&attr) {
                unknown.push(attr);
                if unknown.len() == Self::MAX_UNKNOWN {
                    break;
                }
            }
        }
        unknown
    }

    /// The bytes of an attribute.
    pub fn attribute(&self, attr: AttrType) -> Option<&[u8]> {
        self.all(attr).next()
    }

    /// USERNAME.
    pub fn username(&self) -> Result<Option<&str>, BadAttribute> {
        self.text(attribute::USERNAME)
    }

    /// USERHASH.
    pub fn userhash(&self) -> Result<Option<[u8; 32]>, BadAttribute> {
        self.bytes(attribute::USERHASH)
    }

    /// REALM.
    pub fn realm(&self) -> Result<Option<&str>, BadAttribute> {
        self.text(attribute::REALM)
    }

    /// NONCE.
    pub fn nonce(&self) -> Result<Option<&str>, BadAttribute> {
        self.text(attribute::NONCE)
    }

    /// SOFTWARE.
    pub fn software(&self) -> Result<Option<&str>, BadAttribute> {
        self.text(attribute::SOFTWARE)
    }

    /// ERROR-CODE: the code and the reason that the server gives for it.
    pub fn error_code(&self) -> Result<Option<(ErrorCode, &str)>, BadAttribute> {
        let bad = BadAttribute(attribute::ERROR_CODE);
        let Some(value) = self.attribute(attribute::ERROR_CODE) else { return Ok(None) };
        let ([_, _, class, number], reason) = value.split_first_chunk().ok_or(bad)?;
        let code = ErrorCode(u16::from(class & 0x07) * 100 + u16::from(*number));
        Ok(Some((code, str::from_utf8(reason).map_err(|_| bad)?)))
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(&self) -> Result<Option<SocketAddr>, BadAttribute> {
        self.addresses(attribute::XOR_MAPPED_ADDRESS).next().transpose()
    }

    /// XOR-RELAYED-ADDRESS, the first one.
    pub fn xor_relayed_address(&self) -> Result<Option<SocketAddr>, BadAttribute> {
        self.xor_relayed_addresses().next().transpose()
    }

    /// Every XOR-RELAYED-ADDRESS: one of each family where ADDITIONAL-ADDRESS-FAMILY was asked for.
    pub fn xor_relayed_addresses(&self) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> {
        self.addresses(attribute::XOR_RELAYED_ADDRESS)
    }

    /// XOR-PEER-ADDRESS, the first one.
    pub fn xor_peer_address(&self) -> Result<Option<SocketAddr>, BadAttribute> {
        self.xor_peer_addresses().next().transpose()
    }

    /// Every XOR-PEER-ADDRESS (CreatePermission, RFC 8656 section 10.1).
    pub fn xor_peer_addresses(&self) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> {
        self.addresses(attribute::XOR_PEER_ADDRESS)
    }

    /// LIFETIME.
    pub fn lifetime(&self) -> Result<Option<Duration>, BadAttribute> {
        Ok(self.typed::<Lifetime>(attribute::LIFETIME)?.map(|lifetime| lifetime.0))
    }

    /// CHANNEL-NUMBER; a number outside the range that may be bound counts as malformed.
    pub fn channel_number(&self) -> Result<Option<ChannelNumber>, BadAttribute> {
        let Some(number) = self.typed::<channum::ChannelNumber>(attribute::CHANNEL_NUMBER)? else {
            return Ok(None);
        };
        ChannelNumber::new(number.0).map(Some).ok_or(BadAttribute(attribute::CHANNEL_NUMBER))
    }

    /// REQUESTED-TRANSPORT: the protocol number.
    pub fn requested_transport(&self) -> Result<Option<u8>, BadAttribute> {
        Ok(self.typed::<RequestedTransport>(attribute::REQUESTED_TRANSPORT)?.map(|it| it.protocol.0))
    }

    /// REQUESTED-ADDRESS-FAMILY; a family that does not exist counts as malformed.
    pub fn requested_address_family(&self) -> Result<Option<Family>, BadAttribute> {
        self.family(attribute::REQUESTED_ADDRESS_FAMILY)
    }

    /// ADDITIONAL-ADDRESS-FAMILY; a family that does not exist counts as malformed.
    pub fn additional_address_family(&self) -> Result<Option<Family>, BadAttribute> {
        self.family(attribute::ADDITIONAL_ADDRESS_FAMILY)
    }

    /// ADDRESS-ERROR-CODE: the family of which there is no relayed address, and why.
    pub fn address_error_code(&self) -> Result<Option<(Family, ErrorCode)>, BadAttribute> {
        let bad = BadAttribute(attribute::ADDRESS_ERROR_CODE);
        let Some(value) = self.attribute(bad.0) else { return Ok(None) };
        let ([family, _, class, number], _) = value.split_first_chunk().ok_or(bad)?;
        let code = ErrorCode(u16::from(class & 0x07) * 100 + u16::from(*number));
        Ok(Some((Family::of_number(*family).ok_or(bad)?, code)))
    }

    /// EVEN-PORT: whether the port above is to be reserved, too.
    pub fn even_port(&self) -> Result<Option<bool>, BadAttribute> {
        match self.attribute(attribute::EVEN_PORT) {
            None => Ok(None),
            Some([flags]) => Ok(Some(flags & 0x80 != 0)),
            Some(_) => Err(BadAttribute(attribute::EVEN_PORT)),
        }
    }

    /// RESERVATION-TOKEN.
    pub fn reservation_token(&self) -> Result<Option<ReservationToken>, BadAttribute> {
        Ok(self.bytes(attribute::RESERVATION_TOKEN)?.map(ReservationToken))
    }

    /// ICMP.
    pub fn icmp(&self) -> Result<Option<Icmp>, BadAttribute> {
        let value = self.attribute(attribute::ICMP);
        value.map(|it| Icmp::from_value(it).ok_or(BadAttribute(attribute::ICMP))).transpose()
    }

    /// DATA.
    pub fn data(&self) -> Option<&[u8]> {
        self.attribute(attribute::DATA)
    }

    fn all(&self, attr: AttrType) -> impl Iterator<Item = &[u8]> {
        self.codec.attributes.0.iter().filter(move |it| it.typ == attr).map(|it| it.value.as_slice())
    }

    fn addresses(&self, attr: AttrType) -> impl Iterator<Item = Result<SocketAddr, BadAttribute>> {
        self.all(attr).map(move |value| address::read(value, self.transaction()).ok_or(BadAttribute(attr)))
    }

    /// An attribute of exactly so many bytes.
    fn bytes<const LEN: usize>(&self, attr: AttrType) -> Result<Option<[u8; LEN]>, BadAttribute> {
        self.attribute(attr).map(TryInto::try_into).transpose().map_err(|_| BadAttribute(attr))
    }

    fn family(&self, attr: AttrType) -> Result<Option<Family>, BadAttribute> {
        let value: Option<[u8; 4]> = self.bytes(attr)?;
        value.map(|it| Family::of_number(it[0]).ok_or(BadAttribute(attr))).transpose()
    }

    fn text(&self, attr: AttrType) -> Result<Option<&str>, BadAttribute> {
        self.attribute(attr).map(str::from_utf8).transpose().map_err(|_| BadAttribute(attr))
    }

    /// An attribute that the codec knows how to read.
    fn typed<T: Getter + Default>(&self, attr: AttrType) -> Result<Option<T>, BadAttribute> {
        if self.attribute(attr).is_none() {
            return Ok(None);
        }
        let mut value = T::default();
        value.get_from(&self.codec).map_err(|_| BadAttribute(attr))?;
        Ok(Some(value))
    }
}

/// FINGERPRINT may be missing; if it is there it is the last attribute, and right (RFC 8489 section 14.7).
fn check_fingerprint(codec: &codec::Message) -> Result<(), Malformed> {
    let attributes = &codec.attributes.0;
    let Some(position) = attributes.iter().position(|it| it.typ == attribute::FINGERPRINT) else {
        return Ok(());
    };
    let covered = codec.raw.len() - ATTRIBUTE_HEADER_LEN - padded(attributes[position].value.len());
    let expected = fingerprint_value(&codec.raw[..covered]).to_be_bytes();
    let is_right = position + 1 == attributes.len() && attributes[position].value == expected;
    if is_right { Ok(()) } else { Err(Malformed::Fingerprint) }
}

/// Takes MESSAGE-INTEGRITY and everything behind it out of sight: nothing there is covered by the HMAC. Only
/// MESSAGE-INTEGRITY-SHA256 may follow, and covers the other one as well (RFC 8489 sections 14.5 and 14.6).
fn cut_at_integrity(codec: &mut codec::Message) -> Option<Signature> {
    let attributes = &mut codec.attributes.0;
    let integrity_of = |it: &RawAttribute| {
        [Integrity::Sha1, Integrity::Sha256].into_iter().find(|integrity| integrity.attribute() == it.typ)
    };
    let first = attributes.iter().position(|it| integrity_of(it).is_some())?;
    let strongest = match attributes.get(first + 1).and_then(integrity_of) {
        Some(Integrity::Sha256) => first + 1,
        _ => first,
    };
    let size = |it: &RawAttribute| ATTRIBUTE_HEADER_LEN + padded(it.value.len());
    let signature = Signature {
        integrity: integrity_of(&attributes[strongest])?,
        offset: MESSAGE_HEADER_LEN + attributes[..strongest].iter().map(size).sum::<usize>(),
        mac: attributes[strongest].value.clone(),
    };
    attributes.truncate(first);
    Some(signature)
}

impl From<codec::MessageClass> for Class {
    fn from(class: codec::MessageClass) -> Self {
        match class {
            codec::CLASS_REQUEST => Self::Request,
            codec::CLASS_INDICATION => Self::Indication,
            codec::CLASS_SUCCESS_RESPONSE => Self::Success,
            _ => Self::Error,
        }
    }
}

impl From<Class> for codec::MessageClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Request => codec::CLASS_REQUEST,
            Class::Indication => codec::CLASS_INDICATION,
            Class::Success => codec::CLASS_SUCCESS_RESPONSE,
            Class::Error => codec::CLASS_ERROR_RESPONSE,
        }
    }
}

impl From<codec::Method> for Method {
    fn from(method: codec::Method) -> Self {
        match method {
            codec::METHOD_BINDING => Self::Binding,
            codec::METHOD_ALLOCATE => Self::Allocate,
            codec::METHOD_REFRESH => Self::Refresh,
            codec::METHOD_SEND => Self::Send,
            codec::METHOD_DATA => Self::Data,
            codec::METHOD_CREATE_PERMISSION => Self::CreatePermission,
            codec::METHOD_CHANNEL_BIND => Self::ChannelBind,
            other => Self::Other(other),
        }
    }
}

impl From<Method> for codec::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Binding => codec::METHOD_BINDING,
            Method::Allocate => codec::METHOD_ALLOCATE,
            Method::Refresh => codec::METHOD_REFRESH,
            Method::Send => codec::METHOD_SEND,
            Method::Data => codec::METHOD_DATA,
            Method::CreatePermission => codec::METHOD_CREATE_PERMISSION,
            Method::ChannelBind => codec::METHOD_CHANNEL_BIND,
            Method::Other(other) => other,
        }
    }
}
