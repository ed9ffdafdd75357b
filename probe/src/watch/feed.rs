//! What happens during a run, in the words of the live view. Pure.

use hubs_tui::feed;

use crate::{
    check::Check,
    diagnose::{Outcome, Verdict},
    event::Event,
    finding::{Finding, Status},
};

/// What the live view is to be told of an event.
pub(super) fn translate(event: Event) -> Vec<feed::Feed> {
    match event {
        Event::RunStarted { target, mut checks } => {
            // The table has them in the order in which they can run, where a group may come in two parts.
            checks.sort_by_key(|check| check.group);
            vec![feed::Feed::RunStarted { target, checks: checks.into_iter().map(check).collect() }]
        }
        Event::CheckStarted { check } => vec![feed::Feed::CheckStarted { check: check.to_owned() }],
        Event::CheckFinished { check, findings, .. } => {
            let findings = findings.iter().map(finding).collect();
            vec![feed::Feed::CheckFinished { check: check.to_owned(), findings }]
        }
        // The live view runs the checks once, until it is asked to run them again.
        Event::Waiting { .. } => Vec::new(),
        Event::RunFinished(report) => {
            vec![feed::Feed::Verdict(verdict(&report.verdict)), feed::Feed::RunFinished]
        }
    }
}

fn check(check: &Check) -> feed::Check {
    feed::Check {
        id: check.id.to_owned(),
        group: check.group.title().to_owned(),
        title: check.question.to_owned(),
    }
}

fn status(status: Status) -> feed::Status {
    match status {
        Status::Pass => feed::Status::Pass,
        Status::Skip => feed::Status::Skip,
        Status::Warn => feed::Status::Warn,
        Status::Error => feed::Status::Error,
        Status::Fail => feed::Status::Fail,
    }
}

pub(super) fn finding(finding: &Finding) -> feed::Finding {
    // Where there is little room it is the end of a line that is lost.
    let summary = match &finding.target {
        Some(target) if !finding.summary.contains(target) => format!("{} ({target})", finding.summary),
        _ => finding.summary.clone(),
    };
    let seen = finding.evidence.iter().map(|e| note("seen", format!("{}: {}", e.label, e.value)));
    let cause = finding.cause.iter().map(|cause| note("cause", cause));
    let fix = finding.remedy.iter().map(|remedy| note("fix", &remedy.text));
    let run = finding.remedy.iter().flat_map(|remedy| &remedy.commands).map(|command| note("run", command));
    let see = match finding.status {
        Status::Pass | Status::Skip => None,
        Status::Warn | Status::Error | Status::Fail => {
            Some(note("see", format!("hubs-probe explain {}", finding.code)))
        }
    };
    feed::Finding {
        status: status(finding.status),
        summary,
        notes: seen.chain(cause).chain(fix).chain(run).chain(see).collect(),
    }
}

fn note(label: &str, text: impl Into<String>) -> feed::Note {
    feed::Note { label: label.to_owned(), text: text.into() }
}

/// The remedy stands first, because a low screen shows the first lines only.
pub(super) fn verdict(verdict: &Verdict) -> feed::Verdict {
    let status = match verdict.outcome {
        Outcome::Good => feed::Status::Pass,
        Outcome::Broken => feed::Status::Fail,
        Outcome::Inconclusive => feed::Status::Error,
    };
    let remedy = verdict.remedy.iter().flat_map(|r| [&r.text].into_iter().chain(&r.commands)).cloned();
    feed::Verdict {
        status,
        word: verdict.outcome.word().to_owned(),
        headline: verdict.headline.clone(),
        advice: remedy.chain([verdict.detail.clone()]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::{checks::CHECKS, codes::Code, report::tests::sample};

    fn shown(found: &Finding) -> feed::Finding {
        let findings = vec![found.clone()];
        let event = Event::CheckFinished { check: "dns.addresses", findings, duration: Duration::ZERO };
        let [feed::Feed::CheckFinished { check, findings }] = &translate(event)[..] else { panic!() };
        assert_eq!(check, "dns.addresses");
        findings[0].clone()
    }

    #[test]
    fn a_run_is_announced_with_every_check_those_of_a_group_together() {
        let event = Event::RunStarted { target: "hubs.example.org".into(), checks: CHECKS.iter().collect() };
        let [feed::Feed::RunStarted { target, checks }] = &translate(event)[..] else { panic!() };
        let mut groups: Vec<_> = checks.iter().map(|c| c.group.as_str()).collect();
        groups.dedup();
        assert_eq!(groups.iter().collect::<BTreeSet<_>>().len(), groups.len(), "{groups:?}");
        assert_eq!((target.as_str(), checks.len()), ("hubs.example.org", CHECKS.len()));
        assert_eq!((checks[0].id.as_str(), checks[0].group.as_str()), ("you.proxy", "You"));
        assert_eq!(checks[0].title, CHECKS[0].question);
    }

    #[test]
    fn a_finding_shows_what_was_seen_then_the_cause_then_what_to_do() {
        let found = Finding::fail(Code::NamesAgree, "cors leads elsewhere")
            .seen("cors", "192.0.2.8")
            .because("a forgotten record")
            .fix("Point it at the same address", ["kubectl get service lb", "dig cors"]);
        let notes = shown(&found).notes;
        let notes: Vec<_> = notes.iter().map(|n| (n.label.as_str(), n.text.as_str())).collect();
        assert_eq!(
            notes,
            [
                ("seen", "cors: 192.0.2.8"),
                ("cause", "a forgotten record"),
                ("fix", "Point it at the same address"),
                ("run", "kubectl get service lb"),
                ("run", "dig cors"),
                ("see", &format!("hubs-probe explain {}", Code::NamesAgree)),
            ]
        );
    }

    #[test]
    fn a_finding_names_its_target_once() {
        let found =
            |summary| shown(&Finding::pass(Code::NameResolves, summary).at("hubs.example.org")).summary;
        assert_eq!(found("accepted"), "accepted (hubs.example.org)");
        assert_eq!(found("hubs.example.org is 192.0.2.7"), "hubs.example.org is 192.0.2.7");
    }

    #[test]
    fn what_holds_and_what_was_not_examined_needs_no_explanation() {
        assert!(shown(&Finding::pass(Code::NameResolves, "fine")).notes.is_empty());
        assert!(shown(&Finding::skip(Code::NameResolves, "no room")).notes.is_empty());
    }

    #[test]
    fn a_run_ends_with_its_verdict_and_what_to_do_comes_first() {
        let report = sample();
        let detail = report.verdict.detail.clone();
        let ended = translate(Event::RunFinished(report));
        let [feed::Feed::Verdict(verdict), feed::Feed::RunFinished] = &ended[..] else { panic!("{ended:?}") };
        assert_eq!((verdict.status, verdict.word.as_str()), (feed::Status::Fail, "BROKEN"));
        assert_eq!(verdict.advice, ["Put hubs-relay in coturn's place, see deploy/README.md", &detail]);
    }
}
