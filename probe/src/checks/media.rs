//! Media through TURN: may clients send to dialog, does dialog answer ICE, and does it complete DTLS?
//!
//! It is the path of everybody whom dialog's own ports do not let through. Dialog's statistics are the witness of the other end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hubs_relay::wire::ErrorCode;

use crate::{
    candidate::{Candidate, Protocol},
    check::{Context, Outcome, Stop},
    checks::{
        ice::testimony,
        turn::{LOG, PODS, REPLACE, holds, refused},
    },
    codes::Code,
    facts::{TurnCertificate, TurnFacts},
    finding::Finding,
    ice::{self, Agent, Schedule},
    net::{Net, Trust},
    protoo::{Dialog, ProtooError, Transport, TransportStats},
    turn::{Allocation, Client, Refusal, TurnError},
};

/// More addresses than dialog offers: loopback ones apart, it offers two.
const MOST_TRIED: usize = 4;

/// Silence is listened to for as long as on the direct way, but in fewer checks: most of the way they cannot be lost.
const CHECKS: Schedule = Schedule { tries: 5, interval: Duration::from_millis(500) };

pub(crate) async fn relayed(cx: Arc<Context>) -> Outcome {
    let server = cx.facts.turn.get()?;
    let endpoint = cx.facts.dialog.get()?;
    cx.facts.announced.get()?;
    let no_dialog = |e: ProtooError| Stop::Unable(format!("dialog worked a moment ago, and now: {e}"));
    let mut dialog =
        Dialog::open(&cx.net, &endpoint.host, endpoint.port, Trust::Anything).await.map_err(no_dialog)?;
    let transport = dialog.create_transport().await.map_err(no_dialog)?;
    let no_turn = |e: TurnError| Stop::Unable(format!("TURN worked a moment ago, and now: {e}"));
    let mut allocation = allocate(&cx.net, server).await.map_err(no_turn)?;

    let findings = examine(&mut allocation, &mut dialog, &transport, server.certificate).await;
    // Whether they are answered or not: the end of each connection ends what was made on it as well.
    let _ = allocation.release().await;
    let _ = dialog.close_transport(&transport.id).await;
    dialog.close().await;
    Ok(findings)
}

async fn allocate(net: &Net, server: &TurnFacts) -> Result<Allocation, TurnError> {
    let mut client = Client::connect(net, &server.host, server.port).await?;
    let challenge = client.challenge().await?;
    client.allocate(challenge, &server.login).await
}

/// Goes as far as it can: what comes behind a failure has no finding, except for the last, which is skipped.
async fn examine(
    allocation: &mut Allocation,
    dialog: &mut Dialog,
    transport: &Transport,
    certificate: TurnCertificate,
) -> Vec<Finding> {
    let addresses = transport.candidates.iter().filter(|c| c.protocol == Protocol::Udp);
    let addresses: Vec<_> = addresses.filter_map(Candidate::address).take(MOST_TRIED).collect();
    let mut findings = Vec::new();

    let permits = permit(allocation, &addresses).await;
    findings.push(judge_permits(&permits, certificate));
    let permitted: Vec<_> =
        permits.into_iter().flatten().filter(|p| p.refusal.is_none()).map(|p| p.peer).collect();
    if permitted.is_empty() {
        findings.push(Finding::skip(Code::RelayedDtls, "TURN does not let us reach dialog"));
        return findings;
    }

    let trials = check(allocation, &permitted, &Agent::new(&transport.ice)).await;
    let witness = dialog.transport_stats(&transport.id).await;
    findings.push(judge_path(&trials, witness.as_ref(), certificate));
    findings
}

/// A peer, and whether TURN lets us reach it.
struct Permit {
    peer: SocketAddr,
    refusal: Option<Refusal>,
}

/// Asks for each address by itself, as browsers do, since the refusal of one does not matter if another is granted.
async fn permit(allocation: &mut Allocation, peers: &[SocketAddr]) -> Result<Vec<Permit>, TurnError> {
    let mut permits = Vec::new();
    for &peer in peers {
        let refusal = match allocation.permit(peer).await {
            Ok(()) => None,
            Err(TurnError::Refused { refusal, .. }) => Some(refusal),
            Err(e) => return Err(e),
        };
        permits.push(Permit { peer, refusal });
    }
    Ok(permits)
}

/// A peer that we sent checks to, and what came of them.
struct Trial {
    peer: SocketAddr,
    /// In Send indications, as all of a browser's first packets and all of Firefox's.
    indications: ice::Outcome,
    /// On a channel, as Chromium's media; tried only if indications were answered.
    channel: Option<Result<ice::Outcome, TurnError>>,
}

/// Sends checks to one peer after the other, until one answers.
async fn check(
    allocation: &mut Allocation,
    peers: &[SocketAddr],
    agent: &Agent,
) -> Result<Vec<Trial>, TurnError> {
    let mut trials = Vec::new();
    for &peer in peers {
        let indications = ice::check(allocation, peer, agent, CHECKS).await?;
        let answered = matches!(indications, ice::Outcome::Answered { .. });
        let channel = if answered { Some(check_on_channel(allocation, peer, agent).await) } else { None };
        trials.push(Trial { peer, indications, channel });
        if answered {
            break;
        }
    }
    Ok(trials)
}

async fn check_on_channel(
    allocation: &mut Allocation,
    peer: SocketAddr,
    agent: &Agent,
) -> Result<ice::Outcome, TurnError> {
    allocation.bind_channel(peer).await?;
    ice::check(allocation, peer, agent, CHECKS).await
}

fn judge_permits(permits: &Result<Vec<Permit>, TurnError>, certificate: TurnCertificate) -> Finding {
    let code = Code::TurnPermits;
    let permits = match permits {
        Ok(permits) => permits,
        Err(e) => return broken(code, e),
    };
    let refusal = permits.iter().find_map(|p| p.refusal.as_ref());
    let finding = match refusal {
        _ if permits.iter().any(|p| p.refusal.is_none()) => {
            holds(code, certificate, "TURN lets clients reach dialog")
        }
        Some(refusal) if refusal.code == ErrorCode::FORBIDDEN => {
            let finding =
                Finding::fail(code, "TURN does not let clients reach the address that dialog announces")
                    .because(
                        "its rules do not name dialog, or do not know that this address stands for dialog",
                    );
            tell_address(finding, permits[0].peer.ip())
        }
        Some(refusal) => refused(
            Finding::fail(code, format!("TURN does not let clients reach dialog: {refusal}")),
            refusal,
        ),
        None => return Finding::skip(code, "dialog offers no address that could be asked for"),
    };
    permits.iter().fold(finding, |finding, permit| match &permit.refusal {
        None => finding.seen(&permit.peer.to_string(), "permitted"),
        Some(refusal) => finding.seen(&permit.peer.to_string(), refusal),
    })
}

fn judge_path(
    trials: &Result<Vec<Trial>, TurnError>,
    witness: Result<&TransportStats, &ProtooError>,
    certificate: TurnCertificate,
) -> Finding {
    let code = Code::RelayedPath;
    let trials = match trials {
        Ok(trials) => trials,
        Err(e) => return broken(code, e),
    };
    let finding = match trials.last() {
        Some(Trial { indications: ice::Outcome::Answered { round_trip, .. }, channel, .. }) => match channel {
            Some(Ok(ice::Outcome::Answered { .. })) => {
                let milliseconds = round_trip.as_secs_f32() * 1000.0;
                let summary = format!("dialog answers ICE through TURN in {milliseconds:.0} ms");
                holds(code, certificate, &summary)
            }
            _ => Finding::fail(code, "dialog answers ICE through TURN, but not on a channel")
                .because("the TURN server does not do ChannelBind as it should: Firefox will be heard, and Chromium will not")
                .fix("Look at its log; hubs-relay in its place does both:", [LOG, REPLACE]),
        },
        _ => unanswered(trials, witness),
    };
    let finding = trials.iter().fold(finding, |finding, trial| {
        let finding = finding.seen(&trial.peer.to_string(), &trial.indications);
        match &trial.channel {
            None => finding,
            Some(Ok(outcome)) => finding.seen("on a channel", outcome),
            Some(Err(e)) => finding.seen("on a channel", e),
        }
    });
    finding.seen("dialog saw", testimony(witness))
}

fn unanswered(trials: &[Trial], witness: Result<&TransportStats, &ProtooError>) -> Finding {
    let code = Code::RelayedPath;
    if witness.is_ok_and(|w| w.ice_state.heard_us()) {
        return Finding::fail(code, "our ICE checks reach dialog through TURN, and its answers do not come back")
            .because(
                "TURN takes packets only from addresses that the client named, and dialog's answers come from another one; or a rule of \
                 the network drops them",
            )
            .fix("Look at the TURN server's log, and at whether dialog's node can send UDP to its pod:", [LOG, PODS]);
    }
    let stranger = |t: &Trial| {
        matches!(t.indications, ice::Outcome::Rejected(_) | ice::Outcome::AnsweredElsewhere { .. })
    };
    let finding = if trials.iter().any(stranger) {
        Finding::fail(code, "something answers through TURN, but it is not this dialog")
            .because("TURN sends what is meant for the announced address to another dialog, such as one that was replaced")
    } else {
        Finding::fail(code, "TURN sends to the address that dialog announces, and dialog does not get it")
            .because(
                "dialog announces the address with which its node goes out to the internet; from inside of the cluster it usually leads \
                 nowhere, so TURN has to send to the node itself",
            )
    };
    match trials.first() {
        Some(trial) => tell_address(finding, trial.peer.ip()),
        None => finding,
    }
}

/// What makes hubs-relay send to dialog what is meant for its announced address.
fn tell_address(finding: Finding, announced: IpAddr) -> Finding {
    finding.fix(
        "Put hubs-relay in coturn's place and tell it the announced address, for which it sends to dialog's own; see deploy/README.md:",
        [&format!("sed -i 's/^ANNOUNCED=.*/ANNOUNCED={announced}/' deploy/kustomize/settings.env"), REPLACE],
    )
}

/// TURN's connection did not live through it.
fn broken(code: Code, error: &TurnError) -> Finding {
    Finding::fail(code, error.to_string())
        .because("the TURN server has just allocated, and breaks when the allocation is used")
        .fix("Look at its pod and its log:", [PODS, LOG])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::Status, ice::Rejection, protoo::IceState};

    const ANNOUNCED: SocketAddr =
        SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9)), 40_001);

    fn answered() -> ice::Outcome {
        ice::Outcome::Answered { round_trip: Duration::from_millis(12), mapped: ANNOUNCED, sent: 1 }
    }

    fn saw(ice_state: IceState) -> TransportStats {
        serde_json::from_value(serde_json::json!({
            "iceState": match ice_state { IceState::New => "new", _ => "connected" },
            "dtlsState": "new",
        }))
        .unwrap()
    }

    fn permits(codes: &[Option<u16>]) -> Finding {
        let permit = |code: &Option<u16>| Permit {
            peer: ANNOUNCED,
            refusal: code.map(|code| Refusal { code: ErrorCode(code), reason: String::new() }),
        };
        judge_permits(&Ok(codes.iter().map(permit).collect()), TurnCertificate::Accepted)
    }

    fn path(indications: ice::Outcome, channel: Option<ice::Outcome>, heard: IceState) -> Finding {
        let trial = Trial { peer: ANNOUNCED, indications, channel: channel.map(Ok) };
        judge_path(&Ok(vec![trial]), Ok(&saw(heard)), TurnCertificate::Accepted)
    }

    #[track_caller]
    fn assert_fails(finding: &Finding, with: &str) {
        assert_eq!(finding.status, Status::Fail, "{finding:#?}");
        assert!(finding.summary.contains(with), "{finding:#?}");
        assert!(finding.cause.is_some() && finding.remedy.is_some(), "{finding:#?}");
    }

    #[test]
    fn one_permission_is_enough() {
        assert_eq!(permits(&[Some(403), None]).status, Status::Pass);
        assert_eq!(permits(&[]).status, Status::Skip);
    }

    #[test]
    fn a_forbidden_address_is_the_rules_fault_and_its_remedy_names_the_address() {
        let finding = permits(&[Some(403), Some(403)]);
        assert_fails(&finding, "does not let clients reach");
        assert!(finding.remedy.unwrap().commands[0].contains("ANNOUNCED=203.0.113.9"));
        assert_fails(&permits(&[Some(443)]), "443");
    }

    #[test]
    fn a_path_takes_indications_and_channels() {
        assert_eq!(path(answered(), Some(answered()), IceState::Connected).status, Status::Pass);
        let silent = ice::Outcome::Silent { sent: 5 };
        assert_fails(&path(answered(), Some(silent), IceState::Connected), "not on a channel");
    }

    #[test]
    fn silence_is_explained_by_what_dialog_saw() {
        let silent = || ice::Outcome::Silent { sent: 5 };
        assert_fails(&path(silent(), None, IceState::New), "dialog does not get it");
        assert_fails(&path(silent(), None, IceState::Connected), "do not come back");
    }

    #[test]
    fn somebody_else_is_not_dialog() {
        let rejection = Rejection { code: ErrorCode::UNAUTHENTICATED, reason: String::new() };
        assert_fails(&path(ice::Outcome::Rejected(rejection), None, IceState::New), "not this dialog");
    }

    #[test]
    fn a_turn_server_that_breaks_under_way_is_said_to_break() {
        assert_fails(&judge_permits(&Err(TurnError::Closed), TurnCertificate::Accepted), "closes");
        assert_fails(
            &judge_path(&Err(TurnError::Closed), Ok(&saw(IceState::New)), TurnCertificate::Accepted),
            "closes",
        );
    }

    #[test]
    fn behind_a_certificate_that_browsers_refuse_nothing_passes() {
        let permits = Ok(vec![Permit { peer: ANNOUNCED, refusal: None }]);
        assert_eq!(judge_permits(&permits, TurnCertificate::Refused).status, Status::Warn);
        let trials =
            Ok(vec![Trial { peer: ANNOUNCED, indications: answered(), channel: Some(Ok(answered())) }]);
        let seen = saw(IceState::Connected);
        assert_eq!(judge_path(&trials, Ok(&seen), TurnCertificate::Refused).status, Status::Warn);
    }
}
