//! Walks the real media path of a Hubs deployment and names the one cause of silence.
//!
//! `cli` parses the command line into a [`target::Target`] and a [`check::Context`], [`engine::run`] runs the table
//! `checks::CHECKS`, and the [`report::Report`] that comes out is printed. ARCHITECTURE.md has the map.

pub mod audio;
pub mod baseline;
pub mod candidate;
pub mod check;
mod checks;
pub mod choice;
pub mod cli;
#[cfg(feature = "kube")]
mod cluster;
pub mod codes;
pub mod csp;
mod demo;
pub mod diagnose;
pub mod engine;
pub mod event;
pub mod facts;
pub mod finding;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod html;
pub mod ice;
pub mod lint;
pub mod media;
pub mod net;
pub mod nsg;
pub mod phoenix;
pub mod protoo;
mod random;
mod redact;
pub mod report;
mod stun;
pub mod sweep;
pub mod target;
#[cfg(test)]
mod testing;
pub mod turn;
mod watch;
