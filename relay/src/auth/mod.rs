//! Who may allocate: static users, and users whose name and password an application signed with a shared secret.
//!
//! Asked once for each allocation; the session keeps the key that comes out.

mod rest;
mod rotation;
mod secret;

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;

use crate::wire::{IntegrityKey, PasswordAlgorithm, userhash};

pub use rest::RestCredential;
pub(crate) use rotation::Rotation;
pub use secret::Secret;

/// Everything that can tell whether a user name and a password are good.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Users that never expire, with their passwords.
    pub users: BTreeMap<String, Secret>,
    /// Secrets that may have signed a REST credential; several, because Reticulum rotates them.
    pub secrets: Vec<Secret>,
    /// How long after its expiry a REST credential still opens an allocation. Hubs hands a browser two minutes
    /// and never renews them, so that without this an ICE restart would lock it out.
    pub expiry_grace: Duration,
}

/// Why a user may not allocate. The client learns only that it may not.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Refused {
    /// Neither a static user nor the form `expiry:name`.
    #[error("no such user")]
    UnknownUser,
    /// The user name's expiry, with the grace, lies in the past.
    #[error("the credential expired {0} seconds ago")]
    Expired(u64),
    /// The user's password did not make the request's MESSAGE-INTEGRITY.
    #[error("the password is wrong")]
    WrongPassword,
    /// No password that our secrets give made the request's MESSAGE-INTEGRITY.
    #[error("the password is wrong, or made with a secret that is not known")]
    UnknownSecret,
}

impl Credentials {
    /// Whether every user can show a USERHASH in place of its name. The names of REST credentials cannot be found by it:
    /// there is one for each second.
    pub const fn know_all_names(&self) -> bool {
        self.secrets.is_empty()
    }

    /// The static user who has this USERHASH.
    pub fn user_of_hash(&self, hash: &[u8; 32], realm: &str) -> Option<&str> {
        self.users.keys().map(String::as_str).find(|username| userhash(username, realm) == *hash)
    }

    /// The key of the user, if it satisfies `signed`: that is, if it made a request's MESSAGE-INTEGRITY.
    pub fn authenticate(
        &self,
        username: &str,
        realm: &str,
        algorithm: PasswordAlgorithm,
        unix_now: u64,
        signed: impl Fn(&IntegrityKey) -> bool,
    ) -> Result<IntegrityKey, Refused> {
        let key = |password: &str| {
            Some(IntegrityKey::derived(algorithm, username, realm, password)).filter(&signed)
        };
        if let Some(password) = self.users.get(username) {
            return key(password.expose()).ok_or(Refused::WrongPassword);
        }
        let expiry = rest::expiry_of(username).ok_or(Refused::UnknownUser)?;
        let late = unix_now.saturating_sub(expiry);
        if late > self.expiry_grace.as_secs() {
            return Err(Refused::Expired(late));
        }
        let mut keys =
            self.secrets.iter().filter_map(|secret| key(rest::password(secret, username).expose()));
        keys.next().ok_or(Refused::UnknownSecret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn credentials() -> Credentials {
        Credentials {
            users: BTreeMap::from([("alice".to_owned(), Secret::from("wonderland"))]),
            secrets: vec![Secret::from("newest"), Secret::from("older")],
            expiry_grace: Duration::from_mins(15),
        }
    }

    /// Signs in with a password, in a realm of "turkey", at NOW.
    fn sign_in(username: &str, password: &str) -> Result<(), Refused> {
        let theirs = Secret::from(password);
        credentials()
            .authenticate(username, "turkey", PasswordAlgorithm::Md5, NOW, |key| {
                let request = crate::wire::Builder::request(
                    crate::wire::Method::Allocate,
                    crate::wire::TransactionId([0; 12]),
                );
                let client = IntegrityKey::long_term(username, "turkey", theirs.expose());
                crate::wire::Message::parse(&request.integrity(&client).finish()).unwrap().verify(key)
            })
            .map(drop)
    }

    #[test]
    fn a_static_user_needs_the_right_password() {
        assert_eq!(sign_in("alice", "wonderland"), Ok(()));
        assert_eq!(sign_in("alice", "looking-glass"), Err(Refused::WrongPassword));
        assert_eq!(sign_in("bob", "wonderland"), Err(Refused::UnknownUser));
    }

    #[test]
    fn a_rest_credential_of_any_secret_signs_in() {
        for secret in ["newest", "older"] {
            let made = RestCredential::new(&Secret::from(secret), "coturn", NOW + 120);
            assert_eq!(sign_in(&made.username, made.password.expose()), Ok(()));
        }
        let forged = RestCredential::new(&Secret::from("forgotten"), "coturn", NOW + 120);
        assert_eq!(sign_in(&forged.username, forged.password.expose()), Err(Refused::UnknownSecret));
    }

    #[test]
    fn a_rest_credential_works_until_its_expiry_and_the_grace_are_over() {
        let made_for = |expiry| RestCredential::new(&Secret::from("newest"), "coturn", expiry);
        let last = made_for(NOW - 900);
        assert_eq!(sign_in(&last.username, last.password.expose()), Ok(()));
        let late = made_for(NOW - 901);
        assert_eq!(sign_in(&late.username, late.password.expose()), Err(Refused::Expired(901)));
    }
}
