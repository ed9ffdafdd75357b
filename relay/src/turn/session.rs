//! One client's allocation (RFC 8656 section 3.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Client;
use super::permissions::Permissions;
use crate::wire::{Family, IntegrityKey, ReservationToken, TransactionId};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) username: Box<str>,
    /// The key that the Allocate was signed with. The credential behind it may expire; the session goes on.
    pub(super) key: IntegrityKey,
    /// The Allocate's id, by which a retransmission is told from a second one.
    pub(super) allocate: TransactionId,
    pub(super) family: Family,
    /// What XOR-RELAYED-ADDRESS says; nothing until the shell has opened the socket.
    pub(super) relayed: Option<SocketAddr>,
    /// What its RESERVATION-TOKEN said, if it has kept a port.
    pub(super) reserved: Option<ReservationToken>,
    /// What the Allocate's LIFETIME said, for its retransmission.
    pub(super) lifetime: Duration,
    pub(super) expires: Instant,
    pub(super) permissions: Permissions,
}
