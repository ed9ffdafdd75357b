//! ICE connectivity checks towards an ICE-lite end such as dialog (RFC 8445 sections 2.5 and 7): made, answered, timed.
//!
//! [`Agent`] makes the bytes of a check and judges an answer, without a socket. [`check`] sends checks over a [`Path`], which
//! is a UDP socket or a TCP connection of our own or an allocation on a TURN server, and says what came of it.

mod tcp;

use std::{
    fmt,
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hubs_relay::wire::{Builder, Class, ErrorCode, IntegrityKey, Message, Method, TransactionId};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use crate::random;

pub use tcp::{TcpError, TcpPath};

/// The type preference of a peer-reflexive candidate, which is what we are to the other end (RFC 8445 section 7.1.1).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// No STUN message that dialog sends is longer.
const LONGEST_ANSWER: usize = 2048;

/// The ICE user name and password of one end.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    ufrag: String,
    password: String,
}

impl Credentials {
    /// Credentials, unless they break the grammar of RFC 8839 section 5.4.
    pub fn new(ufrag: String, password: String) -> Option<Self> {
        let is_ice = |text: &str| {
            text.len() <= 256 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
        };
        (ufrag.len() >= 4 && password.len() >= 22 && is_ice(&ufrag) && is_ice(&password))
            .then_some(Self { ufrag, password })
    }

    /// The user name fragment.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Our side of ICE towards one transport: the controlling agent.
#[derive(Clone, Debug)]
pub struct Agent {
    username: String,
    key: IntegrityKey,
    tie_breaker: u64,
}

impl Agent {
    /// An agent with a user name of its own.
    pub fn new(remote: &Credentials) -> Self {
        Self {
            username: format!("{}:{}", remote.ufrag, random::name::<8>()),
            key: IntegrityKey::short_term(&remote.password),
            tie_breaker: u64::from_be_bytes(random::bytes()),
        }
    }

    /// The bytes of a check.
    pub fn request(&self, transaction: TransactionId) -> Vec<u8> {
        self.sign(Builder::request(Method::Binding, transaction))
    }

    /// Makes a check of a request that has attributes of its own.
    pub fn sign(&self, request: Builder) -> Vec<u8> {
        request
            .username(&self.username)
            .priority(PRIORITY)
            .ice_controlling(self.tie_breaker)
            .integrity(&self.key)
            .fingerprint()
            .finish()
    }

    /// What `datagram` answers, if it is an answer that only somebody with the password can have made, or an error,
    /// which RFC 8489 section 9.1.4 lets be unsigned.
    pub fn read(&self, datagram: &[u8]) -> Option<Answer> {
        let message = Message::parse(datagram).ok()?;
        if message.method() != Method::Binding {
            return None;
        }
        let verdict = match message.class() {
            Class::Success if message.verify(&self.key) => Ok(message.xor_mapped_address().ok()??),
            Class::Error => {
                let (code, reason) = message.error_code().ok()??;
                Err(Rejection { code, reason: reason.to_owned() })
            }
            Class::Success | Class::Request | Class::Indication => return None,
        };
        Some(Answer { transaction: message.transaction(), verdict })
    }
}

/// The answer to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which check.
    pub transaction: TransactionId,
    /// Whether it was taken, and if so which address it came from as the other end saw it.
    pub verdict: Result<SocketAddr, Rejection>,
}

/// Somebody answers, but not with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// STUN's error code.
    pub code: ErrorCode,
    /// What the other end says about it.
    pub reason: String,
}

/// A way for datagrams.
pub trait Path: Send {
    /// Why it broke.
    type Error: Send;

    /// Sends a datagram.
    fn send(
        &mut self,
        datagram: &[u8],
        to: SocketAddr,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The next datagram and where it came from. Dropping the future loses nothing.
    fn receive(&mut self) -> impl Future<Output = Result<(Vec<u8>, SocketAddr), Self::Error>> + Send;
}

/// How often a check is sent, and how far apart. The last one is waited for just as long.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How often.
    pub tries: u32,
    /// How far apart.
    pub interval: Duration,
}

impl Default for Schedule {
    /// Enough to tell loss from silence: ten lost packets in a row are no accident.
    fn default() -> Self {
        Self { tries: 10, interval: Duration::from_millis(250) }
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other end took it.
    Answered {
        /// From sending to the answer.
        round_trip: Duration,
        /// Where it came from, as the other end saw it.
        mapped: SocketAddr,
        /// How many were sent until then.
        sent: u32,
    },
    /// The answer came from another address than the one asked, which ICE does not take (RFC 8445 section 7.2.5.2.1).
    AnsweredElsewhere {
        /// From where.
        from: SocketAddr,
    },
    /// Somebody answers, but not with success: not the transport that was asked for.
    Rejected(Rejection),
    /// The host is there and says that nothing listens on the port (ICMP).
    PortClosed,
    /// This machine, or a router, knows no way to the address.
    NoRoute,
    /// Nothing came back.
    Silent {
        /// How many were sent.
        sent: u32,
    },
}

impl Outcome {
    /// Whether the other end took it.
    pub const fn is_answered(&self) -> bool {
        matches!(self, Self::Answered { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { round_trip, mapped, .. } => {
                write!(f, "answers in {:.1} ms, and sees us as {mapped}", round_trip.as_secs_f32() * 1000.0)
            }
            Self::AnsweredElsewhere { from } => write!(f, "the answer comes from {from} instead"),
            Self::Rejected(Rejection { code, reason }) => write!(f, "refuses with {} {reason}", code.0),
            Self::PortClosed => f.write_str("nothing listens on the port (ICMP)"),
            Self::NoRoute => f.write_str("no way leads there"),
            Self::Silent { sent } => write!(f, "no answer to {sent} checks"),
        }
    }
}

/// Sends checks to `peer` until one is answered or all were waited for.
pub async fn check<P: Path>(
    path: &mut P,
    peer: SocketAddr,
    agent: &Agent,
    schedule: Schedule,
) -> Result<Outcome, P::Error> {
    let mut sent: Vec<(TransactionId, Instant)> = Vec::new();
    for _ in 0..schedule.tries {
        let transaction = TransactionId(random::bytes());
        let now = Instant::now();
        path.send(&agent.request(transaction), peer).await?;
        sent.push((transaction, now));
        let deadline = now + schedule.interval;
        while let Ok(received) = timeout_at(deadline, path.receive()).await {
            let (datagram, from) = received?;
            let Some(answer) = agent.read(&datagram) else { continue };
            let Some((_, since)) = sent.iter().find(|(id, _)| *id == answer.transaction) else { continue };
            return Ok(match answer.verdict {
                Ok(_) if from != peer => Outcome::AnsweredElsewhere { from },
                Ok(mapped) => {
                    Outcome::Answered { round_trip: since.elapsed(), mapped, sent: sent.len() as u32 }
                }
                Err(rejection) => Outcome::Rejected(rejection),
            });
        }
    }
    Ok(Outcome::Silent { sent: sent.len() as u32 })
}

/// Checks `peer` from a fresh socket. An error is one of this machine, such as having no socket to give.
pub async fn direct(peer: SocketAddr, agent: &Agent, schedule: Schedule) -> io::Result<Outcome> {
    direct_by(peer, peer, agent, schedule).await
}

/// The same, where a detour leads to `peer`.
pub async fn direct_by(
    detour: SocketAddr,
    peer: SocketAddr,
    agent: &Agent,
    schedule: Schedule,
) -> io::Result<Outcome> {
    match DirectPath::open_by(detour, peer).await {
        Ok(mut path) => path.check(agent, schedule).await,
        Err(e) => told_by_icmp(e),
    }
}

/// UDP from this machine to one peer. The socket is connected to it, because only then does the system report ICMP errors.
#[derive(Debug)]
pub struct DirectPath {
    socket: UdpSocket,
    peer: SocketAddr,
}

impl DirectPath {
    /// A fresh socket towards `peer`.
    pub async fn open(peer: SocketAddr) -> io::Result<Self> {
        Self::open_by(peer, peer).await
    }

    /// The same, where a detour leads to `peer`.
    pub async fn open_by(detour: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match detour {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(detour).await?;
        Ok(Self { socket, peer })
    }

    /// As [`check`], where refusals by ICMP are outcomes.
    pub async fn check(&mut self, agent: &Agent, schedule: Schedule) -> io::Result<Outcome> {
        check(self, self.peer, agent, schedule).await.or_else(told_by_icmp)
    }
}

fn told_by_icmp(error: io::Error) -> io::Result<Outcome> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Ok(Outcome::PortClosed),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Ok(Outcome::NoRoute),
        _ => Err(error),
    }
}

impl Path for DirectPath {
    type Error = io::Error;

    async fn send(&mut self, datagram: &[u8], _to: SocketAddr) -> io::Result<()> {
        self.socket.send(datagram).await.map(drop)
    }

    async fn receive(&mut self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut datagram = vec![0; LONGEST_ANSWER];
        let len = self.socket.recv(&mut datagram).await?;
        datagram.truncate(len);
        Ok((datagram, self.peer))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use hubs_relay::wire::attribute;
    use proptest::prelude::*;

    use super::*;

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 40_001);
    const MAPPED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 50_000);

    fn remote() -> Credentials {
        Credentials::new("dialogs-ufrag".replace('-', "/"), "dialogspassword0123456".to_owned()).unwrap()
    }

    fn key() -> IntegrityKey {
        IntegrityKey::short_term("dialogspassword0123456")
    }

    fn success(request: &[u8], key: &IntegrityKey) -> Vec<u8> {
        let request = Message::parse(request).unwrap();
        Builder::success(&request).xor_mapped_address(MAPPED).integrity(key).fingerprint().finish()
    }

    #[test]
    fn a_check_carries_all_that_dialog_insists_on() {
        let agent = Agent::new(&remote());
        let request = Message::parse(&agent.request(TransactionId([7; 12]))).unwrap();
        assert_eq!((request.class(), request.method()), (Class::Request, Method::Binding));
        assert!(request.username().unwrap().unwrap().starts_with("dialogs/ufrag:"));
        assert!(request.verify(&key()));
        assert_eq!(request.attribute(attribute::PRIORITY), Some(&PRIORITY.to_be_bytes()[..]));
        assert!(request.attribute(attribute::ICE_CONTROLLING).is_some());
    }

    #[test]
    fn only_the_one_with_the_password_can_answer() {
        let agent = Agent::new(&remote());
        let request = agent.request(TransactionId([7; 12]));
        let honest = agent.read(&success(&request, &key())).unwrap();
        assert_eq!(honest, Answer { transaction: TransactionId([7; 12]), verdict: Ok(MAPPED) });
        assert_eq!(agent.read(&success(&request, &IntegrityKey::short_term("another"))), None);
        let unsigned =
            Builder::success(&Message::parse(&request).unwrap()).xor_mapped_address(MAPPED).finish();
        assert_eq!(agent.read(&unsigned), None);
        assert_eq!(agent.read(&request), None);
    }

    #[test]
    fn a_refusal_need_not_be_signed() {
        let agent = Agent::new(&remote());
        let request = Message::parse(&agent.request(TransactionId([7; 12]))).unwrap();
        let answer = agent.read(&Builder::error(&request, ErrorCode::UNAUTHENTICATED).finish()).unwrap();
        assert_eq!(answer.verdict.unwrap_err().code, ErrorCode::UNAUTHENTICATED);
    }

    /// A path on which a script decides what each sent check is answered with, and from where.
    struct Scripted<F> {
        answer: F,
        sent: u32,
        arrived: VecDeque<(Vec<u8>, SocketAddr)>,
    }

    impl<F: FnMut(u32, &[u8]) -> Option<(Vec<u8>, SocketAddr)> + Send> Path for Scripted<F> {
        type Error = io::Error;

        async fn send(&mut self, datagram: &[u8], _to: SocketAddr) -> io::Result<()> {
            self.sent += 1;
            self.arrived.extend((self.answer)(self.sent, datagram));
            Ok(())
        }

        async fn receive(&mut self) -> io::Result<(Vec<u8>, SocketAddr)> {
            match self.arrived.pop_front() {
                Some(arrived) => Ok(arrived),
                None => std::future::pending().await,
            }
        }
    }

    async fn outcome(answer: impl FnMut(u32, &[u8]) -> Option<(Vec<u8>, SocketAddr)> + Send) -> Outcome {
        let mut path = Scripted { answer, sent: 0, arrived: VecDeque::new() };
        let schedule = Schedule { tries: 3, interval: Duration::from_millis(100) };
        check(&mut path, PEER, &Agent::new(&remote()), schedule).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_is_repeated_until_it_is_answered() {
        let answered = outcome(|sent, request| (sent == 3).then(|| (success(request, &key()), PEER))).await;
        assert_eq!(answered, Outcome::Answered { round_trip: Duration::ZERO, mapped: MAPPED, sent: 3 });
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_waited_for_to_the_end() {
        let begin = Instant::now();
        assert_eq!(outcome(|_, _| None).await, Outcome::Silent { sent: 3 });
        assert_eq!(begin.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn what_answers_none_of_our_checks_is_passed_over() {
        let mut stale = None;
        let answered = outcome(|_, _| {
            // A request that was never sent, and bytes that are no STUN at all.
            let request = Agent::new(&remote()).request(TransactionId([9; 12]));
            stale = if stale.is_none() { Some(success(&request, &key())) } else { Some(vec![0xff; 30]) };
            stale.clone().map(|bytes| (bytes, PEER))
        })
        .await;
        assert_eq!(answered, Outcome::Silent { sent: 3 });
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_another_address_is_no_success() {
        let elsewhere = SocketAddr::new(PEER.ip(), 40_002);
        let answered = outcome(|_, request| Some((success(request, &key()), elsewhere))).await;
        assert_eq!(answered, Outcome::AnsweredElsewhere { from: elsewhere });
    }

    #[tokio::test]
    async fn a_real_socket_is_answered_and_learns_its_address() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer = server.local_addr().unwrap();
        let serve = async {
            let mut bytes = [0; 2048];
            let (len, from) = server.recv_from(&mut bytes).await.unwrap();
            let request = Message::parse(&bytes[..len]).unwrap();
            let answer = Builder::success(&request).xor_mapped_address(from).integrity(&key()).fingerprint();
            server.send_to(&answer.finish(), from).await.unwrap();
            from
        };
        let agent = Agent::new(&remote());
        let (outcome, from) = tokio::join!(direct(peer, &agent, Schedule::default()), serve);
        assert!(matches!(outcome.unwrap(), Outcome::Answered { mapped, .. } if mapped == from));
    }

    #[tokio::test]
    async fn a_closed_port_is_told_from_silence() {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let outcome = direct(peer, &Agent::new(&remote()), Schedule::default()).await.unwrap();
        assert_eq!(outcome, Outcome::PortClosed);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic(mut datagram in prop::collection::vec(any::<u8>(), 0..200), cookie: bool) {
            if cookie && datagram.len() >= 20 {
                datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
                let len = (datagram.len() - 20) as u16 & !3;
                datagram.truncate(20 + usize::from(len));
                datagram[2..4].copy_from_slice(&len.to_be_bytes());
            }
            prop_assert_eq!(Agent::new(&remote()).read(&datagram).filter(|a| a.verdict.is_ok()), None);
        }
    }
}
