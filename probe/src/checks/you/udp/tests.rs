use std::{io, time::Duration};

use hubs_relay::wire::{Builder, ErrorCode, Message};
use serde_json::json;

use super::*;
use crate::{
    facts::DialogFacts,
    finding::Status,
    target::DIALOG,
    testing::{Authority, context, dialog_server, stun_server, stun_server_at, transport},
};

const SILENT: Survey = Survey { answers: Vec::new(), unsent: None };

fn asked(whose: Whose) -> Asked {
    Asked { whose, server: Server { address: "203.0.113.9:3478".parse().unwrap(), agent: None } }
}

fn judged(asked: Vec<Asked>, survey: Survey, names: Option<&NameServers>) -> Finding {
    let finding = judge_udp(&Look { family: Family::V4, asked, survey }, names).unwrap();
    assert_eq!(finding.remedy.is_some(), finding.status == Status::Warn, "{finding:#?}");
    finding
}

#[test]
fn a_deployment_that_is_silent_says_nothing_about_this_network() {
    let finding = judged(vec![asked(Whose::Dialogs), asked(Whose::Relays)], SILENT, None);
    assert_eq!(finding.status, Status::Skip);
    assert!(finding.summary.contains("--stun"), "{finding:#?}");
    // One more that is silent may be down.
    assert_eq!(
        judged(vec![asked(Whose::Relays), asked(Whose::Strangers)], SILENT, None).status,
        Status::Skip
    );
}

#[test]
fn two_independent_servers_that_are_silent_show_that_this_network_blocks_udp() {
    let finding = judged(vec![asked(Whose::Strangers), asked(Whose::Strangers)], SILENT, None);
    assert_eq!(finding.status, Status::Warn);
    assert!(finding.summary.starts_with("this network lets no UDP out"), "{finding:#?}");
}

#[test]
fn name_servers_that_answer_over_tcp_only_show_it_as_well() {
    let names =
        |over_udp, over_tcp_only| NameServers { over_udp, over_tcp_only, over_ipv6: false, silent: 0 };
    let status = |names| judged(vec![asked(Whose::Dialogs)], SILENT, Some(&names)).status;
    assert_eq!(status(names(0, 2)), Status::Warn);
    assert_eq!(status(names(0, 1)), Status::Skip);
    assert_eq!(status(names(1, 2)), Status::Skip);
}

#[test]
fn what_the_system_itself_says_is_told_apart() {
    let unsent = |kind: io::ErrorKind| Survey { answers: Vec::new(), unsent: Some(kind.into()) };
    let dialogs = || vec![asked(Whose::Dialogs)];
    assert_eq!(judged(dialogs(), unsent(io::ErrorKind::PermissionDenied), None).status, Status::Warn);
    assert_eq!(judged(dialogs(), unsent(io::ErrorKind::NetworkUnreachable), None).status, Status::Skip);
}

#[test]
fn where_nobody_can_be_asked_over_a_family_nothing_is_said_of_it() {
    assert!(judge_udp(&Look { family: Family::V6, asked: Vec::new(), survey: SILENT }, None).is_none());
}

fn mapping(mapped: &[&str]) -> Finding {
    let answers = mapped.iter().enumerate().map(|(n, mapped)| Answer {
        server: SocketAddr::from(([127, 0, 0, 1], 40_000 + n as u16)),
        mapped: mapped.parse().ok(),
        round_trip: Duration::from_millis(20),
    });
    judge_mapping(&answers.collect::<Vec<_>>())
}

#[test]
fn what_the_nat_does_is_told_from_two_answers() {
    for (mapped, status, words) in [
        (&["198.51.100.7:5000", "198.51.100.7:5000"][..], Status::Pass, "to everybody"),
        (&["198.51.100.7:5000", "198.51.100.7:5001"], Status::Pass, "another port"),
        (&["198.51.100.7:5000", "198.51.100.8:5000"], Status::Warn, "another address"),
        (&["198.51.100.7:5000"], Status::Skip, "nothing to compare"),
        (&["198.51.100.7:5000", ""], Status::Skip, "nothing to compare"),
        (&["127.0.0.1:5000"], Status::Pass, "no NAT"),
        (&[], Status::Skip, "nobody answers"),
    ] {
        let finding = mapping(mapped);
        assert_eq!(finding.status, status, "{finding:#?}");
        assert!(finding.summary.contains(words), "{finding:#?}");
    }
}

#[test]
fn a_path_is_narrow_only_if_longer_packets_get_through_in_parts() {
    let server = "203.0.113.9:3478".parse().unwrap();
    let status = |whole, cut_up| judge_length(server, Ok(Lengths { whole, cut_up })).status;
    assert_eq!(status(Some(1500), Some(1500)), Status::Pass);
    assert_eq!(status(Some(1280), Some(1280)), Status::Pass);
    assert_eq!(status(Some(1200), Some(1500)), Status::Warn);
    assert_eq!(status(None, Some(1500)), Status::Warn);
    assert_eq!(status(Some(576), Some(576)), Status::Skip);
    assert_eq!(status(None, None), Status::Skip);
    assert_eq!(judge_length(server, Err(io::ErrorKind::Unsupported.into())).status, Status::Error);
}

#[test]
fn what_tcp_counts_on_is_a_bound_and_no_proof() {
    assert_eq!(bounded(Some(1240)).status, Status::Warn);
    assert_eq!(bounded(Some(1500)).status, Status::Skip);
    assert_eq!(bounded(None).status, Status::Skip);
}

/// A STUN server on loopback that answers everybody.
async fn relay() -> SocketAddr {
    stun_server(|request: &Message, from| Some(Builder::success(request).xor_mapped_address(from).finish()))
        .await
}

fn outcomes(findings: &[Finding]) -> Vec<(Code, Status)> {
    findings.iter().map(|f| (f.code, f.status)).collect()
}

#[tokio::test]
async fn a_relay_that_answers_over_udp_proves_the_path_and_its_length() {
    let mute = stun_server(|_, _| None).await;
    let cx = context(None, &[(Name::Stream, STUN, relay().await), (Name::Stream, TURN, mute)]);
    let expected = [Code::UdpLeaves, Code::NatMapping, Code::PathMtu].map(|code| (code, Status::Pass));
    assert_eq!(outcomes(&udp(cx).await.unwrap()), expected);
}

#[tokio::test]
async fn the_nat_and_the_length_of_packets_are_told_for_each_version_of_ip() {
    let answer = |request: &Message, from| Some(Builder::success(request).xor_mapped_address(from).finish());
    let (v4, v6) = (relay().await, stun_server_at(Ipv6Addr::LOCALHOST.into(), answer).await);
    let cx = context(None, &[(Name::Stream, STUN, v4), (Name::Stream, TURN, v6)]);
    let findings = udp(cx).await.unwrap();
    let places: Vec<_> = findings.iter().map(|f| (f.code, f.target.as_deref().unwrap_or_default())).collect();
    let expected =
        [Code::UdpLeaves, Code::NatMapping, Code::PathMtu].map(|code| [(code, "IPv4"), (code, "IPv6")]);
    assert_eq!(places, expected.concat());
    assert!(findings.iter().all(|f| f.status == Status::Pass), "{findings:#?}");
}

#[tokio::test]
async fn dialogs_ports_answer_while_its_transport_is_open() {
    // As mediasoup does it to whoever does not know the password, which this double does not know either.
    let port =
        stun_server(|request: &Message, _| Some(Builder::error(request, ErrorCode::BAD_REQUEST).finish()))
            .await;
    let authority = Authority::new();
    let address = dialog_server(authority.issue(&["stream.hubs.example.test"], -1..60), move |id, method| {
        let data = match method {
            // Not loopback, which would be passed over: every address of its network is this machine.
            "createWebRtcTransport" => transport(&[("127.0.0.1", port.port())]),
            _ => json!({}),
        };
        vec![json!({ "response": true, "id": id, "ok": true, "data": data })]
    })
    .await;
    let cx = context(Some(authority.root_pem()), &[(Name::Stream, DIALOG, address)]);
    cx.facts.dialog.learn(DialogFacts { host: "stream.hubs.example.test".to_owned(), port: DIALOG });
    let ((dialog, _), ports) = of_dialog(&cx).await.unwrap();
    // A loopback candidate is this machine's own, and nobody is asked there.
    assert!(ports.is_empty());
    dialog.close().await;
    let agent = Some(Agent::new(&crate::ice::Credentials::new("u".repeat(32), "p".repeat(32)).unwrap()));
    let asked = [Asked { whose: Whose::Dialogs, server: Server { address: port, agent } }];
    let look = look(&asked, Family::V4).await;
    assert_eq!(judge_udp(&look, None).unwrap().status, Status::Pass);
    assert_eq!(judge_mapping(&look.survey.answers).status, Status::Skip);
}

#[tokio::test]
async fn strangers_are_asked_only_where_the_command_line_names_them() {
    let stranger = relay().await;
    let cx = context(None, &[]);
    assert!(of_strangers(&cx).await.is_empty());
    let mut cx = Arc::into_inner(cx).unwrap();
    cx.net = cx.net.allowed_to_ask(vec![stranger.to_string(), "nobody.example.test:x".to_owned()]);
    let asked = of_strangers(&cx).await;
    assert_eq!(asked.iter().map(|a| a.server.address).collect::<Vec<_>>(), [stranger]);
}

#[tokio::test]
async fn without_the_deployments_addresses_nobody_is_asked() {
    let cx = Arc::new(crate::testing::bare_context(crate::net::NetOptions::default()));
    assert!(udp(cx).await.is_err());
}
