//! What all workers know: dialog's transports, by the names that checks carry, and the ways to each of them.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Ended, WAYS};
use crate::wire::{IntegrityKey, TransactionId};

/// For how long the old name of a transport is honoured after an ICE restart: browsers still send it.
const OLD_NAME: Duration = Duration::from_mins(1);
/// Names of one transport at a time, so that restarts without end do not fill the memory.
const NAMES: usize = 4;
/// Who has been silent for so long may be the same browser at its old address. Media comes every 20 ms, and parallel
/// pairs are checked every 50 ms when a connection begins.
const SILENCE: Duration = Duration::from_millis(500);
/// Checks of which each transport remembers that they came: half an hour of them. One that comes again from another
/// address was overheard.
const REMEMBERED: usize = 1024;

/// Dialog's transports that are open.
#[derive(Debug)]
pub struct Directory {
    /// What times are counted from.
    began: Instant,
    open: Mutex<Open>,
}

/// A transport of dialog's. Never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TransportId(u64);

/// There is no room for one more transport, or its name is another one's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

#[derive(Debug, Default)]
struct Open {
    names: HashMap<Box<str>, Named>,
    transports: HashMap<TransportId, Transport>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Named {
    transport: TransportId,
    key: Arc<IntegrityKey>,
    /// When it is no longer honoured, for one that another has replaced.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Transport {
    /// Where dialog waits for its packets.
    target: SocketAddr,
    /// From the oldest to the one that counts.
    names: VecDeque<Box<str>>,
    ways: Vec<KnownWay>,
    recent: VecDeque<u64>,
}

#[derive(Debug)]
struct KnownWay {
    pulse: Arc<Pulse>,
    traits: Traits,
    born: Instant,
}

/// What a way's worker and the directory tell each other without a lock.
#[derive(Debug)]
pub(super) struct Pulse {
    began: Instant,
    /// When the browser was last heard, in microseconds since `began`.
    heard: AtomicU64,
    state: AtomicU8,
}

/// What a browser does not change when a NAT gives it another address: two ways of one transport that have this in common
/// are one pair of ICE's, or two that no check can tell apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Traits {
    /// The whole user name, with the browser's half.
    pub(super) username: Box<str>,
    /// Differs from one of its network interfaces to the other, and between UDP and TCP.
    pub(super) priority: u32,
    /// The address of ours that it uses.
    pub(super) local: SocketAddr,
    pub(super) is_stream: bool,
}

/// A way that has come to be.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) pulse: Arc<Pulse>,
    pub(super) target: SocketAddr,
    /// The way that it takes the place of.
    pub(super) replaced: Option<Arc<Pulse>>,
}

/// Why no way comes to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// The transport has just been closed.
    Gone,
    /// This very check has come before, from elsewhere.
    Replayed,
    /// All ways of the transport are in use.
    Full,
}

const ALIVE: u8 = 0;
const TRANSPORT_CLOSED: u8 = 1;
const REPLACED: u8 = 2;
const IDLE: u8 = 3;

impl Directory {
    /// One without transports.
    pub fn new(now: Instant) -> Self {
        Self { began: now, open: Mutex::default() }
    }

    /// Dialog has opened a transport, of which checks will carry this name, signed with this key, and which waits for packets
    /// at `target`. Of all there may be `limit`.
    pub fn open(
        &self,
        name: &str,
        key: IntegrityKey,
        target: SocketAddr,
        limit: usize,
    ) -> Result<TransportId, Full> {
        let mut open = self.lock();
        if open.transports.len() >= limit || open.names.contains_key(name) {
            return Err(Full);
        }
        let id = TransportId(open.next);
        open.next += 1;
        let names = VecDeque::from([Box::from(name)]);
        open.transports.insert(id, Transport { target, names, ways: Vec::new(), recent: VecDeque::new() });
        open.names.insert(name.into(), Named { transport: id, key: Arc::new(key), until: None });
        Ok(id)
    }

    /// After an ICE restart checks carry another name. The old one is honoured for a while.
    pub fn rename(&self, now: Instant, id: TransportId, name: &str, key: IntegrityKey) -> Result<(), Full> {
        let mut guard = self.lock();
        let Open { names, transports, .. } = &mut *guard;
        let Some(transport) = transports.get_mut(&id) else { return Ok(()) };
        if names.contains_key(name) {
            return Err(Full);
        }
        transport.names.retain(|old| {
            let Some(named) = names.get_mut(old) else { return false };
            let until = *named.until.get_or_insert(now + OLD_NAME);
            let is_honoured = until > now;
            if !is_honoured {
                names.remove(old);
            }
            is_honoured
        });
        if transport.names.len() == NAMES
            && let Some(oldest) = transport.names.pop_front()
        {
            names.remove(&oldest);
        }
        transport.names.push_back(name.into());
        names.insert(name.into(), Named { transport: id, key: Arc::new(key), until: None });
        Ok(())
    }

    /// Dialog has closed a transport.
    pub fn close(&self, id: TransportId) {
        let mut open = self.lock();
        let Some(transport) = open.transports.remove(&id) else { return };
        for name in &transport.names {
            open.names.remove(name);
        }
        for way in &transport.ways {
            way.pulse.end(TRANSPORT_CLOSED);
        }
    }

    /// How many transports there are.
    pub fn transports(&self) -> usize {
        self.lock().transports.len()
    }

    /// The transport that has this name, and what signs its checks.
    pub(super) fn find(&self, now: Instant, name: &str) -> Option<(TransportId, Arc<IntegrityKey>)> {
        let open = self.lock();
        let named = open.names.get(name).filter(|it| it.until.is_none_or(|until| until > now))?;
        Some((named.transport, Arc::clone(&named.key)))
    }

    /// A check that verifies has come from where none of its transport had come from.
    pub(super) fn arrive(
        &self,
        now: Instant,
        id: TransportId,
        transaction: TransactionId,
        traits: &Traits,
    ) -> Result<Arrived, Refused> {
        let mut open = self.lock();
        let transport = open.transports.get_mut(&id).ok_or(Refused::Gone)?;
        let transaction = short(transaction);
        if transport.recent.contains(&transaction) {
            return Err(Refused::Replayed);
        }
        let replaced = transport.replace(now, now, traits, None);
        if transport.ways.len() >= WAYS && !transport.drop_most_silent(now) {
            return Err(Refused::Full);
        }
        transport.remember(transaction);
        let pulse = Arc::new(Pulse::new(self.began, now));
        transport.ways.push(KnownWay { pulse: Arc::clone(&pulse), traits: traits.clone(), born: now });
        Ok(Arrived { pulse, target: transport.target, replaced })
    }

    /// A check that verifies has come on a way. Returns the way that it turns out to have taken the place of.
    pub(super) fn check(
        &self,
        now: Instant,
        id: TransportId,
        transaction: TransactionId,
        traits: &Traits,
        pulse: &Arc<Pulse>,
    ) -> Option<Arc<Pulse>> {
        let mut open = self.lock();
        let transport = open.transports.get_mut(&id)?;
        let transaction = short(transaction);
        if !transport.recent.contains(&transaction) {
            transport.remember(transaction);
        }
        let way = transport.ways.iter_mut().find(|way| Arc::ptr_eq(&way.pulse, pulse))?;
        if way.traits != *traits {
            way.traits = traits.clone();
        }
        let born = way.born;
        transport.replace(now, born, traits, Some(pulse))
    }

    /// A way is closed.
    pub(super) fn leave(&self, id: TransportId, pulse: &Arc<Pulse>) {
        if let Some(transport) = self.lock().transports.get_mut(&id) {
            transport.ways.retain(|way| !Arc::ptr_eq(&way.pulse, pulse));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A thread that panicked while it held the lock has left a value that is as good as any.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport {
    /// Ends the way of the same browser that was last heard before the one born at `born` was, and is silent: a NAT has
    /// given the browser another address. Of parallel pairs that are alive, each is heard after the other was born.
    fn replace(
        &mut self,
        now: Instant,
        born: Instant,
        traits: &Traits,
        except: Option<&Arc<Pulse>>,
    ) -> Option<Arc<Pulse>> {
        let is_replaced = |way: &KnownWay| {
            let heard = way.pulse.heard();
            way.traits == *traits
                && except.is_none_or(|other| !Arc::ptr_eq(other, &way.pulse))
                && heard <= born
                && now.saturating_duration_since(heard) >= SILENCE
        };
        let place = self.ways.iter().position(is_replaced)?;
        let way = self.ways.swap_remove(place);
        way.pulse.end(REPLACED);
        Some(way.pulse)
    }

    /// Makes room for a way, if one has been silent for a while.
    fn drop_most_silent(&mut self, now: Instant) -> bool {
        let ways = self.ways.iter().enumerate().map(|(place, way)| (way.pulse.heard(), place));
        let Some((heard, place)) = ways.min() else { return false };
        let is_silent = now.saturating_duration_since(heard) >= SILENCE;
        if is_silent {
            self.ways.swap_remove(place).pulse.end(IDLE);
        }
        is_silent
    }

    fn remember(&mut self, transaction: u64) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(transaction);
    }
}

impl Pulse {
    fn new(began: Instant, now: Instant) -> Self {
        let pulse = Self { began, heard: AtomicU64::new(0), state: AtomicU8::new(ALIVE) };
        pulse.hear(now);
        pulse
    }

    /// The browser has been heard.
    pub(super) fn hear(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_micros() as u64;
        self.heard.store(since, Ordering::Relaxed);
    }

    /// Why the way is to be closed, if it is.
    pub(super) fn ended(&self) -> Option<Ended> {
        match self.state.load(Ordering::Relaxed) {
            ALIVE => None,
            TRANSPORT_CLOSED => Some(Ended::TransportClosed),
            REPLACED => Some(Ended::Replaced),
            _ => Some(Ended::Idle),
        }
    }

    fn heard(&self) -> Instant {
        self.began + Duration::from_micros(self.heard.load(Ordering::Relaxed))
    }

    fn end(&self, state: u8) {
        self.state.store(state, Ordering::Relaxed);
    }
}

/// What is remembered of a transaction id.
fn short(TransactionId(id): TransactionId) -> u64 {
    let mut last = [0; 8];
    last.copy_from_slice(&id[4..]);
    let mut first = [0; 8];
    first[..4].copy_from_slice(&id[..4]);
    u64::from_be_bytes(last) ^ u64::from_be_bytes(first)
}
