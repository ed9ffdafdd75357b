//! Nonces that need no memory (RFC 8489 section 9.2): each is a time and an HMAC over that time and the client's
//! address, so that a stranger costs nothing and replicas with the same key understand each other's.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use ring::hmac;

use crate::wire::ReservationToken;

use crate::auth::Secret;

/// Seconds for which a nonce is good. RFC 8656 section 5 asks for a change at least every hour.
const LIFETIME: u64 = 3600;
/// Seconds by which a replica's clock may be ahead of ours.
const CLOCK_SKEW: u64 = 60;
const TIME_LEN: usize = 4;
/// 96 bits: nobody guesses them within an hour, and the answer to a stranger stays small.
const MAC_LEN: usize = 12;

/// What nonces are signed with.
#[derive(Clone)]
pub struct NonceKey(hmac::Key);

impl NonceKey {
    /// The key made of these bytes, which have to be random and shared by replicas.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The key that everybody makes of this secret.
    pub fn derived(shared: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, shared.expose().as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, b"hubs-relay nonces").as_ref()))
    }

    /// A nonce for a client.
    pub(super) fn issue(&self, client: SocketAddr, unix_now: u64) -> String {
        let time = unix_now as u32;
        let mut nonce = [0; TIME_LEN + MAC_LEN];
        nonce[..TIME_LEN].copy_from_slice(&time.to_be_bytes());
        nonce[TIME_LEN..].copy_from_slice(&self.mac(client, time).as_ref()[..MAC_LEN]);
        BASE64_URL_SAFE_NO_PAD.encode(nonce)
    }

    /// Whether we gave this nonce to this client, and not too long ago.
    pub(super) fn is_fresh(&self, nonce: &str, client: SocketAddr, unix_now: u64) -> bool {
        let mut bytes = [0; TIME_LEN + MAC_LEN];
        if BASE64_URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes) != Ok(bytes.len()) {
            return false;
        }
        let (time, mac) = bytes.split_at(TIME_LEN);
        let time = time.try_into().map_or(0, u32::from_be_bytes);
        // In 32 bits, like the time in the nonce, so that the year 2106 is a day like any other.
        let age_and_skew = ((unix_now + CLOCK_SKEW) as u32).wrapping_sub(time);
        let expected = self.mac(client, time);
        u64::from(age_and_skew) <= LIFETIME + CLOCK_SKEW
            && rtc_crypto::constant_time_eq(&expected.as_ref()[..MAC_LEN], mac)
    }

    /// The token of a server's reservation with this number. Its input has another length than any nonce's.
    pub(super) fn reservation(&self, seed: u64, number: u64) -> ReservationToken {
        let input = [seed.to_be_bytes(), number.to_be_bytes()].concat();
        let mut token = [0; 8];
        token.copy_from_slice(&hmac::sign(&self.0, &input).as_ref()[..8]);
        ReservationToken(token)
    }

    /// The key rolls by itself: what signs is derived from the hour that the time lies in.
    fn mac(&self, client: SocketAddr, time: u32) -> hmac::Tag {
        let hour = hmac::sign(&self.0, &(u64::from(time) / LIFETIME).to_be_bytes());
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, hour.as_ref()));
        context.update(&time.to_be_bytes());
        context.update(&client.port().to_be_bytes());
        match client.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.sign()
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn key() -> NonceKey {
        NonceKey::new(&[7; 32])
    }

    fn client() -> SocketAddr {
        "198.51.100.7:50000".parse().unwrap()
    }

    #[test]
    fn a_nonce_is_good_for_an_hour() {
        let nonce = key().issue(client(), NOW);
        assert!(key().is_fresh(&nonce, client(), NOW));
        assert!(key().is_fresh(&nonce, client(), NOW + LIFETIME));
        assert!(!key().is_fresh(&nonce, client(), NOW + LIFETIME + 1));
    }

    #[test]
    fn a_nonce_from_a_replica_whose_clock_is_a_little_ahead_is_good() {
        let nonce = key().issue(client(), NOW);
        assert!(key().is_fresh(&nonce, client(), NOW - CLOCK_SKEW));
        assert!(!key().is_fresh(&nonce, client(), NOW - CLOCK_SKEW - 1));
    }

    #[test]
    fn a_nonce_belongs_to_one_address_and_one_key() {
        let nonce = key().issue(client(), NOW);
        assert!(!key().is_fresh(&nonce, "198.51.100.7:50001".parse().unwrap(), NOW));
        assert!(!key().is_fresh(&nonce, "198.51.100.8:50000".parse().unwrap(), NOW));
        assert!(!NonceKey::new(&[8; 32]).is_fresh(&nonce, client(), NOW));
    }

    #[test]
    fn replicas_that_share_a_secret_understand_each_other() {
        let replica = |secret: &str| NonceKey::derived(&Secret::from(secret));
        let nonce = replica("fleet").issue(client(), NOW);
        assert!(replica("fleet").is_fresh(&nonce, client(), NOW));
        assert!(!replica("other").is_fresh(&nonce, client(), NOW));
    }

    proptest! {
        #[test]
        fn a_nonce_just_given_is_always_good(client: SocketAddr, now in 0..u64::from(u32::MAX) * 2) {
            prop_assert!(key().is_fresh(&key().issue(client, now), client, now));
        }

        #[test]
        fn a_nonce_that_we_did_not_give_is_never_good(nonce in "\\PC{0,40}", time in 0..LIFETIME) {
            prop_assert!(!key().is_fresh(&nonce, client(), NOW));
            let mut bytes = ((NOW - time) as u32).to_be_bytes().to_vec();
            bytes.extend_from_slice(&[0; MAC_LEN]);
            prop_assert!(!key().is_fresh(&BASE64_URL_SAFE_NO_PAD.encode(bytes), client(), NOW));
        }
    }
}
