//! Names: do the four of them have addresses, and the same ones?

pub(crate) mod aliases;
pub(crate) mod authority;
pub(crate) mod caa;
pub(crate) mod dnssec;
#[cfg(test)]
mod hostile;
pub(crate) mod ipv6;
pub(crate) mod missing;
pub(crate) mod resolvers;
pub(crate) mod zone;

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
    net::{Family, ResolveError},
    target::Name,
};

const LB_ADDRESS: &str = "kubectl get service lb -n hcce -o jsonpath='{.status.loadBalancer.ingress[0].ip}'";
const LB_ADDRESSES: &str =
    "kubectl get service lb -n hcce -o jsonpath='{.status.loadBalancer.ingress[*].ip}'";

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
                    "Look at this machine's network, or try another resolver:",
                    [format!("hubs-probe check {} --resolver 9.9.9.9:53", cx.target)],
                )
            }
            Err(e) => no_address(&cx, &host, &e),
        });
    }
    findings.extend(agreement(&cx, &known));
    if !known.is_empty() {
        cx.facts.addresses.learn(known);
    }
    Ok(findings)
}

/// With -4 or -6 we did not look for the addresses that others may use.
fn no_address(cx: &Context, host: &str, error: &ResolveError) -> Finding {
    let code = Code::NameResolves;
    let (record, option) = match cx.net.family() {
        Family::Any => {
            return Finding::fail(code, error.to_string())
                .at(host)
                .because(format!("the DNS has no A or AAAA record for {host}"))
                .fix(
                    format!(
                        "Create an A record for {host} that leads to the external address of the service lb:"
                    ),
                    [LB_ADDRESS],
                );
        }
        Family::V4 => ("A", "-4"),
        Family::V6 => ("AAAA", "-6"),
    };
    Finding::error(code, format!("{host} has no {record} record, and {option} admits no other"))
        .at(host)
        .fix(format!("Leave {option} out:"), [format!("hubs-probe check {}", cx.target)])
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::ResponseCode;

    use super::*;
    use crate::{
        finding::Status,
        net::NetOptions,
        testing::{bare_context, dns_server},
    };

    const LB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    async fn found(
        family: Family,
        answer: impl Fn(&str) -> Result<Vec<Ipv4Addr>, ResponseCode> + Send + 'static,
    ) -> (Arc<Context>, Vec<(Code, Status)>) {
        let resolver = Some(dns_server(answer).await);
        let cx = Arc::new(bare_context(NetOptions { resolver, family, ..NetOptions::default() }));
        let findings = addresses(Arc::clone(&cx)).await.unwrap();
        (cx, findings.into_iter().map(|f| (f.code, f.status)).collect())
    }

    #[tokio::test]
    async fn four_names_at_one_address_pass_and_are_known() {
        let (cx, findings) = found(Family::Any, |_| Ok(vec![LB])).await;
        assert_eq!(findings.len(), 5);
        assert!(findings.iter().all(|(_, status)| *status == Status::Pass), "{findings:?}");
        assert_eq!(cx.facts.addresses.get().unwrap()[&Name::Stream], [IpAddr::from(LB)]);
    }

    #[tokio::test]
    async fn a_name_that_is_missing_fails_and_the_others_stay_known() {
        let missing =
            |name: &str| if name.starts_with("cors.") { Err(ResponseCode::NXDomain) } else { Ok(vec![LB]) };
        let (cx, findings) = found(Family::Any, missing).await;
        assert!(findings.contains(&(Code::NameResolves, Status::Fail)), "{findings:?}");
        assert_eq!(cx.facts.addresses.get().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_a_warning() {
        let elsewhere =
            |name: &str| Ok(vec![if name.starts_with("assets.") { Ipv4Addr::new(192, 0, 2, 8) } else { LB }]);
        let (_, findings) = found(Family::Any, elsewhere).await;
        assert_eq!(findings.last(), Some(&(Code::NamesAgree, Status::Warn)));
    }

    #[tokio::test]
    async fn a_resolver_that_fails_is_our_error_and_not_the_deployments() {
        let (cx, findings) = found(Family::Any, |_| Err(ResponseCode::ServFail)).await;
        assert_eq!(findings, [(Code::NameResolves, Status::Error); 4]);
        assert!(cx.facts.addresses.get().is_err());
    }

    #[tokio::test]
    async fn a_name_without_aaaa_is_no_fault_of_the_deployment_when_it_was_asked_for_ipv6_only() {
        let (_, findings) = found(Family::V6, |_| Ok(vec![LB])).await;
        assert_eq!(findings, [(Code::NameResolves, Status::Error); 4]);
    }

    #[tokio::test]
    async fn thousands_of_addresses_are_cut() {
        let many = |_: &str| Ok((0..60).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect());
        let (cx, _) = found(Family::Any, many).await;
        assert!(cx.facts.addresses.get().unwrap()[&Name::Root].len() <= 16);
    }
}
