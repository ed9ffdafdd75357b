//! From findings to one verdict. Pure: the same findings, the same verdict.
//!
//! The rules stand in the order of the path, because a fault early on it explains what fails behind it.

use serde::Serialize;

use crate::{
    codes::Code,
    finding::{Finding, Remedy, Status},
    target::Name,
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

/// The one cause, or that there is none.
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

/// The verdict over `findings` about `domain`, from a run that ended so.
pub fn diagnose(domain: &str, findings: &[Finding], end: End) -> Verdict {
    let seen = Seen { domain, findings, end };
    RULES.iter().find_map(|rule| rule(&seen)).unwrap_or_else(|| undecided(&seen))
}

/// As many other faults as a person reads through; the report has them all.
const MOST_OTHERS: usize = 4;

type Rule = fn(&Seen<'_>) -> Option<Verdict>;

const RULES: &[Rule] = &[
    names_missing,
    entrance_closed,
    web_dead,
    room_closed,
    dialog_dead,
    turn_broken,
    else_broken,
    good,
    cut_short,
];

fn names_missing(seen: &Seen<'_>) -> Option<Verdict> {
    let missing: Vec<_> = seen.with(Code::NameResolves, Status::Fail).collect();
    // Without cors. people still meet and hear each other.
    let cause = *missing.iter().find(|f| f.target.as_deref().is_none_or(|t| !t.starts_with("cors.")))?;
    let headline = if missing.len() == Name::ALL.len() {
        format!("None of the names of {} has an address, so browsers cannot find it.", seen.domain)
    } else {
        let name = cause.target.as_deref().unwrap_or(seen.domain);
        format!("{name} has no address, so browsers cannot find it.")
    };
    Some(seen.broken_by(cause, headline))
}

/// What stands between a browser and a room: the certificates of pages and signalling, and the ports behind them.
fn entrance_closed(seen: &Seen<'_>) -> Option<Verdict> {
    let pages = [format!("https://{}", seen.domain), format!("https://assets.{}", seen.domain)];
    let is_entrance = |target: &str| target.starts_with("wss:") || pages.iter().any(|p| p == target);
    let cause = seen.certificate_faults(is_entrance).next()?;
    let place = cause.target.as_deref().unwrap_or(seen.domain);
    let headline = match cause.code {
        Code::TlsAnswers => {
            format!("Nobody gets into a room: nothing that a browser understands answers at {place}.")
        }
        // Some browsers know the missing certificate from elsewhere.
        Code::CertificateChain => {
            format!("Not everybody gets into a room: browsers do not know who vouches for {place}.")
        }
        _ => format!("Nobody gets into a room: browsers refuse the certificate of {place}."),
    };
    Some(seen.broken_by(cause, headline))
}

fn web_dead(seen: &Seen<'_>) -> Option<Verdict> {
    let (cause, why) = [
        (Code::HubsHealthy, "Hubs itself does not answer as it should"),
        (Code::HubsName, "the domain does not lead to Hubs"),
        (Code::HubsMeta, "Reticulum is set up for another name"),
    ]
    .into_iter()
    .find_map(|(code, why)| Some((seen.failed(code)?, why)))?;
    Some(seen.broken_by(cause, format!("The pages of {} do not work: {why}.", seen.domain)))
}

fn room_closed(seen: &Seen<'_>) -> Option<Verdict> {
    let cause = seen.failed(Code::RoomJoined)?;
    Some(
        seen.broken_by(
            cause,
            "Nobody gets into the room: Reticulum does not let anybody join it.".to_owned(),
        ),
    )
}

fn dialog_dead(seen: &Seen<'_>) -> Option<Verdict> {
    let (cause, why) = [
        (Code::SignallingOpens, "the media server, dialog, cannot be reached"),
        (Code::TransportCreated, "the media server, dialog, does not do its work"),
        (Code::CandidatesUsable, "the media server, dialog, tells browsers no address to send voice to"),
    ]
    .into_iter()
    .find_map(|(code, why)| Some((seen.failed(code)?, why)))?;
    Some(seen.broken_by(cause, format!("Nobody can be heard: {why}.")))
}

/// TURN is broken. What that means depends on whether media can also go directly.
fn turn_broken(seen: &Seen<'_>) -> Option<Verdict> {
    let Turn::Broken { cause, why } = seen.turn() else { return None };
    let headline = match seen.direct() {
        Direct::Dead => format!("Nobody can be heard: {why}, and voice has no other way."),
        Direct::Works => {
            format!("Voice works for most people, but for nobody behind a strict firewall: {why}.")
        }
        Direct::Unknown => format!("Nobody behind a strict firewall can be heard: {why}."),
    };
    let mut verdict = seen.broken_by(cause, headline);
    if seen.direct() == Direct::Unknown {
        verdict.detail += " Whether voice can go directly was not examined.";
    }
    if seen.lacks_credentials() {
        verdict.detail +=
            " The rest of the way through TURN was not tried: that takes a room's credentials (--room).";
    }
    Some(verdict)
}

/// Something is broken that does not silence rooms.
fn else_broken(seen: &Seen<'_>) -> Option<Verdict> {
    let cause = seen.findings.iter().find(|f| f.status == Status::Fail)?;
    let heard = match (seen.direct(), seen.turn()) {
        (Direct::Works, _) | (_, Turn::Works) => "Voice works, but something else is broken",
        _ => "Something is broken, and whether voice works could not be decided",
    };
    Some(seen.broken_by(cause, format!("{heard}: {}.", cause.summary)))
}

fn good(seen: &Seen<'_>) -> Option<Verdict> {
    let (detail, remedy) = match (seen.direct(), seen.turn()) {
        (Direct::Works, Turn::Works) => ("Media reaches the media server directly and through TURN.", None),
        (Direct::Works, _) => (
            "Media reaches the media server directly. TURN, which people behind strict firewalls need, was not proven.",
            seen.lacks_credentials().then(|| seen.name_a_room()),
        ),
        (Direct::Dead, Turn::Works) => (
            "Media reaches the media server through TURN, which is enough. It cannot go directly, which costs some delay.",
            None,
        ),
        (Direct::Unknown, Turn::Works) => (
            "Media reaches the media server through TURN, which is enough. The direct path was not examined.",
            None,
        ),
        _ => return None,
    };
    let mut detail = detail.to_owned();
    if matches!(seen.turn(), Turn::Works) && seen.with(Code::RoomJoined, Status::Pass).next().is_none() {
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

/// No rule holds, so nothing is broken that we saw, and no path of the media was seen to work.
fn undecided(seen: &Seen<'_>) -> Verdict {
    let unable = seen.findings.iter().find(|f| f.status == Status::Error);
    let (headline, detail, remedy) = match (seen.direct(), unable) {
        (_, Some(finding)) => (
            "Whether people hear each other could not be decided from here.",
            format!("{}: {}.", finding.code, finding.summary),
            finding.remedy.clone(),
        ),
        (Direct::Dead, None) if seen.lacks_credentials() => (
            "Voice cannot go directly; whether TURN carries it was not tried.",
            "That is how Hubs on AKS is meant to be, so all depends on TURN. A room gives the credentials to try it."
                .to_owned(),
            Some(seen.name_a_room()),
        ),
        (_, None) => (
            "Whether people hear each other could not be decided.",
            "No path of the media was followed to its end.".to_owned(),
            seen.lacks_credentials().then(|| seen.name_a_room()),
        ),
    };
    let mut explains = seen.symptoms();
    if let Some(finding) = unable {
        explains.retain(|code| *code != finding.code);
        explains.insert(0, finding.code);
    }
    Verdict { outcome: Outcome::Inconclusive, headline: headline.to_owned(), detail, explains, remedy }
}

/// Whether media reaches dialog without TURN.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direct {
    Works,
    Dead,
    Unknown,
}

/// Whether media reaches dialog through TURN as a browser uses it.
enum Turn<'a> {
    Works,
    /// By which finding, earliest on the way, and what to say of it.
    Broken {
        cause: &'a Finding,
        why: &'static str,
    },
    Untried,
}

/// Findings, asked by what they mean.
struct Seen<'a> {
    domain: &'a str,
    findings: &'a [Finding],
    end: End,
}

impl<'a> Seen<'a> {
    fn direct(&self) -> Direct {
        let has = |status| self.with(Code::DirectPath, status).next().is_some();
        match (has(Status::Pass), has(Status::Warn) || has(Status::Fail)) {
            (true, _) => Direct::Works,
            (false, true) => Direct::Dead,
            (false, false) => Direct::Unknown,
        }
    }

    fn turn(&self) -> Turn<'a> {
        if self.is_told_of_turn() && self.relayed_as_in_a_browser() {
            return Turn::Works;
        }
        match self.turn_fault() {
            Some((cause, why)) => Turn::Broken { cause, why },
            None => Turn::Untried,
        }
    }

    /// A room that names no TURN server is a warning: its browsers go without, whatever given credentials prove.
    fn is_told_of_turn(&self) -> bool {
        self.with(Code::RoomJoined, Status::Warn).next().is_none()
    }

    /// The checks of TURN go on behind a certificate that a browser refuses, so what they reach counts only together with
    /// a certificate that was accepted at the same place.
    fn relayed_as_in_a_browser(&self) -> bool {
        let accepted = |f: &&Finding| {
            is_certificate(f.code)
                && matches!(f.status, Status::Pass | Status::Warn)
                && f.target.as_deref().is_some_and(is_turn)
        };
        let refused = self.certificate_faults(is_turn).next().is_some();
        self.with(Code::RelayedDtls, Status::Pass).any(|relayed| {
            self.findings.iter().filter(accepted).any(|f| !refused || f.target == relayed.target)
        })
    }

    /// The first thing on the way through TURN that is broken: what fails behind it may fail because of it.
    fn turn_fault(&self) -> Option<(&'a Finding, &'static str)> {
        if let Some(room) = self.with(Code::RoomJoined, Status::Warn).next() {
            return Some((room, "browsers are not told of any TURN server"));
        }
        if let Some(finding) = self.certificate_faults(is_turn).next() {
            return Some(match finding.code {
                Code::TlsAnswers => (finding, "nothing answers where browsers look for the TURN server"),
                _ => (finding, "browsers refuse the certificate of the TURN server"),
            });
        }
        let turned_away = match self.with(Code::RoomJoined, Status::Pass).next() {
            Some(_) => "the TURN server turns everybody away",
            None => "the TURN server does not take the given credentials",
        };
        [
            (Code::TurnChallenges, "what answers in the TURN server's place is none"),
            (Code::TurnAllocates, turned_away),
            (Code::TurnPermits, "the TURN server does not let anybody reach the media server"),
            (Code::RelayedPath, "what goes through the TURN server does not reach the media server"),
            (Code::RelayedDtls, "the connection through the TURN server breaks before the first sound"),
        ]
        .into_iter()
        .find_map(|(code, why)| Some((self.failed(code)?, why)))
    }

    /// Failures of the certificate, or of the port that should show one, where `place` holds of the URL.
    fn certificate_faults(&self, place: impl Fn(&str) -> bool) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(move |f| {
            f.status == Status::Fail && is_certificate(f.code) && f.target.as_deref().is_some_and(&place)
        })
    }

    /// Whether the way through TURN ends where credentials would be needed, and no room was named to give them. A run that was
    /// cut short may have had a room to join.
    fn lacks_credentials(&self) -> bool {
        let tried = self.findings.iter().any(|f| f.code == Code::TurnAllocates && f.status != Status::Skip);
        self.end == End::Complete && !tried && self.with(Code::RoomJoined, Status::Skip).next().is_some()
    }

    fn name_a_room(&self) -> Remedy {
        Remedy {
            text: "Open a room in a browser and give its URL, so that TURN can be tried with the room's credentials:"
                .to_owned(),
            commands: vec![format!("hubs-probe check {0} --room https://{0}/ROOM", self.domain)],
        }
    }

    fn with(&self, code: Code, status: Status) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(move |f| f.code == code && f.status == status)
    }

    fn failed(&self, code: Code) -> Option<&'a Finding> {
        self.with(code, Status::Fail).next()
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

    /// A verdict that says of its cause what the finding says of itself, and names what else fails.
    fn broken_by(&self, cause: &Finding, headline: String) -> Verdict {
        let mut explains = self.symptoms();
        explains.retain(|code| *code != cause.code);
        explains.insert(0, cause.code);
        Verdict {
            outcome: Outcome::Broken,
            headline,
            detail: format!(
                "Because {}.{}",
                cause.cause.as_ref().unwrap_or(&cause.summary),
                self.others(cause)
            ),
            explains,
            remedy: cause.remedy.clone(),
        }
    }

    /// A sentence on the failures that have another code than `cause`, each code once, or nothing.
    fn others(&self, cause: &Finding) -> String {
        let mut named = vec![cause.code];
        let mut others = Vec::new();
        for finding in self.findings.iter().filter(|f| f.status == Status::Fail) {
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
}

fn is_certificate(code: Code) -> bool {
    (Code::CertificateValid..=Code::TlsAnswers).contains(&code)
}

/// Whether the URL is TURN's.
fn is_turn(url: &str) -> bool {
    url.starts_with("turns:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: &str = "turns:stream.example.org:5349";

    fn pass(code: Code) -> Finding {
        Finding::pass(code, "works")
    }

    fn fail(code: Code) -> Finding {
        Finding::fail(code, "is broken").because("of something").fix("Mend it:", ["mend"])
    }

    fn direct(status: Status) -> Finding {
        Finding::new(Code::DirectPath, status, "direct")
    }

    /// What a run over a good deployment finds, as far as `without` leaves it, and `with` in place of it.
    fn run(with: impl IntoIterator<Item = Finding>) -> Vec<Finding> {
        let mut findings = vec![
            pass(Code::NameResolves).at("example.org"),
            pass(Code::RoomJoined),
            pass(Code::CertificateValid).at("https://example.org"),
            pass(Code::CertificateValid).at("wss://stream.example.org:4443"),
            pass(Code::CertificateValid).at(TURN),
            pass(Code::HubsHealthy),
            pass(Code::SignallingOpens),
            pass(Code::TransportCreated),
            pass(Code::CandidatesUsable),
            direct(Status::Warn),
            pass(Code::TurnChallenges).at(TURN),
            pass(Code::TurnAllocates).at(TURN),
            pass(Code::TurnPermits).at(TURN),
            pass(Code::RelayedPath).at(TURN),
            pass(Code::RelayedDtls).at(TURN),
        ];
        for finding in with {
            let same = |f: &Finding| {
                let both_turn = f.target.as_deref() == Some(TURN) && finding.target.as_deref() == Some(TURN);
                f.code == finding.code || is_certificate(f.code) && is_certificate(finding.code) && both_turn
            };
            findings.retain(|f| !same(f));
            findings.push(finding);
        }
        findings
    }

    /// What of TURN fails when `first` does: everything behind it is not tried.
    fn turn_broken_at(first: Code) -> Vec<Finding> {
        let chain = [
            Code::TurnChallenges,
            Code::TurnAllocates,
            Code::TurnPermits,
            Code::RelayedPath,
            Code::RelayedDtls,
        ];
        let behind = chain.into_iter().filter(move |code| *code > first);
        let mut findings = vec![fail(first).at(TURN)];
        findings.extend(behind.map(|code| Finding::skip(code, "not tried")));
        findings
    }

    fn verdict(with: impl IntoIterator<Item = Finding>) -> Verdict {
        diagnose("example.org", &run(with), End::Complete)
    }

    #[track_caller]
    fn assert_broken(with: impl IntoIterator<Item = Finding>, cause: Code, headline: &str) {
        let verdict = verdict(with);
        assert_eq!(
            (verdict.outcome, verdict.explains.first()),
            (Outcome::Broken, Some(&cause)),
            "{verdict:#?}"
        );
        assert!(verdict.headline.contains(headline), "{verdict:#?}");
        assert!(verdict.remedy.is_some(), "{verdict:#?}");
    }

    #[test]
    fn media_through_turn_is_enough() {
        let verdict = verdict([]);
        assert_eq!((verdict.outcome, verdict.remedy), (Outcome::Good, None));
        assert!(verdict.detail.contains("which is enough"), "{}", verdict.detail);
    }

    #[test]
    fn each_cause_that_hubs_ships_is_named() {
        for (code, headline) in [
            (
                Code::CertificateOfCoturn,
                "Nobody can be heard: browsers refuse the certificate of the TURN server",
            ),
            (Code::TurnAllocates, "Nobody can be heard: the TURN server turns everybody away"),
            (
                Code::TurnPermits,
                "Nobody can be heard: the TURN server does not let anybody reach the media server",
            ),
            (
                Code::RelayedPath,
                "Nobody can be heard: what goes through the TURN server does not reach the media server",
            ),
        ] {
            assert_broken(turn_broken_at(code), code, headline);
        }
    }

    #[test]
    fn of_several_causes_the_earliest_is_named_and_the_others_are_listed() {
        let both = || {
            turn_broken_at(Code::TurnAllocates).into_iter().chain([fail(Code::CertificateOfCoturn).at(TURN)])
        };
        assert_broken(both(), Code::CertificateOfCoturn, "refuse the certificate");
        let verdict = verdict(both());
        assert!(verdict.detail.contains("Failing as well: is broken (HP0602)."), "{}", verdict.detail);
        assert_eq!(verdict.explains, [Code::CertificateOfCoturn, Code::DirectPath, Code::TurnAllocates]);
    }

    #[test]
    fn what_comes_later_on_the_way_through_turn_is_named_too() {
        assert_broken(
            [fail(Code::TlsAnswers).at(TURN)],
            Code::TlsAnswers,
            "nothing answers where browsers look",
        );
        assert_broken(
            turn_broken_at(Code::TurnChallenges),
            Code::TurnChallenges,
            "in the TURN server's place",
        );
        assert_broken(turn_broken_at(Code::RelayedDtls), Code::RelayedDtls, "before the first sound");
        let no_turn = Finding::warn(Code::RoomJoined, "no TURN").fix("Mend it:", ["mend"]);
        let untried = turn_broken_at(Code::TurnChallenges).into_iter().skip(1);
        let untried = untried.chain([Finding::skip(Code::TurnChallenges, "not tried")]);
        assert_broken(untried.chain([no_turn]), Code::RoomJoined, "not told of any TURN server");
    }

    #[test]
    fn credentials_from_the_command_line_that_are_refused_say_nothing_of_everybody() {
        let findings = || {
            let no_room = Finding::skip(Code::RoomJoined, "no room");
            turn_broken_at(Code::TurnAllocates).into_iter().chain([no_room])
        };
        assert_broken(findings(), Code::TurnAllocates, "does not take the given credentials");
        assert!(!verdict(findings()).detail.contains("--room"), "they were tried");
    }

    #[test]
    fn with_a_direct_path_a_broken_turn_silences_some_only() {
        for code in [Code::CertificateOfCoturn, Code::TlsAnswers, Code::TurnAllocates, Code::RelayedPath] {
            let findings = turn_broken_at(code).into_iter().chain([direct(Status::Pass)]);
            assert_broken(
                findings,
                code,
                "Voice works for most people, but for nobody behind a strict firewall",
            );
        }
    }

    #[test]
    fn nobody_is_said_to_be_silent_while_the_direct_path_is_unknown() {
        for status in [Status::Skip, Status::Error] {
            let findings = || turn_broken_at(Code::TurnAllocates).into_iter().chain([direct(status)]);
            assert_broken(findings(), Code::TurnAllocates, "Nobody behind a strict firewall");
            assert!(verdict(findings()).detail.contains("was not examined"));
        }
    }

    #[test]
    fn what_was_relayed_behind_a_certificate_that_browsers_refuse_is_never_good() {
        for status in [Status::Warn, Status::Pass, Status::Skip, Status::Error] {
            let refused = fail(Code::CertificateSelfSigned).at(TURN);
            let verdict = verdict([refused, direct(status)]);
            assert_eq!(verdict.outcome, Outcome::Broken, "{verdict:#?}");
        }
        // Nor is it while nobody knows what browsers make of the certificate.
        let unknown = verdict([Finding::error(Code::CertificateValid, "not finished within 15 s").at(TURN)]);
        assert_eq!(unknown.outcome, Outcome::Inconclusive, "{unknown:#?}");
    }

    #[test]
    fn one_of_two_turn_servers_that_works_is_enough() {
        let other = "turns:stream.example.org:443";
        let mut findings = run([]);
        findings.push(fail(Code::CertificateSelfSigned).at(other));
        let verdict = diagnose("example.org", &findings, End::Complete);
        assert!(verdict.headline.starts_with("Voice works, but something else is broken"), "{verdict:#?}");
        // Not so if what was relayed went through the one that browsers refuse.
        let relayed = findings.iter_mut().find(|f| f.code == Code::RelayedDtls).unwrap();
        relayed.target = Some(other.to_owned());
        let verdict = diagnose("example.org", &findings, End::Complete);
        assert!(verdict.headline.starts_with("Nobody can be heard"), "{verdict:#?}");
    }

    #[test]
    fn without_credentials_nothing_is_decided_and_the_next_step_is_named() {
        let untried = || {
            let skipped = [Code::RoomJoined, Code::TurnChallenges, Code::TurnAllocates, Code::TurnPermits];
            let skipped = skipped.into_iter().chain([Code::RelayedPath, Code::RelayedDtls]);
            skipped.map(|code| Finding::skip(code, "not tried"))
        };
        let next = "hubs-probe check example.org --room https://example.org/ROOM";
        let undecided = verdict(untried());
        assert_eq!(undecided.outcome, Outcome::Inconclusive, "{undecided:#?}");
        assert_eq!(undecided.remedy.unwrap().commands, [next]);
        let good = verdict(untried().chain([direct(Status::Pass)]));
        assert_eq!(good.outcome, Outcome::Good, "{good:#?}");
        assert_eq!(good.remedy.unwrap().commands, [next]);
    }

    #[test]
    fn a_room_that_says_no_leaves_it_undecided_with_the_reason_and_the_way_on() {
        let skipped = [Code::TurnAllocates, Code::RelayedPath, Code::RelayedDtls];
        let skipped = skipped.map(|code| Finding::skip(code, "not tried")).into_iter();
        let refused =
            Finding::error(Code::RoomJoined, "there is no such room").fix("Give another:", ["again"]);
        let verdict = verdict(skipped.chain([refused]));
        assert_eq!((verdict.outcome, verdict.explains[0]), (Outcome::Inconclusive, Code::RoomJoined));
        assert!(verdict.detail.contains("there is no such room"));
        assert_eq!(verdict.remedy.unwrap().commands, ["again"]);
    }

    #[test]
    fn what_given_credentials_prove_is_nothing_to_browsers_that_are_not_told_of_turn() {
        let untold = Finding::warn(Code::RoomJoined, "no TURN").fix("Mend it:", ["mend"]);
        assert_broken([untold], Code::RoomJoined, "Nobody can be heard: browsers are not told of any TURN");
    }

    #[test]
    fn that_only_given_credentials_were_tried_is_said() {
        let verdict = verdict([Finding::skip(Code::RoomJoined, "no room was named")]);
        assert_eq!(verdict.outcome, Outcome::Good);
        assert!(verdict.detail.contains("those that rooms give were not tried"), "{}", verdict.detail);
    }

    #[test]
    fn a_run_that_was_cut_short_says_so_and_asks_for_no_room() {
        let unfinished = || {
            let skipped =
                [Code::TurnAllocates, Code::RelayedDtls].map(|code| Finding::skip(code, "interrupted"));
            run(skipped.into_iter().chain([Finding::error(Code::RoomJoined, "interrupted")]))
        };
        for (end, why) in [
            (End::Interrupted, "the check was interrupted"),
            (End::Terminated, "the check was interrupted"),
            (End::TimeLimit, "the time limit ended the check"),
        ] {
            let verdict = diagnose("example.org", &unfinished(), end);
            assert_eq!(verdict.outcome, Outcome::Inconclusive);
            assert!(verdict.headline.contains(why), "{verdict:#?}");
            assert!(verdict.remedy.unwrap().text.starts_with("Run it again"));
        }
        let refused =
            [fail(Code::CertificateOfCoturn).at(TURN), Finding::skip(Code::RoomJoined, "interrupted")];
        let refused =
            run(refused.into_iter().chain(turn_broken_at(Code::TurnChallenges).into_iter().skip(1)));
        let verdict = diagnose("example.org", &refused, End::Interrupted);
        assert!(!verdict.detail.contains("--room"), "{verdict:#?}");
    }

    #[test]
    fn what_keeps_people_out_of_rooms_comes_before_what_silences_them() {
        let silent = || turn_broken_at(Code::CertificateOfCoturn);
        for (cause, headline) in [
            (fail(Code::NameResolves).at("stream.example.org"), "stream.example.org has no address"),
            (
                fail(Code::CertificateDates).at("https://example.org"),
                "refuse the certificate of https://example.org",
            ),
            (
                fail(Code::CertificateDates).at("wss://stream.example.org:4443"),
                "of wss://stream.example.org:4443",
            ),
            (
                fail(Code::TlsAnswers).at("wss://stream.example.org:4443"),
                "answers at wss://stream.example.org:4443",
            ),
            (fail(Code::HubsHealthy), "Hubs itself does not answer"),
            (fail(Code::HubsMeta), "set up for another name"),
            (fail(Code::HubsName), "does not lead to Hubs"),
            (fail(Code::RoomJoined), "does not let anybody join"),
            (fail(Code::SignallingOpens), "cannot be reached"),
            (fail(Code::TransportCreated), "does not do its work"),
            (fail(Code::CandidatesUsable), "no address to send voice to"),
        ] {
            let code = cause.code;
            assert_broken(silent().into_iter().chain([cause]), code, headline);
        }
    }

    #[test]
    fn what_silences_nobody_is_still_broken() {
        let cors = fail(Code::CertificateDates).at("https://cors.example.org");
        for (cause, code) in [
            (cors.clone(), Code::CertificateDates),
            (fail(Code::NameResolves).at("cors.example.org"), Code::NameResolves),
            (fail(Code::CandidateText), Code::CandidateText),
        ] {
            assert_broken([cause], code, "Voice works, but something else is broken");
        }
        let unknown = [Finding::skip(Code::RelayedDtls, "not tried"), cors];
        assert_broken(unknown, Code::CertificateDates, "whether voice works could not be decided");
    }

    #[test]
    fn a_machine_without_network_decides_nothing() {
        let findings = [
            Finding::error(Code::NameResolves, "the resolver gives no answer"),
            Finding::skip(Code::SignallingOpens, "needs the addresses"),
        ];
        let verdict = diagnose("example.org", &findings, End::Complete);
        assert_eq!((verdict.outcome, verdict.explains[0]), (Outcome::Inconclusive, Code::NameResolves));
    }
}
