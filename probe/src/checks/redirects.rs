//! Redirects: does `http://` lead to `https://`, and does the domain lead to its own page, not in circles and not elsewhere?
//!
//! Nothing but the deployment's own names is asked, wherever a redirect leads.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use tokio::time::Instant;
use url::{Position, Url};

use crate::{
    check::{Context, Outcome},
    checks::no_connection,
    codes::Code,
    finding::Finding,
    net::{Answer, ConnectError, HttpError, ResolveError, Scheme, TlsError, Trust},
    target::{Name, Target},
};

/// As many as any sensible page takes, and some more; browsers give up after twenty.
const MOST_HOPS: usize = 6;

/// How long redirects are followed, each of which may take its time.
const PATIENCE: Duration = Duration::from_secs(12);

const HAPROXY_CONFIG: &str = "kubectl get configmap haproxy-config -n hcce -o yaml";
const LB_PORTS: &str = "kubectl get service lb -n hcce -o jsonpath='{.spec.ports[*].port}'";
const INGRESS: &str = "kubectl get ingress -n hcce";

pub(crate) async fn followed(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Root)?;
    let host = cx.target.host(Name::Root);
    let page = |scheme: &str| Url::parse(&format!("{scheme}://{host}/"));
    // A domain that was read as one can stand in a URL.
    let (Ok(http), Ok(https)) = (page("http"), page("https")) else { return Ok(Vec::new()) };
    let (plain, walk) = tokio::join!(get(&cx, &http), walk(&cx, https.clone()));
    if let Walk { hops, end: End::NoAnswer(HttpError::Tls(e)) } = &walk
        && hops.len() == 1
    {
        return Err(no_connection(e));
    }
    Ok(vec![
        judge_plain(plain, &http, cx.target.domain()).at(http),
        judge_walk(&walk, cx.target.domain()).at(https),
    ])
}

async fn get(cx: &Context, url: &Url) -> Result<Answer, HttpError> {
    let scheme = if url.scheme() == "http" { Scheme::Http } else { Scheme::Https };
    let port = url.port().unwrap_or_else(|| scheme.port());
    let path = &url[Position::BeforePath..Position::AfterQuery];
    cx.net.site(scheme, url.host_str().unwrap_or_default(), port, Trust::Anything).get(path).await
}

/// Where an answer sends browsers.
fn leads_to(answer: &Answer, from: &Url) -> Option<Url> {
    let moved = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let location = answer.header("location").filter(|_| moved.contains(&answer.status))?;
    let mut url = from.join(location).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.set_fragment(None);
    Some(url)
}

/// Where the redirects from one page led.
struct Walk {
    /// The pages that were asked, the first one included.
    hops: Vec<Url>,
    end: End,
}

enum End {
    /// At a page that is no redirect.
    Page(StatusCode),
    /// At a place that does not belong to the deployment, and was not asked.
    Elsewhere(Url),
    /// At a page that had been asked before.
    Circle(Url),
    /// Not after so many.
    TooLong,
    /// The last one did not answer.
    NoAnswer(HttpError),
}

async fn walk(cx: &Context, start: Url) -> Walk {
    let end = Instant::now() + PATIENCE;
    let mut hops = vec![start];
    loop {
        let here = &hops[hops.len() - 1];
        let next = match get(cx, here).await {
            Ok(answer) => match leads_to(&answer, here) {
                Some(next) => next,
                None => return Walk { hops, end: End::Page(answer.status) },
            },
            Err(e) => return Walk { hops, end: End::NoAnswer(e) },
        };
        let end = if !is_own(&next, &cx.target) {
            End::Elsewhere(next)
        } else if hops.contains(&next) {
            End::Circle(next)
        } else if hops.len() > MOST_HOPS || Instant::now() > end {
            End::TooLong
        } else {
            hops.push(next);
            continue;
        };
        return Walk { hops, end };
    }
}

fn is_own(url: &Url, target: &Target) -> bool {
    Name::ALL.iter().any(|name| url.host_str() == Some(target.host(*name).as_str()))
}

fn judge_walk(walk: &Walk, domain: &str) -> Finding {
    let code = Code::PageReached;
    let redirected = walk.hops.len() > 1;
    let behind = "something before haproxy ends TLS and asks it over http, or a redirect was set up twice";
    let finding = match &walk.end {
        End::Page(status) if status.is_success() => {
            Finding::pass(code, "the domain leads to its own page")
        }
        End::Page(status) if redirected => {
            Finding::fail(code, format!("the domain leads to a page that is not there ({status})"))
                .fix("Look at where the ingress sends this domain:", [INGRESS])
        }
        End::NoAnswer(e) if redirected => {
            Finding::fail(code, format!("the domain leads to a page that does not answer: {e}"))
                .fix("Look at where the ingress sends this domain:", [INGRESS])
        }
        End::Page(_) | End::NoAnswer(_) => {
            return Finding::skip(code, format!("there is no page, see {}", Code::HubsName));
        }
        End::Elsewhere(url) => Finding::fail(
            code,
            format!("{domain} sends browsers away, to {}", url.host_str().unwrap_or("nowhere")),
        )
        .seen("to", url)
        .because("the name leads to another web server, or the ingress redirects it")
        .fix("Look at where the domain leads, and where the ingress sends it:", [
            format!("kubectl get service lb -n hcce -o jsonpath='{{.status.loadBalancer.ingress[*].ip}}' && nslookup {domain}"),
            INGRESS.to_owned(),
        ]),
        End::Circle(url) => {
            Finding::fail(code, "the page leads back to itself, so browsers show an error in its place")
                .seen("back to", url)
                .because(behind)
                .fix("Take out what is before the load balancer, or the redirect:", [INGRESS, HAPROXY_CONFIG])
        }
        End::TooLong => {
            Finding::fail(code, format!("after {} redirects there is still no page", walk.hops.len() - 1))
                .because(behind)
                .fix("Take out what is before the load balancer, or the redirect:", [INGRESS, HAPROXY_CONFIG])
        }
    };
    if redirected {
        finding.seen("by way of", walk.hops.iter().skip(1).map(Url::as_str).collect::<Vec<_>>().join(", "))
    } else {
        finding
    }
}

fn judge_plain(answer: Result<Answer, HttpError>, from: &Url, domain: &str) -> Finding {
    let code = Code::PlainHttp;
    let answer = match answer {
        Ok(answer) => answer,
        Err(HttpError::Tls(
            e @ TlsError::Connect(
                ConnectError::Resolve(ResolveError::Resolver { .. }) | ConnectError::Io { .. },
            ),
        )) => return Finding::error(code, e.to_string()),
        Err(e) => {
            return Finding::warn(code, format!("port 80 does not serve: {e}"))
                .because("the authority comes to port 80 when a certificate is renewed, and people who type the name may as well")
                .fix("Look at whether the load balancer forwards port 80:", [LB_PORTS]);
        }
    };
    match leads_to(&answer, from) {
        Some(to) if to.scheme() == "https" && to.host_str() == Some(domain) => {
            Finding::pass(code, "http:// leads to https://")
        }
        Some(to) if to == *from => {
            Finding::fail(code, "http:// leads back to itself, so browsers show an error")
                .fix("Look at haproxy's configuration:", [HAPROXY_CONFIG, INGRESS])
        }
        Some(to) => Finding::warn(code, "http:// leads to another place than https://")
            .seen("to", to)
            .fix("Look at haproxy's configuration:", [HAPROXY_CONFIG, INGRESS]),
        None if answer.status.is_success() => {
            Finding::warn(code, "pages are served without TLS, and there browsers give nobody a microphone")
                .because("haproxy's configuration lacks ssl-redirect: \"true\", which Hubs sets")
                .fix("Set it again:", ["kubectl edit configmap haproxy-config -n hcce"])
        }
        None => Finding::warn(code, format!("port 80 answers {} in the place of a redirect", answer.status))
            .fix("Look at haproxy's configuration:", [HAPROXY_CONFIG, INGRESS]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        check::Stop,
        finding::Status,
        target::HTTPS,
        testing::{Authority, DOMAIN, context, tcp_server, tls_server},
    };

    /// What is found where each request for PATH is answered with `status` and this location, made of the path.
    async fn found(
        plain: (u16, &'static str),
        pages: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> [Finding; 2] {
        let head = |status, to: &str| {
            format!("HTTP/1.1 {status} X\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        };
        let http = tcp_server(move |mut stream| async move {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(head(plain.0, plain.1).as_bytes()).await;
        })
        .await;
        let authority = Authority::new();
        let https = tls_server(authority.issue(&[DOMAIN], -1..60), move |mut stream| {
            let pages = pages.clone();
            async move {
                let mut request = [0; 2048];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let (status, to) = pages(request.split(' ').nth(1).unwrap_or_default());
                let _ = stream.write_all(head(status, &to).as_bytes()).await;
            }
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Root, 80, http), (Name::Root, HTTPS, https)]);
        followed(cx).await.unwrap().try_into().unwrap()
    }

    proptest! {
        #[test]
        fn no_location_makes_the_reader_panic(to in "[a-z:/?#@.\\[\\]%\\\\ -]{0,60}") {
            let mut headers = hyper::HeaderMap::new();
            headers.insert("location", to.parse().unwrap());
            let answer = Answer { status: StatusCode::FOUND, headers, body: hyper::body::Bytes::new() };
            let from = "https://hubs.example.test/a/b?c".parse().unwrap();
            let next = leads_to(&answer, &from);
            prop_assert!(next.is_none_or(|url| matches!(url.scheme(), "http" | "https")));
        }
    }

    const HERE: (u16, &str) = (302, "https://hubs.example.test/");

    #[tokio::test]
    async fn a_domain_that_leads_to_its_page_is_as_it_should_be() {
        let [plain, page] = found(HERE, |_| (200, String::new())).await;
        assert_eq!((plain.code, plain.status), (Code::PlainHttp, Status::Pass), "{plain:?}");
        assert_eq!((page.code, page.status), (Code::PageReached, Status::Pass), "{page:?}");
    }

    #[tokio::test]
    async fn a_new_deployment_leads_to_its_administration() {
        let answer = |path: &str| if path == "/" { (302, "/admin".to_owned()) } else { (200, String::new()) };
        let [_, page] = found(HERE, answer).await;
        assert_eq!(
            (page.status, page.evidence[0].value.as_str()),
            (Status::Pass, "https://hubs.example.test/admin")
        );
    }

    #[tokio::test]
    async fn circles_and_endless_redirects_are_told_from_each_other() {
        let [_, circle] = found(HERE, |_| (301, "https://hubs.example.test/".to_owned())).await;
        assert_eq!((circle.status, circle.remedy.is_some()), (Status::Fail, true));
        assert!(circle.summary.contains("back to itself"), "{circle:?}");
        let [_, endless] = found(HERE, |path| (302, format!("{path}again/"))).await;
        assert_eq!((endless.status, endless.remedy.is_some()), (Status::Fail, true));
        assert!(endless.summary.contains("6 redirects"), "{endless:?}");
    }

    #[tokio::test]
    async fn another_place_is_named_and_not_asked() {
        // Were it asked, nobody would answer, which is another finding.
        let [_, away] = found(HERE, |_| (302, "https://www.example.org/x".to_owned())).await;
        assert_eq!(away.status, Status::Fail, "{away:?}");
        assert!(away.summary.contains("sends browsers away, to www.example.org"), "{away:?}");
        let [_, gone] =
            found(HERE, |path| if path == "/" { (302, "/gone".to_owned()) } else { (404, String::new()) })
                .await;
        assert_eq!((gone.status, gone.remedy.is_some()), (Status::Fail, true), "{gone:?}");
    }

    #[tokio::test]
    async fn what_port_80_does_instead_of_redirecting_is_said() {
        for (answer, status, text) in [
            ((200, ""), Status::Warn, "without TLS"),
            ((302, "http://hubs.example.test/"), Status::Fail, "back to itself"),
            ((302, "https://www.example.org/"), Status::Warn, "another place"),
            ((503, ""), Status::Warn, "503"),
        ] {
            let [plain, _] = found(answer, |_| (200, String::new())).await;
            assert_eq!((plain.status, plain.remedy.is_some()), (status, true), "{plain:?}");
            assert!(plain.summary.contains(text), "{plain:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_80_is_a_warning_and_a_closed_port_443_another_checks_finding() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url: Url = "http://hubs.example.test/".parse().unwrap();
        let cx = context(None, &[(Name::Root, 80, closed), (Name::Root, HTTPS, closed)]);
        let plain = judge_plain(get(&cx, &url).await, &url, DOMAIN);
        assert_eq!((plain.status, plain.remedy.is_some()), (Status::Warn, true), "{plain:?}");
        assert!(matches!(followed(cx).await, Err(Stop::Skip(reason)) if reason.contains("tls.certificates")));
    }
}
