//! What both sides know and nobody else: the keys of everything that they say to each other come from it.

use ring::hmac;
use thiserror::Error;

use super::SessionKey;
use crate::auth::Secret;

/// What nobody guesses within the minutes that an agent lives, as `openssl rand -hex 16` makes it.
const SHORTEST: usize = 16;

/// The token.
#[derive(Clone, Debug)]
pub struct Token(Secret);

/// The text is no token.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a token has {SHORTEST} characters or more, such as `openssl rand -hex 16` prints")]
pub struct TokenError;

impl Token {
    /// The key of what is said before there is a session.
    pub(super) fn key(&self) -> SessionKey {
        SessionKey::new(self.derived(b"hubs-sweep channel").as_ref())
    }

    /// The key of a session, which the number that the prober drew and the one that the agent drew make together.
    pub(super) fn session_key(&self, nonce: &[u8], session: u64) -> SessionKey {
        let mut text = b"hubs-sweep session".to_vec();
        text.extend_from_slice(&session.to_be_bytes());
        text.extend_from_slice(nonce);
        SessionKey::new(self.derived(&text).as_ref())
    }

    fn derived(&self, text: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.0.expose().as_bytes()), text)
    }
}

impl std::str::FromStr for Token {
    type Err = TokenError;

    /// Reads it as it stands in a file: what is around it does not count.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() < SHORTEST { Err(TokenError) } else { Ok(Self(Secret::from(text))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_token_is_none_and_no_token_prints() {
        assert_eq!("short".parse::<Token>().unwrap_err(), TokenError);
        let token: Token = " 0123456789abcdef\n".parse().unwrap();
        assert!(!format!("{token:?}").contains("0123"));
    }
}
