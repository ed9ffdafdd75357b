//! A room that nobody gets into, and a media server that browsers get nothing out of.

use super::{rule::Rule, seen::Seen};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

pub(super) const RULES: &[Rule] = &[
    Rule::new("room.closed", &[Code::RoomJoined], |_, _| "Reticulum does not let anybody join it".to_owned())
        .means(|_, _, why| format!("Nobody gets into the room: {why}.")),
    Rule::new("dialog.closed", &[Code::SignallingOpens], |_, _| {
        "the media server, dialog, cannot be reached".to_owned()
    })
    .means(silent)
    .explains(&[Code::DialogBehindIngress])
    .contradicted_by(&[(Code::DialogBehindIngress, Status::Pass)]),
    Rule::new("dialog.broken", &[Code::TransportCreated], |_, _| {
        "the media server, dialog, does not do its work".to_owned()
    })
    .means(silent)
    // D06: both take ports from each other.
    .supported_by(&[(Code::RangesApart, Status::Warn)]),
    // The finding tells what is wrong with the key that both should have.
    Rule::new(
        "dialog.permission",
        &[Code::PermissionSignature, Code::PermissionKey, Code::PermissionDates, Code::PermissionAccepted],
        |_, cause| {
            let why = match cause.code {
                Code::PermissionSignature => "its key is not the one that Reticulum signs with",
                Code::PermissionKey => "it cannot read the key that it is given",
                Code::PermissionDates => "its clock is not that of Reticulum",
                _ => "it does not accept what Reticulum gives them",
            };
            format!("the media server, dialog, turns everybody away, because {why}")
        },
    )
    .means(silent)
    .explains(&[Code::AudioDirect, Code::AudioTurnTls, Code::AudioTurnUdp]),
    Rule::new("dialog.addressless", &[Code::CandidatesUsable], |_, _| {
        "the media server, dialog, tells browsers no address to send voice to".to_owned()
    })
    .means(silent)
    .explains(&[Code::CandidateText]),
];

fn silent(_: &Seen<'_>, _: &Finding, why: &str) -> String {
    format!("Nobody can be heard: {why}.")
}
