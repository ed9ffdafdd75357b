//! Bounds what strangers are answered. Anybody can put somebody else's address on a datagram, and the answer goes there;
//! so each address gets so many a second and no more.
//!
//! The table never grows, whoever sends: an address has its place by a hash that nobody outside can compute, and shares
//! it with the few others that fall there.

use std::hash::{DefaultHasher, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Places in the table: 64 KiB.
const PLACES: usize = 4096;
/// For how long an address that was quiet may be answered without a pause: everybody behind it may join at once.
const BURST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Limiter {
    seed: u64,
    /// When the answers that each place was given would be due, had they been spread out evenly.
    due: Vec<Option<Instant>>,
}

impl Limiter {
    /// `seed` is what the hash hangs on.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, due: vec![None; PLACES] }
    }

    /// Whether one more answer may go to this address, of which there may be so many a second.
    pub(super) fn admits(&mut self, to: SocketAddr, per_second: u32, now: Instant) -> bool {
        let place = self.place(to.ip());
        let due = &mut self.due[place];
        let next = due.map_or(now, |due| due.max(now));
        let is_in_time = next.duration_since(now) < BURST && per_second > 0;
        if is_in_time {
            *due = Some(next + Duration::from_secs(1) / per_second);
        }
        is_in_time
    }

    fn place(&self, ip: IpAddr) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        match ip.to_canonical() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            // Whoever has one IPv6 address has 2⁶⁴ of them.
            IpAddr::V6(ip) => hasher.write(&ip.octets()[..8]),
        }
        hasher.finish() as usize % PLACES
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
        (0..1000).filter(|_| limiter.admits(addr(to), 10, now)).count()
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
    fn who_shares_a_place_depends_on_the_seed() {
        let places = |seed| {
            let limiter = Limiter::new(seed);
            (0..100_u32).map(|it| limiter.place(IpAddr::from(it.to_be_bytes()))).collect::<Vec<_>>()
        };
        assert_ne!(places(1), places(2));
    }
}
