//! How a relay is, as its threads report it, for whoever asks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::gateway::Directory;
use crate::net::signalling::Tally;
use crate::net::totals::Totals;
use crate::turn::PeerPolicy;

/// A worker that has not reported for this long is stuck: it reports once a second.
const STUCK: Duration = Duration::from_secs(30);

/// What a relay needs besides itself.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Need {
    /// Addresses for what the peer rules name.
    Peers,
    /// Secrets from the database.
    Database,
    /// Dialog and addresses to tell browsers, for the gateway.
    Gateway,
    /// Files that can be used.
    Configuration,
}

/// How a need is met.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Condition {
    /// It is.
    Met,
    /// It was, and what was learned then is still used; with what is wrong now.
    Stale(String),
    /// It is not, so that nobody can be served; with the reason.
    Unmet(String),
}

/// What the threads of a relay have reported. Each locks it once in a while, and none for media.
#[derive(Debug)]
pub(crate) struct Status {
    workers: Vec<Mutex<Report>>,
    needs: Mutex<BTreeMap<Need, Condition>>,
    facts: Mutex<Facts>,
    peers: Mutex<Arc<PeerPolicy>>,
    /// What the gateway's signalling counts, if there is a gateway.
    pub(super) gateway: Option<Shared>,
}

/// What the gateway's threads share, and metrics read.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) directory: Arc<Directory>,
    pub(super) tally: Arc<Tally>,
}

/// What is true of the whole relay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// When the certificate expires, in seconds since 1970, if there is one.
    pub(crate) certificate_expires: Option<i64>,
    /// Secrets that the last reading of the database left, if there is a database.
    pub(crate) database_secrets: Option<usize>,
    /// When it was last read and had secrets, in seconds since 1970.
    pub(crate) database_read: Option<u64>,
    /// How many announced addresses stand for another, if the rules have any.
    pub(crate) mapped_addresses: Option<usize>,
    /// How often the configuration was read anew and used.
    pub(crate) reloads: u64,
    /// How often it could not be.
    pub(crate) failed_reloads: u64,
}

#[derive(Debug)]
struct Report {
    made: Instant,
    totals: Totals,
}

impl Status {
    /// The status of a relay that is starting, with this many workers.
    pub(crate) fn new(workers: usize) -> Self {
        let report = |_| Mutex::new(Report { made: Instant::now(), totals: Totals::default() });
        let workers = (0..workers).map(report).collect();
        let (needs, facts, peers) = Default::default();
        Self { workers, needs, facts, peers, gateway: None }
    }

    /// The same with a gateway.
    pub(super) fn with_gateway(self, gateway: Option<Shared>) -> Self {
        Self { gateway, ..self }
    }

    /// Connections for signalling at the moment.
    pub(crate) fn signalling(&self) -> u64 {
        self.gateway.as_ref().map_or(0, |it| it.tally.connections.load(Ordering::Relaxed))
    }

    /// A worker is alive, and has counted this.
    pub(crate) fn report(&self, worker: usize, totals: Totals) {
        if let Some(report) = self.workers.get(worker) {
            *lock(report) = Report { made: Instant::now(), totals };
        }
    }

    /// A need is met like this from now on.
    pub(crate) fn set(&self, need: Need, condition: Condition) {
        lock(&self.needs).insert(need, condition);
    }

    /// Changes what is true of the whole relay.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut lock(&self.facts));
    }

    /// Clients may reach these peers from now on.
    pub(crate) fn set_peers(&self, policy: Arc<PeerPolicy>) {
        *lock(&self.peers) = policy;
    }

    /// Whom clients may reach.
    pub(crate) fn peers(&self) -> Arc<PeerPolicy> {
        Arc::clone(&lock(&self.peers))
    }

    /// What each worker has counted.
    pub(crate) fn totals(&self) -> Vec<Totals> {
        self.workers.iter().map(|report| lock(report).totals.clone()).collect()
    }

    /// How every need is met.
    pub(crate) fn needs(&self) -> BTreeMap<Need, Condition> {
        lock(&self.needs).clone()
    }

    /// What is true of the whole relay.
    pub(crate) fn facts(&self) -> Facts {
        *lock(&self.facts)
    }

    /// The workers that no longer report, with the time for which they have not.
    pub(crate) fn stuck(&self, now: Instant) -> Vec<(usize, Duration)> {
        let silences = self.workers.iter().map(|report| now.saturating_duration_since(lock(report).made));
        silences.enumerate().filter(|(_, silence)| *silence > STUCK).collect()
    }
}

impl Need {
    pub(crate) const ALL: [Self; 4] = [Self::Peers, Self::Database, Self::Gateway, Self::Configuration];

    /// Its name in answers and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Database => "database",
            Self::Gateway => "gateway",
            Self::Configuration => "configuration",
        }
    }
}

/// A thread that panicked while it held the lock has left a value that is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_no_longer_reports_is_stuck() {
        let status = Status::new(2);
        let now = Instant::now();
        assert_eq!(status.stuck(now), []);
        let later = now + STUCK + Duration::from_secs(5);
        assert_eq!(status.stuck(later).iter().map(|it| it.0).collect::<Vec<_>>(), [0, 1]);
        status.report(0, Totals::default());
        assert!(status.stuck(Instant::now()).is_empty());
    }
}
