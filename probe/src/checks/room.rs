//! The room: does it let us in as it does a browser, and where does it send media?

use std::{sync::Arc, time::SystemTime};

use crate::{
    check::{Context, Outcome, Stop},
    checks::websocket::{Server, not_opened},
    codes::Code,
    facts::RoomFacts,
    finding::Finding,
    net::Trust,
    phoenix::{self, PhoenixError, Refusal},
    target::{HTTPS, Name},
};

const RETICULUM: Server = Server {
    name: "Reticulum",
    pods: "kubectl get pods -n hcce -l app=reticulum",
    log: "kubectl logs -n hcce deploy/reticulum -c reticulum --tail=50",
    ingress: "kubectl get ingress ret -n hcce -o yaml",
};

// A refused certificate has its own finding; what is behind it is looked at all the same.
pub(crate) async fn join(cx: Arc<Context>) -> Outcome {
    let Some(room) = &cx.room else {
        return Err(Stop::Skip(match cx.turn_login {
            Some(_) => "no room was named; the given TURN credentials are used".to_owned(),
            None => format!(
                "no room was named, so there are no TURN credentials: give --room https://{}/ROOM",
                cx.target
            ),
        }));
    };
    cx.facts.has_address(Name::Root)?;
    let host = cx.target.host(Name::Root);
    let joined = phoenix::join(&cx.net, &host, HTTPS, room, Trust::Anything).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let finding = judge(&joined, cx.target.domain(), now)?.at(format!("https://{host}/{}", room.sid()));
    if let Ok(room) = joined {
        cx.facts.room.learn(room);
    }
    Ok(vec![finding])
}

/// `now` in seconds since 1970.
fn judge(joined: &Result<RoomFacts, PhoenixError>, domain: &str, now: u64) -> Result<Finding, Stop> {
    let code = Code::RoomJoined;
    Ok(match joined {
        Ok(room) => judge_room(room, now),
        Err(PhoenixError::Socket(e)) => return not_opened(code, &RETICULUM, e),
        Err(e @ PhoenixError::Refused(refusal)) => refused(refusal, &e.to_string(), domain),
        Err(e @ (PhoenixError::Silent | PhoenixError::Malformed { .. })) => {
            Finding::fail(code, e.to_string())
                .because("Reticulum takes the connection and does not let anybody into the room")
                .fix("Look at its pod and its log:", [RETICULUM.pods, RETICULUM.log])
        }
    })
}

fn judge_room(room: &RoomFacts, now: u64) -> Finding {
    let code = Code::RoomJoined;
    let finding = match &room.turn {
        Some(turn) if !turn.ports.is_empty() => {
            let ports: Vec<_> = turn.ports.iter().map(|p| format!("turns:{}:{p}", room.host)).collect();
            let finding = Finding::pass(code, "the room lets us in and gives TURN credentials")
                .seen("TURN", ports.join(", "));
            match lifetime(&turn.username, now) {
                Some(seconds) => finding.seen("valid", format!("for {seconds} s more by this machine's clock")),
                None => finding,
            }
        }
        _ => Finding::warn(code, "the room lets us in, but names no TURN server")
            .because("Reticulum is not configured for TURN, so browsers do not even try it")
            .fix(
                "Give Reticulum's configuration the section [ret.\"Elixir.Ret.Coturn\"] with realm and public_tls_ports, then restart it:",
                ["kubectl edit configmap ret-config -n hcce", "kubectl rollout restart deployment reticulum -n hcce"],
            ),
    };
    finding.seen("dialog", format!("wss://{}:{}", room.host, room.port))
}

/// How long Reticulum's credentials live: their user name begins with the second at which they run out.
fn lifetime(username: &str, now: u64) -> Option<i64> {
    let until: i64 = username.split_once(':')?.0.parse().ok()?;
    until.checked_sub_unsigned(now)
}

/// A room that says no is no fault of the deployment: we could not get in to see more.
fn refused(refusal: &Refusal, summary: &str, domain: &str) -> Finding {
    let code = Code::RoomJoined;
    let finding = Finding::error(code, summary);
    let other_room = format!("hubs-probe check {domain} --room https://{domain}/ROOM");
    let secret = format!("hubs-probe check {domain} --turn-secret SECRET");
    match refusal {
        Refusal::NotFound => finding.fix(
            "Open the room in a browser and give its URL, or the part of it after the domain:",
            [other_room],
        ),
        Refusal::Closed => finding.fix("Give a room that is open:", [other_room]),
        Refusal::JoinDenied | Refusal::OauthRequired => finding.fix(
            "Give a room that everybody may enter, or the secret from which TURN credentials are made (the newest in coturn.turn_secret):",
            [other_room, secret],
        ),
        Refusal::Other(_) => Finding::fail(code, summary)
            .because("a browser gets the same answer, so people cannot enter this room")
            .fix("Look at Reticulum's log:", [RETICULUM.log]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::RoomTurn,
        finding::Status,
        net::{ConnectError, TlsError, WebSocketError},
        testing::context,
    };

    const NOW: u64 = 1_700_000_000;

    fn room(turn: Option<RoomTurn>) -> RoomFacts {
        RoomFacts { host: "stream.example.org".to_owned(), port: 4443, turn, perms_token: None }
    }

    fn turn(username: &str, ports: &[u16]) -> RoomTurn {
        RoomTurn { username: username.to_owned(), credential: "secret".to_owned(), ports: ports.to_owned() }
    }

    fn judged(joined: &Result<RoomFacts, PhoenixError>) -> Finding {
        judge(joined, "example.org", NOW).unwrap()
    }

    #[test]
    fn a_room_with_credentials_passes_and_says_how_long_they_live() {
        let finding = judged(&Ok(room(Some(turn("1700000118:coturn", &[5349])))));
        assert_eq!(finding.status, Status::Pass);
        let seen: Vec<_> = finding.evidence.iter().map(|e| e.value.as_str()).collect();
        assert_eq!(
            seen,
            [
                "turns:stream.example.org:5349",
                "for 118 s more by this machine's clock",
                "wss://stream.example.org:4443"
            ]
        );
        assert!(!format!("{finding:?}").contains("secret"));
    }

    #[test]
    fn a_user_name_of_another_make_has_no_lifetime() {
        for username in ["", "alice", "x:coturn", "99999999999999999999:coturn"] {
            assert_eq!(lifetime(username, NOW), None, "{username}");
        }
        assert_eq!(lifetime("1699999990:coturn", NOW), Some(-10));
    }

    #[test]
    fn a_room_without_turn_lets_us_in_all_the_same() {
        for turn in [None, Some(turn("1:coturn", &[]))] {
            let finding = judged(&Ok(room(turn)));
            assert_eq!((finding.status, finding.remedy.is_some()), (Status::Warn, true));
        }
    }

    #[test]
    fn a_room_that_says_no_is_not_the_deployments_fault() {
        for refusal in [Refusal::NotFound, Refusal::Closed, Refusal::JoinDenied, Refusal::OauthRequired] {
            let finding = judged(&Err(PhoenixError::Refused(refusal)));
            assert_eq!((finding.status, finding.remedy.is_some()), (Status::Error, true), "{finding:?}");
        }
        let finding = judged(&Err(PhoenixError::Refused(Refusal::Other("it crashed".to_owned()))));
        assert_eq!(finding.status, Status::Fail);
    }

    #[test]
    fn each_failure_of_reticulum_says_what_to_do() {
        for error in [
            PhoenixError::Silent,
            PhoenixError::Malformed { what: "no JSON".to_owned() },
            PhoenixError::Socket(WebSocketError::Closed { reason: None }),
        ] {
            let finding = judged(&Err(error));
            assert_eq!((finding.status, finding.remedy.is_some()), (Status::Fail, true), "{finding:?}");
        }
    }

    #[test]
    fn a_port_that_is_closed_is_left_to_the_check_of_ports() {
        let closed = ConnectError::Refused("192.0.2.7:443".parse().unwrap());
        let closed = Err(PhoenixError::Socket(WebSocketError::Tls(TlsError::Connect(closed))));
        let Err(Stop::Skip(reason)) = judge(&closed, "example.org", NOW) else { panic!("no skip") };
        assert!(reason.contains("refuses the connection") && reason.contains("tls.certificates"), "{reason}");
    }

    #[tokio::test]
    async fn without_a_room_nothing_is_joined_and_the_reason_says_how_to_name_one() {
        let Err(Stop::Skip(reason)) = join(context(None, &[])).await else { panic!("no skip") };
        assert!(reason.contains("--room"), "{reason}");
    }
}
