//! A run as it happens: one JSON document for each event, on a line of its own. The schema of the lines is
//! `probe/schema/event-1.json`. With the time of each, a run can be played again.

use std::time::Duration;

use serde::Serialize;

use super::json::{Document, SCHEMA_VERSION, document};
use crate::{event::Event, finding::Finding};

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    RunStarted { schema_version: &'static str, at_ms: u64, target: &'a str, checks: Vec<Check> },
    CheckStarted { at_ms: u64, check: &'static str },
    CheckFinished { at_ms: u64, check: &'static str, duration_ms: u64, findings: &'a [Finding] },
    Waiting { at_ms: u64, reason: &'a str, left_ms: u64 },
    RunFinished { at_ms: u64, report: Document<'a> },
}

#[derive(Serialize)]
struct Check {
    id: &'static str,
    group: &'static str,
    question: &'static str,
}

/// The line for an event that happened so long after the run's beginning, with its line break.
pub fn line(event: &Event, after: Duration) -> String {
    let at_ms = milliseconds(after);
    let line = match event {
        Event::RunStarted { target, checks } => Line::RunStarted {
            schema_version: SCHEMA_VERSION,
            at_ms,
            target,
            checks: checks
                .iter()
                .map(|c| Check { id: c.id, group: c.group.title(), question: c.question })
                .collect(),
        },
        Event::CheckStarted { check } => Line::CheckStarted { at_ms, check },
        Event::CheckFinished { check, findings, duration } => {
            Line::CheckFinished { at_ms, check, duration_ms: milliseconds(*duration), findings }
        }
        Event::Waiting { reason, left } => Line::Waiting { at_ms, reason, left_ms: milliseconds(*left) },
        Event::RunFinished(report) => Line::RunFinished { at_ms, report: document(report) },
    };
    // Only a map with keys that are no text could fail, and there is none.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{checks::CHECKS, report::tests::sample};

    fn events() -> Vec<Event> {
        let report = sample();
        let (check, duration) = ("dns.addresses", Duration::from_millis(42));
        let findings = report.findings[..2].to_vec();
        vec![
            Event::RunStarted { target: report.target.clone(), checks: CHECKS[..1].iter().collect() },
            Event::CheckStarted { check },
            Event::CheckFinished { check, findings, duration },
            Event::Waiting { reason: report.verdict.headline.clone(), left: Duration::from_secs(30) },
            Event::RunFinished(report),
        ]
    }

    /// The schema of the lines, with the parts that it takes from the report's.
    fn schema() -> Value {
        let mut schema: Value = serde_json::from_str(include_str!("../../schema/event-1.json")).unwrap();
        let mut report: Value = serde_json::from_str(include_str!("../../schema/report-1.json")).unwrap();
        let parts = report.as_object_mut().unwrap().remove("$defs").unwrap();
        report.as_object_mut().unwrap().remove("$schema");
        schema["$defs"] = parts;
        schema["$defs"]["report"] = report;
        let text = schema.to_string().replace("report-1.json#/$defs/", "#/$defs/");
        serde_json::from_str(&text.replace("\"report-1.json\"", "\"#/$defs/report\"")).unwrap()
    }

    #[test]
    fn each_event_is_a_line_that_keeps_the_schema() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for event in events() {
            let line = line(&event, Duration::from_millis(7));
            assert_eq!(line.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&line).unwrap();
            let errors: Vec<_> =
                validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert!(errors.is_empty(), "{errors:#?}\n{line}");
        }
        assert!(!validator.is_valid(&serde_json::json!({ "event": "check_started", "at_ms": 1 })));
    }

    #[test]
    fn the_lines_read_so() {
        let lines: String = events()[..4].iter().map(|event| line(event, Duration::from_millis(7))).collect();
        insta::assert_snapshot!(lines);
    }
}
