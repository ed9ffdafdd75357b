//! Credentials that an application signs with a secret which it shares with the relay
//! (draft-uberti-behave-turn-rest-00): the user name is `expiry:name`, the password its HMAC-SHA1 in base64.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ring::hmac;

use super::Secret;

/// A user name and its password, as Reticulum makes them.
#[derive(Clone, Debug)]
pub struct RestCredential {
    /// `expiry:name`, the expiry in seconds since 1970.
    pub username: String,
    /// What proves that the secret's owner wrote the user name.
    pub password: Secret,
}

impl RestCredential {
    /// The credential of `name` that expires at `expiry`, in seconds since 1970.
    pub fn new(secret: &Secret, name: &str, expiry: u64) -> Self {
        let username = format!("{expiry}:{name}");
        let password = password(secret, &username);
        Self { username, password }
    }
}

/// When a user name expires, if it has the form `expiry` or `expiry:name`.
pub(super) fn expiry_of(username: &str) -> Option<u64> {
    let expiry = username.split_once(':').map_or(username, |(expiry, _)| expiry);
    expiry.bytes().all(|byte| byte.is_ascii_digit()).then_some(expiry)?.parse().ok()
}

/// The password that `secret` gives to `username`. The secret's text is the key as it is; nothing decodes it.
pub(super) fn password(secret: &Secret, username: &str) -> Secret {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
    Secret::from(BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_base64_of_an_hmac_sha1() {
        // RFC 2202 section 3, test case 2.
        let password = password(&Secret::from("Jefe"), "what do ya want for nothing?");
        assert_eq!(password.expose(), "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    }

    #[test]
    fn the_expiry_is_the_number_in_front_of_the_colon() {
        assert_eq!(expiry_of("1700000000:coturn"), Some(1_700_000_000));
        assert_eq!(expiry_of("1700000000"), Some(1_700_000_000));
        for other in
            ["", ":", "coturn", "coturn:1700000000", "-5:x", "+5:x", " 5:x", "99999999999999999999:x"]
        {
            assert_eq!(expiry_of(other), None, "{other:?}");
        }
    }
}
