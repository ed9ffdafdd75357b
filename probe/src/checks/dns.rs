//! Names: do the four of them have addresses, and the same ones?

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use futures_util::future::join_all;

use crate::{
    check::{Context, Outcome},
    codes::Code,
    finding::Finding,
    net::ResolveError,
    target::Name,
};

const LB_ADDRESS: &str = "kubectl get service lb -n hcce -o jsonpath='{.status.loadBalancer.ingress[0].ip}'";

pub(crate) async fn addresses(cx: Arc<Context>) -> Outcome {
    let lookups = join_all(Name::ALL.map(|name| {
        let cx = Arc::clone(&cx);
        async move { (name, cx.net.lookup(&cx.target.host(name)).await) }
    }))
    .await;

    let mut known = BTreeMap::new();
    let mut findings = Vec::new();
    for (name, lookup) in lookups {
        let host = cx.target.host(name);
        findings.push(match lookup {
            Ok(lookup) => {
                let finding =
                    Finding::pass(Code::NameResolves, format!("{host} is {}", list(&lookup.addresses)));
                known.insert(name, lookup.addresses);
                finding.at(&host)
            }
            Err(e @ ResolveError::Resolver { .. }) => {
                Finding::error(Code::NameResolves, e.to_string()).at(&host).fix(
                    "Try another resolver:",
                    [format!("hubs-probe check {} --resolver 9.9.9.9:53", cx.target)],
                )
            }
            Err(e) => Finding::fail(Code::NameResolves, e.to_string())
                .at(&host)
                .because(format!("the DNS has no {} record for {host}", family_of(&cx)))
                .fix(
                    format!(
                        "Create an A record for {host} that leads to the external address of the service lb:"
                    ),
                    [LB_ADDRESS],
                ),
        });
    }
    findings.extend(agreement(&cx, &known));
    if !known.is_empty() {
        cx.facts.addresses.learn(known);
    }
    Ok(findings)
}

fn family_of(cx: &Context) -> &'static str {
    match cx.net.family() {
        crate::net::Family::Any => "A or AAAA",
        crate::net::Family::V4 => "A",
        crate::net::Family::V6 => "AAAA",
    }
}

/// One finding on whether the names lead to the same place; none when there is nothing to compare.
fn agreement(cx: &Context, known: &BTreeMap<Name, Vec<IpAddr>>) -> Option<Finding> {
    let set = |addresses: &Vec<IpAddr>| addresses.iter().copied().collect::<BTreeSet<_>>();
    let reference = known.get(&Name::Root).or_else(|| known.values().next()).map(set)?;
    let odd: Vec<_> = known.iter().filter(|(_, addresses)| set(addresses) != reference).collect();
    if known.len() < 2 {
        return None;
    }
    if odd.is_empty() {
        return Some(Finding::pass(
            Code::NamesAgree,
            format!("{} names lead to the same address", known.len()),
        ));
    }
    let names: Vec<_> = odd.iter().map(|(name, _)| cx.target.host(**name)).collect();
    let mut finding = Finding::warn(
        Code::NamesAgree,
        format!("{} leads elsewhere than {}", names.join(", "), cx.target),
    )
    .because(
        "all four names are served by one ingress, so one of them is left over or fronted by something else",
    )
    .fix("Point all four at the external address of the service lb:", [LB_ADDRESS]);
    for (name, addresses) in known {
        finding = finding.seen(&cx.target.host(*name), list(addresses));
    }
    Some(finding)
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
