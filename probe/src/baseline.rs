//! An earlier report, from when it was well: of what is not so any more, a finding then says what it was like.
//!
//! A rule of Azure's that somebody or something took out leaves no trace but this.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    finding::{Evidence, Finding, Status},
    redact::PLACEHOLDERS,
    report::json::SCHEMA_VERSION,
};

/// The label of the evidence that says when it was well, and how.
const WAS_WELL: &str = "was well";

/// As much of what was seen then as a finding tells.
const MOST: usize = 3;

/// Why a text is no report to compare with.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It is not what `--output json` writes.
    #[error("it is no report, as `hubs-probe check --output json` writes it: {0}")]
    Document(#[from] serde_json::Error),
    /// Another version wrote it, or it is about files.
    #[error(
        "it is a report of another kind: give one that this version's `hubs-probe check --output json` wrote"
    )]
    Kind,
    /// It cannot be compared.
    #[error(
        "it was written with --redact, so nobody can tell which address or room is which: give one that was not"
    )]
    Redacted,
    /// It is about something else.
    #[error("it is a report about {found}, and {wanted} is looked at")]
    Elsewhere {
        /// What it is about.
        found: String,
        /// What it should be about.
        wanted: String,
    },
}

/// What an earlier run found.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// When it ended, as it says itself.
    finished: String,
    /// By check and target.
    findings: BTreeMap<(String, Option<String>), Vec<Then>>,
}

/// The document, as far as it is compared.
#[derive(Deserialize)]
struct Document {
    schema_version: String,
    run: Run,
    target: Target,
    findings: Vec<Then>,
}

#[derive(Deserialize)]
struct Run {
    finished: String,
}

#[derive(Deserialize)]
struct Target {
    domain: String,
    kind: String,
}

/// A finding of then.
#[derive(Clone, Debug, Deserialize)]
struct Then {
    code: String,
    check: String,
    status: Status,
    target: Option<String>,
    summary: String,
    evidence: Vec<Evidence>,
}

impl Baseline {
    /// Reads a report about `domain`.
    pub fn read(text: &str, domain: &str) -> Result<Self, BaselineError> {
        let document: Document = serde_json::from_str(text)?;
        let is_ours = document.schema_version.split('.').next() == SCHEMA_VERSION.split('.').next();
        if !is_ours || document.target.kind != "deployment" {
            return Err(BaselineError::Kind);
        }
        if PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder)) {
            return Err(BaselineError::Redacted);
        }
        if document.target.domain != domain {
            let (found, wanted) = (document.target.domain, domain.to_owned());
            return Err(BaselineError::Elsewhere { found, wanted });
        }
        let mut findings: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for then in document.findings {
            findings.entry((then.check.clone(), then.target.clone())).or_default().push(then);
        }
        Ok(Self { finished: document.run.finished, findings })
    }

    /// Says in a finding what was well then, if it is not so now. What was seen then is left out of a report that names nobody: nothing
    /// of this run says which words of the earlier one are addresses, rooms and users.
    pub(crate) fn hold_against(&self, finding: &mut Finding, redact: bool) {
        if matches!(finding.status, Status::Pass | Status::Skip) {
            return;
        }
        let Some(then) = self.well(finding) else { return };
        if redact {
            *finding = finding.clone().seen(WAS_WELL, format!("on {}", self.finished));
            return;
        }
        let (seen, now) = (&then.evidence, finding.evidence.clone());
        let gone: Vec<_> = seen.iter().filter(|it| !now.contains(it)).take(MOST).collect();
        let marked = finding.clone().seen(WAS_WELL, format!("on {}: {}", self.finished, then.summary));
        *finding = gone.into_iter().fold(marked, |finding, Evidence { label, value }| {
            finding.seen("seen then", format!("{label}: {value}"))
        });
    }

    /// What passed then in the place of this finding. What one code says when it is well, another may say when it is not.
    fn well(&self, finding: &Finding) -> Option<&Then> {
        let at_place = self.findings.get(&(finding.check.to_owned(), finding.target.clone()))?;
        let code = finding.code.to_string();
        let (of_code, others): (Vec<_>, Vec<_>) = at_place.iter().partition(|it| it.code == code);
        let then = match finding.target {
            Some(_) if of_code.is_empty() => others,
            _ => of_code,
        };
        then.iter().all(|it| it.status == Status::Pass).then(|| then.first().copied()).flatten()
    }
}

/// When it was well, and how, if an earlier report says so.
pub(crate) fn was_well(finding: &Finding) -> Option<&str> {
    finding.evidence.iter().find(|it| it.label == WAS_WELL).map(|it| it.value.as_str())
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::{
        codes::Code,
        diagnose::{End, Subject},
        report::{Report, json},
    };

    const PLACE: &str = "udp/40000-49999";

    fn found(code: Code, status: Status, target: Option<&str>) -> Finding {
        let finding =
            Finding::new(code, status, format!("{code} is {status}")).seen("40000-49999", "hubs-media");
        let check = if code == Code::RulesRead { "nsg.rules" } else { "nsg.flows" };
        let finding = Finding { check, ..finding };
        match target {
            Some(target) => finding.at(target),
            None => finding,
        }
    }

    fn baseline(findings: impl Into<Vec<Finding>>) -> Baseline {
        let then = OffsetDateTime::from_unix_timestamp(1_795_000_000).unwrap();
        let report = Report::new("hubs.example.org".to_owned(), then, then, End::Complete, findings.into());
        Baseline::read(&json::render(&report), "hubs.example.org").unwrap()
    }

    fn told(then: impl Into<Vec<Finding>>, mut now: Finding) -> Vec<(String, String)> {
        let before = now.evidence.len();
        baseline(then).hold_against(&mut now, false);
        now.evidence.into_iter().skip(before).map(|it| (it.label, it.value)).collect()
    }

    #[test]
    fn what_passed_and_does_not_now_says_when_and_what_was_seen_then() {
        let now = Finding { evidence: Vec::new(), ..found(Code::MediaAdmitted, Status::Warn, Some(PLACE)) };
        let said = told([found(Code::MediaAdmitted, Status::Pass, Some(PLACE))], now);
        let expected = [
            ("was well", "on 2026-11-18T11:06:40Z: HP0703 is pass"),
            ("seen then", "40000-49999: hubs-media"),
        ];
        assert_eq!(said, expected.map(|(label, value)| (label.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_report_that_names_nobody_says_only_when() {
        let mut now = found(Code::RuleCopied, Status::Warn, Some(PLACE));
        baseline([found(Code::MediaAdmitted, Status::Pass, Some(PLACE))]).hold_against(&mut now, true);
        assert_eq!(was_well(&now), Some("on 2026-11-18T11:06:40Z"));
        assert!(now.evidence.iter().all(|it| it.label != "seen then"), "{now:#?}");
    }

    #[test]
    fn another_code_about_the_same_place_counts_as_well() {
        let then = [found(Code::MediaAdmitted, Status::Pass, Some(PLACE))];
        let said = told(then, found(Code::RuleCopied, Status::Warn, Some(PLACE)));
        // The rule is the same one, so only the date is told.
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].1.ends_with("HP0703 is pass"), "{said:?}");
    }

    #[test]
    fn what_was_no_better_or_elsewhere_or_is_well_now_says_nothing() {
        let now = || found(Code::MediaAdmitted, Status::Warn, Some(PLACE));
        for then in [
            found(Code::MediaAdmitted, Status::Warn, Some(PLACE)),
            found(Code::MediaAdmitted, Status::Pass, Some("udp/3478")),
            found(Code::RulesRead, Status::Pass, Some(PLACE)),
        ] {
            assert_eq!(told([then], now()), []);
        }
        let then = || [found(Code::MediaAdmitted, Status::Pass, Some(PLACE))];
        for status in [Status::Pass, Status::Skip] {
            assert_eq!(told(then(), found(Code::MediaAdmitted, status, Some(PLACE))), []);
        }
        // One of two was not well.
        let both = [Status::Pass, Status::Fail].map(|status| found(Code::MediaAdmitted, status, Some(PLACE)));
        assert_eq!(told(both, now()), []);
        // Without a place another code is about something else.
        let then = [found(Code::MediaAdmitted, Status::Pass, None)];
        assert_eq!(told(then, found(Code::OutAdmitted, Status::Warn, None)), []);
    }

    #[test]
    fn what_is_no_report_or_about_another_domain_is_refused() {
        let report = baseline([]);
        assert!(report.findings.is_empty());
        assert!(matches!(Baseline::read("{}", "hubs.example.org"), Err(BaselineError::Document(_))));
        let now = OffsetDateTime::UNIX_EPOCH;
        let written = |findings| {
            json::render(&Report::new("hubs.example.org".to_owned(), now, now, End::Complete, findings))
        };
        let redacted = written(vec![found(Code::DirectPath, Status::Pass, Some("udp:[address 1]"))]);
        assert!(matches!(Baseline::read(&redacted, "hubs.example.org"), Err(BaselineError::Redacted)));
        let files = Report::of_files(Subject::Rules, "nsg.json".to_owned(), now, Vec::new());
        for text in [
            json::render(&files),
            written(Vec::new()).replace("\"schema_version\": \"1", "\"schema_version\": \"2"),
        ] {
            assert!(matches!(Baseline::read(&text, "hubs.example.org"), Err(BaselineError::Kind)), "{text}");
        }
        let other = Report::new("other.example.org".to_owned(), now, now, End::Complete, Vec::new());
        let error = Baseline::read(&json::render(&other), "hubs.example.org").unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is a report about other.example.org, and hubs.example.org is looked at"
        );
    }
}
