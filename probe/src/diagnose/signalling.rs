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
    Rule::new("dialog.addressless", &[Code::CandidatesUsable], |_, _| {
        "the media server, dialog, tells browsers no address to send voice to".to_owned()
    })
    .means(silent)
    .explains(&[Code::CandidateText]),
];

fn silent(_: &Seen<'_>, _: &Finding, why: &str) -> String {
    format!("Nobody can be heard: {why}.")
}
