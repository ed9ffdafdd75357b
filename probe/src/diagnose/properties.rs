//! What holds of the diagnoses of any findings whatever.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::finding::{Status, Suppressed};

const TURN: &str = "turns:stream.example.org:5349";

fn any_finding() -> impl Strategy<Value = Finding> {
    let status =
        prop::sample::select(&[Status::Pass, Status::Skip, Status::Warn, Status::Error, Status::Fail]);
    let checks = crate::checks::CHECKS.iter().map(|c| c.id).collect::<Vec<_>>();
    let targets = [
        "example.org",
        "stream.example.org",
        "cors.example.org",
        "https://example.org",
        "https://cors.example.org/x",
        "wss://stream.example.org:4443",
        TURN,
        "turns:stream.example.org:443",
        "",
        "://",
    ];
    (
        prop::sample::select(Code::ALL),
        status,
        prop::sample::select(checks.clone()),
        prop::option::of(prop::sample::select(checks)),
        prop::option::of(prop::sample::select(targets.to_vec())),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(code, status, check, needs, target, with_words, is_suppressed, is_left_out)| {
            let mut finding = Finding::new(code, status, "it is so");
            if with_words {
                finding = finding.because("of something").fix("Mend it:", ["mend"]);
                finding = finding.seen("example.org", "192.0.2.1").seen("cors.example.org", "192.0.2.2");
            }
            finding.suppressed = is_suppressed.then(|| Suppressed { by: "HP".to_owned(), reason: None });
            finding.left_out = (is_left_out && status == Status::Skip).then(|| "--skip".to_owned());
            Finding { check, needs, target: target.map(str::to_owned), ..finding }
        })
}

fn any_end() -> impl Strategy<Value = End> {
    prop::sample::select(&[End::Complete, End::TimeLimit, End::Interrupted, End::Terminated])
}

proptest! {
    #[test]
    fn no_failure_is_left_unnamed_and_nothing_is_explained_twice(
        findings in prop::collection::vec(any_finding(), 0..24),
        end in any_end(),
    ) {
        let Diagnosed { diagnoses, verdict } = diagnose("example.org", &findings, end);
        let mut explained = BTreeSet::new();
        let mut causes = BTreeSet::new();
        for diagnosis in &diagnoses {
            let first = diagnosis.supports[0];
            prop_assert_eq!(findings[first].code, diagnosis.cause.code);
            prop_assert!(causes.insert(first), "{} is a cause twice", first);
            let lists = [&diagnosis.supports, &diagnosis.contradicts, &diagnosis.explains];
            prop_assert!(lists.into_iter().flatten().all(|at| *at < findings.len()));
            for at in &diagnosis.explains {
                prop_assert!(explained.insert(*at), "{} is explained twice", at);
                prop_assert!(findings[*at].status != Status::Pass);
            }
            prop_assert!(diagnosis.contradicts.is_empty() || diagnosis.confidence < Confidence::Certain);
            prop_assert!(diagnosis.headline.ends_with('.') && diagnosis.cause.sentence.ends_with('.'));
        }
        prop_assert!(explained.is_disjoint(&causes));
        let supports: BTreeSet<_> = diagnoses.iter().flat_map(|d| d.supports.clone()).collect();
        for (at, finding) in findings.iter().enumerate().filter(|(_, f)| f.status == Status::Fail) {
            let is_named = supports.contains(&at) || explained.contains(&at);
            prop_assert!(is_named, "{} is not named", finding.code);
        }
        let of_deployment = || diagnoses.iter().filter(|d| d.whose == Whose::Deployment);
        prop_assert_eq!(verdict.outcome == Outcome::Broken, of_deployment().next().is_some());
        match of_deployment().find(|d| !d.suppressed).or_else(|| of_deployment().next()) {
            Some(first) => {
                prop_assert_eq!(&verdict.headline, &first.headline);
                prop_assert_eq!(verdict.explains[0], first.cause.code);
            }
            None => prop_assert!(verdict.outcome == Outcome::Good || verdict.remedy.is_some()),
        }
    }

    #[test]
    fn the_same_findings_have_the_same_diagnoses(
        findings in prop::collection::vec(any_finding(), 0..12),
        end in any_end(),
    ) {
        let once = diagnose("example.org", &findings, end);
        prop_assert_eq!(once, diagnose("example.org", &findings, end));
    }
}
