//! How often a busy worker looks after its sockets.
//!
//! Waking up costs more than relaying a packet. A worker that is woken by packet after packet therefore lets a short turn
//! pass between two looks, and finds what arrived meanwhile all at once. The first packet after a quiet time never waits,
//! and a worker that is busy for the whole turn never pauses.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// From one look to the next: an upper bound on the delay that is added, far below the spacing of audio packets.
const TURN: Duration = Duration::from_micros(250);
/// Two looks that lie closer together than this make a worker count as busy. A turn with its pause is shorter.
const BUSY: Duration = Duration::from_micros(400);

/// The pace of one worker. The event loop asks for hooks that threads could share; only the worker's own calls them.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    /// When the worker last woke, in nanoseconds since `began`.
    woke: AtomicU64,
    is_busy: AtomicBool,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), woke: AtomicU64::new(0), is_busy: AtomicBool::new(false) }
    }

    /// The worker has nothing left to do and is about to wait.
    pub(super) fn before_wait(&self) {
        if let Some(pause) = self.pause(self.began.elapsed()) {
            thread::sleep(pause);
        }
    }

    /// The worker has something to do.
    pub(super) fn after_wait(&self) {
        self.wake(self.began.elapsed());
    }

    /// What is left of the turn, if packets come thick and fast.
    fn pause(&self, now: Duration) -> Option<Duration> {
        let end = Duration::from_nanos(self.woke.load(Ordering::Relaxed)) + TURN;
        self.is_busy.load(Ordering::Relaxed).then(|| end.checked_sub(now)).flatten()
    }

    fn wake(&self, now: Duration) {
        let before = Duration::from_nanos(self.woke.swap(now.as_nanos() as u64, Ordering::Relaxed));
        self.is_busy.store(now.saturating_sub(before) < BUSY, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn the_first_packet_after_a_quiet_time_waits_for_nothing() {
        let pace = Pace::new();
        for now in [5_000, 6_000, 6_400] {
            pace.wake(micros(now));
            assert_eq!(pace.pause(micros(now + 10)), None);
        }
    }

    #[test]
    fn packets_that_follow_each_other_wait_for_the_end_of_the_turn() {
        let pace = Pace::new();
        pace.wake(micros(5_000));
        pace.wake(micros(5_050));
        assert_eq!(pace.pause(micros(5_070)), Some(micros(230)));
        // The pause was a little longer than asked for.
        pace.wake(micros(5_350));
        assert_eq!(pace.pause(micros(5_400)), Some(micros(200)));
    }

    #[test]
    fn who_has_been_busy_for_the_whole_turn_does_not_pause() {
        let pace = Pace::new();
        pace.wake(micros(5_000));
        pace.wake(micros(5_050));
        assert_eq!(pace.pause(micros(5_301)), None);
    }
}
