//! A line on the terminal that says what is still running, and goes away by itself.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use super::terminal::columns;
use crate::event::{Event, Sink};

/// Progress on standard error.
pub(super) fn progress() -> Sink {
    let state = Mutex::new((0_usize, 0_usize, Vec::<&'static str>::new()));
    Sink::new(move |event| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (total, done, running) = &mut *state;
        let mut pending = String::new();
        match event {
            Event::RunStarted { checks, .. } => *total = checks.len(),
            Event::CheckStarted { check } => running.push(check),
            Event::CheckFinished { check, .. } => {
                *done += 1;
                running.retain(|id| *id != check);
            }
            Event::Waiting { reason, left } => {
                *done = 0;
                pending = format!("  {} s left: {reason}", left.as_secs());
            }
            Event::RunFinished(_) => running.clear(),
        }
        let text = match running.as_slice() {
            [] => pending,
            running => format!("  {done} of {total} checks done, waiting for {}", running.join(", ")),
        };
        let text: String = text.chars().take(columns() - 2).collect();
        let _ = write!(io::stderr(), "\r\x1b[2K{text}");
    })
}
