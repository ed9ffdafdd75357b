//! The core: a TURN server without sockets, clocks, tasks, locks or randomness (RFC 8656).
//!
//! Bytes, addresses and the time go in; routing decisions, commands and the next deadline come out. The same inputs
//! give the same outputs. Whoever drives a [`Server`] does so in this order:
//!
//! 1. one input: [`Server::handle_client`], [`Server::handle_peer`], [`Server::handle_icmp`],
//!    [`Server::handle_relay_opened`], [`Server::handle_client_closed`] or [`Server::handle_timeout`];
//! 2. what it returns, if anything: a payload to forward;
//! 3. [`Server::poll_command`] until it is empty;
//! 4. [`Server::poll_timeout`]: when to call [`Server::handle_timeout`] at the latest.
//!
//! Media takes steps 1 and 2 only: it neither allocates nor makes commands.

mod control;
mod counts;
mod limiter;
mod nonce;
mod peer;
mod permissions;
mod reservations;
mod server;
mod session;
mod sessions;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Instant;

use crate::wire::{
    ChannelData, ChannelNumber, Family, Fragmentation, IndicationKind, Message, ReservationToken,
    TransactionId,
};

pub use counts::{Counts, Limited};
pub(crate) use limiter::{Exceeded, Limiter, Rates, network_of};
pub use nonce::NonceKey;
pub use peer::{AllowedPeers, AnsweringAddress, Host, MappedAddress, Peer, PeerPolicy};
pub use server::{Limits, Server, Settings};

/// The time, as both clocks tell it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For what lasts a while: allocations, permissions, channels.
    pub instant: Instant,
    /// For what others have dated: credentials and nonces. In seconds since 1970.
    pub unix: u64,
}

/// A client, by the five things that tell its packets from all others (RFC 8656's 5-tuple).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Client {
    /// Its own address, as we see it.
    pub remote: SocketAddr,
    /// The address that it reached us at.
    pub local: SocketAddr,
    /// What its packets travel in.
    pub link: Link,
}

/// What a client's packets travel in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Link {
    /// Datagrams through a listening socket, by the shell's number for that.
    Datagram(u32),
    /// A TCP or TLS connection, by the shell's number for that.
    Stream(u32),
}

/// The core's name for a relay socket. Numbers are small and used again, generations are not.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RelayId {
    index: u32,
    generation: u32,
}

impl RelayId {
    /// A small number that no other open relay has.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// What the core wants done. The shell does it at once, in order.
#[derive(Debug)]
pub enum Command {
    /// Send a message to a client.
    Send {
        /// Where to.
        client: Client,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Open a relay socket and report to [`Server::handle_relay_opened`].
    OpenRelay {
        /// Its name from now on.
        relay: RelayId,
        /// The family that it needs.
        family: Family,
        /// Which ports will do.
        port: RelayPort,
        /// For whom.
        client: Client,
    },
    /// Close a relay socket.
    CloseRelay {
        /// Which one.
        relay: RelayId,
        /// Why its allocation is over.
        ended: Ended,
    },
    /// Close the socket that is kept under this token, if there is one.
    CloseReserved {
        /// Which one.
        token: ReservationToken,
    },
    /// A request was signed with a secret that is not known, or with none: read the secrets anew, and give it to
    /// [`Server::handle_reread`]. Comes only where [`Settings::secrets_rotate`].
    Reread {
        /// Whose request.
        client: Client,
        /// The request.
        request: Box<Message>,
    },
}

/// Why an allocation is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The client gave it back.
    Released,
    /// The client did not refresh it.
    Expired,
    /// The client's connection ended.
    Disconnected,
}

/// Which ports a client accepts (EVEN-PORT and RESERVATION-TOKEN, RFC 8656 sections 18.6 and 18.8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RelayPort {
    /// Any.
    Any,
    /// An even one.
    Even,
    /// An even one, if the one above it can be opened too, and kept under this token.
    EvenAndNext(ReservationToken),
    /// The one that is kept under this token. It is not kept any more, even if the relay cannot be opened.
    Reserved(ReservationToken),
}

/// A payload that a client may send to a peer: send it from the relay socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ToPeer<'a> {
    /// The socket to send from.
    pub relay: RelayId,
    /// The peer's real address.
    pub peer: SocketAddr,
    /// Whether the packet may be cut up on its way.
    pub fragmentation: Fragmentation,
    /// What to send.
    pub payload: &'a [u8],
}

/// A payload from a peer that a client may have: frame it and send it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ToClient {
    /// Who gets it.
    pub client: Client,
    /// What goes in front of it.
    pub framing: Framing,
}

/// How a payload travels to a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// On a channel.
    Channel(ChannelNumber),
    /// In a Data indication.
    Indication {
        /// The peer, by the name that the client knows.
        peer: SocketAddr,
        /// The message's id.
        transaction: TransactionId,
    },
}

impl Framing {
    /// Bytes that [`Self::write_header`] writes.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Channel(_) => ChannelData::HEADER_LEN,
            Self::Indication { peer, .. } => IndicationKind::header_len(peer),
        }
    }

    /// Writes what stands in front of a payload of `len` bytes to the beginning of `out`, and returns how much that
    /// is; nothing if it does not fit `out`, or the payload its length field.
    pub fn write_header(self, len: usize, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Channel(channel) => {
                let header = ChannelData::header(channel, u16::try_from(len).ok()?);
                out.get_mut(..header.len())?.copy_from_slice(&header);
                Some(header.len())
            }
            Self::Indication { peer, transaction } => {
                IndicationKind::Data.write_header(transaction, peer, len, out)
            }
        }
    }

    /// Zero bytes that must follow a payload of `len` bytes on this link.
    pub const fn padding(self, len: usize, link: Link) -> usize {
        match (self, link) {
            (Self::Channel(_), Link::Datagram(_)) => 0,
            (Self::Channel(_), Link::Stream(_)) => ChannelData::stream_padding(len),
            (Self::Indication { .. }, _) => IndicationKind::padding(len),
        }
    }
}
