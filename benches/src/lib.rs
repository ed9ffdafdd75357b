//! The load generator: what a relayed packet, a join and an idle session cost, beside another server in the same run.
//!
//! One thread on one core plays all clients and the peer that echoes; the server under load has another core. What
//! it does there is read from `/proc`. See README.md for the method and its limits.

pub mod cli;
mod cpu;
mod dialog;
mod echo;
mod error;
mod figures;
mod identity;
mod link;
mod measure;
mod packet;
mod report;
mod server;
mod session;
mod traffic;
mod usage;
