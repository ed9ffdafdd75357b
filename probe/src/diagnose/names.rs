//! Names that lead nowhere, or elsewhere.

use super::{
    Confidence,
    rule::Rule,
    seen::{Seen, is_certificate},
};
use crate::{
    codes::Code,
    finding::{Evidence, Finding, Status},
    target::Name,
};

pub(super) const RULES: &[Rule] = &[
    Rule::new("names.missing", &[Code::NameResolves], missing)
        // Without cors. people still meet and hear each other.
        .when(|_, cause| cause.target.as_deref().is_none_or(|name| !name.starts_with("cors.")))
        .means(|_, _, why| format!("{why}, so browsers cannot find it."))
        .folds(|_, cause, other| other.code != cause.code && other.host().is_some() && other.host() == cause.host()),
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
        let works =
            |f: &Finding| f.status == Status::Pass && f.code != Code::NameResolves && !is_certificate(f.code);
        fails && !there().any(works)
    })
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
