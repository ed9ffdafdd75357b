//! What the prober asks the agent, and what it is told: JSON over HTTP/1.1, `POST` only, on a port that `kubectl port-forward`
//! reaches where nothing else does.
//!
//! Each request and each answer is sealed: the header [`SEAL`] carries an HMAC over it, so that the token itself never
//! travels. A session is opened with a number that no session had before; each further request has a higher count than
//! the one before. So what was heard on the way is of no use to anybody.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{PortSet, SessionKey, Token};

/// Where a session is opened.
pub const OPEN: &str = "/session";
/// Where it is asked what was seen.
pub const REPORT: &str = "/report";
/// The header with the seal, in hexadecimal.
pub const SEAL: &str = "hubs-sweep-seal";
/// The longest body of a request.
pub const LONGEST_REQUEST: usize = 4096;

/// Opens a session.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// A number that the prober drew, 32 hexadecimal digits.
    pub nonce: String,
    /// The ports that it is about.
    pub first: u16,
    /// The last of them.
    pub last: u16,
}

/// A session.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// Its number, 16 hexadecimal digits.
    pub session: String,
    /// How long the agent goes on, in seconds.
    pub left: u64,
}

/// Asks what was seen.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The session's number.
    pub session: String,
    /// More than in any request before.
    pub count: u64,
    /// Whether the beginnings of TCP connections are to be watched from now on, from where the session's packets come.
    #[serde(default)]
    pub connections: bool,
    /// From where else.
    #[serde(default)]
    pub from: Vec<IpAddr>,
}

/// What was seen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The ports that a question reached: [`PortSet::to_text`].
    pub arrived: String,
    /// Those of them that an answer was sent from, the last time.
    pub answered: String,
    /// The ports that the beginning of a TCP connection reached.
    pub connected: String,
    /// From which addresses the session's packets came.
    pub sources: Vec<IpAddr>,
    /// How many measures arrived.
    pub measures: u32,
    /// One more than the mark of the last of them, which is how many there should be.
    pub marks: u32,
    /// Packets that arrived at another port than they were sent to.
    pub moved: u32,
    /// Packets that were there before, too old, or not signed by who has the token.
    pub ignored: u32,
    /// Packets for which there was no time, or no room in the kernel's queue.
    pub missed: u32,
}

/// What is wrong with what the other side said.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ChannelError {
    /// The seal is not the token's.
    #[error("its answer is not signed with our token")]
    Seal,
    /// The text is not what was asked for.
    #[error("its answer is none that we understand")]
    Text,
}

/// A request as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path.
    pub path: &'static str,
    /// The value of [`SEAL`].
    pub seal: String,
    /// The body.
    pub body: String,
}

/// The prober's side, before there is a session.
#[derive(Debug)]
pub struct Caller {
    token: Token,
    open: Open,
    request: Request,
}

/// The prober's side of a session.
#[derive(Debug)]
pub struct Session {
    /// Its number.
    pub number: u64,
    /// What its packets are signed with.
    pub key: SessionKey,
    /// How long the agent goes on, in seconds.
    pub left: u64,
    range: RangeInclusive<u16>,
    count: u64,
}

/// What was seen, as the prober reads it.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The ports that a question reached.
    pub arrived: PortSet,
    /// Those of them that an answer was sent from.
    pub answered: PortSet,
    /// The ports that the beginning of a TCP connection reached.
    pub connected: PortSet,
    /// Everything else.
    pub seen: Seen,
}

impl Caller {
    /// One that is about to open a session; `nonce` has to be random.
    pub fn new(token: Token, nonce: [u8; 16], range: &RangeInclusive<u16>) -> Self {
        let open = Open { nonce: to_hex(&nonce), first: *range.start(), last: *range.end() };
        let request = Request::new(OPEN, &token.key(), &open);
        Self { token, open, request }
    }

    /// What to send.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Reads the answer.
    pub fn opened(self, seal: &str, body: &[u8]) -> Result<Session, ChannelError> {
        let opened: Opened = self.request.read_answer(&self.token.key(), seal, body)?;
        let number = u64::from_str_radix(&opened.session, 16).map_err(|_| ChannelError::Text)?;
        let key = self.token.session_key(self.open.nonce.as_bytes(), number);
        Ok(Session { number, key, left: opened.left, range: self.open.first..=self.open.last, count: 0 })
    }
}

impl Session {
    /// What to send to be told what was seen. `connections`: TCP's are watched from now on, from these addresses as well.
    pub fn ask(&mut self, connections: Option<&[IpAddr]>) -> Request {
        self.count += 1;
        let ask = Ask {
            session: format!("{:016x}", self.number),
            count: self.count,
            connections: connections.is_some(),
            from: connections.unwrap_or_default().to_vec(),
        };
        Request::new(REPORT, &self.key, &ask)
    }

    /// Reads the answer to `request`.
    pub fn told(&self, request: &Request, seal: &str, body: &[u8]) -> Result<Sighting, ChannelError> {
        let seen: Seen = request.read_answer(&self.key, seal, body)?;
        let ports = |text: &str| PortSet::from_text(self.range.clone(), text).ok_or(ChannelError::Text);
        let (arrived, answered) = (ports(&seen.arrived)?, ports(&seen.answered)?);
        Ok(Sighting { arrived, answered, connected: ports(&seen.connected)?, seen })
    }
}

impl Request {
    fn new(path: &'static str, key: &SessionKey, body: &impl Serialize) -> Self {
        // Plain structures of texts and numbers: they can always be written.
        let body = serde_json::to_string(body).unwrap_or_default();
        let seal = seal_of_request(key, path, body.as_bytes());
        Self { path, seal: to_hex(&seal), body }
    }

    fn read_answer<T: for<'de> Deserialize<'de>>(
        &self,
        key: &SessionKey,
        seal: &str,
        body: &[u8],
    ) -> Result<T, ChannelError> {
        let text = answer_text(&self.seal, body);
        let is_theirs = from_hex::<32>(seal).is_some_and(|seal| key.has_signed(&text, &seal));
        if !is_theirs {
            return Err(ChannelError::Seal);
        }
        serde_json::from_slice(body).map_err(|_| ChannelError::Text)
    }
}

/// Whether who has the key wrote this request.
pub(super) fn is_sealed(key: &SessionKey, path: &str, seal: &str, body: &[u8]) -> bool {
    from_hex::<32>(seal).is_some_and(|seal| key.has_signed(&request_text(path, body), &seal))
}

/// The seal of the answer to the request with this seal.
pub(super) fn seal_of_answer(key: &SessionKey, request_seal: &str, body: &[u8]) -> String {
    to_hex(&key.sign(&answer_text(request_seal, body)))
}

fn seal_of_request(key: &SessionKey, path: &str, body: &[u8]) -> [u8; 32] {
    key.sign(&request_text(path, body))
}

fn request_text(path: &str, body: &[u8]) -> Vec<u8> {
    [b"request\n", path.as_bytes(), b"\n", body].concat()
}

fn answer_text(request_seal: &str, body: &[u8]) -> Vec<u8> {
    [b"answer\n", request_seal.as_bytes(), b"\n", body].concat()
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|it| it as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|it| it[0] << 4 | it.get(1).copied().unwrap_or(0)).collect();
    bytes.try_into().ok().filter(|_| text.len() == 2 * N)
}
