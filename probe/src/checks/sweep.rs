//! Dialog's ports, each of them: which do packets reach, and from which do answers come back? It takes hubs-relay's agent on the
//! other side; without one, [`super::ports`] estimates.

use std::{collections::BTreeSet, future::pending, net::IpAddr, ops::RangeInclusive, sync::Arc};

use super::ports::{OPEN, RULES};
use crate::{
    candidate::Kind,
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::{Finding, Status},
    sweep::{DIALOG_PORTS, Ending, Found, Interval, State, SweepError, Transport, intervals, sweep_udp},
};

/// How one gets an agent.
pub(crate) const START: &str = "kubectl -n hcce apply -f deploy/agent.yaml";
/// How one gets to it.
pub(crate) const FORWARD: &str = "kubectl -n hcce port-forward job/hubs-relay-agent 9642";

/// What is lost of media without anybody hearing it.
const MOST_LOST: f64 = 0.02;
/// Measures of which a share can be told.
const ENOUGH: u32 = 20;
/// Characters of intervals in one piece of evidence, which is kept whole.
const LONGEST: usize = 500;
/// Pieces of evidence for one state.
const MOST_PARTS: usize = 40;

/// What it means that a port is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// The question was this and nothing else.
    Asked,
    /// Media has other ways as well, which other checks examine.
    OneWayOfSeveral,
}

pub(crate) async fn dialog(cx: Arc<Context>) -> Outcome {
    let Some(options) = &cx.options.sweep else {
        return Err(Stop::Skip(format!(
            "no agent was asked: after {START:?} and {FORWARD:?} give --agent http://127.0.0.1:9642"
        )));
    };
    let addresses = addresses(&cx)?;
    let mut findings = Vec::new();
    for address in addresses {
        match sweep_udp(&cx.net, options, address, &|_| {}, pending()).await {
            Ok(found) => findings.extend(judge(&found, &DIALOG_PORTS, Bearing::OneWayOfSeveral)),
            Err(error) => findings.push(unable(&error)),
        }
    }
    Ok(findings)
}

/// Where dialog announces its ports, as far as that can be reached from here.
pub(crate) fn addresses(cx: &Context) -> Result<BTreeSet<IpAddr>, Stop> {
    let is_fit = |ip: &IpAddr| {
        let is_useful = cx.facts.is_internal() || matches!(Kind::of_address(*ip), Kind::Public(_));
        is_useful && cx.net.family().admits(*ip)
    };
    let addresses: BTreeSet<IpAddr> =
        cx.facts.announced.get()?.iter().map(std::net::SocketAddr::ip).filter(is_fit).collect();
    if addresses.is_empty() {
        let reason = "dialog announces no address that could be asked from here";
        return Err(Stop::Skip(reason.to_owned()));
    }
    Ok(addresses)
}

/// There was no sweep.
pub(crate) fn unable(error: &SweepError) -> Finding {
    Finding::error(Code::SweepAgent, error.to_string()).fix(
        "Look at whether the agent still runs, which it does for some minutes only, and whether the token is the one that it has:",
        [START, FORWARD],
    )
}

/// What came of a sweep; `needed` are the ports that are to let packets in.
pub(crate) fn judge(found: &Found, needed: &RangeInclusive<u16>, bearing: Bearing) -> Vec<Finding> {
    let mut findings = vec![judge_agent(found)];
    match found.transport {
        Transport::Udp => {
            findings.push(judge_arrivals(Code::SweepArrives, found, needed, bearing));
            findings.push(judge_answers(found, bearing));
            findings.extend(judge_loss(found));
        }
        Transport::Tcp => findings.push(judge_arrivals(Code::SweepTcp, found, needed, bearing)),
    }
    let place = format!("{}:{}", found.transport.word(), found.address);
    findings.into_iter().map(|finding| finding.at(&place)).collect()
}

fn judge_agent(found: &Found) -> Finding {
    let code = Code::SweepAgent;
    let finding = match &found.end {
        Ending::Broken(reason) => {
            Finding::error(code, format!("the sweep did not come to its end: {reason}"))
        }
        Ending::Interrupted => Finding::skip(code, "the sweep was interrupted; what it found by then is told"),
        Ending::Complete if found.moved > 0 => Finding::warn(
            code,
            format!("{} packets arrived at other ports than they were sent to", found.moved),
        )
        .because("something translates ports on the way, as a Service with a node port does; dialog's have to arrive as they are"),
        Ending::Complete => Finding::pass(code, "the agent tells what arrives"),
    };
    let finding = finding.seen("took", format!("{:.1} s", found.took.as_secs_f32()));
    if found.sources.is_empty() {
        return finding;
    }
    let sources: Vec<_> = found.sources.iter().map(ToString::to_string).collect();
    finding.seen("it sees us come from", sources.join(", "))
}

fn judge_arrivals(code: Code, found: &Found, needed: &RangeInclusive<u16>, bearing: Bearing) -> Finding {
    let of_need: Vec<_> = found.states.iter().filter(|(port, _)| needed.contains(port)).collect();
    let closed = intervals(of_need.iter().filter(|(_, state)| !state.arrives()).map(|(port, _)| *port));
    let all = of_need.len();
    let open = of_need.iter().filter(|(_, state)| state.arrives()).count();
    let (word, range) = (found.transport.word().to_uppercase(), span(&of_need));
    let finding = if all == 0 {
        let arrived = found.states.iter().filter(|(_, state)| state.arrives()).count();
        Finding::pass(code, format!("{arrived} of {} {word} ports let packets in", found.states.len()))
    } else if closed.is_empty() {
        Finding::pass(code, format!("all {all} {word} ports {range} let packets in"))
    } else if found.end != Ending::Complete {
        Finding::error(
            code,
            format!(
                "{open} of the {all} {word} ports {range} were seen to let packets in when the sweep ended"
            ),
        )
    } else {
        let status = match bearing {
            Bearing::Asked => Status::Fail,
            Bearing::OneWayOfSeveral => Status::Warn,
        };
        explain(status, code, &closed, open, &format!("{all} {word} ports {range}"))
    };
    with_states(finding, found)
}

fn explain(status: Status, code: Code, closed: &[Interval], open: usize, ports: &str) -> Finding {
    if open == 0 {
        return Finding::new(code, status, format!("none of the {ports} lets packets in"))
            .because("a rule denies them, or the address does not lead to the node on which the agent is: on AKS, the address by which the cluster goes out leads nowhere")
            .fix("See which rule decides, and whether nodes have public addresses:", [RULES, "kubectl get nodes -o wide"]);
    }
    let finding = Finding::new(code, status, format!("{open} of the {ports} let packets in"));
    let among = |closed: &[Interval]| {
        let all: Vec<_> = closed.iter().take(4).map(ToString::to_string).collect();
        all.join(", ")
    };
    if closed.len() <= 4 {
        finding
            .because(format!(
                "a rule on the way names fewer ports than are needed: {} are closed",
                among(closed)
            ))
            .fix("Let all of them in, and see which rule names less:", [OPEN, RULES])
    } else {
        finding
            .because(format!("closed and open ports lie among each other ({}, …): several rules, or something on the way that limits UDP", among(closed)))
            .fix("See which rules there are:", [RULES])
    }
}

fn judge_answers(found: &Found, bearing: Bearing) -> Finding {
    let code = Code::SweepReturns;
    let count = |wanted| found.states.iter().filter(|(_, state)| *state == wanted).count();
    let (heard, lost) = (count(State::Open), count(State::OneWay));
    if heard + lost == 0 {
        return Finding::skip(
            code,
            "there is no port from which an answer could be sent: none lets packets in, or something on the node has all that do",
        );
    }
    if lost == 0 {
        return Finding::pass(code, format!("answers come back from all {heard} ports that could send one"));
    }
    let status = match (bearing, &found.end) {
        // Some are on their way.
        (_, Ending::Interrupted | Ending::Broken(_)) => Status::Skip,
        (Bearing::Asked, Ending::Complete) => Status::Fail,
        (Bearing::OneWayOfSeveral, Ending::Complete) => Status::Warn,
    };
    Finding::new(code, status, format!("answers of {lost} of {} ports do not come back", heard + lost))
        .because("packets are let in and their answers are not let out again: by a rule for what goes out, or by a firewall in front of this machine")
        .fix("See which rules there are for what goes out, and try it from another network:", [RULES])
}

fn judge_loss(found: &Found) -> Option<Finding> {
    let (sent, lost) = found.measured;
    let share = f64::from(lost) / f64::from(sent.max(1));
    let text = format!("{lost} of {sent} packets to ports that are open got lost on the way there");
    (sent >= ENOUGH).then(|| {
        if share <= MOST_LOST {
            return Finding::pass(Code::SweepLoss, text);
        }
        Finding::warn(Code::SweepLoss, text)
            .because("this machine's network, the way, or the node is short of room; so much loss is heard in voices")
            .fix("Run it again from another network, by cable if this is a wireless one", [""; 0])
    })
}

/// Every port, by what is known of it.
fn with_states(mut finding: Finding, found: &Found) -> Finding {
    for wanted in [State::Open, State::InUse, State::OneWay, State::Refused, State::Silent, State::Unasked] {
        let ports = found.states.iter().filter(|(_, state)| *state == wanted).map(|(port, _)| *port);
        for (number, text) in in_parts(&intervals(ports)).into_iter().enumerate() {
            let label = match number {
                0 => wanted.words().to_owned(),
                number => format!("{} ({})", wanted.words(), number + 1),
            };
            finding = finding.seen(&label, text);
        }
    }
    finding
}

/// Texts that are short enough to be kept whole.
fn in_parts(intervals: &[Interval]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for (number, interval) in intervals.iter().enumerate() {
        let text = interval.to_string();
        if let Some(part) = parts.last_mut().filter(|part| part.len() + 2 + text.len() <= LONGEST) {
            part.push_str(", ");
            part.push_str(&text);
        } else if parts.len() == MOST_PARTS {
            parts.push(format!("and {} more", intervals.len() - number));
            break;
        } else {
            parts.push(text);
        }
    }
    parts
}

fn span(ports: &[&(u16, State)]) -> String {
    let ends = ports.first().zip(ports.last());
    ends.map_or_else(String::new, |(first, last)| Interval { first: first.0, last: last.0 }.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Ports from 40000 on: `o` open, `u` in use, `i` in only, `r` refused, `-` silent, `?` not asked.
    fn found(pattern: &str) -> Found {
        let state = |c| match c {
            'o' => State::Open,
            'u' => State::InUse,
            'i' => State::OneWay,
            'r' => State::Refused,
            '-' => State::Silent,
            _ => State::Unasked,
        };
        Found {
            transport: Transport::Udp,
            address: [203, 0, 113, 40].into(),
            states: (40_000..).zip(pattern.chars().map(state)).collect(),
            end: Ending::Complete,
            measured: (100, 0),
            moved: 0,
            sources: vec![[198, 51, 100, 20].into()],
            took: Duration::from_secs(3),
        }
    }

    fn of(findings: &[Finding], code: Code) -> &Finding {
        findings.iter().find(|finding| finding.code == code).unwrap()
    }

    fn seen<'a>(finding: &'a Finding, label: &str) -> &'a str {
        finding.evidence.iter().find(|e| e.label == label).map_or("", |e| e.value.as_str())
    }

    #[test]
    fn every_port_is_told_by_what_is_known_of_it() {
        let findings = judge(&found("oouoii-rr--?o"), &DIALOG_PORTS, Bearing::Asked);
        let arrives = of(&findings, Code::SweepArrives);
        let labels =
            ["open both ways", "in, and in use on the node", "in only", "refused", "silent", "not asked"];
        let expected = [
            "40000-40001, 40003, 40012",
            "40002",
            "40004-40005",
            "40007-40008",
            "40006, 40009-40010",
            "40011",
        ];
        assert_eq!(labels.map(|label| seen(arrives, label)), expected);
        assert_eq!(arrives.target.as_deref(), Some("udp:203.0.113.40"));
        assert_eq!(seen(&findings[0], "it sees us come from"), "198.51.100.20");
    }

    #[test]
    fn a_closed_port_fails_where_that_was_the_question_and_warns_beside_others() {
        let closed = found("ooooo---");
        for (bearing, status) in [(Bearing::Asked, Status::Fail), (Bearing::OneWayOfSeveral, Status::Warn)] {
            let findings = judge(&closed, &DIALOG_PORTS, bearing);
            let arrives = of(&findings, Code::SweepArrives);
            assert_eq!(arrives.status, status);
            assert!(arrives.cause.as_ref().unwrap().contains("40005-40007 are closed"), "{arrives:#?}");
        }
        let all = judge(&found("---"), &DIALOG_PORTS, Bearing::Asked);
        assert!(of(&all, Code::SweepArrives).summary.starts_with("none of the 3"), "{all:#?}");
        assert_eq!(of(&all, Code::SweepReturns).status, Status::Skip);
        let unneeded = judge(&found("oo--"), &(40_000..=40_001), Bearing::Asked);
        assert_eq!(of(&unneeded, Code::SweepArrives).status, Status::Pass);
    }

    #[test]
    fn answers_that_do_not_come_back_are_told_apart_from_ports_that_somebody_has() {
        let returns =
            |pattern| of(&judge(&found(pattern), &DIALOG_PORTS, Bearing::Asked), Code::SweepReturns).status;
        assert_eq!(returns("oouu"), Status::Pass);
        assert_eq!(returns("ooii"), Status::Fail);
        assert_eq!(returns("uu"), Status::Skip);
    }

    #[test]
    fn what_ended_early_proves_no_silence() {
        for end in [Ending::Interrupted, Ending::Broken("the agent is gone".into())] {
            let findings = judge(&Found { end: end.clone(), ..found("oo-?") }, &DIALOG_PORTS, Bearing::Asked);
            assert_eq!(of(&findings, Code::SweepArrives).status, Status::Error);
            assert_ne!(of(&findings, Code::SweepAgent).status, Status::Pass);
            let open = judge(&Found { end, ..found("oo") }, &DIALOG_PORTS, Bearing::Asked);
            assert_eq!(of(&open, Code::SweepArrives).status, Status::Pass, "what arrived has arrived");
        }
    }

    #[test]
    fn loss_is_told_where_it_was_measured() {
        let loss = |measured| {
            let findings = judge(&Found { measured, ..found("oo") }, &DIALOG_PORTS, Bearing::Asked);
            findings.into_iter().find(|it| it.code == Code::SweepLoss).map(|it| it.status)
        };
        assert_eq!(loss((10, 5)), None);
        assert_eq!(loss((100, 1)), Some(Status::Pass));
        assert_eq!(loss((100, 30)), Some(Status::Warn));
    }

    #[test]
    fn ports_that_are_translated_on_the_way_are_told_of() {
        let findings = judge(&Found { moved: 3, ..found("---") }, &DIALOG_PORTS, Bearing::Asked);
        assert_eq!(of(&findings, Code::SweepAgent).status, Status::Warn);
    }

    #[test]
    fn of_tcp_only_the_ports_that_are_needed_can_fail() {
        let tcp = Found { transport: Transport::Tcp, ..found("oo--") };
        assert_eq!(of(&judge(&tcp, &(1..=1), Bearing::Asked), Code::SweepTcp).status, Status::Pass);
        assert_eq!(of(&judge(&tcp, &(40_000..=40_003), Bearing::Asked), Code::SweepTcp).status, Status::Fail);
    }

    #[test]
    fn intervals_without_end_stay_whole_and_bounded() {
        let pattern: String = (0..20_000).map(|n| if n % 2 == 0 { 'o' } else { '-' }).collect();
        let findings = judge(&found(&pattern), &DIALOG_PORTS, Bearing::Asked);
        let evidence = &of(&findings, Code::SweepArrives).evidence;
        assert!(evidence.len() <= 2 * (MOST_PARTS + 1), "{}", evidence.len());
        assert!(evidence.iter().all(|it| !it.value.contains('…')));
        assert!(evidence.iter().any(|it| it.value.starts_with("and ")), "what is left out is counted");
    }
}
