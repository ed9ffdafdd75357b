//! Questions to one DNS server (RFC 1035), with the answer as it came: its flags, its records, and how long each may be
//! remembered. Over UDP, and over TCP where UDP brings nothing or not all of it (RFC 7766).
//!
//! What is only an address is looked up by `resolve`, as the system does it; here the DNS itself is looked at.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record as RawRecord, RecordType},
};
use hickory_resolver::{config::ProtocolConfig, system_conf::read_system_conf};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout, timeout_at},
};

use super::Net;
use crate::random;

/// How many milliseconds each copy of a question waits before the next one is sent, the last one for the answer: half of all packets may be
/// lost, and an answer may take a second.
const WAITS: [u64; 12] = [200, 200, 200, 200, 200, 200, 400, 400, 400, 400, 400, 1200];

/// A connection, the question and its answer.
const TCP_LIMIT: Duration = Duration::from_secs(3);

/// What a server may send in a datagram without being cut up on the way (DNS flag day 2020).
const LONGEST_DATAGRAM: u16 = 1232;

/// More records than any honest answer to our questions has; those beyond are not looked at.
const MOST_RECORDS: usize = 64;

/// More resolvers than any machine asks.
const MOST_RESOLVERS: usize = 4;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name that this one stands for.
    Cname,
    /// Text, such as SPF.
    Txt,
    /// Who takes mail.
    Mx,
    /// The zone's servers.
    Ns,
    /// The zone's beginning.
    Soa,
    /// Who may issue certificates.
    Caa,
    /// The parent's word that the zone is signed.
    Ds,
}

/// Who is asked, and so what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A resolver, which finds the answer wherever it is.
    Recursive,
    /// A resolver that is to pass on what it does not believe as well (CD, RFC 4035 section 3.2.2).
    Unchecked,
    /// A server of the zone, which says what it knows by itself.
    Authoritative,
}

/// How an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// As usual.
    Udp,
    /// UDP brought nothing, or not all of it.
    Tcp {
        /// Whether nothing at all came over UDP.
        udp_was_silent: bool,
    },
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it went.
    pub code: ReplyCode,
    /// Whether the server is one of the zone (AA).
    pub authoritative: bool,
    /// Whether it is a resolver (RA).
    pub recursive: bool,
    /// Whether it is one that found the signatures good (AD).
    pub authentic: bool,
    /// What was asked for, and the aliases on the way.
    pub answers: Vec<Record>,
    /// How it came.
    pub over: Over,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyCode {
    /// The name exists.
    Exists,
    /// It does not (NXDOMAIN).
    NoSuchName,
    /// The server could not find out (SERVFAIL).
    Failed,
    /// It does not want to say (REFUSED), or something else is wrong.
    Other(u16),
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("NOERROR"),
            Self::NoSuchName => f.write_str("NXDOMAIN"),
            Self::Failed => f.write_str("SERVFAIL"),
            Self::Other(5) => f.write_str("REFUSED"),
            Self::Other(code) => write!(f, "error {code}"),
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is, in lower case and without a final dot.
    pub owner: String,
    /// How long it may still be remembered, in seconds.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says. Names are in lower case and without a final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// CNAME.
    Alias(String),
    /// TXT, its parts put together.
    Text(String),
    /// MX, the name only; empty if mail is not wanted (RFC 7505).
    Exchanger(String),
    /// NS.
    Server(String),
    /// SOA, of which the version of the zone matters.
    Start {
        /// It grows with each change.
        serial: u32,
    },
    /// CAA.
    Authority {
        /// Whether authorities that do not know the tag must not issue.
        critical: bool,
        /// Such as `issue`.
        tag: String,
        /// Such as `letsencrypt.org`.
        value: String,
    },
    /// Something else.
    Other,
}

impl Reply {
    /// The records of `owner` itself, without those of its alias' end.
    pub fn of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Record> {
        self.answers.iter().filter(move |record| record.owner == owner)
    }

    /// Every address in it, whoever's: where the aliases end.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let of_record = |record: &Record| match record.data {
            Data::Address(address) => Some(address),
            _ => None,
        };
        self.answers.iter().filter_map(of_record).collect()
    }

    /// The text records, at whatever end of aliases.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.answers.iter().filter_map(|record| match &record.data {
            Data::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// What `owner` stands for, if it is an alias.
    pub fn alias_of(&self, owner: &str) -> Option<&str> {
        self.answers.iter().filter(|record| record.owner == owner).find_map(|record| match &record.data {
            Data::Alias(target) => Some(target.as_str()),
            _ => None,
        })
    }

    /// Whether the server knows the name, or that there is none.
    pub fn is_definite(&self) -> bool {
        matches!(self.code, ReplyCode::Exists | ReplyCode::NoSuchName)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The text can't be a name.
    #[error("{0:?} is no name of the DNS")]
    BadName(String),
    /// Nobody answers.
    #[error("no answer, over UDP or TCP")]
    Silent,
    /// Nothing listens there.
    #[error("nothing listens on that port")]
    Refused,
    /// This machine could not ask.
    #[error("this machine cannot ask it: {0}")]
    Unable(io::Error),
    /// There is nobody to ask.
    #[error("this machine names no resolver")]
    NoResolver,
}

/// The servers to which this machine, or the command line, sends its questions.
pub(super) fn resolvers(given: Option<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(given) = given {
        return vec![given];
    }
    // That it can't be read is said where the resolver is made.
    let Ok((config, _)) = read_system_conf() else { return Vec::new() };
    let server = |server: &hickory_resolver::config::NameServerConfig| {
        let udp = server.connections.iter().find(|c| matches!(c.protocol, ProtocolConfig::Udp))?;
        Some(SocketAddr::new(server.ip, udp.port))
    };
    config.name_servers().iter().filter_map(server).take(MOST_RESOLVERS).collect()
}

impl Net {
    /// What the resolver that is in use says: the first one that answers.
    pub async fn ask_resolver(&self, host: &str, kind: Kind, mode: Mode) -> Result<Reply, AskError> {
        ask_in_turn(self.resolvers(), host, kind, mode).await
    }

    /// What this machine's own resolver says, where another one is in use.
    pub async fn ask_system_resolver(&self, host: &str, kind: Kind) -> Result<Reply, AskError> {
        ask_in_turn(self.system_resolvers(), host, kind, Mode::Recursive).await
    }

    /// What the server at this address says.
    pub async fn ask_server(&self, server: SocketAddr, host: &str, kind: Kind) -> Result<Reply, AskError> {
        ask(server, host, kind, Mode::Authoritative).await
    }
}

/// What the first one says that answers.
async fn ask_in_turn(
    resolvers: &[SocketAddr],
    host: &str,
    kind: Kind,
    mode: Mode,
) -> Result<Reply, AskError> {
    let mut failure = AskError::NoResolver;
    for resolver in resolvers {
        match ask(*resolver, host, kind, mode).await {
            Ok(reply) => return Ok(reply),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

async fn ask(server: SocketAddr, host: &str, kind: Kind, mode: Mode) -> Result<Reply, AskError> {
    let question = Question::new(host, kind, mode)?;
    let over_udp = ask_over_udp(server, &question).await;
    match over_udp {
        Ok(Some(message)) if !message.metadata.truncation => Ok(read(message, Over::Udp)),
        Err(e) if !is_refused(&e) => Err(AskError::Unable(e)),
        // Truncated, silent or refused.
        over_udp => {
            let over = Over::Tcp { udp_was_silent: matches!(over_udp, Ok(None)) };
            match timeout(TCP_LIMIT, ask_over_tcp(server, &question)).await {
                Ok(Ok(message)) => Ok(read(message, over)),
                // What came over UDP serves, as far as it goes.
                _ => match over_udp {
                    Ok(Some(message)) => Ok(read(message, Over::Udp)),
                    Ok(None) => Err(AskError::Silent),
                    Err(_) => Err(AskError::Refused),
                },
            }
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// A question, and by what its answer is known.
struct Question {
    id: u16,
    query: Query,
    bytes: Vec<u8>,
}

impl Question {
    fn new(host: &str, kind: Kind, mode: Mode) -> Result<Self, AskError> {
        let bad = || AskError::BadName(host.to_owned());
        let name = Name::from_ascii(format!("{}.", host.trim_end_matches('.'))).map_err(|_| bad())?;
        let id = u16::from_be_bytes(random::bytes());
        let query = Query::query(name, kind.into());
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(query.clone());
        message.metadata.recursion_desired = mode != Mode::Authoritative;
        message.metadata.checking_disabled = mode == Mode::Unchecked;
        // A resolver that validates then says so (RFC 6840 section 5.7).
        message.metadata.authentic_data = mode == Mode::Recursive;
        let mut edns = Edns::new();
        edns.set_max_payload(LONGEST_DATAGRAM);
        message.set_edns(edns);
        let bytes = message.to_vec().map_err(|_| bad())?;
        Ok(Self { id, query, bytes })
    }

    /// Its answer, if that is what the bytes are.
    fn answered_by(&self, bytes: &[u8]) -> Option<Message> {
        let message = Message::from_vec(bytes).ok()?;
        let is_ours = message.metadata.id == self.id
            && message.metadata.message_type == MessageType::Response
            && message
                .queries
                .first()
                .is_none_or(|q| q.name == self.query.name && q.query_type == self.query.query_type);
        is_ours.then_some(message)
    }
}

impl From<Kind> for RecordType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::A => Self::A,
            Kind::Aaaa => Self::AAAA,
            Kind::Cname => Self::CNAME,
            Kind::Txt => Self::TXT,
            Kind::Mx => Self::MX,
            Kind::Ns => Self::NS,
            Kind::Soa => Self::SOA,
            Kind::Caa => Self::CAA,
            Kind::Ds => Self::DS,
        }
    }
}

/// Nothing if nothing came. An error is one of this machine, or of ICMP.
async fn ask_over_udp(server: SocketAddr, question: &Question) -> io::Result<Option<Message>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let mut bytes = vec![0; usize::from(u16::MAX)];
    for wait in WAITS {
        socket.send(&question.bytes).await?;
        let deadline = Instant::now() + Duration::from_millis(wait);
        while let Ok(received) = timeout_at(deadline, socket.recv(&mut bytes)).await {
            if let Some(message) = question.answered_by(&bytes[..received?]) {
                return Ok(Some(message));
            }
        }
    }
    Ok(None)
}

async fn ask_over_tcp(server: SocketAddr, question: &Question) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &question.bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    question.answered_by(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn read(message: Message, over: Over) -> Reply {
    let code = match message.metadata.response_code.low() {
        0 => ReplyCode::Exists,
        3 => ReplyCode::NoSuchName,
        2 => ReplyCode::Failed,
        other => ReplyCode::Other(other.into()),
    };
    Reply {
        code,
        authoritative: message.metadata.authoritative,
        recursive: message.metadata.recursion_available,
        authentic: message.metadata.authentic_data,
        answers: message.answers.into_iter().take(MOST_RECORDS).map(record).collect(),
        over,
    }
}

fn record(raw: RawRecord) -> Record {
    let data = match raw.data {
        RData::A(a) => Data::Address(a.0.into()),
        RData::AAAA(aaaa) => Data::Address(aaaa.0.into()),
        RData::CNAME(target) => Data::Alias(plain(&target.0)),
        RData::MX(mx) => Data::Exchanger(plain(&mx.exchange)),
        RData::NS(server) => Data::Server(plain(&server.0)),
        RData::SOA(soa) => Data::Start { serial: soa.serial },
        RData::TXT(txt) => Data::Text(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        RData::CAA(caa) => Data::Authority {
            critical: caa.issuer_critical,
            tag: caa.tag.to_ascii_lowercase(),
            value: String::from_utf8_lossy(&caa.value).into_owned(),
        },
        _ => Data::Other,
    };
    Record { owner: plain(&raw.name), ttl: raw.ttl, data }
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// For the fuzzer: an answer to a question about texts.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    let Ok(mut question) = Question::new("hubs.example.org", Kind::Txt, Mode::Recursive) else { return };
    if let [high, low, ..] = bytes {
        question.id = u16::from_be_bytes([*high, *low]);
    }
    if let Some(message) = question.answered_by(bytes) {
        drop(read(message, Over::Udp));
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, TXT};
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question::new("hubs.example.test", Kind::Txt, Mode::Recursive).unwrap()
    }

    /// An answer of so many records.
    fn answer(question: &Question, count: u32, text: &[u8]) -> Vec<u8> {
        let mut message = Message::response(question.id, OpCode::Query);
        message.add_query(question.query.clone());
        let owner = question.query.name().clone();
        message
            .add_answers((0..count).map(|n| RawRecord::from_rdata(owner.clone(), 60, RData::A(A(n.into())))));
        let text = RData::TXT(TXT::from_bytes(text.chunks(200).collect()));
        message.add_answer(RawRecord::from_rdata(owner, 60, text));
        message.to_vec().unwrap()
    }

    #[test]
    fn only_an_answer_to_this_question_is_one() {
        let (ours, other) = (question(), Question::new("other.test", Kind::Txt, Mode::Recursive).unwrap());
        assert!(ours.answered_by(&answer(&ours, 1, b"x")).is_some());
        assert!(ours.answered_by(&ours.bytes).is_none(), "a question is no answer");
        let mut stolen = answer(&other, 1, b"x");
        stolen[..2].copy_from_slice(&ours.id.to_be_bytes());
        assert!(ours.answered_by(&stolen).is_none());
    }

    #[test]
    fn names_that_the_dns_cannot_have_are_not_asked_for() {
        let long = format!("{}.test", "a".repeat(64));
        for bad in ["a..test", long.as_str()] {
            let asked = Question::new(bad, Kind::A, Mode::Recursive);
            assert!(matches!(asked, Err(AskError::BadName(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_more_than_a_bounded_reply(
            noise in prop::collection::vec(any::<u8>(), 0..600),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            count in 0_u32..300,
            text in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let question = question();
            let mut answer = answer(&question, count, &text);
            for (at, byte) in changes {
                let at = at.index(answer.len());
                answer[at] = byte;
            }
            let mut begun = answer[..12].to_vec();
            begun.extend(&noise);
            for bytes in [noise, answer, begun] {
                if let Some(message) = question.answered_by(&bytes) {
                    prop_assert!(read(message, Over::Udp).answers.len() <= MOST_RECORDS);
                }
            }
        }
    }
}
