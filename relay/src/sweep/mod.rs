//! Which ports of a node do packets from outside reach? Both halves of the answer: what a prober and the agent in the cluster
//! say to each other, and the agent itself.
//!
//! The prober sends a [`Packet`] to each port. The agent sees it wherever it arrives, whoever has the port, and tells over a
//! channel of its own ([`channel`]); from ports that nobody has it answers as well, which proves the way back. The core knows
//! neither sockets nor clocks: [`arrival`] reads what came, the [`Observer`] decides what it means; [`Agent`] is the shell.
//!
//! What always holds: only who has the token is heard; nothing is sent to anybody who did not send an authenticated packet
//! first; an answer is as long as its question; nothing counts twice; and memory has its bound whoever sends what.

mod agent;
pub mod arrival;
pub mod channel;
mod filter;
mod observer;
mod packet;
mod ports;
mod refusals;
mod tap;
#[cfg(test)]
mod tests;
mod token;
mod window;

pub use agent::{Agent, AgentError, AgentOptions};
pub use observer::{Answer, MOST_SESSIONS, Observer};
pub use packet::{Kind, Packet, SessionKey};
pub use ports::PortSet;
pub use refusals::{hear_refusals, next_refusal};
pub use token::{Token, TokenError};

pub use crate::descriptors::raise as raise_files;
