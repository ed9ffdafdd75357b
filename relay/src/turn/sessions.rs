//! All sessions of a server: by client, which has one or one of each family, by relay, and by when they expire.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use super::session::Session;
use super::{Client, RelayId, network_of};
use crate::wire::Family;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    slots: Vec<Slot>,
    /// Slots without a session.
    free: Vec<u32>,
    by_client: HashMap<Client, Relays>,
    /// How many there are of each client address, or network of IPv6.
    by_address: HashMap<IpAddr, usize>,
    by_expiry: BTreeSet<(Instant, RelayId)>,
}

/// The relays of one client, the older one first.
#[derive(Clone, Copy, Debug)]
struct Relays {
    first: RelayId,
    second: Option<RelayId>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    session: Option<Session>,
}

impl Sessions {
    /// Adds a session; its client must not have one of the same family.
    pub(super) fn insert(&mut self, session: Session) -> RelayId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.generation += 1;
        let relay = RelayId { index, generation: slot.generation };
        let alone = Relays { first: relay, second: None };
        self.by_client.entry(session.client).and_modify(|it| it.second = Some(relay)).or_insert(alone);
        *self.by_address.entry(network_of(session.client.remote.ip())).or_default() += 1;
        self.by_expiry.insert((session.expires, relay));
        slot.session = Some(session);
        relay
    }

    pub(super) fn remove(&mut self, relay: RelayId) -> Option<Session> {
        let slot = self.slots.get_mut(relay.index()).filter(|slot| slot.generation == relay.generation)?;
        let session = slot.session.take()?;
        self.free.push(relay.index);
        match self.by_client.get_mut(&session.client) {
            Some(Relays { second, .. }) if *second == Some(relay) => *second = None,
            Some(Relays { first, second: second @ Some(_) }) => *first = second.take().unwrap_or(relay),
            Some(_) | None => drop(self.by_client.remove(&session.client)),
        }
        if let Entry::Occupied(mut count) = self.by_address.entry(network_of(session.client.remote.ip())) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.by_expiry.remove(&(session.expires, relay));
        Some(session)
    }

    pub(super) fn set_expiry(&mut self, relay: RelayId, expires: Instant) {
        if let Some(session) = get(&mut self.slots, relay) {
            self.by_expiry.remove(&(session.expires, relay));
            self.by_expiry.insert((expires, relay));
            session.expires = expires;
        }
    }

    pub(super) fn get_mut(&mut self, relay: RelayId) -> Option<&mut Session> {
        get(&mut self.slots, relay)
    }

    /// A session of this client, the older one if it has two: who the client is they both know.
    pub(super) fn of_client(&mut self, client: &Client) -> Option<(RelayId, &mut Session)> {
        let relay = self.by_client.get(client)?.first;
        Some((relay, get(&mut self.slots, relay)?))
    }

    /// This client's session of this family.
    pub(super) fn of_family(&mut self, client: &Client, family: Family) -> Option<(RelayId, &mut Session)> {
        let relay = self.relays(client).find(|relay| self.family(*relay) == Some(family))?;
        Some((relay, get(&mut self.slots, relay)?))
    }

    /// What `pick` finds in the first session of this client where it finds anything.
    pub(super) fn find<T>(
        &self,
        client: &Client,
        pick: impl Fn(&Session) -> Option<T>,
    ) -> Option<(RelayId, T)> {
        self.relays(client).find_map(|relay| {
            let slot = self.slots.get(relay.index())?;
            Some((relay, pick(slot.session.as_ref()?)?))
        })
    }

    /// The relays of this client: at most two.
    pub(super) fn relays(&self, client: &Client) -> impl Iterator<Item = RelayId> + use<> {
        let relays = self.by_client.get(client).map(|it| [Some(it.first), it.second]);
        relays.into_iter().flatten().flatten()
    }

    fn family(&self, relay: RelayId) -> Option<Family> {
        Some(self.slots.get(relay.index())?.session.as_ref()?.family)
    }

    pub(super) fn has(&self, client: &Client) -> bool {
        self.by_client.contains_key(client)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.slots.iter_mut().filter_map(|slot| slot.session.as_mut())
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many sessions clients at this address have.
    pub(super) fn count_of(&self, address: IpAddr) -> usize {
        self.by_address.get(&network_of(address)).copied().unwrap_or_default()
    }

    /// The session that expires first, and when.
    pub(super) fn first_to_expire(&self) -> Option<(Instant, RelayId)> {
        self.by_expiry.first().copied()
    }
}

fn get(slots: &mut [Slot], relay: RelayId) -> Option<&mut Session> {
    slots.get_mut(relay.index()).filter(|slot| slot.generation == relay.generation)?.session.as_mut()
}
