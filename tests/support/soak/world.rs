//! What all clients of a soak share: where the relay is, today's secret, the tally, and the faults that were found.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hubs_relay::auth::{RestCredential, Secret};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// More faults are one fault: the run ends.
const MOST_FAULTS: usize = 20;
/// How long a credential is good, as Reticulum makes it.
const CREDENTIAL: Duration = Duration::from_mins(2);

pub(super) struct World {
    pub(super) udp: SocketAddr,
    pub(super) tls: SocketAddr,
    /// One that shakes hands in full each time, and one that comes back with tickets.
    pub(super) connectors: [TlsConnector; 2],
    /// From one packet of a session to the next.
    pub(super) gap: Duration,
    /// Clients that have vanished, and wait to see that the relay notices.
    pub(super) vanished: RefCell<JoinSet<()>>,
    /// How many more may vanish, and until when that leaves the relay time to notice.
    pub(super) may_vanish: Cell<(usize, Option<Instant>)>,
    secret: RefCell<Secret>,
    tally: Cell<Tally>,
    faults: RefCell<Vec<String>>,
    numbers: Cell<u64>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sessions at the moment.
    pub sessions: u64,
    /// Allocations made.
    pub joins: u64,
    /// Sessions that gave their allocation back.
    pub released: u64,
    /// Sessions whose connection ended.
    pub disconnected: u64,
    /// Sessions that were heard of no more.
    pub vanished: u64,
    /// Times that a session was kept.
    pub refreshes: u64,
    /// Payloads that left a client.
    pub sent: u64,
    /// Payloads that came back to it.
    pub returned: u64,
    /// Payloads on their way when their session ended its connection.
    pub abandoned: u64,
    /// Payloads that never came back, over TLS.
    pub lost_tls: u64,
    /// The same, over UDP.
    pub lost_udp: u64,
    /// Requests that were sent again.
    pub repeats: u64,
    /// Clients that were refused or turned away, as they should be.
    pub strangers: u64,
    /// Secrets that took another's place.
    pub rotations: u64,
    /// Configurations and certificates that took another's place.
    pub reloads: u64,
}

impl World {
    pub(super) fn new(
        [udp, tls]: [SocketAddr; 2],
        connectors: [TlsConnector; 2],
        gap: Duration,
        secret: Secret,
    ) -> Self {
        Self {
            udp,
            tls,
            connectors,
            gap,
            vanished: RefCell::default(),
            may_vanish: Cell::new((0, None)),
            secret: RefCell::new(secret),
            tally: Cell::default(),
            faults: RefCell::default(),
            numbers: Cell::new(0),
        }
    }

    /// A number that no client has had.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.update(|number| number + 1);
        self.numbers.get()
    }

    /// What Reticulum gives a browser that joins now.
    pub(super) fn credential(&self) -> RestCredential {
        credential(&self.secret.borrow(), unix_now() + CREDENTIAL.as_secs())
    }

    /// From now on credentials are made with this.
    pub(super) fn set_secret(&self, secret: Secret) {
        *self.secret.borrow_mut() = secret;
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        change(&mut tally);
        self.tally.set(tally);
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.get()
    }

    /// Something is not as it should be.
    pub(super) fn note(&self, fault: impl Display) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MOST_FAULTS {
            faults.push(fault.to_string());
        }
    }

    /// Whether there are so many faults that nothing is learned from more.
    pub(super) fn is_broken(&self) -> bool {
        self.faults.borrow().len() >= MOST_FAULTS
    }

    pub(super) fn take_faults(&self) -> Vec<String> {
        self.faults.take()
    }
}

/// What somebody holds who was let in with this secret until `expiry`.
pub(super) fn credential(secret: &Secret, expiry: u64) -> RestCredential {
    RestCredential::new(secret, "coturn", expiry)
}

pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
