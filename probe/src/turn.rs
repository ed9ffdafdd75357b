//! A TURN client over TLS or UDP (RFC 8656), which does what a browser's does: challenge, allocation, permissions, channels.
//!
//! A [`Client`] has no allocation yet, an [`Allocation`] has one and is a [`Path`] for datagrams. Every wait for the server is
//! bounded, and so is what is kept of what it sends unasked. Ending the connection ends the allocation as well.

mod connection;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hubs_relay::{
    auth::{RestCredential, Secret},
    wire::{Builder, ChannelNumber, Class, ErrorCode, IntegrityKey, Message, Method, NotTurn, PROTOCOL_UDP},
};
use tokio::{net::UdpSocket, time::Instant};

use self::connection::{ANSWER_LIMIT, Connection};
use crate::{
    ice::Path,
    net::{ConnectError, Judgement, Net, TlsError, Trust},
    target::TurnLogin,
};

/// How many nonces are tried for one request. A second one is normal, when the first has grown old.
const MOST_NONCES: usize = 3;

/// For how long Reticulum's credentials are good.
const CREDENTIAL_LIFETIME: Duration = Duration::from_mins(2);

/// Why TURN did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// There is no TLS connection.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server takes what we send and does not answer.
    #[error("the server does not answer {0} within {limit} s", limit = ANSWER_LIMIT.as_secs())]
    Silent(Request),
    /// The server ended the connection.
    #[error("the server closes the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection breaks: {0}")]
    Broken(#[source] io::Error),
    /// What came is not TURN.
    #[error("what answers is no TURN server: {0}")]
    NotTurn(#[from] NotTurn),
    /// What came is TURN, but makes no sense.
    #[error("the answer to {request} makes no sense: {what}")]
    Malformed {
        /// What was asked.
        request: Request,
        /// What is wrong with the answer.
        what: String,
    },
    /// The server says no.
    #[error("the server refuses {request}: {refusal}")]
    Refused {
        /// What was asked.
        request: Request,
        /// How it says so.
        refusal: Refusal,
    },
    /// The server does not ask who we are.
    #[error("the server allocates for anybody, without credentials")]
    Open,
    /// Each nonce is out of date as soon as it is given out.
    #[error("the server calls every nonce stale, even one that it has just given out")]
    AlwaysStale,
    /// The answer was not made with the password.
    #[error("the answer to {0} is not signed with the password, so it is not from the server that knows it")]
    Unsigned(Request),
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// STUN's error code.
    pub code: ErrorCode,
    /// What the server says about it.
    pub reason: String,
}

impl Refusal {
    fn read(request: Request, answer: &Message) -> Result<Self, TurnError> {
        match answer.error_code() {
            // coturn counts the padding as text.
            Ok(Some((code, reason))) => Ok(Self { code, reason: reason.trim_end_matches('\0').to_owned() }),
            Ok(None) => Err(malformed(request, "it is an error without a code")),
            Err(e) => Err(malformed(request, e)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.as_str() {
            "" => write!(f, "{}", self.code),
            reason => write!(f, "{} {reason}", self.code.0),
        }
    }
}

/// What a server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// A relayed address.
    Allocate,
    /// Keeping the relayed address, or giving it back.
    Refresh,
    /// Letting packets of a peer through.
    CreatePermission,
    /// A short name for a peer.
    ChannelBind,
}

impl From<Request> for Method {
    fn from(request: Request) -> Self {
        match request {
            Request::Allocate => Self::Allocate,
            Request::Refresh => Self::Refresh,
            Request::CreatePermission => Self::CreatePermission,
            Request::ChannelBind => Self::ChannelBind,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A user name and its password.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user name.
    pub username: String,
    password: Secret,
}

impl Login {
    /// What the operator gave; from a secret a login is derived that is good for two minutes, as Reticulum does it.
    pub fn given(login: &TurnLogin) -> Self {
        match login {
            TurnLogin::User { name, password } => {
                Self { username: name.clone(), password: Secret::from(password.as_str()) }
            }
            TurnLogin::Secret(secret) => {
                let expiry =
                    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + CREDENTIAL_LIFETIME;
                let made = RestCredential::new(&Secret::from(secret.as_str()), "coturn", expiry.as_secs());
                Self { username: made.username, password: made.password }
            }
        }
    }

    /// A user name and its password.
    pub fn new(username: &str, password: &str) -> Self {
        Self { username: username.to_owned(), password: Secret::from(password) }
    }

    /// How many seconds ago a user name of the form `expiry:name` ran out by this machine's clock, if it did.
    pub fn expired_for(&self) -> Option<u64> {
        let expiry: u64 = self.username.split(':').next()?.parse().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        now.checked_sub(expiry).filter(|late| *late > 0)
    }
}

/// The server's demand for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// For which realm; Hubs says `turkey`.
    pub realm: String,
    nonce: String,
    /// What the server calls itself, if it says.
    pub software: Option<String>,
    /// How long the server took to ask for them.
    pub round_trip: Duration,
}

/// A connection to a TURN server, without an allocation.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    judgement: Option<Judgement>,
    connected_in: Duration,
}

impl Client {
    /// Connects over TLS, whatever the certificate: what a browser would make of it is in [`Self::judgement`].
    pub async fn connect(net: &Net, host: &str, port: u16) -> Result<Self, TurnError> {
        let begin = Instant::now();
        let (stream, presented) = net.tls(host, port, Trust::Anything).await?;
        Ok(Self {
            connection: Connection::over_tls(stream),
            judgement: Some(presented.judgement),
            connected_in: begin.elapsed(),
        })
    }

    /// Takes a socket for datagrams to the first address of the server. Nothing is sent yet.
    pub async fn over_udp(net: &Net, host: &str, port: u16) -> Result<Self, TurnError> {
        let connect = |e| TurnError::Tls(TlsError::Connect(e));
        let route = net.route(host, port).await.map_err(|e| connect(ConnectError::Resolve(e)))?;
        let Some(&server) = route.first() else { return Err(TurnError::Closed) };
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await.map_err(TurnError::Broken)?;
        socket.connect(server).await.map_err(TurnError::Broken)?;
        Ok(Self { connection: Connection::over_udp(socket), judgement: None, connected_in: Duration::ZERO })
    }

    /// What a browser makes of the server's certificate, if it showed one.
    pub const fn judgement(&self) -> Option<&Judgement> {
        self.judgement.as_ref()
    }

    /// How long TCP and TLS took to connect.
    pub const fn connected_in(&self) -> Duration {
        self.connected_in
    }

    /// Asks for an allocation without credentials, which is how every client learns realm and nonce (RFC 8489
    /// section 9.2.3).
    pub async fn challenge(&mut self) -> Result<Challenge, TurnError> {
        let request = Request::Allocate;
        let (answer, round_trip) =
            self.connection.exchange(request, |m| m.requested_transport(PROTOCOL_UDP)).await?;
        if answer.class() == Class::Success {
            return Err(TurnError::Open);
        }
        let refusal = Refusal::read(request, &answer)?;
        if refusal.code != ErrorCode::UNAUTHENTICATED {
            return Err(TurnError::Refused { request, refusal });
        }
        match (answer.realm(), answer.nonce()) {
            (Ok(Some(realm)), Ok(Some(nonce))) => Ok(Challenge {
                realm: realm.to_owned(),
                nonce: nonce.to_owned(),
                software: answer.software().ok().flatten().map(str::to_owned),
                round_trip,
            }),
            _ => Err(malformed(request, "it wants credentials, but names no realm or no nonce")),
        }
    }

    /// Asks for a relayed address with credentials. No family is asked for, as no browser does: it will be IPv4.
    pub async fn allocate(self, challenge: Challenge, login: &Login) -> Result<Allocation, TurnError> {
        let Self { mut connection, .. } = self;
        let mut session = Session::new(challenge, login);
        let request = Request::Allocate;
        let answer = session.ask(&mut connection, request, |m| m.requested_transport(PROTOCOL_UDP)).await?;
        match (answer.xor_relayed_address(), answer.xor_mapped_address()) {
            (Ok(Some(relayed)), Ok(mapped)) => Ok(Allocation { connection, session, relayed, mapped }),
            (Ok(None), _) => Err(malformed(request, "it names no relayed address")),
            (Err(e), _) | (_, Err(e)) => Err(malformed(request, e)),
        }
    }
}

/// A relayed address, and the way for datagrams through it.
#[derive(Debug)]
pub struct Allocation {
    connection: Connection,
    session: Session,
    relayed: SocketAddr,
    mapped: Option<SocketAddr>,
}

impl Allocation {
    /// Lets packets of `peer` in, and ours out to it.
    pub async fn permit(&mut self, peer: SocketAddr) -> Result<(), TurnError> {
        let request = Request::CreatePermission;
        self.session.ask(&mut self.connection, request, |m| m.xor_peer_address(peer)).await.map(drop)
    }

    /// Gives `peer` a channel, which everything that is sent to it takes from now on.
    pub async fn bind_channel(&mut self, peer: SocketAddr) -> Result<(), TurnError> {
        let request = Request::ChannelBind;
        let number = ChannelNumber::MIN.get() + self.connection.inbox.channels.len() as u16;
        let channel = ChannelNumber::new(number).ok_or_else(|| malformed(request, "no channel is left"))?;
        let describe = |m: Builder| m.channel_number(channel).xor_peer_address(peer);
        self.session.ask(&mut self.connection, request, describe).await?;
        self.connection.inbox.channels.push((channel, peer));
        Ok(())
    }

    /// Keeps the relayed address for as long again.
    pub async fn refresh(&mut self) -> Result<(), TurnError> {
        self.session.ask(&mut self.connection, Request::Refresh, |m| m).await.map(drop)
    }

    /// Gives the relayed address back and ends the connection.
    pub async fn release(mut self) -> Result<(), TurnError> {
        let request = Request::Refresh;
        let answer = self.session.ask(&mut self.connection, request, |m| m.lifetime(Duration::ZERO)).await;
        self.connection.shutdown().await;
        answer.map(drop)
    }

    /// Gives the relayed address back, and asks for it once more, which a server that let it go has to refuse with 437 (RFC
    /// 8656 section 7.2). The connection ends.
    pub async fn release_for_good(mut self) -> Result<Result<(), TurnError>, TurnError> {
        let request = Request::Refresh;
        let released = self.session.ask(&mut self.connection, request, |m| m.lifetime(Duration::ZERO)).await;
        let again = match released {
            Ok(_) => Ok(self.session.ask(&mut self.connection, request, |m| m).await.map(drop)),
            Err(e) => Err(e),
        };
        self.connection.shutdown().await;
        again
    }

    /// How long the server took to answer the last request of this kind, if there was one.
    pub fn round_trip(&self, request: Request) -> Option<Duration> {
        self.session.round_trips.get(&request).copied()
    }

    /// Where relayed packets come from, as the server says.
    pub const fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    /// Where the server sees us, if it says.
    pub const fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }
}

impl Path for Allocation {
    type Error = TurnError;

    async fn send(&mut self, datagram: &[u8], to: SocketAddr) -> Result<(), TurnError> {
        self.connection.send(datagram, to).await
    }

    async fn receive(&mut self) -> Result<(Vec<u8>, SocketAddr), TurnError> {
        loop {
            if let Some(arrived) = self.connection.inbox.datagrams.pop_front() {
                return Ok(arrived);
            }
            self.connection.read().await?;
        }
    }
}

/// What shows in each request who we are.
#[derive(Debug)]
struct Session {
    username: String,
    realm: String,
    nonce: String,
    key: IntegrityKey,
    /// How long the last answer to each kind of request took.
    round_trips: BTreeMap<Request, Duration>,
}

impl Session {
    fn new(challenge: Challenge, login: &Login) -> Self {
        let Challenge { realm, nonce, .. } = challenge;
        let key = IntegrityKey::long_term(&login.username, &realm, login.password.expose());
        Self { username: login.username.clone(), realm, nonce, key, round_trips: BTreeMap::new() }
    }

    /// Asks, and asks again when the nonce was out of date (RFC 8489 section 9.2.5).
    async fn ask(
        &mut self,
        connection: &mut Connection,
        request: Request,
        describe: impl Fn(Builder) -> Builder,
    ) -> Result<Message, TurnError> {
        for _ in 0..MOST_NONCES {
            let (answer, round_trip) = connection.exchange(request, |m| self.sign(describe(m))).await?;
            self.round_trips.insert(request, round_trip);
            if answer.class() == Class::Success {
                return if answer.verify(&self.key) { Ok(answer) } else { Err(TurnError::Unsigned(request)) };
            }
            let refusal = Refusal::read(request, &answer)?;
            match answer.nonce() {
                Ok(Some(nonce)) if refusal.code == ErrorCode::STALE_NONCE => {
                    nonce.clone_into(&mut self.nonce);
                }
                _ => return Err(TurnError::Refused { request, refusal }),
            }
        }
        Err(TurnError::AlwaysStale)
    }

    fn sign(&self, message: Builder) -> Builder {
        message.username(&self.username).realm(&self.realm).nonce(&self.nonce).integrity(&self.key)
    }
}

fn malformed(request: Request, what: impl fmt::Display) -> TurnError {
    TurnError::Malformed { request, what: what.to_string() }
}

#[cfg(test)]
mod tests;
