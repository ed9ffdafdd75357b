//! The test bed: real parts of a Hubs deployment, started and stopped by the test that needs them.
//!
//! A [`Bed`](bed::Bed) is dialog on mediasoup, a stand-in for Reticulum, and haproxy in front of both as Hubs configures
//! it. What stands in coturn's place behind it is the test's choice. Everything listens on loopback, on ports of its
//! own, and ends with the test. Nothing waits by sleeping: a part is ready when it says so or when it answers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what helps a test ends the test where something is wrong with it, and prints what it skips"
)]

pub mod bed;
pub mod browsers;
pub mod calls;
pub mod certs;
pub mod clock;
pub mod coturn;
pub mod dns;
pub mod hostile;
pub mod http;
pub mod kubernetes;
pub mod lab;
pub mod mount;
pub mod nat;
pub mod need;
pub mod network;
pub mod pgbouncer;
pub mod port;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod relay;
pub mod soak;
pub mod terminal;
pub mod turn;
