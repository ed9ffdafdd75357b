//! Secrets that change: those that are in force, and those that were until a while ago.

use std::time::{Duration, Instant};

use super::Secret;

/// More are never kept, whatever the source says.
const MOST: usize = 256;

/// The secrets of a source that replaces them now and then. One that the source no longer has may have signed the
/// credential that a browser still holds, so it is remembered for a while.
#[derive(Debug)]
pub(crate) struct Rotation {
    grace: Duration,
    /// With the time at which the source had it last, latest first.
    known: Vec<(Secret, Instant)>,
}

impl Rotation {
    /// One without secrets, that will remember each for `grace` after the source has dropped it.
    pub(crate) const fn new(grace: Duration) -> Self {
        Self { grace, known: Vec::new() }
    }

    /// Remembers each secret for this long from now on.
    pub(crate) const fn set_grace(&mut self, grace: Duration) {
        self.grace = grace;
    }

    /// The source has these now, and no others.
    pub(crate) fn learn(&mut self, now: Instant, current: Vec<Secret>) {
        self.known.retain(|(secret, seen)| {
            now.duration_since(*seen) <= self.grace && current.iter().all(|it| it.expose() != secret.expose())
        });
        self.known.splice(0..0, current.into_iter().map(|secret| (secret, now)));
        self.known.truncate(MOST);
    }

    /// All that may have signed a credential, the likeliest first.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.known.iter().map(|(secret, _)| secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_mins(15);

    fn learn(rotation: &mut Rotation, now: Instant, secrets: &[&str]) {
        rotation.learn(now, secrets.iter().copied().map(Secret::from).collect());
    }

    fn known(rotation: &Rotation) -> Vec<&str> {
        rotation.secrets().map(Secret::expose).collect()
    }

    #[test]
    fn a_secret_that_the_source_dropped_is_known_until_the_grace_is_over() {
        let (mut rotation, begin) = (Rotation::new(GRACE), Instant::now());
        learn(&mut rotation, begin, &["first"]);
        learn(&mut rotation, begin + GRACE, &["second", "first"]);
        assert_eq!(known(&rotation), ["second", "first"]);
        learn(&mut rotation, begin + GRACE * 2, &["third", "second"]);
        assert_eq!(known(&rotation), ["third", "second", "first"]);
        learn(&mut rotation, begin + GRACE * 2 + Duration::from_secs(1), &["third"]);
        assert_eq!(known(&rotation), ["third", "second"]);
    }

    #[test]
    fn a_source_that_never_ends_fills_no_memory() {
        let (mut rotation, begin) = (Rotation::new(GRACE), Instant::now());
        for round in 0..10 {
            let secrets: Vec<String> = (0..100).map(|it| format!("{round}/{it}")).collect();
            learn(&mut rotation, begin, &secrets.iter().map(String::as_str).collect::<Vec<_>>());
        }
        assert_eq!(known(&rotation).len(), MOST);
        assert_eq!(known(&rotation)[0], "9/0");
    }
}
