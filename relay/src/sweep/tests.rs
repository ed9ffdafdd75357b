//! Prober and observer play against each other, without a socket and in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::arrival::Arrival;
use super::channel::{Caller, ChannelError, OPEN, REPORT, Request, SEAL, Session, Sighting};
use super::observer::Response;
use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn token() -> Token {
    "0123456789abcdef".parse().unwrap()
}

fn laptop() -> SocketAddr {
    "198.51.100.20:50123".parse().unwrap()
}

fn node(port: u16) -> SocketAddr {
    ([10, 224, 0, 4], port).into()
}

struct Play {
    now: Instant,
    observer: Observer,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        Self { now, observer: Observer::new(token(), now, now + 15 * MINUTE) }
    }

    fn ask(&mut self, request: &Request) -> Response {
        self.observer.handle_request(self.now, request.path, &request.seal, request.body.as_bytes(), 7)
    }

    fn open(&mut self, nonce: u8) -> Session {
        let caller = Caller::new(token(), [nonce; 16], &(40_000..=49_999));
        let response = self.ask(caller.request());
        assert_eq!(response.status, 200, "{}", response.body);
        caller.opened(&response.seal.unwrap(), response.body.as_bytes()).unwrap()
    }

    fn report(&mut self, session: &mut Session) -> Sighting {
        self.report_with(session, None)
    }

    fn report_with(&mut self, session: &mut Session, connections: Option<&[std::net::IpAddr]>) -> Sighting {
        let request = session.ask(connections);
        let response = self.ask(&request);
        assert_eq!(response.status, 200, "{}", response.body);
        session.told(&request, &response.seal.unwrap(), response.body.as_bytes()).unwrap()
    }

    /// What becomes of these bytes when they arrive at this port.
    fn arrive(&mut self, port: u16, payload: &[u8]) -> Option<Answer> {
        let arrival = Arrival::Datagram { source: laptop(), destination: node(port), payload };
        self.observer.handle_arrival(self.now, arrival)
    }
}

fn question(session: &Session, port: u16, sequence: u32) -> Packet {
    Packet { kind: Kind::Question, port, session: session.number, sequence, time: 0, mark: 0 }
}

#[test]
fn a_question_that_arrives_is_told_of_and_answered_to_who_asked() {
    let mut play = Play::new();
    let mut session = play.open(1);
    let question = question(&session, 41_000, 0);
    let answer = play.arrive(41_000, &question.to_bytes(&session.key)).unwrap();
    assert_eq!((answer.from, answer.to), (node(41_000), laptop()));
    assert_eq!(Packet::read(&answer.bytes, &session.key), Some(question.answer()));
    assert_eq!(answer.bytes.len(), question.to_bytes(&session.key).len(), "no amplifier");

    let sighting = play.report(&mut session);
    assert_eq!(sighting.arrived.iter().collect::<Vec<_>>(), [41_000]);
    assert!(sighting.answered.is_empty(), "it was not sent so far");
    play.observer.handle_answered(&answer);
    assert_eq!(play.report(&mut session).answered.iter().collect::<Vec<_>>(), [41_000]);
    assert_eq!(sighting.seen.sources, [laptop().ip()]);

    let again = Packet { sequence: 1, ..question };
    play.arrive(41_000, &again.to_bytes(&session.key)).unwrap();
    assert!(play.report(&mut session).answered.is_empty(), "somebody has taken the port meanwhile");
}

#[test]
fn what_was_there_before_is_ignored() {
    let mut play = Play::new();
    let mut session = play.open(1);
    let bytes = question(&session, 41_000, 0).to_bytes(&session.key);
    assert!(play.arrive(41_000, &bytes).is_some());
    assert!(play.arrive(41_000, &bytes).is_none(), "the same again");
    let answer = question(&session, 41_001, 1).answer().to_bytes(&session.key);
    assert!(play.arrive(41_001, &answer).is_none(), "an answer that somebody sends back");
    let old = question(&session, 41_002, 2).to_bytes(&session.key);
    play.now += Duration::from_secs(11);
    assert!(play.arrive(41_002, &old).is_none(), "a packet that somebody held back");
    let sighting = play.report(&mut session);
    assert_eq!((sighting.arrived.len(), sighting.seen.ignored), (1, 3));
}

#[test]
fn who_lacks_the_token_gets_nothing() {
    let mut play = Play::new();
    let session = play.open(1);
    let other: Token = "another-token-of-16".parse().unwrap();
    let caller = Caller::new(other.clone(), [2; 16], &(1..=2));
    let response = play.ask(caller.request());
    assert_eq!((response.status, response.seal), (401, None));
    let forged = question(&session, 41_000, 0).to_bytes(&other.session_key(&[2; 16], session.number));
    assert!(play.arrive(41_000, &forged).is_none());
    for bytes in [&b"SWP1"[..], b"", &[0; 60]] {
        assert!(play.arrive(41_000, bytes).is_none());
    }
    let mut sealed = Caller::new(token(), [3; 16], &(1..=2)).request().clone();
    sealed.body = sealed.body.replace("\"last\":2", "\"last\":3");
    assert_eq!(play.ask(&sealed).status, 401, "what was sealed has changed");
}

#[test]
fn a_request_that_was_heard_on_the_way_is_of_no_use() {
    let mut play = Play::new();
    let caller = Caller::new(token(), [1; 16], &(40_000..=49_999));
    let opened = play.ask(caller.request());
    assert_eq!(play.ask(caller.request()).status, 409);
    let mut session = caller.opened(&opened.seal.unwrap(), opened.body.as_bytes()).unwrap();
    let ask = session.ask(None);
    assert_eq!((ask.path, play.ask(&ask).status), (REPORT, 200));
    assert_eq!(play.ask(&ask).status, 401);
}

#[test]
fn an_agent_without_the_token_is_not_believed() {
    let mut play = Play::new();
    let caller = Caller::new(token(), [1; 16], &(40_000..=49_999));
    let response = play.ask(caller.request());
    let seal = response.seal.unwrap();
    let mut other = seal.clone();
    other.replace_range(..2, if seal.starts_with("00") { "11" } else { "00" });
    assert_eq!(caller.opened(&other, response.body.as_bytes()).unwrap_err(), ChannelError::Seal);
    assert_eq!((OPEN, SEAL), ("/session", "hubs-sweep-seal"));
}

#[test]
fn sessions_are_bounded_and_idle_ones_make_room() {
    let mut play = Play::new();
    for nonce in 0..MOST_SESSIONS as u8 {
        play.open(nonce);
    }
    let caller = Caller::new(token(), [100; 16], &(1..=2));
    assert_eq!(play.ask(caller.request()).status, 429);
    play.now += Duration::from_secs(11);
    assert_eq!(play.ask(caller.request()).status, 200);
}

#[test]
fn packets_beyond_a_bound_are_not_looked_at_until_the_second_is_over() {
    let mut play = Play::new();
    let mut session = play.open(1);
    let forged = question(&session, 41_000, 0).to_bytes(&token().key());
    for _ in 0..30_000 {
        assert!(play.arrive(41_000, &forged).is_none());
    }
    let bytes = question(&session, 41_000, 0).to_bytes(&session.key);
    assert!(play.arrive(41_000, &bytes).is_none());
    assert!(play.report(&mut session).seen.missed > 9_000);
    play.now += Duration::from_secs(1);
    assert!(play.arrive(41_000, &bytes).is_some());
}

#[test]
fn measures_are_counted_so_that_what_was_lost_is_known() {
    let mut play = Play::new();
    let mut session = play.open(1);
    for mark in (0..100).filter(|mark| mark % 10 != 3) {
        let measure = Packet { kind: Kind::Measure, mark, ..question(&session, 41_000, mark) };
        assert!(play.arrive(41_000, &measure.to_bytes(&session.key)).is_none(), "none is answered");
    }
    let seen = play.report(&mut session).seen;
    assert_eq!((seen.measures, seen.marks), (90, 100));
}

#[test]
fn a_packet_that_was_led_to_another_port_says_nothing_of_either() {
    let mut play = Play::new();
    let mut session = play.open(1);
    assert!(play.arrive(31_000, &question(&session, 41_000, 0).to_bytes(&session.key)).is_none());
    let sighting = play.report(&mut session);
    assert!(sighting.arrived.is_empty());
    assert_eq!(sighting.seen.moved, 1);
}

#[test]
fn connections_are_seen_from_where_the_sessions_packets_come_and_only_when_asked_for() {
    let mut play = Play::new();
    let mut session = play.open(1);
    play.arrive(41_000, &question(&session, 41_000, 0).to_bytes(&session.key));
    let syn = |from: &str, port| Arrival::Syn { source: from.parse().unwrap(), destination: node(port) };
    play.observer.handle_arrival(play.now, syn("198.51.100.20:1", 42_000));
    assert!(play.observer.probers().is_empty());
    let other = "198.51.100.21".parse().unwrap();
    play.report_with(&mut session, Some(&[other]));
    assert_eq!(play.observer.probers(), [laptop().ip(), other]);
    for (from, port) in
        [("198.51.100.20:1", 42_001), ("198.51.100.21:1", 42_002), ("198.51.100.22:1", 42_003)]
    {
        play.observer.handle_arrival(play.now, syn(from, port));
    }
    let sighting = play.report(&mut session);
    assert_eq!(sighting.connected.iter().collect::<Vec<_>>(), [42_001, 42_002]);
}

proptest! {
    #[test]
    fn whatever_arrives_only_authenticated_questions_are_answered_and_each_once(
        steps in proptest::collection::vec((any::<bool>(), 0_u32..20, 39_990_u16..40_010, any::<u8>()), 1..100),
    ) {
        let mut play = Play::new();
        let mut session = play.open(1);
        let mut answered = std::collections::BTreeSet::new();
        for (is_ours, sequence, port, noise) in steps {
            let mut bytes = question(&session, port, sequence).to_bytes(&session.key);
            if !is_ours {
                bytes[usize::from(noise) % Packet::LENGTH] ^= noise | 1;
            }
            if play.arrive(port, &bytes).is_some() {
                prop_assert!(is_ours && answered.insert(sequence));
            }
        }
        let told = play.report(&mut session);
        prop_assert!(told.arrived.iter().all(|port| port >= 40_000));
    }

    #[test]
    fn any_request_is_refused_without_harm(path in "/[a-z]{0,10}", seal in ".{0,70}", body in ".{0,100}") {
        let mut play = Play::new();
        for path in [path.as_str(), OPEN, REPORT] {
            let response = play.observer.handle_request(play.now, path, &seal, body.as_bytes(), 1);
            prop_assert_eq!(response.status, 401);
        }
    }
}
