//! Reticulum's socket, over which pages sign in, enter rooms and hear of each other: does it open, and does anybody answer?

use std::sync::Arc;

use crate::{
    check::{Context, Outcome, Stop},
    checks::{room::RETICULUM, websocket::not_opened},
    codes::Code,
    finding::Finding,
    net::{Trust, WebSocketError},
    phoenix::{self, PhoenixError},
    target::{HTTPS, Name},
};

// A refused certificate has its own finding; what is behind it is looked at all the same.
pub(crate) async fn heartbeat(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Root)?;
    cx.facts.reticulum.get()?;
    let host = cx.target.host(Name::Root);
    let answered = phoenix::heartbeat(&cx.net, &host, HTTPS, Trust::Anything).await;
    Ok(vec![judge(answered)?.at(format!("wss://{host}/socket/websocket"))])
}

fn judge(answered: Result<(), PhoenixError>) -> Result<Finding, Stop> {
    let code = Code::PhoenixSocket;
    Ok(match answered {
        Ok(()) => Finding::pass(code, "Reticulum's socket opens and answers"),
        Err(PhoenixError::Socket(WebSocketError::Refused { status, .. })) if status.as_u16() == 403 => {
            Finding::fail(code, "Reticulum does not open its socket to pages of this domain (403)")
                .because("its setting allowed_origins, which is \"*\" in Hubs, names other domains only")
                .fix(
                    "Look at allowed_origins in its configuration, and restart it:",
                    [
                        "kubectl get configmap ret-config -n hcce -o yaml",
                        "kubectl rollout restart deployment reticulum -n hcce",
                    ],
                )
        }
        Err(PhoenixError::Socket(e)) => return not_opened(code, &RETICULUM, &e),
        Err(e @ (PhoenixError::Silent | PhoenixError::Refused(_) | PhoenixError::Malformed { .. })) => {
            Finding::fail(code, format!("Reticulum's socket opens, and its heartbeat is not answered: {e}"))
                .because("Reticulum hangs, or something else answers in its place")
                .fix("Look at its pod and its log:", [RETICULUM.pods, RETICULUM.log])
        }
    })
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use serde_json::{Value, json};
    use tokio_tungstenite::{
        accept_hdr_async,
        tungstenite::{
            Message,
            handshake::server::{ErrorResponse, Request, Response},
            http::StatusCode,
        },
    };

    use super::*;
    use crate::{
        finding::Status,
        testing::{Authority, DOMAIN, context, tls_server},
    };

    /// What is found of a socket that opens to pages of this origin, and answers each message so.
    async fn found(origin: &'static str, answer: fn(&Value) -> Value) -> Outcome {
        let authority = Authority::new();
        let server = tls_server(authority.issue(&[DOMAIN], -1..60), move |stream| async move {
            #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
            let check = |request: &Request, response: Response| {
                let path = request.uri().to_string();
                assert_eq!(path, "/socket/websocket?vsn=2.0.0");
                if request.headers()["origin"] == origin {
                    return Ok(response);
                }
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = StatusCode::FORBIDDEN;
                Err(refusal)
            };
            let Ok(mut socket) = accept_hdr_async(stream, check).await else { return };
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let answer = answer(&serde_json::from_str(&text).unwrap());
                socket.send(Message::text(answer.to_string())).await.unwrap();
            }
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Root, HTTPS, server)]);
        cx.facts.reticulum.learn(());
        heartbeat(cx).await
    }

    fn answer_heartbeat(message: &Value) -> Value {
        assert_eq!(*message, json!([null, "1", "phoenix", "heartbeat", {}]));
        json!([null, "1", "phoenix", "phx_reply", { "status": "ok", "response": {} }])
    }

    #[tokio::test]
    async fn a_socket_that_answers_its_heartbeat_passes() {
        let finding = &found("https://hubs.example.test", answer_heartbeat).await.unwrap()[0];
        assert_eq!((finding.code, finding.status), (Code::PhoenixSocket, Status::Pass), "{finding:?}");
    }

    #[tokio::test]
    async fn a_socket_for_other_origins_is_told_from_a_dead_one() {
        let finding = &found("https://other.example.test", answer_heartbeat).await.unwrap()[0];
        assert_eq!((finding.status, finding.remedy.is_some()), (Status::Fail, true));
        assert!(finding.cause.as_ref().unwrap().contains("allowed_origins"), "{finding:?}");
    }

    #[tokio::test]
    async fn a_socket_whose_heartbeat_is_refused_or_answered_with_nonsense_is_a_fault() {
        let refused: fn(&Value) -> Value =
            |_| json!([null, "1", "phoenix", "phx_reply", { "status": "error", "response": {} }]);
        for answer in [refused, |_| json!({ "hello": "there" })] {
            let finding = &found("https://hubs.example.test", answer).await.unwrap()[0];
            assert_eq!((finding.status, finding.remedy.is_some()), (Status::Fail, true), "{finding:?}");
        }
        assert_eq!(judge(Err(PhoenixError::Silent)).unwrap().status, Status::Fail);
    }
}
