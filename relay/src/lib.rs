//! A STUN and TURN server for Hubs Community Edition (RFC 8489, RFC 8656).
//!
//! It takes coturn's place beside Hubs: browsers reach it over TLS, TCP or UDP, and it forwards their media to
//! dialog, and to nobody else.

pub mod auth;
pub mod turn;
pub mod wire;
