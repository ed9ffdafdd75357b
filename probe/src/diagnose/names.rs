//! Names that lead nowhere, or elsewhere.

use super::{
    Confidence,
    rule::Rule,
    seen::{Seen, is_certificate},
};
use crate::{
    checks::dns::missing::HIDDEN,
    codes::Code,
    finding::{Evidence, Finding, Status},
    target::Name,
};

pub(super) const RULES: &[Rule] = &[
    Rule::new("names.signatures", &[Code::DnssecValid], |seen, _| {
        format!("the signatures of the names of {} do not hold, so careful resolvers give no address", seen.domain)
    })
    .means(|_, _, why| format!("Many people get no page at all: {why}."))
    // Such a resolver says no more than that it failed.
    .explains(&[Code::NameResolves]),
    of_record("names.doubled", &[Code::NoDoubledName], |seen, cause| {
        format!("{} was entered with the domain twice", cause.target.as_deref().unwrap_or(seen.domain))
    }),
    of_record("names.alias", &[Code::AliasesEnd], |seen, cause| {
        format!("{} is an alias that ends nowhere", cause.target.as_deref().unwrap_or(seen.domain))
    }),
    Rule::new("names.missing", &[Code::NameResolves], missing)
        // Without cors. people still meet and hear each other.
        .when(|_, cause| cause.target.as_deref().is_none_or(|name| !name.starts_with("cors.")))
        .means(|_, _, why| format!("{why}, so browsers cannot find it."))
        .folds(|_, cause, other| other.code != cause.code && other.host().is_some() && other.host() == cause.host()),
    // D09. The zone's own servers say where the name leads by now, and whoever asks them is led there.
    Rule::new("names.remembered", &[Code::AuthorityAgrees], |_, cause| {
        let hosts: Vec<_> = cause.evidence.iter().map(|e| e.label.as_str()).collect();
        format!("the DNS that this machine asks still remembers where {} led before", hosts.join(", "))
    })
    .status(Status::Warn)
    .on_this_side()
    .when(|seen, cause| {
        let mut hosts = cause.evidence.iter().map(|e| e.label.as_str());
        hosts.any(|host| is_dead(seen, host))
    })
    .means(|_, _, why| format!("Whether people hear each other cannot be told from here: {why}."))
    .explains(&[Code::NamesAgree])
    .folds(|_, cause, other| is_named(cause, other))
    .confidence(Confidence::Likely),
    Rule::new("names.wildcard", &[Code::NoWildcard], |_, cause| {
        format!("{} does not exist, and a wildcard answers in its place", hidden(cause).join(", "))
    })
    .status(Status::Warn)
    .when(|seen, cause| hidden(cause).iter().any(|host| is_dead(seen, host)))
    .means(|_, _, why| format!("Browsers are sent to the wrong server: {why}."))
    .explains(&[Code::NamesAgree])
    .folds(|_, cause, other| other.host().is_some_and(|host| hidden(cause).contains(&host)))
    .confidence(Confidence::Likely),
    APART.when(|seen, cause| leads_to_nothing(seen, cause, |host| !host.starts_with("cors."))).means(
        |seen, cause, _| {
            let apart: Vec<_> = apart(seen, cause).map(|e| e.label.as_str()).collect();
            format!(
                "Browsers are sent to the wrong server: {} leads elsewhere than {}, and nothing of Hubs is there.",
                apart.join(", "),
                seen.domain
            )
        },
    ),
];

/// D09. That a name leads elsewhere is a matter of taste as long as Hubs is there.
const APART: Rule = Rule::new("names.apart", &[Code::NamesAgree], |_, _| {
    "a name of the deployment leads to another server than the others, and nothing of Hubs is there"
        .to_owned()
})
.status(Status::Warn)
.folds(is_apart)
.contradicts(|seen, cause, other| {
    is_certificate(other.code) && other.status == Status::Pass && is_apart(seen, cause, other)
})
.confidence(Confidence::Likely);

/// The same of a name without which people still meet and hear each other.
pub(super) const APART_BESIDE: Rule =
    APART.named("names.beside").when(|seen, cause| leads_to_nothing(seen, cause, |_| true));

/// Whether something fails at a host that leads elsewhere, as far as it `matters`, and nothing there works as Hubs does.
fn leads_to_nothing(seen: &Seen<'_>, names_agree: &Finding, matters: fn(&str) -> bool) -> bool {
    let at =
        |host: &str, finding: &Finding| finding.host() == Some(host) && is_apart(seen, names_agree, finding);
    apart(seen, names_agree).map(|e| e.label.as_str()).filter(|host| matters(host)).any(|host| {
        let there = || seen.findings.iter().filter(|f| at(host, f));
        let fails = there().any(|f| f.status == Status::Fail && f.suppressed.is_none());
        fails && !there().any(works)
    })
}

/// A rule about one record, for want of which its host has no address.
const fn of_record(
    name: &'static str,
    codes: &'static [Code],
    says: fn(&Seen<'_>, &Finding) -> String,
) -> Rule {
    Rule::new(name, codes, says).means(|_, _, why| format!("{why}, so browsers cannot find it.")).folds(
        |_, cause, other| other.code != cause.code && other.host().is_some() && other.host() == cause.host(),
    )
}

/// The names that are missing behind a wildcard.
fn hidden(wildcard: &Finding) -> Vec<&str> {
    wildcard.evidence.iter().filter(|e| e.label == HIDDEN).map(|e| e.value.as_str()).collect()
}

/// Whether the finding is about a host that the evidence of `cause` names.
fn is_named(cause: &Finding, finding: &Finding) -> bool {
    finding.code != cause.code
        && finding.host().is_some_and(|host| cause.evidence.iter().any(|e| e.label == host))
}

/// Whether something fails at a host and nothing there works as Hubs does.
fn is_dead(seen: &Seen<'_>, host: &str) -> bool {
    let there = || seen.findings.iter().filter(|f| f.host() == Some(host));
    there().any(|f| f.status == Status::Fail && f.suppressed.is_none()) && !there().any(works)
}

/// Whether something that comes after names and certificates is as Hubs has it.
fn works(finding: &Finding) -> bool {
    finding.status == Status::Pass && finding.code >= Code::HubsHealthy
}

fn missing(seen: &Seen<'_>, cause: &Finding) -> String {
    if seen.with(Code::NameResolves, Status::Fail).count() == Name::ALL.len() {
        return format!("None of the names of {} has an address", seen.domain);
    }
    format!("{} has no address", cause.target.as_deref().unwrap_or(seen.domain))
}

/// The names that lead elsewhere than the domain does: the finding has each name's addresses as evidence.
fn apart<'f>(seen: &Seen<'_>, names_agree: &'f Finding) -> impl Iterator<Item = &'f Evidence> {
    let domain = names_agree.evidence.iter().find(|e| e.label == seen.domain).map(|e| e.value.as_str());
    names_agree.evidence.iter().filter(move |e| domain.is_some_and(|addresses| addresses != e.value))
}

/// Whether the finding is about a name that leads elsewhere.
fn is_apart(seen: &Seen<'_>, names_agree: &Finding, finding: &Finding) -> bool {
    finding.code != names_agree.code
        && finding.host().is_some_and(|host| apart(seen, names_agree).any(|e| e.label == host))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Diagnosed, End, Outcome, Whose, diagnose,
            tests::{assert_broken, fail, run},
        },
        *,
    };

    const STREAM: &str = "stream.example.org";
    const SIGNALLING: &str = "wss://stream.example.org:4443";

    fn warn(code: Code) -> Finding {
        Finding::warn(code, "is so").because("of a record").fix("Mend it:", ["mend"])
    }

    /// What a run finds where nothing of Hubs is behind `stream.`.
    fn dead() -> Vec<Finding> {
        let skipped = [
            Code::SignallingOpens,
            Code::TransportCreated,
            Code::DirectPath,
            Code::TurnChallenges,
            Code::TurnAllocates,
            Code::TurnPermits,
            Code::RelayedPath,
            Code::RelayedDtls,
        ];
        let skipped = skipped.map(|code| Finding::skip(code, "not tried"));
        [fail(Code::TlsAnswers).at(SIGNALLING)].into_iter().chain(skipped).collect()
    }

    #[test]
    fn one_record_that_is_wrong_is_named_in_the_place_of_the_name_that_is_missing() {
        for (code, headline) in [
            (Code::NoDoubledName, "stream.example.org was entered with the domain twice"),
            (Code::AliasesEnd, "stream.example.org is an alias that ends nowhere"),
        ] {
            let findings = || [fail(code).at(STREAM), fail(Code::NameResolves).at(STREAM)];
            assert_broken(findings(), code, headline);
            let said = diagnose("example.org", &run(findings()), End::Complete);
            assert_eq!(said.diagnoses.len(), 1, "{:#?}", said.diagnoses);
        }
    }

    #[test]
    fn signatures_that_do_not_hold_are_named_before_the_names_that_are_not_found() {
        let error = Finding::error(Code::NameResolves, "SERVFAIL").at("example.org");
        assert_broken([fail(Code::DnssecValid), error], Code::DnssecValid, "Many people get no page at all");
    }

    #[test]
    fn an_address_that_is_only_remembered_is_not_held_against_the_deployment() {
        let remembered =
            || warn(Code::AuthorityAgrees).at("example.org").seen(STREAM, "192.0.2.6 for 60 s more");
        let said = |findings: Vec<Finding>| diagnose("example.org", &run(findings), End::Complete);
        let Diagnosed { diagnoses, verdict } = said([dead(), vec![remembered()]].concat());
        assert_eq!(
            (diagnoses[0].rule, diagnoses[0].whose),
            ("names.remembered", Whose::Person),
            "{diagnoses:#?}"
        );
        assert_eq!(verdict.outcome, Outcome::Inconclusive, "{verdict:#?}");
        assert!(verdict.headline.contains("still remembers where stream.example.org led"), "{verdict:#?}");
        // Where Hubs answers at the old address as well, it is no more than a change that is underway.
        assert!(said(vec![remembered()]).diagnoses.is_empty());
        let disagree = warn(Code::AuthorityAgrees).seen("ns1.example.org (192.0.2.1)", "192.0.2.6");
        assert_eq!(said([dead(), vec![disagree]].concat()).verdict.outcome, Outcome::Broken);
    }

    #[test]
    fn a_wildcard_is_the_cause_only_if_it_leads_to_nothing() {
        let wildcard = || warn(Code::NoWildcard).at("*.example.org").seen(HIDDEN, STREAM);
        let findings = dead().into_iter().chain([wildcard(), warn(Code::NamesAgree)]);
        assert_broken(
            findings,
            Code::NoWildcard,
            "stream.example.org does not exist, and a wildcard answers",
        );
        let said = diagnose("example.org", &run([wildcard()]), End::Complete);
        assert!(said.diagnoses.is_empty(), "{:#?}", said.diagnoses);
    }
}
