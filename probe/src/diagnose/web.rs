//! Pages that do not work.

use super::{rule::Rule, seen::Seen};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

pub(super) const RULES: &[Rule] = &[
    Rule::new("web.dead", &[Code::HubsHealthy], |_, _| "Hubs itself does not answer as it should".to_owned())
        .means(pages)
        .explains(&[Code::HubsName, Code::HubsMeta, Code::RoomJoined, Code::PhoenixSocket])
        .contradicted_by(&[(Code::RoomJoined, Status::Pass)]),
    Rule::new("web.redirected", &[Code::PageReached], |_, _| {
        "the domain does not lead browsers to its own page".to_owned()
    })
    .means(pages)
    .explains(&[Code::HubsName, Code::HubsMeta]),
    Rule::new("web.elsewhere", &[Code::HubsName], |_, _| "the domain does not lead to Hubs".to_owned())
        .means(pages)
        .explains(&[Code::HubsMeta, Code::RoomJoined, Code::PhoenixSocket])
        .contradicted_by(&[(Code::RoomJoined, Status::Pass)]),
    Rule::new("web.name", &[Code::HubsMeta], |_, _| "Reticulum is set up for another name".to_owned())
        .means(pages),
    Rule::new("web.hosts", &[Code::PageHosts], |_, cause| {
        if cause.evidence.iter().any(|e| e.label == PLACE_OF_PROGRAM) {
            "they do not say where their program is, and stay empty".to_owned()
        } else {
            "they send browsers to other servers than those of this domain".to_owned()
        }
    })
    .means(pages),
    Rule::new("web.files", &[Code::AssetsThere], |_, _| {
        "files that they cannot do without are not there".to_owned()
    })
    .means(pages),
    Rule::new("web.policy", &[Code::PagePolicy], |_, _| {
        "the security policy of the pages keeps browsers from servers that rooms need".to_owned()
    })
    .means(|_, _, why| format!("Nobody gets into a room: {why}.")),
    Rule::new("web.sharing", &[Code::AssetsShared], |_, _| {
        "browsers do not let the pages read files of their own deployment".to_owned()
    })
    .means(|_, _, why| format!("Rooms come up with parts missing, or not at all: {why}.")),
    Rule::new("web.socket", &[Code::PhoenixSocket], |_, _| {
        "the connection over which pages enter rooms does not come about".to_owned()
    })
    .means(|_, _, why| format!("Nobody gets into a room: {why}."))
    .explains(&[Code::RoomJoined])
    .contradicted_by(&[(Code::RoomJoined, Status::Pass)]),
];

/// The evidence of a page whose program has no place.
const PLACE_OF_PROGRAM: &str = "in its place";

fn pages(seen: &Seen<'_>, _: &Finding, why: &str) -> String {
    format!("The pages of {} do not work: {why}.", seen.domain)
}
