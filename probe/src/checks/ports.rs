//! Dialog's ports: how many of them answer from here? Each transport has other ones, drawn at random, so a few transports are a
//! sample of the whole range.
//!
//! What was not sampled is only ever estimated, and the finding says how surely. Every transport is given back.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    candidate::{Candidate, Kind},
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    ice::{self, Agent, Schedule},
    net::Trust,
    protoo::{Dialog, ProtooError, Transport},
};

/// How often a port is asked before it is called silent, each time from another port of ours: what a firewall let through once
/// it lets through again.
const TRIES: u32 = 3;

/// How often more, if some ports answer and others do not: packets that are lost must not pass for ports that are closed.
const MORE_TRIES: u32 = 6;

/// How far apart tries are.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long answers are listened to after the last try. A round trip of this length is no good for talking anyway.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between the first tries to one port and to the next, so that they do not come as a burst.
const PACE: Duration = Duration::from_millis(2);

/// How likely it may be that one of the silent ports is open and had bad luck.
const MOST_DOUBT: f64 = 0.05;

/// The normal distribution's quantile for 95 %.
const NORMAL_95: f64 = 1.96;

pub(super) const OPEN: &str =
    "az aks nodepool update -g GROUP --cluster-name CLUSTER -n POOL --allowed-host-ports 40000-49999/udp";
pub(super) const RULES: &str = r#"az network nsg list -g NODE_GROUP --query '[].securityRules[].{name:name,access:access,ports:destinationPortRange||join(`","`,destinationPortRanges),protocol:protocol}' -o table"#;

pub(crate) async fn sample(cx: Arc<Context>) -> Outcome {
    let endpoint = cx.facts.dialog.get()?;
    cx.facts.announced.get()?;
    let unable = |e: ProtooError| Stop::Unable(format!("dialog worked a moment ago, and now: {e}"));
    let mut dialog =
        Dialog::open(&cx.net, &endpoint.host, endpoint.port, Trust::Anything).await.map_err(unable)?;
    let transports = dialog.create_transports(cx.options.samples.max(1)).await.map_err(unable)?;
    let is_fit = |address: &SocketAddr| {
        let is_useful = cx.facts.is_internal() || matches!(Kind::of_address(address.ip()), Kind::Public(_));
        is_useful && cx.net.family().admits(address.ip())
    };
    let ports = ask_all(&transports, is_fit).await;
    // Whether it is answered or not: the end of the connection closes them as well.
    let _ = dialog.close_transports(&transports).await;
    dialog.close().await;
    cx.facts.sampled.learn(transports.into_iter().map(|t| t.candidates).collect());
    cx.facts.asked_ports.learn(ports.iter().map(|port| (port.address, port.answers())).collect());

    if ports.is_empty() {
        let reason = "dialog announces no address that could be asked from here";
        return Err(Stop::Skip(reason.to_owned()));
    }
    let mut by_host: BTreeMap<IpAddr, Vec<Port>> = BTreeMap::new();
    for port in ports {
        by_host.entry(port.address.ip()).or_default().push(port);
    }
    Ok(by_host.into_iter().map(|(ip, ports)| judge(ports).at(format!("udp:{ip}"))).collect())
}

/// A port that was asked.
#[derive(Debug)]
struct Port {
    address: SocketAddr,
    agent: Agent,
    result: io::Result<Asked>,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    outcome: ice::Outcome,
    /// Tries without an answer, before the one that was answered or in all.
    lost: u32,
}

impl Port {
    fn answers(&self) -> bool {
        self.result.as_ref().is_ok_and(|asked| asked.outcome.is_answered())
    }

    fn lost(&self) -> u32 {
        self.result.as_ref().map_or(0, |asked| asked.lost)
    }
}

async fn ask_all(transports: &[Transport], is_fit: impl Fn(&SocketAddr) -> bool) -> Vec<Port> {
    let targets = transports.iter().flat_map(|transport| {
        let agent = Agent::new(&transport.ice);
        let addresses = transport.candidates.iter();
        addresses.filter_map(Candidate::direct).map(move |address| (address, agent.clone()))
    });
    let targets: Vec<_> = targets.filter(|(address, _)| is_fit(address)).collect();
    let first = targets.into_iter().enumerate().map(|(n, (address, agent))| async move {
        sleep(PACE * n as u32).await;
        let result = ask(address, &agent, TRIES).await;
        Port { address, agent, result }
    });
    let mut ports = join_all(first).await;
    // Where nothing answers at all, asking again is of no use.
    if ports.iter().any(Port::answers) {
        let silent = ports.iter_mut().filter(|port| !port.answers() && port.result.is_ok());
        join_all(silent.map(async |port| {
            let lost = port.lost();
            port.result = ask(port.address, &port.agent, MORE_TRIES)
                .await
                .map(|asked| Asked { lost: asked.lost + lost, ..asked });
        }))
        .await;
    }
    ports
}

/// Tries one after the other, all of which are listened to until one is answered.
async fn ask(address: SocketAddr, agent: &Agent, tries: u32) -> io::Result<Asked> {
    let begin = Instant::now();
    let end = begin + INTERVAL * (tries - 1) + PATIENCE;
    let mut trying: FuturesUnordered<_> = (0..tries)
        .map(|number| async move {
            let at = begin + INTERVAL * number;
            sleep_until(at).await;
            let once = Schedule { tries: 1, interval: end - at };
            (number, ice::direct(address, agent, once).await)
        })
        .collect();
    let mut telling = None;
    while let Some((number, outcome)) = trying.next().await {
        match outcome? {
            outcome @ ice::Outcome::Answered { .. } => return Ok(Asked { outcome, lost: number }),
            // Silence tells less than a refusal.
            ice::Outcome::Silent { .. } => {}
            outcome => telling = Some(outcome),
        }
    }
    Ok(Asked { outcome: telling.unwrap_or(ice::Outcome::Silent { sent: tries }), lost: tries })
}

fn judge(mut ports: Vec<Port>) -> Finding {
    let code = Code::PortsOpen;
    ports.sort_by_key(|port| port.address.port());
    if let Some(error) = ports.iter().find_map(|port| port.result.as_ref().err()) {
        return Finding::error(code, format!("this machine could not ask dialog's ports: {error}"));
    }
    let (all, open) = (ports.len(), ports.iter().filter(|port| port.answers()).count());
    let range = span(&ports);
    let lost: u32 = ports.iter().filter(|port| port.answers()).map(Port::lost).sum();
    let share_lost = f64::from(lost) / (f64::from(lost) + open as f64).max(1.0);
    if open == 0 {
        let reason =
            format!("none of {all} sampled ports answers, so there is nothing to compare: see ice.direct");
        return Finding::skip(code, reason).seen("sampled", range);
    }
    let finding = if open == all {
        Finding::pass(code, format!("all {all} sampled ports of dialog answer"))
            .seen("answer", answering(&ports))
            .seen(
                "with 95 % confidence",
                format!("at most {:.0} % of its ports are closed", most_closed(all) * 100.0),
            )
    } else if let Some(doubt) = doubt(&ports, share_lost) {
        Finding::error(
            code,
            format!("{open} of {all} sampled ports answer, but so many packets get lost that closed ports cannot be told from lost packets"),
        )
        .seen("chance that a silent port is open", format!("{:.0} %", doubt * 100.0))
    } else {
        closed(&ports, open)
    };
    let finding = finding.seen("sampled", range);
    if lost == 0 {
        return finding;
    }
    finding
        .seen("lost on the way to ports that answer", format!("{lost} of {} packets", lost as usize + open))
}

/// Some of the ports are closed to us.
fn closed(ports: &[Port], open: usize) -> Finding {
    let all = ports.len();
    let intervals = silent_intervals(ports);
    let (least, most) = wilson(open, all);
    let finding = Finding::warn(
        Code::PortsOpen,
        format!(
            "{open} of {all} sampled ports of dialog answer: part of its range is closed to this machine"
        ),
    );
    let finding = if intervals.len() <= 2 {
        finding
            .because("the rules that let UDP in, or those of this network, name a smaller range than the one that dialog uses, 40000-49999")
            .fix("Let all of it in, and see which rule names less:", [OPEN, RULES])
    } else {
        finding
            .because("closed and open ports lie among each other, which no rule on ports does: something on the way limits UDP, or two servers share the address")
            .fix("Run the check from another network; if it finds the same, look at what stands in front of the node:", [RULES])
    };
    let silent: Vec<_> = intervals.iter().map(ToString::to_string).collect();
    finding.seen("answer", answering(ports)).seen("silent", silent.join(", ")).seen(
        "with 95 % confidence",
        format!("{:.0} to {:.0} % of its ports answer", least * 100.0, most * 100.0),
    )
}

fn answering(ports: &[Port]) -> String {
    let ports = ports.iter().filter(|port| port.answers()).map(|port| port.address.port().to_string());
    ports.collect::<Vec<_>>().join(", ")
}

fn span(ports: &[Port]) -> String {
    let (first, last) = (ports.first(), ports.last());
    let mut text = String::new();
    if let (Some(first), Some(last)) = (first, last) {
        let _ = write!(
            text,
            "{} ports between {} and {}",
            ports.len(),
            first.address.port(),
            last.address.port()
        );
    }
    text
}

/// Ports next to each other that were silent, between two that answered.
#[derive(Debug, PartialEq, Eq)]
struct Silent {
    first: u16,
    last: u16,
    /// The ports that answered next to it, if there are any: the border lies somewhere in between.
    below: Option<u16>,
    above: Option<u16>,
}

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)?;
        } else {
            write!(f, "{} to {}", self.first, self.last)?;
        }
        match (self.below, self.above) {
            (Some(below), Some(above)) => write!(f, " ({below} and {above} answer)"),
            (Some(port), None) | (None, Some(port)) => write!(f, " ({port} answers)"),
            (None, None) => Ok(()),
        }
    }
}

/// In the order of ports, which `ports` has.
fn silent_intervals(ports: &[Port]) -> Vec<Silent> {
    let mut intervals: Vec<Silent> = Vec::new();
    let mut below = None;
    let mut is_inside = false;
    for port in ports {
        let number = port.address.port();
        match (port.answers(), intervals.last_mut().filter(|_| is_inside)) {
            (true, Some(open)) => open.above = Some(number),
            (false, Some(open)) => open.last = number,
            (false, None) => intervals.push(Silent { first: number, last: number, below, above: None }),
            (true, None) => {}
        }
        is_inside = !port.answers();
        if port.answers() {
            below = Some(number);
        }
    }
    intervals
}

/// How likely at least one of the silent ports is open, if that is too likely: each of its tries would have been lost by chance.
fn doubt(ports: &[Port], share_lost: f64) -> Option<f64> {
    let silent = ports.iter().filter(|port| !port.answers());
    let all_closed: f64 = silent.map(|port| 1.0 - share_lost.powi(port.lost().cast_signed())).product();
    Some(1.0 - all_closed).filter(|doubt| *doubt > MOST_DOUBT)
}

/// The share of closed ports above which a sample of `all` would have met one, 95 times of 100.
fn most_closed(all: usize) -> f64 {
    1.0 - 0.05_f64.powf(1.0 / all as f64)
}

/// Wilson's interval of 95 % for the share of which `some` of `all` are a sample.
fn wilson(some: usize, all: usize) -> (f64, f64) {
    let (n, share, z) = (all as f64, some as f64 / all as f64, NORMAL_95);
    let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;
    use crate::{finding::Status, ice::Credentials};

    fn agent() -> Agent {
        Agent::new(&Credentials::new("u".repeat(32), "p".repeat(32)).unwrap())
    }

    fn port(number: u16, lost: Option<u32>) -> Port {
        let address: SocketAddr = ([203, 0, 113, 9], number).into();
        let outcome = match lost {
            Some(_) => {
                ice::Outcome::Answered { round_trip: Duration::from_millis(9), mapped: address, sent: 1 }
            }
            None => ice::Outcome::Silent { sent: 1 },
        };
        let lost = lost.unwrap_or(TRIES + MORE_TRIES);
        Port { address, agent: agent(), result: Ok(Asked { outcome, lost }) }
    }

    /// Ports from 40000 on, 500 apart: `o` answers, `-` is silent, a digit answers after so many tries.
    fn ports(pattern: &str) -> Vec<Port> {
        (0..)
            .zip(pattern.chars())
            .map(|(n, c)| {
                let lost = match c {
                    'o' => Some(0),
                    digit => digit.to_digit(10),
                };
                port(40_000 + 500 * n, lost)
            })
            .collect()
    }

    fn seen<'a>(finding: &'a Finding, label: &str) -> &'a str {
        finding.evidence.iter().find(|e| e.label == label).map_or("", |e| e.value.as_str())
    }

    #[test]
    fn a_sample_that_answers_says_how_much_may_still_be_closed() {
        let finding = judge(ports("oooooooooooooooo"));
        assert_eq!(finding.status, Status::Pass);
        // 1 - 0.05^(1/16)
        assert_eq!(seen(&finding, "with 95 % confidence"), "at most 17 % of its ports are closed");
        assert_eq!(seen(&finding, "sampled"), "16 ports between 40000 and 47500");
        assert!(seen(&finding, "answer").starts_with("40000, 40500, "), "{finding:#?}");
    }

    #[test]
    fn a_range_that_ends_too_early_is_told_with_its_border() {
        let finding = judge(ports("oooooooooooo----"));
        assert_eq!(finding.status, Status::Warn, "{finding:#?}");
        assert_eq!(seen(&finding, "silent"), "46000 to 47500 (45500 answers)");
        assert!(finding.cause.as_ref().unwrap().contains("smaller range"), "{finding:#?}");
        assert_eq!(seen(&finding, "with 95 % confidence"), "51 to 90 % of its ports answer");
        let middle = judge(ports("oooo--oooo"));
        assert_eq!(seen(&middle, "silent"), "42000 to 42500 (41500 and 43000 answer)");
    }

    #[test]
    fn closed_ports_among_open_ones_are_no_rule() {
        let finding = judge(ports("o-o-o-o-o-oo"));
        assert!(finding.cause.as_ref().unwrap().contains("no rule on ports"), "{finding:#?}");
    }

    #[test]
    fn where_nothing_answers_there_is_nothing_to_compare() {
        let finding = judge(ports("--------"));
        assert_eq!(finding.status, Status::Skip);
        assert!(finding.summary.contains("ice.direct"), "{finding:#?}");
    }

    #[test]
    fn lost_packets_do_not_pass_for_closed_ports() {
        // A third is lost: nine tries in vain are no accident.
        assert_eq!(judge(ports("01010101-----")).status, Status::Warn);
        // Three of four are lost: they may well be.
        let finding = judge(ports("333333---"));
        assert_eq!(finding.status, Status::Error, "{finding:#?}");
        assert_eq!(judge(ports("11111111")).status, Status::Pass);
        assert_eq!(seen(&judge(ports("10000000")), "lost on the way to ports that answer"), "1 of 9 packets");
    }

    #[test]
    fn a_machine_that_cannot_ask_says_nothing_of_dialog() {
        let mut ports = ports("oo");
        ports[0].result = Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(judge(ports).status, Status::Error);
    }

    #[test]
    fn the_interval_is_wilsons() {
        let (least, most) = wilson(8, 10);
        assert!((least - 0.490).abs() < 0.001 && (most - 0.943).abs() < 0.001, "{least} {most}");
        assert!(wilson(0, 10).0.abs() < 1e-9 && (wilson(10, 10).1 - 1.0).abs() < 1e-9);
    }

    /// What is found out about a port where somebody answers the requests that `answers` chooses, each only once from one place.
    async fn asked(answers: impl Fn(u32) -> bool + Send + 'static) -> Asked {
        use hubs_relay::wire::{Builder, IntegrityKey, Message};
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; 2048];
            let mut places = Vec::new();
            while let Ok((len, from)) = socket.recv_from(&mut bytes).await {
                assert!(!places.contains(&from), "each try comes from a place of its own");
                places.push(from);
                if answers(places.len() as u32) {
                    let request = Message::parse(&bytes[..len]).unwrap();
                    let key = IntegrityKey::short_term(&"p".repeat(32));
                    let answer =
                        Builder::success(&request).xor_mapped_address(from).integrity(&key).fingerprint();
                    socket.send_to(&answer.finish(), from).await.unwrap();
                }
            }
        });
        ask(address, &agent(), TRIES).await.unwrap()
    }

    #[tokio::test]
    async fn a_port_is_asked_again_from_another_place_until_it_answers() {
        assert_eq!(asked(|try_number| try_number == 1).await.lost, 0);
        let third = asked(|try_number| try_number == 3).await;
        assert!(third.outcome.is_answered() && third.lost == 2, "{third:?}");
        let none = asked(|_| false).await;
        assert_eq!(none, Asked { outcome: ice::Outcome::Silent { sent: TRIES }, lost: TRIES });
    }
}
