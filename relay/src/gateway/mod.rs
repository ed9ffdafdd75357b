//! The media gateway: browsers reach dialog over one port, without TURN (RFC 8445).
//!
//! The gateway stands in front of dialog's signalling as well, and so sees each transport being made: the name and the
//! password that ICE's checks will carry, and the port where dialog waits for them ([`signalling`]). That goes into the
//! [`Directory`], which all workers share. A check that comes from a browser names its transport; if its signature
//! verifies, the worker's [`Gateway`] lays a way from that browser's address to that port, on which all packets go to and fro
//! as they are. Keys of the media pass through neither part: DTLS is between browser and dialog.
//!
//! Whoever drives a [`Gateway`] gives it one input, [`Gateway::handle_browser`], [`Gateway::handle_dialog`],
//! [`Gateway::handle_client_closed`], [`Gateway::handle_link_closed`] or, once a second, [`Gateway::handle_timeout`]; then obeys
//! [`Gateway::poll_command`] until it is empty; then sends on what the input returned a route for.
//!
//! Nothing here reads a clock or a random source or owns a socket. The directory is locked by signalling and by checks, which
//! are rare, and never by media.

mod directory;
pub mod signalling;
mod ways;

#[cfg(test)]
mod tests;

use crate::turn::Client;
use crate::wire::Family;

pub use directory::{Directory, Full, TransportId};
pub use ways::{Counts, Gateway, Rejected, Settings};

/// Ways of one transport at a time. Mediasoup keeps no more either.
pub const WAYS: usize = 8;

/// A worker's name for a way. Numbers are small and used again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WayId(u32);

impl WayId {
    /// A small number that no other way of this worker has.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One of a worker's sockets towards dialog. Two ways of one transport need different ones, because dialog tells them
/// apart by their addresses; ways of different transports go to different ports of dialog's, and share.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Upstream {
    slot: u8,
    family: Family,
}

impl Upstream {
    /// How many there can be.
    pub const COUNT: usize = 2 * WAYS;

    /// A number below [`Self::COUNT`].
    pub const fn index(self) -> usize {
        self.slot as usize + if matches!(self.family, Family::V4) { 0 } else { WAYS }
    }

    /// The family of its address.
    pub const fn family(self) -> Family {
        self.family
    }
}

/// A packet that goes to dialog as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ToDialog {
    /// The way that it takes.
    pub way: WayId,
    /// The socket to send from.
    pub upstream: Upstream,
    /// Where dialog waits for it.
    pub to: std::net::SocketAddr,
}

/// A packet that goes to a browser as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ToBrowser {
    /// The way that it takes.
    pub way: WayId,
    /// Who gets it.
    pub client: Client,
}

/// What the shell has to do, at once and in order.
#[derive(Debug)]
pub enum Command {
    /// Send a message of the gateway's own to dialog.
    Send {
        /// From where and where to.
        route: ToDialog,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A way is open.
    Opened {
        /// Its name from now on.
        way: WayId,
        /// Whose it is.
        client: Client,
    },
    /// The way is somebody else's from now on: the same browser's, whose address has changed.
    Moved {
        /// Which one.
        way: WayId,
        /// Whose it is.
        client: Client,
    },
    /// A way is closed.
    Closed {
        /// Which one.
        way: WayId,
        /// Why.
        ended: Ended,
    },
}

/// Why a way is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Dialog's transport is.
    TransportClosed,
    /// The browser's address has changed, and it has another one.
    Replaced,
    /// No check has come for a while, so that nobody says any more that he wants what comes this way.
    Idle,
    /// The connection has ended, or the listener that it used.
    Disconnected,
    /// The same address has begun to speak of another transport.
    Repointed,
}

impl Ended {
    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TransportClosed => "dialog's transport is closed",
            Self::Replaced => "the browser has come from another address",
            Self::Idle => "the browser has not checked it for a while",
            Self::Disconnected => "its connection or listener is gone",
            Self::Repointed => "the browser uses its address for another transport",
        }
    }
}
