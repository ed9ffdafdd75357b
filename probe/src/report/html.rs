//! The report as one HTML file that needs nothing else: no script, no font, no picture. It is well-formed XML as well.

use std::fmt::Write as _;

use super::{Report, by_group, json::rfc3339};
use crate::{
    diagnose::{Diagnosis, Outcome},
    finding::{Finding, Remedy, Status},
};

/// Nothing is loaded and nothing runs, whatever found its way into a text.
const HEAD: &str = r#"<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<style>
:root { color-scheme: light dark; --good: #17803d; --bad: #c02626; --odd: #9a6700; --quiet: #667; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --good: #4ade80; --bad: #f87171; --odd: #fbbf24; --quiet: #99a; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.1rem; font-weight: 500; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.verdict { border-left: .4rem solid var(--tone); padding: .2rem 0 .2rem 1rem; }
.verdict strong { color: var(--tone); } .verdict p:first-child { font-size: 1.3rem; margin: 0; }
.good { --tone: var(--good); } .broken { --tone: var(--bad); } .inconclusive { --tone: var(--odd); }
.pass { color: var(--good); } .fail { color: var(--bad); } .warn, .error { color: var(--odd); }
.skip, .suppressed, .quiet { color: var(--quiet); }
pre { background: #8882; padding: .6rem .8rem; overflow-x: auto; border-radius: .3rem; }
ul, ol { padding-left: 1.2rem; } ul.findings { list-style: none; padding: 0; }
ul.findings > li { border-top: 1px solid var(--line); padding: .4rem 0; overflow-wrap: anywhere; }
.status { display: inline-block; width: 6.5em; font-weight: 600; } code { font-size: .9em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: .4rem 0 .4rem 6.5em; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
</style>"#;

/// The document, ending with a line break.
pub fn render(report: &Report) -> String {
    let (verdict, target) = (&report.verdict, escaped(&report.target));
    let tone = match verdict.outcome {
        Outcome::Good => "good",
        Outcome::Broken => "broken",
        Outcome::Inconclusive => "inconclusive",
    };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n{HEAD}\n\
         <title>{target}: {}</title>\n</head>\n<body>\n<h1>hubs-probe: {target}</h1>\n",
        verdict.outcome.word()
    );
    let _ = writeln!(
        out,
        "<section class=\"verdict {tone}\"><p><strong>{}</strong> {}</p></section>",
        verdict.outcome.word(),
        escaped(&verdict.headline)
    );
    if report.diagnoses.is_empty() {
        let _ = writeln!(out, "<p>{}</p>{}", escaped(&verdict.detail), remedy(verdict.remedy.as_ref()));
    } else {
        out.push_str("<h2>What is broken, in the order of the path</h2>\n<ol>\n");
        for diagnosis in &report.diagnoses {
            write_diagnosis(&mut out, report, diagnosis);
        }
        out.push_str("</ol>\n");
    }
    for (group, findings) in by_group(report) {
        let _ = writeln!(out, "<h2>{}</h2>\n<ul class=\"findings\">", escaped(group.title()));
        for (at, finding) in findings {
            write_finding(&mut out, at, finding);
        }
        out.push_str("</ul>\n");
    }
    let seconds = (report.finished - report.started).as_seconds_f32();
    let _ = writeln!(
        out,
        "<p class=\"quiet\">{} in {seconds:.1} s, hubs-probe {}</p>\n</body>\n</html>",
        rfc3339(report.started),
        env!("CARGO_PKG_VERSION")
    );
    out
}

fn write_diagnosis(out: &mut String, report: &Report, diagnosis: &Diagnosis) {
    let known = if diagnosis.suppressed { ", suppressed" } else { "" };
    let _ = write!(
        out,
        "<li><strong>{}</strong> <span class=\"quiet\">{}{known}</span><p>{}</p>{}",
        escaped(&diagnosis.cause.sentence),
        diagnosis.confidence.word(),
        escaped(&diagnosis.detail),
        remedy(diagnosis.remedy.as_ref())
    );
    for (label, places) in [
        ("For it speaks", &diagnosis.supports),
        ("Against it speaks", &diagnosis.contradicts),
        ("It explains", &diagnosis.explains),
    ] {
        if places.is_empty() {
            continue;
        }
        let links = places.iter().filter_map(|at| Some((at, report.findings.get(*at)?)));
        let links: Vec<_> = links.map(|(at, f)| format!("<a href=\"#f{at}\">{}</a>", f.code)).collect();
        let _ = write!(out, "<p class=\"quiet\">{label}: {}</p>", links.join(", "));
    }
    out.push_str("</li>\n");
}

fn write_finding(out: &mut String, at: usize, finding: &Finding) {
    let (class, word) = match &finding.suppressed {
        Some(_) => ("suppressed", "suppressed"),
        None => (finding.status.word(), finding.status.word()),
    };
    let target = finding.target.as_deref().filter(|t| !finding.summary.contains(t));
    let about = target.map(|t| format!("{}: ", escaped(t))).unwrap_or_default();
    let _ = write!(
        out,
        "<li id=\"f{at}\"><span class=\"status {class}\">{word}</span><code title=\"{}\">{}</code> {about}{}",
        escaped(finding.code.title()),
        finding.code,
        escaped(&finding.summary)
    );
    let mut rows: Vec<_> = finding.evidence.iter().map(|e| (e.label.as_str(), e.value.as_str())).collect();
    rows.extend(finding.cause.as_deref().map(|cause| ("because", cause)));
    rows.extend(finding.suppressed.as_ref().and_then(|s| s.reason.as_deref()).map(|why| ("suppressed", why)));
    if !rows.is_empty() {
        out.push_str("<dl>");
        for (label, value) in rows {
            let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escaped(label), escaped(value));
        }
        out.push_str("</dl>");
    }
    if !matches!(finding.status, Status::Pass | Status::Skip) {
        out.push_str(&remedy(finding.remedy.as_ref()));
    }
    out.push_str("</li>\n");
}

fn remedy(remedy: Option<&Remedy>) -> String {
    let Some(remedy) = remedy else { return String::new() };
    let mut out = format!("<p>{}</p>", escaped(&remedy.text));
    if !remedy.commands.is_empty() {
        let _ = write!(out, "<pre><code>{}</code></pre>", escaped(&remedy.commands.join("\n")));
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, ParsingOptions};

    use super::*;
    use crate::report::tests::{hostile, repaired, shipped, with_everything};

    fn parsed(text: &str) -> Document<'_> {
        Document::parse_with_options(text, ParsingOptions { allow_dtd: true, ..ParsingOptions::default() })
            .unwrap()
    }

    #[test]
    fn it_is_well_formed_and_each_link_leads_to_a_finding() {
        for report in [with_everything(), shipped(), repaired(), hostile()] {
            let text = render(&report);
            let document = parsed(&text);
            let ids: Vec<_> = document.descendants().filter_map(|n| n.attribute("id")).collect();
            assert_eq!(ids.len(), report.findings.len());
            for link in document.descendants().filter_map(|n| n.attribute("href")) {
                assert!(ids.contains(&link.strip_prefix('#').unwrap()), "{link}");
            }
        }
    }

    #[test]
    fn it_loads_nothing_and_runs_nothing_whatever_a_server_says() {
        let text = render(&hostile());
        let document = parsed(&text);
        for node in document.descendants() {
            let name = node.tag_name().name();
            assert!(!["script", "img", "link", "iframe", "b"].contains(&name), "{name}");
            assert!(node.attributes().all(|a| !a.name().starts_with("on") && a.name() != "src"));
        }
    }

    #[test]
    fn the_document_reads_so() {
        insta::assert_snapshot!(render(&with_everything()));
    }
}
