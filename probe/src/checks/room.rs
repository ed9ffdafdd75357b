//! The room: does it let us in as it does a browser, and where does it send media?

use std::{sync::Arc, time::SystemTime};

use crate::{
    check::{Context, Outcome, Stop},
    checks::{
        clock,
        websocket::{Server, not_opened},
    },
    codes::Code,
    facts::RoomFacts,
    finding::{Finding, Status},
    net::Trust,
    phoenix::{self, PhoenixError, Refusal},
    target::{HTTPS, Name},
};

pub(super) const RETICULUM: Server = Server {
    name: "Reticulum",
    pods: "kubectl get pods -n hcce -l app=reticulum",
    log: "kubectl logs -n hcce deploy/reticulum -c reticulum --tail=50",
    ingress: "kubectl get ingress ret -n hcce -o yaml",
};

/// Clocks that differ by more, in seconds, are worth mention where credentials live for two minutes.
const CLOCKS_APART: u64 = 30;

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
    let joining = Box::pin(phoenix::join(&cx.net, &host, HTTPS, room, Trust::Anything));
    let (joined, there) = tokio::join!(joining, clock::of_server(&cx));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let place = format!("https://{host}/{}", room.sid());
    let mut findings = vec![judge(&joined, cx.target.domain(), now)?.at(&place)];
    if let Ok(room) = joined {
        let there = there.and_then(|there| u64::try_from(there.unix_timestamp()).ok());
        findings.extend(judge_dates(&room, now, there).map(|finding| finding.at(place)));
        cx.facts.room.learn(room);
    }
    Ok(findings)
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

/// Whether credentials are good when they are given: by the clock of the server that gives them if it tells, else by ours, which
/// may be the wrong one. Both in seconds since 1970.
fn judge_dates(room: &RoomFacts, here: u64, there: Option<u64>) -> Option<Finding> {
    let code = Code::CredentialDates;
    let username = &room.turn.as_ref()?.username;
    let by_us = lifetime(username, here)?;
    let by_server = there.and_then(|there| lifetime(username, there));
    let apart = there.map_or(0, |there| here.cast_signed() - there.cast_signed());
    let finding = match (by_server.unwrap_or(by_us), by_server) {
        (1.., _) => Finding::pass(code, "the TURN credentials are not run out"),
        (_, Some(over)) => Finding::fail(
            code,
            format!("the TURN credentials had run out {} s before they were given", -over),
        )
        .because(
            "the clock of Reticulum's node is behind, and a TURN server with the right time refuses them",
        ),
        (_, None) => Finding::error(
            code,
            format!(
                "by this machine's clock the TURN credentials ran out {} s ago; the server does not tell its time",
                -by_us
            ),
        ),
    };
    let finding = match finding.status {
        Status::Pass => finding,
        _ => finding.fix(
            "Set the clock that is wrong; these show that of Reticulum's node, which writes the second, and this machine's:",
            [
                "kubectl exec -n hcce deploy/reticulum -c reticulum -- date -u",
                "date -u",
            ],
        ),
    };
    let finding = match by_server {
        Some(seconds) => finding.seen("valid", format!("for {seconds} s more by the server's clock")),
        None => finding,
    };
    if apart.unsigned_abs() <= CLOCKS_APART {
        return Some(finding);
    }
    let side = if apart > 0 { "ahead of" } else { "behind" };
    Some(finding.seen("this machine's clock", format!("{} s {side} the server's", apart.abs())))
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
    fn credentials_are_held_against_the_clock_of_the_server_that_gives_them() {
        let dates = |username: &str, here, there| {
            judge_dates(&room(Some(turn(username, &[5349]))), here, there).map(|f| {
                assert_eq!(f.remedy.is_some(), f.status != Status::Pass, "{f:#?}");
                let skew =
                    f.evidence.iter().find(|e| e.label == "this machine's clock").map(|e| e.value.clone());
                (f.status, skew)
            })
        };
        let username = "1700000118:coturn";
        assert_eq!(dates(username, NOW, Some(NOW)), Some((Status::Pass, None)));
        // Our own clock is wrong: nothing is wrong there.
        let skewed = Some("3600 s ahead of the server's".to_owned());
        assert_eq!(dates(username, NOW + 3600, Some(NOW)), Some((Status::Pass, skewed)));
        assert_eq!(dates(username, NOW + 200, Some(NOW + 200)), Some((Status::Fail, None)));
        assert_eq!(dates(username, NOW, None), Some((Status::Pass, None)));
        assert_eq!(dates(username, NOW + 200, None), Some((Status::Error, None)));
        assert_eq!(dates("alice", NOW, Some(NOW)), None);
        assert!(judge_dates(&room(None), NOW, Some(NOW)).is_none());
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
