//! The checks, a module for each group. Each function reads facts, does one thing and returns findings.

pub(crate) mod dns;
pub(crate) mod http;
pub(crate) mod tls;
