//! What hubs-relay says of itself, where it was asked: it knows why TURN does not work before TURN shows it.

use super::{
    rule::Rule,
    seen::{Seen, Turn},
    turn::without_turn,
};
use crate::{codes::Code, finding::Finding};

pub(super) const RULES: &[Rule] = &[
    of_relay("relay.secrets", &[Code::RelayDatabase], |_, _| {
        "hubs-relay cannot read the secrets that rooms hand out".to_owned()
    })
    .explains(&[Code::RelayReady, Code::TurnAllocates]),
    of_relay("relay.peers", &[Code::RelayPeers], |_, _| {
        "hubs-relay does not know where the media server is".to_owned()
    })
    .explains(&[
        Code::RelayReady,
        Code::TurnPermits,
        Code::RelayedPath,
        Code::RelayedDtls,
        Code::AudioTurnTls,
    ]),
    of_relay("relay.unready", &[Code::RelayReady], |_, _| "hubs-relay is not ready".to_owned())
        .explains(&[Code::TurnChallenges]),
];

/// As long as TURN works all the same, what the relay lacks keeps nobody from being heard.
const fn of_relay(
    name: &'static str,
    causes: &'static [Code],
    says: fn(&Seen<'_>, &Finding) -> String,
) -> Rule {
    Rule::new(name, causes, says).when(|seen, _| seen.turn() == Turn::Broken).means(without_turn)
}
