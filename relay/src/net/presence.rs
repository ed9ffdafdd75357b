//! A connection as the exchange knows it: counted among strangers until its client has an allocation.

use std::net::{IpAddr, SocketAddr};

use super::exchange::Shared;
use crate::turn::Client;

/// A connection. Whatever ends its task, the exchange forgets it.
pub(super) struct Presence {
    pub(super) exchange: Shared,
    pub(super) client: Option<Client>,
    pub(super) is_stranger: bool,
    /// The address that it counts for, once that is known.
    address: Option<IpAddr>,
}

impl Presence {
    /// A new one, of which nobody knows whose it is, if there is room for it.
    pub(super) fn stranger(exchange: &Shared) -> Option<Self> {
        let is_admitted = exchange.borrow_mut().admit_stranger();
        let exchange = exchange.clone();
        is_admitted.then_some(Self { exchange, client: None, is_stranger: true, address: None })
    }

    /// Counts the connection for its client's address, unless it does already; false if there is no room for one more.
    pub(super) fn is_of(&mut self, client: SocketAddr) -> bool {
        if self.address.is_none() && self.exchange.borrow_mut().admit_stranger_of(client.ip()) {
            self.address = Some(client.ip());
        }
        self.address.is_some()
    }

    /// Notes whether the client has an allocation.
    pub(super) fn set_stranger(&mut self, is_stranger: bool) {
        if self.is_stranger != is_stranger {
            let mut exchange = self.exchange.borrow_mut();
            if is_stranger {
                exchange.estrange(self.address);
            } else {
                exchange.dismiss_stranger(self.address);
            }
        }
        self.is_stranger = is_stranger;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.set_stranger(false);
        if let Some(client) = self.client {
            self.exchange.borrow_mut().close_connection(client);
        }
    }
}
