//! The two ways in which a client sends through TURN, each by itself: Firefox uses nothing but Send indications, and Chromium's
//! media is on channels.

use std::{net::SocketAddr, time::Duration};

use crate::{
    checks::{
        commands::{LOG, REPLACE},
        refusals::{broken, refused},
        turn::{holds, milliseconds},
    },
    codes::Code,
    facts::TurnCertificate,
    finding::Finding,
    ice,
    turn::TurnError,
};

/// A peer that we sent checks to, and what came of them.
pub(super) struct Trial {
    pub(super) peer: SocketAddr,
    /// In Send indications, as all of a browser's first packets and all of Firefox's.
    pub(super) indications: ice::Outcome,
    /// On a channel, as Chromium's media; tried only if indications were answered.
    pub(super) channel: Option<Result<ice::Outcome, TurnError>>,
}

impl Trial {
    pub(super) fn answering_peer(&self) -> Option<SocketAddr> {
        matches!(self.indications, ice::Outcome::Answered { .. }).then_some(self.peer)
    }
}

/// What came of each; nothing if dialog did not answer at all, which has a finding of its own. `binding` is how long ChannelBind took.
pub(super) fn judge(trial: &Trial, binding: Option<Duration>, certificate: TurnCertificate) -> Vec<Finding> {
    let ice::Outcome::Answered { round_trip, sent, .. } = trial.indications else { return Vec::new() };
    let indications = holds(Code::TurnIndications, certificate, "dialog answers what is sent in indications")
        .seen("round trip", milliseconds(round_trip))
        .seen("checks", sent);
    let channel = trial.channel.as_ref().map(|outcome| judge_channel(outcome, certificate));
    let channel = channel.map(|finding| match binding {
        Some(binding) => finding.seen("ChannelBind", milliseconds(binding)),
        None => finding,
    });
    [indications].into_iter().chain(channel).collect()
}

fn judge_channel(outcome: &Result<ice::Outcome, TurnError>, certificate: TurnCertificate) -> Finding {
    let code = Code::TurnChannels;
    match outcome {
        Ok(ice::Outcome::Answered { round_trip, sent, .. }) => {
            holds(code, certificate, "dialog answers what is sent on a channel")
                .seen("round trip", milliseconds(*round_trip))
                .seen("checks", sent)
        }
        Ok(outcome) => Finding::fail(code, format!("what is sent on a channel gets no answer ({outcome}), though indications do"))
            .because("the TURN server binds the channel and does not forward what is on it: Firefox will be heard, and Chromium will not")
            .fix("Look at its log; hubs-relay in its place does both:", [LOG, REPLACE]),
        Err(e @ TurnError::Refused { request, refusal }) => refused(code, e.to_string(), *request, refusal),
        Err(e) => broken(code, e),
    }
}

#[cfg(test)]
mod tests {
    use hubs_relay::wire::ErrorCode;

    use super::*;
    use crate::{
        finding::Status,
        turn::{Refusal, Request},
    };

    fn answered() -> ice::Outcome {
        let mapped: SocketAddr = ([203, 0, 113, 9], 40_001).into();
        ice::Outcome::Answered { round_trip: Duration::from_millis(12), mapped, sent: 1 }
    }

    fn judged(
        indications: ice::Outcome,
        channel: Option<Result<ice::Outcome, TurnError>>,
    ) -> Vec<(Code, Status)> {
        let trial = Trial { peer: ([203, 0, 113, 9], 40_001).into(), indications, channel };
        let findings = judge(&trial, Some(Duration::from_millis(5)), TurnCertificate::Accepted);
        findings.iter().map(|f| (f.code, f.status)).collect()
    }

    #[test]
    fn each_way_has_a_finding_of_its_own() {
        let indications = (Code::TurnIndications, Status::Pass);
        assert_eq!(
            judged(answered(), Some(Ok(answered()))),
            [indications, (Code::TurnChannels, Status::Pass)]
        );
        let silent = ice::Outcome::Silent { sent: 5 };
        assert_eq!(
            judged(answered(), Some(Ok(silent.clone()))),
            [indications, (Code::TurnChannels, Status::Fail)]
        );
        assert_eq!(judged(silent, None), []);
    }

    #[test]
    fn a_refused_channel_is_decoded() {
        let refusal = Refusal { code: ErrorCode(403), reason: "Forbidden".to_owned() };
        let refused = TurnError::Refused { request: Request::ChannelBind, refusal };
        let peer = ([203, 0, 113, 9], 40_001).into();
        let trial = Trial { peer, indications: answered(), channel: Some(Err(refused)) };
        let findings = judge(&trial, None, TurnCertificate::Accepted);
        assert!(findings[1].summary.contains("refuses ChannelBind: 403"), "{findings:#?}");
    }
}
