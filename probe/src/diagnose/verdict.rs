//! The one thing to be said of a run: its first cause, or that there is none, or what to run to find out.

use serde::{Deserialize, Serialize};

use super::{
    Diagnosis, End, Whose,
    seen::{Direct, Seen, Turn},
};
use crate::{
    codes::Code,
    finding::{Finding, Remedy, Status},
};

/// What the findings amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Media flows on at least one path, and nothing that people need is broken.
    Good,
    /// Something that people need is broken.
    Broken,
    /// What was examined does not suffice to say.
    Inconclusive,
}

impl Outcome {
    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "GOOD",
            Self::Broken => "BROKEN",
            Self::Inconclusive => "UNDECIDED",
        }
    }
}

/// The first cause, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What the findings amount to.
    pub outcome: Outcome,
    /// One sentence that somebody understands who does not know what ICE is.
    pub headline: String,
    /// Why, in one or two sentences more.
    pub detail: String,
    /// The codes that it rests on or explains, its own cause's first.
    pub explains: Vec<Code>,
    /// What to do.
    pub remedy: Option<Remedy>,
}

/// As many other faults as a person reads through; the report has them all.
const MOST_OTHERS: usize = 4;

/// The verdict over what was seen, with these causes in it.
pub(super) fn conclude(seen: &Seen<'_>, diagnoses: &[Diagnosis]) -> Verdict {
    match first(diagnoses, Whose::Deployment) {
        Some(first) => broken(seen, first),
        // What hides failures may hide others as well: then nothing is called good.
        None => hiding(seen, diagnoses)
            .map(|hiding| not_from_here(seen, hiding))
            .or_else(|| good(seen))
            .or_else(|| first(diagnoses, Whose::Person).map(|first| not_from_here(seen, first)))
            .or_else(|| cut_short(seen))
            .or_else(|| in_part(seen))
            .unwrap_or_else(|| undecided(seen)),
    }
}

/// The diagnosis that the verdict is about, if it is about one.
pub(crate) fn told<'d>(diagnoses: &'d [Diagnosis], verdict: &Verdict) -> Option<&'d Diagnosis> {
    let whose = match verdict.outcome {
        Outcome::Good => return None,
        Outcome::Broken => Whose::Deployment,
        Outcome::Inconclusive => Whose::Person,
    };
    diagnoses.iter().find(|d| d.whose == whose && d.headline == verdict.headline)
}

/// What lies on the side of the person who looks, and stands before something that fails.
fn hiding<'d>(seen: &Seen<'_>, diagnoses: &'d [Diagnosis]) -> Option<&'d Diagnosis> {
    let is_hidden = |f: &Finding| {
        f.status == Status::Fail || (f.status == Status::Error && super::seen::is_certificate(f.code))
    };
    let fails = |at: &usize| seen.findings.get(*at).is_some_and(is_hidden);
    diagnoses.iter().find(|d| d.whose == Whose::Person && !d.suppressed && d.explains.iter().any(fails))
}

/// The first of this side that counts, or else the first of those that the person knows of.
fn first(diagnoses: &[Diagnosis], whose: Whose) -> Option<&Diagnosis> {
    let all = || diagnoses.iter().filter(|d| d.whose == whose);
    all().find(|d| !d.suppressed).or_else(|| all().next())
}

/// A verdict that says what keeps this machine from seeing the deployment.
fn not_from_here(seen: &Seen<'_>, first: &Diagnosis) -> Verdict {
    let remedy = first.remedy.clone();
    Verdict {
        outcome: Outcome::Inconclusive,
        headline: first.headline.clone(),
        detail: first.detail.clone(),
        explains: led_by(first.cause.code, seen.symptoms()),
        remedy: Some(remedy.unwrap_or_else(|| everything(seen))),
    }
}

/// A verdict that says what its first diagnosis says, and names what else fails.
fn broken(seen: &Seen<'_>, first: &Diagnosis) -> Verdict {
    Verdict {
        outcome: Outcome::Broken,
        headline: first.headline.clone(),
        detail: format!("{}{}", first.detail, others(seen, first.cause.code)),
        explains: led_by(first.cause.code, seen.symptoms()),
        remedy: first.remedy.clone(),
    }
}

/// A sentence on the failures that have another code than the cause, each code once, or nothing.
fn others(seen: &Seen<'_>, cause: Code) -> String {
    let mut named = vec![cause];
    let mut others = Vec::new();
    for finding in seen.findings.iter().filter(|f| f.status == Status::Fail) {
        if !named.contains(&finding.code) {
            named.push(finding.code);
            others.push(format!("{} ({})", finding.summary, finding.code));
        }
    }
    let more = others.len().saturating_sub(MOST_OTHERS);
    others.truncate(MOST_OTHERS);
    match (others.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(" Failing as well: {}.", others.join("; ")),
        (false, more) => format!(" Failing as well: {}; and {more} more.", others.join("; ")),
    }
}

/// `first`, and then the others.
pub(super) fn led_by(first: Code, mut codes: Vec<Code>) -> Vec<Code> {
    codes.retain(|code| *code != first);
    codes.insert(0, first);
    codes
}

fn good(seen: &Seen<'_>) -> Option<Verdict> {
    let (mut detail, remedy) = match (seen.direct(), seen.turn()) {
        (Direct::Works, Turn::Works) => {
            let ways = listed(&[&seen.ways()[..], &["through TURN"]].concat());
            (format!("Media reaches the media server {ways}."), None)
        }
        (Direct::Works, _) => (
            format!(
                "Media reaches the media server {}. TURN, which people behind strict firewalls need, was not proven.",
                listed(&seen.ways())
            ),
            seen.lacks_credentials().then(|| seen.name_a_room()),
        ),
        (Direct::Dead, Turn::Works) => (
            "Media reaches the media server through TURN, which is enough. It cannot go directly, which costs some delay."
                .to_owned(),
            None,
        ),
        (Direct::Unknown, Turn::Works) if seen.lacks_udp() => (
            "Media reaches the media server through TURN, which is enough. From here it cannot go directly: this network lets no UDP out."
                .to_owned(),
            None,
        ),
        (Direct::Unknown, Turn::Works) => (
            "Media reaches the media server through TURN, which is enough. The direct path was not examined.".to_owned(),
            None,
        ),
        _ => return None,
    };
    if seen.direct() == Direct::Works && !seen.works_over_udp() && seen.has(Code::GatewayUdp, Status::Warn) {
        detail += if seen.lacks_udp() {
            " From here it takes TCP: this network lets no UDP out."
        } else {
            " The gateway's UDP port, by which media should go, does not answer here: it is closed, or this network lets no UDP out."
        };
    }
    if seen.turn() == Turn::Works && !seen.has(Code::RoomJoined, Status::Pass) {
        detail += " TURN took the credentials that were given; those that rooms give were not tried.";
    }
    Some(Verdict {
        outcome: Outcome::Good,
        headline: format!("People in rooms of {} can hear each other.", seen.domain),
        detail,
        explains: seen.symptoms(),
        remedy,
    })
}

/// `a`, `a and b`, or `a, b and c`.
fn listed(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => words.concat(),
    }
}

/// The run ended before it was through, so what it did not find means nothing.
fn cut_short(seen: &Seen<'_>) -> Option<Verdict> {
    let (by, advice) = match seen.end {
        End::Complete => return None,
        End::TimeLimit => {
            ("the time limit ended the check", "Run it again with more time, such as --timeout 3m")
        }
        End::Interrupted | End::Terminated => (
            "the check was interrupted",
            "Run it again and let it come to its end, which takes a minute at most",
        ),
    };
    Some(Verdict {
        outcome: Outcome::Inconclusive,
        headline: format!("Whether people hear each other is not known: {by}."),
        detail: "No path of the media had been followed to its end by then.".to_owned(),
        explains: seen.symptoms(),
        remedy: Some(Remedy { text: advice.to_owned(), commands: Vec::new() }),
    })
}

/// The person wanted only part of it to be examined, and that is in order.
fn in_part(seen: &Seen<'_>) -> Option<Verdict> {
    let is_left_out_whole = |check| seen.findings.iter().all(|f| f.check != check || f.left_out.is_some());
    let mut left_out: Vec<_> = seen
        .findings
        .iter()
        .filter(|f| f.left_out.is_some())
        .map(|f| if is_left_out_whole(f.check) { f.check.to_owned() } else { f.code.to_string() })
        .collect();
    left_out.dedup();
    if left_out.is_empty() || seen.findings.iter().any(|f| f.status == Status::Error) {
        return None;
    }
    Some(Verdict {
        outcome: Outcome::Inconclusive,
        headline: "What was examined is in order; whether people hear each other was not part of it."
            .to_owned(),
        detail: format!("Left out: {}.", left_out.join(", ")),
        explains: seen.symptoms(),
        remedy: Some(everything(seen)),
    })
}

/// Nothing is broken that we saw, and no path of the media was seen to work.
fn undecided(seen: &Seen<'_>) -> Verdict {
    let unable = seen.findings.iter().find(|f| f.status == Status::Error);
    let (headline, detail, remedy) = match (seen.direct(), unable) {
        (_, Some(finding)) => (
            "Whether people hear each other could not be decided from here.",
            format!("{}: {}.", finding.code, finding.summary),
            finding.remedy.clone().unwrap_or_else(|| again_elsewhere(seen, finding)),
        ),
        (Direct::Dead, None) if seen.lacks_credentials() => (
            "Voice cannot go directly; whether TURN carries it was not tried.",
            "That is how Hubs on AKS is meant to be, so all depends on TURN. A room gives the credentials to try it."
                .to_owned(),
            seen.name_a_room(),
        ),
        (_, None) => (
            "Whether people hear each other could not be decided.",
            "No path of the media was followed to its end.".to_owned(),
            if seen.lacks_credentials() { seen.name_a_room() } else { everything(seen) },
        ),
    };
    let explains = match unable {
        Some(finding) => led_by(finding.code, seen.symptoms()),
        None => seen.symptoms(),
    };
    Verdict {
        outcome: Outcome::Inconclusive,
        headline: headline.to_owned(),
        detail,
        explains,
        remedy: Some(remedy),
    }
}

/// What kept us from telling, and says no way out of it, may be this machine's network.
fn again_elsewhere(seen: &Seen<'_>, unable: &Finding) -> Remedy {
    Remedy {
        text: "Read what kept the check from telling, and run it again, if need be from another network:"
            .to_owned(),
        commands: vec![
            format!("hubs-probe explain {}", unable.code),
            format!("hubs-probe check {}", seen.domain),
        ],
    }
}

fn everything(seen: &Seen<'_>) -> Remedy {
    Remedy {
        text: "Run every check, with a room for the credentials of TURN:".to_owned(),
        commands: vec![format!("hubs-probe check {0} --room https://{0}/ROOM", seen.domain)],
    }
}
