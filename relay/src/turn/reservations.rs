//! Ports that are kept for clients who asked for two next to each other (EVEN-PORT, RFC 8656 section 7.2), until they come
//! back with the token for the second, or half a minute is over.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Client, NonceKey, network_of};
use crate::wire::{Family, ReservationToken};

/// RFC 8656 section 7.2.
const LIFETIME: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Reservations {
    /// All live equally long, so the first one expires first.
    kept: VecDeque<Reservation>,
    /// How many there have been.
    made: u64,
}

#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) token: ReservationToken,
    pub(super) family: Family,
    username: Box<str>,
    network: IpAddr,
    expires: Instant,
}

impl Reservations {
    /// Keeps a port of this family for a user. Nobody without the key can guess the token, nor learn from one the next.
    pub(super) fn make(
        &mut self,
        client: Client,
        username: &str,
        family: Family,
        (key, seed): (&NonceKey, u64),
        now: Instant,
    ) -> ReservationToken {
        self.made += 1;
        let token = key.reservation(seed, self.made);
        self.kept.push_back(Reservation {
            token,
            family,
            username: username.into(),
            network: network_of(client.remote.ip()),
            expires: now + LIFETIME,
        });
        token
    }

    /// What is kept for this user under this token.
    pub(super) fn find(&self, token: ReservationToken, username: &str, now: Instant) -> Option<&Reservation> {
        self.kept.iter().find(|it| it.token == token && *it.username == *username && it.expires > now)
    }

    /// The port has been claimed, or could not be had.
    pub(super) fn remove(&mut self, token: ReservationToken) {
        self.kept.retain(|it| it.token != token);
    }

    /// Takes out what nobody has claimed in time.
    pub(super) fn expire(&mut self, now: Instant) -> Option<ReservationToken> {
        self.kept.pop_front_if(|it| it.expires <= now).map(|it| it.token)
    }

    /// When the first one expires.
    pub(super) fn first_to_expire(&self) -> Option<Instant> {
        self.kept.front().map(|it| it.expires)
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// How many are kept for clients at this address.
    pub(super) fn count_of(&self, address: IpAddr) -> usize {
        let network = network_of(address);
        self.kept.iter().filter(|it| it.network == network).count()
    }
}
