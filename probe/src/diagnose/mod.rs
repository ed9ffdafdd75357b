//! From findings to the causes behind them, and to one verdict. Pure: the same findings, the same verdict.
//!
//! A rule (`rule::Rule`) knows one cause: which findings show it, what speaks for and against it, what else it explains. The
//! rules stand in the order in which a person walks the path, a module for each stretch of it, because a fault early on explains
//! what fails behind it. What no rule accounts for is a cause of its own, so that no failure is left unnamed.

mod declared;
mod direct;
mod entrance;
mod gateway;
mod manifest;
mod names;
#[cfg(test)]
mod properties;
mod relay;
mod rest;
mod rule;
mod seen;
mod signalling;
mod sound;
#[cfg(test)]
mod tests;
mod turn;
mod verdict;
mod web;
mod you;

use serde::Serialize;

use crate::{
    codes::Code,
    finding::{Finding, Remedy},
};
use rule::Rule;
use seen::Seen;
pub(crate) use verdict::told;
pub use verdict::{Outcome, Verdict};

/// Along the path. A cause that an earlier rule explains is no cause.
const RULES: &[&[Rule]] = &[
    you::RULES,
    names::RULES,
    entrance::RULES,
    web::RULES,
    signalling::RULES,
    relay::RULES,
    gateway::RULES,
    turn::RULES,
    sound::RULES,
    direct::RULES,
    rest::RULES,
];

/// What findings are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A deployment, as packets showed it.
    Deployment,
    /// Azure's rules, as they are declared.
    Rules,
    /// A manifest of Kubernetes.
    Manifest,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every check ended.
    Complete,
    /// The time limit of the whole run passed.
    TimeLimit,
    /// The person stopped it.
    Interrupted,
    /// The system asked the program to end.
    Terminated,
}

/// How sure it is that a cause is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// It fits what was seen, and so would something else.
    Possible,
    /// Little else fits what was seen.
    Likely,
    /// It was seen itself.
    Certain,
}

impl Confidence {
    /// The word that stands for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }

    /// One degree less.
    fn lowered(self) -> Self {
        match self {
            Self::Certain => Self::Likely,
            Self::Likely | Self::Possible => Self::Possible,
        }
    }
}

/// On whose side a cause lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// The deployment's: everybody meets it.
    Deployment,
    /// That of the person who looks: others may meet with nothing of it, so it is never counted against the deployment.
    Person,
}

/// What is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The code of the finding that shows it best.
    pub code: Code,
    /// What it is, in one sentence.
    pub sentence: String,
}

/// A cause, and what follows from it. Findings are given by their place in the report's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The stable name of the rule that found it.
    pub rule: &'static str,
    /// On whose side it lies.
    pub whose: Whose,
    /// What is broken.
    pub cause: Cause,
    /// What that does to people: one sentence that somebody understands who does not know what ICE is.
    pub headline: String,
    /// Why, in one or two sentences more.
    pub detail: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// What speaks for it; the finding that shows it best comes first.
    #[serde(rename = "for")]
    pub supports: Vec<usize>,
    /// What speaks against it.
    #[serde(rename = "against")]
    pub contradicts: Vec<usize>,
    /// What would not be so without it. No finding is explained twice.
    pub explains: Vec<usize>,
    /// What to do.
    pub remedy: Option<Remedy>,
    /// Whether the person knows of it and wants it not to count.
    pub suppressed: bool,
}

/// What the findings amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosed {
    /// Every independent cause, in the order of the path.
    pub diagnoses: Vec<Diagnosis>,
    /// The first of them, or that there is none.
    pub verdict: Verdict,
}

/// What is to be said of `findings` about files that say what is declared.
pub(crate) fn declared(subject: Subject, target: &str, findings: &[Finding]) -> Diagnosed {
    let seen = Seen { domain: target, findings, end: End::Complete };
    let diagnoses = rule::apply(&seen, &[declared::RULES]);
    let verdict = declared::conclude(subject, &seen, &diagnoses);
    Diagnosed { diagnoses, verdict }
}

/// What is to be said of `findings` about `domain`, from a run that ended so.
pub fn diagnose(domain: &str, findings: &[Finding], end: End) -> Diagnosed {
    let seen = Seen { domain, findings, end };
    let diagnoses = rule::apply(&seen, RULES);
    let verdict = verdict::conclude(&seen, &diagnoses);
    Diagnosed { diagnoses, verdict }
}
