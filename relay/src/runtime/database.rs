//! Reads the secrets that Reticulum keeps in `PostgreSQL`, now and then, and when somebody shows one that is not known.
//!
//! Hubs puts pgbouncer in front of the database. So each reading is a connection of its own with a single unnamed
//! statement, which any pooling mode carries, and no start-up parameter that pgbouncer would refuse. The table's schema
//! is always named: Reticulum's search path does not have it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::select_ok;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, NoTls};
use tracing::{info, warn};

use super::status::Condition;
use crate::auth::{Rotation, Secret};
use crate::net::resolve::lookup;

const DEFAULT_PORT: u16 = 5432;
/// Neither NULL nor empty: anybody can sign with an empty secret.
const QUERY: &str = "SELECT value FROM coturn.turn_secret WHERE realm = $1 AND value <> '' ORDER BY inserted_at DESC LIMIT 64";

/// A reading that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The least time from the end of one reading to the next, so that wrong passwords cannot hammer the database.
const REST: Duration = Duration::from_secs(1);

/// The database, and what is known of its secrets.
#[derive(Debug)]
pub(super) struct Database {
    config: Config,
    realm: String,
    every: Duration,
    known: Rotation,
    state: State,
}

/// How the last reading went, so that only changes are logged.
#[derive(Debug, PartialEq)]
enum State {
    Unread,
    /// With this many secrets.
    Read(usize),
    Failed(String),
}

/// What a reading left.
#[derive(Debug)]
pub(super) struct Reading {
    /// When it began: who asked for one later is not answered by it.
    pub(super) began: Instant,
    /// All secrets that are known after it.
    pub(super) secrets: Vec<Secret>,
    /// Why they are not those of the database, or why there are none.
    pub(super) failure: Option<String>,
}

#[derive(Debug, Error)]
enum ReadError {
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Silence,
    #[error("{0}")]
    Name(String),
    #[error("{0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("{}", explain(.0))]
    Postgres(#[from] tokio_postgres::Error),
}

impl Database {
    /// The database of `config`, of which the secrets of `realm` count, each for `grace` longer than it is there.
    pub(super) const fn new(config: Config, realm: String, every: Duration, grace: Duration) -> Self {
        Self { config, realm, every, known: Rotation::new(grace), state: State::Unread }
    }

    /// Goes by other settings from now on. The secrets that are known stay known.
    pub(super) fn set(&mut self, config: Config, every: Duration, grace: Duration) {
        self.config = config;
        self.every = every;
        self.known.set_grace(grace);
    }

    /// Reads again and again, for ever, and at once when `wanted`; each reading, a failed one too, is published.
    pub(super) async fn follow(&mut self, wanted: &Notify, mut publish: impl FnMut(Reading)) {
        loop {
            let began = Instant::now();
            let result = timeout(TIMEOUT, self.read()).await.unwrap_or(Err(ReadError::Silence));
            self.learn(result);
            let (secrets, failure) = (self.known.secrets().cloned().collect(), self.failure());
            publish(Reading { began, secrets, failure });
            sleep(REST).await;
            let pause = if matches!(self.state, State::Failed(_)) { REST * 4 } else { self.every };
            let _ = timeout(pause, wanted.notified()).await;
        }
    }

    async fn read(&self) -> Result<Vec<Secret>, ReadError> {
        let (client, connection) = self.config.connect_raw(self.open().await?, NoTls).await?;
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&self.realm, Type::TEXT)];
        let rows = tokio::select! {
            rows = client.query_typed(QUERY, &parameters) => rows?,
            Err(error) = connection => return Err(error.into()),
        };
        rows.iter().map(|row| Ok(Secret::from(row.try_get::<_, String>(0)?))).collect()
    }

    /// The client's own way to connect would ask the system for addresses, which a static binary can't.
    async fn open(&self) -> Result<TcpStream, ReadError> {
        let (host, port) = host(&self.config);
        connect(lookup(host).await.map_err(ReadError::Name)?, port).await
    }

    fn learn(&mut self, result: Result<Vec<Secret>, ReadError>) {
        let (place, realm) = (place(&self.config), self.realm.as_str());
        let state = match result {
            Ok(secrets) => {
                let count = secrets.len();
                self.known.learn(Instant::now(), secrets);
                State::Read(count)
            }
            Err(error) => State::Failed(error.to_string()),
        };
        match &state {
            _ if state == self.state => {}
            State::Read(0) => warn!(
                "{place} has no secret for realm {realm:?} in coturn.turn_secret: nobody can allocate until Reticulum \
                 has written one; is this its realm?"
            ),
            State::Read(count) => info!(count, "{place} has secrets for realm {realm:?}"),
            State::Failed(reason) => {
                let known = self.known.secrets().count();
                warn!(known, "cannot read secrets from {place}: {reason}; those that are known stay valid");
            }
            State::Unread => {}
        }
        self.state = state;
    }

    fn failure(&self) -> Option<String> {
        match &self.state {
            State::Read(0) => Some(format!("no secret for realm {:?} in coturn.turn_secret", self.realm)),
            State::Failed(reason) => Some(format!("cannot read {}: {reason}", place(&self.config))),
            State::Unread | State::Read(_) => None,
        }
    }
}

impl Reading {
    /// Before the first one.
    pub(super) fn pending() -> Self {
        let failure = Some("not read yet".to_owned());
        Self { began: Instant::now(), secrets: Vec::new(), failure }
    }

    /// How the need for secrets is met after this reading, for a relay that has `others` beside it.
    pub(super) fn condition(&self, others: Others) -> Condition {
        match &self.failure {
            None => Condition::Met,
            Some(reason) if others == Others::None && self.secrets.is_empty() => {
                Condition::Unmet(reason.clone())
            }
            Some(reason) => Condition::Stale(reason.clone()),
        }
    }
}

/// Who may allocate whatever the database says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Others {
    /// Nobody.
    None,
    /// Users or secrets of the configuration.
    Some,
}

/// Connects to whichever of the addresses, of which there is at least one, is the first to let us: one that is silent must
/// not use up the time.
async fn connect(addresses: Vec<IpAddr>, port: u16) -> Result<TcpStream, ReadError> {
    let attempts = addresses.into_iter().map(|address| {
        let place = SocketAddr::new(address, port);
        Box::pin(
            async move { TcpStream::connect(place).await.map_err(|error| ReadError::Connect(place, error)) },
        )
    });
    Ok(select_ok(attempts).await?.0)
}

/// Where the database is, without a password.
pub(super) fn place(config: &Config) -> String {
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or_default();
    let (host, port) = host(config);
    format!("database {database} at {host}:{port}")
}

/// The host and the port; the configuration has made sure that there is exactly one host.
fn host(config: &Config) -> (&str, u16) {
    let port = config.get_ports().first().copied().unwrap_or(DEFAULT_PORT);
    match config.get_hosts() {
        [Host::Tcp(name), ..] => (name, port),
        _ => ("", port),
    }
}

/// What went wrong, and what to do about it where that is known.
fn explain(error: &tokio_postgres::Error) -> String {
    let advice = match error.code() {
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME) => {
            "; is this Reticulum's database, and have its migrations run?"
        }
        Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            "; compare auth.postgres (PSQL) with the secret `configs`"
        }
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => "; grant the user SELECT on coturn.turn_secret",
        _ => "",
    };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    // A server's words go to the log: on one line, and without what a terminal would obey.
    let text: String = text.chars().flat_map(char::escape_debug).take(300).collect();
    text + advice
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn secrets_that_are_known_stay_good_enough_when_the_database_is_away() {
        let reading = |secrets: &[&str], failure: Option<&str>| Reading {
            began: Instant::now(),
            secrets: secrets.iter().copied().map(Secret::from).collect(),
            failure: failure.map(str::to_owned),
        };
        let (alone, away) = (Others::None, Some("away"));
        assert_eq!(reading(&["s"], None).condition(alone), Condition::Met);
        assert_eq!(reading(&["s"], away).condition(alone), Condition::Stale("away".to_owned()));
        assert_eq!(reading(&[], away).condition(alone), Condition::Unmet("away".to_owned()));
        assert_eq!(reading(&[], away).condition(Others::Some), Condition::Stale("away".to_owned()));
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_keep_us_from_another_that_does() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let silent = socket.local_addr().unwrap().as_socket().unwrap();
        let answering = TcpListener::bind(("127.0.0.3", silent.port())).unwrap();
        let answers = answering.local_addr().unwrap();
        // Nobody takes them, and the kernel has no room for more.
        let _waiting = [(); 2].map(|()| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&silent.into());
            socket
        });
        let connected = timeout(TIMEOUT, connect(vec![silent.ip(), answers.ip()], silent.port())).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), answers);
    }

    #[tokio::test(start_paused = true)]
    async fn however_often_somebody_asks_the_database_is_asked_once_a_second_at_most() {
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::new();
        config.host("127.0.0.1").port(refusing.local_addr().unwrap().port()).user("u");
        drop(refusing);
        let mut database =
            Database::new(config, "turkey".to_owned(), Duration::from_hours(1), Duration::ZERO);
        let (wanted, readings) = (Notify::new(), AtomicUsize::new(0));
        let following = database.follow(&wanted, |_| _ = readings.fetch_add(1, Ordering::Relaxed));
        let asking = async {
            for _ in 0..1000 {
                wanted.notify_one();
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = following => {}
            () = asking => {}
        }
        assert!((2..=11).contains(&readings.load(Ordering::Relaxed)), "{readings:?} in 10 s");
    }
}
