//! A STUN and TURN server for Hubs Community Edition (RFC 8489, RFC 8656).
//!
//! It takes coturn's place beside Hubs: browsers reach it over TLS, TCP or UDP, and it forwards their media to
//! dialog, and to nobody else. [`Relay::start`] runs it; what it decides is in [`turn`], which knows neither sockets
//! nor clocks.
//!
//! ```no_run
//! let config = hubs_relay::Config::from_text("listen = ['udp://127.0.0.1:0']", None, [])?;
//! let relay = hubs_relay::Relay::start(&config)?;
//! println!("{}", relay.listeners()[0].address);
//! relay.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod auth;
pub mod cli;
pub mod config;
mod descriptors;
pub mod gateway;
mod net;
mod runtime;
pub mod sweep;
pub mod turn;
mod watch;
pub mod wire;

/// What only the targets of `tests/fuzz` call.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    use futures_util::FutureExt as _;

    /// Reads a PROXY header.
    pub fn read_proxy_header(mut bytes: &[u8]) {
        let read = crate::net::proxy_protocol::read_header(&mut bytes).now_or_never();
        assert!(read.is_some(), "all bytes are there, so nothing is waited for");
    }
}

pub use config::Config;
pub use net::tls::TlsError;
pub use runtime::{Line, Relay, ReloadError, StartError, summary};
