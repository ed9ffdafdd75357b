//! The key behind MESSAGE-INTEGRITY (RFC 8489 sections 9 and 14.5).

use std::fmt;

use md5::{Digest as _, Md5};
use ring::hmac;
use zeroize::Zeroizing;

use super::{ATTRIBUTE_HEADER_LEN, MESSAGE_HEADER_LEN};

/// Bytes of an HMAC-SHA1.
const MAC_LEN: usize = 20;

/// The key that signs and verifies messages. It never prints, and its bytes are wiped when it goes.
#[derive(Clone)]
pub struct IntegrityKey(Zeroizing<Box<[u8]>>);

impl IntegrityKey {
    /// TURN's key: `MD5(username ":" realm ":" password)` (RFC 8489 section 9.2.2).
    pub fn long_term(username: &str, realm: &str, password: &str) -> Self {
        let mut hash = Md5::new();
        for part in [username, ":", realm, ":", password] {
            hash.update(part);
        }
        Self(Zeroizing::new(hash.finalize().as_slice().into()))
    }

    /// ICE's key: the password itself (RFC 8489 section 9.1.1).
    pub fn short_term(password: &str) -> Self {
        Self(Zeroizing::new(password.as_bytes().into()))
    }

    /// The HMAC over the first bytes of a message, for a MESSAGE-INTEGRITY that follows them.
    pub(super) fn sign(&self, before: &[u8]) -> [u8; MAC_LEN] {
        let mut input = before.to_vec();
        set_length_as_if_last(&mut input);
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(hmac::sign(&self.hmac(), &input).as_ref());
        mac
    }

    /// Whether `mac` is what [`Self::sign`] gives; compared in constant time.
    pub(super) fn verify(&self, before: &[u8], mac: &[u8]) -> bool {
        let mut input = before.to_vec();
        set_length_as_if_last(&mut input);
        hmac::verify(&self.hmac(), &input, mac).is_ok()
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0)
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey(…)")
    }
}

/// The HMAC is taken over a header whose length ends at MESSAGE-INTEGRITY, whatever follows it.
fn set_length_as_if_last(before: &mut [u8]) {
    let len = before.len() - MESSAGE_HEADER_LEN + ATTRIBUTE_HEADER_LEN + MAC_LEN;
    before[2..4].copy_from_slice(&(len as u16).to_be_bytes());
}
