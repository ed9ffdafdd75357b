//! hubs-relay over real sockets: started in this process on ports of its own, or as the program that it is.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod admin;
mod bounds;
mod client;
mod dialog;
mod drain;
mod gateway;
mod hardening;
mod identity;
mod log;
mod program;
mod proxies;
mod reload;
mod start;
mod transports;
