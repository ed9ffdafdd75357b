//! Names that are missing without looking so: a wildcard that stands in for them, and a record that was entered with the domain
//! twice.

use std::sync::Arc;

use futures_util::future::join_all;

use super::zone::{self, Lead, Said};
use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    random,
    target::Name,
};

/// Under this label a finding names each host that is missing, and for which a wildcard answers.
pub(crate) const HIDDEN: &str = "missing";

pub(crate) async fn missing(cx: Arc<Context>) -> Outcome {
    let nobody = format!("hubs-probe-{}", random::name::<10>());
    // RFC 6761 section 6.4: no resolver finds anything there, unless it invents what it does not find.
    let (nobodys, invented) = (format!("{nobody}.{}", cx.target), format!("{nobody}.invalid"));
    let said = |host: String| {
        let cx = &cx;
        async move { zone::said_by_resolver(&cx.net, &host).await }
    };
    let (names, wildcard, invents, zone) = tokio::join!(
        join_all(Name::ALL.map(|name| said(cx.target.host(name)))),
        said(nobodys),
        said(invented),
        zone::find(&cx)
    );
    let Some(wildcard) = wildcard else {
        return Err(Stop::Unable("the resolver gives no answer about a name that does not exist".to_owned()));
    };
    if invents.is_some_and(|said| said.lead != Lead::Nowhere) {
        return Err(Stop::Skip(
            "the resolver gives addresses to names that cannot exist, so which of them are missing cannot be told".to_owned(),
        ));
    }
    let names: Vec<_> = Name::ALL.into_iter().zip(names).collect();
    let mut findings = vec![judge_wildcard(&cx, &names, &wildcard)];
    let missing = names.iter().filter(|(_, said)| said.as_ref().is_some_and(|s| s.lead == Lead::Nowhere));
    let apex = zone.map_or_else(|| cx.target.domain().to_owned(), |zone| zone.apex);
    let doubled = join_all(missing.map(|(name, _)| doubled(&cx, *name, &apex, &nobody))).await;
    findings.extend(doubled.into_iter().flatten());
    Ok(findings)
}

fn judge_wildcard(cx: &Context, names: &[(Name, Option<Said>)], wildcard: &Said) -> Finding {
    let code = Code::NoWildcard;
    let place = format!("*.{}", cx.target);
    if wildcard.lead == Lead::Nowhere {
        return Finding::pass(code, "names that do not exist are not found").at(place);
    }
    let lead = |name| names.iter().find(|(known, _)| *known == name).and_then(|(_, said)| said.as_ref());
    let root = lead(Name::Root).map(|said| &said.lead);
    let hidden: Vec<_> = [Name::Assets, Name::Stream, Name::Cors]
        .into_iter()
        .filter(|name| lead(*name).is_some_and(|said| said.lead == wildcard.lead))
        .map(|name| cx.target.host(name))
        .collect();
    if hidden.is_empty() || root.is_some_and(|root| root.agrees_with(&wildcard.lead)) {
        return Finding::pass(
            code,
            "names that do not exist lead where a wildcard says, which does no harm here",
        )
        .at(place)
        .seen("wildcard", &wildcard.lead);
    }
    let summary =
        format!("a wildcard answers for {}, and leads elsewhere than {}", hidden.join(", "), cx.target);
    let finding = Finding::warn(code, summary).at(place);
    let finding = hidden.iter().fold(finding, |finding, host| finding.seen(HIDDEN, host));
    finding
        .seen("wildcard", &wildcard.lead)
        .seen(cx.target.domain(), root.map_or_else(|| "not said".to_owned(), ToString::to_string))
        .because("the record itself is missing or misspelt, and a wildcard answers in its place")
        .fix(
            "Create an A record for each of these names, leading to the external address of the service lb:",
            [super::LB_ADDRESS],
        )
}

/// That `name`, which is missing, exists with the domain behind it once more. Nothing if it does not.
async fn doubled(cx: &Context, name: Name, apex: &str, nobody: &str) -> Option<Finding> {
    let host = cx.target.host(name);
    let places = [format!("{host}.{apex}"), format!("{host}.{}", cx.target)];
    let found = join_all(places.iter().map(|place| zone::said_by_resolver(&cx.net, place))).await;
    let (place, said) = places.iter().zip(found).find_map(|(place, said)| {
        let said = said.filter(|said| said.lead != Lead::Nowhere)?;
        Some((place, said))
    })?;
    // A wildcard would answer for that as well.
    let by_wildcard = zone::said_by_resolver(&cx.net, &format!("{nobody}.{place}")).await?;
    let beside = zone::said_by_resolver(&cx.net, &format!("{nobody}.{apex}")).await?;
    if [by_wildcard.lead, beside.lead].contains(&said.lead) {
        return None;
    }
    Some(
        Finding::fail(Code::NoDoubledName, format!("{place} exists, and {host} does not"))
            .at(&host)
            .seen(place, &said.lead)
            .because(
                "the DNS provider's form appends the domain by itself, and it was typed as well; or a final dot is missing in a zone file",
            )
            .fix(
                format!("Enter the record again with the name as the form wants it, and delete {place}; then this prints an address:"),
                [format!("dig +short {host}")],
            ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        testing::{DOMAIN, names::Zone},
    };

    const LB: [u8; 4] = [192, 0, 2, 7];
    const PARKED: [u8; 4] = [198, 51, 100, 1];

    fn deployment(without: &str) -> Zone {
        let names = ["", "assets.", "stream.", "cors."].into_iter().filter(|label| *label != without);
        names.fold(Zone::default(), |zone, label| zone.a(&format!("{label}{DOMAIN}"), LB))
    }

    async fn found(zone: Zone) -> Vec<(Code, Status)> {
        let findings = missing(zone.resolver().await).await.unwrap();
        for finding in &findings {
            let needs_remedy = matches!(finding.status, Status::Warn | Status::Fail);
            assert_eq!(finding.remedy.is_some(), needs_remedy, "{finding:#?}");
        }
        findings.iter().map(|f| (f.code, f.status)).collect()
    }

    #[tokio::test]
    async fn without_a_wildcard_there_is_nothing_to_say() {
        assert_eq!(found(deployment("")).await, [(Code::NoWildcard, Status::Pass)]);
    }

    #[tokio::test]
    async fn a_wildcard_that_leads_where_the_names_lead_does_no_harm() {
        let zone = deployment("stream.").a("*.hubs.example.test", LB);
        assert_eq!(found(zone).await, [(Code::NoWildcard, Status::Pass)]);
    }

    #[tokio::test]
    async fn a_wildcard_that_stands_in_for_a_missing_name_is_a_warning() {
        let zone = deployment("stream.").a("*.hubs.example.test", PARKED);
        assert_eq!(found(zone).await, [(Code::NoWildcard, Status::Warn)]);
        // One that hides nothing does no harm.
        let zone = deployment("").a("*.hubs.example.test", PARKED);
        assert_eq!(found(zone).await, [(Code::NoWildcard, Status::Pass)]);
    }

    #[tokio::test]
    async fn a_name_that_was_entered_with_the_domain_or_the_zone_twice_is_found() {
        for doubled in ["stream.hubs.example.test.hubs.example.test", "stream.hubs.example.test.example.test"]
        {
            let zone = deployment("stream.").ns("example.test", "ns.example.test").a(doubled, LB);
            let expected = [(Code::NoWildcard, Status::Pass), (Code::NoDoubledName, Status::Fail)];
            assert_eq!(found(zone).await, expected, "{doubled}");
        }
    }

    #[tokio::test]
    async fn what_a_wildcard_answers_was_not_entered_twice() {
        let zone = deployment("stream.").ns("example.test", "ns.example.test").a("*.example.test", PARKED);
        assert_eq!(found(zone).await, [(Code::NoWildcard, Status::Pass)]);
    }

    #[tokio::test]
    async fn a_resolver_that_invents_addresses_proves_nothing() {
        let outcome = missing(deployment("stream.").a("*.invalid", PARKED).resolver().await).await;
        assert!(matches!(outcome, Err(Stop::Skip(_))), "{outcome:?}");
    }
}
