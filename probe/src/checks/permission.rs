//! The permission: Reticulum signs what somebody may do in a room, and dialog believes it only if both hold the same key.
//!
//! It is shown in a room of our own, which nobody else is in, so nobody sees anybody enter.

use std::sync::Arc;

use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::Trust,
    protoo::{Dialog, ProtooError},
};

const DIALOG_LOG: &str = "kubectl logs -n hcce -l app=dialog --tail=50";
const RESTART_BOTH: &str = "kubectl rollout restart deployment/reticulum deployment/dialog -n hcce";
const RESTART_ALL: &str = "kubectl rollout restart deployment -n hcce";
/// In the secret, lines end in two backslashes and an n.
const SHOW_KEY: &str =
    "kubectl get secret configs -n hcce -o jsonpath='{.data.PERMS_KEY}' | base64 -d | cut -c 1-60";

// A refused certificate has its own finding; what is behind it is looked at all the same.
pub(crate) async fn accepted(cx: Arc<Context>) -> Outcome {
    let room = cx.facts.room.get()?;
    cx.facts.dialog.get()?;
    let place = format!("wss://{}:{}", room.host, room.port);
    let Some(permission) = &room.perms_token else {
        return Ok(vec![none_given().at(place)]);
    };
    let mut dialog = Dialog::open(&cx.net, &room.host, room.port, Trust::Anything)
        .await
        .map_err(|e| Stop::Skip(format!("dialog's WebSocket does not open ({e}), see dialog.candidates")))?;
    // Dialog contradicts its own refusal in a second answer and lets us in; the first one is its verdict.
    let verdict = dialog.show_permission(permission).await;
    dialog.close().await;
    Ok(vec![conclude(&verdict, cx.facts.announced.get().is_ok())?.at(place)])
}

/// A dialog that does nothing else either has a finding for that.
fn conclude(verdict: &Result<(), ProtooError>, works_otherwise: bool) -> Result<Finding, Stop> {
    match verdict {
        Err(ProtooError::Silent { .. } | ProtooError::Socket(_)) if !works_otherwise => {
            Err(Stop::Skip("dialog does nothing that it is asked for, see dialog.candidates".to_owned()))
        }
        verdict => Ok(judge(verdict)),
    }
}

fn none_given() -> Finding {
    Finding::fail(
        Code::PermissionAccepted,
        "Reticulum lets us in and gives no permission, without which dialog lets nobody speak",
    )
    .because("something else answers in Reticulum's place, or a version of it that we do not know")
    .fix("Look at its log:", ["kubectl logs -n hcce deploy/reticulum -c reticulum --tail=50"])
}

/// Why dialog does not believe a permission, told by what the library says that it verifies them with (jsonwebtoken).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disbelief {
    /// Another key signed it than the one that dialog has.
    Signature,
    /// The key that dialog has is none.
    Key,
    /// It has run out, or is not valid yet.
    Dates,
    /// It is no token.
    Form,
    /// It is signed in another way.
    Algorithm,
    /// It is good and allows nobody to enter.
    Forbidden,
    /// Whatever else.
    Other,
}

impl Disbelief {
    fn new(code: u64, reason: &str) -> Self {
        let says = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
        if code == 401 {
            Self::Forbidden
        } else if says(&["invalid signature"]) {
            Self::Signature
        } else if says(&[
            "secretOrPublicKey",
            "secret or public key",
            "PEM routines",
            "DECODER routines",
            "asn1",
        ]) {
            Self::Key
        } else if says(&["jwt expired", "jwt not active"]) {
            Self::Dates
        } else if says(&["jwt malformed", "jwt must be", "invalid token", "Unexpected token"]) {
            Self::Form
        } else if says(&["invalid algorithm"]) {
            Self::Algorithm
        } else {
            Self::Other
        }
    }
}

fn judge(verdict: &Result<(), ProtooError>) -> Finding {
    match verdict {
        Ok(()) => {
            Finding::pass(Code::PermissionAccepted, "dialog accepts the permission that Reticulum gives")
        }
        Err(ProtooError::Refused { code, reason, .. }) => disbelieved(Disbelief::new(*code, reason), reason),
        Err(e) => {
            Finding::fail(Code::PermissionAccepted, format!("dialog gives no verdict on the permission: {e}"))
                .because("dialog hangs or crashes over it, or something between it and us cuts WebSockets")
                .fix("Look at its pod and its log:", ["kubectl get pods -n hcce -l app=dialog", DIALOG_LOG])
        }
    }
}

fn disbelieved(disbelief: Disbelief, reason: &str) -> Finding {
    let fail = |code, summary: &str| Finding::fail(code, summary).seen("dialog says", reason);
    match disbelief {
        Disbelief::Signature => fail(
            Code::PermissionSignature,
            "dialog turns everybody away: Reticulum signs with another key than dialog has",
        )
        .because("each run of npm run gen-hcce makes a new PERMS_KEY, and kubectl apply does not restart the pods that have the old one")
        .fix("Restart all pods, so that each reads the same secret:", [RESTART_ALL]),
        Disbelief::Key => fail(Code::PermissionKey, "dialog turns everybody away: it cannot read its own key")
            .because("PERMS_KEY in the secret configs has \\n between the lines of the key, and Hubs needs \\\\n there")
            .fix("See whether two backslashes are before each n; if not, generate the manifest anew with Hubs' own generator, apply it and restart all pods:", [
                SHOW_KEY,
                "npm run gen-hcce",
                "kubectl apply -f hcce.yaml",
                RESTART_ALL,
            ]),
        Disbelief::Dates => fail(
            Code::PermissionDates,
            "dialog turns everybody away: a permission that was just given has run out for it",
        )
        .because("the clocks of the nodes of Reticulum and dialog are more than five minutes apart")
        .fix("Compare the clocks, and mend that of the node that is wrong:", [
            "kubectl exec -n hcce deploy/reticulum -c reticulum -- date -u",
            "kubectl exec -n hcce deploy/dialog -- date -u",
            "kubectl get pods -n hcce -o wide",
        ]),
        Disbelief::Form => fail(Code::PermissionAccepted, "what Reticulum gives as a permission is none")
            .because("PERMS_KEY did not arrive whole in Reticulum's configuration")
            .fix("Look at the key, then restart both:", [SHOW_KEY, RESTART_BOTH]),
        Disbelief::Algorithm => fail(Code::PermissionAccepted, "dialog takes only permissions that are signed with RS512")
            .because("PERMS_KEY is not the RSA key that Hubs' generator makes")
            .fix("Look at the key, generate the manifest anew with Hubs' own generator, apply it and restart all pods:", [
                SHOW_KEY,
                "npm run gen-hcce",
                "kubectl apply -f hcce.yaml",
                RESTART_ALL,
            ]),
        // The room's people decided so.
        Disbelief::Forbidden => {
            Finding::error(Code::PermissionAccepted, "the room lets us look in and not enter, so dialog's verdict says nothing")
                .fix("Give a room that everybody may enter with --room", [] as [&str; 0])
        }
        Disbelief::Other => fail(Code::PermissionAccepted, "dialog turns everybody away: it refuses the permission")
            .fix("Look at its log, and whether both have the same key:", [DIALOG_LOG, RESTART_BOTH]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        facts::{PermsToken, RoomFacts},
        finding::Status,
        target::Name,
        testing::{Authority, context, dialog_server},
    };

    const HOST: &str = "stream.hubs.example.test";

    /// What is found when dialog gives these answers to a join, without their ids.
    async fn found(permission: Option<&str>, answers: Vec<Value>) -> Outcome {
        let authority = Authority::new();
        let address = dialog_server(authority.issue(&[HOST], -1..60), move |id, method| {
            assert_eq!(method, "join");
            let mut answers = answers.clone();
            for answer in &mut answers {
                answer["response"] = json!(true);
                answer["id"] = json!(id);
            }
            answers
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Stream, 4443, address)]);
        let perms_token = permission.map(|token| PermsToken::new(token.to_owned()));
        cx.facts.room.learn(RoomFacts { host: HOST.to_owned(), port: 4443, turn: None, perms_token });
        cx.facts.dialog.learn(cx.facts.signalling(&cx.target));
        accepted(cx).await
    }

    fn refusal(code: u64, reason: &str) -> Value {
        json!({ "errorCode": code, "errorReason": reason })
    }

    fn welcome() -> Value {
        json!({ "ok": true, "data": { "peers": [] } })
    }

    #[tokio::test]
    async fn a_permission_that_dialog_accepts_passes() {
        let finding = &found(Some("e30.e30.c2ln"), vec![welcome()]).await.unwrap()[0];
        assert_eq!((finding.code, finding.status), (Code::PermissionAccepted, Status::Pass));
    }

    #[tokio::test]
    async fn each_refusal_has_its_own_fault_though_dialog_then_lets_us_in() {
        for (code, reason, fault, status) in [
            (500, "JsonWebTokenError: invalid signature", Code::PermissionSignature, Status::Fail),
            (
                500,
                "secretOrPublicKey must be an asymmetric key when using RS512",
                Code::PermissionKey,
                Status::Fail,
            ),
            (500, "TokenExpiredError: jwt expired", Code::PermissionDates, Status::Fail),
            (500, "jwt malformed", Code::PermissionAccepted, Status::Fail),
            (500, "jwt must be provided", Code::PermissionAccepted, Status::Fail),
            (500, "invalid algorithm", Code::PermissionAccepted, Status::Fail),
            (500, "full moon", Code::PermissionAccepted, Status::Fail),
            (401, "undefined", Code::PermissionAccepted, Status::Error),
        ] {
            let answers = vec![refusal(code, reason), welcome()];
            let finding = &found(Some("e30.e30.c2ln"), answers).await.unwrap()[0];
            assert_eq!((finding.code, finding.status), (fault, status), "{reason}: {finding:#?}");
            assert!(finding.remedy.is_some(), "{finding:#?}");
            assert!(!format!("{finding:?}").contains("e30.e30"));
        }
    }

    #[tokio::test]
    async fn a_room_without_a_permission_is_a_fault_and_no_room_no_finding() {
        let finding = &found(None, vec![]).await.unwrap()[0];
        assert_eq!((finding.code, finding.status), (Code::PermissionAccepted, Status::Fail));
        assert!(
            matches!(accepted(context(None, &[])).await, Err(Stop::Skip(reason)) if reason.contains("room.join"))
        );
    }

    #[tokio::test]
    async fn a_dialog_that_is_not_there_is_another_checks_finding() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let cx = context(None, &[(Name::Stream, 4443, closed)]);
        let perms_token = Some(PermsToken::new("e30.e30.c2ln".to_owned()));
        cx.facts.room.learn(RoomFacts { host: HOST.to_owned(), port: 4443, turn: None, perms_token });
        assert!(
            matches!(accepted(cx).await, Err(Stop::Skip(reason)) if reason.contains("dialog.candidates"))
        );
    }

    #[test]
    fn a_dialog_that_gives_no_verdict_is_a_fault_if_it_does_all_else() {
        let silent = Err(ProtooError::Silent { method: "join" });
        let finding = conclude(&silent, true).unwrap();
        assert_eq!((finding.status, finding.remedy.is_some()), (Status::Fail, true));
        assert!(
            matches!(conclude(&silent, false), Err(Stop::Skip(reason)) if reason.contains("dialog.candidates"))
        );
    }
}
