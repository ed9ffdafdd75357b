//! What a worker counts. Each has its own, in plain numbers, and hands out a copy once a second: media pays for an
//! addition, and nobody waits for anybody.

use crate::config::Transport;
use crate::turn;

/// What a worker has counted since its start, and how many it has of what comes and goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Whether no more allocations are made.
    pub(crate) is_draining: bool,
    /// How requests ended.
    pub(crate) requests: turn::Counts,
    /// Allocations at the moment.
    pub(crate) sessions: ByTransport,
    /// Allocations so far.
    pub(crate) allocations: ByTransport,
    /// Payloads from clients, forwarded.
    pub(crate) to_peers: Traffic,
    /// Payloads from peers, forwarded.
    pub(crate) to_clients: Traffic,
    /// Packets that did not fit the queue of a client that reads too slowly.
    pub(crate) queue_drops: u64,
    /// TCP and TLS connections without an allocation at the moment.
    pub(crate) strangers: usize,
    /// Those that there was no room for.
    pub(crate) strangers_refused: u64,
    /// PROXY headers in front of connections.
    pub(crate) proxy_headers: ProxyHeaders,
    /// How TLS handshakes ended.
    pub(crate) handshakes: Handshakes,
}

/// A number for each transport of clients.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ByTransport {
    pub(crate) udp: u64,
    pub(crate) tcp: u64,
    pub(crate) tls: u64,
}

/// Packets, and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProxyHeaders {
    pub(crate) believed: u64,
    /// From somebody who is not trusted.
    pub(crate) untrusted: u64,
    /// From a trusted proxy, and unreadable.
    pub(crate) malformed: u64,
    /// Not sent by a trusted proxy that has to.
    pub(crate) missing: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Handshakes {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
}

impl ByTransport {
    pub(crate) const fn sum(self) -> u64 {
        self.udp + self.tcp + self.tls
    }

    pub(crate) const fn of(&mut self, transport: Transport) -> &mut u64 {
        match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
            Transport::Tls => &mut self.tls,
        }
    }
}

impl Traffic {
    /// Counts a payload.
    pub(crate) const fn add(&mut self, payload: &[u8]) {
        self.packets += 1;
        self.bytes += payload.len() as u64;
    }
}
