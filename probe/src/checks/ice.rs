//! Media straight to dialog: does it answer a browser's ICE check at the addresses that it announces?

use std::{io, net::SocketAddr, sync::Arc};

use futures_util::future::join_all;

use crate::{
    candidate::{Candidate, Kind},
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::{Finding, Status},
    ice::{self, Agent, Schedule},
    net::Trust,
    protoo::{Dialog, ProtooError, TransportStats},
};

/// A candidate, and what came of the check towards it.
type Tried = (SocketAddr, io::Result<ice::Outcome>);

pub(crate) async fn direct(cx: Arc<Context>) -> Outcome {
    let endpoint = cx.facts.dialog.get()?;
    cx.facts.announced.get()?;
    let unable = |e: ProtooError| Stop::Unable(format!("dialog worked a moment ago, and now: {e}"));
    let mut dialog =
        Dialog::open(&cx.net, &endpoint.host, endpoint.port, Trust::Anything).await.map_err(unable)?;
    let transport = dialog.create_transport().await.map_err(unable)?;
    let agent = Agent::new(&transport.ice);
    let addresses = transport.candidates.iter().filter_map(Candidate::direct);
    let tried: Vec<Tried> = join_all(addresses.filter(|a| cx.net.family().admits(a.ip())).map(|address| {
        let agent = &agent;
        async move { (address, ice::direct(address, agent, Schedule::default()).await) }
    }))
    .await;
    let witness = dialog.transport_stats(&transport.id).await;
    let _ = dialog.close_transport(&transport.id).await;
    dialog.close().await;
    let answering: Vec<_> = tried
        .iter()
        .filter(|(_, outcome)| outcome.as_ref().is_ok_and(ice::Outcome::is_answered))
        .map(|(a, _)| *a)
        .collect();
    if !answering.is_empty() {
        cx.facts.answering.learn(answering);
    }
    let finding = judge(&tried, witness.as_ref(), cx.facts.is_internal());
    Ok(vec![if cx.facts.gateway.get().is_ok() { beside_the_gateway(finding) } else { finding }])
}

fn judge(tried: &[Tried], witness: Result<&TransportStats, &ProtooError>, is_internal: bool) -> Finding {
    let code = Code::DirectPath;
    let outcomes = || tried.iter().filter_map(|(address, outcome)| Some((address, outcome.as_ref().ok()?)));
    let answered = || {
        outcomes().filter_map(|(address, outcome)| match outcome {
            ice::Outcome::Answered { round_trip, .. } => Some((address, round_trip)),
            _ => None,
        })
    };
    let is_fit =
        |address: &SocketAddr| is_internal || matches!(Kind::of_address(address.ip()), Kind::Public(_));
    let finding = match answered().find(|(address, _)| is_fit(address)).or_else(|| answered().next()) {
        Some((address, round_trip)) if is_fit(address) => {
            let milliseconds = round_trip.as_secs_f32() * 1000.0;
            Finding::pass(code, format!("dialog answers ICE at {address} in {milliseconds:.0} ms"))
        }
        Some((address, _)) => Finding::warn(
            code,
            format!("dialog answers ICE at {address}, a private address: in this network only"),
        )
        .because("this machine is in dialog's network, or has a way into it; from elsewhere media needs TURN")
        .advise("Run the check from outside of that network to see what people see"),
        None if tried.is_empty() => {
            return Finding::skip(code, "dialog announces no address of the family that -4 or -6 asks for");
        }
        None if outcomes().next().is_none() => {
            Finding::error(code, "this machine cannot send UDP to dialog's addresses")
        }
        None => {
            let (summary, cause) = explain(tried, witness);
            Finding::warn(code, summary).because(cause).fix(
                "None is needed where TURN works: it carries all media. The direct path itself needs nodes with public addresses, dialog's among them, and open ports:",
                [
                    "kubectl get nodes -o wide",
                    "az aks nodepool add -g GROUP --cluster-name CLUSTER -n media --enable-node-public-ip --allowed-host-ports 40000-49999/udp",
                ],
            )
        }
    };
    tried
        .iter()
        .fold(finding, |finding, (address, outcome)| match outcome {
            Ok(outcome) => finding.seen(&address.to_string(), outcome),
            Err(e) => finding.seen(&address.to_string(), e),
        })
        .seen("dialog saw", testimony(witness))
}

/// Where media goes through the gateway, dialog's own address is there for TURN alone.
fn beside_the_gateway(finding: Finding) -> Finding {
    if finding.status != Status::Warn {
        return finding;
    }
    let summary = format!("{}, and nobody needs that: media goes through the gateway", finding.summary);
    Finding { status: Status::Skip, summary, cause: None, remedy: None, ..finding }
}

/// What is wrong with the direct path and why, in words; the most telling outcome decides.
fn explain(tried: &[Tried], witness: Result<&TransportStats, &ProtooError>) -> (String, &'static str) {
    let mut ips: Vec<_> = tried.iter().map(|(address, _)| address.ip().to_string()).collect();
    ips.dedup();
    let ips = ips.join(", ");
    let has = |wanted: fn(&ice::Outcome) -> bool| tried.iter().any(|(_, o)| o.as_ref().is_ok_and(wanted));
    if witness.is_ok_and(|w| w.ice_state.heard_us()) {
        return (
            format!("our ICE checks to {ips} reach dialog, and its answers do not come back"),
            "something on the way lets UDP through in one direction only, or gives the answers another sender",
        );
    }
    if has(|o| matches!(o, ice::Outcome::Rejected(_) | ice::Outcome::AnsweredElsewhere { .. })) {
        return (
            format!("something answers at {ips}, but it is not this dialog"),
            "the announced address belongs to another dialog, or to another server altogether",
        );
    }
    if has(|o| *o == ice::Outcome::PortClosed) {
        return (
            format!("nothing listens on dialog's UDP port at {ips}"),
            "the host is there and says so (ICMP), but it is not dialog's node, or dialog moved to another one",
        );
    }
    if has(|o| *o == ice::Outcome::NoRoute) {
        return (
            format!("no way leads to {ips}"),
            "this machine, or a router on the way, says that the address cannot be reached (ICMP)",
        );
    }
    (
        format!("dialog does not answer at {ips}"),
        "on AKS the announced address is the one with which the cluster goes out to the internet, and nothing leads in there; otherwise a firewall, perhaps that of this network, drops UDP 40000-49999",
    )
}

/// What the other end says about it.
pub(super) fn testimony(witness: Result<&TransportStats, &ProtooError>) -> String {
    match witness {
        Err(e) => format!("not known: {e}"),
        Ok(stats) => match (&stats.ice_selected_tuple, stats.ice_state.heard_us()) {
            (Some(tuple), true) => format!("a check from {tuple}"),
            (None, true) => "a check".to_owned(),
            (_, false) => "no check".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hubs_relay::wire::ErrorCode;

    use super::*;
    use crate::{
        ice::{Outcome as Ice, Rejection},
        protoo::{DtlsState, IceState, Tuple},
    };

    fn witness(ice_state: IceState) -> TransportStats {
        let tuple = Tuple { local_port: 40_001, remote_ip: "198.51.100.7".to_owned(), remote_port: 50_000 };
        TransportStats {
            ice_selected_tuple: ice_state.heard_us().then_some(tuple),
            ice_state,
            dtls_state: DtlsState::New,
            bytes_received: 0,
            bytes_sent: 0,
        }
    }

    fn judged(outcomes: Vec<Ice>, ice_state: IceState) -> Finding {
        let address = |port| SocketAddr::from(([203, 0, 113, 9], port));
        let tried: Vec<Tried> = (40_001..).map(address).zip(outcomes.into_iter().map(Ok)).collect();
        judge(&tried, Ok(&witness(ice_state)), false)
    }

    fn answered() -> Ice {
        let mapped = "198.51.100.7:50000".parse().unwrap();
        Ice::Answered { round_trip: Duration::from_millis(12), mapped, sent: 1 }
    }

    const SILENT: Ice = Ice::Silent { sent: 10 };

    #[test]
    fn one_answer_is_enough_and_dialog_bears_witness() {
        let finding = judged(vec![SILENT, answered()], IceState::Connected);
        assert_eq!(finding.status, Status::Pass);
        assert_eq!(finding.summary, "dialog answers ICE at 203.0.113.9:40002 in 12 ms");
        let seen: Vec<_> = finding.evidence.iter().map(|e| format!("{}: {}", e.label, e.value)).collect();
        assert_eq!(
            seen,
            [
                "203.0.113.9:40001: no answer to 10 checks",
                "203.0.113.9:40002: answers in 12.0 ms, and sees us as 198.51.100.7:50000",
                "dialog saw: a check from 198.51.100.7 port 50000 → port 40001",
            ]
        );
    }

    #[test]
    fn a_dead_direct_path_is_a_warning_with_the_reason_that_fits() {
        let rejected = Ice::Rejected(Rejection { code: ErrorCode::UNAUTHENTICATED, reason: String::new() });
        let elsewhere = Ice::AnsweredElsewhere { from: "203.0.113.10:1".parse().unwrap() };
        for (outcome, state, summary) in [
            (SILENT, IceState::New, "dialog does not answer at 203.0.113.9"),
            (
                SILENT,
                IceState::Connected,
                "our ICE checks to 203.0.113.9 reach dialog, and its answers do not come back",
            ),
            (Ice::PortClosed, IceState::New, "nothing listens on dialog's UDP port at 203.0.113.9"),
            (Ice::NoRoute, IceState::New, "no way leads to 203.0.113.9"),
            (rejected, IceState::New, "something answers at 203.0.113.9, but it is not this dialog"),
            (elsewhere, IceState::New, "something answers at 203.0.113.9, but it is not this dialog"),
        ] {
            let finding = judged(vec![SILENT, outcome], state);
            assert_eq!((finding.status, finding.summary.as_str()), (Status::Warn, summary));
            assert!(finding.cause.is_some() && finding.remedy.is_some(), "{finding:#?}");
        }
    }

    #[test]
    fn an_answer_from_a_private_address_counts_where_all_of_the_deployment_is_private() {
        let tried = || [("10.0.0.4:40001".parse().unwrap(), Ok(answered()))];
        let stats = witness(IceState::Connected);
        assert_eq!(judge(&tried(), Ok(&stats), false).status, Status::Warn);
        assert_eq!(judge(&tried(), Ok(&stats), true).status, Status::Pass);
        let [private] = tried();
        let both = [private, ("203.0.113.9:40001".parse().unwrap(), Ok(answered()))];
        assert!(judge(&both, Ok(&stats), false).summary.contains("203.0.113.9"));
    }

    #[test]
    fn beside_a_gateway_that_works_a_dead_direct_path_is_no_fault() {
        let finding = beside_the_gateway(judged(vec![SILENT], IceState::New));
        assert_eq!((finding.status, finding.cause, finding.remedy), (Status::Skip, None, None));
        assert!(finding.summary.ends_with("media goes through the gateway") && finding.evidence.len() == 2);
        assert_eq!(beside_the_gateway(judged(vec![answered()], IceState::New)).status, Status::Pass);
    }

    #[test]
    fn a_machine_that_cannot_send_says_nothing_of_dialog() {
        let refused = Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let tried = [("203.0.113.9:40001".parse().unwrap(), refused)];
        assert_eq!(judge(&tried, Ok(&witness(IceState::New)), false).status, Status::Error);
        assert_eq!(judge(&[], Ok(&witness(IceState::New)), false).status, Status::Skip);
    }

    #[test]
    fn without_its_statistics_the_answer_still_counts() {
        let silent = ProtooError::Silent { method: "getTransportStats" };
        let tried = [("203.0.113.9:40001".parse().unwrap(), Ok(answered()))];
        assert_eq!(judge(&tried, Err(&silent), false).status, Status::Pass);
    }
}
