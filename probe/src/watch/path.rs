//! One path to dialog, and one measurement of it: through the media gateway, straight to an address, or through TURN as a browser
//! would go.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use hubs_tui::feed::Path;

use super::relayed::Relayed;
use crate::{
    candidate::{Candidate, Protocol},
    check::Context,
    finding::printable,
    ice::{self, Agent, DirectPath, Outcome, Schedule, TcpPath},
    net::Net,
    protoo::Transport,
};
/// How often a path is measured.
const PERIOD: Duration = Duration::from_secs(1);

/// How long to wait before a server is asked again for what it refused.
const RETRY: Duration = Duration::from_secs(5);

/// One check; an answer that is not there when the next one is due counts as lost.
const ONCE: Schedule = Schedule { tries: 1, interval: PERIOD };

/// A path that is measured.
pub(super) struct Measured {
    /// How the view calls it. The same path to another transport has the same name.
    pub(super) name: String,
    way: Way,
}

enum Way {
    Direct(Direct),
    Tcp(Box<Tcp>),
    Relayed(Relayed),
}

impl Measured {
    /// The paths that lead to `transport`: by each port of the gateway's, if there is one; straight to each of its addresses; and
    /// through TURN to the first of them, if there are credentials.
    pub(super) async fn towards(cx: &Arc<Context>, transport: &Transport) -> Vec<Self> {
        let peers: Vec<SocketAddr> = transport.candidates.iter().filter_map(Candidate::direct).collect();
        let direct = peers.iter().filter(|peer| cx.net.family().admits(peer.ip())).enumerate();
        let direct = direct.map(|(n, &peer)| Self {
            name: format!("direct {}", n + 1),
            way: Way::Direct(Direct { detour: peer, peer, socket: None }),
        });
        // A relayed address is one of IPv4, because no browser asks for another.
        let relayed = peers.iter().find(|peer| peer.is_ipv4()).and_then(|&peer| Relayed::new(cx, peer));
        let relayed = relayed.map(|way| Self { name: "through TURN".to_owned(), way: Way::Relayed(way) });
        Self::by_gateway(&cx.net, transport).await.into_iter().chain(direct).chain(relayed).collect()
    }

    async fn by_gateway(net: &Net, transport: &Transport) -> Vec<Self> {
        let mut paths = Vec::new();
        let mut numbers = BTreeMap::new();
        for candidate in &transport.candidates {
            let Some(peer) = candidate.gateway().filter(|peer| net.family().admits(peer.ip())) else {
                continue;
            };
            let protocol = candidate.protocol;
            let way = match protocol {
                Protocol::Udp => {
                    let detour = net.route(&peer.ip().to_string(), peer.port()).await;
                    let detour = detour.ok().and_then(|ways| ways.first().copied()).unwrap_or(peer);
                    Way::Direct(Direct { detour, peer, socket: None })
                }
                Protocol::Tcp => Way::Tcp(Box::new(Tcp { net: net.clone(), peer, path: None })),
            };
            let number = numbers.entry(protocol.to_string()).or_insert(0);
            *number += 1;
            let name = match number {
                1 => format!("gateway {protocol}"),
                number => format!("gateway {protocol} {number}"),
            };
            paths.push(Self { name, way });
        }
        paths
    }

    /// How the view is to describe it.
    pub(super) fn description(&self) -> Path {
        let route = match &self.way {
            Way::Direct(Direct { peer, .. }) => format!("{peer}/udp"),
            Way::Tcp(tcp) => format!("{}/tcp", tcp.peer),
            Way::Relayed(relayed) => relayed.to_string(),
        };
        Path { name: self.name.clone(), route: printable(&route) }
    }

    /// One check: its round trip, or why there was none.
    pub(super) async fn sample(&mut self, agent: &Agent) -> Result<Duration, String> {
        let outcome = match &mut self.way {
            Way::Direct(direct) => direct.check(agent).await.map_err(|e| e.to_string()),
            Way::Tcp(tcp) => tcp.check(agent).await,
            Way::Relayed(relayed) => relayed.check(agent, ONCE).await.map_err(|e| e.to_string()),
        };
        outcome.and_then(round_trip).map_err(|obstacle| printable(&obstacle))
    }

    /// How long after the beginning of a measurement the next one begins.
    pub(super) fn period(&self) -> Duration {
        match &self.way {
            Way::Relayed(relayed) if relayed.is_refused() => RETRY,
            Way::Tcp(tcp) if tcp.path.is_none() => RETRY,
            Way::Direct(_) | Way::Tcp(_) | Way::Relayed(_) => PERIOD,
        }
    }

    /// Gives back what servers hold for it.
    pub(super) async fn close(&mut self) {
        if let Way::Relayed(relayed) = &mut self.way {
            relayed.close().await;
        }
    }
}

fn round_trip(outcome: Outcome) -> Result<Duration, String> {
    match outcome {
        Outcome::Answered { round_trip, .. } => Ok(round_trip),
        Outcome::AnsweredElsewhere { from } => Err(format!("{from} answers instead")),
        Outcome::Rejected(rejection) => Err(format!("refused: {} {}", rejection.code, rejection.reason)),
        Outcome::PortClosed => Err("port closed (ICMP)".to_owned()),
        Outcome::NoRoute => Err("no way leads there".to_owned()),
        Outcome::Silent { .. } => Err("no answer".to_owned()),
    }
}

struct Direct {
    /// Where packets to the peer go.
    detour: SocketAddr,
    peer: SocketAddr,
    socket: Option<DirectPath>,
}

impl Direct {
    async fn check(&mut self, agent: &Agent) -> io::Result<Outcome> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => DirectPath::open_by(self.detour, self.peer).await?,
        };
        let outcome = socket.check(agent, ONCE).await?;
        // Under a socket that is not answered the network may have changed; the next check gets a fresh one.
        self.socket = outcome.is_answered().then_some(socket);
        Ok(outcome)
    }
}

struct Tcp {
    net: Net,
    peer: SocketAddr,
    path: Option<TcpPath>,
}

impl Tcp {
    async fn check(&mut self, agent: &Agent) -> Result<Outcome, String> {
        let mut path = if let Some(path) = self.path.take() {
            path
        } else {
            let stream = self.net.connect(&self.peer.ip().to_string(), self.peer.port()).await;
            TcpPath::new(stream.map_err(|e| e.to_string())?, self.peer)
        };
        let outcome = ice::check(&mut path, self.peer, agent, ONCE).await.map_err(|e| e.to_string())?;
        // A connection on which nothing is answered may be dead without saying so.
        self.path = outcome.is_answered().then_some(path);
        Ok(outcome)
    }
}
