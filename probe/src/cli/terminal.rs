//! The terminal, or what stands in its place: how it is to be written to, and when the person has had enough.

use std::{
    io::{self, IsTerminal, Write},
    process,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::report::{EXIT_INCONCLUSIVE, End, human::Style};

/// Completes when the person or the system wants the program to end. From the call on, neither ends it in any other way.
pub(crate) fn interrupted() -> impl Future<Output = End> {
    let [interrupted, terminated] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async {
        tokio::select! {
            () = received(interrupted) => End::Interrupted,
            () = received(terminated) => End::Terminated,
        }
    }
}

/// One that cannot be listened for does what it does to any program.
async fn received(signal: io::Result<Signal>) {
    match signal {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// How many columns the terminal has, as far as lines may be long; a file has as many.
pub(super) fn columns() -> usize {
    let terminal = io::stdout().is_terminal().then(|| crossterm::terminal::size().ok()).flatten();
    terminal.map_or(Style::COLUMNS, |(columns, _)| usize::from(columns).clamp(40, Style::COLUMNS))
}

/// Whether standard error is a terminal that can take back what it shows.
pub(super) fn can_show_progress() -> bool {
    io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}

/// Decided once, from the terminal and the environment: <https://no-color.org>.
pub(crate) fn style() -> Style {
    style_of(&io::stdout())
}

/// The same for another output.
pub(super) fn style_of(output: &impl IsTerminal) -> Style {
    let set = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
    let locale =
        set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default().to_uppercase();
    Style {
        colour: output.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|t| t != "dumb"),
        ascii: !(locale.contains("UTF-8") || locale.contains("UTF8")),
        columns: columns(),
    }
}

/// Prints to standard output. Somebody who closes it, such as `head`, has read enough; what cannot be written for any other
/// reason ends the program, since nobody would learn of its result.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = writeln!(io::stderr(), "hubs-probe: standard output cannot be written: {error}");
        process::exit(EXIT_INCONCLUSIVE.into());
    }
}
