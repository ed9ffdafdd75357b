//! The terminal while the view has it, and its way back.
//!
//! Invariant: a [`Screen`] that is dropped, and a panic anywhere in the process, leave the terminal as it was.

use std::{
    io, panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

use crossterm::{
    cursor::Show,
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use ratatui::{Terminal, backend::CrosstermBackend};

use tokio::sync::Notify;

use crate::{model::Model, view::view};

/// Whether the terminal is ours: raw, and on its alternate screen.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Told when a panic took the terminal and has printed its message.
static PANICKED: Notify = Notify::const_new();

/// The terminal that the view draws on.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn enter() -> io::Result<Self> {
        restore_before_panics_print();
        // From here on every way out, an early return included, passes `drop`.
        let screen = Self { terminal: blank()? };
        enter()?;
        Ok(screen)
    }

    /// Draws the model.
    pub(crate) fn draw(&mut self, model: &Model) -> io::Result<()> {
        // A panic in another task took the terminal to print its message; the view goes on.
        if !ENTERED.load(Ordering::SeqCst) {
            enter()?;
            self.terminal = blank()?;
        }
        self.terminal.draw(|frame| view(model, frame))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// A terminal of which nothing is known to be drawn yet. (`Terminal::clear` would ask where the cursor is, and a terminal
/// need not answer.)
fn blank() -> io::Result<Terminal<CrosstermBackend<io::Stdout>>> {
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

fn enter() -> io::Result<()> {
    // Set first, so that an entry that fails half-way is undone as a whole.
    ENTERED.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)
}

fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        // Where one of them fails the terminal is gone, and the other one is still worth trying.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Waits until a panic in another task took the terminal: it is to be drawn on again.
pub(crate) async fn taken() {
    PANICKED.notified().await;
}

/// Lets every panic first give the terminal back: its message would be lost on the alternate screen.
fn restore_before_panics_print() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            print(panic);
            PANICKED.notify_one();
        }));
    });
}
