//! What each error code of TURN means at the request that it answers, and what to do about it (RFC 8489 section 14.8, RFC 8656
//! section 19).

use hubs_relay::wire::ErrorCode;

use crate::{
    checks::commands::{LOG, PODS, REPLACE, TCP_MAP},
    codes::Code,
    finding::Finding,
    turn::{Refusal, Request, TurnError},
};

const DIALOG_ENV: &str =
    "kubectl get deployment dialog -n hcce -o jsonpath='{.spec.template.spec.containers[0].env}'";

/// The server says no to `request`. The summary says so already, with the code.
pub(super) fn refused(code: Code, summary: String, request: Request, refusal: &Refusal) -> Finding {
    if refusal.code == ErrorCode::TRY_ALTERNATE {
        // Browsers follow it, RFC 8489 section 10.
        return Finding::error(
            code,
            format!("{summary}: it sends its clients to another server, which was not examined"),
        )
        .fix("If that was not meant, take alternate-server out of its configuration:", [LOG]);
    }
    let (cause, remedy, commands) = explain(request, refusal.code);
    Finding::fail(code, summary).because(cause).fix(remedy, commands)
}

/// TURN's connection did not live through it.
pub(super) fn broken(code: Code, error: &TurnError) -> Finding {
    Finding::fail(code, error.to_string())
        .because("the TURN server has just allocated, and breaks when the allocation is used")
        .fix("Look at its pod and its log:", [PODS, LOG])
}

type Explanation = (&'static str, &'static str, &'static [&'static str]);

fn explain(request: Request, code: ErrorCode) -> Explanation {
    match (code, request) {
        (ErrorCode::UNAUTHENTICATED, _) => (
            "the server takes the credentials for one request and not for the next, as two servers behind one port would",
            "Run one TURN server behind this port:",
            &[PODS],
        ),
        (ErrorCode::WRONG_CREDENTIALS, _) => (
            "the server believes that another user made this allocation: something in front of it puts several clients on one connection",
            "Look at what stands between us and it, and at its log:",
            &[LOG, TCP_MAP],
        ),
        (ErrorCode::FORBIDDEN, Request::Allocate | Request::Refresh) => (
            "the server's rules forbid it to this client, or to this user, whatever they want to reach",
            "Look at the rules in its configuration and at its log:",
            &[LOG],
        ),
        (ErrorCode::FORBIDDEN, Request::CreatePermission | Request::ChannelBind) => (
            "the server's rules do not let anybody reach this address",
            "Look at the rules in its configuration (coturn: denied-peer-ip; hubs-relay: peers.allow) and at its log:",
            &[LOG],
        ),
        (ErrorCode::ALLOCATION_MISMATCH, Request::Allocate) => (
            "the server believes that this connection has an allocation already: it has mixed up two connections",
            "Look at its log; something between it and us may put several clients on one connection:",
            &[LOG, TCP_MAP],
        ),
        (ErrorCode::ALLOCATION_MISMATCH, _) => (
            "the server knows nothing any more of the allocation that it has just made: it was restarted, or this request came to another server",
            "Look at its log and at how many there are:",
            &[LOG, PODS],
        ),
        (ErrorCode::STALE_NONCE, _) => (
            "the server calls the nonce old that it has just given out: its clock jumps, or this request came to another server",
            "Run one TURN server behind this port, or let all of them share their key:",
            &[PODS],
        ),
        (ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED | ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH, _) => (
            "the server relays from IPv4 and dialog announces IPv6, or the other way round; browsers ask for IPv4",
            "Let dialog announce an IPv4 address: MEDIASOUP_ANNOUNCED_IP",
            &[DIALOG_ENV],
        ),
        (ErrorCode::UNSUPPORTED_TRANSPORT_PROTOCOL, _) => (
            "the server does not relay UDP, which is all that media uses",
            "Take no-udp-relay out of its configuration:",
            &[LOG],
        ),
        (ErrorCode::ALLOCATION_QUOTA_REACHED, _) => (
            "the user has as many allocations as one may have; in Hubs all who join in the same second share a user name",
            "Raise the quota (coturn: user-quota; hubs-relay: limits.sessions_per_address) or take it out:",
            &[LOG],
        ),
        (ErrorCode::INSUFFICIENT_CAPACITY, Request::CreatePermission | Request::ChannelBind) => (
            "the allocation has as many permissions or channels as one may have",
            "Raise the limit in its configuration:",
            &[LOG],
        ),
        (ErrorCode::INSUFFICIENT_CAPACITY, _) => (
            "the server has no room for more: all of its relay ports or sessions are in use, or it drains because it is about to end",
            "Widen the range of ports (coturn: min-port, max-port; hubs-relay: relay.ports, limits.sessions):",
            &[LOG],
        ),
        (ErrorCode::BAD_REQUEST | ErrorCode::UNKNOWN_ATTRIBUTE, _) => (
            "the server does not understand a request that every browser sends",
            "Look at its log and its version; hubs-relay in its place understands it:",
            &[LOG, REPLACE],
        ),
        _ => ("something inside of the server is broken", "Look at its log:", &[LOG]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::finding::Status;

    const REQUESTS: [Request; 4] =
        [Request::Allocate, Request::Refresh, Request::CreatePermission, Request::ChannelBind];

    fn finding(request: Request, code: u16) -> Finding {
        let refusal = Refusal { code: ErrorCode(code), reason: "no".to_owned() };
        refused(Code::TurnAllocates, format!("the server refuses {request}: {refusal}"), request, &refusal)
    }

    #[test]
    fn every_refusal_has_a_cause_and_a_remedy_at_each_request() {
        for code in [400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 500, 508, 699] {
            for request in REQUESTS {
                let finding = finding(request, code);
                assert_eq!(finding.status, Status::Fail);
                assert!(finding.cause.is_some() && finding.remedy.is_some(), "{finding:?}");
                assert!(finding.summary.contains(&request.to_string()), "{finding:?}");
            }
        }
        assert!(REQUESTS.iter().all(|request| finding(*request, 300).status == Status::Error));
    }

    #[test]
    fn each_code_has_a_cause_of_its_own() {
        let codes = [400, 401, 403, 437, 438, 440, 441, 442, 486, 500, 508];
        let said: BTreeSet<_> = codes.iter().map(|code| finding(Request::Allocate, *code).cause).collect();
        assert_eq!(said.len(), codes.len());
    }

    #[test]
    fn the_same_code_means_another_thing_at_another_request() {
        for code in [403, 437, 508] {
            assert_ne!(
                finding(Request::Allocate, code).cause,
                finding(Request::ChannelBind, code).cause,
                "{code}"
            );
        }
    }
}
