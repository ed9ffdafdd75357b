//! The web side: is this Hubs, is it well, and does the ingress lead to dialog?

use std::sync::Arc;

use serde_json::Value;

use crate::{
    check::{Context, Outcome},
    checks::no_connection,
    codes::Code,
    finding::Finding,
    net::{Answer, HttpError, Trust},
    target::{DIALOG, HTTPS, Name},
};

const PODS: &str = "kubectl get pods -n hcce";
const INGRESS: &str = "kubectl get ingress -n hcce";
const DIALOG_LOG: &str = "kubectl logs -n hcce -l app=dialog --tail=50";
const RETICULUM_LOG: &str = "kubectl logs -n hcce deploy/reticulum -c reticulum --tail=50";

// A refused certificate has its own finding; what is behind it is looked at all the same.
pub(crate) async fn hubs(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Root)?;
    let host = cx.target.host(Name::Root);
    let get = |path| cx.net.get(&host, HTTPS, path, Trust::Anything);
    let (health, meta, page) = tokio::join!(get("/health"), get("/api/v1/meta"), get("/"));
    if let Err(HttpError::Tls(e)) = &page {
        return Err(no_connection(e));
    }
    let is_there = answers(&health);
    if is_there {
        cx.facts.reticulum.learn(());
    }
    let health = judge_health(health).at(format!("https://{host}/health"));
    let (meta, page) = if is_there {
        (judge_meta(meta, cx.target.domain()), judge_page(page))
    } else {
        let skip = |code| Finding::skip(code, format!("Reticulum does not answer, see {}", health.code));
        (skip(Code::HubsMeta), skip(Code::HubsName))
    };
    let meta = meta.at(format!("https://{host}/api/v1/meta"));
    Ok(vec![health, meta, page.at(format!("https://{host}/"))])
}

/// Whether it was somebody behind haproxy who answered.
fn answers(answer: &Result<Answer, HttpError>) -> bool {
    answer.as_ref().is_ok_and(|answer| !matches!(answer.status.as_u16(), 502..=504))
}

fn judge_health(answer: Result<Answer, HttpError>) -> Finding {
    let code = Code::HubsHealthy;
    match answer {
        Ok(answer) if answer.status.is_success() => Finding::pass(code, "Hubs says that it is healthy"),
        Ok(answer) if answer.status == 503 => {
            Finding::fail(code, "haproxy answers, but nothing is behind it (503)")
                .because("Reticulum's pod does not run or is not ready")
                .fix("Look at the pods and at Reticulum's log:", [PODS, RETICULUM_LOG])
        }
        Ok(answer) if answer.status == 500 => Finding::fail(code, "Hubs says that it is not healthy (500)")
            .because("Reticulum does not have the pages of Hubs or Spoke, or knows no dialog")
            .seen("body", answer.text())
            .fix("Look at the pods and at Reticulum's log:", [PODS, RETICULUM_LOG]),
        Ok(answer) => {
            Finding::fail(code, format!("/health answers {}: this is not Reticulum", answer.status))
                .because("the domain leads to something else than Reticulum")
                .fix("Look at where the ingress sends this domain:", [INGRESS])
        }
        Err(e) => no_answer(code, &e, "Reticulum", RETICULUM_LOG),
    }
}

fn judge_meta(answer: Result<Answer, HttpError>, domain: &str) -> Finding {
    let code = Code::HubsMeta;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => return no_answer(code, &e, "Reticulum", RETICULUM_LOG),
    };
    let meta: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let field = |name: &str| meta.as_ref().and_then(|m| m.get(name)).and_then(Value::as_str);
    let Some(version) = field("version") else {
        return Finding::fail(
            code,
            format!("/api/v1/meta answers {} and no version: this is not Reticulum", answer.status),
        )
        .seen("body", answer.text())
        .fix("Look at where the ingress sends this domain:", [INGRESS]);
    };
    match field("phx_host") {
        Some(host) if host.eq_ignore_ascii_case(domain) => {
            Finding::pass(code, format!("Reticulum {version}"))
        }
        Some(host) => Finding::fail(code, format!("Reticulum sends browsers to {host} instead of {domain}"))
            .because("HUB_DOMAIN was another one when the manifest was generated")
            .fix(
                "Generate and apply the manifest again, then restart all pods:",
                [
                    "npm run gen-hcce",
                    "kubectl apply -f hcce.yaml",
                    "kubectl rollout restart deployment -n hcce",
                ],
            ),
        None => Finding::warn(
            code,
            format!("Reticulum {version} does not say under which name browsers open its socket"),
        ),
    }
}

fn judge_page(answer: Result<Answer, HttpError>) -> Finding {
    let code = Code::HubsName;
    match answer {
        Ok(answer) if answer.status == 302 && answer.header("location") == Some("/admin") => Finding::pass(
            code,
            "Hubs waits for its first account: the domain leads to /admin until there is one",
        ),
        Ok(answer) => match answer.header("hub-name") {
            Some(name) => Finding::pass(code, format!("the page calls itself {name:?}")),
            None => Finding::fail(
                code,
                format!("the page ({}) is not one of Hubs: it has no header hub-name", answer.status),
            )
            .because("the domain leads to something else than Reticulum")
            .fix("Look at where the ingress sends this domain:", [INGRESS]),
        },
        Err(e) => no_answer(code, &e, "Reticulum", RETICULUM_LOG),
    }
}

pub(crate) async fn dialog(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Stream)?;
    let host = cx.target.host(Name::Stream);
    let answer = cx.net.get(&host, DIALOG, "/", Trust::Anything).await;
    if let Err(HttpError::Tls(e)) = &answer {
        return Err(no_connection(e));
    }
    Ok(vec![judge_dialog(answer).at(format!("https://{host}:{DIALOG}/"))])
}

/// Dialog answers 404 through Express to everything that is no WebSocket; haproxy answers 503 in its place.
fn judge_dialog(answer: Result<Answer, HttpError>) -> Finding {
    let code = Code::DialogBehindIngress;
    match answer {
        Ok(answer) if answer.header("x-powered-by") == Some("Express") => {
            Finding::pass(code, "dialog answers behind the ingress")
        }
        Ok(answer) if answer.status == 503 => {
            Finding::fail(code, "haproxy answers, but dialog is not behind it (503)")
                .because("dialog's pod does not run or is not ready")
                .fix(
                    "Look at dialog's pod and its log:",
                    ["kubectl get pods -n hcce -l app=dialog", DIALOG_LOG],
                )
        }
        Ok(answer) => Finding::fail(code, format!("something else than dialog answers ({})", answer.status))
            .seen("server", answer.header("server").unwrap_or("not said"))
            .fix(
                "Look at where the ingress sends this name:",
                ["kubectl get ingress dialog -n hcce -o yaml"],
            ),
        Err(e) => no_answer(code, &e, "dialog", DIALOG_LOG),
    }
}

fn no_answer(code: Code, error: &HttpError, server: &str, log: &str) -> Finding {
    Finding::fail(code, error.to_string())
        .because(format!("{server} hangs or crashes, or something between it and haproxy breaks"))
        .fix("Look at the pods and at its log:", [PODS, log])
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode, body::Bytes, header::HeaderName};

    use super::*;
    use crate::finding::Status;

    /// An answer, as the judges take it: with the error that it might have been.
    #[allow(clippy::unnecessary_wraps, reason = "it stands in for a call that can fail")]
    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Result<Answer, HttpError> {
        let headers: HeaderMap =
            headers.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect();
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
        })
    }

    #[test]
    fn health_is_what_its_status_says() {
        assert_eq!(judge_health(answer(200, &[], "ok")).status, Status::Pass);
        assert_eq!(judge_health(answer(500, &[], "error")).status, Status::Fail);
        let not_there = judge_health(answer(503, &[], "<html>503</html>"));
        assert!(not_there.summary.contains("haproxy"), "{}", not_there.summary);
        assert_eq!(judge_health(Err(HttpError::Silent)).status, Status::Fail);
    }

    #[test]
    fn what_haproxy_says_in_reticulums_place_is_not_taken_for_reticulums_answer() {
        assert!(answers(&answer(200, &[], "ok")) && answers(&answer(500, &[], "error")));
        assert!(!answers(&answer(503, &[], "")) && !answers(&Err(HttpError::Silent)));
    }

    #[test]
    fn reticulum_must_send_browsers_to_the_domain() {
        let meta = |host: &str| answer(200, &[], &format!(r#"{{"version":"1.0","phx_host":"{host}"}}"#));
        assert_eq!(judge_meta(meta("hubs.example.org"), "hubs.example.org").status, Status::Pass);
        assert_eq!(judge_meta(meta("old.example.org"), "hubs.example.org").status, Status::Fail);
        assert_eq!(
            judge_meta(answer(200, &[], "<html>parked</html>"), "hubs.example.org").status,
            Status::Fail
        );
    }

    #[test]
    fn a_page_of_hubs_says_so_in_its_header() {
        assert_eq!(judge_page(answer(200, &[("hub-name", "My Hub")], "")).status, Status::Pass);
        assert_eq!(judge_page(answer(200, &[], "It works!")).status, Status::Fail);
        assert_eq!(judge_page(answer(302, &[("location", "/admin")], "")).status, Status::Pass);
        assert_eq!(judge_page(answer(302, &[("location", "https://example.org/")], "")).status, Status::Fail);
    }

    #[test]
    fn dialog_is_known_by_its_404_and_its_absence_by_haproxys_503() {
        assert_eq!(judge_dialog(answer(404, &[("x-powered-by", "Express")], "")).status, Status::Pass);
        assert!(judge_dialog(answer(503, &[], "")).summary.contains("haproxy"));
        assert_eq!(judge_dialog(answer(404, &[("server", "nginx")], "")).status, Status::Fail);
    }
}
