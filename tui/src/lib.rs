//! A live view of checks and paths in a terminal.
//!
//! The crate knows nothing of probing. Whoever watches something says so in the words of [`feed`], and [`run`] shows
//! it until the user quits:
//!
//! ```text
//!  keys, feed, tick ──▶ update(model, now, msg) ──▶ effect: quit, rerun
//!                              │
//!                              ▼
//!                        view(model, frame)
//! ```
//!
//! `update` and `view` are pure, and time is an argument to both; [`run`] alone touches the clock and the terminal.
//! Its invariant: however it ends, by a key, a signal, an error or a panic, the terminal is as it was before.

pub mod feed;

mod history;
mod keymap;
mod model;
mod run;
mod terminal;
mod text;
mod theme;
mod update;
mod view;

#[cfg(test)]
mod testing;

pub use run::{Action, Exit, Options, run};
pub use theme::Theme;
