//! Start, run and stop: a relay as a whole.

mod admin;
mod background;
mod database;
mod listeners;
mod metrics;
mod pace;
mod signalling;
mod status;
mod summary;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ring::rand::SecureRandom;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, watch};
use tracing::info;

use crate::auth::Secret;
use crate::config::{Config, ConfigError, Limits, Listen, Transport};
use crate::gateway::Directory;
use crate::net::bind::{PortParity, Ports};
use crate::net::exchange::{Plan, session_limits};
use crate::net::tls::{Identity, TlsError};
use crate::turn::{NonceKey, PeerPolicy, Settings};
use crate::wire::Family;

use background::Common;
use listeners::Listeners;
use status::{Condition, Need, Status};
pub use summary::{Line, summary};

/// How often a relay that drains looks whether it is empty.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
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
    /// A listener's address, of which the relay has the port already.
    #[error(
        "cannot listen on {listen}: the relay itself has that port, for {other}; a restart is needed for this"
    )]
    Own {
        /// Which listener.
        listen: Listen,
        /// The one that has it.
        other: Box<Listen>,
    },
    /// A listener's address, of which another one is to have the port as well.
    #[error(
        "cannot listen on {listen}: listen has that port twice, for {other} as well; take one of them out"
    )]
    Twice {
        /// Which listener.
        listen: Listen,
        /// The other one.
        other: Box<Listen>,
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

/// Why a relay goes on with the configuration that it has.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The new one cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its listeners.
    #[error(transparent)]
    Start(#[from] StartError),
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
    /// It serves those who have an allocation or a WebSocket of dialog's.
    Draining,
    /// All its threads end.
    Stopping,
}

/// A relay that runs, on threads of its own.
#[derive(Debug)]
pub struct Relay {
    /// What it was started with.
    config: Config,
    /// Tells the threads of another.
    configs: watch::Sender<Arc<Config>>,
    listeners: Listeners,
    /// That of the gateway, if there is one.
    signalling: Option<Listeners>,
    common: Common,
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
    failures: mpsc::UnboundedReceiver<io::Error>,
}

impl Relay {
    /// Opens all sockets, then serves clients until [`Self::shutdown`] or until it is dropped.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        if config.relay.address.is_empty() {
            return Err(StartError::Nothing("relay.address"));
        }
        let identity = identity(config)?;
        for &address in &config.relay.address {
            Ports::new(address, config.relay.ports)
                .open(PortParity::Any, 0)
                .map_err(|source| StartError::RelayAddress { address, source })?;
        }
        let workers = match config.relay.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let (mut listeners, shares) = Listeners::new(workers);
        listeners.serve(listeners.open(&config.listen)?, identity.as_ref())?;
        let (phase, phases) = watch::channel(Phase::Serving);
        let (publish, configs) = watch::channel(Arc::new(config.clone()));
        let (failed, failures) = mpsc::unbounded_channel();
        let gateway = config.gateway.listen.is_some().then(|| status::Shared {
            directory: Arc::new(Directory::new(Instant::now())),
            tally: Arc::default(),
        });
        let status = Arc::new(Status::new(workers).with_gateway(gateway.clone()));
        let common = Common { configs, phases, status, failed };
        let (policies, resolving) = background::resolve(&common)?;
        let mut relay = Self {
            config: config.clone(),
            configs: publish,
            listeners,
            signalling: None,
            common: common.clone(),
            phase,
            threads: vec![resolving],
            failures,
        };
        relay.note_certificate(identity.as_ref());
        let reread = Arc::new(Notify::new());
        let (readings, reading) = background::read_secrets(&common, Arc::clone(&reread))?;
        relay.threads.extend(reading);
        if let (Some(gateway), Some(listen)) = (&gateway, &config.gateway.listen) {
            let (mut listeners, mut shares) = Listeners::new(1);
            listeners.serve(listeners.open(std::slice::from_ref(listen))?, identity.as_ref())?;
            let shares = shares.pop().ok_or(StartError::Nothing("gateway.listen"))?;
            relay.threads.push(signalling::serve(&common, gateway.clone(), shares)?);
            relay.signalling = Some(listeners);
        }
        let peers = PeerPolicy::clone(&policies.borrow());
        let directory = gateway.map(|it| it.directory);
        let plan = plan(config, peers, reread, directory, workers).map_err(StartError::Worker)?;
        for (number, shares) in shares.into_iter().enumerate() {
            let worker = worker::Worker {
                number,
                workers,
                plan: plan.clone(),
                shares,
                policies: policies.clone(),
                configs: common.configs.clone(),
                readings: readings.clone(),
                status: Arc::clone(&common.status),
                phase: common.phases.clone(),
            };
            relay.threads.push(common.spawn(format!("worker-{number}"), move || worker.run())?);
        }
        Ok(relay)
    }

    /// Where it listens: what the configuration says, with the port that was taken for each port 0.
    pub fn listeners(&self) -> &[Listen] {
        self.listeners.actual()
    }

    /// Where it takes signalling, if it is a gateway: as [`Self::listeners`].
    pub fn signalling(&self) -> Option<&Listen> {
        self.signalling.as_ref()?.actual().first()
    }

    /// Answers `/livez`, `/readyz`, `/peers` and `/metrics` at this address as well, and returns it with the port that was taken.
    pub fn serve_admin(&mut self, address: SocketAddr) -> Result<SocketAddr, StartError> {
        let failed = |source| StartError::Admin { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        self.threads.push(background::serve_admin(&self.common, listener)?);
        Ok(bound)
    }

    /// Goes by another configuration from now on: all of it that can change while sessions go on, or nothing of it if it
    /// cannot be used. Returns the keys for which a restart is needed. A configuration that could not even be read is
    /// noted, so that health and metrics tell.
    pub fn reload(&mut self, config: Result<Config, ConfigError>) -> Result<Vec<&'static str>, ReloadError> {
        let result = config.map_err(ReloadError::from).and_then(|config| self.apply(config));
        let status = &self.common.status;
        match &result {
            Ok(_) => {
                status.update(|facts| facts.reloads += 1);
                status.set(Need::Configuration, Condition::Met);
            }
            Err(error) => {
                status.update(|facts| facts.failed_reloads += 1);
                status.set(Need::Configuration, Condition::Stale(error.to_string()));
            }
        }
        result
    }

    fn apply(&mut self, config: Config) -> Result<Vec<&'static str>, ReloadError> {
        let identity = identity(&config)?;
        let before = self.listeners().to_vec();
        let opened = self.listeners.open(&config.listen)?;
        let signalling = match (&mut self.signalling, &config.gateway.listen) {
            (Some(signalling), Some(listen)) => {
                Some((signalling.open(std::slice::from_ref(listen))?, signalling))
            }
            _ => None,
        };
        self.listeners.serve(opened, identity.as_ref())?;
        if let Some((opened, signalling)) = signalling {
            signalling.serve(opened, identity.as_ref())?;
        }
        log_difference("listens on", self.listeners(), &before);
        log_difference("listens no longer on", &before, self.listeners());
        self.note_certificate(identity.as_ref());
        let unchanged = unchangeable(&self.config, &config);
        self.configs.send_replace(Arc::new(config));
        Ok(unchanged)
    }

    fn note_certificate(&self, identity: Option<&Identity>) {
        let expires = identity.and_then(|it| it.description.expires);
        self.common.status.update(|facts| facts.certificate_expires = expires);
    }

    /// Waits until a worker fails, which it never should; without a failure it waits for ever.
    pub async fn failure(&mut self) -> io::Error {
        match self.failures.recv().await {
            Some(error) => error,
            None => io::Error::other("all workers have ended"),
        }
    }

    /// From now on refuses allocations and connections for signalling, so that clients go elsewhere. Those that there are go on.
    pub fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let is_first = *phase == Phase::Serving;
            if is_first {
                *phase = Phase::Draining;
            }
            is_first
        });
    }

    /// Waits after [`Self::drain`] until the last allocation has ended, and the last connection for signalling.
    pub fn drained(&self) -> impl Future<Output = ()> + use<> {
        let status = Arc::clone(&self.common.status);
        async move {
            let mut looks = tokio::time::interval(DRAIN_LOOK);
            loop {
                looks.tick().await;
                let is_empty = status.totals().iter().all(|it| it.is_draining && it.sessions.sum() == 0);
                if is_empty && status.signalling() == 0 {
                    return;
                }
            }
        }
    }

    /// How long allocations and WebSockets may go on after [`Self::drain`], as the configuration says by now.
    pub fn drain_deadline(&self) -> Duration {
        self.configs.borrow().limits.drain_deadline
    }

    /// How many allocations there were a second ago at most.
    pub fn sessions(&self) -> u64 {
        self.common.status.totals().iter().map(|it| it.sessions.sum()).sum()
    }

    /// How many calls go through the gateway, if there is one: connections for signalling, of which each browser has one.
    pub fn gateway_calls(&self) -> Option<u64> {
        self.signalling.as_ref().map(|_| self.common.status.signalling())
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

/// Names the listeners that others do not have.
fn log_difference(what: &str, listeners: &[Listen], others: &[Listen]) {
    let is_same =
        |one: &Listen, other: &Listen| one.transport == other.transport && one.address == other.address;
    for listen in listeners.iter().filter(|it| !others.iter().any(|other| is_same(it, other))) {
        info!("{what} {listen}");
    }
}

/// The certificate and key, if a listener needs them.
pub(crate) fn identity(config: &Config) -> Result<Option<Identity>, TlsError> {
    let listeners = config.listen.iter().chain(&config.gateway.listen);
    let needs_tls = listeners.into_iter().any(|it| it.transport == Transport::Tls);
    needs_tls.then(|| Identity::load(&config.tls)).transpose()
}

/// What each worker is made of.
fn plan(
    config: &Config,
    peers: PeerPolicy,
    reread: Arc<Notify>,
    directory: Option<Arc<Directory>>,
    workers: usize,
) -> io::Result<Plan> {
    let random = ring::rand::SystemRandom::new();
    let (mut random_key, mut seed) = ([0; 32], [0; 8]);
    for bytes in [&mut random_key[..], &mut seed] {
        random.fill(bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    }
    let limits = share(&config.limits, workers);
    let settings = Settings {
        realm: config.realm.clone(),
        nonce_key: match &config.auth.nonce_secret {
            Some(shared) => NonceKey::derived(shared),
            None => NonceKey::new(&random_key),
        },
        credentials: config.auth.credentials(),
        secrets_rotate: config.auth.postgres.is_some(),
        peers,
        families: config.relay.address.iter().map(|ip| Family::of(SocketAddr::new(*ip, 0))).collect(),
        limits: session_limits(&limits),
        transaction_seed: u64::from_be_bytes(seed),
    };
    let relaying = config.relay.clone();
    let ports = relaying.address.iter().map(|address| Ports::new(*address, relaying.ports)).collect();
    Ok(Plan { settings, relaying, ports, limits, reread, directory })
}

/// A worker's part of what is shared out between all.
fn share(limits: &Limits, workers: usize) -> Limits {
    let share = |of_all: usize| of_all.div_ceil(workers);
    Limits { sessions: share(limits.sessions), strangers: share(limits.strangers), ..limits.clone() }
}

/// The keys that differ and take effect with a start only.
fn unchangeable(old: &Config, new: &Config) -> Vec<&'static str> {
    fn nonce_secret(config: &Config) -> Option<&str> {
        config.auth.nonce_secret.as_ref().map(Secret::expose)
    }
    let has_database = |config: &Config| config.auth.postgres.is_some();
    let keys = [
        ("realm", old.realm != new.realm),
        ("relay", old.relay != new.relay),
        ("auth.postgres", has_database(old) != has_database(new)),
        ("auth.nonce_secret", nonce_secret(old) != nonce_secret(new)),
        ("gateway.listen", old.gateway.listen.is_some() != new.gateway.listen.is_some()),
        ("admin.address", old.admin.address != new.admin.address),
        ("log.format", old.log.format != new.log.format),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
