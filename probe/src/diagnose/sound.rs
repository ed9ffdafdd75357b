//! Connections that stand, and people who are not heard all the same, or not all of them, or not for long.

use super::{
    Confidence,
    rule::Rule,
    seen::{Direct, Seen, Turn},
};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

const AUDIO: &[Code] = &[Code::AudioDirect, Code::AudioTurnTls, Code::AudioTurnUdp, Code::AudioGateway];

pub(super) const RULES: &[Rule] = &[
    // The others are heard as long as the direct path carries them.
    Rule::new("sound.channels", &[Code::TurnChannels], |_, _| {
        "the TURN server carries nothing on channels, which all browsers but Firefox use".to_owned()
    })
    .when(|seen, _| seen.has(Code::TurnIndications, Status::Pass))
    .means(for_those_behind_turn)
    .explains(&[Code::RelayedDtls, Code::AudioTurnTls]),
    // One way that fails may be that way's fault. All that were tried fail where it is dialog's.
    Rule::new("sound.lost", AUDIO, |_, _| {
        "connections to the media server stand, and no sound comes back through it".to_owned()
    })
    .when(|seen, _| !heard(seen))
    .means(|_, _, why| format!("Nobody can be heard: {why}."))
    .explains(AUDIO),
    Rule::new("sound.turn", &[Code::AudioTurnTls], |_, _| {
        "connections through the TURN server stand, and no sound comes through them".to_owned()
    })
    .means(for_those_behind_turn),
    Rule::new("sound.ten_minutes", &[Code::TurnRefreshes], |_, _| {
        "the TURN server does not let anybody stay for longer".to_owned()
    })
    .means(|seen, _, why| match seen.direct() {
        Direct::Works => format!("Who needs TURN falls silent after ten minutes: {why}."),
        _ => format!("Everybody falls silent after ten minutes: {why}."),
    }),
    // What TURN carries does not depend on the ports that are open to the world.
    Rule::new("sound.ports", &[Code::PortsOpen], |_, _| {
        "part of the media server's ports is closed to this machine, and nobody knows which one comes next"
            .to_owned()
    })
    .status(Status::Warn)
    .when(|seen, _| seen.turn() != Turn::Works)
    .means(|_, _, why| format!("Some people are heard and others are not: {why}."))
    .supported_by(&[(Code::DirectPath, Status::Warn), (Code::DirectPath, Status::Fail)])
    .explains(&[Code::DirectPath])
    .confidence(Confidence::Likely),
];

/// Whether sound came back on any way.
fn heard(seen: &Seen<'_>) -> bool {
    AUDIO.iter().any(|code| seen.has(*code, Status::Pass) || seen.has(*code, Status::Warn))
}

fn for_those_behind_turn(seen: &Seen<'_>, _: &Finding, why: &str) -> String {
    match seen.direct() {
        Direct::Works => format!("Voice works for most people, but not for all who need TURN: {why}."),
        _ => format!("Many people cannot be heard: {why}."),
    }
}
