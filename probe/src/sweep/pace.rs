//! How fast to send: faster while nothing is lost, half as fast where more is lost than the way loses anyway. What is lost the
//! agent tells.

use tokio::time::Instant;

/// At first, in packets a second: 0.7 Mbit/s.
const BEGIN: f64 = 1_000.0;
/// Where nobody can tell what is lost.
const BLIND: f64 = 4_000.0;
const FASTEST: f64 = 12_000.0;
const SLOWEST: f64 = 250.0;

/// How much faster, each time that nothing was lost, as long as nothing ever was.
const UP: f64 = 2.0;
/// The same when it is known that there is a bound.
const CAREFULLY_UP: f64 = 1.25;
/// By so much what is lost varies by chance.
const VARIES: f64 = 1.5;
/// Packets that may be sent at once, as a part of a second.
const BURST: f64 = 0.004;
/// What may be lost without any fault of ours.
const TOLERATED: f64 = 0.05;
/// If half as many packets lose that much of what was lost before, it is not we who are too many.
const SAME: f64 = 0.7;

/// The pace.
#[derive(Debug)]
pub(super) struct Pace {
    rate: f64,
    allowed: f64,
    counted: Instant,
    /// The share that is lost however slow we are.
    usual: f64,
    /// The share that was lost when we became slower for it.
    slowed_for: Option<f64>,
    /// Whether it ever was we who were too many.
    has_slowed: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: BEGIN, allowed: 1.0, counted: now, usual: 0.0, slowed_for: None, has_slowed: false }
    }

    /// Packets a second.
    pub(super) fn rate(&self) -> u32 {
        self.rate as u32
    }

    /// Whether one more packet may be sent now; it then counts as sent.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let passed = now.duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.allowed =
            (self.allowed + passed * self.rate).min((self.rate * BURST).max(1.0) + passed * self.rate);
        if self.allowed < 1.0 {
            return false;
        }
        self.allowed -= 1.0;
        true
    }

    /// Nothing is known of what is lost.
    pub(super) fn goes_blind(&mut self) {
        if self.rate < BLIND {
            self.rate = (self.rate * UP).min(BLIND);
        }
    }

    /// This share of what was sent lately is lost.
    pub(super) fn hears(&mut self, lost: f64) {
        if lost <= self.usual * VARIES + TOLERATED {
            self.slowed_for = None;
            let up = if self.has_slowed { CAREFULLY_UP } else { UP };
            self.rate = (self.rate * up).min(FASTEST);
            return;
        }
        match self.slowed_for {
            Some(before) if lost >= before * SAME => {
                // It was not we.
                self.usual = self.usual.max(lost);
                (self.slowed_for, self.has_slowed) = (None, false);
                self.rate = (self.rate * 2.0).min(FASTEST);
            }
            _ => {
                self.slowed_for = Some(lost);
                self.has_slowed = true;
                self.rate = (self.rate / 2.0).max(SLOWEST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The rate after so long on a way that lets so many through a second, and loses this share anyway.
    fn settled(capacity: f64, usual: f64) -> f64 {
        let mut pace = Pace::new(Instant::now());
        let mut rates = Vec::new();
        for _ in 0..60 {
            let through = pace.rate.min(capacity) * (1.0 - usual);
            pace.hears(1.0 - through / pace.rate);
            rates.push(pace.rate);
        }
        rates[30..].iter().sum::<f64>() / 30.0
    }

    #[test]
    fn it_becomes_as_fast_as_the_way_allows() {
        assert!(settled(f64::INFINITY, 0.0) >= FASTEST, "{}", settled(f64::INFINITY, 0.0));
        for capacity in [600.0, 2_000.0] {
            let rate = settled(capacity, 0.0);
            assert!((capacity / 3.0..capacity * 1.5).contains(&rate), "{rate} where {capacity} get through");
        }
    }

    #[test]
    fn what_is_lost_anyway_does_not_slow_it_down() {
        assert!(settled(f64::INFINITY, 0.3) > FASTEST / 2.0, "{}", settled(f64::INFINITY, 0.3));
    }

    #[test]
    fn it_sends_as_many_as_its_rate_says_and_no_burst_after_a_pause() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let sent: usize = (0..1000)
            .map(|step| {
                let now = begin + Duration::from_millis(step);
                std::iter::from_fn(|| pace.admit(now).then_some(())).count()
            })
            .sum();
        assert!((990..=1010).contains(&sent), "{sent}");
    }
}
