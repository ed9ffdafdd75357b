//! Names that lead nowhere, or elsewhere.

use super::{Confidence, rule::Rule, seen::Seen};
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
    // D09. That a name leads elsewhere is a matter of taste as long as what is there works.
    Rule::new("names.apart", &[Code::NamesAgree], |_, _| {
        "a name of the deployment leads to another server than the others, and what is there does not work"
            .to_owned()
    })
    .status(Status::Warn)
    .when(|seen, cause| seen.findings.iter().any(|f| f.status == Status::Fail && is_apart(seen, cause, f)))
    .means(|seen, cause, _| {
        let apart: Vec<_> = apart(seen, cause).map(|e| e.label.as_str()).collect();
        format!(
            "Browsers are sent to the wrong server: {} leads elsewhere than {}, and what is there does not work.",
            apart.join(", "),
            seen.domain
        )
    })
    .folds(is_apart)
    .contradicts(|seen, cause, other| other.status == Status::Pass && other.code != Code::NameResolves && is_apart(seen, cause, other))
    .confidence(Confidence::Likely),
];

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
