//! Media through TURN: may clients send to dialog, does dialog answer ICE, and does it complete DTLS?
//!
//! It is the path of everybody whom dialog's own ports do not let through. Dialog's statistics are the witness of the other end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hubs_relay::wire::ErrorCode;

use crate::{
    candidate::Candidate,
    check::{Context, Outcome, Stop},
    checks::{
        commands::{LOG, PODS, REPLACE},
        ice::testimony,
        legs::{self, Trial},
        refusals::{broken, refused},
        turn::{holds, milliseconds},
    },
    codes::Code,
    facts::{TurnCertificate, TurnFacts},
    finding::Finding,
    ice::{self, Agent, Schedule},
    media::{CONNECT_LIMIT, Media, MediaError, Purpose},
    net::{Net, Trust},
    protoo::{Dialog, DtlsState, ProtooError, Transport, TransportStats},
    turn::{Allocation, Client, Refusal, Request, TurnError},
};

/// More addresses than dialog offers: loopback ones apart, it offers two.
const MOST_TRIED: usize = 4;

const DIALOG: [&str; 2] =
    ["kubectl logs -n hcce deployment/dialog --tail=50", "kubectl rollout restart deployment dialog -n hcce"];

const SENDS_TO_DIALOG: &str = "Put hubs-relay in coturn's place, see deploy/README.md: it asks dialog which address it announces, and sends to dialog \
     itself. If it is there already, its log says what dialog announces:";

/// Silence is listened to for as long as on the direct way, but in fewer checks: most of the way they cannot be lost.
const CHECKS: Schedule = Schedule { tries: 5, interval: Duration::from_millis(500) };

pub(crate) async fn relayed(cx: Arc<Context>) -> Outcome {
    let server = cx.facts.turn.get()?;
    let certificate = *cx.facts.turn_certificate.get()?;
    let endpoint = cx.facts.dialog.get()?;
    cx.facts.announced.get()?;
    let no_dialog = |e: ProtooError| Stop::Unable(format!("dialog worked a moment ago, and now: {e}"));
    let mut dialog =
        Dialog::open(&cx.net, &endpoint.host, endpoint.port, Trust::Anything).await.map_err(no_dialog)?;
    let transport = dialog.create_transport().await.map_err(no_dialog)?;
    let no_turn = |e: TurnError| Stop::Unable(format!("TURN worked a moment ago, and now: {e}"));
    let allocation = allocate(&cx.net, server).await.map_err(no_turn)?;

    let (findings, allocation, peer) = examine(allocation, &mut dialog, &transport, certificate).await;
    if let Some(peer) = peer {
        cx.facts.relayed.learn(peer.ip());
    }
    // Whether they are answered or not: the end of each connection ends what was made on it as well.
    if let Some(allocation) = allocation {
        let _ = allocation.release().await;
    }
    let _ = dialog.close_transport(&transport.id).await;
    dialog.close().await;
    let place = format!("turns:{}:{}", server.host, server.port);
    Ok(findings.into_iter().map(|finding| finding.at(&place)).collect())
}

async fn allocate(net: &Net, server: &TurnFacts) -> Result<Allocation, TurnError> {
    let mut client = Client::connect(net, &server.host, server.port).await?;
    let challenge = client.challenge().await?;
    client.allocate(challenge, &server.login).await
}

/// Goes as far as it can, and gives back the allocation if it still stands, and the peer to whom a connection stood. What comes behind a failure has no finding, except
/// for the last, which is skipped.
async fn examine(
    mut allocation: Allocation,
    dialog: &mut Dialog,
    transport: &Transport,
    certificate: TurnCertificate,
) -> (Vec<Finding>, Option<Allocation>, Option<SocketAddr>) {
    let addresses = transport.candidates.iter();
    let addresses: Vec<_> = addresses.filter_map(Candidate::direct).take(MOST_TRIED).collect();

    let permits = permit(&mut allocation, &addresses).await;
    let mut permits_finding = judge_permits(&permits, certificate);
    if let Some(round_trip) = allocation.round_trip(Request::CreatePermission) {
        permits_finding = permits_finding.seen("round trip", milliseconds(round_trip));
    }
    let mut findings = vec![permits_finding];
    let permits = permits.unwrap_or_default();
    let permitted: Vec<_> = permits.iter().filter(|p| p.refusal.is_none()).map(|p| p.peer).collect();
    if permitted.is_empty() {
        findings.push(Finding::skip(Code::RelayedDtls, "TURN does not let us reach dialog"));
        return (findings, Some(allocation), None);
    }

    let trials = check(&mut allocation, &permitted, &Agent::new(&transport.ice)).await;
    let witness = dialog.transport_stats(&transport.id).await;
    findings.push(judge_path(&trials, witness.as_ref(), certificate));
    let binding = allocation.round_trip(Request::ChannelBind);
    findings.extend(
        trials
            .iter()
            .flatten()
            .last()
            .map(|trial| legs::judge(trial, binding, certificate))
            .into_iter()
            .flatten(),
    );
    let Some(peer) = trials.ok().and_then(|trials| trials.last().and_then(Trial::answering_peer)) else {
        findings.push(Finding::skip(Code::RelayedDtls, "dialog does not answer ICE through TURN"));
        return (findings, Some(allocation), None);
    };

    let mut media = match Media::prepare(allocation, peer, Purpose::Presence).await {
        Ok(media) => media,
        Err(e) => {
            findings.push(judge_connection(&Err(e.into()), witness.as_ref(), certificate));
            return (findings, None, None);
        }
    };
    let connected = connect(&mut media, dialog, transport).await;
    let witness = dialog.transport_stats(&transport.id).await;
    findings.push(judge_connection(&connected, witness.as_ref(), certificate));
    (findings, media.close().await, connected.ok().map(|()| peer))
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

/// Sends checks to one peer after the other, until one answers.
async fn check(
    allocation: &mut Allocation,
    peers: &[SocketAddr],
    agent: &Agent,
) -> Result<Vec<Trial>, TurnError> {
    let mut trials = Vec::new();
    for &peer in peers {
        let indications = ice::check(allocation, peer, agent, CHECKS).await?;
        let mut trial = Trial { peer, indications, channel: None };
        if trial.answering_peer().is_some() {
            trial.channel = Some(check_on_channel(allocation, peer, agent).await);
            trials.push(trial);
            break;
        }
        trials.push(trial);
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

/// Why there was no connection.
#[derive(Debug, thiserror::Error)]
enum NotConnected {
    #[error(transparent)]
    Dialog(#[from] ProtooError),
    #[error(transparent)]
    Media(#[from] MediaError),
}

async fn connect(
    media: &mut Media<Allocation>,
    dialog: &mut Dialog,
    transport: &Transport,
) -> Result<(), NotConnected> {
    dialog.connect_transport(&transport.id, media.fingerprint()).await?;
    Ok(media.connect(transport, CONNECT_LIMIT).await?)
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
            Finding::fail(code, "TURN does not let clients reach the address that dialog announces")
                .because("its rules do not name dialog, or do not know that this address stands for dialog")
                .fix(SENDS_TO_DIALOG, [REPLACE, LOG])
        }
        Some(refusal) => {
            let request = Request::CreatePermission;
            let summary =
                format!("TURN does not let clients reach dialog: the server refuses {request}: {refusal}");
            refused(code, summary, request, refusal)
        }
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
    finding.fix(SENDS_TO_DIALOG, [REPLACE, LOG])
}

fn judge_connection(
    connected: &Result<(), NotConnected>,
    witness: Result<&TransportStats, &ProtooError>,
    certificate: TurnCertificate,
) -> Finding {
    let code = Code::RelayedDtls;
    let dtls = witness.map(|w| w.dtls_state);
    let finding = match (connected, dtls) {
        (Ok(()), Ok(DtlsState::Connected)) => {
            holds(code, certificate, "a browser's connection through TURN stands: ICE, DTLS, and the keys of the media")
        }
        (Ok(()), Err(_)) => Finding::error(code, "the connection stands on our side, and dialog does not say how it is on its"),
        (Ok(()), Ok(_)) => Finding::fail(code, "the connection stands on our side, and dialog says that on its side it does not")
            .because("dialog's media worker is confused")
            .fix("Look at dialog's log, then restart it:", DIALOG),
        (Err(e @ NotConnected::Media(MediaError::Unable(_))), _) => Finding::error(code, e.to_string()),
        (Err(NotConnected::Media(MediaError::PathBroken)), _) => broken(code, &TurnError::Closed),
        (Err(NotConnected::Dialog(e)), _) => Finding::fail(code, e.to_string())
            .because("dialog does not take the certificate of our side, which it takes of every browser")
            .fix("Look at dialog's log, then restart it:", DIALOG),
        (Err(e), Ok(DtlsState::Failed | DtlsState::Closed)) => Finding::fail(code, format!("{e}: dialog gives up on DTLS"))
            .because("dialog and we do not agree on the handshake, or its packets arrive damaged")
            .fix("Look at dialog's log:", DIALOG),
        (Err(e), _) => Finding::fail(code, format!("{e}, although dialog answers ICE"))
            .because("small packets arrive and those of DTLS, which are larger, are lost: the way between TURN and dialog has a small MTU")
            .fix("Compare the MTU of the TURN server's pod with that of dialog's node:", [
                "kubectl exec -n hcce deployment/dialog -- cat /sys/class/net/eth0/mtu",
            ]),
    };
    match witness {
        Ok(stats) => finding
            .seen("dialog's ICE", stats.ice_state)
            .seen("dialog's DTLS", stats.dtls_state)
            .seen("dialog received", format!("{} bytes", stats.bytes_received)),
        Err(e) => finding.seen("dialog", e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finding::Status, ice::Rejection, protoo::IceState};

    const ANNOUNCED: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9)), 40_001);

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
    fn a_forbidden_address_is_the_rules_fault() {
        let finding = permits(&[Some(403), Some(403)]);
        assert_fails(&finding, "does not let clients reach");
        assert_eq!(finding.remedy.unwrap().commands, [REPLACE, LOG]);
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

    fn connection(connected: &Result<(), NotConnected>, dtls: &str) -> Finding {
        let stats = serde_json::json!({ "iceState": "completed", "dtlsState": dtls });
        let stats = serde_json::from_value(stats).unwrap();
        judge_connection(connected, Ok(&stats), TurnCertificate::Accepted)
    }

    #[test]
    fn a_connection_stands_if_dialog_says_so_too() {
        assert_eq!(connection(&Ok(()), "connected").status, Status::Pass);
        assert_fails(&connection(&Ok(()), "connecting"), "dialog says");
        let silent = ProtooError::Silent { method: "getTransportStats" };
        let untold = judge_connection(&Ok(()), Err(&silent), TurnCertificate::Accepted);
        assert_eq!(untold.status, Status::Error);
    }

    #[test]
    fn a_connection_that_does_not_come_about_is_explained_by_what_dialog_says() {
        let timed_out = || Err(NotConnected::Media(MediaError::TimedOut(CONNECT_LIMIT)));
        assert!(connection(&timed_out(), "connecting").cause.unwrap().contains("MTU"));
        assert_fails(&connection(&timed_out(), "failed"), "gives up");
        assert_fails(&connection(&Err(NotConnected::Media(MediaError::PathBroken)), "new"), "closes");
        let unable = NotConnected::Media(MediaError::Unable("no".to_owned()));
        assert_eq!(connection(&Err(unable), "new").status, Status::Error);
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
