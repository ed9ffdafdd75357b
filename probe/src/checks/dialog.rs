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
        Err(e) => return Ok(vec![judge_opening(&e, endpoint.port).at(place)]),
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
            findings.extend(judge_candidates(&transport.candidates));
            let announced: Vec<_> = transport.candidates.iter().filter_map(Candidate::address).collect();
            if !announced.is_empty() {
                cx.facts.announced.learn(announced);
            }
        }
        Err(e) => findings.push(judge_transport(&e).at(&place)),
    }
    Ok(findings)
}

fn judge_opening(error: &ProtooError, port: u16) -> Finding {
    match error {
        ProtooError::Socket(e) => not_opened(Code::SignallingOpens, &DIALOG, port, e),
        // Nothing is asked before it is open.
        other => judge_transport(other),
    }
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
        ProtooError::Refused { .. } => fail.fix("Look at its log, then restart it:", [DIALOG.log, RESTART]),
        ProtooError::Malformed { .. } => {
            fail.fix("Look at where the ingress sends this name:", [DIALOG.ingress])
        }
    }
}

/// What the candidates are good for; and apart from that, one finding on each text among them that is no address.
fn judge_candidates(candidates: &[Candidate]) -> Vec<Finding> {
    let mut findings = vec![judge_usable(candidates)];
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

fn judge_usable(candidates: &[Candidate]) -> Finding {
    let code = Code::CandidatesUsable;
    let is_public = |c: &&Candidate| matches!(c.kind, Kind::Public(_)) && c.address().is_some();
    let finding = if let Some(public) = candidates.iter().find(is_public) {
        return Finding::pass(code, format!("dialog announces {}", public.text))
            .seen("candidates", list(candidates));
    } else if candidates.iter().any(|c| c.address().is_some()) {
        Finding::warn(code, "dialog announces private addresses only: from outside of their network, media needs TURN")
            .because("MEDIASOUP_LISTEN_IP or MEDIASOUP_ANNOUNCED_IP was set to an address of the cluster's own network")
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
