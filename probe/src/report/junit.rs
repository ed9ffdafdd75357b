//! The report as JUnit XML, for CI: a suite for each group of checks, a case for each finding.

use std::{collections::HashMap, time::Duration};

use quick_junit::{NonSuccessKind, Property, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::{Report, by_group};
use crate::finding::{Finding, Status};

/// The document, ending with a line break.
pub fn render(report: &Report) -> String {
    let mut document = Document::new(format!("hubs-probe {}", report.target));
    document.set_time(Duration::try_from(report.finished - report.started).unwrap_or_default());
    let mut names = HashMap::new();
    for (group, findings) in by_group(report) {
        let mut suite = TestSuite::new(group.title());
        suite.add_property(Property::new("outcome", report.verdict.outcome.word()));
        suite.add_property(Property::new("verdict", report.verdict.headline.as_str()));
        suite.add_test_cases(findings.into_iter().map(|(_, finding)| case(finding, &mut names)));
        document.add_test_suite(suite);
    }
    // Writing to memory fails only if the document were malformed, which its types rule out.
    let mut text = document.to_string().unwrap_or_default();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn case(finding: &Finding, names: &mut HashMap<String, usize>) -> TestCase {
    let mut case = TestCase::new(unique(name(finding), names), status(finding));
    case.set_classname(format!("hubs-probe.{}", finding.check));
    case.set_time(finding.duration);
    if finding.status == Status::Warn && finding.suppressed.is_none() {
        case.set_system_out(format!("warning: {}\n{}", finding.summary, details(finding)));
    }
    case
}

/// The same from run to run, so that a CI can tell what is new.
fn name(finding: &Finding) -> String {
    match &finding.target {
        Some(target) => format!("{} {} ({target})", finding.code, finding.code.title()),
        None => format!("{} {}", finding.code, finding.code.title()),
    }
}

/// Those that tell cases apart by their names would take the second one for the first.
fn unique(name: String, names: &mut HashMap<String, usize>) -> String {
    let count = names.entry(name.clone()).or_default();
    *count += 1;
    if *count == 1 { name } else { format!("{name} #{count}") }
}

fn status(finding: &Finding) -> TestCaseStatus {
    let mut status = match (finding.status, &finding.suppressed) {
        (_, Some(suppressed)) => {
            let mut status = TestCaseStatus::skipped();
            let reason = suppressed.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            status.set_message(format!("suppressed{reason}: {}", finding.summary));
            return status;
        }
        // A warning does not fail a build: JUnit has no third way.
        (Status::Pass | Status::Warn, None) => return TestCaseStatus::success(),
        (Status::Skip, None) => TestCaseStatus::skipped(),
        (Status::Fail, None) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        (Status::Error, None) => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_message(finding.summary.as_str()).set_type(finding.code.to_string());
    let details = details(finding);
    if !details.is_empty() {
        status.set_description(details);
    }
    status
}

fn details(finding: &Finding) -> String {
    let evidence = finding.evidence.iter().map(|e| format!("{}: {}", e.label, e.value));
    let cause = finding.cause.iter().map(|cause| format!("because {cause}"));
    let remedy = finding.remedy.iter().flat_map(|r| [&r.text].into_iter().chain(&r.commands)).cloned();
    evidence.chain(cause).chain(remedy).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{hostile, shipped, with_everything};

    #[test]
    fn another_parser_reads_it_and_counts_the_same() {
        for report in [with_everything(), shipped(), hostile()] {
            let text = render(&report);
            let document = roxmltree::Document::parse(&text).unwrap();
            let all = |name: &str| document.descendants().filter(|n| n.has_tag_name(name)).count();
            assert_eq!(all("testcase"), report.findings.len());
            assert_eq!(all("failure"), report.count(Status::Fail));
            assert_eq!(all("error"), report.count(Status::Error));
            assert_eq!(all("skipped"), report.count(Status::Skip) + report.suppressed());
            let root = document.root_element();
            assert_eq!(root.attribute("tests").unwrap(), report.findings.len().to_string());
            assert_eq!(root.attribute("failures").unwrap(), report.count(Status::Fail).to_string());
        }
    }

    #[test]
    fn no_two_cases_have_one_name() {
        let mut report = with_everything();
        report.findings.extend(report.findings.clone());
        report.findings.extend(report.findings.clone());
        let text = render(&report);
        let document = roxmltree::Document::parse(&text).unwrap();
        let cases = document.descendants().filter(|n| n.has_tag_name("testcase"));
        let names: std::collections::BTreeSet<_> = cases.filter_map(|n| n.attribute("name")).collect();
        assert_eq!(names.len(), report.findings.len());
    }

    #[test]
    fn the_document_reads_so() {
        insta::assert_snapshot!(render(&with_everything()));
    }
}
