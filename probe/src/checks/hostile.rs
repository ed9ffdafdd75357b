//! Web servers that mean harm: whatever they do, each check of pages and certificates ends in time, and what it says can be printed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::*;
use crate::{
    check::{Context, Outcome},
    facts::{Entity, PageFacts},
    finding::{Finding, Status},
    html::Page,
    target::{DIALOG, HTTPS, Name, TURN},
    testing::{Authority, DOMAIN, context, tls_server, web_server},
};

const NAMES: [&str; 4] =
    [DOMAIN, "assets.hubs.example.test", "stream.hubs.example.test", "cors.hubs.example.test"];

/// Longer than any check of one server may take, with all of its patience.
const LIMIT: Duration = Duration::from_secs(40);

/// A deployment all of whose names are at this server, and whose Reticulum has answered and told of pages.
async fn deployment<F>(
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> Arc<Context>
where
    F: Future<Output = ()> + Send + 'static,
{
    let authority = Authority::new();
    let server = tls_server(authority.issue(&NAMES, -1..60), serve).await;
    knowing(&authority, server)
}

fn knowing(authority: &Authority, server: std::net::SocketAddr) -> Arc<Context> {
    let mut detours: Vec<_> = Name::ALL.map(|name| (name, HTTPS, server)).into();
    detours.extend([(Name::Root, 80, server), (Name::Stream, DIALOG, server), (Name::Stream, TURN, server)]);
    let cx = context(Some(authority.root_pem()), &detours);
    cx.facts.reticulum.learn(());
    let url = format!("https://{DOMAIN}/").parse().unwrap();
    let html = "<script src=/a.js></script><img src=https://assets.hubs.example.test/b.png>";
    let page = Page::read(html, &url);
    cx.facts.pages.learn(vec![PageFacts { entity: Entity::Home, url, page }]);
    cx.facts.picture.learn(format!("https://{DOMAIN}/b.png").parse().unwrap());
    cx
}

/// What each check of pages finds there, or why it found nothing.
async fn checked(cx: &Arc<Context>) -> Vec<Finding> {
    let all = async {
        let (redirects, pages, assets, proxies, socket, certificates) = tokio::join!(
            Box::pin(redirects::followed(Arc::clone(cx))),
            Box::pin(pages::pages(Arc::clone(cx))),
            Box::pin(assets::assets(Arc::clone(cx))),
            Box::pin(proxies::proxies(Arc::clone(cx))),
            Box::pin(socket::heartbeat(Arc::clone(cx))),
            Box::pin(tls::certificates(Arc::clone(cx))),
        );
        [redirects, pages, assets, proxies, socket, certificates]
    };
    let outcomes: [Outcome; 6] = tokio::time::timeout(LIMIT, all).await.unwrap();
    let findings: Vec<_> = outcomes.into_iter().filter_map(Result::ok).flatten().collect();
    for finding in &findings {
        let evidence = finding.evidence.iter().map(|e| &e.value);
        for text in evidence.chain([&finding.summary]) {
            assert!(!text.contains(char::is_control) && text.len() < 10_000, "{text:?}");
        }
    }
    findings
}

#[track_caller]
fn assert_faulty(findings: &[Finding], codes: &[Code]) {
    for code in codes {
        let is_faulty = |f: &Finding| f.code == *code && matches!(f.status, Status::Fail | Status::Warn);
        assert!(findings.iter().any(is_faulty), "{code} is not faulty: {findings:#?}");
    }
}

async fn request(stream: &mut TlsStream<TcpStream>) -> Option<()> {
    let mut last = [0; 4];
    while last != *b"\r\n\r\n" {
        last.rotate_left(1);
        last[3] = stream.read_u8().await.ok()?;
    }
    Some(())
}

#[tokio::test]
async fn redirects_without_end_end_in_a_finding() {
    let authority = Authority::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = web_server(authority.issue(&NAMES, -1..60), move |path| {
        count.fetch_add(1, Ordering::Relaxed);
        (302, format!("location: https://{DOMAIN}{path}x\r\n"), String::new())
    })
    .await;
    let findings = checked(&knowing(&authority, server)).await;
    assert_faulty(&findings, &[Code::PageReached, Code::CorsProxy, Code::Thumbnails]);
    assert!(asked.load(Ordering::Relaxed) < 40, "{asked:?} requests");
}

#[tokio::test]
async fn bodies_without_end_are_not_read_to_their_end() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let cx = deployment(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            if request(&mut stream).await.is_none() {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n").await;
            let chunk = vec![b'<'; 1 << 16];
            while stream.write_all(&chunk).await.is_ok() {
                count.fetch_add(chunk.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    let findings = checked(&cx).await;
    assert_faulty(&findings, &[Code::CorsProxy, Code::Thumbnails]);
    // What was sent and not read lies in the kernel's buffers.
    assert!(sent.load(Ordering::Relaxed) < 128 << 20, "{sent:?} octets");
}

#[tokio::test]
async fn headers_that_never_end_are_not_waited_for() {
    let cx = deployment(|mut stream| async move {
        if request(&mut stream).await.is_none() {
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-more: more\r\n").await.is_ok() {}
    })
    .await;
    assert_faulty(&checked(&cx).await, &[Code::CorsProxy, Code::Thumbnails]);
}

#[tokio::test]
async fn what_is_no_http_at_all_ends_in_findings_that_can_be_printed() {
    let cx = deployment(|mut stream| async move {
        let _ = request(&mut stream).await;
        let _ = stream.write_all(b"\x1b[2J\x1b]0;title\x07\0\xff\xfe HTTP/9.9 \r\r\n\n").await;
    })
    .await;
    assert_faulty(&checked(&cx).await, &[Code::CorsProxy, Code::Thumbnails, Code::PhoenixSocket]);
}

#[tokio::test]
async fn what_a_page_says_is_made_printable_and_cut() {
    let authority = Authority::new();
    let server = web_server(authority.issue(&NAMES, -1..60), move |path| {
        let page = format!(
            "<meta name='env:base_assets_path' content='https://evil.example/\x1b[2J\u{202e}{}'>\
             <meta name='ret:phx_host' content='\x07{path}'><script src='//{DOMAIN}/\x1b.js'></script>",
            "x".repeat(50_000)
        );
        let policy =
            format!("content-security-policy: connect-src {}\r\n", "https://x.example ".repeat(2000));
        (200, format!("hub-name: x\r\n{policy}"), page)
    })
    .await;
    let cx = knowing(&authority, server);
    let pages = pages::pages(Arc::clone(&cx)).await.unwrap();
    assert_faulty(&pages, &[Code::PageHosts, Code::PagePolicy]);
    checked(&cx).await;
}

#[tokio::test]
async fn a_certificate_that_says_escape_sequences_is_described_without_them() {
    let authority = Authority::named("\x1b[31mRoot\u{202e}\r\n");
    let server = web_server(authority.issue(&NAMES, -1..60), |_| (404, String::new(), String::new())).await;
    let cx = knowing(&Authority::new(), server);
    let findings = checked(&cx).await;
    assert_faulty(&findings, &[Code::CertificateUnknownIssuer]);
}
