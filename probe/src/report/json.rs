//! The report as JSON. Its schema is `probe/schema/report-1.json`; fields are added, never changed, within a major version.

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    diagnose::{Diagnosis, Subject, Verdict},
    finding::{Finding, Status},
    report::{End, Report},
};

/// Version of the document's form.
pub const SCHEMA_VERSION: &str = "1.2";

/// The report as one JSON document, ending with a line break.
pub fn render(report: &Report) -> String {
    pretty(&document(report))
}

/// Several reports as one JSON array of such documents, ending with a line break.
pub fn render_all(reports: &[Report]) -> String {
    pretty(&reports.iter().map(document).collect::<Vec<_>>())
}

fn pretty(value: &impl Serialize) -> String {
    // Only a map with keys that are no text could fail, and there is none.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// What is written of the report.
pub(super) fn document(report: &Report) -> Document<'_> {
    let count = |status| report.count(status);
    Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool { name: "hubs-probe", version: env!("CARGO_PKG_VERSION") },
        run: Run {
            started: rfc3339(report.started),
            finished: rfc3339(report.finished),
            complete: report.end == End::Complete,
            end: report.end,
        },
        target: Target { domain: &report.target, kind: report.subject },
        summary: Summary {
            pass: count(Status::Pass),
            warn: count(Status::Warn),
            fail: count(Status::Fail),
            skip: count(Status::Skip),
            error: count(Status::Error),
            suppressed: report.suppressed(),
        },
        verdict: &report.verdict,
        diagnoses: &report.diagnoses,
        findings: &report.findings,
    }
}

/// The report, as it is written.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema_version: &'static str,
    tool: Tool,
    run: Run,
    target: Target<'a>,
    summary: Summary,
    verdict: &'a Verdict,
    diagnoses: &'a [Diagnosis],
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Run {
    started: String,
    finished: String,
    complete: bool,
    end: End,
}

#[derive(Serialize)]
struct Target<'a> {
    domain: &'a str,
    kind: Subject,
}

#[derive(Serialize)]
struct Summary {
    pass: usize,
    warn: usize,
    fail: usize,
    skip: usize,
    error: usize,
    suppressed: usize,
}

/// The time to the second.
pub(super) fn rfc3339(when: OffsetDateTime) -> String {
    // Formatting fails only for years beyond 9999.
    when.replace_nanosecond(0).unwrap_or(when).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::tests::sample;

    fn assert_keeps_schema(document: &Value) {
        let schema = serde_json::from_str(include_str!("../../schema/report-1.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> =
            validator.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    #[test]
    fn the_document_keeps_its_schema() {
        assert_keeps_schema(&serde_json::from_str(&render(&sample())).unwrap());
    }

    #[test]
    fn several_reports_are_an_array_of_such_documents() {
        let array: Vec<Value> = serde_json::from_str(&render_all(&[sample(), sample()])).unwrap();
        assert_eq!(array.len(), 2);
        array.iter().for_each(assert_keeps_schema);
    }

    #[test]
    fn the_document_reads_so() {
        insta::assert_snapshot!(render(&sample()));
    }
}
