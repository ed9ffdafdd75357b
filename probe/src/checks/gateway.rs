//! Media through the gateway: does dialog answer a browser's ICE checks at the ports that the gateway tells browsers of?
//!
//! Each port is asked for a transport of its own, so that what dialog saw came by that port and by no other.

use std::{io, net::SocketAddr, sync::Arc};

use futures_util::future::join_all;

use super::{
    commands::{LOG, TCP_MAP},
    ice::testimony,
};
use crate::{
    candidate::{Candidate, Kind, Protocol},
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    ice::{self, Agent, Schedule, TcpError, TcpPath},
    net::{ConnectError, Net, ResolveError, Trust},
    protoo::{Dialog, ProtooError, TransportStats},
    stun::{self, Server},
};

const SERVICE: &str = "kubectl get service hubs-media -n hcce -o wide";
const ENDPOINTS: &str = "kubectl get endpointslices -n hcce -l kubernetes.io/service-name=hubs-media";
const APPLY: &str = "kubectl apply -n hcce -k deploy/gateway";
const BALANCER: &str = "kubectl get service lb -n hcce";
const PODS: &str = "kubectl get pods -n hcce -o wide -l 'app in (dialog, coturn)'";

pub(crate) async fn paths(cx: Arc<Context>) -> Outcome {
    let endpoint = cx.facts.dialog.get()?;
    let offered = cx.facts.candidates.get()?.iter().filter(|c| c.gateway().is_some()).count();
    if offered == 0 {
        return Err(Stop::Skip(
            "no media gateway is offered: browsers are told of dialog's own addresses".into(),
        ));
    }
    let unable = |e: ProtooError| Stop::Unable(format!("dialog worked a moment ago, and now: {e}"));
    let mut dialog =
        Dialog::open(&cx.net, &endpoint.host, endpoint.port, Trust::Anything).await.map_err(unable)?;
    let transports = dialog.create_transports(offered).await.map_err(unable)?;
    let ports = transports.iter().enumerate().filter_map(|(number, transport)| {
        // Another room may have another gateway, and this is the one that knows the transport.
        let mut ports = transport.candidates.iter().filter_map(Port::of);
        Some((ports.nth(number)?, transport))
    });
    let ports: Vec<_> = ports.filter(|(port, _)| cx.net.family().admits(port.address.ip())).collect();
    let results = ports.iter().map(async |(port, transport)| {
        let agent = Agent::new(&transport.ice);
        port.ask(&cx.net, &agent).await
    });
    let results = join_all(results).await;
    let (mut findings, mut answering, mut over_udp) = (Vec::new(), Vec::new(), Vec::new());
    for ((port, transport), result) in ports.into_iter().zip(results) {
        let is_answered = result.as_ref().is_ok_and(ice::Outcome::is_answered);
        if is_answered {
            answering.push(port.protocol);
        }
        if port.protocol == Protocol::Udp {
            over_udp.push((port.address, is_answered));
        }
        let witness = dialog.transport_stats(&transport.id).await;
        let tried = Tried { port, result, witness };
        findings.push(tried.judge(cx.facts.is_internal()).at(port.to_string()));
    }
    // Whether it is answered or not: the end of the connection closes them as well.
    let _ = dialog.close_transports(&transports).await;
    dialog.close().await;
    cx.facts.gateway_ports.learn(over_udp);
    if !answering.is_empty() {
        cx.facts.gateway.learn(answering);
    }
    if findings.is_empty() {
        return Err(Stop::Skip("the gateway has no address of the family that -4 or -6 asks for".into()));
    }
    Ok(findings)
}

/// Where the gateway waits.
#[derive(Clone, Copy, Debug)]
struct Port {
    protocol: Protocol,
    address: SocketAddr,
}

impl Port {
    fn of(candidate: &Candidate) -> Option<Self> {
        Some(Self { protocol: candidate.protocol, address: candidate.gateway()? })
    }

    /// Sends checks to it, as a browser would.
    async fn ask(&self, net: &Net, agent: &Agent) -> Result<ice::Outcome, Obstacle> {
        let Self { protocol, address } = *self;
        let host = address.ip().to_string();
        match protocol {
            Protocol::Udp => {
                let way = net.route(&host, address.port()).await?.first().copied().unwrap_or(address);
                let outcome = ice::direct_by(way, address, agent, Schedule::default()).await;
                let outcome = outcome.map_err(Obstacle::Unable)?;
                let is_silent = matches!(outcome, ice::Outcome::Silent { .. });
                if is_silent && answers_strangers(way).await {
                    return Err(Obstacle::Passed(outcome));
                }
                Ok(outcome)
            }
            Protocol::Tcp => {
                let mut path = TcpPath::new(net.connect(&host, address.port()).await?, address);
                let outcome = ice::check(&mut path, address, agent, Schedule::default()).await?;
                // Who takes connections has been reached.
                match outcome {
                    ice::Outcome::Silent { .. } => Err(Obstacle::Passed(outcome)),
                    outcome => Ok(outcome),
                }
            }
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.protocol == Protocol::Udp { "udp" } else { "tcp" };
        write!(f, "{scheme}:{}", self.address)
    }
}

/// Whether a server is there that answers a question of STUN's that names no transport, as hubs-relay does.
async fn answers_strangers(way: SocketAddr) -> bool {
    let survey = stun::survey(&[Server { address: way, agent: None }]).await;
    survey.is_ok_and(|survey| !survey.answers.is_empty())
}

/// Why there is no answer to checks, where more can be said than that.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// Somebody listens there, and checks are not answered.
    #[error("somebody listens there, but {0}")]
    Passed(ice::Outcome),
    #[error("this machine cannot send: {0}")]
    Unable(io::Error),
}

/// A port, and what came of the checks towards it.
#[derive(Debug)]
struct Tried {
    port: Port,
    result: Result<ice::Outcome, Obstacle>,
    /// What dialog says of the transport that the checks were for.
    witness: Result<TransportStats, ProtooError>,
}

/// What is wrong, and what to do about it.
struct Fault {
    summary: String,
    cause: &'static str,
    fix: &'static str,
    commands: Vec<&'static str>,
}

impl Tried {
    fn code(&self) -> Code {
        match self.port.protocol {
            Protocol::Udp => Code::GatewayUdp,
            Protocol::Tcp => Code::GatewayTcp,
        }
    }

    fn judge(&self, is_internal: bool) -> Finding {
        let (code, Port { protocol, address }) = (self.code(), self.port);
        let is_fit = is_internal || matches!(Kind::of_address(address.ip()), Kind::Public(_));
        let finding = match &self.result {
            Ok(ice::Outcome::Answered { round_trip, .. }) if is_fit => {
                let milliseconds = round_trip.as_secs_f32() * 1000.0;
                let summary =
                    format!("dialog answers ICE through the gateway over {protocol} in {milliseconds:.0} ms");
                Finding::pass(code, summary)
            }
            Ok(ice::Outcome::Answered { .. }) => Finding::warn(
                code,
                format!("dialog answers through the gateway over {protocol} at a private address: in this network only"),
            )
            .because("the gateway tells browsers an address of the cluster's own network")
            .fix("Let it tell the load balancer's (gateway.udp and gateway.tcp of hubs-relay):", [SERVICE, APPLY]),
            Err(e @ (Obstacle::Unable(_) | Obstacle::Resolve(_))) => {
                return Finding::error(code, format!("the gateway could not be asked over {protocol}: {e}"));
            }
            Err(Obstacle::Connect(ConnectError::Io { source, .. })) if !is_unreachable(source) => {
                return Finding::error(code, format!("the gateway could not be asked over {protocol}: {source}"));
            }
            Ok(_) | Err(_) => {
                let Fault { summary, cause, fix, commands } = self.fault();
                Finding::warn(code, summary).because(cause).fix(fix, commands)
            }
        };
        match &self.result {
            Ok(outcome) => finding.seen(&address.to_string(), outcome),
            Err(obstacle) => finding.seen(&address.to_string(), obstacle),
        }
        .seen("dialog saw", testimony(self.witness.as_ref()))
    }

    /// The most telling of what was seen.
    fn fault(&self) -> Fault {
        let Port { protocol, address } = self.port;
        if self.witness.as_ref().is_ok_and(|w| w.ice_state.heard_us()) {
            return Fault {
                summary: format!(
                    "our ICE checks reach dialog through the gateway over {protocol}, and its answers do not come back"
                ),
                cause: "dialog answers from another address than the one where the gateway reaches it, or something between them lets packets through in one direction only",
                fix: "Look at where both run, and at what the gateway says:",
                commands: vec![PODS, LOG],
            };
        }
        let (port, is_udp) = (address.port(), protocol == Protocol::Udp);
        match &self.result {
            Ok(ice::Outcome::Rejected(_) | ice::Outcome::AnsweredElsewhere { .. }) => Fault {
                summary: format!(
                    "something answers at {address} over {protocol}, but it is not the gateway of this dialog"
                ),
                cause: "the address or the port that the gateway tells browsers is another server's",
                fix: "Compare what the gateway tells (gateway.udp, gateway.tcp) with the load balancer's address:",
                commands: vec![SERVICE, LOG],
            },
            Ok(ice::Outcome::PortClosed) | Err(Obstacle::Connect(ConnectError::Refused(_))) => Fault {
                summary: format!("nothing listens at the gateway's {protocol} port, {address}"),
                cause: "the host is there and says so, but hubs-relay does not listen there, or its pod is not ready",
                fix: "Look at what the port leads to, and whether the pod is ready:",
                commands: vec![if is_udp { ENDPOINTS } else { TCP_MAP }, PODS],
            },
            Ok(ice::Outcome::NoRoute) | Err(Obstacle::Connect(ConnectError::Io { .. })) => Fault {
                summary: format!("no way leads to the gateway's address {}", address.ip()),
                cause: "this machine, or a router on the way, says that the address cannot be reached",
                fix: "Let the gateway tell the load balancer's address:",
                commands: vec![SERVICE, BALANCER],
            },
            Err(Obstacle::Passed(_)) => Fault {
                summary: format!("the gateway's {protocol} port leads to hubs-relay, and not on to dialog"),
                cause: "this hubs-relay does not know the transport that dialog has just made, as after a restart or where signalling goes through another replica; or it does not reach dialog's node",
                fix: "Let signalling and media go through one replica, and look at what it says of dialog:",
                commands: vec![PODS, LOG, if is_udp { SERVICE } else { TCP_MAP }],
            },
            Err(Obstacle::Tcp(_)) => Fault {
                summary: format!(
                    "connections to the gateway's TCP port, {address}, are taken and come to nothing"
                ),
                cause: "behind the port is no hubs-relay that speaks ICE over TCP, or the ingress does not find it",
                fix: "Look at where the ingress sends this port, and at what is there:",
                commands: vec![TCP_MAP, LOG],
            },
            _ if is_udp => Fault {
                summary: format!("the gateway does not answer at its UDP port, {address}"),
                cause: "the load balancer does not forward the port to hubs-relay (Service hubs-media), a security group of one's own subnet drops it, or this network does",
                fix: "Let the Service have the address that browsers are told, and let UDP 3478 in where the subnet has a security group of its own:",
                commands: vec![
                    SERVICE,
                    APPLY,
                    "az network nsg rule create -g NODE_GROUP --nsg-name NSG -n hubs-media --priority 200 --direction Inbound --access Allow --protocol Udp --source-address-prefixes Internet --destination-port-ranges 3478",
                ],
            },
            _ => Fault {
                summary: format!("the gateway does not answer at its TCP port, {address}"),
                cause: "the load balancer does not forward the port, or this network drops it",
                fix: if port == crate::target::TURN {
                    "It is the port of TURN as well, which Hubs' load balancer forwards as it is shipped:"
                } else {
                    "Let the gateway tell a port that the load balancer forwards, such as 5349:"
                },
                commands: vec![BALANCER, TCP_MAP],
            },
        }
    }
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hubs_relay::wire::{Builder, ErrorCode};

    use super::*;
    use crate::{
        checks::dialog,
        demo::{Deployment, Turn},
        finding::Status,
        ice::{Credentials, Outcome as Ice, Rejection},
        protoo::{DtlsState, IceState},
        target::{Name, STUN, TURN},
        testing::{bare_context, context, stun_server, tcp_server},
    };

    fn witness(ice_state: IceState) -> TransportStats {
        let (bytes_received, bytes_sent) = (0, 0);
        let dtls_state = DtlsState::New;
        TransportStats { ice_selected_tuple: None, ice_state, dtls_state, bytes_received, bytes_sent }
    }

    fn port(protocol: Protocol) -> Port {
        let port = if protocol == Protocol::Udp { STUN } else { TURN };
        Port { protocol, address: ([203, 0, 113, 10], port).into() }
    }

    fn judged(protocol: Protocol, result: Result<Ice, Obstacle>, ice_state: IceState) -> Finding {
        Tried { port: port(protocol), result, witness: Ok(witness(ice_state)) }.judge(false)
    }

    fn answered() -> Ice {
        let mapped = "10.244.0.8:50000".parse().unwrap();
        Ice::Answered { round_trip: Duration::from_millis(12), mapped, sent: 1 }
    }

    const SILENT: Ice = Ice::Silent { sent: 10 };

    #[test]
    fn an_answer_passes_with_its_round_trip_and_dialogs_testimony() {
        for (protocol, code) in [(Protocol::Udp, Code::GatewayUdp), (Protocol::Tcp, Code::GatewayTcp)] {
            let finding = judged(protocol, Ok(answered()), IceState::Connected);
            assert_eq!((finding.code, finding.status), (code, Status::Pass));
            assert_eq!(
                finding.summary,
                format!("dialog answers ICE through the gateway over {protocol} in 12 ms")
            );
            assert_eq!(finding.evidence[1].value, "a check");
        }
    }

    #[test]
    fn each_way_to_fail_is_warned_of_with_a_cause_and_a_remedy_of_its_own() {
        use Protocol::{Tcp, Udp};
        let address = port(Tcp).address;
        let rejection = Rejection { code: ErrorCode::UNAUTHENTICATED, reason: String::new() };
        let unreachable = io::Error::from(io::ErrorKind::HostUnreachable);
        for (protocol, result, state, summary) in [
            (
                Udp,
                Ok(SILENT),
                IceState::New,
                "the gateway does not answer at its UDP port, 203.0.113.10:3478",
            ),
            (Udp, Ok(SILENT), IceState::Connected, "its answers do not come back"),
            (Udp, Err(Obstacle::Passed(SILENT)), IceState::New, "leads to hubs-relay, and not on to dialog"),
            (Udp, Ok(Ice::PortClosed), IceState::New, "nothing listens at the gateway's UDP port"),
            (Udp, Ok(Ice::NoRoute), IceState::New, "no way leads to the gateway's address 203.0.113.10"),
            (Udp, Ok(Ice::Rejected(rejection)), IceState::New, "it is not the gateway of this dialog"),
            (
                Tcp,
                Err(ConnectError::Silent(address).into()),
                IceState::New,
                "does not answer at its TCP port, 203.0.113.10:5349",
            ),
            (
                Tcp,
                Err(ConnectError::Refused(address).into()),
                IceState::New,
                "nothing listens at the gateway's TCP port",
            ),
            (
                Tcp,
                Err(ConnectError::Io { address, source: unreachable }.into()),
                IceState::New,
                "no way leads to",
            ),
            (Tcp, Err(TcpError::Closed.into()), IceState::New, "are taken and come to nothing"),
            (Tcp, Err(Obstacle::Passed(SILENT)), IceState::New, "leads to hubs-relay, and not on to dialog"),
        ] {
            let finding = judged(protocol, result, state);
            assert_eq!(finding.status, Status::Warn, "{finding:#?}");
            assert!(finding.summary.contains(summary), "{finding:#?}");
            assert!(finding.cause.is_some() && finding.remedy.is_some(), "{finding:#?}");
        }
        let forwarding = judged(Udp, Ok(SILENT), IceState::New).remedy.unwrap().commands;
        assert_eq!(forwarding[..2], [SERVICE, APPLY]);
    }

    #[test]
    fn an_address_of_the_clusters_own_network_is_no_use_outside_of_it() {
        let port = Port { protocol: Protocol::Udp, address: ([10, 244, 0, 8], 3478).into() };
        let tried = Tried { port, result: Ok(answered()), witness: Ok(witness(IceState::Connected)) };
        assert_eq!((tried.judge(false).status, tried.judge(true).status), (Status::Warn, Status::Pass));
    }

    #[test]
    fn a_machine_that_cannot_send_says_nothing_of_the_gateway() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let address = port(Protocol::Tcp).address;
        for result in
            [Err(Obstacle::Unable(denied())), Err(ConnectError::Io { address, source: denied() }.into())]
        {
            assert_eq!(judged(Protocol::Tcp, result, IceState::New).status, Status::Error);
        }
    }

    fn agent() -> Agent {
        Agent::new(&Credentials::new("u".repeat(32), "p".repeat(32)).unwrap())
    }

    async fn asked(protocol: Protocol, server: SocketAddr) -> Result<Ice, Obstacle> {
        let Port { address, .. } = port(protocol);
        let detour = format!("{}:{}:{server}", address.ip(), address.port()).parse().unwrap();
        let options = crate::net::NetOptions { connect_to: vec![detour], ..Default::default() };
        port(protocol).ask(&bare_context(options).net, &agent()).await
    }

    #[tokio::test]
    async fn a_server_that_answers_strangers_and_no_checks_is_told_from_a_port_that_leads_nowhere() {
        let relay = stun_server(|request, from| {
            let is_stranger = request.username().ok().flatten().is_none();
            is_stranger.then(|| Builder::success(request).xor_mapped_address(from).finish())
        })
        .await;
        let passed = asked(Protocol::Udp, relay).await;
        assert!(matches!(passed, Err(Obstacle::Passed(Ice::Silent { .. }))), "{passed:?}");
        let nowhere = stun_server(|_, _| None).await;
        let silent = asked(Protocol::Udp, nowhere).await;
        assert!(matches!(silent, Ok(Ice::Silent { .. })), "{silent:?}");
    }

    #[tokio::test]
    async fn who_takes_connections_and_hangs_up_is_no_gateway() {
        let hangs_up = tcp_server(|stream| async move { drop(stream) }).await;
        let ended = asked(Protocol::Tcp, hangs_up).await;
        assert!(matches!(ended, Err(Obstacle::Tcp(_))), "{ended:?}");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = asked(Protocol::Tcp, closed).await;
        assert!(matches!(refused, Err(Obstacle::Connect(ConnectError::Refused(_)))), "{refused:?}");
    }

    /// The demo's deployment as far as this check needs it.
    async fn deployment(turn: Turn) -> (Deployment, Arc<Context>) {
        let deployment = Deployment::start(turn).await.unwrap();
        let cx = deployment.context().unwrap();
        cx.facts.addresses.learn(Name::ALL.map(|name| (name, vec![[127, 0, 0, 1].into()])).into());
        dialog::candidates(Arc::clone(&cx)).await.unwrap();
        (deployment, cx)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_real_gateway_leads_to_dialog_over_udp_and_over_tcp() {
        let (_deployment, cx) = deployment(Turn::Gateway).await;
        let findings = paths(Arc::clone(&cx)).await.unwrap();
        let outcomes: Vec<_> = findings.iter().map(|f| (f.code, f.status)).collect();
        let expected = [(Code::GatewayUdp, Status::Pass), (Code::GatewayTcp, Status::Pass)];
        assert_eq!(outcomes, expected, "{findings:#?}");
        for finding in &findings {
            assert!(finding.evidence[1].value.starts_with("a check from 127.0.0.1"), "{finding:#?}");
        }
        assert_eq!(cx.facts.gateway.get().unwrap(), &[Protocol::Udp, Protocol::Tcp]);
        assert_eq!(findings[0].target.as_deref(), Some("udp:203.0.113.10:3478"));
        // Dialog's own candidates are still there for those who come through TURN.
        assert!(cx.facts.announced.get().unwrap().iter().all(|a| a.ip() == crate::demo::ANNOUNCED));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_no_gateway_is_offered_that_is_the_reason_for_nothing() {
        let (_deployment, cx) = deployment(Turn::Relay).await;
        let Err(Stop::Skip(reason)) = paths(cx).await else { panic!("no skip") };
        assert!(reason.starts_with("no media gateway is offered"), "{reason}");
        let Err(Stop::Skip(reason)) = paths(context(None, &[])).await else { panic!("no skip") };
        assert!(reason.contains("dialog.candidates"), "{reason}");
    }
}
