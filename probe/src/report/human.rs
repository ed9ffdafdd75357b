//! The report for people: grouped, aligned, with reason and fix under what is wrong, and one verdict at the end.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use crate::{
    diagnose::{Confidence, Diagnosis, Outcome, told},
    finding::{Finding, Remedy, Status, Suppressed},
    report::{End, Report, by_group},
};

/// How the output device is to be used.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// With colours.
    pub colour: bool,
    /// Without characters beyond ASCII of our own.
    pub ascii: bool,
    /// Prose is broken before this column. Commands never are: they are there to be pasted.
    pub columns: usize,
}

impl Style {
    /// Lines are easiest to read up to this width, however wide the terminal.
    pub const COLUMNS: usize = 110;
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, ascii: false, columns: Self::COLUMNS }
    }
}

#[derive(Clone, Copy)]
enum Colour {
    Red,
    Green,
    Yellow,
    Grey,
    Bold,
}

impl Style {
    /// A line that stands above others.
    pub(crate) fn heading(self, text: &str) -> String {
        self.paint(Colour::Bold, text)
    }

    fn paint(self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Grey => 90,
            Colour::Bold => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// `text`, whose first word stands at column `start`, broken between words into lines that begin at column `indent`.
    pub(crate) fn wrapped(self, text: &str, start: usize, indent: usize) -> String {
        let mut out = String::with_capacity(text.len());
        let mut column = start;
        for word in text.split(' ') {
            let width = word.width();
            if !out.is_empty() && column + 1 + width > self.columns {
                let _ = write!(out, "\n{:indent$}", "");
                column = indent;
            } else if !out.is_empty() {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += width;
        }
        out
    }

    /// Symbol and word: colour alone says nothing to some people and to no file.
    pub(crate) fn mark(self, status: Status) -> String {
        let (unicode, ascii, colour) = match status {
            Status::Pass => ("√", "ok", Colour::Green),
            Status::Warn => ("‼", "!!", Colour::Yellow),
            Status::Fail => ("×", "XX", Colour::Red),
            Status::Skip => ("-", "--", Colour::Grey),
            Status::Error => ("?", "??", Colour::Yellow),
        };
        let symbol = if self.ascii { ascii } else { unicode };
        self.paint(colour, &format!("{symbol} {:<5}", status.word()))
    }
}

/// The whole report.
pub fn render(report: &Report, style: Style) -> String {
    let mut out = String::new();
    // What a cause explains stands under it.
    let is_folded = |at: usize| report.diagnoses.iter().any(|d| d.explains.contains(&at));
    for (group, mut findings) in by_group(report) {
        findings.retain(|(at, _)| !is_folded(*at));
        if findings.is_empty() {
            continue;
        }
        let title = group.title();
        let line = if style.ascii { "-" } else { "─" }.repeat(title.width());
        let _ = writeln!(out, "{}\n{line}", style.paint(Colour::Bold, title));
        let mut before = None;
        for (codes, at, finding) in merged(findings) {
            write_finding(&mut out, &codes, finding, before, style);
            let diagnosis = report.diagnoses.iter().find(|d| d.supports.first() == Some(&at));
            write_explained(&mut out, report, diagnosis, style);
            before = Some(finding);
        }
        out.push('\n');
    }
    out + &verdict(report, style)
}

/// Only what it amounts to.
pub fn verdict(report: &Report, style: Style) -> String {
    let mut out = String::new();
    write_counts(&mut out, report, style);
    write_verdict(&mut out, report, style);
    let first = told(&report.diagnoses, &report.verdict);
    for diagnosis in report.diagnoses.iter().filter(|d| Some(*d) != first) {
        write_diagnosis(&mut out, report, diagnosis, style);
    }
    out
}

/// What was skipped for one reason, one after the other, is told once.
fn merged(findings: Vec<(usize, &Finding)>) -> Vec<(String, usize, &Finding)> {
    let mut merged: Vec<(String, usize, &Finding)> = Vec::new();
    for (at, finding) in findings {
        match merged.last_mut() {
            Some((codes, _, last))
                if finding.status == Status::Skip
                    && (last.status, &last.summary, &last.target)
                        == (finding.status, &finding.summary, &finding.target) =>
            {
                if last.code != finding.code {
                    let _ = write!(codes, ", {}", finding.code);
                }
            }
            _ => merged.push((finding.code.to_string(), at, finding)),
        }
    }
    merged
}

/// One finding, with its reason and fix unless the one before it had the same ones to show.
fn write_finding(out: &mut String, codes: &str, finding: &Finding, before: Option<&Finding>, style: Style) {
    let target = finding.target.as_deref().filter(|t| !finding.summary.contains(t));
    let about = target.map(|t| format!("{t}: ")).unwrap_or_default();
    let mark = match &finding.suppressed {
        None => String::new(),
        Some(Suppressed { reason: Some(reason), .. }) => format!(" (suppressed: {reason})"),
        Some(Suppressed { reason: None, .. }) => " (suppressed)".to_owned(),
    };
    let place = finding.location.as_ref().map(|it| format!("{it}: ")).unwrap_or_default();
    let text = format!("{place}{about}{}{mark}", finding.summary);
    let summary = style.wrapped(&text, SUMMARY + codes.width(), INDENT);
    let _ = writeln!(out, "  {} {codes}  {summary}", style.mark(finding.status));
    if matches!(finding.status, Status::Pass | Status::Skip) || finding.suppressed.is_some() {
        return;
    }
    let labels = finding.evidence.iter().map(|e| e.label.width());
    let width = labels.filter(|width| *width <= WIDEST.min(style.columns * 2 / 5)).fold(LABEL, usize::max);
    for evidence in &finding.evidence {
        write_line(out, &evidence.label, width, &evidence.value, style);
    }
    let same = before.is_some_and(|b| {
        b.code == finding.code && b.status == finding.status && commands(b) == commands(finding)
    });
    if same {
        return;
    }
    if let Some(cause) = &finding.cause {
        write_line(out, "because", width, cause, style);
    }
    if let Some(remedy) = &finding.remedy {
        write_remedy(out, remedy, width, style);
    }
}

/// What the cause that this finding shows explains, a line for each; what was skipped for one reason on one line.
fn write_explained(out: &mut String, report: &Report, diagnosis: Option<&Diagnosis>, style: Style) {
    let findings = diagnosis.iter().flat_map(|d| &d.explains).filter_map(|at| report.findings.get(*at));
    let mut lines: Vec<(Vec<String>, &Finding)> = Vec::new();
    for finding in findings {
        let code = finding.code.to_string();
        match lines.last_mut() {
            Some((codes, last)) if last.status == finding.status && last.summary == finding.summary => {
                if !codes.contains(&code) {
                    codes.push(code);
                }
            }
            _ => lines.push((vec![code], finding)),
        }
    }
    for (number, (codes, finding)) in lines.into_iter().enumerate() {
        let label = if number == 0 { "so" } else { "" };
        let text = format!("{} {}: {}", codes.join(", "), finding.status, finding.summary);
        write_line(out, label, LABEL, &text, style);
    }
}

fn commands(finding: &Finding) -> Option<&[String]> {
    finding.remedy.as_ref().map(|r| r.commands.as_slice())
}

/// Width of the label column, unless evidence needs more.
const LABEL: usize = 7;
/// What is wider than that, or than two fifths of a line, has its value on the next line.
const WIDEST: usize = 40;
/// Where a finding's summary begins, behind its mark, not counting its code.
const SUMMARY: usize = 13;
/// Where the second line of a finding begins, and with it what was seen.
const INDENT: usize = 12;

fn write_line(out: &mut String, label: &str, width: usize, value: &str, style: Style) {
    let column = INDENT + width + 2;
    let value = style.wrapped(value, column, column);
    let begin = match width.checked_sub(label.width()) {
        Some(padding) => " ".repeat(padding + 2),
        None => format!("\n{:column$}", ""),
    };
    let _ = writeln!(out, "{:INDENT$}{}{begin}{value}", "", style.paint(Colour::Grey, label));
}

fn write_remedy(out: &mut String, remedy: &Remedy, width: usize, style: Style) {
    write_line(out, "fix", width, &remedy.text, style);
    for command in &remedy.commands {
        let _ = writeln!(out, "{:1$}{2}", "", INDENT + width + 2, style.paint(Colour::Bold, command));
    }
}

fn write_counts(out: &mut String, report: &Report, style: Style) {
    let seconds = (report.finished - report.started).as_seconds_f32();
    let count = |status| format!("{} {status}", report.count(status));
    let counts =
        [Status::Pass, Status::Warn, Status::Fail, Status::Skip, Status::Error].map(count).join(", ");
    let counts = match report.suppressed() {
        0 => counts,
        suppressed => format!("{counts}, {suppressed} suppressed"),
    };
    let counts = format!("{}: {counts} in {seconds:.1} s", report.target);
    let _ = writeln!(out, "{}", style.wrapped(&counts, 0, 4));
    match report.end {
        End::Complete => {}
        End::TimeLimit => out.push_str("The time limit ended the run: give more with --timeout.\n"),
        End::Interrupted | End::Terminated => {
            out.push_str("The run was interrupted; this is what was found so far.\n");
        }
    }
}

fn write_verdict(out: &mut String, report: &Report, style: Style) {
    let verdict = &report.verdict;
    let colour = match verdict.outcome {
        Outcome::Good => Colour::Green,
        Outcome::Broken => Colour::Red,
        Outcome::Inconclusive => Colour::Yellow,
    };
    let word = verdict.outcome.word();
    let headline =
        style.paint(Colour::Bold, &style.wrapped(&verdict.headline, word.width() + 2, word.width() + 2));
    let _ = writeln!(out, "\n{}  {headline}", style.paint(colour, word));
    // Other failures have a place of their own, so that the first cause's own words are enough.
    let first = told(&report.diagnoses, verdict);
    let detail = first.map_or(&verdict.detail, |first| &first.detail);
    let _ = writeln!(out, "    {}", style.wrapped(detail, 4, 4));
    if !verdict.explains.is_empty() {
        let codes: Vec<_> = verdict.explains.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "    see {}: hubs-probe explain {}", codes.join(", "), codes[0]);
    }
    if let Some(first) = first {
        write_doubts(out, report, first, style);
    }
    if let Some(remedy) = &verdict.remedy {
        out.push('\n');
        write_steps(out, remedy, style);
    }
}

/// A cause that stands beside the one that the verdict names.
fn write_diagnosis(out: &mut String, report: &Report, diagnosis: &Diagnosis, style: Style) {
    let title = format!("And {}", diagnosis.cause.code);
    let indent = title.width() + 2;
    let sentence = style.paint(Colour::Bold, &style.wrapped(&diagnosis.cause.sentence, indent, indent));
    let _ = writeln!(out, "\n{title}  {sentence}");
    let _ = writeln!(out, "    {}", style.wrapped(&diagnosis.detail, 4, 4));
    if diagnosis.suppressed {
        return;
    }
    write_doubts(out, report, diagnosis, style);
    if let Some(remedy) = &diagnosis.remedy {
        write_steps(out, remedy, style);
    }
}

/// How sure a diagnosis is, where there is any doubt.
fn write_doubts(out: &mut String, report: &Report, diagnosis: &Diagnosis, style: Style) {
    if diagnosis.confidence == Confidence::Certain && diagnosis.contradicts.is_empty() {
        return;
    }
    let named = |places: &[usize]| {
        let findings = places.iter().filter_map(|at| report.findings.get(*at));
        let mut codes: Vec<_> = findings.map(|f| format!("{} {}", f.code, f.status)).collect();
        codes.dedup();
        codes.join(", ")
    };
    let mut text = format!("{}: for it speaks {}", diagnosis.confidence.word(), named(&diagnosis.supports));
    if !diagnosis.contradicts.is_empty() {
        let _ = write!(text, "; against it {}", named(&diagnosis.contradicts));
    }
    let _ = writeln!(out, "    {}", style.wrapped(&text, 4, 4));
}

fn write_steps(out: &mut String, remedy: &Remedy, style: Style) {
    let _ = writeln!(out, "    {}", style.wrapped(&remedy.text, 4, 4));
    for command in &remedy.commands {
        let _ = writeln!(out, "      {}", style.paint(Colour::Bold, command));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codes::Code,
        report::tests::{repaired, sample, shipped},
    };

    #[test]
    fn on_a_narrow_terminal_only_commands_are_longer_than_its_lines() {
        let report = shipped();
        let commands: Vec<_> =
            report.findings.iter().filter_map(|f| f.remedy.as_ref()).flat_map(|r| &r.commands).collect();
        let text = render(&report, Style { columns: 60, ..Style::default() });
        for line in text.lines().filter(|line| line.width() > 60) {
            let is_one_word = !line.trim().contains("  ") && line.split_whitespace().count() <= 2;
            let is_command = commands.iter().any(|it| line.contains(it.as_str()));
            assert!(is_command || is_one_word || line.contains("hubs-probe explain"), "{line}");
        }
    }

    #[test]
    fn the_report_for_people_reads_so() {
        insta::assert_snapshot!(render(&sample(), Style::default()));
    }

    #[test]
    fn a_deployment_as_hubs_ships_it_reads_so() {
        insta::assert_snapshot!(render(&shipped(), Style::default()));
    }

    #[test]
    fn a_repaired_deployment_reads_so() {
        insta::assert_snapshot!(render(&repaired(), Style::default()));
    }

    #[test]
    fn prose_is_broken_between_words_and_commands_never() {
        let long = render(&shipped(), Style::default());
        let too_long = long.lines().filter(|line| line.width() > Style::COLUMNS);
        assert_eq!(too_long.collect::<Vec<_>>(), Vec::<&str>::new());
        let command = "x ".repeat(Style::COLUMNS);
        let mut out = String::new();
        let remedy = Remedy { text: "Do:".to_owned(), commands: vec![command.clone()] };
        write_remedy(&mut out, &remedy, LABEL, Style::default());
        assert!(out.contains(&command));
    }

    #[test]
    fn a_long_label_leaves_its_value_room() {
        let label =
            "template.json:8:7 $.resources[0].properties.template.resources[0].properties.securityRules[0]";
        let value = "odd: protocol \"pigeon\" is not known, and so whether it matches is not known";
        let finding = Finding::warn(Code::RulesRead, "odd")
            .because("it is")
            .seen(label, value)
            .seen("read", "one rule");
        let mut out = String::new();
        write_finding(&mut out, "N001", &finding, None, Style::default());
        let lines: Vec<_> = out.lines().skip(1).collect();
        let told = [
            format!("{:INDENT$}{label}  ", ""),
            format!("{:1$}{value}", "", INDENT + LABEL + 2),
            format!("{:INDENT$}read     one rule", ""),
            format!("{:INDENT$}because  it is", ""),
        ];
        assert_eq!(lines, told.map(|it| it.trim_end().to_owned()));
    }

    #[test]
    fn without_unicode_our_own_characters_are_ascii() {
        let report = render(&sample(), Style { ascii: true, ..Style::default() });
        assert!(report.is_ascii(), "{report}");
    }

    #[test]
    fn colour_is_there_only_when_asked_for_and_words_always_accompany_it() {
        let coloured = render(&sample(), Style { colour: true, ..Style::default() });
        let plain = render(&sample(), Style::default());
        assert!(coloured.contains("\x1b[31m× fail \x1b[0m") && plain.contains("× fail"));
        assert!(!plain.contains('\x1b'));
    }
}
