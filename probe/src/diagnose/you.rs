//! What stands between this machine and any deployment. None of it is the deployment's fault, and as long as it stands there,
//! little is known of the deployment: others may meet with nothing of it.

use super::{
    Confidence,
    entrance::CERTIFICATE,
    rule::Rule,
    seen::{Direct, Seen, Turn, is_certificate},
};
use crate::{
    check::Group,
    checks::{CHECKS, you::interception::PRODUCT},
    codes::Code,
    finding::{Finding, Status},
};

/// What is silent where no UDP gets out.
const OVER_UDP: &[Code] = &[
    Code::NatMapping,
    Code::PathMtu,
    Code::DirectPath,
    Code::PortsOpen,
    Code::AudioDirect,
    Code::AudioTurnUdp,
    Code::GatewayUdp,
    Code::AudioGateway,
    Code::DirectIdle,
    Code::GatewayIdle,
];

pub(super) const RULES: &[Rule] = &[
    Rule::new("you.family", &[Code::FamilyShared], |seen, _| {
        format!("this machine and {} have no version of IP in common", seen.domain)
    })
    .status(Status::Warn)
    .on_this_side()
    .means(cannot_tell)
    .folds(|_, _, other| is_beyond_names(other)),
    // D14
    Rule::new("you.portal", &[Code::NoPortal], |_, _| {
        "a login page of this network answers in everybody's place".to_owned()
    })
    .status(Status::Warn)
    .on_this_side()
    .means(cannot_tell)
    .folds(|_, _, other| is_beyond_names(other))
    .confidence(Confidence::Likely),
    Rule::new("you.proxy", &[Code::NoProxy], |_, _| {
        "this network lets web pages in through a proxy only, which this check does not use".to_owned()
    })
    .status(Status::Warn)
    .on_this_side()
    // A proxy that is merely there is no cause of anything.
    .when(|seen, _| {
        let is_open = |f: &Finding| is_certificate(f.code) && f.code != Code::TlsAnswers;
        seen.has(Code::TlsAnswers, Status::Fail)
            && !seen.findings.iter().any(is_open)
            && !seen.has(Code::AuthorityAnswers, Status::Pass)
    })
    .means(cannot_tell)
    .folds(|_, _, other| is_beyond_names(other))
    .confidence(Confidence::Likely),
    // D14. A private authority looks the same, so it takes the name of a product that does this.
    Rule::new("you.inspection", &[Code::NoInspection], |_, _| {
        "something in this network opens encrypted connections".to_owned()
    })
    .status(Status::Warn)
    .at(|_, finding| finding.evidence.iter().any(|e| e.label == PRODUCT))
    .on_this_side()
    .means(cannot_tell)
    .explains(&[
        Code::CertificateUnknownIssuer,
        Code::CertificateChain,
        Code::CertificateSelfSigned,
        Code::SecretsServed,
    ])
    .confidence(Confidence::Likely),
    Rule::new("you.ports", &[Code::PortsLeave], |_, _| {
        "this network lets out web pages and nothing else".to_owned()
    })
    .status(Status::Warn)
    .on_this_side()
    .means(|_, _, why| {
        format!("Nobody in this network can be heard: {why}. How the deployment is cannot be told from here.")
    })
    .explains(&[
        Code::SignallingOpens,
        Code::UdpLeaves,
        Code::TurnChallenges,
        Code::TurnConnects,
        Code::GatewayTcp,
    ])
    .folds(|_, _, other| {
        let is_page = other.target.as_deref().is_some_and(|target| target.starts_with("https:"));
        CERTIFICATE.contains(&other.code) && !is_page || OVER_UDP.contains(&other.code)
    })
    .confidence(Confidence::Likely),
    // D05
    Rule::new("you.udp", &[Code::UdpLeaves], |_, _| {
        "this network closes the direct way that voice takes".to_owned()
    })
    .status(Status::Warn)
    .on_this_side()
    .when(|seen, _| !seen.works_over_udp())
    .means(|seen, finding, why| match seen.turn() {
        _ if seen.direct() == Direct::Works => {
            format!("From here voice goes through the gateway over TCP: {why}.")
        }
        Turn::Works => format!("From here voice takes the way through TURN: {why}."),
        Turn::Broken | Turn::Untried => cannot_tell(seen, finding, why),
    })
    .explains(OVER_UDP)
    .confidence(Confidence::Likely),
    // Which of the two clocks is wrong shows as soon as one of them is set.
    Rule::new("you.clock", &[Code::ClockAgrees], |_, _| {
        "the clocks of this machine and of the server do not agree".to_owned()
    })
    .status(Status::Warn)
    .on_this_side()
    .when(|seen, _| seen.has(Code::CertificateDates, Status::Error))
    .means(cannot_tell)
    .explains(&[Code::CertificateDates])
    .confidence(Confidence::Possible),
];

fn cannot_tell(_: &Seen<'_>, _: &Finding, why: &str) -> String {
    format!("Whether people hear each other cannot be told from here: {why}.")
}

/// Whether the finding is about what is reached by the addresses of the names, and so not at all from here.
fn is_beyond_names(finding: &Finding) -> bool {
    let group = CHECKS.iter().find(|check| check.codes().any(|code| code == finding.code)).map(|c| c.group);
    let is_seen = finding.code == Code::SecretsServed;
    is_seen
        || !matches!(group, Some(Group::Vantage | Group::Dns | Group::Mail | Group::Relay | Group::Manifest))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Diagnosed, End, Outcome, Whose, diagnose,
            tests::{TURN, direct, fail, pass, run, turn_broken_at},
        },
        *,
    };
    use crate::report::{EXIT_BROKEN, EXIT_GOOD, EXIT_INCONCLUSIVE, FailOn, Report};

    fn warn(code: Code) -> Finding {
        Finding::warn(code, "is so").because("of this network").fix("Go elsewhere", ["go"])
    }

    fn skip(code: Code) -> Finding {
        Finding::skip(code, "not tried")
    }

    /// What is said of a run, and the exit status of the program.
    fn said(with: impl IntoIterator<Item = Finding>) -> (Diagnosed, u8) {
        let findings = run(with);
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let report = Report::new("example.org".to_owned(), now, now, End::Complete, findings.clone());
        (diagnose("example.org", &findings, End::Complete), report.exit_code(FailOn::Fail))
    }

    #[track_caller]
    fn assert_not_from_here(with: impl IntoIterator<Item = Finding>, rule: &str, headline: &str) {
        let (Diagnosed { diagnoses, verdict }, exit) = said(with);
        assert_eq!((verdict.outcome, exit), (Outcome::Inconclusive, EXIT_INCONCLUSIVE), "{diagnoses:#?}");
        assert_eq!((diagnoses[0].rule, diagnoses[0].whose), (rule, Whose::Person), "{diagnoses:#?}");
        assert!(verdict.headline.contains(headline), "{verdict:#?}");
        assert!(verdict.remedy.is_some());
    }

    /// No port lets us in.
    fn closed() -> Vec<Finding> {
        let places = ["https://example.org", "wss://stream.example.org:4443", TURN];
        let mut findings: Vec<_> = places.map(|place| fail(Code::TlsAnswers).at(place)).into();
        findings.extend([Code::HubsHealthy, Code::SignallingOpens].map(fail));
        findings.extend(
            [
                Code::RoomJoined,
                Code::TransportCreated,
                Code::DirectPath,
                Code::TurnAllocates,
                Code::RelayedDtls,
            ]
            .map(skip),
        );
        findings
    }

    /// The same without what a good deployment shows of its certificates.
    fn closed_with(finding: Finding) -> (Diagnosed, u8) {
        let findings = run(closed().into_iter().chain([finding]));
        let findings: Vec<_> = findings.into_iter().filter(|f| f.code != Code::CertificateValid).collect();
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let report = Report::new("example.org".to_owned(), now, now, End::Complete, findings.clone());
        (diagnose("example.org", &findings, End::Complete), report.exit_code(FailOn::Fail))
    }

    #[test]
    fn behind_a_login_page_or_without_a_common_version_nothing_is_held_against_the_deployment() {
        for (code, rule) in
            [(Code::NoPortal, "you.portal"), (Code::FamilyShared, "you.family"), (Code::NoProxy, "you.proxy")]
        {
            let (Diagnosed { diagnoses, verdict }, exit) = closed_with(warn(code));
            assert_eq!((diagnoses.len(), diagnoses[0].rule), (1, rule), "{diagnoses:#?}");
            assert_eq!((verdict.outcome, exit), (Outcome::Inconclusive, EXIT_INCONCLUSIVE), "{verdict:#?}");
            assert_eq!(verdict.explains[0], code);
        }
        // Without it the deployment is down.
        assert_eq!(closed_with(pass(Code::NoPortal)).1, EXIT_BROKEN);
    }

    #[test]
    fn a_proxy_that_is_merely_named_is_no_cause() {
        let (Diagnosed { diagnoses, verdict }, exit) = said([warn(Code::NoProxy)]);
        assert!(diagnoses.is_empty(), "{diagnoses:#?}");
        assert_eq!((verdict.outcome, exit), (Outcome::Good, EXIT_GOOD));
    }

    #[test]
    fn a_network_without_udp_is_named_and_the_deployment_is_good_if_turn_works() {
        let (Diagnosed { diagnoses, verdict }, exit) = said([warn(Code::UdpLeaves), warn(Code::PortsOpen)]);
        assert_eq!((verdict.outcome, exit), (Outcome::Good, EXIT_GOOD));
        assert!(verdict.detail.contains("lets no UDP out"), "{verdict:#?}");
        let [diagnosis] = diagnoses.as_slice() else { panic!("{diagnoses:#?}") };
        assert_eq!((diagnosis.rule, diagnosis.explains.len()), ("you.udp", 2), "{diagnosis:#?}");
    }

    #[test]
    fn a_network_without_udp_does_not_make_a_broken_turn_silence_everybody() {
        let (Diagnosed { diagnoses, verdict }, exit) =
            said(turn_broken_at(Code::TurnAllocates).into_iter().chain([warn(Code::UdpLeaves)]));
        assert_eq!((verdict.outcome, exit), (Outcome::Broken, EXIT_BROKEN));
        assert!(verdict.headline.starts_with("Nobody behind a strict firewall"), "{verdict:#?}");
        assert!(verdict.detail.contains("lets no UDP out"), "{verdict:#?}");
        assert_eq!(diagnoses.iter().map(|d| d.rule).collect::<Vec<_>>(), ["you.udp", "turn.login"]);
    }

    #[test]
    fn udp_that_leaves_over_one_version_leaves_the_direct_path_to_the_deployment() {
        let both = [warn(Code::UdpLeaves).at("IPv6"), direct(Status::Pass)];
        assert!(said(both).0.diagnoses.is_empty());
    }

    #[test]
    fn a_network_that_lets_out_web_pages_only_is_named() {
        let turn = [fail(Code::TlsAnswers).at(TURN), fail(Code::SignallingOpens)];
        let skipped =
            [Code::TransportCreated, Code::DirectPath, Code::TurnAllocates, Code::RelayedDtls].map(skip);
        let findings = turn.into_iter().chain(skipped).chain([warn(Code::PortsLeave)]);
        assert_not_from_here(findings, "you.ports", "lets out web pages and nothing else");
    }

    #[test]
    fn a_product_that_opens_tls_is_named_and_a_private_authority_is_not_taken_for_one() {
        let refused = || fail(Code::CertificateUnknownIssuer).at("https://example.org");
        let untried = || [Code::RelayedDtls, Code::DirectPath].map(skip).into_iter().chain([refused()]);
        let product = warn(Code::NoInspection).seen(PRODUCT, "zscaler");
        assert_not_from_here(untried().chain([product]), "you.inspection", "opens encrypted connections");
        // Nothing is called good whose own certificate nobody saw.
        let product = warn(Code::NoInspection).seen(PRODUCT, "zscaler");
        assert_not_from_here([refused(), product], "you.inspection", "opens encrypted connections");
        assert_eq!(said(untried().chain([warn(Code::NoInspection)])).1, EXIT_BROKEN);
    }

    #[test]
    fn dates_that_two_clocks_disagree_about_are_the_clocks_fault() {
        let dates = Finding::error(Code::CertificateDates, "cannot be judged").at("https://example.org");
        let untried = [Code::RelayedDtls, Code::DirectPath].map(skip);
        let findings = untried.into_iter().chain([dates, warn(Code::ClockAgrees)]);
        assert_not_from_here(findings, "you.clock", "the clocks of this machine and of the server");
        assert!(said([warn(Code::ClockAgrees)]).0.diagnoses.is_empty());
    }
}
