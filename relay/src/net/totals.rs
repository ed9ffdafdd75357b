//! What a worker counts. Each has its own, in plain numbers, and hands out a copy once a second: media pays for an
//! addition, and nobody waits for anybody.

use crate::config::Transport;
use crate::{gateway, turn};

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
    /// How often the shell's bounds were met; the core counts its own.
    pub(crate) limited: Limited,
    /// TCP and TLS connections without an allocation at the moment.
    pub(crate) strangers: usize,
    /// Times that a connection could not be accepted, for want of descriptors, say.
    pub(crate) unaccepted: u64,
    /// Allocations that got no relay socket.
    pub(crate) unopened_relays: UnopenedRelays,
    /// Requests that no known secret had signed.
    pub(crate) put_off: PutOff,
    /// PROXY headers in front of connections.
    pub(crate) proxy_headers: ProxyHeaders,
    /// How TLS handshakes ended.
    pub(crate) handshakes: Handshakes,
    /// What the gateway has counted, if there is one.
    pub(crate) gateway: Option<Ways>,
}

/// What a worker's part of the gateway has counted, and how many ways it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ways {
    pub(crate) counts: gateway::Counts,
    /// Ways at the moment.
    pub(crate) open: ByTransport,
    /// Ways so far.
    pub(crate) opened: ByTransport,
    /// Packets from browsers, forwarded.
    pub(crate) to_dialog: TrafficByTransport,
    /// Packets from dialog, forwarded.
    pub(crate) to_browsers: TrafficByTransport,
    /// Sockets towards dialog that could not be opened.
    pub(crate) unopened_upstreams: u64,
}

/// Traffic for each transport of a way: TLS has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrafficByTransport {
    pub(crate) udp: Traffic,
    pub(crate) tcp: Traffic,
}

/// How often each of `[limits]` was met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limited {
    /// Connections closed at once, for want of room.
    pub(crate) strangers: u64,
    /// The same, for want of room for their address.
    pub(crate) strangers_per_address: u64,
    /// Connections that said nothing, not even a whole PROXY header; handshakes count for themselves.
    pub(crate) handshake_timeout: u64,
    /// Connections that had no allocation for too long.
    pub(crate) stranger_timeout: u64,
    /// Connections with an allocation and a frame that did not end.
    pub(crate) unfinished_frame: u64,
    /// Packets that did not fit the queue of a client that reads too slowly.
    pub(crate) queue: u64,
}

/// Why allocations got no relay socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnopenedRelays {
    pub(crate) no_port: u64,
    /// The system refused: no descriptors, say.
    pub(crate) other: u64,
}

/// What became of requests that no known secret had signed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PutOff {
    /// They wait for the secrets to be read anew.
    pub(crate) until_read: u64,
    /// Too many wait already, so what is known decided.
    pub(crate) refused: u64,
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

impl TrafficByTransport {
    pub(crate) const fn of(&mut self, transport: Transport) -> &mut Traffic {
        match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp | Transport::Tls => &mut self.tcp,
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
