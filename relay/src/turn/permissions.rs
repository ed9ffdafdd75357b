//! Which peers a session talks with: its permissions and channels (RFC 8656 sections 9 and 12).
//!
//! The tables are short, so they are searched from front to back. What has expired stays until the next change:
//! nobody sees it any more, and it costs no timer.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Framing, Host, Limits, Peer, PeerPolicy};
use crate::wire::{ChannelNumber, Family, TransactionId};

/// RFC 8656 section 9.
const PERMISSION_LIFETIME: Duration = Duration::from_mins(5);
/// RFC 8656 section 12.
const CHANNEL_LIFETIME: Duration = Duration::from_mins(10);
/// Peers of Send indications whose decision is remembered; a browser uses about three.
const RECENT_PEERS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Permissions {
    hosts: Vec<Permission>,
    channels: Vec<Channel>,
    /// Where Send indications went, and what was decided about it.
    recent: Vec<Peer>,
}

/// Lets packets from any port of a host in.
#[derive(Debug)]
struct Permission {
    host: Host,
    expires: Instant,
}

/// A short name for a peer.
#[derive(Debug)]
struct Channel {
    number: ChannelNumber,
    peer: Peer,
    expires: Instant,
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BindError {
    /// The number belongs to another peer, or the peer has another number.
    Taken,
    /// There is no room for one more channel.
    Full,
    /// There is no room for its peer's permission.
    NoPermission,
}

impl Permissions {
    /// Whether all of these hosts may get a permission.
    pub(super) fn has_room_for(&self, hosts: &[Host], limits: Limits, now: Instant) -> bool {
        let in_force = || self.hosts.iter().filter(|it| it.expires > now);
        let is_new = |host: &&Host| !in_force().any(|it| it.is_for(host.requested()));
        in_force().count() + hosts.iter().filter(is_new).count() <= limits.permissions
    }

    /// Installs or renews permissions for all of these hosts, for which there is room.
    pub(super) fn permit(&mut self, hosts: &[Host], now: Instant) {
        self.hosts.retain(|it| it.expires > now);
        for &host in hosts {
            let renewed = Permission { host, expires: now + PERMISSION_LIFETIME };
            match self.hosts.iter_mut().find(|it| it.is_for(host.requested())) {
                Some(known) => *known = renewed,
                None => self.hosts.push(renewed),
            }
        }
    }

    /// Whether a channel has this number.
    pub(super) fn has_channel(&self, number: ChannelNumber, now: Instant) -> bool {
        self.channel_peer(number, now).is_some()
    }

    /// Binds a channel or renews it, with a permission for its peer (RFC 8656 section 12.2).
    pub(super) fn bind(
        &mut self,
        number: ChannelNumber,
        peer: Peer,
        limits: Limits,
        now: Instant,
    ) -> Result<(), BindError> {
        self.channels.retain(|it| it.expires > now);
        let same_number = self.channels.iter().position(|it| it.number == number);
        let same_peer = self.channels.iter().position(|it| it.peer.requested() == peer.requested());
        if same_number != same_peer {
            return Err(BindError::Taken);
        }
        if same_number.is_none() && self.channels.len() >= limits.channels {
            return Err(BindError::Full);
        }
        if !self.has_room_for(&[peer.host()], limits, now) {
            return Err(BindError::NoPermission);
        }
        self.permit(&[peer.host()], now);
        let renewed = Channel { number, peer, expires: now + CHANNEL_LIFETIME };
        match same_number {
            Some(known) => self.channels[known] = renewed,
            None => self.channels.push(renewed),
        }
        Ok(())
    }

    /// The peer behind a channel.
    pub(super) fn channel_peer(&self, number: ChannelNumber, now: Instant) -> Option<Peer> {
        self.channels.iter().find(|it| it.number == number && it.expires > now).map(|it| it.peer)
    }

    /// The peer that a Send indication names, if there is a permission for it and `decide` agrees.
    pub(super) fn send_peer(
        &mut self,
        requested: SocketAddr,
        now: Instant,
        decide: impl FnOnce() -> Option<Peer>,
    ) -> Option<Peer> {
        self.hosts.iter().find(|it| it.is_for(requested.ip()) && it.expires > now)?;
        if let Some(known) = self.recent.iter().find(|it| it.requested() == requested) {
            return Some(*known);
        }
        let peer = decide()?;
        if self.recent.len() == RECENT_PEERS {
            self.recent.remove(0);
        }
        self.recent.push(peer);
        Some(peer)
    }

    /// How a packet from this address travels to the client; nothing if there is no permission for it.
    pub(super) fn framing(
        &self,
        from: SocketAddr,
        transaction: TransactionId,
        now: Instant,
    ) -> Option<Framing> {
        let permission = self.permission_of(from, now)?;
        if let Some(channel) = self.channels.iter().find(|it| it.peer.actual() == from && it.expires > now) {
            return Some(Framing::Channel(channel.number));
        }
        Some(Framing::Indication { peer: self.name_by(permission, from), transaction })
    }

    /// How the client calls the peer at this address; nothing if there is no permission for it.
    pub(super) fn name(&self, actual: SocketAddr, now: Instant) -> Option<SocketAddr> {
        Some(self.name_by(self.permission_of(actual, now)?, actual))
    }

    fn permission_of(&self, actual: SocketAddr, now: Instant) -> Option<&Permission> {
        self.hosts.iter().find(|it| it.host.actual() == actual.ip() && it.expires > now)
    }

    /// By the name that the client sent to, if it did: a host may have two, an announced one and its own.
    fn name_by(&self, permission: &Permission, actual: SocketAddr) -> SocketAddr {
        let mut used = self.recent.iter().chain(self.channels.iter().map(|it| &it.peer));
        let sent_to = used.find(|it| it.actual() == actual).map(|it| it.requested());
        sent_to.unwrap_or_else(|| SocketAddr::new(permission.host.requested(), actual.port()))
    }

    /// Judges every peer anew: what a changed policy refuses is gone, what it maps elsewhere goes there.
    pub(super) fn apply(&mut self, policy: &PeerPolicy, family: Family) {
        self.hosts.retain_mut(|it| {
            let decided = policy.decide_host(it.host.requested()).filter(|host| host.is_family(family));
            decided.inspect(|host| it.host = *host).is_some()
        });
        self.channels.retain_mut(|it| {
            let decided = policy.decide(it.peer.requested()).filter(|peer| peer.host().is_family(family));
            decided.inspect(|peer| it.peer = *peer).is_some()
        });
        self.recent.clear();
    }
}

impl Permission {
    fn is_for(&self, requested: IpAddr) -> bool {
        self.host.requested() == requested
    }
}
