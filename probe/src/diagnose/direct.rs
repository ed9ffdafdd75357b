//! Media that cannot go directly: no fault where TURN works, and the other half of the silence where it does not.

use super::{
    Confidence,
    rule::Rule,
    seen::{Direct, Turn},
};
use crate::{
    baseline::was_well,
    codes::Code,
    finding::{Finding, Status},
};

pub(super) const RULES: &[Rule] = &[
    // D04. An earlier report says that it was let in.
    Rule::new("direct.removed", DENIED, |_, _| {
        "voice cannot go directly either: Azure's network let it in before, and does not any more".to_owned()
    })
    .status(Status::Warn)
    .at(|_, finding| is_about_udp(finding) && was_well(finding).is_some())
    .when(|seen, _| seen.direct() == Direct::Dead && seen.turn() == Turn::Broken)
    .note(|_, _| {
        " A rule was taken out or put before it. AKS does so itself with what it did not make in the group that it manages; rules with \
         priorities from 100 to 499 and names of one's own, in a group on the subnet, it leaves alone."
            .to_owned()
    })
    .explains(&[Code::DirectPath]),
    // D02, D03. A rule is known to be in the way, or known not to be.
    Rule::new("direct.rules", RULES_OF_MEDIA, |_, cause| match cause.code {
        Code::AdmittedArrives => {
            "voice cannot go directly either: Azure's network lets it in, and nothing leads it to the media server".to_owned()
        }
        _ => "voice cannot go directly either: the rules of Azure's network keep it out".to_owned(),
    })
    .status(Status::Warn)
    .at(|_, finding| is_about_udp(finding))
    .when(|seen, _| seen.direct() == Direct::Dead && seen.turn() == Turn::Broken)
    .explains(&[Code::DirectPath]),
    // D01. With TURN broken as well, nothing is left.
    Rule::new("direct.balancer", &[Code::AnnouncedApart], |_, _| {
        "voice cannot go directly either: the media server tells browsers the load balancer's address, which forwards no voice"
            .to_owned()
    })
    .status(Status::Warn)
    .when(|seen, _| seen.direct() == Direct::Dead && seen.turn() == Turn::Broken)
    .explains(&[Code::DirectPath]),
    // D01, D16. That the address was tried from one network only leaves that network under suspicion (D05). Where the relay
    // does not get there either, that is the same fault seen twice.
    Rule::new("direct.announced", &[Code::DirectPath], |_, _| {
        "voice cannot go directly either: the address that the media server tells browsers does not lead to it"
            .to_owned()
    })
    .status(Status::Warn)
    .when(|seen, cause| {
        seen.direct() == Direct::Dead
            && seen.turn() == Turn::Broken
            && !seen.has(Code::RelayedPath, Status::Fail)
            && !heard_us(cause)
    })
    .confidence(Confidence::Likely),
];

fn is_about_udp(finding: &Finding) -> bool {
    finding.target.as_deref().is_some_and(|it| it.starts_with("udp/"))
}

/// What the declared rules can be blamed for.
const RULES_OF_MEDIA: &[Code] =
    &[Code::MediaAdmitted, Code::AdmittedArrives, Code::RuleCopied, Code::RuleDestination];

/// What says that the rules keep it out.
const DENIED: &[Code] = &[Code::MediaAdmitted, Code::RuleCopied, Code::RuleDestination];

/// Whether dialog itself says that a check of ours came to it, so that it is the way back that is broken.
fn heard_us(direct: &Finding) -> bool {
    direct.evidence.iter().any(|e| e.label == "dialog saw" && e.value.starts_with("a check"))
}
