//! The checks, a module for each group. Each function reads facts, does one thing and returns findings.

pub(crate) mod dialog;
pub(crate) mod dns;
pub(crate) mod http;
pub(crate) mod ice;
pub(crate) mod media;
pub(crate) mod room;
pub(crate) mod tls;
pub(crate) mod turn;
mod websocket;

use crate::{
    check::Stop,
    net::{ConnectError, ResolveError, TlsError},
};

/// Why a check that needs a connection stops without one. `tls.certificates` tries each port and says what is wrong with it.
fn no_connection(error: &TlsError) -> Stop {
    match error {
        TlsError::Connect(ConnectError::Resolve(ResolveError::Resolver { .. }) | ConnectError::Io { .. }) => {
            Stop::Unable(error.to_string())
        }
        TlsError::Connect(_)
        | TlsError::Silent
        | TlsError::Certificate(_)
        | TlsError::Handshake(_)
        | TlsError::Name(_) => Stop::Skip(format!("{error}, see tls.certificates")),
    }
}
