//! The last samples of a path, and what they come to. Bounded, and without a clock.

use std::{collections::VecDeque, time::Duration};

/// How many samples are kept: five minutes at one a second.
pub(crate) const WINDOW: usize = 300;

/// How many losses in a row make a path count as down: a single lost packet is no news.
const DOWN_AFTER: usize = 3;

/// Whether a path works, as far as its samples tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Too few samples.
    Unknown,
    /// One of the latest samples was answered.
    Up,
    /// None of the latest samples was.
    Down,
}

impl Reach {
    /// The word that stands for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unknown => "?",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The last [`WINDOW`] samples of a path: round trips, or `None` for those that were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    samples: VecDeque<Option<Duration>>,
}

/// The figures over a [`History`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Round trip of the latest answer, if the latest sample was answered.
    pub(crate) last: Option<Duration>,
    /// Median round trip.
    pub(crate) p50: Option<Duration>,
    /// 95th percentile of the round trips.
    pub(crate) p95: Option<Duration>,
    /// Mean difference between the round trips of answers that follow one another.
    pub(crate) jitter: Option<Duration>,
    /// Share of samples that were lost, 0 to 1.
    pub(crate) loss: f64,
}

impl History {
    pub(crate) fn push(&mut self, sample: Option<Duration>) {
        if self.samples.len() == WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The samples, the latest first.
    pub(crate) fn latest_first(&self) -> impl Iterator<Item = Option<Duration>> {
        self.samples.iter().rev().copied()
    }

    pub(crate) fn reach(&self) -> Reach {
        if self.latest_first().take(DOWN_AFTER).any(|s| s.is_some()) {
            Reach::Up
        } else if self.samples.len() < DOWN_AFTER {
            Reach::Unknown
        } else {
            Reach::Down
        }
    }

    /// The figures, or nothing before the first sample.
    pub(crate) fn figures(&self) -> Option<Figures> {
        let last = *self.samples.back()?;
        let answered: Vec<Duration> = self.samples.iter().flatten().copied().collect();
        let mut sorted = answered.clone();
        sorted.sort_unstable();
        Some(Figures {
            last,
            p50: percentile(&sorted, 50),
            p95: percentile(&sorted, 95),
            jitter: jitter(&answered),
            loss: 1.0 - answered.len() as f64 / self.samples.len() as f64,
        })
    }
}

/// The smallest value that `percent` of the values do not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

fn jitter(round_trips: &[Duration]) -> Option<Duration> {
    let steps = u32::try_from(round_trips.len().checked_sub(1)?).ok().filter(|&n| n > 0)?;
    let total: Duration = round_trips.windows(2).map(|w| w[0].abs_diff(w[1])).sum();
    Some(total / steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn history(samples: impl IntoIterator<Item = Option<u64>>) -> History {
        let mut history = History::default();
        samples.into_iter().for_each(|s| history.push(s.map(ms)));
        history
    }

    #[test]
    fn no_figures_before_the_first_sample() {
        assert_eq!(History::default().figures(), None);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let figures = history((1..=100).rev().map(Some)).figures().unwrap();
        assert_eq!((figures.p50, figures.p95), (Some(ms(50)), Some(ms(95))));
        let figures = history([Some(7)]).figures().unwrap();
        assert_eq!((figures.p50, figures.p95), (Some(ms(7)), Some(ms(7))));
        let figures = history([Some(10), Some(20), Some(30)]).figures().unwrap();
        assert_eq!((figures.p50, figures.p95), (Some(ms(20)), Some(ms(30))));
    }

    #[test]
    fn lost_samples_count_as_loss_and_in_nothing_else() {
        let figures = history([Some(10), None, Some(30), None]).figures().unwrap();
        assert!((figures.loss - 0.5).abs() < 1e-9);
        assert_eq!((figures.p50, figures.last), (Some(ms(10)), None));
        let figures = history([None, None]).figures().unwrap();
        assert!((figures.loss - 1.0).abs() < 1e-9);
        assert_eq!((figures.p50, figures.p95, figures.jitter), (None, None, None));
    }

    #[test]
    fn jitter_is_the_mean_step_between_answers() {
        assert_eq!(history([Some(10), Some(14), Some(12)]).figures().unwrap().jitter, Some(ms(3)));
        assert_eq!(history([Some(10), None, Some(20)]).figures().unwrap().jitter, Some(ms(10)));
        assert_eq!(history([Some(10)]).figures().unwrap().jitter, None);
    }

    #[test]
    fn a_path_is_down_after_three_losses_in_a_row_and_not_before() {
        assert_eq!(history([]).reach(), Reach::Unknown);
        assert_eq!(history([None, None]).reach(), Reach::Unknown);
        assert_eq!(history([None, None, None]).reach(), Reach::Down);
        assert_eq!(history([Some(5), None, None]).reach(), Reach::Up);
        assert_eq!(history([Some(5), None, None, None]).reach(), Reach::Down);
        assert_eq!(history([None, None, None, Some(5)]).reach(), Reach::Up);
    }

    #[test]
    fn old_samples_leave_the_window() {
        let history = history([None].into_iter().chain((0..WINDOW as u64).map(Some)));
        assert_eq!(history.latest_first().count(), WINDOW);
        assert!(history.figures().unwrap().loss.abs() < 1e-9);
    }
}
