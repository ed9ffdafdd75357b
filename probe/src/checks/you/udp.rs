//! UDP: does it leave this network and come back, what does the NAT make of it, and how long may packets be?
//!
//! The deployment's own servers are asked: hubs-relay where it listens on UDP, and dialog, which answers anybody on the ports of a
//! transport while it is open. Their silence alone says nothing about this network. Others are only asked where the command
//! line names them.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use futures_util::future::join_all;
use socket2::SockRef;

use super::local_address;
use crate::{
    candidate::{Candidate, Kind, Protocol},
    check::{Context, Outcome},
    codes::Code,
    facts::NameServers,
    finding::Finding,
    ice::Agent,
    net::Trust,
    protoo::Dialog,
    stun::{self, Answer, Lengths, Server, Survey},
    target::{HTTPS, Name, STUN, TURN},
};

/// So many independent servers have to be silent before this network is to blame.
const ENOUGH: usize = 2;

/// The lengths of packets that are tried: what links of the usual kinds carry, and what every link carries that IPv6 can use.
const LENGTHS: [usize; 12] = [576, 1200, 1280, 1320, 1360, 1400, 1420, 1440, 1460, 1480, 1492, 1500];

/// The shortest that no honest path cuts (RFC 8200 section 5). Browsers' media packets are at most as long.
const NEEDED: usize = 1280;

/// IPv4's and TCP's headers, with the timestamps that TCP mostly has in each segment.
const TCP_HEADERS: usize = 52;

/// How much longer IPv6's is.
const IPV6_MORE: usize = 20;

const NOBODY_SAYS: &str = "nobody answers over UDP and says where we are";

pub(crate) async fn udp(cx: Arc<Context>) -> Outcome {
    cx.facts.has_address(Name::Stream)?;
    let (dialog, of_dialog) = of_dialog(&cx).await.unzip();
    let (of_relay, strangers) = tokio::join!(of_relay(&cx), of_strangers(&cx));
    let asked: Vec<_> = [of_dialog.unwrap_or_default(), of_relay, strangers].concat();
    let (v4, v6) = tokio::join!(look(&asked, Family::V4), look(&asked, Family::V6));
    let names = cx.facts.name_servers.get().ok();
    let looks: Vec<_> =
        [v4, v6].into_iter().filter(|look| cx.net.family().admits(look.family.any())).collect();
    let mut findings: Vec<_> = looks.iter().filter_map(|look| judge_udp(look, names)).collect();
    if findings.is_empty() {
        findings.push(Finding::skip(
            Code::UdpLeaves,
            "the deployment names no address to which UDP could be sent",
        ));
    }
    // Each version of IP has a NAT and a tunnel of its own, or none.
    let answered: Vec<_> = looks.iter().filter_map(|look| Some((look, look.first()?))).collect();
    let lengths = join_all(answered.iter().map(|(_, server)| stun::lengths(server, &LENGTHS, NEEDED))).await;
    findings
        .extend(answered.iter().map(|(look, _)| judge_mapping(&look.survey.answers).at(look.family.name())));
    findings.extend(
        answered
            .iter()
            .zip(lengths)
            .map(|((look, server), found)| judge_length(server.address, found).at(look.family.name())),
    );
    if answered.is_empty() {
        findings.push(Finding::skip(Code::NatMapping, NOBODY_SAYS));
        findings.push(judge_segment(&cx).await);
    }
    if let Some((mut dialog, id)) = dialog {
        let _ = dialog.close_transport(&id).await;
        dialog.close().await;
    }
    Ok(findings)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn any(self) -> std::net::IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Dialogs,
    Relays,
    Strangers,
}

/// A server to ask, and whose it is.
#[derive(Clone, Debug)]
struct Asked {
    whose: Whose,
    server: Server,
}

/// What became of one family.
struct Look {
    family: Family,
    asked: Vec<Asked>,
    survey: Survey,
}

/// dialog's ports, as long as what comes first is kept.
///
/// The gateway's ports are asked as strangers ask them: through it dialog would say where the gateway is, not where we are.
async fn of_dialog(cx: &Context) -> Option<((Dialog, String), Vec<Asked>)> {
    let endpoint = cx.facts.dialog.get().ok()?;
    let mut dialog = Dialog::open(&cx.net, &endpoint.host, endpoint.port, Trust::Anything).await.ok()?;
    let transport = dialog.create_transport().await.ok()?;
    let agent = Agent::new(&transport.ice);
    let is_fit = |address: &SocketAddr| {
        cx.facts.is_internal() || matches!(Kind::of_address(address.ip()), Kind::Public(_))
    };
    let ports = transport.candidates.iter().filter_map(Candidate::direct).filter(is_fit);
    let ports = ports.map(|address| Asked {
        whose: Whose::Dialogs,
        server: Server { address, agent: Some(agent.clone()) },
    });
    let mut ports: Vec<_> = ports.collect();
    let gateways = transport.candidates.iter().filter(|c| c.protocol == Protocol::Udp);
    for place in gateways.filter_map(Candidate::gateway).filter(is_fit) {
        let addresses = cx.net.route(&place.ip().to_string(), place.port()).await.unwrap_or_default();
        ports.extend(
            addresses
                .into_iter()
                .map(|address| Asked { whose: Whose::Relays, server: Server { address, agent: None } }),
        );
    }
    Some(((dialog, transport.id), ports))
}

/// Where hubs-relay answers if its configuration lists a listener for UDP.
async fn of_relay(cx: &Context) -> Vec<Asked> {
    let room = cx.facts.room.get().ok();
    let host = room.map_or_else(|| cx.target.host(Name::Stream), |room| room.host.clone());
    let turn = room.and_then(|room| room.turn.as_ref()).map_or(&[TURN][..], |turn| &turn.ports);
    let mut ports = [&[STUN], turn].concat();
    ports.dedup();
    let places = join_all(ports.iter().map(|port| cx.net.route(&host, *port))).await;
    let addresses = places.into_iter().filter_map(Result::ok).flatten();
    addresses.map(|address| Asked { whose: Whose::Relays, server: Server { address, agent: None } }).collect()
}

async fn of_strangers(cx: &Context) -> Vec<Asked> {
    let places = join_all(cx.net.strangers().iter().map(|place| async {
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "3478"));
        cx.net.route(host.trim_matches(['[', ']']), port.parse().ok()?).await.ok()
    }))
    .await;
    // One address of each family: several of one server are no independent witnesses.
    let first = |addresses: &[SocketAddr], is_v4| addresses.iter().copied().find(|a| a.is_ipv4() == is_v4);
    let addresses = places.iter().flatten().flat_map(|a| [first(a, true), first(a, false)]).flatten();
    addresses
        .map(|address| Asked { whose: Whose::Strangers, server: Server { address, agent: None } })
        .collect()
}

impl Look {
    /// Who answered first.
    fn first(&self) -> Option<&Server> {
        let first = self.survey.answers.first()?;
        self.asked.iter().map(|asked| &asked.server).find(|server| server.address == first.server)
    }
}

async fn look(asked: &[Asked], family: Family) -> Look {
    let is_of = |asked: &&Asked| asked.server.address.is_ipv4() == (family == Family::V4);
    let mut asked: Vec<_> = asked.iter().filter(is_of).cloned().collect();
    // The gateway may be where TURN is.
    let mut places = BTreeSet::new();
    asked.retain(|asked| places.insert(asked.server.address));
    let servers: Vec<_> = asked.iter().map(|asked| asked.server.clone()).collect();
    let survey =
        stun::survey(&servers).await.unwrap_or_else(|e| Survey { answers: Vec::new(), unsent: Some(e) });
    Look { family, asked, survey }
}

/// Nothing where nobody was to be asked.
fn judge_udp(look: &Look, names: Option<&NameServers>) -> Option<Finding> {
    let code = Code::UdpLeaves;
    let family = look.family.name();
    if look.asked.is_empty() {
        return None;
    }
    let survey = &look.survey;
    if let Some(answer) = survey.answers.first() {
        let milliseconds = answer.round_trip.as_secs_f32() * 1000.0;
        let summary = format!("UDP over {family} leaves this network and comes back in {milliseconds:.0} ms");
        let finding = Finding::pass(code, summary).at(family);
        return Some(survey.answers.iter().fold(finding, |finding, answer| {
            let mapped = answer
                .mapped
                .map_or_else(|| "does not say where we are".to_owned(), |m| format!("sees us as {m}"));
            finding.seen(&answer.server.to_string(), mapped)
        }));
    }
    let silent_strangers = look.asked.iter().filter(|asked| asked.whose == Whose::Strangers).count();
    let finding = if let Some(e) = &survey.unsent {
        if matches!(
            e.kind(),
            std::io::ErrorKind::NetworkUnreachable
                | std::io::ErrorKind::HostUnreachable
                | std::io::ErrorKind::AddrNotAvailable
        ) {
            return Some(Finding::skip(code, format!("this machine has no {family}: {e}")).at(family));
        }
        Finding::warn(code, format!("this machine does not send UDP over {family}"))
            .seen("error", e)
            .because("a firewall on this machine itself forbids it")
            .advise("Let this program and browsers send UDP in the firewall of this machine")
    } else if silent_strangers >= ENOUGH {
        blocked(family, code).seen(
            "asked",
            format!("{silent_strangers} servers besides the deployment's, which are all silent"),
        )
    } else if let Some(names) =
        names.filter(|n| look.family == Family::V4 && n.over_udp == 0 && n.over_tcp_only >= ENOUGH)
    {
        blocked(family, code)
            .seen("name servers", format!("{} answer over TCP and none over UDP", names.over_tcp_only))
    } else {
        return Some(
            Finding::skip(
                code,
                format!(
                    "nobody of the deployment answers over UDP and {family}, so whether UDP leaves this network is not known: two servers given with --stun HOST:PORT would tell"
                ),
            )
            .at(family),
        );
    };
    Some(finding.at(family))
}

fn blocked(family: &str, code: Code) -> Finding {
    Finding::warn(code, format!("this network lets no UDP out over {family}, or no answer in"))
        .because("a firewall of this network; that nothing answers here over UDP says nothing about the server")
        .advise("Nothing is needed where TURN works, which takes TLS; else ask whoever runs this network to let UDP out")
}

fn judge_mapping(answers: &[Answer]) -> Finding {
    let code = Code::NatMapping;
    let mapped: Vec<_> = answers.iter().filter_map(|a| Some((a, a.mapped?))).collect();
    let Some((answer, first)) = mapped.first() else {
        return Finding::skip(code, NOBODY_SAYS);
    };
    let finding = if mapped.iter().any(|(_, mapped)| mapped.ip() != first.ip()) {
        Finding::warn(code, "the NAT gives this machine another address for each destination")
            .because("a carrier's NAT with several addresses that does not keep one for each customer (RFC 4787 section 4.1)")
            .advise("Hubs lives with it. What is allowed by address somewhere will not work from here")
    } else if local_address(answer.server) == Some(first.ip()) {
        Finding::pass(code, "no NAT is in between")
    } else if mapped.len() == 1 {
        return Finding::skip(code, "only one server says where we are, so there is nothing to compare")
            .seen(&answer.server.to_string(), first);
    } else if mapped.iter().all(|(_, mapped)| mapped == first) {
        Finding::pass(code, format!("the NAT shows this machine as {} to everybody", first.ip()))
    } else {
        Finding::pass(
            code,
            "the NAT takes another port for each destination, which is of no harm: media goes to servers only",
        )
    };
    mapped.iter().fold(finding, |finding, (answer, mapped)| finding.seen(&answer.server.to_string(), mapped))
}

fn judge_length(server: SocketAddr, found: std::io::Result<Lengths>) -> Finding {
    let code = Code::PathMtu;
    let to = |finding: Finding| finding.seen("to", server);
    let Lengths { whole, cut_up } = match found {
        Ok(found) => found,
        Err(e) => {
            return Finding::error(
                code,
                format!("this machine cannot send packets that are not to be cut up: {e}"),
            );
        }
    };
    match whole {
        Some(whole) if whole >= NEEDED => {
            to(Finding::pass(code, format!("packets of {whole} bytes get through in one piece")))
        }
        // Longer ones arrive in parts, so the server answers them, and it is the path that carries none in one piece.
        whole if cut_up >= Some(NEEDED) => to(Finding::warn(
            code,
            match whole {
                Some(whole) => format!("packets of more than {whole} bytes do not get through in one piece"),
                None => "packets that must not be cut up do not get through".to_owned(),
            },
        ))
        .because("a VPN or tunnel on the way carries less than the least that media counts on")
        .advise("Leave the VPN, or lower the MTU of its interface so that programs learn of it"),
        _ => to(Finding::skip(
            code,
            "who answers over UDP answers short packets only, so how long they may be is not known",
        )),
    }
}

/// Without an answer over UDP, what TCP agreed on is a bound from above, and no more.
async fn judge_segment(cx: &Context) -> Finding {
    let stream = cx.net.connect(&cx.target.host(Name::Root), HTTPS).await.ok();
    bounded(stream.and_then(|stream| {
        let headers = if stream.peer_addr().ok()?.is_ipv4() { TCP_HEADERS } else { TCP_HEADERS + IPV6_MORE };
        Some(SockRef::from(&stream).tcp_mss().ok()? as usize + headers)
    }))
}

fn bounded(longest: Option<usize>) -> Finding {
    let code = Code::PathMtu;
    match longest {
        Some(longest) if longest < NEEDED => Finding::warn(
            code,
            format!("this network carries packets of {longest} bytes at most, as TCP says"),
        )
        .because("a VPN or tunnel on the way carries less than the least that media counts on")
        .advise("Leave the VPN, or raise its MTU"),
        Some(longest) => Finding::skip(
            code,
            format!(
                "nobody answers over UDP, so how long packets may be is not known; TCP counts on at most {longest} bytes"
            ),
        ),
        None => Finding::skip(code, "nobody answers, so how long packets may be is not known"),
    }
}

#[cfg(test)]
mod tests;
