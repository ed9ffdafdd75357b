//! Nonces that need no memory (RFC 8489 section 9.2): each is a time and an HMAC over that time and the client's
//! address, so that a stranger costs nothing and replicas with the same key understand each other's.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
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
/// What every nonce of an RFC 8489 server begins with (section 9.2).
const COOKIE: &str = "obMatJos2";
/// Characters of the features behind the cookie: 24 bits in base64.
const FEATURES_LEN: usize = 4;

/// What a nonce tells clients of the server (the security features of RFC 8489 section 18.1). Nobody on the way can change
/// it without spoiling the nonce.
#[derive(Clone, Copy, Debug)]
pub(super) enum Features {
    /// Keys may be made by another algorithm than MD5.
    PasswordAlgorithms,
    /// That, and a USERHASH may stand in a user name's place.
    UsernameAnonymityToo,
}

impl Features {
    const fn bits(self) -> [u8; 3] {
        match self {
            Self::PasswordAlgorithms => [0x80, 0, 0],
            Self::UsernameAnonymityToo => [0xc0, 0, 0],
        }
    }
}

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
    pub(super) fn issue(&self, features: Features, client: SocketAddr, unix_now: u64) -> String {
        let (time, features) = (unix_now as u32, BASE64_STANDARD.encode(features.bits()));
        let mut bytes = [0; TIME_LEN + MAC_LEN];
        bytes[..TIME_LEN].copy_from_slice(&time.to_be_bytes());
        bytes[TIME_LEN..].copy_from_slice(&self.mac(&features, client, time).as_ref()[..MAC_LEN]);
        format!("{COOKIE}{features}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether we gave this nonce to this client, and not too long ago.
    pub(super) fn is_fresh(&self, nonce: &str, client: SocketAddr, unix_now: u64) -> bool {
        let mut bytes = [0; TIME_LEN + MAC_LEN];
        let parts = nonce.strip_prefix(COOKIE).and_then(|rest| rest.split_at_checked(FEATURES_LEN));
        let Some((features, rest)) = parts else { return false };
        if BASE64_URL_SAFE_NO_PAD.decode_slice(rest, &mut bytes) != Ok(bytes.len()) {
            return false;
        }
        let (time, mac) = bytes.split_at(TIME_LEN);
        let time = time.try_into().map_or(0, u32::from_be_bytes);
        // In 32 bits, like the time in the nonce, so that the year 2106 is a day like any other.
        let age_and_skew = ((unix_now + CLOCK_SKEW) as u32).wrapping_sub(time);
        let expected = self.mac(features, client, time);
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
    fn mac(&self, features: &str, client: SocketAddr, time: u32) -> hmac::Tag {
        let hour = hmac::sign(&self.0, &(u64::from(time) / LIFETIME).to_be_bytes());
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, hour.as_ref()));
        context.update(features.as_bytes());
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

    fn issue(key: &NonceKey) -> String {
        key.issue(Features::PasswordAlgorithms, client(), NOW)
    }

    #[test]
    fn a_nonce_begins_as_rfc_8489_has_it_and_nobody_can_change_what_it_says_of_the_server() {
        assert!(issue(&key()).starts_with("obMatJos2gAAA"));
        let nonce = key().issue(Features::UsernameAnonymityToo, client(), NOW);
        assert!(nonce.starts_with("obMatJos2wAAA") && key().is_fresh(&nonce, client(), NOW));
        for changed in ["gAAA", "AAAA", "wAAB"] {
            assert!(!key().is_fresh(&nonce.replacen("wAAA", changed, 1), client(), NOW), "{changed}");
        }
    }

    #[test]
    fn a_nonce_is_good_for_an_hour() {
        let nonce = issue(&key());
        assert!(key().is_fresh(&nonce, client(), NOW));
        assert!(key().is_fresh(&nonce, client(), NOW + LIFETIME));
        assert!(!key().is_fresh(&nonce, client(), NOW + LIFETIME + 1));
    }

    #[test]
    fn a_nonce_from_a_replica_whose_clock_is_a_little_ahead_is_good() {
        let nonce = issue(&key());
        assert!(key().is_fresh(&nonce, client(), NOW - CLOCK_SKEW));
        assert!(!key().is_fresh(&nonce, client(), NOW - CLOCK_SKEW - 1));
    }

    #[test]
    fn a_nonce_belongs_to_one_address_and_one_key() {
        let nonce = issue(&key());
        assert!(!key().is_fresh(&nonce, "198.51.100.7:50001".parse().unwrap(), NOW));
        assert!(!key().is_fresh(&nonce, "198.51.100.8:50000".parse().unwrap(), NOW));
        assert!(!NonceKey::new(&[8; 32]).is_fresh(&nonce, client(), NOW));
    }

    #[test]
    fn replicas_that_share_a_secret_understand_each_other() {
        let replica = |secret: &str| NonceKey::derived(&Secret::from(secret));
        let nonce = issue(&replica("fleet"));
        assert!(replica("fleet").is_fresh(&nonce, client(), NOW));
        assert!(!replica("other").is_fresh(&nonce, client(), NOW));
    }

    proptest! {
        #[test]
        fn a_nonce_just_given_is_always_good(client: SocketAddr, now in 0..u64::from(u32::MAX) * 2) {
            prop_assert!(key().is_fresh(&key().issue(Features::PasswordAlgorithms, client, now), client, now));
        }

        #[test]
        fn a_nonce_that_we_did_not_give_is_never_good(nonce in "\\PC{0,40}", time in 0..LIFETIME) {
            prop_assert!(!key().is_fresh(&nonce, client(), NOW));
            let mut bytes = ((NOW - time) as u32).to_be_bytes().to_vec();
            bytes.extend_from_slice(&[0; MAC_LEN]);
            let forged = format!("{COOKIE}gAAA{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
            prop_assert!(!key().is_fresh(&forged, client(), NOW));
        }
    }
}
