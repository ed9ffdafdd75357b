//! The steps of TURN that media does not show: is the connection quick, is an allocation kept and taken back, where else does
//! the server lead, and does UDP from outside reach its relayed addresses?

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hubs_relay::wire::ErrorCode;
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    candidate::Kind,
    check::{Context, Outcome, Stop},
    checks::{
        commands::{PODS, REPLACE},
        refusals::{broken, refused},
        turn::{holds, milliseconds},
    },
    codes::Code,
    facts::TurnCertificate,
    finding::Finding,
    ice::Path,
    random,
    turn::{Allocation, Client, Request, TurnError},
};

/// Longer than this, and people notice that they are not heard yet: a browser takes four connections.
const SLOW: Duration = Duration::from_secs(2);

/// What no room needs: another host of a cluster, and the place where clouds give out the keys of a machine. Only a permission is asked
/// for; nothing is sent there.
const FOREIGN: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 443),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80),
];

/// How often a datagram is sent to the relayed address, and how long they may take.
const KNOCKS: u32 = 5;
const BETWEEN_KNOCKS: Duration = Duration::from_millis(100);
const KNOCK_LIMIT: Duration = Duration::from_secs(1);

pub(crate) async fn steps(cx: Arc<Context>) -> Outcome {
    let server = cx.facts.turn.get()?;
    let certificate = *cx.facts.turn_certificate.get()?;
    let no_turn = |e: TurnError| Stop::Unable(format!("TURN worked a moment ago, and now: {e}"));
    let mut client = Client::connect(&cx.net, &server.host, server.port).await.map_err(no_turn)?;
    let connected_in = client.connected_in();
    let challenge = client.challenge().await.map_err(no_turn)?;
    let mut allocation = client.allocate(challenge, &server.login).await.map_err(no_turn)?;
    cx.facts.relayed_addresses.learn(vec![server.relayed, allocation.relayed()]);

    let foreign = ask_foreign(&mut allocation).await;
    let knocked = knock(&mut allocation).await;
    let refreshed = allocation.refresh().await;
    let round_trip = allocation.round_trip(Request::Refresh);
    let released = allocation.release_for_good().await;

    let findings = [
        judge_connection(connected_in, certificate),
        judge_foreign(&foreign),
        judge_knock(&knocked),
        judge_refresh(&refreshed, round_trip, certificate),
        judge_release(&released),
    ];
    let place = format!("turns:{}:{}", server.host, server.port);
    Ok(findings.into_iter().map(|finding| finding.at(&place)).collect())
}

fn judge_connection(connected_in: Duration, certificate: TurnCertificate) -> Finding {
    let code = Code::TurnConnects;
    let took = milliseconds(connected_in);
    let finding = if connected_in > SLOW {
        Finding::warn(code, format!("TCP and TLS take {took} to connect to TURN"))
            .because("the server, the ingress in front of it, or the way there is overloaded; a browser makes four such connections before anybody is heard")
            .fix("Compare it with other servers from here, then look at the TURN server's pod:", [PODS])
    } else {
        holds(code, certificate, "TURN takes a connection in good time")
    };
    finding.seen("TCP and TLS", took)
}

/// Which of them the server would let us send to.
async fn ask_foreign(allocation: &mut Allocation) -> Result<Vec<SocketAddr>, TurnError> {
    let mut granted = Vec::new();
    for peer in FOREIGN {
        match allocation.permit(peer).await {
            Ok(()) => granted.push(peer),
            Err(TurnError::Refused { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(granted)
}

fn judge_foreign(granted: &Result<Vec<SocketAddr>, TurnError>) -> Finding {
    let code = Code::TurnForeignPeers;
    match granted {
        Ok(granted) if granted.is_empty() => {
            Finding::pass(code, "TURN leads to dialog and not to other hosts of its network")
                .seen("refused", FOREIGN.map(|peer| peer.to_string()).join(", "))
        }
        Ok(granted) => {
            let list: Vec<_> = granted.iter().map(ToString::to_string).collect();
            Finding::warn(code, "TURN leads whoever is in a room into the cluster's own network")
                .because("its rules forbid no peer, so that everybody with a room's credentials can send UDP to hosts that only the cluster should reach")
                .seen("would send to", list.join(", "))
                .fix("Let it send to dialog only: hubs-relay does, see peers.allow; for coturn set denied-peer-ip:", [REPLACE])
        }
        Err(e) => broken(code, e),
    }
}

/// What came of sending a datagram to our own relayed address.
#[derive(Debug)]
enum Knock {
    /// It came through TURN.
    Heard(Duration),
    /// None did.
    Unheard,
    /// The server lets nobody in but dialog.
    NotLetIn,
    /// It would prove nothing, for this reason.
    Pointless(&'static str),
    /// This machine could not send.
    Unable(String),
    /// TURN did not live through it.
    Broken(TurnError),
}

/// Lets our own address in and sends to the relayed address from another socket, past TURN.
async fn knock(allocation: &mut Allocation) -> Knock {
    let (relayed, Some(mapped)) = (allocation.relayed(), allocation.mapped()) else {
        return Knock::Pointless("TURN does not say from where it sees us");
    };
    let is_public = |address: SocketAddr| matches!(Kind::of_address(address.ip()), Kind::Public(_));
    match (is_public(relayed), is_public(mapped)) {
        (false, true) => {
            return Knock::Pointless(
                "it is not for the world: relayed packets come from an address of the cluster's own network, which is all that dialog needs",
            );
        }
        (true, false) => {
            return Knock::Pointless("TURN sees the ingress in our place, so it cannot be told to let us in");
        }
        (true, true) | (false, false) => {}
    }
    match allocation.permit(mapped).await {
        Ok(()) => {}
        Err(TurnError::Refused { refusal, .. }) if refusal.code == ErrorCode::FORBIDDEN => {
            return Knock::NotLetIn;
        }
        Err(TurnError::Refused { .. }) => return Knock::Pointless("TURN does not let our own address in"),
        Err(e) => return Knock::Broken(e),
    }
    let any: SocketAddr = match relayed {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    match UdpSocket::bind(any).await {
        Ok(socket) => knock_from(allocation, &socket, relayed).await,
        Err(e) => Knock::Unable(e.to_string()),
    }
}

async fn knock_from(allocation: &mut Allocation, socket: &UdpSocket, relayed: SocketAddr) -> Knock {
    let word: [u8; 16] = random::bytes();
    let begin = Instant::now();
    let sending = async {
        for number in 0..KNOCKS {
            sleep_until(begin + BETWEEN_KNOCKS * number).await;
            socket.send_to(&word, relayed).await?;
        }
        std::future::pending::<std::io::Result<Knock>>().await
    };
    let listening = async {
        loop {
            match timeout_at(begin + KNOCK_LIMIT, allocation.receive()).await {
                Err(_) => return Knock::Unheard,
                Ok(Ok((datagram, _))) if datagram == word => return Knock::Heard(begin.elapsed()),
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Knock::Broken(e),
            }
        }
    };
    tokio::select! {
        sent = sending => sent.unwrap_or_else(|e| Knock::Unable(e.to_string())),
        heard = listening => heard,
    }
}

/// Nothing in a room needs it, since dialog is in the same network; where it is open, that is said, and nothing else.
fn judge_knock(knock: &Knock) -> Finding {
    let code = Code::TurnRelayRange;
    match knock {
        Knock::Heard(after) => Finding::pass(code, "UDP from here reaches the relayed address")
            .seen("after", milliseconds(*after)),
        Knock::Unheard => Finding::skip(
            code,
            format!(
                "none of {KNOCKS} datagrams from here reached the relayed address; no room needs it, because dialog is inside"
            ),
        ),
        Knock::NotLetIn => Finding::skip(code, "TURN lets nobody but dialog in (403), so no room needs it"),
        Knock::Pointless(reason) => Finding::skip(code, reason),
        Knock::Unable(e) => Finding::error(code, format!("this machine cannot send UDP there: {e}")),
        Knock::Broken(e) => broken(code, e),
    }
}

fn judge_refresh(
    refreshed: &Result<(), TurnError>,
    round_trip: Option<Duration>,
    certificate: TurnCertificate,
) -> Finding {
    let code = Code::TurnRefreshes;
    match refreshed {
        Ok(()) => {
            let finding = holds(code, certificate, "TURN keeps the allocation when it is asked to");
            match round_trip {
                Some(round_trip) => finding.seen("round trip", milliseconds(round_trip)),
                None => finding,
            }
        }
        Err(e @ TurnError::Refused { request, refusal }) => refused(code, e.to_string(), *request, refusal),
        Err(e) => broken(code, e),
    }
}

/// The inner result is that of asking for what was given back.
fn judge_release(released: &Result<Result<(), TurnError>, TurnError>) -> Finding {
    let code = Code::TurnReleases;
    match released {
        Ok(Err(TurnError::Refused { refusal, .. })) => {
            Finding::pass(code, "TURN takes the allocation back").seen("asked for it again", refusal)
        }
        Ok(Err(_)) => Finding::pass(code, "TURN takes the allocation back, and ends the connection"),
        // coturn lets go of the port a moment later, and says yes to whoever asks until then.
        Ok(Ok(())) => Finding::pass(code, "TURN says that it takes the allocation back")
            .seen("asked for it again", "granted for a moment more, as coturn does"),
        Err(e @ TurnError::Refused { request, refusal }) => refused(code, e.to_string(), *request, refusal),
        Err(e) => Finding::warn(code, format!("TURN does not take the allocation back: {e}"))
            .because("it ends with the connection all the same, only later")
            .advise("None is needed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checks::{tls, turn},
        finding::Status,
        target::{DIALOG, HTTPS, Name, TURN, TurnLogin},
        testing::{Authority, DOMAIN, TurnServer, context},
        turn::Refusal,
    };

    fn refusal(request: Request, code: u16) -> TurnError {
        TurnError::Refused { request, refusal: Refusal { code: ErrorCode(code), reason: String::new() } }
    }

    /// What is found out about a relay with these rules.
    async fn found(peers: &str) -> Vec<Finding> {
        let authority = Authority::new();
        let identity = authority.issue(&[&format!("stream.{DOMAIN}")], -1..30);
        let rules = format!("[auth]\nusers = {{ ann = 'correct horse' }}\n[peers]\n{peers}");
        let relay = TurnServer::start(&identity, &rules);
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let everywhere = Name::ALL.map(|name| (name, HTTPS, closed)).into_iter();
        let places: Vec<_> =
            everywhere.chain([(Name::Stream, DIALOG, closed), (Name::Stream, TURN, relay.address)]).collect();
        let login = TurnLogin::User { name: "ann".to_owned(), password: "correct horse".to_owned() };
        let cx = Arc::into_inner(context(Some(authority.root_pem()), &places)).unwrap();
        let cx = Arc::new(Context { turn_login: Some(login), ..cx });
        tls::certificates(Arc::clone(&cx)).await.unwrap();
        turn::allocate(Arc::clone(&cx)).await.unwrap();
        let findings = steps(Arc::clone(&cx)).await.unwrap();
        assert_eq!(cx.facts.relayed_addresses.get().unwrap().len(), 2);
        findings
    }

    fn outcomes(findings: &[Finding]) -> Vec<(Code, Status)> {
        findings.iter().map(|f| (f.code, f.status)).collect()
    }

    #[tokio::test]
    async fn a_relay_that_lets_us_in_passes_each_step() {
        let findings = found("allow = ['127.0.0.1:1024-65535']").await;
        let codes = [
            Code::TurnConnects,
            Code::TurnForeignPeers,
            Code::TurnRelayRange,
            Code::TurnRefreshes,
            Code::TurnReleases,
        ];
        assert_eq!(outcomes(&findings), codes.map(|code| (code, Status::Pass)), "{findings:#?}");
        assert!(findings[4].evidence.iter().any(|e| e.value.starts_with("437")), "{findings:#?}");
    }

    #[tokio::test]
    async fn a_relay_for_dialog_alone_need_not_let_us_in() {
        let findings = found("allow = ['203.0.113.9:40000-49999']").await;
        assert_eq!(outcomes(&findings)[2], (Code::TurnRelayRange, Status::Skip), "{findings:#?}");
        assert!(findings[2].summary.contains("403"), "{findings:#?}");
    }

    #[tokio::test]
    async fn a_relay_that_leads_everywhere_is_warned_of() {
        let findings = found("allow = ['10.0.0.0/8:1-65535', '127.0.0.1:1024-65535']").await;
        assert_eq!(outcomes(&findings)[1], (Code::TurnForeignPeers, Status::Warn), "{findings:#?}");
    }

    #[test]
    fn a_relayed_address_that_nothing_reaches_from_outside_is_no_fault() {
        for knock in [Knock::Unheard, Knock::NotLetIn, Knock::Pointless("so")] {
            assert_eq!(judge_knock(&knock).status, Status::Skip, "{knock:?}");
        }
        assert_eq!(judge_knock(&Knock::Unable("no".to_owned())).status, Status::Error);
        assert_eq!(judge_knock(&Knock::Broken(TurnError::Closed)).status, Status::Fail);
    }

    #[test]
    fn what_is_refused_at_a_step_is_said_with_the_step() {
        let finding = judge_refresh(&Err(refusal(Request::Refresh, 437)), None, TurnCertificate::Accepted);
        assert_eq!(finding.status, Status::Fail);
        assert!(finding.summary.contains("refuses Refresh: 437"), "{finding:#?}");
        let finding = judge_release(&Err(refusal(Request::Refresh, 441)));
        assert!(finding.summary.contains("441") && finding.status == Status::Fail, "{finding:#?}");
    }

    #[test]
    fn an_allocation_that_lives_on_for_a_moment_is_no_fault_and_one_that_is_not_taken_back_is_warned_of() {
        assert_eq!(judge_release(&Ok(Ok(()))).status, Status::Pass);
        assert_eq!(judge_release(&Ok(Err(TurnError::Closed))).status, Status::Pass);
        assert_eq!(judge_release(&Err(TurnError::Closed)).status, Status::Warn);
    }

    #[test]
    fn a_slow_connection_is_warned_of() {
        assert_eq!(judge_connection(SLOW * 2, TurnCertificate::Accepted).status, Status::Warn);
        assert_eq!(judge_connection(SLOW / 2, TurnCertificate::Accepted).status, Status::Pass);
    }
}
