//! What the agent makes of what it sees and is asked. Pure: bytes, addresses, the time and randomness come in; answers come
//! out.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::arrival::Arrival;
use super::channel::{self, Ask, Open, Opened, Seen};
use super::window::Window;
use super::{Kind, Packet, PortSet, SessionKey, Token};

/// How many sessions are open at a time. For one more, one has to be idle.
pub const MOST_SESSIONS: usize = 8;
/// A session in which nobody asks or sends for so long makes room for another one.
const IDLE: Duration = Duration::from_secs(10);
/// How many sessions there are in an agent's life: the numbers that opened them are remembered, so that none opens two.
const MOST_OPENED: usize = 256;
/// How far a packet's time may be from ours, which began when the session did: how long one can be on its way.
const MOST_APART: Duration = Duration::from_secs(10);
/// How many packets a second are verified, whoever sends them: twice what a prober sends at its fastest.
const MOST_A_SECOND: u32 = 20_000;
/// From how many addresses the packets of one session may come: both families, through a NAT that has several.
const MOST_SOURCES: usize = 8;

/// The sessions, and what was seen of them.
#[derive(Debug)]
pub struct Observer {
    token: Token,
    key: SessionKey,
    opened: Vec<[u8; 16]>,
    sessions: Vec<Session>,
    ends: Instant,
    second: (Instant, u32),
    missed: u32,
}

#[derive(Debug)]
struct Session {
    number: u64,
    key: SessionKey,
    begun: Instant,
    touched: Instant,
    count: u64,
    window: Window,
    arrived: PortSet,
    answered: PortSet,
    connected: PortSet,
    sources: Vec<IpAddr>,
    watches_connections: bool,
    measures: u32,
    marks: u32,
    moved: u32,
    ignored: u32,
}

/// An answer to a question, to be sent from where that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From here.
    pub from: SocketAddr,
    /// To here, where the question came from.
    pub to: SocketAddr,
    /// These bytes, as many as the question had.
    pub bytes: [u8; Packet::LENGTH],
    session: u64,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Nothing for somebody who has not shown that they have the token.
    pub(super) seal: Option<String>,
    pub(super) body: String,
}

impl Observer {
    /// One that knows of nothing yet, of an agent that goes on until then.
    pub fn new(token: Token, now: Instant, ends: Instant) -> Self {
        let key = token.key();
        Self { token, key, opened: Vec::new(), sessions: Vec::new(), ends, second: (now, 0), missed: 0 }
    }

    /// Looks at what arrived. Returns what to answer, if anything.
    pub fn handle_arrival(&mut self, now: Instant, arrival: Arrival<'_>) -> Option<Answer> {
        match arrival {
            Arrival::Datagram { source, destination, payload } => {
                self.handle_datagram(now, source, destination, payload)
            }
            Arrival::Syn { source, destination } => {
                for session in self.sessions.iter_mut().filter(|it| it.watches(source.ip())) {
                    session.connected.insert(destination.port());
                }
                None
            }
        }
    }

    /// Counts packets that the kernel had no room for.
    pub fn handle_missed(&mut self, count: u32) {
        self.missed = self.missed.saturating_add(count);
    }

    /// Says that the answer was sent: nobody else had the port.
    pub fn handle_answered(&mut self, answer: &Answer) {
        if let Some(session) = self.sessions.iter_mut().find(|it| it.number == answer.session) {
            session.answered.insert(answer.from.port());
        }
    }

    /// From where the beginnings of TCP connections are to be seen.
    pub fn probers(&self) -> Vec<IpAddr> {
        let watched = self.sessions.iter().filter(|it| it.watches_connections);
        let mut probers: Vec<_> = watched.flat_map(|it| &it.sources).copied().collect();
        probers.sort_unstable();
        probers.dedup();
        probers
    }

    /// Answers a request. `random` is what the number of a session is made of.
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        path: &str,
        seal: &str,
        body: &[u8],
        random: u64,
    ) -> Response {
        let (key, answer) = match path {
            channel::OPEN if channel::is_sealed(&self.key, path, seal, body) => {
                (self.key.clone(), self.open(now, body, random))
            }
            channel::REPORT => match self.asked(path, seal, body) {
                Some((session, ask)) => {
                    let told = session.tell(now, ask);
                    let key = session.key.clone();
                    (key, Ok(Seen { missed: self.missed, ..told }).map(|it| serde_json::to_string(&it)))
                }
                None => return Response::refused(),
            },
            _ => return Response::refused(),
        };
        let (status, body) = match answer {
            Ok(body) => (200, body.unwrap_or_default()),
            Err((status, reason)) => (status, reason.to_owned()),
        };
        let seal = channel::seal_of_answer(&key, seal, body.as_bytes());
        Response { status, seal: Some(seal), body }
    }

    fn open(&mut self, now: Instant, body: &[u8], random: u64) -> Answered {
        let open: Open = read(body)?;
        let nonce = channel::from_hex::<16>(&open.nonce).ok_or((400, "nonce: 32 hexadecimal digits\n"))?;
        if open.first > open.last {
            return Err((400, "first and last: a range of ports\n"));
        }
        // Known already: somebody says again what another one said.
        if self.opened.contains(&nonce) {
            return Err((409, "this session was opened before\n"));
        }
        let idle = (self.sessions.iter().enumerate())
            .filter(|(_, it)| now.duration_since(it.touched) >= IDLE)
            .min_by_key(|(_, it)| it.touched)
            .map(|(at, _)| at);
        match (self.sessions.len() == MOST_SESSIONS, idle) {
            (false, _) => {}
            (true, None) => return Err((429, "all sessions are taken: try again in ten seconds\n")),
            (true, Some(_)) if self.opened.len() == MOST_OPENED => {}
            (true, Some(idle)) => drop(self.sessions.swap_remove(idle)),
        }
        if self.opened.len() == MOST_OPENED {
            return Err((429, "this agent has had as many sessions as it may: start it anew\n"));
        }
        self.opened.push(nonce);
        let number = (0..).map(|step| random.wrapping_add(step));
        let number = number.into_iter().find(|it| self.sessions.iter().all(|other| other.number != *it));
        let number = number.unwrap_or(random);
        let key = self.token.session_key(open.nonce.as_bytes(), number);
        self.sessions.push(Session::new(number, key, now, &open));
        let left = self.ends.saturating_duration_since(now).as_secs();
        Ok(serde_json::to_string(&Opened { session: format!("{number:016x}"), left }))
    }

    /// The session that is asked about, and the question, if who has its key asks and has not asked this before.
    fn asked(&mut self, path: &str, seal: &str, body: &[u8]) -> Option<(&mut Session, Ask)> {
        let ask: Ask = read(body).ok()?;
        let number = u64::from_str_radix(&ask.session, 16).ok()?;
        let session = self.sessions.iter_mut().find(|it| it.number == number)?;
        let is_asked = channel::is_sealed(&session.key, path, seal, body) && ask.count > session.count;
        is_asked.then_some((session, ask))
    }

    fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) -> Option<Answer> {
        let claimed = Packet::claimed(payload)?;
        let at = self.sessions.iter().position(|it| it.number == claimed.session)?;
        if !self.has_time(now) {
            self.missed = self.missed.saturating_add(1);
            return None;
        }
        self.sessions[at].handle_packet(now, source, destination, payload)
    }

    /// Whether one more packet can be verified in this second.
    fn has_time(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        self.second.1 += 1;
        self.second.1 <= MOST_A_SECOND
    }
}

impl Session {
    fn new(number: u64, key: SessionKey, now: Instant, open: &Open) -> Self {
        let none = PortSet::new(open.first..=open.last);
        Self {
            number,
            key,
            begun: now,
            touched: now,
            count: 0,
            window: Window::new(),
            arrived: none.clone(),
            answered: none.clone(),
            connected: none,
            sources: Vec::new(),
            watches_connections: false,
            measures: 0,
            marks: 0,
            moved: 0,
            ignored: 0,
        }
    }

    fn handle_packet(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) -> Option<Answer> {
        let elapsed = now.duration_since(self.begun);
        let packet = Packet::read(payload, &self.key).filter(|packet| {
            let is_of_now = elapsed.abs_diff(Duration::from_millis(packet.time.into())) <= MOST_APART;
            // An answer of ours that somebody sends back is no question.
            packet.kind != Kind::Answer && is_of_now && self.window.admit(packet.sequence)
        });
        let Some(packet) = packet else {
            self.ignored = self.ignored.saturating_add(1);
            return None;
        };
        self.touched = now;
        if packet.port != destination.port() {
            self.moved = self.moved.saturating_add(1);
            return None;
        }
        self.come_from(source.ip());
        if packet.kind == Kind::Measure {
            self.measures = self.measures.saturating_add(1);
            self.marks = self.marks.max(packet.mark.saturating_add(1));
            return None;
        }
        self.arrived.insert(packet.port);
        // Until it is: who asks again may find that somebody has taken the port meanwhile.
        self.answered.remove(packet.port);
        let bytes = packet.answer().to_bytes(&self.key);
        Some(Answer { from: destination, to: source, bytes, session: self.number })
    }

    fn tell(&mut self, now: Instant, ask: Ask) -> Seen {
        self.touched = now;
        self.count = ask.count;
        self.watches_connections |= ask.connections;
        if ask.connections {
            ask.from.into_iter().for_each(|address| self.come_from(address));
        }
        Seen {
            arrived: self.arrived.to_text(),
            answered: self.answered.to_text(),
            connected: self.connected.to_text(),
            sources: self.sources.clone(),
            measures: self.measures,
            marks: self.marks,
            moved: self.moved,
            ignored: self.ignored,
            missed: 0,
        }
    }

    fn come_from(&mut self, address: IpAddr) {
        if self.sources.len() < MOST_SOURCES && !self.sources.contains(&address) {
            self.sources.push(address);
        }
    }

    fn watches(&self, source: IpAddr) -> bool {
        self.watches_connections && self.sources.contains(&source)
    }
}

impl Response {
    /// What everybody is told who has not shown that they have the token: not what was wrong.
    fn refused() -> Self {
        Self { status: 401, seal: None, body: "only who has the token is answered\n".to_owned() }
    }
}

/// A body, or the status and the reason why there is none.
type Answered = Result<serde_json::Result<String>, (u16, &'static str)>;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (u16, &'static str)> {
    serde_json::from_slice(body).map_err(|_| (400, "this is no request that the agent understands\n"))
}
