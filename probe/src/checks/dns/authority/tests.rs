use super::*;
use crate::{
    finding::Status,
    testing::{
        DOMAIN,
        names::{self, OverUdp},
    },
};

const OLD: [u8; 4] = [192, 0, 2, 6];
const LB: [u8; 4] = [192, 0, 2, 7];

/// The deployment's records, with all names at `address`.
fn deployment(address: [u8; 4]) -> names::Zone {
    let names = ["", "assets.", "stream.", "cors."];
    names.iter().fold(names::Zone::default().soa(DOMAIN, 2024), |zone, label| {
        zone.a(&format!("{label}{DOMAIN}"), address)
    })
}

/// A resolver that knows the zone with this address, and that its servers are `ns0` and so on.
async fn context(address: [u8; 4], servers: &[SocketAddr]) -> Arc<Context> {
    let hosts: Vec<_> = (0..servers.len()).map(|n| format!("ns{n}.example.test")).collect();
    let zone = hosts.iter().fold(deployment(address), |zone, host| zone.ns(DOMAIN, host));
    let places: Vec<_> = hosts.iter().map(String::as_str).zip(servers.iter().copied()).collect();
    zone.resolver_beside(&places).await
}

async fn found(address: [u8; 4], servers: &[SocketAddr]) -> (Arc<Context>, Vec<Finding>) {
    let cx = context(address, servers).await;
    let findings = authority(Arc::clone(&cx)).await.unwrap();
    for finding in &findings {
        assert_eq!(finding.remedy.is_some(), finding.status == Status::Warn, "{finding:#?}");
    }
    (cx, findings)
}

fn outcomes(findings: &[Finding]) -> Vec<(Code, Status)> {
    findings.iter().map(|f| (f.code, f.status)).collect()
}

const ANSWERS: (Code, Status) = (Code::AuthorityAnswers, Status::Pass);
const AGREE: (Code, Status) = (Code::AuthorityAgrees, Status::Pass);

#[tokio::test]
async fn servers_that_say_the_same_as_the_resolver_pass() {
    let servers =
        [deployment(LB).authoritative().serve().await, deployment(LB).authoritative().serve().await];
    let (cx, findings) = found(LB, &servers).await;
    assert_eq!(outcomes(&findings), [ANSWERS, AGREE]);
    assert_eq!(findings[1].evidence[0].value, "2024, 2024");
    let expected = NameServers { over_udp: 2, over_tcp_only: 0, over_ipv6: false, silent: 0 };
    assert_eq!(cx.facts.name_servers.get(), Ok(&expected));
}

#[tokio::test]
async fn a_record_that_has_not_reached_all_servers_is_a_warning() {
    let servers =
        [deployment(LB).authoritative().serve().await, deployment(OLD).authoritative().serve().await];
    let (_, findings) = found(LB, &servers).await;
    assert_eq!(outcomes(&findings), [ANSWERS, (Code::AuthorityAgrees, Status::Warn)]);
}

#[tokio::test]
async fn a_resolver_that_remembers_the_old_address_is_told_from_a_wrong_record() {
    let (_, findings) = found(OLD, &[deployment(LB).authoritative().serve().await]).await;
    assert_eq!(outcomes(&findings), [ANSWERS, (Code::AuthorityAgrees, Status::Warn)]);
    assert!(findings[1].remedy.as_ref().unwrap().text.contains("60 s"), "{:#?}", findings[1]);
}

#[tokio::test]
async fn a_server_that_does_not_know_the_zone_is_of_no_use() {
    let good = deployment(LB).authoritative().serve().await;
    let nobody = names::Zone::default().failing("").authoritative().serve().await;
    // It knows all of it, and nothing by itself.
    let resolver = deployment(LB).serve().await;
    for useless in [nobody, resolver] {
        let (_, findings) = found(LB, &[good, useless]).await;
        assert_eq!(outcomes(&findings), [(Code::AuthorityAnswers, Status::Warn), AGREE]);
    }
}

#[tokio::test]
async fn a_network_whose_resolver_answers_for_everybody_says_nothing_of_the_servers() {
    let (_, findings) = found(LB, &[deployment(LB).serve().await]).await;
    assert_eq!(outcomes(&findings), [(Code::AuthorityAnswers, Status::Skip)]);
}

#[tokio::test]
async fn a_network_that_lets_nobody_ask_says_nothing_of_the_servers() {
    // Bound and closed again: nobody listens there now.
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, findings) = found(LB, &[closed]).await;
    assert_eq!(outcomes(&findings), [(Code::AuthorityAnswers, Status::Skip)]);
}

#[tokio::test(start_paused = true)]
async fn servers_that_answer_over_tcp_only_are_counted_apart() {
    let mute = deployment(LB).authoritative().over_udp(OverUdp::Nothing).serve().await;
    let (cx, findings) = found(LB, &[mute]).await;
    assert_eq!(outcomes(&findings), [ANSWERS, AGREE]);
    let expected = NameServers { over_udp: 0, over_tcp_only: 1, over_ipv6: false, silent: 0 };
    assert_eq!(cx.facts.name_servers.get(), Ok(&expected));
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_is_asked_for_over_tcp() {
    let long = deployment(LB).authoritative().over_udp(OverUdp::Truncated).serve().await;
    let (cx, findings) = found(LB, &[long]).await;
    assert_eq!(outcomes(&findings), [ANSWERS, AGREE]);
    assert_eq!(cx.facts.name_servers.get().unwrap().over_udp, 1);
}

#[tokio::test]
async fn without_a_zone_nobody_is_asked() {
    let outcome = authority(deployment(LB).resolver().await).await;
    assert!(matches!(outcome, Err(Stop::Skip(_))), "{outcome:?}");
}
