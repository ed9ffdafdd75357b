//! Dialog: does its WebSocket open, does it make a transport, and where does it tell browsers to send media?

use std::{net::IpAddr, sync::Arc};

use crate::{
    candidate::{Candidate, Kind},
    check::{Context, Outcome},
    checks::websocket::{Server, not_opened},
    codes::Code,
    finding::Finding,
    net::Trust,
    protoo::{Dialog, ProtooError},
    target::Name,
};

const DIALOG: Server = Server {
    name: "dialog",
    pods: "kubectl get pods -n hcce -l app=dialog",
    log: "kubectl logs -n hcce -l app=dialog --tail=50",
    ingress: "kubectl get ingress dialog -n hcce -o yaml",
};

const RESTART: &str = "kubectl rollout restart deployment dialog -n hcce";
/// What dialog would announce if it started now.
const ASK_AGAIN: &str = "kubectl exec -n hcce deploy/dialog -- curl -s https://ipinfo.io/ip";

// A refused certificate has its own finding; what is behind it is looked at all the same.
pub(crate) async fn candidates(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Stream)?;
    let endpoint = cx.facts.signalling(&cx.target);
    let place = format!("wss://{}:{}", endpoint.host, endpoint.port);
    let mut dialog = match Dialog::open(&cx.net, &endpoint.host, endpoint.port, Trust::Anything).await {
        Ok(dialog) => dialog,
        Err(ProtooError::Socket(e)) => {
            return Ok(vec![not_opened(Code::SignallingOpens, &DIALOG, &e)?.at(place)]);
        }
        // Before it is open nothing is asked that could be refused; if ever, it is said here.
        Err(e) => return Ok(vec![judge_transport(&e).at(place)]),
    };
    cx.facts.dialog.learn(endpoint);
    let created = dialog.create_transport().await;
    if let Ok(transport) = &created {
        // Whether it is answered or not: the end of the connection closes the transport as well.
        let _ = dialog.close_transport(&transport.id).await;
    }
    dialog.close().await;

    let mut findings = vec![Finding::pass(Code::SignallingOpens, "dialog's WebSocket opens").at(&place)];
    match created {
        Ok(transport) => {
            findings.push(Finding::pass(Code::TransportCreated, "dialog creates a transport").at(&place));
            findings.extend(judge_candidates(&transport.candidates, cx.facts.is_internal()));
            cx.facts.candidates.learn(transport.candidates.clone());
            let announced: Vec<_> = transport.candidates.iter().filter_map(Candidate::direct).collect();
            if !announced.is_empty() {
                cx.facts.announced.learn(announced);
            }
        }
        Err(e) => findings.push(judge_transport(&e).at(&place)),
    }
    Ok(findings)
}

fn judge_transport(error: &ProtooError) -> Finding {
    let fail = Finding::fail(Code::TransportCreated, error.to_string());
    match error {
        ProtooError::Refused { reason, .. } if reason.contains("no more available ports") => fail
            .because("all of dialog's ports, 40000 to 49999, are taken: each person takes six of them")
            .fix("Restart dialog, which ends the calls that run now:", [RESTART]),
        ProtooError::Silent { .. } => fail
            .because("dialog's media worker hangs or died, while its WebSocket still answers")
            .fix("Look at its log, then restart it:", [DIALOG.log, RESTART]),
        ProtooError::Socket(_) => fail
            .because("dialog crashed over the request, or something between it and us cuts WebSockets")
            .fix("Look at its pod and its log:", [DIALOG.pods, DIALOG.log]),
        ProtooError::Refused { .. } | ProtooError::NotOffered { .. } => {
            fail.fix("Look at its log, then restart it:", [DIALOG.log, RESTART])
        }
        ProtooError::Malformed { .. } => {
            fail.fix("Look at where the ingress sends this name:", [DIALOG.ingress])
        }
    }
}

/// What the candidates are good for; and apart from that, one finding on each text among them that is no address.
fn judge_candidates(candidates: &[Candidate], is_internal: bool) -> Vec<Finding> {
    let mut findings = vec![judge_usable(candidates, is_internal)];
    let mut texts: Vec<_> =
        candidates.iter().map(|c| c.text.as_str()).filter(|text| text.parse::<IpAddr>().is_err()).collect();
    texts.dedup();
    findings.extend(texts.into_iter().map(|text| {
        Finding::fail(
            Code::CandidateText,
            "dialog announces a text that is no address, which browsers ignore",
        )
        .seen("text", text)
        .because("at its start dialog asked https://ipinfo.io/ip for its address and got this instead")
        .fix("When this prints an address again, restart dialog:", [ASK_AGAIN, RESTART])
    }));
    findings
}

/// A private address is as good as a public one where all of the deployment is private.
fn judge_usable(candidates: &[Candidate], is_internal: bool) -> Finding {
    let code = Code::CandidatesUsable;
    let is_fit = |c: &&Candidate| is_internal || matches!(c.kind, Kind::Public(_));
    let own = || candidates.iter().filter(|c| c.direct().is_some());
    let mut gateways = candidates.iter().filter(|c| c.gateway().is_some());
    let finding = if let Some(fit) = own().find(is_fit) {
        return Finding::pass(code, format!("dialog announces {}", fit.text))
            .seen("candidates", list(candidates));
    } else if let Some(fit) = gateways.find(is_fit) {
        return Finding::pass(code, format!("browsers are told of the media gateway at {}", fit.text))
            .seen("candidates", list(candidates));
    } else if own().next().is_some() {
        Finding::warn(code, "dialog announces private addresses only: from outside of their network, media needs TURN")
            .because("MEDIASOUP_LISTEN_IP was set to an address of the cluster's own network, or dialog learned such a one at its start")
            .fix("If that was not meant, look at dialog's environment:", [
                "kubectl get deployment dialog -n hcce -o jsonpath='{.spec.template.spec.containers[0].env}'",
            ])
    } else {
        Finding::fail(code, "dialog announces no address that anybody could send media to")
            .because("at its start dialog could not learn its address from https://ipinfo.io/ip")
            .fix("When this prints an address again, restart dialog:", [ASK_AGAIN, RESTART])
    };
    finding.seen("candidates", list(candidates))
}

fn list(candidates: &[Candidate]) -> String {
    match candidates {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        candidate::Protocol,
        check::Stop,
        facts::DialogFacts,
        finding::Status,
        target,
        testing::{Authority, Identity, context, dialog_server, transport},
    };

    const HOST: &str = "stream.hubs.example.test";

    fn judged(texts: &[&str]) -> Vec<(Code, Status)> {
        let candidates: Vec<_> =
            texts.iter().map(|t| Candidate::new((*t).to_owned(), 40_000, Protocol::Udp, 1)).collect();
        judge_candidates(&candidates, false).iter().map(|f| (f.code, f.status)).collect()
    }

    #[test]
    fn candidates_are_judged_by_what_a_browser_can_do_with_them() {
        let usable = |status| (Code::CandidatesUsable, status);
        let text = (Code::CandidateText, Status::Fail);
        assert_eq!(judged(&["127.0.0.1", "203.0.113.9", "203.0.113.9"]), [usable(Status::Pass)]);
        assert_eq!(judged(&["10.0.0.4", "203.0.113.9"]), [usable(Status::Pass)]);
        assert_eq!(judged(&["10.0.0.4"]), [usable(Status::Warn)]);
        // curl gave nothing when dialog started, and when it gave an error's text.
        assert_eq!(judged(&["127.0.0.1", "0.0.0.0"]), [usable(Status::Fail)]);
        assert_eq!(judged(&["127.0.0.1", "Rate limit", "Rate limit"]), [usable(Status::Fail), text]);
        assert_eq!(judged(&["203.0.113.9", "Rate limit"]), [usable(Status::Pass), text]);
        assert_eq!(judged(&[]), [usable(Status::Fail)]);
    }

    #[test]
    fn a_private_address_is_good_enough_for_a_private_deployment() {
        let private = [Candidate::new("10.0.0.4".to_owned(), 40_000, Protocol::Udp, 1)];
        assert_eq!(judge_usable(&private, true).status, Status::Pass);
        let none = [Candidate::new("127.0.0.1".to_owned(), 40_000, Protocol::Udp, 1)];
        assert_eq!(judge_usable(&none, true).status, Status::Fail);
    }

    #[test]
    fn where_browsers_are_told_of_the_gateway_they_can_use_that() {
        let text = |text: &str| Candidate::new(text.to_owned(), 3478, Protocol::Udp, 1);
        let gateways = || text("203.0.113.10").of_foundation("gatewayudp0");
        for candidates in [vec![gateways()], vec![gateways(), text("10.0.0.4")]] {
            let finding = judge_usable(&candidates, false);
            assert_eq!(finding.status, Status::Pass);
            assert_eq!(finding.summary, "browsers are told of the media gateway at 203.0.113.10");
        }
        let both = [gateways(), text("203.0.113.9")];
        assert_eq!(judge_usable(&both, false).summary, "dialog announces 203.0.113.9");
        let inside = text("10.0.0.7").of_foundation("gatewayudp0");
        assert_eq!(judge_usable(&[inside], false).status, Status::Fail);
    }

    /// What the check finds when dialog answers with this result to each method.
    async fn found(
        identity: impl FnOnce(&Authority) -> Identity,
        answer: impl Fn(&str) -> Value + Clone + Send + Sync + 'static,
    ) -> (Arc<Context>, Outcome) {
        let authority = Authority::new();
        let address = dialog_server(identity(&authority), move |id, method| {
            let mut message = answer(method);
            message["response"] = json!(true);
            message["id"] = json!(id);
            vec![message]
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Stream, target::DIALOG, address)]);
        let outcome = candidates(Arc::clone(&cx)).await;
        (cx, outcome)
    }

    fn statuses(outcome: Outcome) -> Vec<(Code, Status)> {
        outcome.unwrap().iter().map(|f| (f.code, f.status)).collect()
    }

    fn good(authority: &Authority) -> Identity {
        authority.issue(&[HOST], -1..60)
    }

    fn announcing(_method: &str) -> Value {
        json!({ "ok": true, "data": transport(&[("127.0.0.1", 40_001), ("203.0.113.9", 40_002)]) })
    }

    #[tokio::test]
    async fn where_dialog_is_and_what_it_announces_become_facts() {
        let (cx, outcome) = found(good, announcing).await;
        let codes = [Code::SignallingOpens, Code::TransportCreated, Code::CandidatesUsable];
        assert_eq!(statuses(outcome), codes.map(|code| (code, Status::Pass)));
        assert_eq!(cx.facts.dialog.get(), Ok(&DialogFacts { host: HOST.to_owned(), port: target::DIALOG }));
        let announced: std::net::SocketAddr = "203.0.113.9:40002".parse().unwrap();
        assert_eq!(cx.facts.announced.get().unwrap(), &[announced]);
    }

    #[tokio::test]
    async fn a_certificate_that_browsers_refuse_does_not_hide_what_is_behind_it() {
        let (cx, outcome) = found(|_| Identity::self_signed("dialog", &[]), announcing).await;
        assert!(statuses(outcome).iter().all(|(_, status)| *status == Status::Pass));
        assert!(cx.facts.announced.get().is_ok());
    }

    #[tokio::test]
    async fn a_dialog_without_ports_says_so_and_announces_nothing() {
        let (cx, outcome) = found(good, |_| {
            json!({ "errorCode": 500, "errorReason": "no more available ports [transport:udp, ip:'0.0.0.0', numAttempt:10000]" })
        })
        .await;
        let findings = outcome.unwrap();
        assert_eq!((findings[1].code, findings[1].status), (Code::TransportCreated, Status::Fail));
        assert!(findings[1].cause.as_ref().unwrap().contains("are taken"), "{findings:#?}");
        assert!(cx.facts.announced.get().is_err());
    }

    #[tokio::test]
    async fn an_answer_that_describes_no_transport_is_not_dialogs() {
        let (_, outcome) = found(good, |_| json!({ "ok": true, "data": { "id": 7 } })).await;
        assert_eq!(statuses(outcome)[1], (Code::TransportCreated, Status::Fail));
    }

    #[tokio::test]
    async fn without_its_port_open_dialog_is_not_judged() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let outcome = candidates(context(None, &[(Name::Stream, target::DIALOG, closed)])).await;
        assert!(matches!(outcome, Err(Stop::Skip(_))), "{outcome:?}");
    }

    #[test]
    fn each_failure_of_dialog_says_what_to_do() {
        let refused =
            |reason: &str| ProtooError::Refused { method: "m", code: 500, reason: reason.to_owned() };
        for error in [
            ProtooError::Silent { method: "m" },
            refused("no more available ports"),
            refused("worker closed"),
            ProtooError::Malformed { what: "no JSON".to_owned() },
            ProtooError::Socket(crate::net::WebSocketError::Closed { reason: None }),
        ] {
            let finding = judge_transport(&error);
            assert_eq!((finding.status, finding.remedy.is_some()), (Status::Fail, true), "{finding:?}");
        }
    }
}
