//! Random bytes for names and identifiers that nobody else may guess.

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes from the operating system.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system always gives randomness");
    bytes
}

/// A name of `N` characters that serves in a URL, in STUN and in SDP.
pub(crate) fn name<const N: usize>() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    bytes::<N>().iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}
