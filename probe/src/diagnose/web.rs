//! Pages that do not work.

use super::{rule::Rule, seen::Seen};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

pub(super) const RULES: &[Rule] = &[
    Rule::new("web.dead", &[Code::HubsHealthy], |_, _| "Hubs itself does not answer as it should".to_owned())
        .means(pages)
        .explains(&[Code::HubsName, Code::HubsMeta, Code::RoomJoined])
        .contradicted_by(&[(Code::RoomJoined, Status::Pass)]),
    Rule::new("web.elsewhere", &[Code::HubsName], |_, _| "the domain does not lead to Hubs".to_owned())
        .means(pages)
        .explains(&[Code::HubsMeta, Code::RoomJoined])
        .contradicted_by(&[(Code::RoomJoined, Status::Pass)]),
    Rule::new("web.name", &[Code::HubsMeta], |_, _| "Reticulum is set up for another name".to_owned())
        .means(pages),
];

fn pages(seen: &Seen<'_>, _: &Finding, why: &str) -> String {
    format!("The pages of {} do not work: {why}.", seen.domain)
}
