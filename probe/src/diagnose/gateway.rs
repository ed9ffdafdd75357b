//! The media gateway's ports. Browsers are told of them first; where they do not answer, voice goes another way, if there is one.

use super::{
    Confidence,
    rule::Rule,
    seen::{Direct, Seen, Turn},
};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

pub(super) const RULES: &[Rule] = &[
    // What is declared says more than that nothing answers.
    Rule::new("gateway.denied", &[Code::GatewayAdmitted], |_, _| {
        "a rule of Azure's network drops what people send to the gateway that browsers are told of".to_owned()
    })
    .status(Status::Warn)
    .when(|seen, _| seen.has(Code::GatewayUdp, Status::Warn) && !seen.works_over_udp())
    .means(|seen, cause, why| if works(seen) { stutters(seen, cause, why) } else { silent(seen, cause, why) })
    .explains(&[Code::GatewayUdp, Code::DirectPath]),
    // Both ports, or the one that there is. That dialog's own address is dead is how it is meant to be with a gateway.
    Rule::new("gateway.closed", &[Code::GatewayUdp, Code::GatewayTcp], |_, _| {
        "nothing comes through the gateway that browsers are told of".to_owned()
    })
    .status(Status::Warn)
    .when(|seen, cause| !works(seen) && is_the_gateways(seen, cause))
    .means(silent)
    .explains(&[Code::GatewayTcp, Code::DirectPath])
    .supported_by(&[(Code::UdpLeaves, Status::Pass)])
    .confidence(Confidence::Likely),
    // Voice takes the other port then, or TURN, and stutters where packets get lost.
    Rule::new("gateway.udp", &[Code::GatewayUdp], |_, _| {
        "the port that browsers are told of first does not lead to the media server".to_owned()
    })
    .status(Status::Warn)
    .when(|seen, cause| {
        let is_known = seen.has(Code::UdpLeaves, Status::Pass) || seen.has(Code::GatewayTcp, Status::Warn);
        works(seen) && is_known && is_the_gateways(seen, cause)
    })
    .means(stutters)
    .explains(&[Code::GatewayTcp])
    .supported_by(&[(Code::UdpLeaves, Status::Pass), (Code::GatewayTcp, Status::Pass)])
    .confidence(Confidence::Likely),
];

fn silent(seen: &Seen<'_>, _: &Finding, why: &str) -> String {
    match seen.turn() {
        Turn::Broken => format!("Nobody can be heard: {why}, and voice has no other way."),
        Turn::Works | Turn::Untried => {
            format!("Few people can be heard, if any: {why}, and whether voice has another way is not known.")
        }
    }
}

fn stutters(_: &Seen<'_>, _: &Finding, why: &str) -> String {
    format!("Voice works, but by a way on which it stutters sooner: {why}.")
}

/// Whether voice has any way.
fn works(seen: &Seen<'_>) -> bool {
    seen.direct() == Direct::Works || seen.turn() == Turn::Works
}

/// Whether it is the gateway's fault that its port is silent: where no UDP leaves this network, it need not be.
fn is_the_gateways(seen: &Seen<'_>, cause: &Finding) -> bool {
    // One of its addresses may be of a family that this machine lacks.
    !seen.has(cause.code, Status::Pass) && (cause.code == Code::GatewayTcp || !seen.lacks_udp())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Diagnosed, End, Outcome, Verdict, diagnose,
            tests::{direct, pass, run, turn_broken_at},
        },
        *,
    };

    fn closed(code: Code) -> Finding {
        Finding::warn(code, "does not answer").because("it is not forwarded").fix("Forward it:", ["forward"])
    }

    #[test]
    fn a_rule_that_keeps_the_gateways_port_closed_is_the_cause() {
        let denied = || Finding::warn(Code::GatewayAdmitted, "denied").because("a rule").fix("Add:", ["az"]);
        let (rules, verdict) = said([denied(), closed(Code::GatewayUdp), pass(Code::GatewayTcp)]);
        assert_eq!(rules, ["gateway.denied"]);
        assert!(verdict.headline.starts_with("Voice works, but by a way"), "{verdict:#?}");
        let silent = turn_broken_at(Code::TurnAllocates).into_iter().chain(nowhere()).chain([denied()]);
        let (rules, verdict) = said(silent);
        assert_eq!(rules[0], "gateway.denied");
        assert!(verdict.headline.starts_with("Nobody can be heard"), "{verdict:#?}");
        // What it denies is no matter where the gateway is reached all the same.
        assert!(said([denied(), pass(Code::GatewayUdp)]).0.is_empty());
    }

    fn nowhere() -> Vec<Finding> {
        vec![closed(Code::GatewayUdp), closed(Code::GatewayTcp)]
    }

    fn said(with: impl IntoIterator<Item = Finding>) -> (Vec<&'static str>, Verdict) {
        let Diagnosed { diagnoses, verdict } = diagnose("example.org", &run(with), End::Complete);
        (diagnoses.iter().map(|d| d.rule).collect(), verdict)
    }

    #[test]
    fn the_gateway_is_a_way_to_be_heard_over_udp_and_over_tcp() {
        let untried = || turn_broken_at(Code::TurnAllocates).into_iter().skip(1);
        for (findings, words) in [
            (vec![pass(Code::GatewayUdp), pass(Code::GatewayTcp)], "through the gateway and through TURN."),
            (
                vec![pass(Code::GatewayUdp), direct(Status::Pass)],
                "directly, through the gateway and through TURN.",
            ),
            (vec![closed(Code::GatewayUdp), pass(Code::GatewayTcp)], "through the gateway over TCP"),
        ] {
            let (rules, verdict) = said(findings.clone());
            assert_eq!((rules, verdict.outcome), (vec![], Outcome::Good), "{verdict:#?}");
            assert!(verdict.detail.contains(words), "{verdict:#?}");
            let (_, alone) = said(
                findings
                    .into_iter()
                    .chain(untried())
                    .chain([Finding::skip(Code::TurnAllocates, "not tried")]),
            );
            assert_eq!(alone.outcome, Outcome::Good, "{alone:#?}");
            assert!(alone.detail.contains("was not proven"), "{alone:#?}");
        }
    }

    #[test]
    fn with_a_gateway_that_works_a_broken_turn_silences_some_only() {
        let broken = turn_broken_at(Code::TurnAllocates).into_iter();
        let (rules, verdict) = said(broken.chain([pass(Code::GatewayTcp)]));
        assert_eq!(rules, ["turn.login"]);
        assert!(verdict.headline.starts_with("Voice works for most people"), "{verdict:#?}");
    }

    #[test]
    fn where_udp_leaves_a_silent_port_is_the_gateways_fault() {
        let tcp = || vec![closed(Code::GatewayUdp), pass(Code::GatewayTcp)];
        // It may be this network's as well, as long as nobody answers over UDP.
        let (rules, verdict) = said(tcp());
        assert!(
            rules.is_empty() && verdict.detail.contains("or this network lets no UDP out"),
            "{verdict:#?}"
        );
        let (rules, verdict) = said(tcp().into_iter().chain([pass(Code::UdpLeaves)]));
        assert_eq!((rules, verdict.outcome), (vec!["gateway.udp"], Outcome::Broken), "{verdict:#?}");
        assert!(
            verdict.headline.starts_with("Voice works, but by a way on which it stutters"),
            "{verdict:#?}"
        );
        assert_eq!(verdict.remedy.unwrap().commands, ["forward"]);
        let blocked = Finding::warn(Code::UdpLeaves, "no UDP");
        let (rules, verdict) = said(tcp().into_iter().chain([blocked]));
        assert_eq!((rules, verdict.outcome), (vec!["you.udp"], Outcome::Good), "{verdict:#?}");
        assert!(
            verdict.detail.contains("over TCP") && verdict.detail.contains("lets no UDP out"),
            "{verdict:#?}"
        );
    }

    #[test]
    fn both_ports_closed_are_what_silences_people_unless_turn_carries_them() {
        let (rules, verdict) = said(nowhere());
        assert_eq!((rules, verdict.outcome), (vec!["gateway.udp"], Outcome::Broken), "{verdict:#?}");
        assert!(verdict.headline.starts_with("Voice works, but"), "{verdict:#?}");
        let (rules, verdict) = said(nowhere().into_iter().chain(turn_broken_at(Code::TurnAllocates)));
        assert_eq!(rules, ["gateway.closed", "turn.login"]);
        assert!(
            verdict.headline.starts_with("Nobody can be heard: nothing comes through the gateway"),
            "{verdict:#?}"
        );
        let untried = [Code::TurnAllocates, Code::RelayedDtls].map(|code| Finding::skip(code, "not tried"));
        let (rules, verdict) = said(nowhere().into_iter().chain(untried));
        assert_eq!(rules, ["gateway.closed"]);
        assert!(verdict.headline.starts_with("Few people can be heard, if any"), "{verdict:#?}");
    }

    #[test]
    fn of_two_addresses_one_that_answers_is_enough() {
        let mut findings = run([pass(Code::GatewayUdp), pass(Code::GatewayTcp), pass(Code::UdpLeaves)]);
        findings.push(closed(Code::GatewayUdp).at("udp:[2001:db8::1]:3478"));
        let Diagnosed { diagnoses, verdict } = diagnose("example.org", &findings, End::Complete);
        assert_eq!((diagnoses.len(), verdict.outcome), (0, Outcome::Good), "{diagnoses:#?}");
    }
}
