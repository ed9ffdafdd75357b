//! The deployment as the probe's own clients meet it, and the play as a whole.

use std::{
    future::{pending, ready},
    net::SocketAddr,
    sync::Arc,
};

use super::*;
use crate::{
    candidate::Kind,
    check::Context,
    ice::{self, Agent, Schedule},
    net::{ResolveError, Trust},
    phoenix::{self, PhoenixError, Refusal},
    protoo::{Dialog, DtlsState, IceState, ProtooError, Transport},
    report::EXIT_INTERRUPTED,
    target::{DIALOG, HTTPS, Name, TURN},
};

async fn deployment() -> (Deployment, Arc<Context>) {
    let deployment = Deployment::start(Turn::Shipped).await.unwrap();
    let cx = deployment.context().unwrap();
    (deployment, cx)
}

async fn dialog(cx: &Context) -> Dialog {
    Dialog::open(&cx.net, &cx.target.host(Name::Stream), DIALOG, Trust::Browser).await.unwrap()
}

/// Where the candidate really is.
fn actual(transport: &Transport, number: usize) -> SocketAddr {
    (dialog::ACTUAL, transport.candidates[number].port).into()
}

#[tokio::test]
async fn the_four_names_resolve_and_no_other_does() {
    let (_deployment, cx) = deployment().await;
    for name in Name::ALL {
        let found = cx.net.lookup(&cx.target.host(name)).await.unwrap();
        assert_eq!(found.addresses, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    }
    let missing = cx.net.lookup("www.hubs.demo.test").await.unwrap_err();
    assert!(matches!(missing, ResolveError::NoAddress { .. }), "{missing}");
}

#[tokio::test]
async fn a_browser_accepts_the_certificate_of_each_name_and_not_that_of_turn() {
    let (mut deployment, cx) = deployment().await;
    for name in Name::ALL {
        cx.net.tls(&cx.target.host(name), HTTPS, Trust::Browser).await.unwrap();
    }
    let stream = cx.target.host(Name::Stream);
    cx.net.tls(&stream, TURN, Trust::Browser).await.unwrap_err();
    let before = deployment.turn_address();
    deployment.put(Turn::Relay).await.unwrap();
    cx.net.tls(&stream, TURN, Trust::Browser).await.unwrap();
    assert_eq!(deployment.turn_address(), before);
}

#[tokio::test]
async fn the_room_gives_credentials_and_another_room_is_not_there() {
    let (deployment, cx) = deployment().await;
    let host = cx.target.host(Name::Root);
    let join = |room: &str| {
        let room = room.parse().unwrap();
        let (net, host) = (&cx.net, &host);
        async move { phoenix::join(net, host, HTTPS, &room, Trust::Browser).await }
    };
    let room = join(cx.room.as_ref().unwrap().sid()).await.unwrap();
    assert_eq!((room.host, room.port), (cx.target.host(Name::Stream), DIALOG));
    assert_eq!(room.turn.unwrap().ports, [TURN]);
    let refused = join("elsewhere").await.unwrap_err();
    assert!(matches!(refused, PhoenixError::Refused(Refusal::NotFound)), "{refused}");
    drop(deployment);
}

#[tokio::test]
async fn dialog_offers_what_it_offers_in_hubs() {
    let (_deployment, cx) = deployment().await;
    let transport = dialog(&cx).await.create_transport().await.unwrap();
    let kinds: Vec<_> = transport.candidates.iter().map(|c| c.kind).collect();
    let announced = Kind::Public("203.0.113.9".parse().unwrap());
    assert_eq!(kinds, [Kind::Loopback, announced, announced]);
    let priorities: Vec<_> = transport.candidates.iter().map(|c| c.priority).collect();
    assert_eq!(priorities, [1_076_302_079, 1_076_276_479, 1_076_250_879]);
    assert!(transport.candidates.iter().all(|c| dialog::PORTS.contains(&c.port)));
    let algorithms: Vec<_> = transport.fingerprints.iter().map(|f| f.algorithm.as_str()).collect();
    assert_eq!(algorithms, ["sha-512", "sha-1", "sha-384", "sha-256"]);
}

#[tokio::test]
async fn dialog_tells_what_arrived_where_it_really_is() {
    let (_deployment, cx) = deployment().await;
    let mut dialog = dialog(&cx).await;
    let transport = dialog.create_transport().await.unwrap();
    let before = dialog.transport_stats(&transport.id).await.unwrap();
    assert_eq!((before.ice_state, before.dtls_state), (IceState::New, DtlsState::New));

    let peer = actual(&transport, 2);
    let outcome = ice::direct(peer, &Agent::new(&transport.ice), Schedule::default()).await.unwrap();
    let ice::Outcome::Answered { mapped, .. } = outcome else { panic!("{outcome:?}") };
    let after = dialog.transport_stats(&transport.id).await.unwrap();
    assert_eq!((after.ice_state, after.dtls_state), (IceState::Connected, DtlsState::Connecting));
    let tuple = after.ice_selected_tuple.unwrap();
    assert_eq!((tuple.local_port, tuple.remote_port), (peer.port(), mapped.port()));
}

#[tokio::test]
async fn a_transport_is_gone_when_it_is_closed_and_when_its_client_is() {
    let (_deployment, cx) = deployment().await;
    let mut dialog = dialog(&cx).await;
    let (closed, left) = (dialog.create_transport().await.unwrap(), dialog.create_transport().await.unwrap());
    dialog.close_transport(&closed.id).await.unwrap();
    let refused = dialog.transport_stats(&closed.id).await.unwrap_err();
    assert!(matches!(refused, ProtooError::Refused { code: 500, .. }), "{refused}");
    dialog.close().await;
    for transport in [closed, left] {
        // The port is free again as soon as the session has ended, a moment after our goodbye.
        while tokio::net::UdpSocket::bind(actual(&transport, 1)).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_is_no_websocket_of_protoos_is_refused_as_dialog_does() {
    let (_deployment, cx) = deployment().await;
    let stream = cx.target.host(Name::Stream);
    let page = cx.net.get(&stream, DIALOG, "/", Trust::Browser).await.unwrap();
    assert_eq!((page.status.as_u16(), page.header("x-powered-by")), (404, Some("Express")));
    for (path, subprotocol, reason) in [
        ("/?roomId=a&peerId=b", None, "invalid/missing Sec-WebSocket-Protocol"),
        ("/?roomId=a", Some("protoo"), "without roomId and/or peerId"),
    ] {
        let endpoint = crate::net::Endpoint { host: &stream, port: DIALOG, path, subprotocol };
        let refused = cx.net.websocket(endpoint, Trust::Browser).await.unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[tokio::test]
async fn its_files_go_with_it() {
    let (deployment, _) = deployment().await;
    let command = deployment.command("hubs-probe", "check");
    let ca_file = command.iter().find_map(|word| word.strip_prefix("--ca-file ")).unwrap().to_owned();
    assert!(std::fs::exists(&ca_file).unwrap());
    drop(deployment);
    assert!(!std::fs::exists(&ca_file).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn as_shipped_the_certificate_is_the_cause_and_with_the_relay_and_its_gateway_media_connects() {
    let play = play(&Sink::none(), pending::<End>(), |_| {}).await.unwrap();
    let [shipped, repaired, gateway] = play.reports() else { panic!("{} reports", play.reports().len()) };
    assert_eq!(shipped.verdict.outcome, Outcome::Broken, "{:#?}", shipped.verdict);
    assert!(shipped.verdict.headline.contains("certificate of the TURN server"), "{:#?}", shipped.verdict);
    assert!(shipped.verdict.explains.contains(&Code::CertificateOfCoturn), "{:#?}", shipped.verdict);
    assert_eq!(repaired.verdict.outcome, Outcome::Good, "{repaired:#?}");
    let passed = |code| repaired.findings.iter().any(|f| f.code == code && f.status == Status::Pass);
    assert!(passed(Code::AudioTurnTls), "{repaired:#?}");
    let warned: Vec<_> =
        repaired.findings.iter().filter(|f| f.status == Status::Warn).map(|f| f.code).collect();
    assert_eq!(warned, [Code::DirectPath], "{repaired:#?}");
    assert!(passed(Code::RelayedPath) && passed(Code::RelayedDtls) && !passed(Code::DirectPath));
    for code in [Code::HubsMeta, Code::HubsName, Code::DialogBehindIngress, Code::TurnPermits] {
        assert!(passed(code), "{code} did not pass: {repaired:#?}");
    }
    assert_eq!(gateway.verdict.outcome, Outcome::Good, "{gateway:#?}");
    for code in [Code::GatewayUdp, Code::GatewayTcp, Code::RelayedDtls] {
        let passed = gateway.findings.iter().any(|f| f.code == code && f.status == Status::Pass);
        assert!(passed, "{code} did not pass: {gateway:#?}");
    }
    let is_good = |status| matches!(status, Status::Pass | Status::Skip);
    assert!(gateway.findings.iter().all(|f| is_good(f.status)), "{gateway:#?}");
    assert_eq!(play.exit_code(), EXIT_GOOD);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_play_ends_in_the_act_that_runs() {
    let play = play(&Sink::none(), ready(End::Interrupted), |_| {}).await.unwrap();
    assert_eq!((play.reports().len(), play.exit_code()), (1, EXIT_INTERRUPTED));
}
