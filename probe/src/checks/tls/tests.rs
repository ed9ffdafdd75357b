//! Certificates of all kinds, shown by servers.

mod together;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    net::ConnectError,
    testing::{Authority, DOMAIN, Identity, context, tcp_server, tls_server},
};

fn place(host: String, port: u16) -> Place {
    let purpose = match port {
        TURN => Purpose::Turn,
        DIALOG => Purpose::Dialog,
        _ => Purpose::Pages,
    };
    Place { purpose, via: host.clone(), host, port }
}

/// What is said about `identity` when it is shown on `port` of `name`.
async fn said(authority: &Authority, identity: Identity, name: Name, port: u16) -> Finding {
    let server = tls_server(identity, |_| std::future::ready(())).await;
    let cx = context(Some(authority.root_pem()), &[(name, port, server)]);
    let host = cx.target.host(name);
    let shown = cx.net.tls(&host, port, Trust::Anything).await.map(|(_, presented)| presented);
    judge::judge(&Seen::new(place(host, port), shown), DOMAIN, OffsetDateTime::now_utc())
}

#[track_caller]
fn assert_said(finding: &Finding, code: Code, status: Status) {
    assert_eq!((finding.code, finding.status), (code, status), "{finding:#?}");
    assert_eq!(finding.remedy.is_some(), status != Status::Pass, "{finding:#?}");
}

#[tokio::test]
async fn a_good_certificate_is_accepted() {
    let authority = Authority::new();
    let identity = authority.issue(&[DOMAIN], -1..60);
    assert_said(&said(&authority, identity, Name::Root, HTTPS).await, Code::CertificateValid, Status::Pass);
}

#[tokio::test]
async fn one_that_runs_out_soon_is_a_warning() {
    let authority = Authority::new();
    let identity = authority.issue(&[DOMAIN], -80..5);
    assert_said(&said(&authority, identity, Name::Root, HTTPS).await, Code::CertificateDates, Status::Warn);
}

#[tokio::test]
async fn one_that_ran_out_or_is_not_valid_yet_is_refused_for_its_dates() {
    let authority = Authority::new();
    for valid in [-90..-1, 1..90] {
        let identity = authority.issue(&[DOMAIN], valid);
        assert_said(
            &said(&authority, identity, Name::Root, HTTPS).await,
            Code::CertificateDates,
            Status::Fail,
        );
    }
}

#[tokio::test]
async fn when_the_clocks_disagree_no_certificate_is_blamed_for_its_dates() {
    let authority = Authority::new();
    let found = async |date: &'static str| {
        let identity = authority.issue(&[DOMAIN], -90..-30);
        let server = tls_server(identity, move |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let answer = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Root, HTTPS, server)]);
        let findings = certificates(cx).await.unwrap();
        let of_root = findings.into_iter().find(|f| f.target.as_deref() == Some("https://hubs.example.test"));
        of_root.unwrap()
    };
    assert_said(&found("Sun, 06 Nov 1994 08:49:37 GMT").await, Code::CertificateDates, Status::Error);
    // A server that says nothing sensible has no word in it.
    assert_said(&found("yesterday").await, Code::CertificateDates, Status::Fail);
}

#[test]
fn a_port_that_is_silent_may_be_so_for_this_machines_network_only() {
    let silent = ConnectError::Silent("192.0.2.7:4443".parse().unwrap());
    let place = place("stream.hubs.example.test".to_owned(), DIALOG);
    let finding =
        judge::judge(&Seen::new(place, Err(TlsError::Connect(silent))), DOMAIN, OffsetDateTime::now_utc());
    assert_said(&finding, Code::TlsAnswers, Status::Fail);
    assert!(finding.cause.unwrap().contains("this machine's network"));
}

#[tokio::test]
async fn one_for_another_name_is_refused_for_its_name() {
    let authority = Authority::new();
    let identity = authority.issue(&[DOMAIN], -1..60);
    assert_said(
        &said(&authority, identity, Name::Stream, HTTPS).await,
        Code::CertificateWrongName,
        Status::Fail,
    );
}

#[tokio::test]
async fn a_missing_intermediate_is_recognised() {
    let authority = Authority::new();
    let mut identity = authority.issue(&[DOMAIN], -1..60);
    identity.chain.truncate(1);
    assert_said(&said(&authority, identity, Name::Root, HTTPS).await, Code::CertificateChain, Status::Fail);
}

#[tokio::test]
async fn a_chain_out_of_order_is_a_warning() {
    let authority = Authority::new();
    let mut identity = authority.issue(&[DOMAIN], -1..60);
    identity.chain.insert(1, authority.root_der());
    assert_said(&said(&authority, identity, Name::Root, HTTPS).await, Code::CertificateChain, Status::Warn);
}

#[tokio::test]
async fn an_unknown_issuer_is_recognised() {
    let identity = Authority::new().issue(&[DOMAIN], -1..60);
    let finding = said(&Authority::new(), identity, Name::Root, HTTPS).await;
    assert_said(&finding, Code::CertificateUnknownIssuer, Status::Fail);
}

#[tokio::test]
async fn a_certificate_signed_by_itself_is_recognised() {
    let identity = Identity::self_signed("whatever", &[DOMAIN]);
    let finding = said(&Authority::new(), identity, Name::Root, HTTPS).await;
    assert_said(&finding, Code::CertificateSelfSigned, Status::Fail);
}

#[tokio::test]
async fn hubs_default_certificate_is_recognised_on_any_name() {
    for name in Name::ALL {
        let finding = said(&Authority::new(), Identity::self_signed(DOMAIN, &[]), name, HTTPS).await;
        assert_said(&finding, Code::CertificateDefault, Status::Fail);
    }
}

#[tokio::test]
async fn coturns_own_certificate_is_recognised_on_turns_port_only() {
    let finding = said(&Authority::new(), Identity::self_signed("dialog", &[]), Name::Stream, TURN).await;
    assert_said(&finding, Code::CertificateOfCoturn, Status::Fail);
    let finding = said(&Authority::new(), Identity::self_signed("dialog", &[]), Name::Stream, DIALOG).await;
    assert_said(&finding, Code::CertificateSelfSigned, Status::Fail);
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_said_to_speak_none() {
    let server = tcp_server(|stream| async move {
        let _ = stream.writable().await;
        let _ = stream.try_write(b"220 mail.example.test ESMTP\r\n");
        // Reading what the client says keeps the connection from being reset before it has read this.
        let mut hello = [0; 2048];
        let _ = stream.readable().await;
        let _ = stream.try_read(&mut hello);
    })
    .await;
    let cx = context(None, &[(Name::Stream, TURN, server)]);
    let shown = cx.net.tls(&cx.target.host(Name::Stream), TURN, Trust::Anything).await.map(|(_, p)| p);
    assert!(matches!(shown, Err(TlsError::Handshake(_))), "{shown:?}");
    let place = place("stream.hubs.example.test".to_owned(), TURN);
    assert_said(
        &judge::judge(&Seen::new(place, shown), DOMAIN, OffsetDateTime::now_utc()),
        Code::TlsAnswers,
        Status::Fail,
    );
}

#[tokio::test]
async fn a_closed_port_is_said_to_refuse() {
    // Bound and closed again: nobody listens there now.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cx = context(None, &[(Name::Stream, TURN, closed)]);
    let shown = cx.net.tls(&cx.target.host(Name::Stream), TURN, Trust::Anything).await;
    assert!(matches!(shown, Err(TlsError::Connect(ConnectError::Refused(_)))), "{shown:?}");
}

#[tokio::test]
async fn the_browsers_verdict_on_turns_certificate_becomes_a_fact() {
    let authority = Authority::new();
    for (identity, expected) in [
        (authority.issue(&["stream.hubs.example.test"], -1..60), TurnCertificate::Accepted),
        (Identity::self_signed("dialog", &[]), TurnCertificate::Refused),
    ] {
        let server = tls_server(identity, |_| std::future::ready(())).await;
        let cx = context(Some(authority.root_pem()), &everywhere(server, server));
        certificates(Arc::clone(&cx)).await.unwrap();
        assert_eq!(cx.facts.turn_certificate.get(), Ok(&expected));
    }
}

/// All names and dialog are at the first server, TURN is at the second one.
fn everywhere(ingress: SocketAddr, turn: SocketAddr) -> Vec<(Name, u16, SocketAddr)> {
    let pages = Name::ALL.map(|name| (name, HTTPS, ingress)).into_iter();
    pages.chain([(Name::Stream, DIALOG, ingress), (Name::Stream, TURN, turn)]).collect()
}
