//! A TURN client over TLS (RFC 8656), which does what a browser's does: challenge, allocation, permissions, channels.
//!
//! A [`Client`] has no allocation yet, an [`Allocation`] has one and is a [`Path`] for datagrams. Every wait for the server is
//! bounded, and so is what is kept of what it sends unasked. Ending the connection ends the allocation as well.

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hubs_relay::{
    auth::{RestCredential, Secret},
    wire::{
        Builder, ChannelData, ChannelNumber, Class, ErrorCode, Frame, Indication, IndicationKind,
        IntegrityKey, Message, Method, NotTurn, PROTOCOL_UDP, StreamDecoder, TransactionId,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    ice::Path,
    net::{Judgement, Net, TlsError, TlsStream, Trust},
    random,
    target::TurnLogin,
};

/// How long the server may take to answer a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);

/// How long the server may take to let us say goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How many nonces are tried for one request. A second one is normal, when the first has grown old.
const MOST_NONCES: usize = 3;

/// How many datagrams wait to be received. Those that do not fit are lost, as on the way.
const MOST_WAITING: usize = 64;

/// Nothing longer is taken from a server. Media fits into 1500 bytes; what is no TURN often reads like a huge frame.
const LONGEST_FRAME: usize = 2048;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// A connection to a TURN server, without an allocation.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    judgement: Judgement,
}

impl Client {
    /// Connects, whatever the certificate: what a browser would make of it is in [`Self::judgement`].
    pub async fn connect(net: &Net, host: &str, port: u16) -> Result<Self, TurnError> {
        let (stream, presented) = net.tls(host, port, Trust::Anything).await?;
        Ok(Self { connection: Connection::new(stream), judgement: presented.judgement })
    }

    /// What a browser makes of the server's certificate.
    pub const fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// Asks for an allocation without credentials, which is how every client learns realm and nonce (RFC 8489
    /// section 9.2.3).
    pub async fn challenge(&mut self) -> Result<Challenge, TurnError> {
        let request = Request::Allocate;
        let answer = self.connection.exchange(request, |m| m.requested_transport(PROTOCOL_UDP)).await?;
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
        let number = ChannelNumber::MIN.get() + self.connection.channels.len() as u16;
        let channel = ChannelNumber::new(number).ok_or_else(|| malformed(request, "no channel is left"))?;
        let describe = |m: Builder| m.channel_number(channel).xor_peer_address(peer);
        self.session.ask(&mut self.connection, request, describe).await?;
        self.connection.channels.push((channel, peer));
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
        let _ = timeout(CLOSE_LIMIT, self.connection.stream.shutdown()).await;
        answer.map(drop)
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
            if let Some(arrived) = self.connection.datagrams.pop_front() {
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
}

impl Session {
    fn new(challenge: Challenge, login: &Login) -> Self {
        let Challenge { realm, nonce, .. } = challenge;
        let key = IntegrityKey::long_term(&login.username, &realm, login.password.expose());
        Self { username: login.username.clone(), realm, nonce, key }
    }

    /// Asks, and asks again when the nonce was out of date (RFC 8489 section 9.2.5).
    async fn ask(
        &mut self,
        connection: &mut Connection,
        request: Request,
        describe: impl Fn(Builder) -> Builder,
    ) -> Result<Message, TurnError> {
        for _ in 0..MOST_NONCES {
            let answer = connection.exchange(request, |m| self.sign(describe(m))).await?;
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

/// Messages and datagrams on one TLS connection.
struct Connection {
    stream: TlsStream,
    decoder: StreamDecoder,
    channels: Vec<(ChannelNumber, SocketAddr)>,
    /// The request whose answer is waited for, and that answer, once it is there.
    awaited: TransactionId,
    answer: Option<Message>,
    datagrams: VecDeque<(Vec<u8>, SocketAddr)>,
}

impl Connection {
    fn new(stream: TlsStream) -> Self {
        let decoder = StreamDecoder::new(LONGEST_FRAME);
        Self {
            stream,
            decoder,
            channels: Vec::new(),
            awaited: TransactionId::default(),
            answer: None,
            datagrams: VecDeque::new(),
        }
    }

    /// Sends a request and waits for its answer. Datagrams that come meanwhile are kept.
    async fn exchange(
        &mut self,
        request: Request,
        describe: impl FnOnce(Builder) -> Builder,
    ) -> Result<Message, TurnError> {
        self.awaited = TransactionId(random::bytes());
        let message = describe(Builder::request(request.into(), self.awaited)).finish();
        let exchange = async {
            self.write(&message).await?;
            loop {
                self.read().await?;
                if let Some(answer) = self.answer.take() {
                    return Ok(answer);
                }
            }
        };
        timeout(ANSWER_LIMIT, exchange).await.map_err(|_| TurnError::Silent(request))?
    }

    /// Sends a datagram: on the peer's channel if it has one, else in a Send indication (RFC 8656 section 11).
    async fn send(&mut self, datagram: &[u8], to: SocketAddr) -> Result<(), TurnError> {
        let len = datagram.len();
        let channel = self.channels.iter().find(|(_, peer)| *peer == to).map(|(channel, _)| *channel);
        let framed = if let Some(channel) = channel {
            let header = ChannelData::header(channel, len as u16);
            [&header[..], datagram, &[0; 3][..ChannelData::stream_padding(len)]].concat()
        } else {
            let mut header = [0; Indication::MAX_HEADER_LEN];
            let transaction = TransactionId(random::bytes());
            let too_long = || TurnError::Broken(io::ErrorKind::InvalidInput.into());
            let header_len =
                IndicationKind::Send.write_header(transaction, to, len, &mut header).ok_or_else(too_long)?;
            [&header[..header_len], datagram, &[0; 3][..IndicationKind::padding(len)]].concat()
        };
        self.write(&framed).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), TurnError> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(ANSWER_LIMIT, write).await {
            Ok(written) => written.map_err(TurnError::Broken),
            Err(_) => Err(TurnError::Broken(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Takes in what comes next. Dropping the future loses nothing, because what was read is taken in without waiting.
    async fn read(&mut self) -> Result<(), TurnError> {
        let mut bytes = [0; 4096];
        let len = match self.stream.read(&mut bytes).await {
            Ok(0) => return Err(TurnError::Closed),
            Ok(len) => len,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(TurnError::Closed),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(TurnError::Closed),
            Err(e) => return Err(TurnError::Broken(e)),
        };
        let Self { decoder, channels, awaited, answer, datagrams, .. } = self;
        let mut keep = |payload: &[u8], from| {
            if datagrams.len() < MOST_WAITING {
                datagrams.push_back((payload.to_vec(), from));
            }
        };
        decoder.decode(&bytes[..len], |frame| match frame {
            Frame::ChannelData(ChannelData { channel, payload }) => {
                if let Some((_, peer)) = channels.iter().find(|(number, _)| *number == channel) {
                    keep(payload, *peer);
                }
            }
            Frame::Message(bytes) => match Indication::read(bytes) {
                Some(Indication { kind: IndicationKind::Data, peer, payload, .. }) => keep(payload, peer),
                Some(_) => {}
                None => {
                    let is_awaited = |m: &Message| is_answer(m) && m.transaction() == *awaited;
                    if let Some(message) = Message::parse(bytes).ok().filter(is_awaited) {
                        *answer = Some(message);
                    }
                }
            },
        })?;
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("channels", &self.channels).finish_non_exhaustive()
    }
}

fn is_answer(message: &Message) -> bool {
    matches!(message.class(), Class::Success | Class::Error)
}

fn malformed(request: Request, what: impl fmt::Display) -> TurnError {
    TurnError::Malformed { request, what: what.to_string() }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::net::UdpSocket;

    use super::*;
    use crate::{
        check::Context,
        target::{Name, TURN},
        testing::{Authority, DOMAIN, Identity, TurnServer, context, tls_server},
    };

    const RULES: &str = "[auth]\nusers = { ann = 'correct horse' }\nsecrets = ['s3cret']\n[peers]\n\
                         allow = ['127.0.0.1:1024-65535', '[2001:db8::9]:40000']\n\
                         map = [{ announced = '203.0.113.9', actual = '127.0.0.1' }]";

    fn stream_host() -> String {
        format!("stream.{DOMAIN}")
    }

    fn at(server: SocketAddr) -> Arc<Context> {
        context(None, &[(Name::Stream, TURN, server)])
    }

    async fn connect(server: SocketAddr) -> Client {
        Client::connect(&at(server).net, &stream_host(), TURN).await.unwrap()
    }

    fn user(name: &str, password: &str) -> Login {
        Login::given(&TurnLogin::User { name: name.to_owned(), password: password.to_owned() })
    }

    async fn allocate(server: SocketAddr, login: &Login) -> Result<Allocation, TurnError> {
        let mut client = connect(server).await;
        let challenge = client.challenge().await?;
        client.allocate(challenge, login).await
    }

    fn relay() -> TurnServer {
        TurnServer::start(&Authority::new().issue(&[&stream_host()], -1..30), RULES)
    }

    /// A peer that sends back what it gets, known to the relay's clients under its announced address.
    async fn echo() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut bytes = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut bytes).await {
                socket.send_to(&bytes[..len], from).await.unwrap();
            }
        });
        ([203, 0, 113, 9], port).into()
    }

    #[tokio::test]
    async fn datagrams_go_to_a_peer_and_back_in_indications_and_on_a_channel() {
        let relay = relay();
        let peer = echo().await;
        let mut allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
        assert!(allocation.relayed().ip().is_loopback());
        allocation.permit(peer).await.unwrap();
        for (datagram, bind) in [(&b"by indication"[..], true), (&b"on a channel"[..], false)] {
            allocation.send(datagram, peer).await.unwrap();
            assert_eq!(allocation.receive().await.unwrap(), (datagram.to_vec(), peer));
            if bind {
                allocation.bind_channel(peer).await.unwrap();
            }
        }
        allocation.release().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_at_an_ipv6_address_relays_from_ipv4() {
        if let Err(e) = std::net::TcpListener::bind("[::1]:0") {
            return eprintln!("skipped: this machine has no IPv6 loopback ({e})");
        }
        let relay =
            TurnServer::start_at("[::1]:0", &Authority::new().issue(&[&stream_host()], -1..30), RULES);
        let allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
        assert!(relay.address.is_ipv6() && allocation.relayed().is_ipv4());
        assert!(allocation.mapped().unwrap().is_ipv6());
        allocation.release().await.unwrap();
    }

    #[tokio::test]
    async fn a_secret_makes_a_login_as_reticulum_does() {
        let relay = relay();
        let login = Login::given(&TurnLogin::Secret("s3cret".to_owned()));
        assert!(login.username.ends_with(":coturn"), "{}", login.username);
        assert_eq!(login.expired_for(), None);
        allocate(relay.address, &login).await.unwrap().release().await.unwrap();
    }

    #[tokio::test]
    async fn a_wrong_password_is_refused_with_401_and_a_foreign_peer_with_403() {
        let relay = relay();
        let refused = allocate(relay.address, &user("ann", "wrong")).await.unwrap_err();
        assert_refused(&refused, Request::Allocate, ErrorCode::UNAUTHENTICATED);
        let mut allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
        let refused = allocation.permit("10.0.0.1:40000".parse().unwrap()).await.unwrap_err();
        assert_refused(&refused, Request::CreatePermission, ErrorCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_peer_of_another_family_is_refused_as_such() {
        let relay = relay();
        let mut allocation = allocate(relay.address, &user("ann", "correct horse")).await.unwrap();
        let refused = allocation.permit("[2001:db8::9]:40000".parse().unwrap()).await.unwrap_err();
        assert_refused(&refused, Request::CreatePermission, ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
    }

    #[track_caller]
    fn assert_refused(error: &TurnError, asked: Request, with: ErrorCode) {
        let TurnError::Refused { request, refusal } = error else { panic!("{error:?}") };
        assert_eq!((*request, refusal.code), (asked, with));
    }

    #[tokio::test]
    async fn what_a_browser_makes_of_the_certificate_is_kept() {
        let server = tls_server(Identity::self_signed("dialog", &[]), |_| std::future::ready(())).await;
        assert!(matches!(connect(server).await.judgement(), Judgement::Refused(_)));
    }

    /// A server that answers the requests on each connection as `answer` says, which is told how many it had before.
    async fn scripted(
        answer: impl Fn(usize, &Message) -> Vec<u8> + Clone + Send + Sync + 'static,
    ) -> SocketAddr {
        tls_server(Identity::self_signed("dialog", &[]), move |mut stream| {
            let answer = answer.clone();
            async move {
                let mut frames = StreamDecoder::new(StreamDecoder::MAX_FRAME);
                let mut bytes = [0; 4096];
                let mut heard = 0;
                while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                    let mut out = Vec::new();
                    let decoded = frames.decode(&bytes[..len], |frame| {
                        if let Frame::Message(message) = frame {
                            out.extend(answer(heard, &Message::parse(message).unwrap()));
                            heard += 1;
                        }
                    });
                    decoded.unwrap();
                    if stream.write_all(&out).await.is_err() || out.ends_with(CLOSE) {
                        let _ = stream.shutdown().await;
                        return;
                    }
                }
            }
        })
        .await
    }

    /// With this at the end of an answer the scripted server closes the connection.
    const CLOSE: &[u8] = b"\x01\x13\x00";

    fn error(request: &Message, code: ErrorCode) -> Vec<u8> {
        Builder::error(request, code).realm("turkey").nonce("abcdef").finish()
    }

    async fn challenged(
        answer: impl Fn(usize, &Message) -> Vec<u8> + Clone + Send + Sync + 'static,
    ) -> TurnError {
        connect(scripted(answer).await).await.challenge().await.unwrap_err()
    }

    #[tokio::test]
    async fn a_server_that_takes_and_says_nothing_is_waited_for_so_long_and_no_longer() {
        let mut client = connect(scripted(|_, _| Vec::new()).await).await;
        // Only from here on, since the clock of a paused runtime runs ahead of real sockets.
        tokio::time::pause();
        assert!(matches!(client.challenge().await, Err(TurnError::Silent(Request::Allocate))));
    }

    #[tokio::test]
    async fn an_end_in_the_middle_of_an_answer_is_an_end() {
        assert!(matches!(challenged(|_, _| CLOSE.to_vec()).await, TurnError::Closed));
    }

    #[tokio::test]
    async fn what_speaks_another_protocol_is_no_turn_server() {
        assert!(matches!(
            challenged(|_, _| b"HTTP/1.1 400 Bad Request".to_vec()).await,
            TurnError::NotTurn(_)
        ));
    }

    #[tokio::test]
    async fn each_code_is_passed_on() {
        for code in [300, 400, 420, 486, 508] {
            let code = ErrorCode(code);
            assert_refused(&challenged(move |_, m| error(m, code)).await, Request::Allocate, code);
        }
    }

    #[tokio::test]
    async fn answers_that_make_no_sense_are_malformed() {
        let without_nonce = |_: usize, m: &Message| Builder::error(m, ErrorCode::UNAUTHENTICATED).finish();
        assert!(matches!(challenged(without_nonce).await, TurnError::Malformed { .. }));
        let open = |_: usize, m: &Message| Builder::success(m).finish();
        assert!(matches!(challenged(open).await, TurnError::Open));
        let without_code =
            |_: usize, m: &Message| Builder::new(Class::Error, m.method(), m.transaction()).finish();
        assert!(matches!(challenged(without_code).await, TurnError::Malformed { .. }));
    }

    #[tokio::test]
    async fn an_answer_to_another_request_is_no_answer() {
        let answer = |_: usize, m: &Message| {
            let other = Message::parse(&Builder::request(Method::Allocate, TransactionId([1; 12])).finish());
            let other = error(&other.unwrap(), ErrorCode(508));
            [&other, &error(m, ErrorCode::UNAUTHENTICATED)[..], &other].concat()
        };
        let challenge = connect(scripted(answer).await).await.challenge().await.unwrap();
        assert_eq!(challenge.realm, "turkey");
    }

    #[tokio::test]
    async fn a_nonce_that_is_always_stale_ends_after_a_few() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let server = scripted(move |heard, m| {
            counter.fetch_add(1, Ordering::Relaxed);
            error(m, if heard == 0 { ErrorCode::UNAUTHENTICATED } else { ErrorCode::STALE_NONCE })
        })
        .await;
        assert!(matches!(allocate(server, &user("ann", "x")).await, Err(TurnError::AlwaysStale)));
        assert_eq!(asked.load(Ordering::Relaxed), 1 + MOST_NONCES);
    }

    #[tokio::test]
    async fn a_success_that_is_not_signed_is_none() {
        let relayed = SocketAddr::from(([198, 51, 100, 1], 50_000));
        let server = scripted(move |heard, m| match heard {
            0 => error(m, ErrorCode::UNAUTHENTICATED),
            _ => Builder::success(m).xor_relayed_address(relayed).finish(),
        })
        .await;
        let allocated = allocate(server, &user("ann", "x")).await;
        assert!(matches!(allocated, Err(TurnError::Unsigned(Request::Allocate))));
    }

    #[tokio::test]
    async fn datagrams_that_nobody_asked_for_do_not_pile_up() {
        let flood = |_: usize, m: &Message| {
            let datagram = Builder::new(Class::Indication, Method::Data, TransactionId([2; 12]))
                .xor_peer_address(([198, 51, 100, 1], 9).into())
                .data(b"flood")
                .finish();
            [datagram.repeat(10 * MOST_WAITING), error(m, ErrorCode::UNAUTHENTICATED)].concat()
        };
        let mut client = connect(scripted(flood).await).await;
        client.challenge().await.unwrap();
        assert_eq!(client.connection.datagrams.len(), MOST_WAITING);
    }
}
