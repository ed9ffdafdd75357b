//! One relayed address of a client (RFC 8656 section 3.2). An allocation has one, or one of each family; each has peers and
//! a lifetime of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Client;
use super::permissions::Permissions;
use crate::wire::{ErrorCode, Family, Integrity, IntegrityKey, ReservationToken, TransactionId};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) username: Box<str>,
    /// The key that the Allocate was signed with. The credential behind it may expire; the session goes on.
    pub(super) key: IntegrityKey,
    /// How the Allocate was signed, and so its answer is.
    pub(super) integrity: Integrity,
    /// The Allocate's id, by which a retransmission is told from a second one.
    pub(super) allocate: TransactionId,
    pub(super) family: Family,
    /// What XOR-RELAYED-ADDRESS says; nothing until the shell has opened the socket.
    pub(super) relayed: Option<SocketAddr>,
    /// Why the Allocate did not get the other family as well, if it asked for both.
    pub(super) lacks: Option<(Family, ErrorCode)>,
    /// What its RESERVATION-TOKEN said, if it has kept a port.
    pub(super) reserved: Option<ReservationToken>,
    /// What the Allocate's LIFETIME said, for its retransmission.
    pub(super) lifetime: Duration,
    pub(super) expires: Instant,
    pub(super) permissions: Permissions,
}
