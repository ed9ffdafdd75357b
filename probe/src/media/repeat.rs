//! Datagrams of a DTLS handshake are sent several times, because the crate itself waits for a second before it repeats one.
//!
//! Browsers repeat after 50 ms. To the other end a copy is a datagram that the network delivered twice: it takes the record that it
//! did not get, and no record a second time (RFC 6347 section 4.1.2.6).

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::Datagram;

/// A copy follows so long after the one before.
const SPACING: Duration = Duration::from_millis(100);
/// How many copies follow.
const COPIES: u8 = 3;
/// A handshake has about five datagrams.
const MOST_REMEMBERED: usize = 32;

/// What is still to be sent again.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// By the time when they are due.
    waiting: VecDeque<Repeat>,
}

#[derive(Debug)]
struct Repeat {
    due: Instant,
    copies: u8,
    datagram: Datagram,
}

impl Repeats {
    /// A datagram was sent; it is remembered if it belongs to a handshake.
    pub(super) fn sent(&mut self, now: Instant, datagram: Datagram) {
        if belongs_to_handshake(&datagram.0) && self.waiting.len() < MOST_REMEMBERED {
            self.waiting.push_back(Repeat { due: now + SPACING, copies: COPIES, datagram });
        }
    }

    /// When the next copy is due, if one is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.front().map(|repeat| repeat.due)
    }

    /// The copy that is due by `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<Datagram> {
        let mut repeat = self.waiting.pop_front_if(|repeat| repeat.due <= now)?;
        repeat.copies -= 1;
        if repeat.copies == 0 {
            return Some(repeat.datagram);
        }
        repeat.due = now + SPACING;
        let datagram = repeat.datagram.clone();
        self.waiting.push_back(repeat);
        Some(datagram)
    }
}

/// Whether the first record is of the content type `change_cipher_spec` or `handshake` (RFC 5246 section 6.2.1).
fn belongs_to_handshake(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20 | 22))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(first: u8) -> Datagram {
        (vec![first, 254, 253], ([192, 0, 2, 1], 40_000).into())
    }

    #[test]
    fn what_a_handshake_sends_is_sent_three_times_more() {
        let began = Instant::now();
        let mut repeats = Repeats::default();
        repeats.sent(began, datagram(22));
        repeats.sent(began + SPACING / 2, datagram(20));
        let mut copies = Vec::new();
        while let Some(due) = repeats.next() {
            assert_eq!(repeats.take(due.checked_sub(Duration::from_millis(1)).unwrap()), None);
            copies.push((due - began, repeats.take(due).unwrap().0[0]));
        }
        let half = SPACING / 2;
        let expected = [(2, 22), (3, 20), (4, 22), (5, 20), (6, 22), (7, 20)];
        assert_eq!(copies, expected.map(|(halves, first)| (half * halves, first)));
    }

    #[test]
    fn neither_checks_nor_media_nor_alerts_are_sent_twice() {
        let mut repeats = Repeats::default();
        for first in [0, 1, 21, 23, 128] {
            repeats.sent(Instant::now(), datagram(first));
        }
        repeats.sent(Instant::now(), (Vec::new(), ([192, 0, 2, 1], 40_000).into()));
        assert_eq!(repeats.next(), None);
    }

    #[test]
    fn a_handshake_without_end_is_not_remembered_without_end() {
        let mut repeats = Repeats::default();
        for _ in 0..2 * MOST_REMEMBERED {
            repeats.sent(Instant::now(), datagram(22));
        }
        assert_eq!(repeats.waiting.len(), MOST_REMEMBERED);
    }
}
