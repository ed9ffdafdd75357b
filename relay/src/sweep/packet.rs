//! What a prober sends to a port, and what comes back from it: 60 bytes, signed.
//!
//! ```text
//!  0  "SWP1"       4  kind   5  zero   6  port   8  session (8)
//! 16  sequence    20  time in milliseconds since the session began    24  mark    28  HMAC-SHA256 (32)
//! ```
//!
//! The first byte is one that neither STUN nor TURN, DTLS or RTP begins with (RFC 7983), so that dialog drops a packet that
//! it gets unread.

use std::fmt;

use ring::hmac;

const MAGIC: [u8; 4] = *b"SWP1";
const SIGNED: usize = 28;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Is this port reached?
    Question = 1,
    /// To a port that is known to be reached: the mark counts these, so that one that is missing was lost on the way.
    Measure = 2,
    /// From the port that a question named.
    Answer = 3,
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// The port that it is sent to, or that it answers from.
    pub port: u16,
    /// Whose it is.
    pub session: u64,
    /// No two packets of a session have the same; an answer has its question's.
    pub sequence: u32,
    /// When it was sent, in milliseconds since the session began.
    pub time: u32,
    /// The number of a measure.
    pub mark: u32,
}

/// What the packets of a session are signed with.
#[derive(Clone)]
pub struct SessionKey(hmac::Key);

impl SessionKey {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 32] {
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&self.0, text).as_ref());
        tag
    }

    pub(super) fn has_signed(&self, text: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, text, tag).is_ok()
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

impl Packet {
    /// How long each is.
    pub const LENGTH: usize = SIGNED + 32;
    /// The four bytes that each begins with.
    pub const MAGIC: u32 = u32::from_be_bytes(MAGIC);

    /// The packet as bytes.
    pub fn to_bytes(&self, key: &SessionKey) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind as u8;
        bytes[6..8].copy_from_slice(&self.port.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.session.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.time.to_be_bytes());
        bytes[24..SIGNED].copy_from_slice(&self.mark.to_be_bytes());
        let tag = key.sign(&bytes[..SIGNED]);
        bytes[SIGNED..].copy_from_slice(&tag);
        bytes
    }

    /// What the bytes say, whoever wrote them; nothing if they are no packet.
    pub fn claimed(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.try_into().ok()?;
        let kind = match bytes[4] {
            1 => Kind::Question,
            2 => Kind::Measure,
            3 => Kind::Answer,
            _ => return None,
        };
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        (bytes[..4] == MAGIC && bytes[5] == 0).then(|| Self {
            kind,
            port: u16::from_be_bytes([bytes[6], bytes[7]]),
            session: u64::from(number(8)) << 32 | u64::from(number(12)),
            sequence: number(16),
            time: number(20),
            mark: number(24),
        })
    }

    /// What the bytes say, if who has the key wrote them.
    pub fn read(bytes: &[u8], key: &SessionKey) -> Option<Self> {
        let packet = Self::claimed(bytes)?;
        key.has_signed(&bytes[..SIGNED], &bytes[SIGNED..]).then_some(packet)
    }

    /// The answer to it.
    #[must_use]
    pub fn answer(self) -> Self {
        Self { kind: Kind::Answer, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> SessionKey {
        SessionKey::new(&[seed; 32])
    }

    fn packets() -> impl Strategy<Value = Packet> {
        let kinds = prop_oneof![Just(Kind::Question), Just(Kind::Measure), Just(Kind::Answer)];
        (kinds, any::<u16>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(kind, port, session, sequence, time, mark)| Packet {
                kind,
                port,
                session,
                sequence,
                time,
                mark,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_by_who_has_the_key_and_by_nobody_else(packet in packets()) {
            let bytes = packet.to_bytes(&key(1));
            prop_assert_eq!(Packet::read(&bytes, &key(1)), Some(packet));
            prop_assert_eq!(Packet::read(&bytes, &key(2)), None);
        }

        #[test]
        fn a_packet_in_which_one_bit_has_changed_is_none(packet in packets(), bit in 0..Packet::LENGTH * 8) {
            let mut bytes = packet.to_bytes(&key(1));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Packet::read(&bytes, &key(1)), None);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(Packet::read(&bytes, &key(1)), None);
        }
    }

    #[test]
    fn a_packet_begins_with_a_byte_that_is_nobody_elses() {
        // RFC 7983: 0-3 STUN, 16-19 ZRTP, 20-63 DTLS, 64-79 TURN channel, 128-191 RTP.
        assert!((80..=127).contains(&MAGIC[0]));
    }
}
