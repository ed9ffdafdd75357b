//! DNS servers that want to break whoever asks them: each check of names and mail comes to an end, and says something.

use std::{net::SocketAddr, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use hickory_proto::{
    op::Message,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CAA, CNAME, MX, NS, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::*;
use crate::{
    check::Stop,
    checks::mail,
    facts::Issuer,
    finding::{Status, printable},
    net::NetOptions,
    target::HTTPS,
    testing::{DOMAIN, bare_context},
};

/// What makes an answer of a question.
type Answers = fn(&[u8]) -> Vec<u8>;

/// A server that gives these answers over UDP, and these over TCP.
async fn server(over_udp: Answers, over_tcp: Answers) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Somebody else may have the port for TCP.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            udp.send_to(&over_udp(&buffer[..length]), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let Ok(length) = stream.read_u16().await else { continue };
            let mut query = vec![0; usize::from(length)];
            if stream.read_exact(&mut query).await.is_ok() {
                let answer = over_tcp(&query);
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let _ = stream.write_all(&[&length[..], &answer].concat()).await;
            }
        }
    });
    address
}

/// The findings and reasons of all checks that ask the DNS, where it is this server.
async fn said(resolver: SocketAddr) -> Vec<(Option<Status>, String)> {
    let cx = || {
        let cx = bare_context(NetOptions { resolver: Some(resolver), ..NetOptions::default() });
        let issuer = Issuer {
            host: DOMAIN.to_owned(),
            port: HTTPS,
            organisation: Some("Let's Encrypt".to_owned()),
            common_name: None,
            accepted: true,
        };
        cx.facts.issuers.learn(vec![issuer]);
        Arc::new(cx)
    };
    let checks: [BoxFuture<'_, Outcome>; 8] = [
        addresses(cx()).boxed(),
        authority::authority(cx()).boxed(),
        aliases::aliases(cx()).boxed(),
        missing::missing(cx()).boxed(),
        dnssec::signatures(cx()).boxed(),
        ipv6::published(cx()).boxed(),
        caa::caa(cx()).boxed(),
        mail::records(cx()).boxed(),
    ];
    let mut said = Vec::new();
    for outcome in join_all(checks).await {
        match outcome {
            Ok(findings) => {
                assert!(!findings.is_empty());
                said.extend(findings.into_iter().map(|f| (Some(f.status), whole(&f))));
            }
            Err(Stop::Skip(reason) | Stop::Unable(reason)) => said.push((None, printable(&reason))),
        }
    }
    said
}

/// All its texts, as reports show them.
fn whole(finding: &Finding) -> String {
    let seen = finding.evidence.iter().map(|e| format!("{}: {}", e.label, e.value));
    let remedy = finding.remedy.iter().flat_map(|r| [r.text.clone(), r.commands.join("\n")]);
    let words = [finding.target.clone(), finding.cause.clone()].into_iter().flatten();
    let parts = [format!("{} {}", finding.code, finding.summary)].into_iter();
    parts.chain(words).chain(seen).chain(remedy).collect::<Vec<_>>().join("\n")
}

fn nothing(_: &[u8]) -> Vec<u8> {
    Vec::new()
}

fn garbage(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer.extend([0xff; 600]);
    answer[2] |= 0x80;
    // So many records are said to follow.
    answer[6..12].fill(0xff);
    answer
}

/// A name that points at itself.
fn compressed_in_a_circle(query: &[u8]) -> Vec<u8> {
    let mut answer = query.get(..12).unwrap_or_default().to_vec();
    answer[2] |= 0x80;
    answer[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    answer
}

fn cut_off(query: &[u8]) -> Vec<u8> {
    let whole = with_records(query, 20);
    whole[..whole.len() - 7].to_vec()
}

fn truncated(query: &[u8]) -> Vec<u8> {
    let mut answer = response(query);
    answer.metadata.truncation = true;
    answer.to_vec().unwrap()
}

fn thousands(query: &[u8]) -> Vec<u8> {
    with_records(query, 1500)
}

fn response(query: &[u8]) -> Message {
    let query = Message::from_vec(query).unwrap();
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.add_query(query.queries[0].clone());
    answer.metadata.authoritative = true;
    answer
}

fn with_records(query: &[u8], count: u32) -> Vec<u8> {
    let mut answer = response(query);
    let question = answer.queries[0].clone();
    let other = |n: u32| Name::from_ascii(format!("h{n}.example.test.")).unwrap();
    let data = (0..count).filter_map(|n| {
        Some(match question.query_type() {
            RecordType::A => RData::A(A(n.into())),
            RecordType::CNAME => RData::CNAME(CNAME(other(n))),
            RecordType::NS => RData::NS(NS(other(n))),
            RecordType::MX => RData::MX(MX::new(1, other(n))),
            RecordType::TXT => RData::TXT(TXT::from_bytes(vec![b"v=spf1 include:x"])),
            _ => return None,
        })
    });
    let records: Vec<_> = data.map(|data| Record::from_rdata(question.name().clone(), 60, data)).collect();
    answer.add_answers(records);
    answer.to_vec().unwrap()
}

/// What a terminal would obey, wherever text may be.
fn escapes(query: &[u8]) -> Vec<u8> {
    const EVIL: &[u8] = b"\x1b]0;owned\x07\x1b[2J\xe2\x80\xae";
    let mut answer = response(query);
    let question = answer.queries[0].clone();
    let evil = || Name::from_labels([EVIL, b"test"]).unwrap();
    let data = match question.query_type() {
        RecordType::TXT => [&b"ms-domain-verification="[..], &b"v=spf1 "[..], &b"v=DMARC1; p="[..]]
            .map(|start| RData::TXT(TXT::from_bytes(vec![start, EVIL])))
            .into(),
        RecordType::CNAME => vec![RData::CNAME(CNAME(evil()))],
        RecordType::NS => vec![RData::NS(NS(evil()))],
        RecordType::MX => vec![RData::MX(MX::new(1, evil()))],
        RecordType::CAA => {
            let mut caa = CAA::new_issue(true, None, Vec::new());
            caa.value = EVIL.to_vec();
            vec![RData::CAA(caa)]
        }
        _ => Vec::new(),
    };
    answer.add_answers(data.into_iter().map(|data| Record::from_rdata(question.name().clone(), 60, data)));
    answer.to_vec().unwrap()
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_none_make_no_finding_about_the_deployment() {
    for hostile in [nothing as Answers, garbage, compressed_in_a_circle, cut_off] {
        let said = said(server(hostile, hostile).await).await;
        let is_blamed = |status: &Option<Status>| matches!(status, Some(Status::Fail | Status::Warn));
        assert!(!said.iter().any(|(status, _)| is_blamed(status)), "{said:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_which_the_rest_is_never_to_be_had_are_an_end_as_well() {
    for rest in [nothing as Answers, garbage] {
        assert!(!said(server(truncated, rest).await).await.is_empty());
    }
}

#[tokio::test]
async fn thousands_of_records_are_cut() {
    let said = said(server(truncated, thousands).await).await;
    for (_, text) in said {
        assert!(text.len() < 20_000, "{} bytes: {text}", text.len());
    }
}

#[tokio::test]
async fn nothing_that_a_terminal_obeys_survives() {
    let said = said(server(escapes, escapes).await).await;
    assert!(said.iter().any(|(_, text)| text.contains("owned")), "{said:#?}");
    for (_, text) in said {
        assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text}");
    }
}
