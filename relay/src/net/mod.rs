//! Sockets: what the core decides becomes packets here, and packets become the core's inputs.
//!
//! Everything of one worker happens on one thread. The [`exchange`] holds the core and all sockets that one can send
//! on; a task of its own reads each socket and tells the exchange. No task keeps the exchange borrowed while it waits.

mod batch;
pub(crate) mod bind;
pub(crate) mod cluster;
mod connections;
mod datagrams;
mod dialog;
pub(crate) mod exchange;
mod fragmentation;
mod gate;
pub(crate) mod icmp;
mod presence;
pub(crate) mod proxy_protocol;
pub(crate) mod resolve;
pub(crate) mod signalling;
mod stream;
pub(crate) mod tls;
pub(crate) mod totals;

pub(crate) use connections::{Entrance, serve_connections};
pub(crate) use datagrams::serve_datagrams;
