//! The path through TURN, as a browser would take it: a certificate that browsers accept, credentials, an allocation and a
//! permission, all of which are renewed or opened anew for as long as the path is measured.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    check::Context,
    checks::turn::servers,
    facts::RoomTurn,
    ice::{self, Agent, Outcome, Schedule},
    net::{Judgement, Trust},
    phoenix::{self, PhoenixError},
    target::{HTTPS, Name},
    turn::{Allocation, Client, Login, TurnError},
};

/// How often the TURN server is asked to keep what it holds for us: a permission lasts five minutes, an allocation ten (RFC
/// 8656 sections 9 and 3.2).
const RENEWAL: Duration = Duration::from_mins(1);

/// The path to one address through the deployment's TURN server.
pub(super) struct Relayed {
    server: Server,
    peer: SocketAddr,
    held: Option<Box<Held>>,
    refused: bool,
}

/// An allocation with a permission for the peer, and when the server last confirmed both.
struct Held {
    allocation: Allocation,
    confirmed: Instant,
}

impl Relayed {
    /// The path to `peer`, unless nobody gave a way to credentials.
    pub(super) fn new(cx: &Arc<Context>, peer: SocketAddr) -> Option<Self> {
        Some(Self { server: Server::of(cx)?, peer, held: None, refused: false })
    }

    /// One check. After an error all is opened anew.
    pub(super) async fn check(&mut self, agent: &Agent, schedule: Schedule) -> Result<Outcome, Obstacle> {
        let held = match &mut self.held {
            Some(held) => held,
            none => {
                let opened = self.server.open(self.peer).await;
                self.refused = opened.is_err();
                none.insert(Box::new(opened?))
            }
        };
        let outcome = held.check(self.peer, agent, schedule).await;
        if outcome.is_err() {
            self.held = None;
        }
        Ok(outcome?)
    }

    /// Whether the server did not let us in when it was last asked for an allocation.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Gives the allocation back.
    pub(super) async fn close(&mut self) {
        if let Some(held) = self.held.take() {
            // Unanswered, it is not lost: the end of the connection ends the allocation, too.
            let _ = held.allocation.release().await;
        }
    }
}

impl fmt::Display for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server: Server { host, port, .. }, peer, .. } = self;
        write!(f, "turns:{host}:{port} -> {peer}/udp")
    }
}

/// A TURN server, and what is needed to be let in.
struct Server {
    cx: Arc<Context>,
    host: String,
    port: u16,
}

impl Held {
    async fn check(
        &mut self,
        peer: SocketAddr,
        agent: &Agent,
        schedule: Schedule,
    ) -> Result<Outcome, TurnError> {
        let outcome = ice::check(&mut self.allocation, peer, agent, schedule).await?;
        // Behind a silence may be a dead connection, and only an answer of the server itself can tell.
        if !outcome.is_answered() || self.confirmed.elapsed() > RENEWAL {
            self.allocation.permit(peer).await?;
            self.allocation.refresh().await?;
            self.confirmed = Instant::now();
        }
        Ok(outcome)
    }
}

/// Why no path leads through the TURN server.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    #[error(transparent)]
    Turn(#[from] TurnError),
    #[error("browsers refuse the certificate")]
    Certificate,
    #[error("no credentials: {0}")]
    Room(#[from] PhoenixError),
    #[error("the room offers no TURN")]
    NotOffered,
}

impl Server {
    /// The one where a browser would try first, if there is a way to credentials.
    fn of(cx: &Arc<Context>) -> Option<Self> {
        let (host, ports) = servers(cx);
        let has_credentials = cx.turn_login.is_some() || cx.room.is_some();
        has_credentials.then_some(Self { cx: Arc::clone(cx), host, port: *ports.first()? })
    }

    /// An allocation through which `peer` can be reached.
    async fn open(&self, peer: SocketAddr) -> Result<Held, Obstacle> {
        let login = self.login().await?;
        let mut client = Client::connect(&self.cx.net, &self.host, self.port).await?;
        if let Some(Judgement::Refused(_)) = client.judgement() {
            return Err(Obstacle::Certificate);
        }
        let challenge = client.challenge().await?;
        let mut allocation = client.allocate(challenge, &login).await?;
        allocation.permit(peer).await?;
        Ok(Held { allocation, confirmed: Instant::now() })
    }

    /// What the command line gives, or what the room gave; when that has run out, what it gives now.
    async fn login(&self) -> Result<Login, Obstacle> {
        let Context { target, net, room, turn_login, facts, .. } = &*self.cx;
        if let Some(given) = turn_login {
            return Ok(Login::given(given));
        }
        let known = facts.room.get().ok().and_then(|room| room.turn.as_ref()).map(RoomTurn::login);
        if let Some(login) = known.filter(|login| login.expired_for().is_none()) {
            return Ok(login);
        }
        let room = room.as_ref().ok_or(Obstacle::NotOffered)?;
        let joined = phoenix::join(net, &target.host(Name::Root), HTTPS, room, Trust::Anything).await?;
        joined.turn.as_ref().map(RoomTurn::login).ok_or(Obstacle::NotOffered)
    }
}
