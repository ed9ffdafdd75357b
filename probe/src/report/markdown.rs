//! The report as Markdown (with GitHub's tables), to be pasted into an issue or a chat.

use std::fmt::Write as _;

use super::{Report, by_group};
use crate::{
    diagnose::Diagnosis,
    finding::{Finding, Remedy, Status},
};

/// The document, ending with a line break.
pub fn render(report: &Report) -> String {
    let verdict = &report.verdict;
    let mut out = format!("## hubs-probe: {}\n\n", escaped(&report.target));
    let _ = writeln!(out, "**{}** {}\n", verdict.outcome.word(), escaped(&verdict.headline));
    if report.diagnoses.is_empty() {
        let _ = writeln!(out, "{}\n", escaped(&verdict.detail));
        write_remedy(&mut out, verdict.remedy.as_ref());
    }
    for (number, diagnosis) in report.diagnoses.iter().enumerate() {
        write_diagnosis(&mut out, number + 1, diagnosis);
    }
    for (group, findings) in by_group(report) {
        let _ = writeln!(out, "### {}\n\n| | | |\n|---|---|---|", group.title());
        for (_, finding) in findings {
            let _ = writeln!(out, "| {} | {} | {} |", mark(finding), finding.code, told(finding));
        }
        out.push('\n');
    }
    let count = |status| format!("{} {status}", report.count(status));
    let counts =
        [Status::Pass, Status::Warn, Status::Fail, Status::Skip, Status::Error].map(count).join(", ");
    let _ = writeln!(
        out,
        "{counts}, {} suppressed. hubs-probe {}, {}.",
        report.suppressed(),
        env!("CARGO_PKG_VERSION"),
        super::json::rfc3339(report.started)
    );
    out
}

fn write_diagnosis(out: &mut String, number: usize, diagnosis: &Diagnosis) {
    let sentence = escaped(&diagnosis.cause.sentence);
    let known = if diagnosis.suppressed { ", suppressed" } else { "" };
    let (code, confidence) = (diagnosis.cause.code, diagnosis.confidence.word());
    let _ = writeln!(out, "{number}. **{sentence}** ({code}, {confidence}{known})");
    let _ = writeln!(out, "   {}\n", escaped(&diagnosis.detail));
    write_remedy(out, diagnosis.remedy.as_ref());
}

fn write_remedy(out: &mut String, remedy: Option<&Remedy>) {
    let Some(remedy) = remedy else { return };
    let _ = writeln!(out, "   {}\n", escaped(&remedy.text));
    if remedy.commands.is_empty() {
        return;
    }
    // A fence must be longer than any that stands within.
    let longest = remedy.commands.iter().flat_map(|c| c.split(|c| c != '`')).map(str::len).max();
    let fence = "`".repeat(longest.unwrap_or_default().max(2) + 1);
    let _ = writeln!(out, "   {fence}sh");
    for command in &remedy.commands {
        let _ = writeln!(out, "   {command}");
    }
    let _ = writeln!(out, "   {fence}\n");
}

fn mark(finding: &Finding) -> &'static str {
    match (finding.status, &finding.suppressed) {
        (_, Some(_)) => "suppressed",
        (Status::Pass, None) => "pass",
        (Status::Skip, None) => "skip",
        (Status::Warn, None) => "**warn**",
        (Status::Error, None) => "**error**",
        (Status::Fail, None) => "**FAIL**",
    }
}

fn told(finding: &Finding) -> String {
    let target = finding.target.as_deref().filter(|t| !finding.summary.contains(t));
    let about = target.map(|t| format!("{t}: ")).unwrap_or_default();
    let place = finding.location.as_ref().map(|it| format!("{it}: ")).unwrap_or_default();
    let mut text = escaped(&format!("{place}{about}{}", finding.summary));
    if !matches!(finding.status, Status::Pass | Status::Skip) {
        for evidence in &finding.evidence {
            let _ = write!(text, "<br>{}: {}", escaped(&evidence.label), escaped(&evidence.value));
        }
    }
    text
}

/// `text` without anything that Markdown, or the HTML in it, would obey.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '|' | '~' | '#' => out.extend(['\\', c]),
            // What a server says calls nobody.
            '@' => out.push_str("&#64;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{hostile, repaired, shipped, with_everything};

    #[test]
    fn every_finding_is_one_row_whatever_it_says() {
        for report in [with_everything(), shipped(), repaired(), hostile()] {
            let text = render(&report);
            let rows: Vec<_> = text.lines().filter(|line| line.contains("| HP")).collect();
            assert_eq!(rows.len(), report.findings.len(), "{text}");
            for row in rows {
                let bars = row.replace("\\\\", "").replace("\\|", "").matches('|').count();
                assert_eq!(bars, 4, "{row}");
            }
        }
    }

    #[test]
    fn what_a_server_says_is_neither_markup_nor_a_mention_nor_a_hidden_link() {
        let text = render(&hostile());
        // In the block of commands, whose fence is longer than any within, nothing is obeyed.
        let parts: Vec<_> = text.split("````").collect();
        assert_eq!(parts.len(), 3, "{text}");
        for obeyed in ["<script", "<img", " *b*", "[x](", "@everybody"] {
            assert!(!parts[0].contains(obeyed) && !parts[2].contains(obeyed), "{text}");
        }
    }

    #[test]
    fn the_document_reads_so() {
        insta::assert_snapshot!(render(&with_everything()));
    }

    #[test]
    fn a_repaired_deployment_reads_so() {
        insta::assert_snapshot!(render(&repaired()));
    }
}
