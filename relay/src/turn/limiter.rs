//! Bounds what strangers are answered. Anybody can put somebody else's address on a datagram, and the answer goes there;
//! so each address gets so many a second and no more, and all together get so many.
//!
//! The table never grows, whoever sends: an address has its place by a hash that nobody outside can compute, and shares
//! it with the few others that fall there.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Addresses that are told apart: 64 KiB.
const PLACES: usize = 4096;
/// For how long an address that was quiet may be answered without a pause: everybody behind it may join at once.
const BURST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Limiter {
    seed: u64,
    places: Vec<Allowance>,
    /// Of all addresses together.
    total: Allowance,
}

/// How many answers a second there may be; nothing for no bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// To one address.
    pub(crate) address: Option<u32>,
    /// To all.
    pub(crate) total: Option<u32>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exceeded {
    Address,
    Total,
}

/// When the answers that were given would be due, had they been spread out evenly.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance(Option<Instant>);

impl Limiter {
    /// `seed` is what the hash hangs on.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, places: vec![Allowance::default(); PLACES], total: Allowance::default() }
    }

    /// Counts one more answer to this address, if it may be given.
    pub(crate) fn admit(&mut self, to: SocketAddr, rates: Rates, now: Instant) -> Result<(), Exceeded> {
        let place = self.place(to.ip());
        let address = self.places[place].after(rates.address, now).ok_or(Exceeded::Address)?;
        self.total = self.total.after(rates.total, now).ok_or(Exceeded::Total)?;
        self.places[place] = address;
        Ok(())
    }

    fn place(&self, ip: IpAddr) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        network_of(ip).hash(&mut hasher);
        hasher.finish() as usize % PLACES
    }
}

impl Allowance {
    /// What is left of it after one more, of so many a second; nothing if that is one too many.
    fn after(self, per_second: Option<u32>, now: Instant) -> Option<Self> {
        let Some(per_second) = per_second else { return Some(self) };
        let due = self.0.map_or(now, |due| due.max(now));
        let interval = Duration::from_secs(1).checked_div(per_second)?;
        (due.duration_since(now) < BURST).then(|| Self(Some(due + interval)))
    }
}

/// What a bound for each client address counts as one: whoever has one IPv6 address has 2⁶⁴ of them.
pub(crate) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// How many of a thousand answers at one moment are admitted.
    fn admitted(limiter: &mut Limiter, to: &str, now: Instant) -> usize {
        let rates = Rates { address: Some(10), total: None };
        (0..1000).filter(|_| limiter.admit(addr(to), rates, now).is_ok()).count()
    }

    #[test]
    fn an_address_gets_a_burst_and_then_its_rate() {
        let (mut limiter, now) = (Limiter::new(1), Instant::now());
        assert_eq!(admitted(&mut limiter, "192.0.2.1:1", now), 20);
        assert_eq!(admitted(&mut limiter, "192.0.2.1:2", now), 0, "another port is no other address");
        assert_eq!(admitted(&mut limiter, "192.0.2.1:1", now + Duration::from_secs(1)), 10);
        assert_eq!(admitted(&mut limiter, "192.0.2.2:1", now), 20, "another address is another's");
        assert_eq!(admitted(&mut limiter, "192.0.2.1:1", now + Duration::from_mins(1)), 20);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (mut limiter, now) = (Limiter::new(1), Instant::now());
        assert_eq!(admitted(&mut limiter, "[2001:db8::1]:1", now), 20);
        assert_eq!(admitted(&mut limiter, "[2001:db8::ffff]:1", now), 0);
        assert_eq!(admitted(&mut limiter, "[2001:db8:0:1::1]:1", now), 20);
    }

    #[test]
    fn all_addresses_together_get_a_burst_and_then_their_rate() {
        let (mut limiter, now) = (Limiter::new(1), Instant::now());
        let rates = Rates { address: Some(10), total: Some(50) };
        let mut come = |hosts: std::ops::Range<u8>, now| {
            let mut outcomes = hosts.flat_map(|host| [addr(&format!("192.0.2.{host}:1")); 3]);
            let mut refused = None;
            let admitted = outcomes.by_ref().map_while(|to| match limiter.admit(to, rates, now) {
                Ok(()) => Some(()),
                Err(exceeded) => {
                    refused = Some(exceeded);
                    None
                }
            });
            (admitted.count(), refused)
        };
        assert_eq!(come(0..33, now), (99, None));
        assert_eq!(come(33..34, now), (1, Some(Exceeded::Total)));
        assert_eq!(come(34..100, now + Duration::from_secs(1)), (50, Some(Exceeded::Total)));
    }

    #[test]
    fn who_is_answered_no_more_takes_nothing_from_the_others() {
        let (mut limiter, now) = (Limiter::new(1), Instant::now());
        let rates = Rates { address: Some(1), total: Some(10) };
        let outcomes: Vec<_> = (0..100).map(|_| limiter.admit(addr("192.0.2.1:1"), rates, now)).collect();
        assert_eq!(outcomes[..3], [Ok(()), Ok(()), Err(Exceeded::Address)]);
        assert_eq!(limiter.admit(addr("192.0.2.2:1"), rates, now), Ok(()));
    }

    #[test]
    fn who_shares_a_place_depends_on_the_seed() {
        let places = |seed| {
            let limiter = Limiter::new(seed);
            (0..100_u32).map(|it| limiter.place(IpAddr::from(it.to_be_bytes()))).collect::<Vec<_>>()
        };
        assert_ne!(places(1), places(2));
    }
}
