//! TURN is broken. What that means depends on whether media can also go directly.

use super::{
    Confidence,
    entrance::{CERTIFICATE, DECLARED, TURN_FLOW, renewed_elsewhere, says_it_is_old, shows_newer},
    rule::Rule,
    seen::{Direct, Seen, TOO_OLD, Turn, is_turn},
};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

/// Half of what makes people silent.
const NO_OTHER_WAY: &[(Code, Status)] = &[
    (Code::DirectPath, Status::Warn),
    (Code::DirectPath, Status::Fail),
    (Code::GatewayUdp, Status::Warn),
    (Code::GatewayTcp, Status::Warn),
];

pub(super) const RULES: &[Rule] = &[
    of_turn("turn.untold", &[Code::RoomJoined], |_, _| "browsers are not told of any TURN server".to_owned())
        .status(Status::Warn),
    // What is declared says more than that nothing answers.
    of_turn("turn.denied", DECLARED, |_, cause| match cause.code {
        Code::AdmittedArrives => {
            "Azure's network lets in what is for the TURN server, and nothing there answers".to_owned()
        }
        _ => "a rule of Azure's network drops what people send to the TURN server".to_owned(),
    })
    .at(|_, finding| finding.target.as_deref() == Some(TURN_FLOW))
    .folds(|_, _, other| {
        other.code == Code::TlsAnswers && other.target.as_deref().is_some_and(is_turn)
            || (Code::TurnChallenges..=Code::RelayedDtls).contains(&other.code)
    }),
    // D15. Checks go on behind a certificate that browsers refuse, and say that in a warning.
    of_turn("turn.refused", CERTIFICATE, |_, cause| {
        match cause.code {
            Code::TlsAnswers => "nothing answers where browsers look for the TURN server",
            _ => "browsers refuse the certificate of the TURN server",
        }
        .to_owned()
    })
    .at(|_, finding| finding.target.as_deref().is_some_and(is_turn))
    .note(|seen, cause| format!("{}{}", what_is_not_known(seen, cause), renewed_elsewhere(seen, cause)))
    .supports(shows_newer)
    .folds(|seen, cause, other| {
        let is_behind = other.code >= Code::TurnChallenges && other.code <= Code::RelayedDtls;
        let is_passed_over = is_behind
            && other.target == cause.target
            && (other.status == Status::Warn || cause.code == Code::TlsAnswers);
        is_passed_over || says_it_is_old(seen, cause, other)
    }),
    of_turn("turn.old", TOO_OLD, |_, _| {
        "the encryption that the TURN server offers is too old for browsers".to_owned()
    })
    .at(|_, finding| finding.target.as_deref().is_some_and(is_turn)),
    of_turn("turn.other", &[Code::TurnChallenges], |_, _| {
        "what answers in the TURN server's place is none".to_owned()
    }),
    // D08
    of_turn("turn.clock", &[Code::CredentialDates], |_, _| {
        "what rooms give people to log in on the TURN server has run out before they have it".to_owned()
    })
    .explains(&[Code::TurnAllocates]),
    // D08. The finding tells a wrong secret from a wrong clock.
    of_turn("turn.login", &[Code::TurnAllocates], |seen, _| {
        if seen.has(Code::RoomJoined, Status::Pass) {
            "the TURN server turns everybody away".to_owned()
        } else {
            "the TURN server does not take the given credentials".to_owned()
        }
    }),
    of_turn("turn.peers", &[Code::TurnPermits], |_, _| {
        "the TURN server does not let anybody reach the media server".to_owned()
    }),
    // D16: a relay's map knows the node of one dialog.
    of_turn("turn.dialogs", &[Code::OneDialog], |_, _| {
        "several media servers run, and the TURN server knows the way to one of them at most".to_owned()
    })
    .status(Status::Warn)
    .when(|seen, _| seen.turn() == Turn::Broken && seen.has(Code::RelayedPath, Status::Fail))
    .explains(&[Code::RelayedPath, Code::RelayedDtls])
    .confidence(Confidence::Likely),
    // Nobody lets through what nobody knows of.
    of_turn("turn.ports", &[Code::MediaPorts], |_, _| {
        "the media server takes other ports than the TURN server and the network's rules let through"
            .to_owned()
    })
    .status(Status::Warn)
    .when(|seen, _| seen.turn() == Turn::Broken && seen.has(Code::RelayedPath, Status::Fail))
    .explains(&[Code::RelayedPath, Code::RelayedDtls, Code::DirectPath])
    .confidence(Confidence::Likely),
    // D07
    of_turn("turn.path", &[Code::RelayedPath], |_, _| {
        "what goes through the TURN server does not reach the media server".to_owned()
    })
    .explains(&[Code::RelayedDtls]),
    of_turn("turn.media", &[Code::RelayedDtls], |_, _| {
        "the connection through the TURN server breaks before the first sound".to_owned()
    }),
];

const fn of_turn(
    name: &'static str,
    causes: &'static [Code],
    says: fn(&Seen<'_>, &Finding) -> String,
) -> Rule {
    Rule::new(name, causes, says)
        .when(|seen, _| seen.turn() == Turn::Broken)
        .means(without_turn)
        .note(what_is_not_known)
        .supported_by(NO_OTHER_WAY)
}

pub(super) fn without_turn(seen: &Seen<'_>, _: &Finding, why: &str) -> String {
    match seen.direct() {
        Direct::Dead => format!("Nobody can be heard: {why}, and voice has no other way."),
        Direct::Works => {
            format!("Voice works for most people, but for nobody behind a strict firewall: {why}.")
        }
        Direct::Unknown => format!("Nobody behind a strict firewall can be heard: {why}."),
    }
}

fn what_is_not_known(seen: &Seen<'_>, _: &Finding) -> String {
    let mut note = String::new();
    if seen.lacks_udp() {
        note += " Whether voice can go directly is not known: the network of this machine lets no UDP out.";
    } else if seen.direct() == Direct::Unknown {
        note += " Whether voice can go directly was not examined.";
    }
    if seen.lacks_credentials() {
        note += " The rest of the way through TURN was not tried: that takes a room's credentials (--room).";
    }
    note
}
