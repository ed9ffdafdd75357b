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
