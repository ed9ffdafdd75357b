//! What `cors.` serves: the CORS proxy, through which pages read files of other sites, and the thumbnails of pictures.
//!
//! Both are given files of the deployment itself, so that no third party is asked for anything.

use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::Value;
use url::Url;

use crate::{
    check::{Context, Outcome},
    checks::{assets::allows, no_connection},
    codes::Code,
    facts::Missing,
    finding::Finding,
    net::{Answer, HttpError, Scheme, Trust},
    target::{HTTPS, Name},
};

const RETICULUM_LOG: &str = "kubectl logs -n hcce deploy/reticulum -c reticulum --tail=50";
const NEARSPARK: [&str; 2] =
    ["kubectl get pods -n hcce -l app=nearspark", "kubectl logs -n hcce deploy/nearspark --tail=50"];

pub(crate) async fn proxies(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Cors)?;
    cx.facts.reticulum.get()?;
    let host = cx.target.host(Name::Cors);
    let own = format!("https://{}/api/v1/meta", cx.target.domain());
    let picture = cx.facts.picture.get();
    // It decodes what it is given as a URL's part, and needs a picture: what is none makes it crash.
    let thumbnail = match picture {
        Ok(url) => format!("/nearspark/thumbnail/{}?w=32&h=32", BASE64_URL_SAFE_NO_PAD.encode(url.as_str())),
        Err(_) => "/nearspark/".to_owned(),
    };
    let get = async |path: &str| {
        let mut site =
            cx.net.site(Scheme::Https, &host, HTTPS, Trust::Anything).from_page_of(cx.target.domain());
        site.get(path).await
    };
    let proxied = format!("/{own}");
    let (proxied, thumbnail) = tokio::join!(get(&proxied), get(&thumbnail));
    if let Err(HttpError::Tls(e)) = &proxied {
        return Err(no_connection(e));
    }
    let is_internal = cx.facts.is_internal();
    Ok(vec![
        judge_proxy(proxied, cx.target.domain(), is_internal).at(format!("https://{host}/{own}")),
        judge_thumbnail(thumbnail, picture).at(format!("https://{host}/nearspark/")),
    ])
}

fn judge_proxy(answer: Result<Answer, HttpError>, domain: &str, is_internal: bool) -> Finding {
    let code = Code::CorsProxy;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => {
            return Finding::warn(code, format!("the CORS proxy does not fetch a page of the deployment itself: {e}"))
                .because("Reticulum does not reach the load balancer's address from inside, which it may do for other sites all the same")
                .fix("Look at its log:", [RETICULUM_LOG]);
        }
    };
    let meta: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let is_meta = meta.is_some_and(|meta| meta.get("version").is_some());
    match answer.status.as_u16() {
        200 if is_meta => match allows(&answer.headers, domain) {
            Ok(()) => Finding::pass(code, "the CORS proxy fetches what it is asked for"),
            Err(said) => Finding::fail(code, "the CORS proxy fetches, but browsers may not read what it brings")
                .seen("access-control-allow-origin", said)
                .because("an ingress or a proxy takes away or adds the header that allows it")
                .fix("Look at the annotation haproxy.org/response-set-header:", [
                    "kubectl get ingress ret -n hcce -o yaml",
                ]),
        },
        401 if is_internal => Finding::skip(
            code,
            "the deployment has private addresses, and the proxy fetches nothing from such",
        ),
        401 => Finding::fail(code, "the CORS proxy refuses to fetch a page of the deployment itself (401)")
            .because("it is not asked under the name in cors_proxy_url, or the cluster's DNS gives private addresses for the domain")
            .fix("Look at its log, which says which of the two it is:", [RETICULUM_LOG]),
        403 | 404 | 200 => Finding::fail(code, format!("what answers in the CORS proxy's place is none ({})", answer.status))
            .because("the ingress does not send paths that begin with /http on this name to Reticulum")
            .fix("Look at the ingress:", ["kubectl get ingress ret -n hcce -o yaml"]),
        503 => Finding::fail(code, "haproxy answers, but no CORS proxy is behind it (503)")
            .because("Reticulum's pod does not run or is not ready")
            .fix("Look at its log:", ["kubectl get pods -n hcce -l app=reticulum", RETICULUM_LOG]),
        _ => Finding::warn(code, format!("the CORS proxy does not bring a page of the deployment itself ({})", answer.status))
            .because("Reticulum does not reach the load balancer's address from inside, which it may do for other sites all the same")
            .fix("Look at its log:", [RETICULUM_LOG]),
    }
}

fn judge_thumbnail(answer: Result<Answer, HttpError>, picture: Result<&Url, Missing>) -> Finding {
    let code = Code::Thumbnails;
    let finding = match (answer, picture) {
        (Ok(answer), Ok(_)) if answer.status.is_success() && is_picture(&answer) => {
            Finding::pass(code, "a thumbnail of a picture of the deployment's own is made")
        }
        // Express' way of saying that there is nothing at the path.
        (Ok(answer), Err(_)) if answer.header("x-powered-by") == Some("Express") => Finding::pass(
            code,
            "nearspark answers; the deployment has no picture of which it could make a thumbnail",
        ),
        (Ok(answer), _) if answer.status == 503 => Finding::fail(
            code,
            "haproxy answers, but nearspark, which makes thumbnails, is not behind it (503)",
        )
        .because("nearspark's pod does not run or is not ready")
        .fix("Look at its pod and its log:", NEARSPARK),
        (Ok(answer), _) => Finding::fail(
            code,
            format!("what answers in nearspark's place makes no thumbnails ({})", answer.status),
        )
        .because("the ingress does not send /nearspark on this name to nearspark")
        .fix("Look at the ingress:", ["kubectl get ingress nearspark -n hcce -o yaml"]),
        (Err(e), Ok(_)) => {
            Finding::warn(code, format!("no thumbnail is made of a picture of the deployment's own: {e}"))
                .because("nearspark does not reach the load balancer's address from inside, or hangs")
                .fix("Look at its pod and its log:", NEARSPARK)
        }
        (Err(e), Err(_)) => {
            Finding::fail(code, format!("nearspark, which makes thumbnails, does not answer: {e}"))
                .fix("Look at its pod and its log:", NEARSPARK)
        }
    };
    match picture {
        Ok(url) => finding.seen("picture", url),
        Err(_) => finding,
    }
}

fn is_picture(answer: &Answer) -> bool {
    answer.header("content-type").is_some_and(|kind| kind.starts_with("image/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        testing::{Authority, context, web_server},
    };

    const ALLOWED: &str = "access-control-allow-origin: https://hubs.example.test\r\n";
    const PICTURE: &str = "https://hubs.example.test/app-icon.png";
    const PROXIED: &str = "/https://hubs.example.test/api/v1/meta";

    /// What is found where each path is answered so; a picture is known if one is given.
    async fn found(
        picture: Option<&str>,
        answer: impl Fn(&str) -> (u16, &'static str, &'static str) + Clone + Send + Sync + 'static,
    ) -> [Finding; 2] {
        let authority = Authority::new();
        let server = web_server(authority.issue(&["cors.hubs.example.test"], -1..60), move |path| {
            let (status, headers, body) = answer(path);
            (status, headers.to_owned(), body.to_owned())
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Cors, HTTPS, server)]);
        cx.facts.reticulum.learn(());
        if let Some(picture) = picture {
            cx.facts.picture.learn(picture.parse().unwrap());
        }
        proxies(cx).await.unwrap().try_into().unwrap()
    }

    #[track_caller]
    fn assert_found(finding: &Finding, code: Code, status: Status) {
        assert_eq!((finding.code, finding.status), (code, status), "{finding:#?}");
        assert_eq!(finding.remedy.is_some(), matches!(status, Status::Fail | Status::Warn), "{finding:#?}");
    }

    #[tokio::test]
    async fn a_proxy_that_brings_the_deployments_own_page_passes() {
        let [proxy, thumbnails] = found(None, |path| match path {
            PROXIED => (200, ALLOWED, r#"{"version":"1"}"#),
            _ => (404, "x-powered-by: Express\r\n", "Cannot GET /"),
        })
        .await;
        assert_found(&proxy, Code::CorsProxy, Status::Pass);
        assert_found(&thumbnails, Code::Thumbnails, Status::Pass);
    }

    #[tokio::test]
    async fn each_way_of_not_bringing_it_is_told_from_the_others() {
        for (answer, status) in [
            ((200, "", r#"{"version":"1"}"#), Status::Fail),
            ((200, ALLOWED, "<html>parked</html>"), Status::Fail),
            // The test's deployment has the address 127.0.0.1.
            ((401, "", "Bad request."), Status::Skip),
            ((404, "", "default backend"), Status::Fail),
            ((503, "", ""), Status::Fail),
            ((500, "", "Proxy request failed"), Status::Warn),
        ] {
            let [proxy, _] = found(None, move |_| answer).await;
            assert_found(&proxy, Code::CorsProxy, status);
        }
        let headers = hyper::HeaderMap::new();
        let refused =
            Answer { status: hyper::StatusCode::UNAUTHORIZED, headers, body: hyper::body::Bytes::new() };
        assert_found(&judge_proxy(Ok(refused), "hubs.example.test", false), Code::CorsProxy, Status::Fail);
    }

    #[tokio::test]
    async fn a_thumbnail_is_asked_for_of_a_known_picture_only() {
        let picture = Some(PICTURE);
        let path = "/nearspark/thumbnail/aHR0cHM6Ly9odWJzLmV4YW1wbGUudGVzdC9hcHAtaWNvbi5wbmc?w=32&h=32";
        let [_, made] = found(picture, move |asked| match asked {
            asked if asked == path => (200, "content-type: image/png\r\n", "x"),
            _ => (404, "", ""),
        })
        .await;
        assert_found(&made, Code::Thumbnails, Status::Pass);
        let [_, made] = found(None, move |asked| if asked == path { panic!() } else { (404, "", "") }).await;
        assert_found(&made, Code::Thumbnails, Status::Fail);
    }

    #[tokio::test]
    async fn a_missing_maker_of_thumbnails_is_a_fault() {
        let picture = Some(PICTURE);
        for answer in [(503, ""), (200, "content-type: text/html\r\n"), (404, "")] {
            let [_, thumbnails] = found(picture, move |_| (answer.0, answer.1, "")).await;
            assert_found(&thumbnails, Code::Thumbnails, Status::Fail);
        }
        let silent = judge_thumbnail(Err(HttpError::Silent), Ok(&PICTURE.parse().unwrap()));
        assert_found(&silent, Code::Thumbnails, Status::Warn);
    }
}
