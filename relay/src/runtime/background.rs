//! The threads that serve no clients: one finds out where peers are, one reads secrets, one answers
//! operators.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use super::database::{Database, Others, Reading};
use super::status::{Condition, Need, Status};
use super::{Phase, StartError, admin};
use crate::config::{Auth, Config, Peers};
use crate::net::resolve::Resolver;
use crate::turn::PeerPolicy;

/// How long a start waits for names to resolve before it goes on without them.
const FIRST_RESOLUTION: Duration = Duration::from_secs(3);
/// How soon a name that has no address yet is asked for again.
pub(super) const IMPATIENCE: Duration = Duration::from_secs(2);

/// What all threads of a relay share.
#[derive(Clone, Debug)]
pub(super) struct Common {
    /// The configuration, which may be read anew.
    pub(super) configs: watch::Receiver<Arc<Config>>,
    pub(super) phases: watch::Receiver<Phase>,
    pub(super) status: Arc<Status>,
    /// Where a thread says why it ended, if it should not have.
    pub(super) failed: mpsc::UnboundedSender<io::Error>,
}

impl Common {
    /// Starts a thread. Its failure, a panic too, is the relay's: without one of its parts it would only look alive.
    pub(super) fn spawn(
        &self,
        name: String,
        run: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<JoinHandle<()>, StartError> {
        let (failed, panicked) = (self.failed.clone(), format!("{name} panicked"));
        let thread = thread::Builder::new().name(name).spawn(move || {
            // Nothing of the thread outlives its panic.
            let ended = panic::catch_unwind(AssertUnwindSafe(run));
            if let Err(error) = ended.unwrap_or_else(|_| Err(io::Error::other(panicked))) {
                let _ = failed.send(error);
            }
        });
        thread.map_err(StartError::Worker)
    }

    /// Starts a thread that does this until the relay ends.
    pub(super) fn spawn_background(
        &self,
        name: &str,
        runtime: Runtime,
        run: impl Future<Output = ()> + Send + 'static,
    ) -> Result<JoinHandle<()>, StartError> {
        let mut phases = self.phases.clone();
        self.spawn(name.to_owned(), move || {
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = run => {}
                    _ = phases.wait_for(|phase| *phase == Phase::Stopping) => {}
                }
            });
            Ok(())
        })
    }
}

/// Finds out what the peer rules leave open, now and on a thread that goes on doing it.
pub(super) fn resolve(
    common: &Common,
) -> Result<(watch::Receiver<Arc<PeerPolicy>>, JoinHandle<()>), StartError> {
    let (mut configs, status) = (common.configs.clone(), Arc::clone(&common.status));
    let mut peers = configs.borrow_and_update().peers.clone();
    let mut resolver = Resolver::new(peers.clone());
    let (publish, policies) = watch::channel(Arc::new(resolver.policy()));
    let (done, first) = std::sync::mpsc::channel();
    let learned = move |resolver: &Resolver| {
        status.set(Need::Peers, condition(resolver));
        let policy = Arc::new(resolver.policy());
        let mapped = resolver.has_mappings().then_some(policy.map.len());
        status.update(|facts| facts.mapped_addresses = mapped);
        status.set_peers(Arc::clone(&policy));
        publish.send_if_modified(|published| {
            let is_new = *published != policy;
            *published = policy;
            is_new
        });
    };
    learned(&resolver);
    let resolving = async move {
        loop {
            let asking = resolver.resolve(&learned);
            // What an operator has taken back holds at once, whoever is still being asked.
            let changed = tokio::select! {
                () = asking => false,
                () = until_changed(&mut configs, &peers) => true,
            };
            if !changed {
                let _ = done.send(());
                let pause = if resolver.is_incomplete() {
                    peers.resolve_every.min(IMPATIENCE)
                } else {
                    peers.resolve_every
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => continue,
                    Ok(()) = configs.changed() => {}
                }
            }
            peers = configs.borrow_and_update().peers.clone();
            resolver.set_peers(peers.clone());
            learned(&resolver);
        }
    };
    let thread = common.spawn_background("resolver", runtime()?, resolving)?;
    let _ = first.recv_timeout(FIRST_RESOLUTION);
    Ok((policies, thread))
}

/// Waits for a configuration with other peer rules.
async fn until_changed(configs: &mut watch::Receiver<Arc<Config>>, peers: &Peers) {
    if configs.wait_for(|config| config.peers != *peers).await.is_err() {
        // The relay ends.
        std::future::pending::<()>().await;
    }
}

/// A relay that finds some of its peers is better than none.
fn condition(resolver: &Resolver) -> Condition {
    let failures = resolver.failures().join("; ");
    let policy = resolver.policy();
    let has_reachable = !policy.allow.is_empty() && (!policy.map.is_empty() || !resolver.needs_map());
    match failures.as_str() {
        "" => Condition::Met,
        _ if has_reachable => Condition::Stale(failures),
        _ => Condition::Unmet(failures),
    }
}

/// Reads the secrets of the database, if there is one, on a thread that goes on doing it.
pub(super) fn read_secrets(
    common: &Common,
    reread: Arc<Notify>,
) -> Result<(watch::Receiver<Reading>, Option<JoinHandle<()>>), StartError> {
    let (publish, readings) = watch::channel(Reading::pending());
    let (mut configs, status) = (common.configs.clone(), Arc::clone(&common.status));
    let config = Arc::clone(&configs.borrow_and_update());
    let auth = &config.auth;
    let Some(postgres) = auth.postgres.clone() else { return Ok((readings, None)) };
    let mut database = Database::new(postgres, config.realm.clone(), auth.postgres_every, auth.expiry_grace);
    status.set(Need::Database, readings.borrow().condition(others(auth)));
    let reading = async move {
        let newest = configs.clone();
        let publish = |reading: Reading| {
            status.set(Need::Database, reading.condition(others(&newest.borrow().auth)));
            status.update(|facts| {
                facts.database_secrets = Some(reading.secrets.len());
                if reading.failure.is_none() {
                    facts.database_read =
                        SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
                }
            });
            publish.send_replace(reading);
        };
        loop {
            tokio::select! {
                () = database.follow(&reread, &publish) => {}
                Ok(()) = configs.changed() => {
                    let auth = &configs.borrow_and_update().auth;
                    if let Some(postgres) = auth.postgres.clone() {
                        database.set(postgres, auth.postgres_every, auth.expiry_grace);
                    }
                }
            }
        }
    };
    Ok((readings, Some(common.spawn_background("database", runtime()?, reading)?)))
}

fn others(auth: &Auth) -> Others {
    if auth.users.is_empty() && auth.secrets.is_empty() { Others::None } else { Others::Some }
}

/// Answers operators on a thread of its own.
pub(super) fn serve_admin(
    common: &Common,
    listener: std::net::TcpListener,
) -> Result<JoinHandle<()>, StartError> {
    let runtime = runtime()?;
    let listener = {
        let _guard = runtime.enter();
        TcpListener::from_std(listener).map_err(StartError::Worker)?
    };
    common.spawn_background("admin", runtime, admin::serve(listener, Arc::clone(&common.status)))
}

/// What drives the tasks of such a thread.
pub(super) fn runtime() -> Result<Runtime, StartError> {
    Builder::new_current_thread().enable_all().build().map_err(StartError::Worker)
}
