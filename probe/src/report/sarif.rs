//! The report as SARIF 2.1.0, for tools that keep track of results. Rules are the codes; the section numbers below are that
//! standard's.

use std::borrow::Cow;

use serde::Serialize;

use super::{End, Report, json::rfc3339};
use crate::{
    codes::Code,
    finding::{self, Finding, Status},
};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The document, ending with a line break.
pub fn render(report: &Report) -> String {
    let document = Document { schema: SCHEMA, version: "2.1.0", runs: [run(report)] };
    // Only a map with keys that are no text could fail, and there is none.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool,
    invocations: [Invocation; 1],
    column_kind: &'static str,
    results: Vec<SarifResult<'a>>,
    properties: RunProperties<'a>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    name: String,
    short_description: Message,
    help: Help,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
struct Help {
    text: &'static str,
    markdown: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    start_time_utc: String,
    end_time_utc: String,
}

#[derive(Serialize)]
struct RunProperties<'a> {
    domain: &'a str,
    outcome: &'static str,
    verdict: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult<'a> {
    rule_id: String,
    rule_index: usize,
    kind: &'static str,
    level: &'static str,
    message: Message,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locations: Vec<Location<'a>>,
    /// Section 3.27.23: present and empty where none is suppressed, since others in the run are.
    suppressions: Vec<Suppression<'a>>,
    properties: ResultProperties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation<'a> {
    artifact_location: ArtifactLocation<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct ArtifactLocation<'a> {
    uri: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation<'a> {
    fully_qualified_name: &'a str,
    kind: &'static str,
}

#[derive(Serialize)]
struct Suppression<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    justification: Option<&'a str>,
}

#[derive(Serialize)]
struct ResultProperties<'a> {
    check: &'static str,
    status: Status,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<&'a str>,
}

fn run(report: &Report) -> Run<'_> {
    // Section 3.19.23: only the rules that results refer to are of interest.
    let mut codes: Vec<_> = report.findings.iter().map(|f| f.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let index = |code| codes.iter().position(|it| *it == code).unwrap_or_default();
    Run {
        results: report.findings.iter().map(|f| result(f, index(f.code))).collect(),
        tool: Tool {
            driver: Driver {
                name: "hubs-probe",
                version: env!("CARGO_PKG_VERSION"),
                rules: codes.iter().map(|code| rule(*code)).collect(),
            },
        },
        invocations: [Invocation {
            execution_successful: report.end == End::Complete,
            start_time_utc: rfc3339(report.started),
            end_time_utc: rfc3339(report.finished),
        }],
        // Section 3.14.17: they count characters.
        column_kind: "unicodeCodePoints",
        properties: RunProperties {
            domain: &report.target,
            outcome: report.verdict.outcome.word(),
            verdict: &report.verdict.headline,
        },
    }
}

fn rule(code: Code) -> Rule {
    Rule {
        id: code.to_string(),
        name: format!("{code:?}"),
        short_description: Message { text: code.title().to_owned() },
        help: Help { text: code.page(), markdown: code.page() },
    }
}

fn result(finding: &Finding, rule_index: usize) -> SarifResult<'_> {
    // Section 3.27.10: whatever is no failure has the level "none".
    let (kind, level) = match finding.status {
        Status::Pass => ("pass", "none"),
        Status::Skip => ("notApplicable", "none"),
        Status::Error => ("open", "none"),
        Status::Warn => ("fail", "warning"),
        Status::Fail => ("fail", "error"),
    };
    let cause = finding.cause.iter().map(|cause| format!(". Because {cause}"));
    let remedy = finding.remedy.iter().map(|remedy| format!(". {}", remedy.text));
    let logical = |name| LogicalLocation { fully_qualified_name: name, kind: "resource" };
    let location = (finding.target.is_some() || finding.location.is_some()).then(|| Location {
        physical_location: finding.location.as_ref().map(physical),
        logical_locations: finding.target.iter().map(|target| logical(target)).collect(),
    });
    let suppressions = finding.suppressed.iter();
    let commands = finding.remedy.iter().flat_map(|remedy| &remedy.commands);
    SarifResult {
        rule_id: finding.code.to_string(),
        rule_index,
        kind,
        level,
        message: Message { text: [finding.summary.clone()].into_iter().chain(cause).chain(remedy).collect() },
        locations: location.into_iter().collect(),
        suppressions: suppressions
            .map(|it| Suppression { kind: "external", justification: it.reason.as_deref() })
            .collect(),
        properties: ResultProperties {
            check: finding.check,
            status: finding.status,
            commands: commands.map(String::as_str).collect(),
        },
    }
}

fn physical(location: &finding::Location) -> PhysicalLocation<'_> {
    // Section 3.4.3: a reference to a URI, in which some characters cannot stand for themselves.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let uri = if location.file.bytes().all(is_plain) {
        Cow::Borrowed(location.file.as_str())
    } else {
        let escaped = location
            .file
            .bytes()
            .map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") });
        Cow::Owned(escaped.collect())
    };
    let region = location.line.map(|start_line| Region { start_line, start_column: location.column });
    PhysicalLocation { artifact_location: ArtifactLocation { uri }, region }
}

#[cfg(test)]
mod tests {
    use serde_sarif::sarif::{ResultKind, ResultLevel, Sarif};

    use super::*;
    use crate::report::tests::{hostile, shipped, with_everything};

    #[test]
    fn another_implementation_of_the_standard_reads_it() {
        for report in [with_everything(), shipped(), hostile()] {
            let read: Sarif = serde_json::from_str(&render(&report)).unwrap();
            assert_eq!(read.version.to_string(), "\"2.1.0\"");
            let run = &read.runs[0];
            // Section 3.14.17: what columns count, which is characters.
            assert_eq!(run.column_kind, Some("unicodeCodePoints".into()));
            let rules = run.tool.driver.rules.as_ref().unwrap();
            let results = run.results.as_ref().unwrap();
            assert_eq!(results.len(), report.findings.len());
            for (result, finding) in results.iter().zip(&report.findings) {
                let rule = &rules[usize::try_from(result.rule_index.unwrap()).unwrap()];
                assert_eq!((&rule.id, Some(&rule.id)), (&finding.code.to_string(), result.rule_id.as_ref()));
                let is_failure = result.kind == Some(ResultKind::Fail);
                assert_eq!(is_failure, result.level != Some(ResultLevel::None));
                let suppressions = result.suppressions.as_ref().unwrap();
                assert_eq!(suppressions.is_empty(), finding.suppressed.is_none());
            }
        }
    }

    #[test]
    fn the_document_reads_so() {
        let text = render(&with_everything());
        // The pages of the codes are long, and have tests of their own.
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for rule in document["runs"][0]["tool"]["driver"]["rules"].as_array_mut().unwrap() {
            rule["help"] = "…".into();
        }
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    }
}
