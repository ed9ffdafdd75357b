//! What a person sees while the checks run: a line for each that has ended, which scrolls away, and below them one line that
//! says what is still running.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use unicode_width::UnicodeWidthChar;

use super::terminal::style_of;
use crate::{
    event::{Event, Sink},
    finding::Finding,
    report::human::Style,
};

/// Which lines there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scroll {
    /// Each check that has ended stays on the screen.
    Ended,
    /// Nothing stays on the screen.
    Nothing,
}

/// Progress on standard error, which has to be a terminal.
pub(super) fn progress(scroll: Scroll) -> Sink {
    let progress = Mutex::new(Progress::new(style_of(&io::stderr()), scroll));
    Sink::new(move |event| {
        let text = progress.lock().unwrap_or_else(PoisonError::into_inner).on(event);
        let _ = io::stderr().write_all(text.as_bytes());
    })
}

struct Progress {
    style: Style,
    scroll: Scroll,
    total: usize,
    done: usize,
    running: Vec<&'static str>,
    pending: Option<String>,
}

/// Back to the beginning of the line, and nothing on it.
pub(super) const CLEAR: &str = "\r\x1b[2K";

impl Progress {
    fn new(style: Style, scroll: Scroll) -> Self {
        Self { style, scroll, total: 0, done: 0, running: Vec::new(), pending: None }
    }

    /// What to write when this happens.
    fn on(&mut self, event: Event) -> String {
        let mut ended = String::new();
        match event {
            Event::RunStarted { checks, .. } => self.total = checks.len(),
            Event::CheckStarted { check } => {
                self.pending = None;
                self.running.push(check);
            }
            Event::CheckFinished { check, findings, .. } => {
                self.done += 1;
                self.running.retain(|id| *id != check);
                if self.scroll == Scroll::Ended {
                    ended = self.ended(check, &findings) + "\n";
                }
            }
            Event::Waiting { reason, left } => {
                self.done = 0;
                self.total = 0;
                self.pending = Some(format!("  waiting, {} s left: {reason}", left.as_secs()));
            }
            Event::RunFinished(_) => {
                self.running.clear();
                self.pending = None;
                let space = if self.scroll == Scroll::Ended { "\n" } else { "" };
                return format!("{CLEAR}{space}");
            }
        }
        format!("{CLEAR}{ended}{}", self.cut(&self.status()))
    }

    fn status(&self) -> String {
        let running = self.running.join(", ");
        match (&self.pending, self.total) {
            (Some(pending), _) => pending.clone(),
            (None, _) if running.is_empty() => String::new(),
            (None, 0) => format!("  looking again at {running}"),
            (None, total) => format!("  {} of {total} checks done, waiting for {running}", self.done),
        }
    }

    /// The worst of what a check found, on one line.
    fn ended(&self, check: &str, findings: &[Finding]) -> String {
        let Some(worst) = findings.iter().max_by_key(|f| f.status) else {
            return self.cut(&format!("  {check}"));
        };
        // Colours take no room.
        let width = self.style.columns.saturating_sub(10);
        let text = cut(&format!("{check:<18} {}", worst.summary), width);
        format!("  {} {text}", self.style.mark(worst.status))
    }

    /// A line that is as wide as the terminal would go on in the next one, and stay there.
    fn cut(&self, text: &str) -> String {
        cut(text, self.style.columns.saturating_sub(2))
    }
}

fn cut(text: &str, columns: usize) -> String {
    let mut width = 0;
    text.chars()
        .take_while(|c| {
            width += c.width().unwrap_or(0);
            width <= columns
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{checks::CHECKS, codes::Code, report::tests::sample};

    const PLAIN: Style = Style { colour: false, ascii: true, columns: 60 };

    fn finished(check: &'static str, findings: Vec<Finding>) -> Event {
        Event::CheckFinished { check, findings, duration: Duration::ZERO }
    }

    /// What is on the screen when each has been written over the line before.
    fn screen(scroll: Scroll, events: Vec<Event>) -> Vec<String> {
        let mut progress = Progress::new(PLAIN, scroll);
        let text: String = events.into_iter().map(|event| progress.on(event)).collect();
        let lines = text.split('\n').map(|line| line.rsplit(CLEAR).next().unwrap_or_default());
        lines.map(|line| line.trim_end().to_owned()).collect()
    }

    fn started() -> Vec<Event> {
        vec![
            Event::RunStarted { target: "example.org".into(), checks: CHECKS[..2].iter().collect() },
            Event::CheckStarted { check: "a.one" },
            Event::CheckStarted { check: "a.two" },
        ]
    }

    fn one_ended() -> Vec<Event> {
        let found = vec![Finding::pass(Code::NameResolves, "fine"), Finding::fail(Code::NamesAgree, "bad")];
        let mut events = started();
        events.push(finished("a.one", found));
        events
    }

    #[test]
    fn what_runs_is_named_and_what_has_ended_scrolls() {
        assert_eq!(screen(Scroll::Ended, started()), ["  0 of 2 checks done, waiting for a.one, a.two"]);
        assert_eq!(
            screen(Scroll::Ended, one_ended()),
            ["  XX fail  a.one              bad", "  1 of 2 checks done, waiting for a.two"]
        );
        assert_eq!(screen(Scroll::Nothing, one_ended()), ["  1 of 2 checks done, waiting for a.two"]);
    }

    #[test]
    fn at_the_end_the_last_line_is_gone() {
        let mut events = one_ended();
        events.push(Event::RunFinished(sample()));
        assert_eq!(screen(Scroll::Ended, events), ["  XX fail  a.one              bad", "", ""]);
    }

    #[test]
    fn while_it_waits_the_reason_stands_there() {
        let mut events = started();
        events.push(finished("a.one", Vec::new()));
        events.push(finished("a.two", Vec::new()));
        events.push(Event::Waiting { reason: "It is dead.".into(), left: Duration::from_secs(30) });
        assert_eq!(screen(Scroll::Nothing, events.clone()), ["  waiting, 30 s left: It is dead."]);
        events.push(Event::CheckStarted { check: "a.two" });
        assert_eq!(screen(Scroll::Nothing, events), ["  looking again at a.two"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let long = vec![Finding::fail(Code::NameResolves, "東京 ".repeat(60))];
        let events = vec![
            Event::CheckStarted { check: "a.one" },
            finished("a.one", long),
            Event::Waiting { reason: "x".repeat(300), left: Duration::from_secs(30) },
        ];
        for line in screen(Scroll::Ended, events) {
            let width: usize = line.chars().filter_map(UnicodeWidthChar::width).sum();
            assert!(width < PLAIN.columns, "{line}");
        }
    }
}
