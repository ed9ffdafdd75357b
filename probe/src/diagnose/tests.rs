//! What is said of the faults that deployments have, one and several at a time.

mod entrance;

use std::collections::BTreeSet;

use super::{seen::is_certificate, *};
use crate::finding::{Status, Suppressed};

pub(super) const TURN: &str = "turns:stream.example.org:5349";

pub(super) fn pass(code: Code) -> Finding {
    Finding::pass(code, "works")
}

pub(super) fn fail(code: Code) -> Finding {
    Finding::fail(code, "is broken").because("of something").fix("Mend it:", ["mend"])
}

pub(super) fn direct(status: Status) -> Finding {
    Finding::new(Code::DirectPath, status, "direct")
}

/// What a run over a good deployment finds, as far as `without` leaves it, and `with` in place of it.
pub(super) fn run(with: impl IntoIterator<Item = Finding>) -> Vec<Finding> {
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
pub(super) fn turn_broken_at(first: Code) -> Vec<Finding> {
    let chain =
        [Code::TurnChallenges, Code::TurnAllocates, Code::TurnPermits, Code::RelayedPath, Code::RelayedDtls];
    let behind = chain.into_iter().filter(move |code| *code > first);
    let mut findings = vec![fail(first).at(TURN)];
    findings.extend(behind.map(|code| Finding::skip(code, "not tried")));
    findings
}

pub(super) fn verdict(with: impl IntoIterator<Item = Finding>) -> Verdict {
    diagnose("example.org", &run(with), End::Complete).verdict
}

#[track_caller]
pub(super) fn assert_broken(with: impl IntoIterator<Item = Finding>, cause: Code, headline: &str) {
    let verdict = verdict(with);
    assert_eq!((verdict.outcome, verdict.explains.first()), (Outcome::Broken, Some(&cause)), "{verdict:#?}");
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
    let both =
        || turn_broken_at(Code::TurnAllocates).into_iter().chain([fail(Code::CertificateOfCoturn).at(TURN)]);
    assert_broken(both(), Code::CertificateOfCoturn, "refuse the certificate");
    let verdict = verdict(both());
    assert!(verdict.detail.contains("Failing as well: is broken (HP0602)."), "{}", verdict.detail);
    assert_eq!(verdict.explains, [Code::CertificateOfCoturn, Code::DirectPath, Code::TurnAllocates]);
}

#[test]
fn what_comes_later_on_the_way_through_turn_is_named_too() {
    assert_broken([fail(Code::TlsAnswers).at(TURN)], Code::TlsAnswers, "nothing answers where browsers look");
    assert_broken(turn_broken_at(Code::TurnChallenges), Code::TurnChallenges, "in the TURN server's place");
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
        assert_broken(findings, code, "Voice works for most people, but for nobody behind a strict firewall");
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
    let verdict = diagnose("example.org", &findings, End::Complete).verdict;
    assert!(verdict.headline.starts_with("Voice works, but something else is broken"), "{verdict:#?}");
    // Not so if what was relayed went through the one that browsers refuse.
    let relayed = findings.iter_mut().find(|f| f.code == Code::RelayedDtls).unwrap();
    relayed.target = Some(other.to_owned());
    let verdict = diagnose("example.org", &findings, End::Complete).verdict;
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
    let refused = Finding::error(Code::RoomJoined, "there is no such room").fix("Give another:", ["again"]);
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
        let skipped = [Code::TurnAllocates, Code::RelayedDtls].map(|code| Finding::skip(code, "interrupted"));
        run(skipped.into_iter().chain([Finding::error(Code::RoomJoined, "interrupted")]))
    };
    for (end, why) in [
        (End::Interrupted, "the check was interrupted"),
        (End::Terminated, "the check was interrupted"),
        (End::TimeLimit, "the time limit ended the check"),
    ] {
        let verdict = diagnose("example.org", &unfinished(), end).verdict;
        assert_eq!(verdict.outcome, Outcome::Inconclusive);
        assert!(verdict.headline.contains(why), "{verdict:#?}");
        assert!(verdict.remedy.unwrap().text.starts_with("Run it again"));
    }
    let refused = [fail(Code::CertificateOfCoturn).at(TURN), Finding::skip(Code::RoomJoined, "interrupted")];
    let refused = run(refused.into_iter().chain(turn_broken_at(Code::TurnChallenges).into_iter().skip(1)));
    let verdict = diagnose("example.org", &refused, End::Interrupted).verdict;
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
    let verdict = diagnose("example.org", &findings, End::Complete).verdict;
    assert_eq!((verdict.outcome, verdict.explains[0]), (Outcome::Inconclusive, Code::NameResolves));
}

#[test]
fn what_was_left_out_is_named_by_check_or_by_code_and_decides_nothing() {
    let left_out = |check, code| Finding { check, ..Finding::skip(code, "left out").left_out("--skip") };
    let findings = [
        Finding { check: "dns.addresses", ..pass(Code::NameResolves) },
        left_out("dns.addresses", Code::NamesAgree),
        left_out("ice.direct", Code::DirectPath),
    ];
    let verdict = diagnose("example.org", &findings, End::Complete).verdict;
    assert_eq!(verdict.outcome, Outcome::Inconclusive);
    assert!(verdict.headline.starts_with("What was examined is in order"), "{verdict:#?}");
    assert_eq!(verdict.detail, "Left out: HP0102, ice.direct.");
}

// ---- causes beside each other, and what they explain

fn diagnosed(with: impl IntoIterator<Item = Finding>) -> (Vec<Finding>, Vec<Diagnosis>) {
    let findings = run(with);
    let diagnoses = diagnose("example.org", &findings, End::Complete).diagnoses;
    (findings, diagnoses)
}

fn rules(diagnoses: &[Diagnosis]) -> Vec<&'static str> {
    diagnoses.iter().map(|d| d.rule).collect()
}

fn codes<'f>(findings: &'f [Finding], places: &'f [usize]) -> Vec<Code> {
    places.iter().map(|at| findings[*at].code).collect()
}

fn by(check: &'static str, finding: Finding) -> Finding {
    Finding { check, ..finding }
}

fn skip_for(code: Code, check: &'static str, needs: &'static str) -> Finding {
    Finding { check, needs: Some(needs), ..Finding::skip(code, format!("needs something, see {needs}")) }
}

#[test]
fn a_good_deployment_has_no_diagnosis() {
    assert_eq!(diagnosed([]).1, []);
}

#[test]
fn as_hubs_ships_it_each_independent_cause_is_named_and_the_rest_folds_under_them() {
    let behind = "TURN answers, but no browser comes this far";
    let (findings, diagnoses) = diagnosed([
        by("tls.certificates", fail(Code::CertificateOfCoturn).at(TURN)),
        by("turn.allocate", Finding::warn(Code::TurnChallenges, behind).at(TURN)),
        by("turn.allocate", fail(Code::TurnAllocates).at(TURN)),
        skip_for(Code::TurnPermits, "turn.media", "turn.allocate"),
        skip_for(Code::RelayedPath, "turn.media", "turn.allocate"),
        skip_for(Code::RelayedDtls, "turn.media", "turn.allocate"),
    ]);
    assert_eq!(rules(&diagnoses), ["turn.refused", "turn.login", "direct.announced"]);
    assert_eq!(codes(&findings, &diagnoses[0].explains), [Code::TurnChallenges]);
    assert_eq!(codes(&findings, &diagnoses[0].supports), [Code::CertificateOfCoturn, Code::DirectPath]);
    let untried = [Code::TurnPermits, Code::RelayedPath, Code::RelayedDtls];
    assert_eq!(codes(&findings, &diagnoses[1].explains), untried);
    assert_eq!(diagnoses[1].cause.sentence, "The TURN server turns everybody away.");
    assert_eq!(
        diagnoses.iter().map(|d| d.confidence).collect::<Vec<_>>(),
        [Confidence::Certain, Confidence::Certain, Confidence::Likely]
    );
}

#[test]
fn what_an_earlier_cause_explains_is_no_cause() {
    let (findings, diagnoses) =
        diagnosed([fail(Code::HubsHealthy), fail(Code::HubsMeta), fail(Code::RoomJoined)]);
    assert_eq!(rules(&diagnoses), ["web.dead"]);
    let mut explained = codes(&findings, &diagnoses[0].explains);
    explained.sort_unstable();
    assert_eq!(explained, [Code::HubsMeta, Code::RoomJoined]);
    let (_, diagnoses) = diagnosed([fail(Code::CandidatesUsable), fail(Code::CandidateText)]);
    assert_eq!(rules(&diagnoses), ["dialog.addressless"]);
}

#[test]
fn what_speaks_against_a_cause_makes_it_less_sure() {
    let (findings, diagnoses) = diagnosed([fail(Code::HubsHealthy)]);
    assert_eq!(codes(&findings, &diagnoses[0].contradicts), [Code::RoomJoined]);
    assert_eq!(diagnoses[0].confidence, Confidence::Likely);
    let (_, diagnoses) = diagnosed([fail(Code::HubsHealthy), Finding::error(Code::RoomJoined, "silent")]);
    assert_eq!((diagnoses[0].confidence, diagnoses[0].contradicts.len()), (Confidence::Certain, 0));
}

#[test]
fn a_port_that_is_closed_explains_what_is_behind_it_and_nothing_on_another_host() {
    let stream = "wss://stream.example.org:4443";
    let (findings, diagnoses) = diagnosed([
        fail(Code::TlsAnswers).at(stream),
        fail(Code::SignallingOpens).at(stream),
        fail(Code::HubsMeta).at("https://example.org/api/v1/meta"),
    ]);
    assert_eq!(rules(&diagnoses), ["entrance.closed", "web.name"]);
    assert_eq!(codes(&findings, &diagnoses[0].explains), [Code::SignallingOpens]);
}

#[test]
fn a_name_without_an_address_explains_what_is_wrong_at_it() {
    let name = "stream.example.org";
    let closed = fail(Code::TlsAnswers).at(format!("wss://{name}:4443"));
    let (findings, diagnoses) = diagnosed([fail(Code::NameResolves).at(name), closed]);
    assert_eq!(rules(&diagnoses), ["names.missing"]);
    assert_eq!(diagnoses[0].cause.sentence, "stream.example.org has no address.");
    assert_eq!(codes(&findings, &diagnoses[0].explains), [Code::TlsAnswers]);
}

#[test]
fn a_name_that_leads_elsewhere_is_the_cause_only_of_what_is_broken_there() {
    let apart = |host: &str| {
        Finding::warn(Code::NamesAgree, "leads elsewhere")
            .seen("example.org", "192.0.2.7")
            .seen(host, "192.0.2.8")
            .fix("Point it at the others:", ["kubectl get service lb"])
    };
    let wrong = |host: &str| fail(Code::CertificateWrongName).at(format!("https://{host}"));
    let (findings, diagnoses) = diagnosed([apart("assets.example.org"), wrong("assets.example.org")]);
    assert_eq!(rules(&diagnoses), ["names.apart"]);
    assert_eq!(codes(&findings, &diagnoses[0].explains), [Code::CertificateWrongName]);
    assert_eq!(diagnoses[0].confidence, Confidence::Likely);
    assert!(diagnoses[0].headline.contains("assets.example.org leads elsewhere than example.org"));
    let rules_of = |with: [Finding; 2]| rules(&diagnosed(with).1).join(" ");
    // TURN works there, so it is the right server.
    let dialog = fail(Code::CertificateWrongName).at("wss://stream.example.org:4443");
    assert_eq!(rules_of([apart("stream.example.org"), dialog]), "entrance.closed");
    assert_eq!(rules_of([apart("cors.example.org"), wrong("assets.example.org")]), "entrance.closed");
    assert_eq!(rules_of([apart("cors.example.org"), direct(Status::Warn)]), "");
    // What is known elsewhere makes no cause of it.
    let mut known = wrong("assets.example.org");
    known.suppressed = Some(Suppressed { by: "HP0205".to_owned(), reason: None });
    let diagnoses = diagnosed([apart("assets.example.org"), known]).1;
    assert_eq!((rules(&diagnoses), diagnoses[0].suppressed), (vec!["entrance.closed"], true));
    assert!(diagnoses[0].detail.ends_with("It is suppressed."), "{}", diagnoses[0].detail);
}

#[test]
fn a_name_that_people_meet_without_does_not_come_before_what_silences_them() {
    let apart = Finding::warn(Code::NamesAgree, "cors. leads elsewhere")
        .seen("example.org", "192.0.2.7")
        .seen("cors.example.org", "192.0.2.8");
    let with = [apart, fail(Code::CertificateDates).at("https://cors.example.org")];
    let with = with.into_iter().chain(turn_broken_at(Code::TurnAllocates));
    let (findings, diagnoses) = diagnosed(with);
    assert_eq!(rules(&diagnoses), ["turn.login", "direct.announced", "names.beside"]);
    assert_eq!(codes(&findings, &diagnoses[2].explains), [Code::CertificateDates]);
}

#[test]
fn a_certificate_that_was_renewed_and_not_loaded_everywhere_says_so() {
    let (findings, diagnoses) = diagnosed([fail(Code::CertificateDates).at(TURN)]);
    let refused = &diagnoses[0];
    assert_eq!(refused.rule, "turn.refused");
    assert!(refused.detail.contains("still valid at wss://stream.example.org:4443"), "{}", refused.detail);
    assert!(codes(&findings, &refused.supports).contains(&Code::CertificateValid));
}

#[test]
fn the_announced_address_is_a_cause_of_its_own_unless_something_speaks_for_another_one() {
    let silent = || turn_broken_at(Code::TurnAllocates);
    let rules_of = |with: Vec<Finding>| rules(&diagnosed(with).1).join(" ");
    assert_eq!(rules_of(silent()), "turn.login direct.announced");
    assert_eq!(rules_of([silent(), vec![direct(Status::Pass)]].concat()), "turn.login");
    // One address, dead from outside and from inside, is one cause.
    assert_eq!(rules_of(turn_broken_at(Code::RelayedPath)), "turn.path");
    let heard = direct(Status::Warn).seen("dialog saw", "a check from 192.0.2.1:4000");
    assert_eq!(rules_of([silent(), vec![heard]].concat()), "turn.login");
}

#[test]
fn one_fault_at_several_places_is_one_cause_with_all_of_their_commands() {
    let at = |host: &str, command| {
        fail(Code::CertificateDates).at(format!("https://{host}")).fix("Renew it:", ["renew", command])
    };
    let (_, diagnoses) =
        diagnosed([at("example.org", "load a"), at("assets.example.org", "load b")].map(|f| by("tls", f)));
    // `run` keeps one finding for each code, so both are put in by hand.
    assert_eq!(diagnoses.len(), 1);
    let findings = [at("example.org", "load a"), at("assets.example.org", "load b")];
    let diagnoses = diagnose("example.org", &findings, End::Complete).diagnoses;
    assert_eq!(diagnoses.len(), 1);
    assert_eq!(diagnoses[0].remedy.as_ref().unwrap().commands, ["renew", "load a", "load b"]);
    assert_eq!(diagnoses[0].supports, [0, 1]);
}

#[test]
fn a_skip_that_two_causes_could_explain_is_left_to_speak_for_itself() {
    let two = || {
        vec![
            by("tls.certificates", fail(Code::CertificateDates).at("https://example.org")),
            by("tls.certificates", fail(Code::TlsAnswers).at(TURN)),
        ]
    };
    let skipped = skip_for(Code::TurnAllocates, "turn.allocate", "tls.certificates");
    let explains = |findings: &[Finding]| {
        let diagnoses = diagnose("example.org", findings, End::Complete).diagnoses;
        diagnoses.iter().flat_map(|d| d.explains.clone()).collect::<Vec<_>>()
    };
    assert_eq!(explains(&[two(), vec![skipped.clone()]].concat()), [0; 0]);
    assert_eq!(explains(&[two()[1..].to_vec(), vec![skipped]].concat()), [1]);
}

#[test]
fn headlines_need_no_knowledge_of_protocols() {
    let targets = ["https://example.org", "wss://stream.example.org:4443", TURN];
    for code in Code::ALL {
        for (target, status) in targets.iter().flat_map(|t| [Status::Fail, Status::Warn].map(|s| (t, s))) {
            let finding = Finding::new(*code, status, "is broken").at(target);
            for diagnosis in diagnosed([finding]).1 {
                for jargon in ["ICE", "STUN", "DTLS", "SFU", "NSG", "UDP", "HP0"] {
                    assert!(!diagnosis.headline.contains(jargon), "{}", diagnosis.headline);
                }
            }
        }
    }
}

#[test]
fn rules_have_names_of_their_own() {
    let names: Vec<_> = RULES.iter().copied().flatten().map(Rule::name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
}

/// Diagnoses by their rule's name, and the codes that each explains.
fn named(with: impl IntoIterator<Item = Finding>) -> Vec<(&'static str, Vec<Code>)> {
    let findings = run(with);
    let codes = |at: &Vec<usize>| at.iter().map(|at| findings[*at].code).collect();
    let diagnosed = diagnose("example.org", &findings, End::Complete);
    diagnosed.diagnoses.iter().map(|d| (d.rule, codes(&d.explains))).collect()
}

#[test]
fn what_hubs_relay_says_of_itself_is_the_cause_of_what_turn_shows() {
    let unready = || fail(Code::RelayReady);
    let secrets =
        turn_broken_at(Code::TurnAllocates).into_iter().chain([fail(Code::RelayDatabase), unready()]);
    let named_secrets = named(secrets);
    assert_eq!(named_secrets[0].0, "relay.secrets");
    assert!(named_secrets[0].1.starts_with(&[Code::TurnAllocates]), "{named_secrets:?}");
    let peers = turn_broken_at(Code::RelayedPath).into_iter().chain([fail(Code::RelayPeers), unready()]);
    let rules: Vec<_> = named(peers).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, ["relay.peers"]);
    // It says so, and works.
    assert_eq!(named([fail(Code::RelayPeers)]), [("rest", vec![])]);
}

#[test]
fn no_sound_on_any_way_is_another_fault_than_no_sound_through_turn() {
    let both = [fail(Code::AudioDirect), fail(Code::AudioTurnTls)];
    assert_eq!(named(both.clone()), [("sound.lost", vec![Code::AudioTurnTls])]);
    assert_broken(both, Code::AudioDirect, "Nobody can be heard: connections to the media server stand");
    let one = [direct(Status::Pass), pass(Code::AudioDirect), fail(Code::AudioTurnTls)];
    assert_broken(one, Code::AudioTurnTls, "Voice works for most people");
}

#[test]
fn a_turn_server_without_channels_is_heard_by_firefox_only() {
    let channels = [pass(Code::TurnIndications), fail(Code::TurnChannels), fail(Code::AudioTurnTls)];
    let [(rule, explains)] = &named(channels.clone())[..] else { panic!("not one cause") };
    assert_eq!((*rule, &explains[..]), ("sound.channels", &[Code::AudioTurnTls][..]));
    assert_broken(channels, Code::TurnChannels, "Many people cannot be heard");
}

#[test]
fn an_allocation_that_cannot_be_kept_is_silence_after_ten_minutes() {
    assert_broken(
        [fail(Code::TurnRefreshes)],
        Code::TurnRefreshes,
        "Everybody falls silent after ten minutes",
    );
    let direct_too = [direct(Status::Pass), fail(Code::TurnRefreshes)];
    assert_broken(direct_too, Code::TurnRefreshes, "Who needs TURN falls silent");
}

#[test]
fn ports_that_are_partly_closed_matter_where_turn_does_not_carry_media() {
    let partly = || Finding::warn(Code::PortsOpen, "3 of 8 answer").fix("Open them:", ["az"]);
    assert_eq!(named([partly()]), []);
    let broken = turn_broken_at(Code::TurnAllocates).into_iter().chain([partly()]);
    assert_eq!(named(broken).last().unwrap(), &("sound.ports", vec![Code::DirectPath]));
    let untried = turn_broken_at(Code::TurnChallenges).into_iter().skip(1).chain([
        Finding::skip(Code::TurnChallenges, "not tried"),
        direct(Status::Pass),
        partly(),
    ]);
    assert_broken(untried, Code::PortsOpen, "Some people are heard and others are not");
}

#[test]
fn an_announced_load_balancer_is_told_from_an_address_that_leads_nowhere() {
    let announced = Finding::warn(Code::AnnouncedApart, "the load balancer's").fix("Mend it:", ["mend"]);
    let broken = turn_broken_at(Code::TurnAllocates).into_iter().chain([announced.clone()]);
    assert_eq!(named(broken).last().unwrap(), &("direct.balancer", vec![Code::DirectPath]));
    assert_eq!(named([announced]), []);
}

#[test]
fn a_rule_that_let_voice_in_before_is_said_to_have_gone() {
    let denied =
        || Finding::warn(Code::MediaAdmitted, "denied").at("udp/40000-49999").fix("Open it:", ["az"]);
    let rules = |finding| named(turn_broken_at(Code::TurnAllocates).into_iter().chain([finding]));
    assert_eq!(rules(denied()).last().unwrap(), &("direct.rules", vec![Code::DirectPath]));
    let gone = denied().seen("was well", "on 2026-11-18T11:06:40Z: passes");
    assert_eq!(rules(gone.clone()).last().unwrap(), &("direct.removed", vec![Code::DirectPath]));
    // Rules that let it in are not what changed.
    let open = Finding { code: Code::AdmittedArrives, ..gone.clone() };
    assert_eq!(rules(open).last().unwrap(), &("direct.rules", vec![Code::DirectPath]));
    let findings = run(turn_broken_at(Code::TurnAllocates).into_iter().chain([gone]));
    let told = diagnose("example.org", &findings, End::Complete).diagnoses.pop().unwrap();
    assert!(told.detail.contains("It was well on 2026-11-18T11:06:40Z: passes."), "{told:#?}");
    assert!(told.detail.contains("from 100 to 499"), "{told:#?}");
}

#[test]
fn a_second_dialog_is_the_cause_when_turn_leads_to_none() {
    let second = || Finding::warn(Code::OneDialog, "two dialogs").fix("Mend it:", ["mend"]);
    let rules: Vec<_> =
        named(turn_broken_at(Code::RelayedPath).into_iter().chain([second()])).into_iter().collect();
    assert_eq!(rules[0], ("turn.dialogs", vec![Code::RelayedPath, Code::RelayedDtls]));
    assert_eq!(named([second()]), []);
}

#[test]
fn ports_that_were_moved_are_the_cause_when_media_arrives_on_no_way() {
    let moved = || Finding::warn(Code::MediaPorts, "ports outside of 40000-49999").fix("Mend it:", ["mend"]);
    let rules = named(turn_broken_at(Code::RelayedPath).into_iter().chain([moved()]));
    assert_eq!(rules, [("turn.ports", vec![Code::DirectPath, Code::RelayedPath, Code::RelayedDtls])]);
    assert_eq!(named([moved()]), []);
}

#[test]
fn nobody_is_asked_for_a_room_that_was_named_and_could_not_be_looked_for() {
    let skipped = [Code::TurnAllocates, Code::TurnPermits, Code::RelayedPath, Code::RelayedDtls];
    let findings = |room| {
        let skipped = skipped.map(|code| Finding::skip(code, "not tried"));
        run(skipped.into_iter().chain([fail(Code::TurnChallenges).at(TURN), room]))
    };
    let detail = |room| diagnose("example.org", &findings(room), End::Complete).verdict.detail;
    let unnamed = Finding::skip(Code::RoomJoined, "no room was named");
    assert!(detail(unnamed.clone()).contains("--room"));
    let unresolved = Finding { needs: Some("dns.addresses"), ..unnamed };
    assert!(!detail(unresolved).contains("--room"));
}
