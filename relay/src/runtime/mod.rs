//! Start, run and stop: a relay as a whole.

mod admin;
mod database;
mod metrics;
mod status;
mod summary;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ring::rand::SecureRandom;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use crate::auth::Credentials;
use crate::config::{Config, Listen, Transport};
use crate::net::bind::{self, Listener};
use crate::net::exchange::Plan;
use crate::net::resolve::Resolver;
use crate::net::tls::{Identity, TlsError};
use crate::turn::{Limits, NonceKey, PeerPolicy, PortParity, Settings};
use crate::wire::Family;

use database::{Database, Others, Reading};
use status::{Condition, Need, Status};
pub use summary::{Line, summary};

/// How long a start waits for names to resolve before it goes on without them.
const FIRST_RESOLUTION: Duration = Duration::from_secs(3);
/// How often a relay that drains looks whether it is empty.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// How soon a name that has no address yet is asked for again.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// Why a relay cannot start. Each message says what, where, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener's address.
    #[error("cannot listen on {listen}: {source}{}", advice(source))]
    Listen {
        /// Which listener.
        listen: Listen,
        /// Why.
        source: io::Error,
    },
    /// The address for operators.
    #[error("cannot listen on admin.address {address}: {source}{}", advice(source))]
    Admin {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The address of relay sockets.
    #[error("relay.address {address}: {source}{}", advice(source))]
    RelayAddress {
        /// Which address.
        address: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// Nothing to listen on, or nowhere to relay from.
    #[error("{0} is empty; `hubs-relay print-config` shows its default")]
    Nothing(&'static str),
    /// A thread or what it needs from the system.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
}

/// What an operator can do about an error of a socket.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has that port: stop it, or choose another port",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the right CAP_NET_BIND_SERVICE: grant it, or choose a higher port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: use one of its own, or 0.0.0.0"
        }
        _ => "",
    }
}

/// What a relay is doing. It goes on to the next, and never back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// It serves whoever comes.
    Serving,
    /// It serves those who have an allocation.
    Draining,
    /// All its threads end.
    Stopping,
}

/// A relay that runs, on threads of its own.
#[derive(Debug)]
pub struct Relay {
    listeners: Vec<Listen>,
    status: Arc<Status>,
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
    failures: mpsc::UnboundedReceiver<io::Error>,
}

impl Relay {
    /// Opens all sockets, then serves clients until [`Self::shutdown`] or until it is dropped.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        if config.listen.is_empty() {
            return Err(StartError::Nothing("listen"));
        }
        if config.relay.address.is_empty() {
            return Err(StartError::Nothing("relay.address"));
        }
        let identity = identity(config)?;
        for &address in &config.relay.address {
            bind::relay_socket(address, config.relay.ports, PortParity::Any, 0)
                .map_err(|source| StartError::RelayAddress { address, source })?;
        }
        let workers = match config.relay.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let mut shares: Vec<Vec<(Listen, Listener)>> = (0..workers).map(|_| Vec::new()).collect();
        let mut listeners = Vec::new();
        for listen in &config.listen {
            let failed = |source| StartError::Listen { listen: listen.clone(), source };
            let sockets = bind::listen(listen.transport, listen.address, workers).map_err(failed)?;
            let address = sockets.first().map_or(Ok(listen.address), Listener::local_addr).map_err(failed)?;
            listeners.push(Listen { address, ..listen.clone() });
            for (share, socket) in shares.iter_mut().zip(sockets) {
                share.push((listen.clone(), socket));
            }
        }

        let (phase, phases) = watch::channel(Phase::Serving);
        let (failed, failures) = mpsc::unbounded_channel();
        let status = Arc::new(Status::new(workers));
        status.update(|facts| {
            facts.certificate_expires = identity.as_ref().and_then(|it| it.description.expires);
        });
        let (policy, policies, resolving) = resolve(config, Arc::clone(&status), &failed, phases.clone())?;
        let mut relay =
            Self { listeners, status: Arc::clone(&status), phase, threads: vec![resolving], failures };
        let acceptor = identity.as_ref().map(|it| it.acceptor.clone());
        let reread = Arc::new(Notify::new());
        let (readings, reading) =
            read_secrets(config, Arc::clone(&reread), Arc::clone(&status), &failed, phases.clone())?;
        relay.threads.extend(reading);
        let plan = plan(config, policy, reread, workers).map_err(StartError::Worker)?;
        for (number, listeners) in shares.into_iter().enumerate() {
            let worker = worker::Worker {
                number,
                plan: plan.clone(),
                listeners,
                acceptor: acceptor.clone(),
                policies: policies.clone(),
                readings: readings.clone(),
                status: Arc::clone(&status),
                phase: phases.clone(),
            };
            relay.threads.push(spawn(format!("worker-{number}"), &failed, move || worker.run())?);
        }
        Ok(relay)
    }

    /// Where it listens: what the configuration says, with the port that was taken for each port 0.
    pub fn listeners(&self) -> &[Listen] {
        &self.listeners
    }

    /// Answers `/livez`, `/readyz` and `/metrics` at this address as well, and returns it with the port that was taken.
    pub fn serve_admin(&mut self, address: SocketAddr) -> Result<SocketAddr, StartError> {
        let failed = |source| StartError::Admin { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let runtime = background_runtime()?;
        let listener = {
            let _guard = runtime.enter();
            TcpListener::from_std(listener).map_err(failed)?
        };
        let (status, mut phases) = (Arc::clone(&self.status), self.phase.subscribe());
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    () = admin::serve(listener, status) => {}
                    () = stopping(&mut phases) => {}
                }
            });
        });
        self.threads.push(thread.map_err(StartError::Worker)?);
        Ok(bound)
    }

    /// Waits until a worker fails, which it never should; without a failure it waits for ever.
    pub async fn failure(&mut self) -> io::Error {
        match self.failures.recv().await {
            Some(error) => error,
            None => io::Error::other("all workers have ended"),
        }
    }

    /// From now on refuses allocations, so that clients go elsewhere. Those that there are go on.
    pub fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let is_first = *phase == Phase::Serving;
            if is_first {
                *phase = Phase::Draining;
            }
            is_first
        });
    }

    /// Waits after [`Self::drain`] until the last allocation has ended.
    pub async fn drained(&self) {
        let mut looks = tokio::time::interval(DRAIN_LOOK);
        loop {
            looks.tick().await;
            let workers = self.status.totals();
            if workers.iter().all(|it| it.is_draining && it.sessions.sum() == 0) {
                return;
            }
        }
    }

    /// How many allocations there were a second ago at most.
    pub fn sessions(&self) -> u64 {
        self.status.totals().iter().map(|it| it.sessions.sum()).sum()
    }

    /// Ends all sessions and closes all sockets.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.phase.send_replace(Phase::Stopping);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The certificate and key, if a listener needs them.
pub(crate) fn identity(config: &Config) -> Result<Option<Identity>, TlsError> {
    let needs_tls = config.listen.iter().any(|it| it.transport == Transport::Tls);
    needs_tls.then(|| Identity::load(&config.tls)).transpose()
}

/// What each worker is made of.
fn plan(config: &Config, peers: PeerPolicy, reread: Arc<Notify>, workers: usize) -> io::Result<Plan> {
    let random = ring::rand::SystemRandom::new();
    let (mut nonce_key, mut seed) = ([0; 32], [0; 8]);
    for bytes in [&mut nonce_key[..], &mut seed] {
        random.fill(bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    }
    let limits = &config.limits;
    let share = |of_all: usize| of_all.div_ceil(workers);
    let settings = Settings {
        realm: config.realm.clone(),
        nonce_key: NonceKey::new(&nonce_key),
        credentials: Credentials {
            users: config.auth.users.clone(),
            secrets: config.auth.secrets.clone(),
            expiry_grace: config.auth.expiry_grace,
        },
        secrets_rotate: config.auth.postgres.is_some(),
        peers,
        families: config.relay.address.iter().map(|ip| Family::of(SocketAddr::new(*ip, 0))).collect(),
        limits: Limits {
            sessions: share(limits.sessions),
            sessions_per_address: Some(limits.sessions_per_address).filter(|limit| *limit > 0),
            permissions: limits.permissions,
            channels: limits.channels,
        },
        transaction_seed: u64::from_be_bytes(seed),
    };
    let mut limits = config.limits.clone();
    limits.strangers = share(limits.strangers);
    Ok(Plan { settings, relaying: config.relay.clone(), limits, reread })
}

/// Waits until the relay's threads have to end.
async fn stopping(phases: &mut watch::Receiver<Phase>) {
    let _ = phases.wait_for(|phase| *phase == Phase::Stopping).await;
}

/// The event loop of a thread that serves no clients.
fn background_runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Worker)
}

type Policies = watch::Receiver<Arc<PeerPolicy>>;

/// Where threads say why they ended, if they should not have.
type Failed = mpsc::UnboundedSender<io::Error>;

/// Starts a thread. Its failure, a panic too, is the relay's: without one of its parts it would only look alive.
fn spawn(
    name: String,
    failed: &Failed,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let (failed, panicked) = (failed.clone(), format!("{name} panicked"));
    let thread = thread::Builder::new().name(name).spawn(move || {
        // Nothing of the thread outlives its panic.
        let ended = panic::catch_unwind(AssertUnwindSafe(run));
        if let Err(error) = ended.unwrap_or_else(|_| Err(io::Error::other(panicked))) {
            let _ = failed.send(error);
        }
    });
    thread.map_err(StartError::Worker)
}

/// Finds out what the peer rules leave open, now and on a thread that goes on doing it.
fn resolve(
    config: &Config,
    status: Arc<Status>,
    failed: &Failed,
    mut phases: watch::Receiver<Phase>,
) -> Result<(PeerPolicy, Policies, JoinHandle<()>), StartError> {
    let mut resolver = Resolver::new(config.peers.clone());
    let (publish, policies) = watch::channel(Arc::new(resolver.policy()));
    let runtime = background_runtime()?;
    let (done, first) = std::sync::mpsc::channel();
    let every = config.peers.resolve_every;
    let resolving = async move {
        if !resolver.has_questions() {
            let _ = done.send(());
            return;
        }
        status.set(Need::Peers, Condition::Unmet("not looked up yet".to_owned()));
        loop {
            resolver.resolve().await;
            status.set(Need::Peers, peers_condition(&resolver));
            let policy = Arc::new(resolver.policy());
            publish.send_if_modified(|published| {
                let is_new = *published != policy;
                *published = policy;
                is_new
            });
            let _ = done.send(());
            let pause = if resolver.is_incomplete() { every.min(IMPATIENCE) } else { every };
            tokio::time::sleep(pause).await;
        }
    };
    let thread = spawn("resolver".to_owned(), failed, move || {
        runtime.block_on(async {
            tokio::select! {
                () = resolving => {}
                () = stopping(&mut phases) => {}
            }
        });
        Ok(())
    })?;
    let _ = first.recv_timeout(FIRST_RESOLUTION);
    let policy = PeerPolicy::clone(&policies.borrow());
    Ok((policy, policies, thread))
}

/// A relay that finds some of its peers is better than none.
fn peers_condition(resolver: &Resolver) -> Condition {
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
fn read_secrets(
    config: &Config,
    reread: Arc<Notify>,
    status: Arc<Status>,
    failed: &Failed,
    mut phases: watch::Receiver<Phase>,
) -> Result<(watch::Receiver<Reading>, Option<JoinHandle<()>>), StartError> {
    let (publish, readings) = watch::channel(Reading::pending());
    let Some(postgres) = config.auth.postgres.clone() else { return Ok((readings, None)) };
    let auth = &config.auth;
    let database = Database::new(postgres, config.realm.clone(), auth.postgres_every, auth.expiry_grace);
    let others = if auth.users.is_empty() && auth.secrets.is_empty() { Others::None } else { Others::Some };
    status.set(Need::Database, readings.borrow().condition(others));
    let runtime = background_runtime()?;
    let thread = spawn("database".to_owned(), failed, move || {
        runtime.block_on(async {
            let publish = |reading: Reading| {
                status.set(Need::Database, reading.condition(others));
                status.update(|facts| facts.database_secrets = Some(reading.secrets.len()));
                publish.send_replace(reading);
            };
            tokio::select! {
                () = database.follow(&reread, publish) => {}
                () = stopping(&mut phases) => {}
            }
        });
        Ok(())
    })?;
    Ok((readings, Some(thread)))
}
