//! Silence: does a path that nobody used for a while still carry something?
//!
//! It takes minutes, and therefore happens only when it is asked for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join3;
use tokio::time::sleep;

use crate::{
    candidate::{Candidate, Protocol},
    check::{Context, Outcome, Stop},
    checks::turn::holds,
    codes::Code,
    facts::{DialogFacts, TurnCertificate, TurnFacts},
    finding::Finding,
    ice::{self, Agent, DirectPath, Schedule},
    net::{Net, Trust},
    protoo::{Dialog, ProtooError, Transport},
    turn::{Allocation, Client, TurnError},
};

/// When Azure's load balancer forgets a connection, as long as nobody tells it to wait longer.
const BALANCER_FORGETS: Duration = Duration::from_mins(4);

const NO_NEED: &str = "None is needed as long as browsers stay connected, since they ask every five seconds; a laptop that slept reconnects";

const TIMEOUT: &str =
    "kubectl annotate service lb -n hcce service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout=30";

pub(crate) async fn silence(cx: Arc<Context>) -> Outcome {
    let Some(silence) = cx.options.silence else {
        return Err(Stop::Skip("it takes more than four minutes: ask for it with --long".to_owned()));
    };
    Box::pin(outlive(&cx, silence)).await
}

async fn outlive(cx: &Context, silence: Duration) -> Outcome {
    let endpoint = cx.facts.dialog.get()?;
    let direct = cx.facts.answering.get().ok().and_then(|known| known.first());
    let gateway = cx.facts.gateway_ports.get().ok();
    let gateway = gateway.and_then(|ports| ports.iter().find(|(_, is_answered)| *is_answered));
    let through = cx.facts.turn.get().ok().zip(cx.facts.relayed.get().ok());
    let certificate = cx.facts.turn_certificate.get().copied().unwrap_or(TurnCertificate::Refused);
    let direct = async {
        let peer = direct?.ip();
        let at_peer = |c: &Candidate| c.direct().filter(|address| address.ip() == peer);
        let outlived = udp_outlives(&cx.net, endpoint, at_peer, silence).await;
        Some(judge_udp(Code::DirectIdle, "the direct path", silence, &outlived).at(format!("udp:{peer}")))
    };
    let gateway = async {
        let port = gateway?.0;
        let at_port = |c: &Candidate| c.gateway().filter(|at| c.protocol == Protocol::Udp && *at == port);
        let outlived = udp_outlives(&cx.net, endpoint, at_port, silence).await;
        Some(
            judge_udp(Code::GatewayIdle, "the way through the gateway", silence, &outlived)
                .at(format!("udp:{port}")),
        )
    };
    let through = async {
        let (server, peer) = through?;
        let outlived = turn_outlives(&cx.net, endpoint, server, *peer, silence).await;
        Some(judge_turn(silence, &outlived, certificate).at(format!("turns:{}:{}", server.host, server.port)))
    };
    let (direct, gateway, through) = Box::pin(join3(direct, gateway, through)).await;
    let findings: Vec<_> = [through, direct, gateway].into_iter().flatten().collect();
    if findings.is_empty() {
        return Err(Stop::Skip("dialog answers neither directly nor through the gateway or TURN".to_owned()));
    }
    Ok(findings)
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
enum Unproven {
    #[error("dialog: {0}")]
    Dialog(#[from] ProtooError),
    #[error("dialog does not answer before the silence either")]
    NotAnswered,
    #[error("{0}")]
    Path(String),
}

/// A transport that is there for as long as it takes, because somebody listens to dialog meanwhile.
struct Kept {
    dialog: Dialog,
    transport: Transport,
    peer: SocketAddr,
}

impl Kept {
    /// With the first candidate of which `pick` says where to send.
    async fn open(
        net: &Net,
        endpoint: &DialogFacts,
        pick: impl Fn(&Candidate) -> Option<SocketAddr>,
    ) -> Result<Self, Unproven> {
        let mut dialog = Dialog::open(net, &endpoint.host, endpoint.port, Trust::Anything).await?;
        let transport = dialog.create_transport().await?;
        let peer = transport.candidates.iter().find_map(pick).ok_or(Unproven::NotAnswered)?;
        Ok(Self { dialog, transport, peer })
    }

    /// Nothing is sent, and dialog's own questions are answered.
    async fn wait(&mut self, silence: Duration) -> Result<(), Unproven> {
        tokio::select! {
            () = sleep(silence) => Ok(()),
            error = self.dialog.ended() => Err(error.into()),
        }
    }

    async fn close(mut self) {
        let _ = self.dialog.close_transport(&self.transport.id).await;
        self.dialog.close().await;
    }
}

/// Where dialog saw us before, and what came of asking again.
struct Outlived {
    before: SocketAddr,
    after: ice::Outcome,
}

async fn udp_outlives(
    net: &Net,
    endpoint: &DialogFacts,
    pick: impl Fn(&Candidate) -> Option<SocketAddr>,
    silence: Duration,
) -> Result<Outlived, Unproven> {
    let mut kept = Kept::open(net, endpoint, pick).await?;
    let (agent, peer) = (Agent::new(&kept.transport.ice), kept.peer);
    let ways = net.route(&peer.ip().to_string(), peer.port()).await;
    let way = ways.ok().and_then(|ways| ways.first().copied()).unwrap_or(peer);
    let broken = |e: std::io::Error| Unproven::Path(e.to_string());
    let mut path = DirectPath::open_by(way, peer).await.map_err(broken)?;
    let before = path.check(&agent, Schedule::default()).await.map_err(broken)?;
    let ice::Outcome::Answered { mapped: before, .. } = before else { return Err(Unproven::NotAnswered) };
    kept.wait(silence).await?;
    let after = path.check(&agent, Schedule::default()).await.map_err(broken)?;
    kept.close().await;
    Ok(Outlived { before, after })
}

fn judge_udp(code: Code, way: &str, silence: Duration, outlived: &Result<Outlived, Unproven>) -> Finding {
    let carries_on = format!("{way} carries on after {}", silent(silence));
    match outlived {
        Ok(Outlived { before, after: ice::Outcome::Answered { mapped, .. } }) if mapped == before => {
            Finding::pass(code, carries_on).seen("seen by dialog as", before)
        }
        Ok(Outlived { before, after: ice::Outcome::Answered { mapped, .. } }) => {
            Finding::pass(code, format!("{carries_on}, from another port"))
                .seen("seen by dialog as", format!("{before}, then {mapped}"))
                .seen("what it means", "a NAT, most often this network's own, forgot us meanwhile; browsers are never silent for so long")
        }
        Ok(Outlived { after, .. }) => Finding::warn(code, format!("{way} is dead after {}", silent(silence)))
            .because("a firewall or NAT on the way, perhaps this network's own, takes what comes after a pause for something new and drops it")
            .seen("after the silence", after)
            .advise(NO_NEED),
        Err(e) => Finding::error(code, e.to_string()),
    }
}

fn silent(silence: Duration) -> String {
    format!("{} silent seconds", silence.as_secs())
}

async fn turn_outlives(
    net: &Net,
    endpoint: &DialogFacts,
    server: &TurnFacts,
    ip: std::net::IpAddr,
    silence: Duration,
) -> Result<Result<ice::Outcome, TurnError>, Unproven> {
    let at_peer = |c: &Candidate| c.direct().filter(|address| address.ip() == ip);
    let mut kept = Kept::open(net, endpoint, at_peer).await?;
    let agent = Agent::new(&kept.transport.ice);
    let broken = |e: TurnError| Unproven::Path(e.to_string());
    let mut allocation = allocate(net, server, kept.peer).await.map_err(broken)?;
    let before = ice::check(&mut allocation, kept.peer, &agent, Schedule::default()).await.map_err(broken)?;
    if !before.is_answered() {
        return Err(Unproven::NotAnswered);
    }
    kept.wait(silence).await?;
    let after = ice::check(&mut allocation, kept.peer, &agent, Schedule::default()).await;
    let _ = allocation.release().await;
    kept.close().await;
    Ok(after)
}

async fn allocate(net: &Net, server: &TurnFacts, peer: SocketAddr) -> Result<Allocation, TurnError> {
    let mut client = Client::connect(net, &server.host, server.port).await?;
    let challenge = client.challenge().await?;
    let mut allocation = client.allocate(challenge, &server.login).await?;
    allocation.permit(peer).await?;
    Ok(allocation)
}

fn judge_turn(
    silence: Duration,
    outlived: &Result<Result<ice::Outcome, TurnError>, Unproven>,
    certificate: TurnCertificate,
) -> Finding {
    let code = Code::TurnIdle;
    let silent = silent(silence);
    let dead = |what: String| {
        let finding = Finding::warn(code, format!("the connection to TURN is dead after {silent}: {what}"));
        if silence < BALANCER_FORGETS {
            return finding
                .because("a NAT, firewall or proxy on the way forgets TCP connections; Azure's load balancer itself waits for four minutes")
                .advise(NO_NEED);
        }
        finding
            .because("the load balancer forgets TCP connections on which nothing is sent for four minutes, or a proxy on the way does")
            .fix("Let Azure's load balancer wait longer; browsers themselves are never silent for so long:", [TIMEOUT])
    };
    match outlived {
        Ok(Ok(outcome)) if outcome.is_answered() => {
            holds(code, certificate, &format!("the connection to TURN carries on after {silent}"))
        }
        Ok(Ok(outcome)) => dead(outcome.to_string()),
        Ok(Err(e)) => dead(e.to_string()),
        Err(e) => Finding::error(code, e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checks::{dialog, gateway, media, room, tls, turn},
        demo::{Deployment, Turn},
        finding::Status,
        target::Name,
        testing::context,
    };

    #[tokio::test]
    async fn without_being_asked_for_nobody_waits_for_four_minutes() {
        let Err(Stop::Skip(reason)) = silence(context(None, &[])).await else { panic!("no skip") };
        assert!(reason.contains("--long"), "{reason}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_path_through_turn_is_tried_again_after_the_silence() {
        let deployment = Deployment::start(Turn::Relay).await.unwrap();
        let cx = deployment.context().unwrap();
        cx.facts.addresses.learn(Name::ALL.map(|name| (name, vec![[127, 0, 0, 1].into()])).into());
        room::join(Arc::clone(&cx)).await.unwrap();
        tls::certificates(Arc::clone(&cx)).await.unwrap();
        dialog::candidates(Arc::clone(&cx)).await.unwrap();
        turn::allocate(Arc::clone(&cx)).await.unwrap();
        media::relayed(Arc::clone(&cx)).await.unwrap();
        let findings = Box::pin(outlive(&cx, Duration::from_millis(10))).await.unwrap();
        let outcomes: Vec<_> = findings.iter().map(|f| (f.code, f.status)).collect();
        assert_eq!(outcomes, [(Code::TurnIdle, Status::Pass)], "{findings:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_way_through_the_gateway_is_tried_again_after_the_silence() {
        let deployment = Deployment::start(Turn::Gateway).await.unwrap();
        let cx = deployment.context().unwrap();
        cx.facts.addresses.learn(Name::ALL.map(|name| (name, vec![[127, 0, 0, 1].into()])).into());
        dialog::candidates(Arc::clone(&cx)).await.unwrap();
        gateway::paths(Arc::clone(&cx)).await.unwrap();
        let findings = Box::pin(outlive(&cx, Duration::from_millis(10))).await.unwrap();
        let outcomes: Vec<_> = findings.iter().map(|f| (f.code, f.status)).collect();
        assert_eq!(outcomes, [(Code::GatewayIdle, Status::Pass)], "{findings:#?}");
    }

    const SILENCE: Duration = Duration::from_secs(255);

    fn direct(after: ice::Outcome) -> Finding {
        judge_udp(
            Code::DirectIdle,
            "the direct path",
            SILENCE,
            &Ok(Outlived { before: ([192, 0, 2, 7], 50_000).into(), after }),
        )
    }

    fn answered(port: u16) -> ice::Outcome {
        ice::Outcome::Answered { round_trip: Duration::ZERO, mapped: ([192, 0, 2, 7], port).into(), sent: 1 }
    }

    #[test]
    fn another_mapping_is_no_fault_and_silence_is_warned_of() {
        assert_eq!(direct(answered(50_000)).code, Code::DirectIdle);
        assert_eq!(direct(answered(50_000)).status, Status::Pass);
        assert_eq!(direct(answered(50_001)).status, Status::Pass);
        assert_eq!(direct(ice::Outcome::Silent { sent: 10 }).status, Status::Warn);
        assert_eq!(
            judge_udp(Code::GatewayIdle, "", SILENCE, &Err(Unproven::NotAnswered)).status,
            Status::Error
        );
    }

    #[test]
    fn a_connection_that_was_cut_is_the_load_balancers_doing() {
        for outlived in [Err(TurnError::Closed), Ok(ice::Outcome::Silent { sent: 10 })] {
            let finding = judge_turn(SILENCE, &Ok(outlived), TurnCertificate::Accepted);
            assert_eq!(finding.status, Status::Warn);
            assert_eq!(finding.remedy.unwrap().commands, [TIMEOUT]);
        }
        let sooner =
            judge_turn(Duration::from_secs(30), &Ok(Err(TurnError::Closed)), TurnCertificate::Accepted);
        assert!(sooner.remedy.unwrap().commands.is_empty());
        let unproven = judge_turn(SILENCE, &Err(Unproven::Path("no".to_owned())), TurnCertificate::Accepted);
        assert_eq!(unproven.status, Status::Error);
    }
}
