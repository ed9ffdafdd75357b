//! One path to dialog, and one measurement of it.

use std::{net::SocketAddr, time::Duration};

use hubs_tui::feed::Path;

use crate::{
    candidate::Candidate,
    finding::printable,
    ice::{Agent, DirectPath, Outcome, Schedule},
    protoo::Transport,
};

/// How often a path is measured.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// One check; an answer that is not there when the next one is due is lost.
const ONCE: Schedule = Schedule { tries: 1, interval: PERIOD };

/// A path that is measured.
pub(super) struct Measured {
    /// How the view calls it; what comes after the same path under another transport has the same name.
    pub(super) name: String,
    peer: SocketAddr,
    socket: Option<DirectPath>,
}

impl Measured {
    /// The paths that lead to `transport`: straight to each address that it waits at.
    pub(super) fn towards(transport: &Transport) -> Vec<Self> {
        let peers: Vec<SocketAddr> = transport.candidates.iter().filter_map(Candidate::address).collect();
        let name =
            |n: usize| if peers.len() == 1 { "direct".to_owned() } else { format!("direct {}", n + 1) };
        peers.iter().enumerate().map(|(n, &peer)| Self { name: name(n), peer, socket: None }).collect()
    }

    /// How the view is to describe it.
    pub(super) fn description(&self) -> Path {
        Path { name: self.name.clone(), route: format!("you -> {}/udp", self.peer) }
    }

    /// One check: its round trip, or why there was none.
    pub(super) async fn sample(&mut self, agent: &Agent) -> Result<Duration, String> {
        let failed = |e: std::io::Error| e.to_string();
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => DirectPath::open(self.peer).await.map_err(failed)?,
        };
        let round_trip = round_trip(socket.check(agent, ONCE).await.map_err(failed)?)?;
        // Only a socket that works is kept: under one that does not, the network may have changed.
        self.socket = Some(socket);
        Ok(round_trip)
    }
}

fn round_trip(outcome: Outcome) -> Result<Duration, String> {
    match outcome {
        Outcome::Answered { round_trip, .. } => Ok(round_trip),
        Outcome::AnsweredElsewhere { from } => Err(format!("{from} answers instead")),
        Outcome::Rejected(rejection) => {
            Err(printable(&format!("refused: {} {}", rejection.code.0, rejection.reason)))
        }
        Outcome::PortClosed => Err("nothing listens there (ICMP)".to_owned()),
        Outcome::NoRoute => Err("no route there".to_owned()),
        Outcome::Silent { .. } => Err("no answer".to_owned()),
    }
}
