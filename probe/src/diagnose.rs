//! From findings to one verdict. Pure: the same findings, the same verdict.
//!
//! The rules stand in the order of the path, because a fault early on it explains what fails behind it.

use serde::Serialize;

use crate::{
    codes::Code,
    finding::{Finding, Remedy, Status},
};

/// What the findings amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Media flows on at least one path, and nothing that people need is broken.
    Good,
    /// Something that people need is broken.
    Broken,
    /// What was examined does not suffice to say.
    Inconclusive,
}

/// The one cause, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What the findings amount to.
    pub outcome: Outcome,
    /// One sentence that somebody understands who does not know what ICE is.
    pub headline: String,
    /// Why, in one or two sentences more.
    pub detail: String,
    /// The codes that it rests on or explains.
    pub explains: Vec<Code>,
    /// What to do.
    pub remedy: Option<Remedy>,
}

/// The verdict over `findings` about `domain`.
pub fn diagnose(domain: &str, findings: &[Finding]) -> Verdict {
    let seen = Seen { domain, findings };
    RULES.iter().find_map(|rule| rule(&seen)).unwrap_or_else(|| inconclusive(&seen))
}

type Rule = fn(&Seen<'_>) -> Option<Verdict>;

const RULES: &[Rule] = &[names_missing, web_dead, dialog_dead, turn_broken, pages_broken, good];

/// Findings, asked by code.
struct Seen<'a> {
    domain: &'a str,
    findings: &'a [Finding],
}

impl<'a> Seen<'a> {
    fn with(&self, code: Code, status: Status) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(move |f| f.code == code && f.status == status)
    }

    fn failed(&self, code: Code) -> Option<&'a Finding> {
        self.with(code, Status::Fail).next()
    }

    fn passed(&self, code: Code) -> bool {
        self.with(code, Status::Pass).next().is_some()
    }

    /// Codes that failed or warned, each once.
    fn symptoms(&self) -> Vec<Code> {
        let mut codes: Vec<_> = self
            .findings
            .iter()
            .filter(|f| matches!(f.status, Status::Fail | Status::Warn))
            .map(|f| f.code)
            .collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    fn broken(&self, headline: String, detail: impl Into<String>, remedy: Option<Remedy>) -> Verdict {
        Verdict {
            outcome: Outcome::Broken,
            headline,
            detail: detail.into(),
            explains: self.symptoms(),
            remedy,
        }
    }

    /// A verdict that says about one finding what the finding says of itself.
    fn because_of(&self, finding: &Finding, headline: String) -> Verdict {
        let detail = finding.cause.clone().unwrap_or_else(|| finding.summary.clone());
        self.broken(headline, detail, finding.remedy.clone())
    }
}

fn names_missing(seen: &Seen<'_>) -> Option<Verdict> {
    let finding = seen.failed(Code::NameResolves)?;
    let name = finding.target.as_deref().unwrap_or(seen.domain);
    Some(seen.because_of(finding, format!("{name} has no address, so browsers cannot find it.")))
}

fn web_dead(seen: &Seen<'_>) -> Option<Verdict> {
    let finding = seen.failed(Code::HubsHealthy)?;
    Some(seen.because_of(
        finding,
        format!("The pages of {} do not work: Hubs itself does not answer.", seen.domain),
    ))
}

fn dialog_dead(seen: &Seen<'_>) -> Option<Verdict> {
    let finding = [Code::SignallingOpens, Code::TransportCreated, Code::CandidatesUsable]
        .into_iter()
        .find_map(|code| seen.failed(code))?;
    Some(seen.because_of(
        finding,
        "Nobody can be heard: the media server does not answer as it should.".to_owned(),
    ))
}

/// TURN is broken, and it matters, because media has no other way.
fn turn_broken(seen: &Seen<'_>) -> Option<Verdict> {
    if seen.passed(Code::DirectPath)
        || seen.passed(Code::RelayedDtls) && turn_certificate_fault(seen).is_none()
    {
        return None;
    }
    if let Some(finding) = turn_certificate_fault(seen) {
        return Some(seen.because_of(
            finding,
            "Nobody can be heard: browsers refuse the certificate of the TURN server, and voice has no other way.".to_owned(),
        ));
    }
    let (finding, why) = [
        (Code::TurnChallenges, "the TURN server does not answer"),
        (Code::TurnAllocates, "the TURN server refuses everybody's credentials"),
        (Code::TurnPermits, "the TURN server does not let anybody reach the media server"),
        (Code::RelayedPath, "the TURN server sends to an address behind which nobody is"),
        (Code::RelayedDtls, "the connection through the TURN server breaks before the first sound"),
    ]
    .into_iter()
    .find_map(|(code, why)| Some((seen.failed(code)?, why)))?;
    Some(seen.because_of(finding, format!("Nobody can be heard: {why}, and voice has no other way.")))
}

fn turn_certificate_fault<'a>(seen: &Seen<'a>) -> Option<&'a Finding> {
    seen.findings.iter().find(|f| {
        f.status == Status::Fail
            && (201..=209).contains(&f.code.number())
            && f.target.as_deref().is_some_and(|t| t.starts_with("turns:"))
    })
}

fn pages_broken(seen: &Seen<'_>) -> Option<Verdict> {
    let finding = seen.findings.iter().find(|f| f.status == Status::Fail)?;
    let heard = seen.passed(Code::DirectPath) || seen.passed(Code::RelayedDtls);
    let headline = if heard {
        "Voice works, but something else is broken."
    } else {
        "Something that rooms need is broken."
    };
    let mut verdict = seen.because_of(finding, format!("{headline} {}.", finding.summary));
    verdict.explains = vec![finding.code];
    Some(verdict)
}

fn good(seen: &Seen<'_>) -> Option<Verdict> {
    let direct = seen.passed(Code::DirectPath);
    let relayed = seen.passed(Code::RelayedDtls);
    let detail = match (direct, relayed) {
        (true, true) => "Media reaches the media server directly and through TURN.",
        (true, false) => {
            "Media reaches the media server directly. TURN, which people behind strict firewalls need, was not proven."
        }
        (false, true) => {
            "Media reaches the media server through TURN, which is enough; the direct path is dead."
        }
        (false, false) => return None,
    };
    Some(Verdict {
        outcome: Outcome::Good,
        headline: format!("People in rooms of {} can hear each other.", seen.domain),
        detail: detail.to_owned(),
        explains: seen.symptoms(),
        remedy: None,
    })
}

fn inconclusive(seen: &Seen<'_>) -> Verdict {
    let direct_dead = seen.with(Code::DirectPath, Status::Warn).next().is_some();
    let unable = seen.findings.iter().find(|f| f.status == Status::Error);
    let no_credentials = seen.with(Code::TurnAllocates, Status::Skip).next().is_some();
    let (headline, detail) = match unable {
        Some(finding) => (
            "This could not be decided from here.".to_owned(),
            format!("{}: {}", finding.check, finding.summary),
        ),
        None if direct_dead && no_credentials => (
            "Voice cannot go the direct way; whether TURN carries it was not tried.".to_owned(),
            "TURN was not tried, because no credentials were given.".to_owned(),
        ),
        None => (
            "This could not be decided.".to_owned(),
            "No path of the media was examined to its end.".to_owned(),
        ),
    };
    let remedy = no_credentials.then(|| Remedy {
        text: "Name a room, so that its TURN credentials can be used:".to_owned(),
        commands: vec![format!(
            "hubs-probe check {} --room <the part of a room's URL after the domain>",
            seen.domain
        )],
    });
    Verdict { outcome: Outcome::Inconclusive, headline, detail, explains: seen.symptoms(), remedy }
}
