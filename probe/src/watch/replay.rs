//! A run that `check --output jsonl` wrote down, in the words of the live view: what it is told, and how long after the beginning. Pure.

use std::time::Duration;

use hubs_tui::feed::{self, Feed};
use serde::Deserialize;

use super::feed as translate;
use crate::{
    checks::CHECKS,
    codes::Code,
    diagnose::{Outcome, Verdict},
    finding::{Evidence, Finding, Remedy, Status, printable},
};

/// What the view is told, and when.
pub(super) type Moment = (Duration, Feed);

/// What was given is no run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("line {number} is no event of a run, as `hubs-probe check --output jsonl` writes them: {source}")]
    Line { number: usize, source: serde_json::Error },
    #[error("no run begins in it: `hubs-probe check DOMAIN --output jsonl > FILE` writes one down")]
    Empty,
}

/// The events of `probe/schema/event-1.json`, as far as the view shows them.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    RunStarted {
        at_ms: u64,
        target: String,
        checks: Vec<Check>,
    },
    CheckStarted {
        at_ms: u64,
        check: String,
    },
    CheckFinished {
        at_ms: u64,
        check: String,
        findings: Vec<Told>,
    },
    RunFinished {
        at_ms: u64,
        report: Report,
    },
    /// Passed over, as the schema wants it.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Check {
    id: String,
    group: String,
    question: String,
}

#[derive(Deserialize)]
struct Told {
    code: String,
    status: Status,
    target: Option<String>,
    summary: String,
    evidence: Vec<Evidence>,
    cause: Option<String>,
    remedy: Option<Remedy>,
}

#[derive(Deserialize)]
struct Report {
    verdict: Concluded,
}

#[derive(Deserialize)]
struct Concluded {
    outcome: Outcome,
    headline: String,
    detail: String,
    remedy: Option<Remedy>,
}

/// Reads a run.
pub(super) fn read(text: &str) -> Result<Vec<Moment>, ReplayError> {
    let mut moments = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line =
            serde_json::from_str(line).map_err(|source| ReplayError::Line { number: number + 1, source })?;
        moments.extend(told(line));
    }
    if moments.iter().any(|(_, news)| matches!(news, Feed::RunStarted { .. })) {
        Ok(moments)
    } else {
        Err(ReplayError::Empty)
    }
}

fn told(line: Line) -> Vec<Moment> {
    let at = Duration::from_millis;
    match line {
        Line::RunStarted { at_ms, target, mut checks } => {
            let group = |check: &Check| CHECKS.iter().map(|c| c.group).find(|g| g.title() == check.group);
            checks.sort_by_key(group);
            let checks = checks.into_iter().map(|it| feed::Check {
                id: it.id,
                group: printable(&it.group),
                title: printable(&it.question),
            });
            vec![(at(at_ms), Feed::RunStarted { target: printable(&target), checks: checks.collect() })]
        }
        Line::CheckStarted { at_ms, check } => vec![(at(at_ms), Feed::CheckStarted { check })],
        Line::CheckFinished { at_ms, check, findings } => {
            let findings = findings.into_iter().filter_map(finding).map(|it| translate::finding(&it));
            vec![(at(at_ms), Feed::CheckFinished { check, findings: findings.collect() })]
        }
        Line::RunFinished { at_ms, report } => {
            let verdict = Feed::Verdict(translate::verdict(&verdict(report.verdict)));
            vec![(at(at_ms), verdict), (at(at_ms), Feed::RunFinished)]
        }
        Line::Other => Vec::new(),
    }
}

/// The finding, unless its code is a newer version's. It is made anew, so that nothing of it gets to the terminal as it is.
fn finding(told: Told) -> Option<Finding> {
    let code: Code = told.code.parse().ok()?;
    let mut finding = Finding::new(code, told.status, told.summary);
    finding = told.evidence.iter().fold(finding, |finding, it| finding.seen(&it.label, &it.value));
    if let Some(target) = told.target {
        finding = finding.at(target);
    }
    if let Some(cause) = told.cause {
        finding = finding.because(cause);
    }
    match told.remedy {
        Some(Remedy { text, commands }) => Some(finding.fix(text, commands)),
        None => Some(finding),
    }
}

fn verdict(told: Concluded) -> Verdict {
    let remedy = told.remedy.map(|it| Remedy {
        text: printable(&it.text),
        commands: it.commands.iter().map(|command| printable(command)).collect(),
    });
    Verdict {
        outcome: told.outcome,
        headline: printable(&told.headline),
        detail: printable(&told.detail),
        explains: Vec::new(),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Event,
        report::{jsonl, tests::sample},
    };

    #[test]
    fn a_run_that_was_written_down_is_shown_as_it_was() {
        let report = sample();
        let (check, duration) = ("dns.addresses", Duration::from_millis(42));
        let events = [
            Event::RunStarted { target: report.target.clone(), checks: CHECKS.iter().collect() },
            Event::CheckStarted { check },
            Event::CheckFinished { check, findings: report.findings.clone(), duration },
            Event::Waiting { reason: "not yet".to_owned(), left: duration },
            Event::RunFinished(report),
        ];
        let after = |number: usize| Duration::from_millis(number as u64 * 7);
        let text: String = events.iter().enumerate().map(|(n, event)| jsonl::line(event, after(n))).collect();
        let shown = events.into_iter().enumerate();
        let shown: Vec<_> = shown
            .flat_map(|(n, event)| translate::translate(event).into_iter().map(move |it| (after(n), it)))
            .collect();
        assert_eq!(read(&text).unwrap(), shown);
    }

    #[test]
    fn what_a_newer_version_writes_is_passed_over() {
        let began = r#"{"event":"run_started","at_ms":0,"target":"a.test","checks":[],"more":1}"#;
        let moments = read(&format!("{began}\n\n{{\"event\":\"new\",\"at_ms\":1}}\n")).unwrap();
        assert_eq!(moments.len(), 1);
    }

    #[test]
    fn what_is_no_run_is_refused_with_the_line() {
        for (text, said) in [
            ("", "no run begins"),
            ("{\"event\":\"waiting\",\"at_ms\":1}", "no run begins"),
            ("{\"schema_version\":\"1.2\"}", "line 1 is no event"),
            ("{\"event\":\"new\"}\n[1", "line 2 is no event"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_a_file_says_reaches_no_terminal_as_it_is() {
        let text = r#"{"event":"run_started","at_ms":0,"target":"\u001b[31m","checks":[{"id":"a","group":"\u001b","question":"\u202e"}]}"#;
        assert!(!format!("{:?}", read(text).unwrap()).contains(['\u{1b}', '\u{202e}']));
        let Feed::RunStarted { target, .. } = &read(text).unwrap()[0].1 else { panic!("no beginning") };
        assert!(!target.contains('\u{1b}'), "{target:?}");
    }
}
