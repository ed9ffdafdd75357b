//! IPv4 and IPv6: who has only the one does not get to what has only the other, and neither of them is broken.

use std::{collections::BTreeSet, net::IpAddr};

use super::local_address;
use crate::{
    check::{Context, Outcome},
    codes::Code,
    finding::Finding,
    target::HTTPS,
};

pub(crate) fn shared(cx: &Context) -> Outcome {
    let known = cx.facts.addresses.get()?;
    let addresses: BTreeSet<_> = known.values().flatten().copied().collect();
    Ok(vec![judge(cx.target.domain(), &addresses, |to| local_address((to, HTTPS).into()).is_some())])
}

/// `has_way` is whether this machine has an address from which it would send there.
fn judge(domain: &str, addresses: &BTreeSet<IpAddr>, has_way: impl Fn(IpAddr) -> bool) -> Finding {
    let code = Code::FamilyShared;
    let ways: Vec<_> = addresses.iter().filter(|address| has_way(**address)).collect();
    if let Some(first) = ways.first() {
        let families = if ways.iter().all(|way| way.is_ipv4() == first.is_ipv4()) {
            version(first)
        } else {
            "IPv4 and IPv6"
        };
        return Finding::pass(code, format!("this machine gets to the deployment over {families}"));
    }
    let Some(first) = addresses.first() else {
        return Finding::skip(code, "the names have no address, see dns.addresses");
    };
    let lacked = version(first);
    if addresses.iter().any(|address| address.is_ipv4() != first.is_ipv4()) {
        return Finding::warn(code, "this machine has neither IPv4 nor IPv6")
            .because("it is connected to no network that leads any further")
            .advise("Connect this machine to a network");
    }
    Finding::warn(code, format!("this machine has no {lacked}, and {domain} has nothing else"))
        .because("the two have no version of IP in common, which is no fault of either; mobile networks translate between them (NAT64), and this one does not")
        .advise(format!("Run the check from a network with {lacked}, such as another provider's"))
}

const fn version(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::Stop,
        finding::Status,
        testing::{DOMAIN, bare_context, context},
    };

    const V4: &str = "192.0.2.7";
    const V6: &str = "2001:db8::7";

    fn judged(addresses: &[&str], has_way: fn(IpAddr) -> bool) -> Finding {
        judge(DOMAIN, &addresses.iter().map(|a| a.parse().unwrap()).collect(), has_way)
    }

    #[test]
    fn one_version_in_common_is_enough() {
        assert_eq!(judged(&[V4], |_| true).status, Status::Pass);
        assert!(judged(&[V4, V6], |to| to.is_ipv6()).summary.ends_with("over IPv6"));
        assert!(judged(&[V4, V6], |_| true).summary.ends_with("over IPv4 and IPv6"));
    }

    #[test]
    fn a_machine_that_has_only_the_other_version_is_told_which_it_lacks() {
        for (has, lacks) in [(V4, "no IPv4"), (V6, "no IPv6")] {
            let finding = judged(&[has], |_| false);
            assert_eq!((finding.code, finding.status), (Code::FamilyShared, Status::Warn));
            assert!(finding.summary.contains(lacks) && finding.remedy.is_some(), "{finding:#?}");
        }
        assert!(judged(&[V4, V6], |_| false).summary.contains("neither"));
    }

    #[test]
    fn without_an_address_there_is_nothing_to_compare() {
        assert!(matches!(shared(&bare_context(crate::net::NetOptions::default())), Err(Stop::Skip(_))));
        assert_eq!(judged(&[], |_| true).status, Status::Skip);
        // Loopback is always there.
        assert_eq!(shared(&context(None, &[])).unwrap()[0].status, Status::Pass);
    }
}
