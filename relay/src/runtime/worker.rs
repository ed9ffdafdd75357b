//! A worker: one thread with its own listeners, its own core and its own relay sockets. It shares nothing.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};

use crate::config::Config;
use crate::net::bind::Listener;
use crate::net::exchange::{Exchange, Plan, Shared};
use crate::net::{Entrance, serve_connections, serve_datagrams};
use crate::turn::PeerPolicy;

use super::Phase;
use super::database::Reading;
use super::listeners::Share;
use super::pace::Pace;
use super::status::Status;

/// How often expired sessions are looked for, and the worker reports; no session lives longer than this beyond its time.
const TICK: Duration = Duration::from_secs(1);

/// What a worker starts with.
pub(super) struct Worker {
    pub(super) number: usize,
    /// How many there are of its kind.
    pub(super) workers: usize,
    pub(super) plan: Plan,
    /// Of each listener, now and later.
    pub(super) shares: mpsc::UnboundedReceiver<Share>,
    pub(super) policies: watch::Receiver<Arc<PeerPolicy>>,
    pub(super) configs: watch::Receiver<Arc<Config>>,
    pub(super) readings: watch::Receiver<Reading>,
    pub(super) status: Arc<Status>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Worker {
    /// Serves clients on this thread until it is told to stop, or cannot go on.
    pub(super) fn run(self) -> io::Result<()> {
        let pace = Arc::new(Pace::new());
        let (before, after) = (Arc::clone(&pace), pace);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || before.before_wait())
            .on_thread_unpark(move || after.after_wait())
            .build()?;
        // All tasks end when this is dropped.
        let tasks = LocalSet::new();
        tasks.block_on(&runtime, self.serve())
    }

    async fn serve(mut self) -> io::Result<()> {
        let exchange = Exchange::new(self.plan)?;
        let (failed, mut failures) = mpsc::unbounded_channel();
        spawn_local(follow_policies(exchange.clone(), self.policies));
        spawn_local(follow_configuration(exchange.clone(), self.configs, self.readings, self.workers));
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                Some(share) = self.shares.recv() => open(&exchange, share, failed.clone()),
                _ = tick.tick() => {
                    exchange.borrow_mut().tick();
                    self.status.report(self.number, exchange.borrow().totals());
                }
                _ = self.phase.changed() => {
                    if *self.phase.borrow_and_update() == Phase::Stopping {
                        exchange.borrow_mut().stop();
                        return Ok(());
                    }
                    exchange.borrow_mut().drain();
                    self.status.report(self.number, exchange.borrow().totals());
                }
                Some(error) = failures.recv() => return Err(error),
            }
        }
    }
}

/// Serves the clients of a listener until it is gone. Its failure is the worker's.
fn open(
    exchange: &Shared,
    Share { listener, mut entrance }: Share,
    failed: mpsc::UnboundedSender<io::Error>,
) {
    let serving = serve(exchange.clone(), listener, entrance.clone());
    let serving = spawn_local(async move {
        let Err(error) = serving.await;
        let _ = failed.send(error);
    });
    spawn_local(async move {
        while entrance.changed().await.is_ok() {}
        serving.abort();
    });
}

async fn serve(
    exchange: Shared,
    listener: Listener,
    entrance: watch::Receiver<Arc<Entrance>>,
) -> io::Result<Infallible> {
    match listener {
        Listener::Datagrams(socket) => serve_datagrams(exchange, socket).await,
        Listener::Connections(socket) => serve_connections(exchange, socket, entrance).await,
    }
}

/// Tells the core whom clients may reach, whenever that changes.
async fn follow_policies(exchange: Shared, mut policies: watch::Receiver<Arc<PeerPolicy>>) {
    while policies.changed().await.is_ok() {
        let policy = PeerPolicy::clone(&policies.borrow_and_update());
        exchange.borrow_mut().set_peers(policy);
    }
}

/// Tells the core who may allocate, and how much there may be of what, whenever the configuration or the database has
/// been read anew.
async fn follow_configuration(
    exchange: Shared,
    mut configs: watch::Receiver<Arc<Config>>,
    mut readings: watch::Receiver<Reading>,
    workers: usize,
) {
    loop {
        tokio::select! {
            Ok(()) = readings.changed() => {}
            Ok(()) = configs.changed() => {
                let limits = super::share(&configs.borrow_and_update().limits, workers);
                exchange.borrow_mut().set_limits(limits);
            }
            else => return,
        }
        let mut credentials = configs.borrow().auth.credentials();
        let reading = readings.borrow_and_update();
        credentials.secrets.extend(reading.secrets.iter().cloned());
        exchange.borrow_mut().set_credentials(credentials, reading.began);
    }
}
