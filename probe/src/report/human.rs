//! The report for people: grouped, aligned, with reason and fix under what is wrong, and one verdict at the end.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use crate::{
    check::{CHECKS, Group},
    diagnose::{Outcome, Verdict},
    finding::{Finding, Remedy, Status},
    report::{End, Report},
};

/// How the output device is to be used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// With colours.
    pub colour: bool,
    /// Without characters beyond ASCII of our own.
    pub ascii: bool,
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

    /// Symbol and word: colour alone says nothing to some people and to no file.
    fn mark(self, status: Status) -> String {
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
    for group in groups() {
        let findings: Vec<_> = report.findings.iter().filter(|f| group_of(f) == Some(group)).collect();
        if findings.is_empty() {
            continue;
        }
        let title = group.title();
        let line = if style.ascii { "-" } else { "─" }.repeat(title.width());
        let _ = writeln!(out, "{}\n{line}", style.paint(Colour::Bold, title));
        for finding in findings {
            write_finding(&mut out, finding, style);
        }
        out.push('\n');
    }
    write_counts(&mut out, report);
    write_verdict(&mut out, &report.verdict, style);
    out
}

fn groups() -> Vec<Group> {
    let mut groups: Vec<_> = CHECKS.iter().map(|c| c.group).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn group_of(finding: &Finding) -> Option<Group> {
    CHECKS.iter().find(|c| c.id == finding.check).map(|c| c.group)
}

fn write_finding(out: &mut String, finding: &Finding, style: Style) {
    let target = finding.target.as_deref().filter(|t| !finding.summary.contains(t));
    let about = target.map(|t| format!("{t}: ")).unwrap_or_default();
    let _ = writeln!(out, "  {} {}  {about}{}", style.mark(finding.status), finding.code, finding.summary);
    if matches!(finding.status, Status::Pass | Status::Skip) {
        return;
    }
    for evidence in &finding.evidence {
        write_line(out, &evidence.label, &evidence.value, style);
    }
    if let Some(cause) = &finding.cause {
        write_line(out, "because", cause, style);
    }
    if let Some(remedy) = &finding.remedy {
        write_remedy(out, remedy, style);
    }
}

fn write_line(out: &mut String, label: &str, value: &str, style: Style) {
    let _ = writeln!(out, "            {} {value}", style.paint(Colour::Grey, &format!("{label:<8}")));
}

fn write_remedy(out: &mut String, remedy: &Remedy, style: Style) {
    write_line(out, "fix", &remedy.text, style);
    for command in &remedy.commands {
        let _ = writeln!(out, "                     {}", style.paint(Colour::Bold, command));
    }
}

fn write_counts(out: &mut String, report: &Report) {
    let seconds = (report.finished - report.started).as_seconds_f32();
    let count = |status| format!("{} {status}", report.count(status));
    let counts =
        [Status::Pass, Status::Warn, Status::Fail, Status::Skip, Status::Error].map(count).join(", ");
    let _ = writeln!(out, "{}: {counts} in {seconds:.1} s", report.target);
    match report.end {
        End::Complete => {}
        End::TimeLimit => out.push_str("The time limit ended the run: give more with --timeout.\n"),
        End::Interrupted | End::Terminated => {
            out.push_str("The run was interrupted; this is what was found so far.\n");
        }
    }
}

fn write_verdict(out: &mut String, verdict: &Verdict, style: Style) {
    let (word, colour) = match verdict.outcome {
        Outcome::Good => ("GOOD", Colour::Green),
        Outcome::Broken => ("BROKEN", Colour::Red),
        Outcome::Inconclusive => ("UNDECIDED", Colour::Yellow),
    };
    let _ =
        writeln!(out, "\n{}  {}", style.paint(colour, word), style.paint(Colour::Bold, &verdict.headline));
    let _ = writeln!(out, "    {}", verdict.detail);
    if !verdict.explains.is_empty() {
        let codes: Vec<_> = verdict.explains.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "    see {}: hubs-probe explain {}", codes.join(", "), codes[0]);
    }
    if let Some(remedy) = &verdict.remedy {
        let _ = writeln!(out, "\n    {}", remedy.text);
        for command in &remedy.commands {
            let _ = writeln!(out, "      {}", style.paint(Colour::Bold, command));
        }
    }
}
