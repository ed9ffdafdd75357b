//! What files amount to that say what is declared. Nobody was asked anything, so nothing is said of whether people are heard.

use super::{Diagnosis, Subject, rule::Rule, seen::Seen, verdict::led_by};
use crate::{
    diagnose::{Outcome, Verdict},
    finding::{Remedy, Status},
};

/// Each failure is a cause: files have no path along which one thing would follow from another.
pub(super) const RULES: &[Rule] = &[Rule::new("declared", &[], |_, cause| cause.summary.clone())];

pub(super) fn conclude(subject: Subject, seen: &Seen<'_>, diagnoses: &[Diagnosis]) -> Verdict {
    if let Some(first) = diagnoses.iter().find(|d| !d.suppressed).or_else(|| diagnoses.first()) {
        let more = match diagnoses.len() {
            1 => String::new(),
            2 => " One more thing is wrong.".to_owned(),
            number => format!(" {} more things are wrong.", number - 1),
        };
        return Verdict {
            outcome: Outcome::Broken,
            headline: first.headline.clone(),
            detail: format!("{}{more}", first.detail),
            explains: led_by(first.cause.code, seen.symptoms()),
            remedy: first.remedy.clone(),
        };
    }
    let unknown = seen.findings.iter().find(|f| f.status == Status::Error && f.suppressed.is_none());
    if let Some(unknown) = unknown {
        let text = "Give what says more about it, and ask again".to_owned();
        return Verdict {
            outcome: Outcome::Inconclusive,
            headline: match subject {
                Subject::Rules => "Whether the rules let in what is needed is not known.".to_owned(),
                Subject::Manifest | Subject::Deployment => "The file could not be examined.".to_owned(),
            },
            detail: format!("{}: {}.", unknown.code, unknown.summary),
            explains: led_by(unknown.code, seen.symptoms()),
            remedy: unknown.remedy.clone().or(Some(Remedy { text, commands: Vec::new() })),
        };
    }
    let warnings =
        seen.findings.iter().filter(|f| f.status == Status::Warn && f.suppressed.is_none()).count();
    let (headline, detail) = match (subject, warnings) {
        (Subject::Rules, 0) => (
            "The rules let in what is needed.",
            "Whether it arrives, only packets show: hubs-probe check DOMAIN --nsg FILE.",
        ),
        (Subject::Rules, _) => (
            "The rules let in what is needed, and not all that could be.",
            "Voice does not hang on what warns as long as TURN works: hubs-probe check DOMAIN --nsg FILE tells.",
        ),
        (Subject::Manifest | Subject::Deployment, 0) => (
            "Nothing in the manifest keeps people from hearing each other.",
            "What runs, only packets show: hubs-probe check DOMAIN.",
        ),
        (Subject::Manifest | Subject::Deployment, _) => (
            "Nothing in the manifest keeps people from hearing each other, and some of it had better be otherwise.",
            "What runs, only packets show: hubs-probe check DOMAIN.",
        ),
    };
    Verdict {
        outcome: Outcome::Good,
        headline: headline.to_owned(),
        detail: detail.to_owned(),
        explains: seen.symptoms(),
        remedy: None,
    }
}
