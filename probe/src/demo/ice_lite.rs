//! ICE as mediasoup 3.11 answers it (RFC 8445 section 2.5): it never asks, and never forgets who asked rightly. Without a
//! socket.

use std::net::SocketAddr;

use hubs_relay::wire::{Builder, Class, ErrorCode, IntegrityKey, Message, Method, attribute};
use serde::Serialize;

use crate::random;

/// RFC 8445 section 7.3.1.1; only ICE knows it.
const ROLE_CONFLICT: ErrorCode = ErrorCode(487);

/// Paths that are remembered; the oldest goes first.
const MOST_TUPLES: usize = 8;

/// The bytes of a FINGERPRINT with its header.
const FINGERPRINT_LEN: usize = 8;

/// A path: our end, and the other one as we see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// In mediasoup's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum IceState {
    /// Nobody has asked rightly.
    New,
    /// Somebody has.
    Connected,
    /// Somebody has chosen a path.
    Completed,
}

/// The answering end of ICE.
#[derive(Debug)]
pub(super) struct IceLite {
    ufrag: String,
    password: String,
    state: IceState,
    /// The newest last.
    tuples: Vec<Tuple>,
    selected: Option<Tuple>,
}

impl IceLite {
    pub(super) fn new() -> Self {
        let (ufrag, password) = (random::name::<32>(), random::name::<32>());
        Self { ufrag, password, state: IceState::New, tuples: Vec::new(), selected: None }
    }

    /// Takes a STUN message, and gives the answer to send back the way it came.
    pub(super) fn handle(&mut self, tuple: Tuple, datagram: &[u8]) -> Option<Vec<u8>> {
        let request = Message::parse(datagram).ok().filter(|m| m.class() == Class::Request)?;
        Some(match self.judge(&request, datagram) {
            Ok(()) => {
                self.learn(tuple, request.attribute(attribute::USE_CANDIDATE).is_some());
                let key = IntegrityKey::short_term(&self.password);
                Builder::success(&request).xor_mapped_address(tuple.remote).integrity(&key)
            }
            Err(code) => Builder::new(Class::Error, request.method(), request.transaction())
                // mediasoup gives no reasons.
                .error_code(code, ""),
        })
        .map(|answer| answer.fingerprint().finish())
    }

    /// Sends go along `tuple` from now on.
    pub(super) fn select(&mut self, tuple: Tuple) {
        self.selected = Some(tuple);
    }

    pub(super) fn ufrag(&self) -> &str {
        &self.ufrag
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    pub(super) fn state(&self) -> IceState {
        self.state
    }

    /// The path that sends take.
    pub(super) fn selected(&self) -> Option<Tuple> {
        self.selected
    }

    /// Whether an authenticated check came along this path.
    pub(super) fn knows(&self, tuple: Tuple) -> bool {
        self.tuples.contains(&tuple)
    }

    fn judge(&self, request: &Message, datagram: &[u8]) -> Result<(), ErrorCode> {
        let username = request.username().ok().flatten().unwrap_or_default();
        let priority = request.attribute(attribute::PRIORITY).unwrap_or_default();
        let is_complete = request.method() == Method::Binding
            && ends_with_fingerprint(datagram)
            && request.integrity().is_some()
            && priority.iter().any(|byte| *byte != 0)
            && !username.is_empty();
        let for_us = username.split_once(':').is_some_and(|(ufrag, _)| ufrag == self.ufrag);
        if !is_complete {
            Err(ErrorCode::BAD_REQUEST)
        } else if !for_us || !request.verify(&IntegrityKey::short_term(&self.password)) {
            Err(ErrorCode::UNAUTHENTICATED)
        } else if request.attribute(attribute::ICE_CONTROLLED).is_some() {
            Err(ROLE_CONFLICT)
        } else {
            Ok(())
        }
    }

    fn learn(&mut self, tuple: Tuple, nominated: bool) {
        if !self.knows(tuple) {
            self.tuples.push(tuple);
        }
        if nominated {
            self.state = IceState::Completed;
        } else if self.state == IceState::New {
            self.state = IceState::Connected;
        }
        if nominated || self.selected.is_none() {
            self.selected = Some(tuple);
        }
        if self.tuples.len() > MOST_TUPLES {
            let oldest = self.tuples.iter().position(|t| Some(*t) != self.selected);
            oldest.map(|at| self.tuples.remove(at));
        }
    }
}

/// A right one, if it is there: the message would not have been read otherwise.
fn ends_with_fingerprint(datagram: &[u8]) -> bool {
    let header = datagram.len().checked_sub(FINGERPRINT_LEN).and_then(|at| datagram.get(at..at + 4));
    header == Some(&[&attribute::FINGERPRINT.value().to_be_bytes()[..], &[0, 4]].concat()[..])
}

#[cfg(test)]
mod tests {
    use hubs_relay::wire::TransactionId;
    use proptest::prelude::*;

    use super::*;
    use crate::ice::{Agent, Credentials};

    fn tuple(port: u16) -> Tuple {
        Tuple { local: ([127, 0, 0, 1], 40_000).into(), remote: ([192, 0, 2, 7], port).into() }
    }

    fn begin() -> Builder {
        Builder::request(Method::Binding, TransactionId([7; 12]))
    }

    fn check(ice: &IceLite) -> Builder {
        begin().username(&format!("{}:them", ice.ufrag())).priority(1)
    }

    fn key(ice: &IceLite) -> IntegrityKey {
        IntegrityKey::short_term(ice.password())
    }

    fn sign(ice: &IceLite, request: Builder) -> Vec<u8> {
        request.integrity(&key(ice)).fingerprint().finish()
    }

    /// The code of the answer, or none for success.
    fn code(ice: &mut IceLite, request: &[u8]) -> Option<u16> {
        let answer = ice.handle(tuple(1), request).expect("a request is answered");
        Message::parse(&answer).unwrap().error_code().unwrap().map(|(code, _)| code.0)
    }

    // As recorded from mediasoup 3.11.8.
    #[test]
    fn each_fault_of_a_check_gets_the_code_that_mediasoup_gives_it() {
        let mut ice = IceLite::new();
        let wrong_user = begin().username("somebody:else").priority(1);
        let wrong_password = check(&ice).integrity(&IntegrityKey::short_term("guess")).fingerprint().finish();
        let unsigned = check(&ice).fingerprint().finish();
        let no_fingerprint = check(&ice).integrity(&key(&ice)).finish();
        let no_priority = begin().username(&format!("{}:them", ice.ufrag()));
        for (request, expected) in [
            (begin().finish(), Some(400)),
            (unsigned, Some(400)),
            (no_fingerprint, Some(400)),
            (sign(&ice, begin().priority(1)), Some(400)),
            (sign(&ice, no_priority), Some(400)),
            (sign(&ice, Builder::request(Method::Allocate, TransactionId([7; 12]))), Some(400)),
            (sign(&ice, wrong_user), Some(401)),
            (wrong_password, Some(401)),
            (sign(&ice, check(&ice).ice_controlled(1)), Some(487)),
        ] {
            assert_eq!(code(&mut ice, &request), expected);
            assert_eq!(ice.state(), IceState::New);
        }
        let right = sign(&ice, check(&ice));
        assert_eq!(code(&mut ice, &right), None);
        assert_eq!(ice.state(), IceState::Connected);
    }

    #[test]
    fn the_probes_own_agent_accepts_the_answer() {
        let mut ice = IceLite::new();
        let credentials = Credentials::new(ice.ufrag().to_owned(), ice.password().to_owned()).unwrap();
        let agent = Agent::new(&credentials);
        let answer = ice.handle(tuple(5000), &agent.request(TransactionId([7; 12]))).unwrap();
        assert_eq!(agent.read(&answer).unwrap().verdict, Ok(tuple(5000).remote));
    }

    #[test]
    fn the_first_path_is_taken_until_the_client_nominates_another() {
        let mut ice = IceLite::new();
        let (plain, nominating) = (sign(&ice, check(&ice)), sign(&ice, check(&ice).use_candidate()));
        ice.handle(tuple(1), &plain);
        ice.handle(tuple(2), &plain);
        assert_eq!((ice.state(), ice.selected()), (IceState::Connected, Some(tuple(1))));
        ice.handle(tuple(2), &nominating);
        assert_eq!((ice.state(), ice.selected()), (IceState::Completed, Some(tuple(2))));
    }

    #[test]
    fn paths_are_forgotten_when_there_are_too_many_but_not_the_selected_one() {
        let mut ice = IceLite::new();
        let plain = sign(&ice, check(&ice));
        for port in 1..=20 {
            ice.handle(tuple(port), &plain);
        }
        assert!(ice.knows(tuple(1)) && ice.knows(tuple(20)) && !ice.knows(tuple(2)));
        assert_eq!(ice.tuples.len(), MOST_TUPLES);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic(datagram in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(IceLite::new().handle(tuple(1), &datagram), None);
        }
    }
}
