//! A worker's part of the gateway: the ways that its sockets serve.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::directory::{Arrived, Directory, Pulse, Refused, Traits, TransportId};
use super::{Command, Ended, ToBrowser, ToDialog, Upstream, WAYS, WayId};
use crate::turn::{Client, Exceeded, Limiter, Link, Rates};
use crate::wire::{
    Builder, Class, Family, IntegrityKey, Message, Method, TransactionId, attribute, is_check,
};

/// Without a check for so long, nobody says any more that he wants what comes (RFC 7675 section 5.1). Browsers check every 6
/// seconds or more often.
const IDLE: Duration = Duration::from_secs(30);

/// What a gateway goes by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Checks a second that are looked at, from one address; nothing for no bound.
    pub checks: Option<u32>,
    /// The same, from all together.
    pub checks_total: Option<u32>,
    /// A random number, by which answers to the gateway's own checks are known.
    pub seed: u64,
}

/// The ways of one worker. [`super`] says how to drive it.
#[derive(Debug)]
pub struct Gateway {
    directory: Arc<Directory>,
    settings: Settings,
    limiter: Limiter,
    ways: Vec<Option<Way>>,
    free: Vec<u32>,
    of_client: HashMap<Client, WayId>,
    of_dialog: HashMap<(Upstream, SocketAddr), WayId>,
    own_checks: u32,
    commands: VecDeque<Command>,
    counts: Counts,
}

#[derive(Debug)]
struct Way {
    client: Client,
    transport: TransportId,
    key: Arc<IntegrityKey>,
    username: Box<str>,
    target: SocketAddr,
    upstream: Upstream,
    /// Another address of dialog's from which its packets come.
    answers_from: Option<SocketAddr>,
    pulse: Arc<Pulse>,
    checked: Instant,
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rejected {
    /// Something else than a check, from an address that has no way.
    NoWay,
    /// A check that is none.
    Malformed,
    /// A name that no transport has.
    UnknownName,
    /// A check that its transport's password did not sign.
    WrongPassword,
    /// A check that has come before, from elsewhere.
    Replayed,
    /// All ways of the transport are in use.
    Full,
}

impl Rejected {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::NoWay, Self::Malformed, Self::UnknownName, Self::WrongPassword, Self::Replayed, Self::Full];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoWay => "no_way",
            Self::Malformed => "malformed",
            Self::UnknownName => "unknown_name",
            Self::WrongPassword => "wrong_password",
            Self::Replayed => "replayed",
            Self::Full => "full",
        }
    }
}

/// Counts for an operator; the gateway itself does not look at them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    rejected: [u64; Rejected::ALL.len()],
    /// Ways that have taken the place of another one, because the browser's address had changed.
    pub take_overs: u64,
    /// Ways that were given up because their address spoke of another transport.
    pub repointed: u64,
    /// Checks not looked at, because too many came from one address.
    pub limited_checks: u64,
    /// Because too many came from all together.
    pub limited_checks_total: u64,
}

impl Counts {
    /// How many packets were dropped for this reason.
    pub const fn rejected(&self, reason: Rejected) -> u64 {
        self.rejected[reason as usize]
    }
}

impl Gateway {
    /// One without ways.
    pub fn new(settings: Settings, directory: Arc<Directory>) -> Self {
        Self {
            directory,
            settings,
            limiter: Limiter::new(settings.seed),
            ways: Vec::new(),
            free: Vec::new(),
            of_client: HashMap::new(),
            of_dialog: HashMap::new(),
            own_checks: 0,
            commands: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Whether a datagram is the gateway's business, where TURN is spoken on the same socket: ICE's checks, and what
    /// follows them, which is DTLS and RTP (RFC 7983 section 7).
    pub fn is_for(datagram: &[u8]) -> bool {
        match datagram.first() {
            Some(20..=63 | 128..=191) => true,
            Some(0..=3) => is_check(datagram),
            _ => false,
        }
    }

    /// A browser sent a packet. It goes to dialog as it is, if it may.
    pub fn handle_browser(&mut self, now: Instant, client: Client, packet: &[u8]) -> Option<ToDialog> {
        if matches!(packet.first(), None | Some(0..=3)) {
            return self.handle_check(now, client, packet);
        }
        let Some(&id) = self.of_client.get(&client) else { return self.reject(Rejected::NoWay) };
        let way = self.ways[id.index()].as_ref()?;
        if let Some(ended) = way.pulse.ended() {
            self.close(id, ended);
            return None;
        }
        way.pulse.hear(now);
        Some(ToDialog { way: id, upstream: way.upstream, to: way.target })
    }

    /// A packet has come from dialog. It goes to a browser as it is.
    pub fn handle_dialog(
        &mut self,
        now: Instant,
        upstream: Upstream,
        from: SocketAddr,
        packet: &[u8],
    ) -> Option<ToBrowser> {
        let id = match self.of_dialog.get(&(upstream, from)) {
            Some(id) => *id,
            None => self.learn_address(now, upstream, from, packet)?,
        };
        let way = self.ways[id.index()].as_ref()?;
        if let Some(ended) = way.pulse.ended() {
            self.close(id, ended);
            return None;
        }
        let is_own = matches!(packet.first(), Some(0..=3))
            && packet.get(8..16) == Some(&self.settings.seed.to_be_bytes());
        (!is_own).then_some(ToBrowser { way: id, client: way.client })
    }

    /// A browser's connection has ended.
    pub fn handle_client_closed(&mut self, client: &Client) {
        if let Some(&id) = self.of_client.get(client) {
            self.close(id, Ended::Disconnected);
        }
    }

    /// A socket for datagrams is gone.
    pub fn handle_link_closed(&mut self, link: Link) {
        let of_link = |(index, way): (usize, &Option<Way>)| {
            way.as_ref().filter(|way| way.client.link == link).map(|_| WayId(index as u32))
        };
        for id in self.ways.iter().enumerate().filter_map(of_link).collect::<Vec<_>>() {
            self.close(id, Ended::Disconnected);
        }
    }

    /// Closes what is over. To be called once a second or so.
    pub fn handle_timeout(&mut self, now: Instant) {
        let over = |(index, way): (usize, &Option<Way>)| {
            let way = way.as_ref()?;
            let is_idle = now.saturating_duration_since(way.checked) >= IDLE;
            let ended = way.pulse.ended().or_else(|| is_idle.then_some(Ended::Idle))?;
            Some((WayId(index as u32), ended))
        };
        for (id, ended) in self.ways.iter().enumerate().filter_map(over).collect::<Vec<_>>() {
            self.close(id, ended);
        }
    }

    /// From now on these bounds hold.
    pub const fn set_limits(&mut self, checks: Option<u32>, checks_total: Option<u32>) {
        self.settings.checks = checks;
        self.settings.checks_total = checks_total;
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether a client has a way.
    pub fn has(&self, client: &Client) -> bool {
        self.of_client.contains_key(client)
    }

    /// How many ways there are.
    pub fn ways(&self) -> usize {
        self.of_client.len()
    }

    /// What has been counted so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    fn handle_check(&mut self, now: Instant, client: Client, packet: &[u8]) -> Option<ToDialog> {
        let rates = Rates { address: self.settings.checks, total: self.settings.checks_total };
        match self.limiter.admit(client.remote, rates, now) {
            Ok(()) => {}
            Err(Exceeded::Address) => {
                self.counts.limited_checks += 1;
                return None;
            }
            Err(Exceeded::Total) => {
                self.counts.limited_checks_total += 1;
                return None;
            }
        }
        let message = Message::parse(packet)
            .ok()
            .filter(|it| (it.class(), it.method()) == (Class::Request, Method::Binding));
        let Some((message, traits)) =
            message.and_then(|it| Some((traits(client, &it)?, it))).map(|(traits, it)| (it, traits))
        else {
            return self.reject(Rejected::Malformed);
        };
        let name = traits.username.split_once(':').map_or(&*traits.username, |(dialogs, _)| dialogs);
        let Some((transport, key)) = self.directory.find(now, name) else {
            return self.reject(Rejected::UnknownName);
        };
        if !message.verify(&key) {
            return self.reject(Rejected::WrongPassword);
        }
        let id = match self.known_way(client, transport) {
            Some(id) => {
                self.check_way(now, id, key, &traits, message.transaction());
                id
            }
            None => self.open_way(now, client, transport, key, traits, message.transaction())?,
        };
        let way = self.ways[id.index()].as_mut()?;
        way.checked = now;
        way.pulse.hear(now);
        Some(ToDialog { way: id, upstream: way.upstream, to: way.target })
    }

    /// The way that a client has to this transport. One to another is over: a NAT has given its address to somebody else.
    fn known_way(&mut self, client: Client, transport: TransportId) -> Option<WayId> {
        let id = *self.of_client.get(&client)?;
        let way = self.ways[id.index()].as_ref()?;
        let ended = way.pulse.ended();
        if ended.is_none() && way.transport == transport {
            return Some(id);
        }
        if ended.is_none() {
            self.counts.repointed += 1;
        }
        self.close(id, ended.unwrap_or(Ended::Repointed));
        None
    }

    /// A check has come on a way.
    fn check_way(
        &mut self,
        now: Instant,
        id: WayId,
        key: Arc<IntegrityKey>,
        traits: &Traits,
        transaction: TransactionId,
    ) {
        let Some(way) = self.ways[id.index()].as_mut() else { return };
        if way.username != traits.username {
            way.username = traits.username.clone();
            way.key = key;
        }
        let replaced = self.directory.check(now, way.transport, transaction, traits, &way.pulse);
        if let Some(replaced) = replaced {
            if let Some(old) = self.way_of(&replaced) {
                self.close(old, Ended::Replaced);
            }
            self.take_over(id);
        }
    }

    /// Lays a way for somebody who came with a check that verifies.
    fn open_way(
        &mut self,
        now: Instant,
        client: Client,
        transport: TransportId,
        key: Arc<IntegrityKey>,
        traits: Traits,
        transaction: TransactionId,
    ) -> Option<WayId> {
        let arrived = self.directory.arrive(now, transport, transaction, &traits);
        let Arrived { pulse, target, replaced } = match arrived {
            Ok(arrived) => arrived,
            Err(Refused::Gone) => return self.reject(Rejected::UnknownName),
            Err(Refused::Replayed) => return self.reject(Rejected::Replayed),
            Err(Refused::Full) => return self.reject(Rejected::Full),
        };
        let is_take_over = replaced.is_some();
        if let Some(id) = replaced.and_then(|replaced| self.way_of(&replaced))
            && let Some(way) = self.ways[id.index()].as_mut()
        {
            // Dialog sees no change at all.
            self.of_client.remove(&way.client);
            self.of_client.insert(client, id);
            (way.client, way.key, way.username, way.pulse) = (client, key, traits.username, pulse);
            self.counts.take_overs += 1;
            self.commands.push_back(Command::Moved { way: id, client });
            return Some(id);
        }
        let Some(upstream) = self.free_upstream(target) else {
            self.directory.leave(transport, &pulse);
            return self.reject(Rejected::Full);
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.ways.push(None);
            (self.ways.len() - 1) as u32
        });
        let id = WayId(index);
        let username = traits.username;
        self.ways[id.index()] = Some(Way {
            client,
            transport,
            key,
            username,
            target,
            upstream,
            answers_from: None,
            pulse,
            checked: now,
        });
        self.of_client.insert(client, id);
        self.of_dialog.insert((upstream, target), id);
        self.commands.push_back(Command::Opened { way: id, client });
        if is_take_over {
            self.take_over(id);
        }
        Some(id)
    }

    /// Tells dialog that this way takes the place of another one. Firefox tells it once, when it connects, and never again;
    /// without this its media would go the old way for ever.
    fn take_over(&mut self, id: WayId) {
        let Some(way) = &self.ways[id.index()] else { return };
        self.counts.take_overs += 1;
        self.own_checks = self.own_checks.wrapping_add(1);
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.settings.seed.to_be_bytes());
        transaction[8..].copy_from_slice(&self.own_checks.to_be_bytes());
        let check = Builder::request(Method::Binding, TransactionId(transaction))
            .username(&way.username)
            .priority(1)
            .ice_controlling(self.settings.seed)
            .use_candidate()
            .integrity(&way.key)
            .fingerprint();
        let route = ToDialog { way: id, upstream: way.upstream, to: way.target };
        self.commands.push_back(Command::Send { route, bytes: check.finish() });
    }

    /// A socket towards dialog that no way to this port of dialog's uses.
    fn free_upstream(&self, target: SocketAddr) -> Option<Upstream> {
        let family = Family::of(target);
        let is_free = |upstream: &Upstream| {
            let way = self.of_dialog.get(&(*upstream, target)).and_then(|id| self.ways[id.index()].as_ref());
            // What has ended without having been closed yet is in nobody's way.
            way.is_none_or(|way| way.pulse.ended().is_some())
        };
        (0..WAYS as u8).map(|slot| Upstream { slot, family }).find(is_free)
    }

    /// Dialog listens on all addresses of its node, and the kernel picks the one that lies towards us. An answer that is
    /// signed with a transport's password is dialog's, wherever it comes from.
    fn learn_address(
        &mut self,
        now: Instant,
        upstream: Upstream,
        from: SocketAddr,
        packet: &[u8],
    ) -> Option<WayId> {
        if !matches!(packet.first(), Some(0..=3)) {
            return None;
        }
        let rates = Rates { address: self.settings.checks, total: self.settings.checks_total };
        self.limiter.admit(from, rates, now).ok()?;
        let answer = Message::parse(packet).ok().filter(|it| it.class() == Class::Success)?;
        let is_signed = |way: &Way| {
            way.upstream == upstream && way.target.port() == from.port() && answer.verify(&way.key)
        };
        let place = self.ways.iter().position(|way| way.as_ref().is_some_and(is_signed))?;
        let id = WayId(place as u32);
        let way = self.ways[place].as_mut()?;
        if let Some(before) = way.answers_from.replace(from) {
            self.of_dialog.remove(&(upstream, before));
        }
        self.of_dialog.insert((upstream, from), id);
        Some(id)
    }

    fn way_of(&self, pulse: &Arc<Pulse>) -> Option<WayId> {
        let is_it = |way: &Option<Way>| way.as_ref().is_some_and(|way| Arc::ptr_eq(&way.pulse, pulse));
        self.ways.iter().position(is_it).map(|index| WayId(index as u32))
    }

    fn close(&mut self, id: WayId, ended: Ended) {
        let Some(way) = self.ways.get_mut(id.index()).and_then(Option::take) else { return };
        self.free.push(id.0);
        self.of_client.remove(&way.client);
        for from in [Some(way.target), way.answers_from].into_iter().flatten() {
            let key = (way.upstream, from);
            // Another way may have come to be there.
            if self.of_dialog.get(&key) == Some(&id) {
                self.of_dialog.remove(&key);
            }
        }
        self.directory.leave(way.transport, &way.pulse);
        self.commands.push_back(Command::Closed { way: id, ended });
    }

    fn reject<T>(&mut self, reason: Rejected) -> Option<T> {
        self.counts.rejected[reason as usize] += 1;
        None
    }
}

/// What a check says of its sender; nothing if it says too little to be one (RFC 8445 section 7.2.2).
fn traits(client: Client, check: &Message) -> Option<Traits> {
    let priority = check.attribute(attribute::PRIORITY)?.try_into().ok()?;
    Some(Traits {
        username: check.username().ok()??.into(),
        priority: u32::from_be_bytes(priority),
        local: client.local,
        is_stream: matches!(client.link, Link::Stream(_)),
    })
}
