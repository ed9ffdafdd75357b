//! The demo's permissions: what Reticulum signs for those who enter a room, and dialog's verdict on it.
//!
//! Hubs signs them with an RSA key that both hold (RS512). Making one takes seconds, so here both hold a secret (HS512).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use ring::hmac;
use serde_json::{Value, json};

use crate::random;

/// For how long Reticulum's permissions are good.
const SECONDS: u64 = 300;

/// What Reticulum and dialog both hold.
#[derive(Clone, Debug)]
pub(super) struct Key(hmac::Key);

impl Key {
    pub(super) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA512, &random::bytes::<64>()))
    }

    /// A permission to enter a room.
    pub(super) fn sign(&self, room: &str) -> String {
        let claims = json!({ "aud": "ret_perms", "exp": now() + SECONDS, "hub_id": room, "join_hub": true });
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "HS512", "typ": "JWT" })), part(&claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Whether it is one, in the words of the library that dialog verifies with.
    pub(super) fn verify(&self, token: &str) -> Result<(), &'static str> {
        if token.is_empty() {
            return Err("jwt must be provided");
        }
        let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| "jwt malformed");
        let (signed, signature) = token.rsplit_once('.').ok_or("jwt malformed")?;
        let (_, claims) = signed.split_once('.').ok_or("jwt malformed")?;
        let claims: Value = serde_json::from_slice(&decoded(claims)?).map_err(|_| "jwt malformed")?;
        hmac::verify(&self.0, signed.as_bytes(), &decoded(signature)?).map_err(|_| "invalid signature")?;
        match claims["exp"].as_u64() {
            Some(until) if until > now() => Ok(()),
            _ => Err("jwt expired"),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_signs_the_other_believes_and_nothing_else() {
        let key = Key::new();
        let token = key.sign("demo-room");
        assert_eq!(key.verify(&token), Ok(()));
        assert_eq!(Key::new().verify(&token), Err("invalid signature"));
        assert_eq!(key.verify(""), Err("jwt must be provided"));
        assert_eq!(key.verify("e30.e30"), Err("jwt malformed"));
        assert_eq!(key.verify(&token.replace('.', "")), Err("jwt malformed"));
    }
}
