//! The key behind MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 sections 9, 14.5 and 14.6).

use std::fmt;

use md5::{Digest as _, Md5};
use ring::{digest, hmac};
use zeroize::Zeroizing;

use super::{ATTRIBUTE_HEADER_LEN, AttrType, MESSAGE_HEADER_LEN, attribute};

/// How a message is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY, an HMAC-SHA1.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

/// How a user's name and password become a key (RFC 8489 section 18.5), by its number on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PasswordAlgorithm {
    /// What everybody had before RFC 8489.
    Md5 = 1,
    /// SHA-256.
    Sha256 = 2,
}

impl Integrity {
    /// The attribute that carries it.
    pub const fn attribute(self) -> AttrType {
        match self {
            Self::Sha1 => attribute::MESSAGE_INTEGRITY,
            Self::Sha256 => attribute::MESSAGE_INTEGRITY_SHA256,
        }
    }

    /// The algorithm, and the lengths that its result may have: SHA-256's may be cut to half (section 14.6).
    fn hmac(self) -> (hmac::Algorithm, &'static [usize]) {
        match self {
            Self::Sha1 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[20]),
            Self::Sha256 => (hmac::HMAC_SHA256, &[32, 28, 24, 20, 16]),
        }
    }
}

/// What stands for a user's name in USERHASH (RFC 8489 section 14.4).
pub fn userhash(username: &str, realm: &str) -> [u8; 32] {
    sha256(&[username, ":", realm])
}

/// The key that signs and verifies messages. It never prints, and its bytes are wiped when it goes.
#[derive(Clone)]
pub struct IntegrityKey(Zeroizing<Box<[u8]>>);

impl IntegrityKey {
    /// TURN's key, as browsers make it: by MD5 (RFC 8489 section 9.2.2).
    pub fn long_term(username: &str, realm: &str, password: &str) -> Self {
        Self::derived(PasswordAlgorithm::Md5, username, realm, password)
    }

    /// TURN's key: the hash of `username ":" realm ":" password`.
    pub fn derived(algorithm: PasswordAlgorithm, username: &str, realm: &str, password: &str) -> Self {
        let parts = [username, ":", realm, ":", password];
        Self(Zeroizing::new(match algorithm {
            PasswordAlgorithm::Md5 => {
                let mut hash = Md5::new();
                for part in parts {
                    hash.update(part);
                }
                hash.finalize().as_slice().into()
            }
            PasswordAlgorithm::Sha256 => Box::new(sha256(&parts)),
        }))
    }

    /// ICE's key: the password itself (RFC 8489 section 9.1.1).
    pub fn short_term(password: &str) -> Self {
        Self(Zeroizing::new(password.as_bytes().into()))
    }

    /// The HMAC over the first bytes of a message, for an attribute that follows them.
    pub(super) fn sign(&self, integrity: Integrity, before: &[u8]) -> hmac::Tag {
        let (algorithm, lens) = integrity.hmac();
        self.tag(algorithm, before, lens[0])
    }

    /// Whether `mac` is what [`Self::sign`] gives, or begins with if it may be shorter; compared in constant time.
    pub(super) fn verify(&self, integrity: Integrity, before: &[u8], mac: &[u8]) -> bool {
        let (algorithm, lens) = integrity.hmac();
        lens.contains(&mac.len()) && {
            let expected = self.tag(algorithm, before, mac.len());
            rtc_crypto::constant_time_eq(&expected.as_ref()[..mac.len()], mac)
        }
    }

    /// It is taken over a header whose length ends at the attribute, whatever follows that.
    fn tag(&self, algorithm: hmac::Algorithm, before: &[u8], mac_len: usize) -> hmac::Tag {
        let mut input = before.to_vec();
        let len = before.len() - MESSAGE_HEADER_LEN + ATTRIBUTE_HEADER_LEN + mac_len;
        input[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        hmac::sign(&hmac::Key::new(algorithm, &self.0), &input)
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey(…)")
    }
}

fn sha256(parts: &[&str]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
