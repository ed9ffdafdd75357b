//! The server: its inputs and outputs, and the media path. Requests are answered in `control`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::limiter::{Exceeded, Limiter, Rates};
use super::reservations::Reservations;
use super::session::Session;
use super::sessions::Sessions;
use super::{Client, Command, Counts, Ended, Link, NonceKey, Now, PeerPolicy, RelayId, ToClient, ToPeer};
use crate::auth::Credentials;
use crate::wire::{
    Builder, Class, Family, Fragmentation, Frame, Icmp, Indication, IndicationKind, Message, Method,
    TransactionId,
};

/// What a server needs to know from the beginning.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The realm of its users.
    pub realm: String,
    /// What its nonces are signed with.
    pub nonce_key: NonceKey,
    /// Who may allocate.
    pub credentials: Credentials,
    /// Whether there may be secrets that we do not know yet, so that a request which none of the known ones signed is
    /// put off with [`Command::Reread`].
    pub secrets_rotate: bool,
    /// Whom clients may reach.
    pub peers: PeerPolicy,
    /// The families that relay sockets can have; never empty.
    pub families: Vec<Family>,
    /// What one server takes on.
    pub limits: Limits,
    /// Where the ids of Data indications begin, so that they do not repeat after a restart, and what else has to be
    /// random.
    pub transaction_seed: u64,
}

/// Bounds on what one server takes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Relayed addresses at a time, reserved ports included.
    pub sessions: usize,
    /// The same, of one client address; nothing for no bound.
    pub sessions_per_address: Option<usize>,
    /// Permissions of one allocation.
    pub permissions: usize,
    /// Channels of one allocation.
    pub channels: usize,
    /// Answers a second to one address from which datagrams come without an allocation; nothing for no bound.
    pub stranger_answers: Option<u32>,
    /// Answers a second to all such addresses together; nothing for no bound.
    pub stranger_answers_total: Option<u32>,
}

/// A STUN and TURN server; see the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Server {
    pub(super) settings: Settings,
    pub(super) sessions: Sessions,
    pub(super) reservations: Reservations,
    pub(super) commands: VecDeque<Command>,
    pub(super) counts: Counts,
    pub(super) is_draining: bool,
    limiter: Limiter,
    data_indications: u32,
}

impl Server {
    /// A server without clients.
    pub fn new(settings: Settings) -> Self {
        Self {
            limiter: Limiter::new(settings.transaction_seed),
            settings,
            sessions: Sessions::default(),
            reservations: Reservations::default(),
            commands: VecDeque::new(),
            counts: Counts::default(),
            is_draining: false,
            data_indications: 0,
        }
    }

    /// A client sent a frame.
    pub fn handle_client<'a>(&mut self, now: Now, client: Client, frame: Frame<'a>) -> Option<ToPeer<'a>> {
        match frame {
            Frame::ChannelData(data) => {
                let peer_of = |session: &Session| session.permissions.channel_peer(data.channel, now.instant);
                let (relay, peer) = self.sessions.find(&client, peer_of)?;
                let fragmentation = Fragmentation::Allowed;
                Some(ToPeer { relay, peer: peer.actual(), fragmentation, payload: data.payload })
            }
            Frame::Message(bytes) if Indication::is_indication(bytes) => {
                let send = Indication::read(bytes).filter(|it| it.kind == IndicationKind::Send)?;
                let (relay, session) = self.sessions.of_family(&client, Family::of(send.peer))?;
                let (policy, family) = (&self.settings.peers, session.family);
                let decide = || policy.decide(send.peer).filter(|peer| peer.host().is_family(family));
                let peer = session.permissions.send_peer(send.peer, now.instant, decide)?;
                let (peer, fragmentation) = (peer.actual(), send.fragmentation);
                Some(ToPeer { relay, peer, fragmentation, payload: send.payload })
            }
            Frame::Message(_) if !self.may_answer(now, client) => None,
            Frame::Message(bytes) => {
                // What cannot be read is discarded in silence (RFC 8489 section 6.3).
                if let Ok(message) = Message::parse(bytes) {
                    self.handle_message(now, client, message);
                }
                None
            }
        }
    }

    /// A packet came in on a relay socket.
    pub fn handle_peer(&mut self, now: Now, relay: RelayId, from: SocketAddr) -> Option<ToClient> {
        let transaction = self.next_transaction();
        let session = self.sessions.get_mut(relay)?;
        let framing = |from| session.permissions.framing(from, transaction, now.instant);
        let framing = framing(from).or_else(|| framing(self.settings.peers.behind(from)?))?;
        Some(ToClient { client: session.client, framing })
    }

    /// The network says that a packet from a relay socket did not get to `to`, or does not fit. Only who may hear from a
    /// peer hears about it (RFC 8656 section 11.5).
    pub fn handle_icmp(&mut self, now: Now, relay: RelayId, to: SocketAddr, icmp: Icmp) {
        let transaction = self.next_transaction();
        let Some(session) = self.sessions.get_mut(relay) else { return };
        let Some(peer) = session.permissions.name(to, now.instant) else { return };
        let told =
            Builder::new(Class::Indication, Method::Data, transaction).xor_peer_address(peer).icmp(icmp);
        self.commands.push_back(Command::Send { client: session.client, bytes: told.finish() });
    }

    /// A client's connection has ended, and its allocation with it.
    pub fn handle_client_closed(&mut self, client: Client) {
        for relay in self.sessions.relays(&client) {
            self.close(relay, Ended::Disconnected);
        }
    }

    /// The time that [`Self::poll_timeout`] named has come, or any other.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((_, relay)) =
            self.sessions.first_to_expire().filter(|(expires, _)| *expires <= now.instant)
        {
            self.close(relay, Ended::Expired);
        }
        while let Some(token) = self.reservations.expire(now.instant) {
            self.commands.push_back(Command::CloseReserved { token });
        }
    }

    /// From now on clients may reach these peers and no others, whatever permissions and channels they have.
    pub fn set_peers(&mut self, peers: PeerPolicy) {
        self.settings.peers = peers;
        for session in self.sessions.iter_mut() {
            session.permissions.apply(&self.settings.peers, session.family);
        }
    }

    /// From now on these may allocate. Sessions go on, whoever opened them.
    pub fn set_credentials(&mut self, credentials: Credentials) {
        self.settings.credentials = credentials;
    }

    /// From now on these bounds hold for what is new.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.settings.limits = limits;
    }

    /// From now on no allocation is made. Those that there are go on until they end.
    pub const fn drain(&mut self) {
        self.is_draining = true;
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.sessions.first_to_expire().map(|(expires, _)| expires);
        session.into_iter().chain(self.reservations.first_to_expire()).min()
    }

    /// Whether a client has an allocation.
    pub fn is_allocated(&self, client: &Client) -> bool {
        self.sessions.has(client)
    }

    /// How requests ended so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many relayed addresses there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn close(&mut self, relay: RelayId, ended: Ended) {
        if self.sessions.remove(relay).is_some() {
            self.commands.push_back(Command::CloseRelay { relay, ended });
        }
    }

    /// Whoever has an allocation or a connection is where he says he is.
    fn may_answer(&mut self, now: Now, client: Client) -> bool {
        if matches!(client.link, Link::Stream(_)) || self.sessions.has(&client) {
            return true;
        }
        let limits = self.settings.limits;
        let rates = Rates { address: limits.stranger_answers, total: limits.stranger_answers_total };
        match self.limiter.admit(client.remote, rates, now.instant) {
            Ok(()) => return true,
            Err(Exceeded::Address) => self.counts.limited.stranger_answers += 1,
            Err(Exceeded::Total) => self.counts.limited.stranger_answers_total += 1,
        }
        false
    }

    fn next_transaction(&mut self) -> TransactionId {
        self.data_indications = self.data_indications.wrapping_add(1);
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.settings.transaction_seed.to_be_bytes());
        id[8..].copy_from_slice(&self.data_indications.to_be_bytes());
        TransactionId(id)
    }
}
