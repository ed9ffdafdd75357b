use super::*;
use crate::{
    finding::Status,
    testing::{DOMAIN, names::Zone},
};

const SPF: &str = "v=spf1 include:spf.protection.outlook.com -all";
const DMARC: &str = "v=DMARC1; p=quarantine; rua=mailto:postmaster@hubs.example.test";

fn selector(zone: Zone, selector: &str, host: &str) -> Zone {
    zone.cname(host, &format!("{selector}._domainkey.azurecomm.net"))
}

/// What Azure itself has in the DNS.
fn azure() -> Zone {
    dkim::SELECTORS
        .iter()
        .fold(Zone::default(), |zone, name| {
            zone.txt(
                &format!("{name}._domainkey.azurecomm.net"),
                &format!("v=DKIM1; k=rsa; p={}", "A".repeat(392)),
            )
        })
        .txt("spf.protection.outlook.com", "v=spf1 ip4:192.0.2.0/24 -all")
}

/// Everything that Azure wants, except for what `without` names: `spf`, `dkim`, `dmarc` or `mx`.
fn domain(name: &str, without: &str) -> Zone {
    let zone = azure().txt(name, "ms-domain-verification=0f1e");
    let zone = match without {
        "mx" => zone,
        _ => zone.mx(name, "mail.example.test").a("mail.example.test", [192, 0, 2, 25]),
    };
    let zone = if without == "spf" { zone } else { zone.txt(name, SPF) };
    let zone = if without == "dmarc" { zone } else { zone.txt(&format!("_dmarc.{name}"), DMARC) };
    let selectors = dkim::SELECTORS.iter().filter(|_| without != "dkim");
    selectors.fold(zone, |zone, s| selector(zone, s, &format!("{s}._domainkey.{name}")))
}

async fn found(zone: Zone) -> Vec<Finding> {
    let findings = records(zone.resolver().await).await.unwrap();
    for finding in &findings {
        assert!(finding.status != Status::Fail, "mail is advice: {finding:#?}");
        assert_eq!(finding.remedy.is_some(), finding.status == Status::Warn, "{finding:#?}");
    }
    findings
}

/// The findings that are no pass.
async fn faults(zone: Zone) -> Vec<(Code, Status)> {
    found(zone).await.iter().filter(|f| f.status != Status::Pass).map(|f| (f.code, f.status)).collect()
}

async fn fault(zone: Zone) -> Finding {
    let faults: Vec<_> = found(zone).await.into_iter().filter(|f| f.status != Status::Pass).collect();
    let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
    fault.clone()
}

#[tokio::test]
async fn a_domain_with_all_that_azure_wants_passes() {
    let findings = found(domain(DOMAIN, "")).await;
    let codes: Vec<_> = findings.iter().map(|f| f.code).collect();
    assert_eq!(
        codes,
        [
            Code::MailOfAzure,
            Code::DkimSelectors,
            Code::SpfRecord,
            Code::SpfLookups,
            Code::DmarcPolicy,
            Code::MailExchanger
        ]
    );
    assert!(findings.iter().all(|f| f.status == Status::Pass), "{findings:#?}");
}

#[tokio::test]
async fn a_deployment_whose_mail_goes_another_way_is_left_in_peace() {
    let other =
        Zone::default().txt(DOMAIN, "v=spf1 include:_spf.mail.example.test ~all").txt(DOMAIN, "MS=ms1234");
    let outcome = records(other.resolver().await).await;
    assert!(matches!(outcome, Err(Stop::Skip(_))), "{outcome:?}");
    // What a wildcard answers was not meant for Azure.
    let wildcard =
        Zone::default().cname("*.hubs.example.test", "lb.example.test").a("lb.example.test", [192, 0, 2, 7]);
    let outcome = records(wildcard.resolver().await).await;
    assert!(matches!(outcome, Err(Stop::Skip(_))), "{outcome:?}");
}

#[tokio::test]
async fn the_domain_above_may_be_the_sender() {
    let findings = found(domain("example.test", "")).await;
    assert_eq!(findings[0].target.as_deref(), Some("example.test"));
}

#[tokio::test]
async fn there_is_one_spf_record_and_it_names_azure() {
    let spf = |text: &str| domain(DOMAIN, "spf").txt(DOMAIN, text);
    let warning = vec![(Code::SpfRecord, Status::Warn)];
    assert_eq!(faults(domain(DOMAIN, "spf")).await, warning);
    assert_eq!(faults(domain(DOMAIN, "").txt(DOMAIN, "v=spf1 -all")).await, warning);
    assert_eq!(faults(spf("v=spf1 mx -all")).await, warning);
    assert_eq!(faults(spf("v=spf1 include:spf.protection.outlook.com ~all")).await, warning);
    // By way of another record.
    let redirected = spf("v=spf1 redirect=_spf.example.test").txt("_spf.example.test", SPF);
    assert_eq!(faults(redirected).await, []);
}

#[tokio::test]
async fn more_lookups_than_receivers_make_are_counted_through_what_is_included() {
    let many = |n: usize| format!("v=spf1 {} -all", "mx ".repeat(n));
    let spf = |n| {
        let zone = domain(DOMAIN, "spf").txt(DOMAIN, &SPF.replace("-all", "include:a.example.test -all"));
        zone.txt("a.example.test", &many(n))
    };
    assert_eq!(faults(spf(8)).await, []);
    assert_eq!(faults(spf(9)).await, [(Code::SpfLookups, Status::Warn)]);
    // One that includes itself ends.
    let circle = domain(DOMAIN, "spf")
        .txt(DOMAIN, "v=spf1 include:spf.protection.outlook.com include:hubs.example.test -all");
    assert_eq!(faults(circle).await, []);
}

#[tokio::test]
async fn a_selector_that_is_missing_or_in_the_wrong_place_is_named() {
    let [first, second] = dkim::SELECTORS;
    let right = |zone, s: &str| selector(zone, s, &format!("{s}._domainkey.{DOMAIN}"));
    let with_first = || right(domain(DOMAIN, "dkim"), first);
    for (zone, expected) in [
        (with_first(), "is missing"),
        (
            selector(with_first(), second, &format!("_domainkey.{second}.{DOMAIN}")),
            "the selector comes first",
        ),
        (
            selector(with_first(), second, &format!("{second}._domainkey.{DOMAIN}.{DOMAIN}")),
            "appends the domain",
        ),
        (
            with_first().cname(&format!("{second}._domainkey.{DOMAIN}"), "proxy.example.test"),
            "leads to proxy",
        ),
        (with_first().txt(&format!("{second}._domainkey.{DOMAIN}"), "v=DKIM1; p=AAAA"), "no CNAME"),
        (selector(with_first(), first, &format!("{second}._domainkey.{DOMAIN}")), "leads to selector1"),
    ] {
        let fault = fault(zone).await;
        assert_eq!((fault.code, fault.status), (Code::DkimSelectors, Status::Warn), "{fault:#?}");
        assert!(fault.evidence.iter().any(|e| e.value.contains(expected)), "{expected}: {fault:#?}");
    }
}

#[tokio::test]
async fn there_is_one_dmarc_record_with_a_policy() {
    let host = format!("_dmarc.{DOMAIN}");
    let warning = vec![(Code::DmarcPolicy, Status::Warn)];
    let dmarc = |text: &str| domain(DOMAIN, "dmarc").txt(&host, text);
    assert_eq!(faults(domain(DOMAIN, "dmarc")).await, warning);
    assert_eq!(faults(domain(DOMAIN, "").txt(&host, "v=DMARC1; p=reject")).await, warning);
    assert_eq!(faults(dmarc("v=DMARC1; p=none")).await, warning);
    assert_eq!(faults(dmarc("v=DMARC1; p=maybe")).await, warning);
    assert_eq!(faults(dmarc("v=DMARC1 ; P=Reject")).await, []);
    let misplaced = fault(domain(DOMAIN, "dmarc").txt(&format!("{host}.{DOMAIN}"), DMARC)).await;
    assert!(misplaced.evidence.iter().any(|e| e.label == "misplaced"), "{misplaced:#?}");
}

#[tokio::test]
async fn a_text_that_was_entered_with_the_domain_or_the_zone_twice_is_named_where_it_is_missing() {
    let misplaced = |finding: &Finding| {
        finding.evidence.iter().find(|e| e.label == "misplaced").map(|e| e.value.clone()).unwrap_or_default()
    };
    let host = format!("_dmarc.{DOMAIN}");
    for twice in [DOMAIN, "example.test"] {
        let of_zone = |zone: Zone| zone.ns("example.test", "ns.example.test");
        let spf = of_zone(domain(DOMAIN, "spf")).txt(&format!("{DOMAIN}.{twice}"), SPF);
        let said = fault(spf).await;
        assert_eq!(said.code, Code::SpfRecord, "{said:#?}");
        assert!(misplaced(&said).starts_with(&format!("it was entered as {DOMAIN}.{twice}:")), "{said:#?}");

        let dmarc = of_zone(domain(DOMAIN, "dmarc")).txt(&format!("{host}.{twice}"), DMARC);
        let said = fault(dmarc).await;
        assert!(misplaced(&said).starts_with(&format!("it was entered as {host}.{twice}:")), "{said:#?}");

        let [first, second] = dkim::SELECTORS;
        let right = format!("{first}._domainkey.{DOMAIN}");
        let dkim = selector(of_zone(domain(DOMAIN, "dkim")), first, &right);
        let place = format!("{second}._domainkey.{DOMAIN}.{twice}");
        let said = fault(selector(dkim, second, &place)).await;
        assert!(said.evidence.iter().any(|e| e.value.contains(&place)), "{said:#?}");

        // All that there is of Azure's.
        let ownership = of_zone(azure()).txt(&format!("{DOMAIN}.{twice}"), "ms-domain-verification=0f1e");
        let findings = found(ownership).await;
        assert_eq!(
            (findings[0].code, findings[0].status),
            (Code::MailOfAzure, Status::Warn),
            "{findings:#?}"
        );
        assert!(misplaced(&findings[0]).contains(&format!("{DOMAIN}.{twice}")), "{findings:#?}");
    }
}

#[tokio::test]
async fn a_text_that_a_wildcard_has_for_every_name_was_not_entered_twice() {
    let wildcard = domain(DOMAIN, "spf").txt(&format!("*.{DOMAIN}"), "v=spf1 -all");
    let fault = fault(wildcard).await;
    assert_eq!(fault.code, Code::SpfRecord, "{fault:#?}");
    assert!(fault.evidence.iter().all(|e| e.label != "misplaced"), "{fault:#?}");
    let wildcard = Zone::default().txt(&format!("*.{DOMAIN}"), "ms-domain-verification=0f1e");
    let outcome = records(wildcard.resolver().await).await;
    assert!(matches!(outcome, Err(Stop::Skip(_))), "{outcome:?}");
}

#[tokio::test]
async fn the_policy_of_the_domain_above_holds_where_there_is_no_other() {
    let above = |text: &str| domain(DOMAIN, "dmarc").txt("_dmarc.example.test", text);
    assert_eq!(faults(above("v=DMARC1; p=reject")).await, []);
    assert_eq!(faults(above("v=DMARC1; p=reject; sp=none")).await, [(Code::DmarcPolicy, Status::Warn)]);
}

#[tokio::test]
async fn a_resolver_that_says_nothing_makes_no_finding_about_mail() {
    let outcome = records(Zone::default().failing("").resolver().await).await;
    assert!(matches!(outcome, Err(Stop::Unable(_))), "{outcome:?}");
    let findings = faults(domain(DOMAIN, "dmarc").failing("_dmarc.hubs.example.test")).await;
    assert_eq!(findings, [(Code::DmarcPolicy, Status::Error)]);
}

#[tokio::test]
async fn mail_that_nobody_takes_is_a_warning() {
    let expected = [(Code::MailExchanger, Status::Warn)];
    assert_eq!(faults(domain(DOMAIN, "mx")).await, expected);
    assert_eq!(faults(domain(DOMAIN, "mx").mx(DOMAIN, "")).await, expected);
    assert_eq!(faults(domain(DOMAIN, "mx").mx(DOMAIN, "gone.example.test")).await, expected);
    let second = domain(DOMAIN, "").mx(DOMAIN, "gone.example.test");
    assert!(faults(second).await.is_empty());
}

#[tokio::test]
async fn a_record_that_includes_itself_or_a_thousand_others_is_followed_to_a_bound() {
    let circle = domain(DOMAIN, "spf")
        .txt(DOMAIN, "v=spf1 include:a.example.test include:spf.protection.outlook.com -all")
        .txt("a.example.test", "v=spf1 include:b.example.test -all")
        .txt("b.example.test", "v=spf1 include:a.example.test -all");
    assert!(faults(circle).await.is_empty());
    let many: Vec<_> = (0..1000).map(|n| format!("include:h{n}.example.test")).collect();
    let zone = domain(DOMAIN, "spf").txt(DOMAIN, &format!("v=spf1 {} -all", many.join(" ")));
    assert!(faults(zone).await.contains(&(Code::SpfLookups, Status::Warn)));
}
