//! TURN, as a browser uses it: does it let people in?
//!
//! A certificate that browsers refuse is not the end of the examination, since faults behind it are real as well. But then
//! nothing passes: what works here works for this probe only.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use hubs_relay::wire::ErrorCode;

use crate::{
    check::{Context, Outcome},
    checks::{
        commands::{LOG, PODS, REPLACE, TCP_MAP},
        refusals::refused,
    },
    codes::Code,
    facts::{TurnCertificate, TurnFacts},
    finding::Finding,
    net::{ConnectError, ResolveError, TlsError},
    target::{Name, TURN, TurnLogin},
    turn::{Allocation, Challenge, Client, Login, Request, TurnError},
};

const LB_PORTS: &str = "kubectl get service lb -n hcce -o jsonpath='{.spec.ports[*].port}'";

pub(crate) async fn allocate(cx: Arc<Context>) -> Outcome {
    // Without it there is no TLS connection either, which has a finding of its own.
    let certificate = *cx.facts.turn_certificate.get()?;
    let (host, ports) = servers(&cx);
    let login = login(&cx);
    let servers = ports.into_iter().map(|port| try_server(&cx, &host, port, login.as_ref(), certificate));
    let tried = join_all(servers).await;
    Ok(tried.into_iter().flatten().collect())
}

/// Where a browser looks for TURN: where the room says, else where Hubs has it.
pub(crate) fn servers(cx: &Context) -> (String, Vec<u16>) {
    match cx.facts.room.get() {
        Ok(room) => {
            let ports = room.turn.as_ref().map(|turn| turn.ports.clone()).filter(|ports| !ports.is_empty());
            (room.host.clone(), ports.unwrap_or_else(|| vec![TURN]))
        }
        Err(_) => (cx.target.host(Name::Stream), vec![TURN]),
    }
}

/// What the room gives goes before what the command line gives, because it is what browsers have.
fn login(cx: &Context) -> Option<(Login, Source)> {
    if let Some(turn) = cx.facts.room.get().ok().and_then(|room| room.turn.as_ref()) {
        return Some((turn.login(), Source::Room));
    }
    let given = cx.turn_login.as_ref()?;
    let source = match given {
        TurnLogin::Secret(_) => Source::Secret,
        TurnLogin::User { .. } => Source::User,
    };
    Some((Login::given(given), source))
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Room,
    Secret,
    User,
}

async fn try_server(
    cx: &Context,
    host: &str,
    port: u16,
    login: Option<&(Login, Source)>,
    certificate: TurnCertificate,
) -> Vec<Finding> {
    let place = format!("turns:{host}:{port}");
    let mut client = match Client::connect(&cx.net, host, port).await {
        Ok(client) => client,
        Err(e) => return vec![judge_challenge(&Err(e), certificate, port).at(place)],
    };
    let challenge = client.challenge().await;
    let mut findings = vec![judge_challenge(&challenge, certificate, port).at(&place)];
    let Ok(challenge) = challenge else { return findings };
    let Some((login, source)) = login else {
        let reason = format!(
            "there are no credentials to show: give --room https://{}/ROOM, or --turn-secret",
            cx.target
        );
        findings.push(Finding::skip(Code::TurnAllocates, reason).at(place));
        return findings;
    };
    let allocation = client.allocate(challenge, login).await;
    findings.push(judge_allocation(&allocation, certificate, login, *source).at(place));
    if let Ok(allocation) = allocation {
        let relayed = allocation.relayed();
        cx.facts.turn.learn(TurnFacts { host: host.to_owned(), port, login: login.clone(), relayed });
        // Whether it is answered or not: the end of the connection ends the allocation as well.
        let _ = allocation.release().await;
    }
    findings
}

/// The assertion holds, for everybody, or for this probe only.
pub(super) fn holds(code: Code, certificate: TurnCertificate, summary: &str) -> Finding {
    match certificate {
        TurnCertificate::Accepted => Finding::pass(code, summary),
        TurnCertificate::Refused => Finding::warn(code, format!("{summary}, but no browser comes this far"))
            .because("browsers end the connection when they see the certificate; this probe went on to look further")
            .advise("Give the TURN server a certificate that browsers accept: see the finding about it"),
    }
}

pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

fn judge_challenge(
    answer: &Result<Challenge, TurnError>,
    certificate: TurnCertificate,
    port: u16,
) -> Finding {
    let code = Code::TurnChallenges;
    let error = match answer {
        Ok(challenge) => {
            let finding = holds(code, certificate, "TURN answers, and asks for credentials")
                .seen("realm", &challenge.realm)
                .seen("round trip", milliseconds(challenge.round_trip));
            return match &challenge.software {
                Some(software) => finding.seen("software", software),
                None => finding,
            };
        }
        Err(error) => error,
    };
    let fail = Finding::fail(code, error.to_string());
    match error {
        TurnError::Tls(TlsError::Connect(
            ConnectError::Io { .. } | ConnectError::Resolve(ResolveError::Resolver { .. }),
        )) => Finding::error(code, error.to_string()),
        TurnError::Tls(TlsError::Connect(ConnectError::Resolve(_)) | TlsError::Name(_)) => {
            fail.because("the room names this host for TURN").fix(
                "Look at default_janus_host in Reticulum's configuration:",
                ["kubectl get configmap ret-config -n hcce -o yaml"],
            )
        }
        TurnError::Tls(_) => fail.fix(
            format!("Look at whether the load balancer forwards port {port}, and at what is behind it:"),
            [LB_PORTS, TCP_MAP, PODS],
        ),
        TurnError::Open => fail
            .because(
                "it runs without authentication, so that anybody can send through it to wherever it reaches",
            )
            .fix("Take no-auth out of its configuration, or put hubs-relay in its place:", [REPLACE]),
        TurnError::Refused { request, refusal } => refused(code, error.to_string(), *request, refusal),
        TurnError::Silent(_) | TurnError::Closed | TurnError::Broken(_) => fail
            .because("the TURN server hangs or crashes, or something else listens behind this port")
            .fix("Look at its pod, its log, and at what haproxy's TCP map leads to:", [PODS, LOG, TCP_MAP]),
        TurnError::NotTurn(_)
        | TurnError::Malformed { .. }
        | TurnError::Unsigned(_)
        | TurnError::AlwaysStale => fail
            .because("something else than a TURN server listens behind this port")
            .fix("Look at what haproxy's TCP map leads to:", [TCP_MAP]),
    }
}

fn judge_allocation(
    answer: &Result<Allocation, TurnError>,
    certificate: TurnCertificate,
    login: &Login,
    source: Source,
) -> Finding {
    let code = Code::TurnAllocates;
    let error = match answer {
        Ok(allocation) => {
            let finding = holds(code, certificate, "TURN accepts the credentials and allocates")
                .seen("relayed address", allocation.relayed());
            let finding = match allocation.round_trip(Request::Allocate) {
                Some(round_trip) => finding.seen("round trip", milliseconds(round_trip)),
                None => finding,
            };
            return match allocation.mapped() {
                Some(mapped) => finding.seen("it sees us as", mapped),
                None => finding,
            };
        }
        Err(error) => error,
    };
    let fail = Finding::fail(code, error.to_string()).seen("user name", &login.username);
    match error {
        TurnError::Refused { refusal, .. } if refusal.code == ErrorCode::UNAUTHENTICATED => {
            unauthenticated(fail, login, source)
        }
        TurnError::Refused { request, refusal } => refused(code, error.to_string(), *request, refusal),
        TurnError::AlwaysStale => fail
            .because("each request reaches another server than the one that gave out the nonce, or the server's clock jumps")
            .fix("Run one TURN server behind this port, or let all of them share their key:", [PODS]),
        TurnError::Unsigned(_) => fail
            .because("the server says yes without knowing the password")
            .fix("Look at what haproxy's TCP map leads to:", [TCP_MAP]),
        other => fail
            .because(match other {
                TurnError::Malformed { .. } => "the server speaks TURN, but not as browsers understand it",
                _ => "the server asks for credentials, and breaks when it sees them",
            })
            .fix("Look at its pod and its log:", [PODS, LOG]),
    }
}

/// The credentials are not taken: the remedy depends on who made them.
fn unauthenticated(fail: Finding, login: &Login, source: Source) -> Finding {
    if let (Some(late), Source::Room) = (login.expired_for(), source) {
        return fail
            .because(format!(
                "by this machine's clock they ran out {late} s ago, although Reticulum has just made them: one of the clocks is wrong"
            ))
            .fix("Set the clock of this machine; if it is right, that of the cluster's nodes:", ["timedatectl", "date -u"]);
    }
    match source {
        Source::User => fail
            .because("the server knows no such user, or another password")
            .fix("Look at the user's name and password; Hubs itself uses credentials that are made from a secret:", [LOG]),
        Source::Room | Source::Secret => fail
            .because(
                "the server does not know the secret that made them. Hubs' coturn never does: it looks for the table turn_secret outside of \
                 the schema coturn, and its pod does not resolve the database's name",
            )
            .fix(
                "Put hubs-relay in coturn's place, see deploy/README.md; if it is there already, its secret is not Reticulum's, and its log says so:",
                [REPLACE, LOG],
            ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::{
        check::Stop,
        checks::tls,
        facts::{RoomFacts, RoomTurn},
        finding::Status,
        target::{DIALOG, HTTPS},
        testing::{Authority, DOMAIN, Identity, TurnServer, context, tcp_server, tls_server},
        turn::Refusal,
    };

    const SECRET: &str = "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d";
    const RULES: &str = "[auth]\nsecrets = ['9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d']";

    fn identity(authority: &Authority) -> Identity {
        authority.issue(&[&format!("stream.{DOMAIN}")], -1..30)
    }

    /// A context in which `server` is in the place of TURN, and a closed port everywhere else.
    fn with_server(ca: Option<Vec<u8>>, server: SocketAddr) -> Arc<Context> {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let everywhere = Name::ALL.map(|name| (name, HTTPS, closed)).into_iter();
        let places: Vec<_> =
            everywhere.chain([(Name::Stream, DIALOG, closed), (Name::Stream, TURN, server)]).collect();
        context(ca, &places)
    }

    /// What `turn.allocate` finds out, with this login, about a server at the place of TURN.
    async fn findings(
        authority: &Authority,
        server: SocketAddr,
        login: impl Into<Option<TurnLogin>>,
    ) -> (Arc<Context>, Vec<Finding>) {
        let cx = with_server(Some(authority.root_pem()), server);
        let cx = Arc::into_inner(cx).map(|cx| Arc::new(Context { turn_login: login.into(), ..cx })).unwrap();
        tls::certificates(Arc::clone(&cx)).await.unwrap();
        let findings = allocate(Arc::clone(&cx)).await.unwrap();
        (cx, findings)
    }

    fn secret(text: &str) -> TurnLogin {
        TurnLogin::Secret(text.to_owned())
    }

    fn outcomes(findings: &[Finding]) -> Vec<(Code, Status)> {
        for finding in findings {
            let needs_remedy = matches!(finding.status, Status::Fail | Status::Warn);
            assert!(finding.remedy.is_some() == needs_remedy, "{finding:#?}");
            assert_eq!(finding.target.as_deref(), Some("turns:stream.hubs.example.test:5349"));
        }
        findings.iter().map(|f| (f.code, f.status)).collect()
    }

    #[tokio::test]
    async fn a_good_server_takes_the_credentials_and_becomes_a_fact() {
        let authority = Authority::new();
        let relay = TurnServer::start(&identity(&authority), RULES);
        let (cx, findings) = findings(&authority, relay.address, secret(SECRET)).await;
        let expected = [(Code::TurnChallenges, Status::Pass), (Code::TurnAllocates, Status::Pass)];
        assert_eq!(outcomes(&findings), expected);
        assert_eq!(cx.facts.turn.get().unwrap().port, TURN);
        assert!(!format!("{findings:?}{:?}", cx.facts).contains(SECRET));
    }

    #[tokio::test]
    async fn behind_a_certificate_that_browsers_refuse_nothing_passes() {
        let authority = Authority::new();
        let relay = TurnServer::start(&Identity::self_signed("dialog", &[]), RULES);
        let (cx, findings) = findings(&authority, relay.address, secret(SECRET)).await;
        let expected = [(Code::TurnChallenges, Status::Warn), (Code::TurnAllocates, Status::Warn)];
        assert_eq!(outcomes(&findings), expected);
        assert!(cx.facts.turn.get().is_ok());
    }

    #[tokio::test]
    async fn the_second_fault_is_found_behind_the_first() {
        let authority = Authority::new();
        let relay = TurnServer::start(&Identity::self_signed("dialog", &[]), RULES);
        let (cx, findings) = findings(&authority, relay.address, secret("another")).await;
        let expected = [(Code::TurnChallenges, Status::Warn), (Code::TurnAllocates, Status::Fail)];
        assert_eq!(outcomes(&findings), expected);
        assert!(findings[1].cause.as_ref().unwrap().contains("turn_secret"), "{:?}", findings[1]);
        assert!(cx.facts.turn.get().is_err());
    }

    #[tokio::test]
    async fn without_credentials_the_challenge_is_examined_and_the_rest_skipped() {
        let authority = Authority::new();
        let relay = TurnServer::start(&identity(&authority), RULES);
        let (_, findings) = findings(&authority, relay.address, None).await;
        let expected = [(Code::TurnChallenges, Status::Pass), (Code::TurnAllocates, Status::Skip)];
        assert_eq!(outcomes(&findings), expected);
        assert!(findings[1].summary.contains("--room"));
    }

    #[tokio::test]
    async fn what_ends_the_connection_is_no_turn_server() {
        let authority = Authority::new();
        let server = tls_server(identity(&authority), |_| std::future::ready(())).await;
        let (_, findings) = findings(&authority, server, secret(SECRET)).await;
        assert_eq!(outcomes(&findings), [(Code::TurnChallenges, Status::Fail)]);
    }

    #[tokio::test]
    async fn where_no_tls_comes_about_turn_is_not_tried() {
        let server = tcp_server(|_| std::future::ready(())).await;
        let cx = with_server(None, server);
        tls::certificates(Arc::clone(&cx)).await.unwrap();
        assert!(matches!(allocate(cx).await, Err(Stop::Skip(reason)) if reason.contains("tls.certificates")));
    }

    #[test]
    fn what_a_401_is_about_depends_on_who_made_the_credentials() {
        let cause = |login: &Login, source| {
            let refusal = Refusal { code: ErrorCode::UNAUTHENTICATED, reason: String::new() };
            let error = TurnError::Refused { request: Request::Allocate, refusal };
            judge_allocation(&Err(error), TurnCertificate::Accepted, login, source).cause.unwrap()
        };
        let fresh = Login::given(&TurnLogin::Secret(SECRET.to_owned()));
        let old = Login::new("1500000000:coturn", "x");
        assert!(cause(&fresh, Source::Room).contains("turn_secret"));
        assert!(cause(&fresh, Source::Secret).contains("turn_secret"));
        assert!(cause(&fresh, Source::User).contains("user"));
        assert!(cause(&old, Source::Room).contains("clock"));
    }

    #[test]
    fn a_room_says_where_turn_is_and_its_credentials_go_before_given_ones() {
        let cx = context(None, &[]);
        assert_eq!(servers(&cx), ("stream.hubs.example.test".to_owned(), vec![TURN]));
        assert!(login(&cx).is_none());
        let cx = Context { turn_login: Some(secret(SECRET)), ..Arc::into_inner(cx).unwrap() };
        assert_eq!(login(&cx).map(|(_, source)| source), Some(Source::Secret));
        let turn = RoomTurn { username: "u".to_owned(), credential: "c".to_owned(), ports: vec![443, 5350] };
        cx.facts.room.learn(RoomFacts {
            host: "turn.example.org".to_owned(),
            port: 4443,
            turn: Some(turn),
            perms_token: None,
        });
        assert_eq!(servers(&cx), ("turn.example.org".to_owned(), vec![443, 5350]));
        assert_eq!(
            login(&cx).map(|(login, source)| (login.username, source)),
            Some(("u".to_owned(), Source::Room))
        );
    }
}
