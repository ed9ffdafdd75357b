//! The resolver that was given beside the one of this machine. The check goes where the former leads, and browsers here where the latter
//! does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::list;
use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::{AskError, Family, Kind, Mode, Reply},
    target::Name,
};

/// How long this machine's resolver is waited for. It is asked to compare, and nobody waits for that for long.
const WAIT: Duration = Duration::from_secs(2);

pub(crate) async fn resolvers(cx: Arc<Context>) -> Outcome {
    let (given, own) = (cx.net.resolvers().first(), cx.net.system_resolvers().first());
    let (Some(given), Some(own)) = (given, own) else {
        return Err(Stop::Skip(
            "one resolver was asked: another one, as --resolver IP:PORT, is held against this machine's own"
                .to_owned(),
        ));
    };
    if given == own {
        return Err(Stop::Skip("the resolver that was given is this machine's own".to_owned()));
    }
    let of_given = words(&cx, |host, kind| {
        let cx = Arc::clone(&cx);
        async move { Some(cx.net.ask_resolver(&host, kind, Mode::Recursive).await) }
    });
    let of_given = of_given.await;
    if of_given.is_empty() {
        return Err(Stop::Skip(
            "the resolver that was given says nothing of the names, see dns.addresses".to_owned(),
        ));
    }
    let of_own = words(&cx, |host, kind| {
        let cx = Arc::clone(&cx);
        async move { timeout(WAIT, cx.net.ask_system_resolver(&host, kind)).await.ok() }
    });
    Ok(vec![judge(&cx, (*given, &of_given), (*own, &of_own.await)).at(cx.target.domain())])
}

/// What a name has of one kind, and for how many seconds that may be remembered.
#[derive(Debug)]
struct Word {
    addresses: BTreeSet<IpAddr>,
    ttl: u32,
}

/// What somebody says of each name and kind, as far as they told.
type Words = BTreeMap<(Name, u16), Word>;

const KINDS: [(Kind, u16); 2] = [(Kind::A, 4), (Kind::Aaaa, 6)];

async fn words<F>(cx: &Context, ask: impl Fn(String, Kind) -> F) -> Words
where
    F: Future<Output = Option<Result<Reply, AskError>>>,
{
    let family = cx.net.family();
    let is_wanted = |kind: &Kind| match kind {
        Kind::Aaaa => family != Family::V4,
        _ => family != Family::V6,
    };
    let questions = Name::ALL.into_iter().flat_map(|name| KINDS.map(|kind| (name, kind)));
    let asked = questions.filter(|(_, (kind, _))| is_wanted(kind)).map(|(name, (kind, version))| {
        let reply = ask(cx.target.host(name), kind);
        async move {
            let reply = reply.await?.ok().filter(Reply::is_definite)?;
            let ttl = reply.answers.iter().map(|record| record.ttl).min().unwrap_or(0);
            Some(((name, version), Word { addresses: reply.addresses(), ttl }))
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn judge(cx: &Context, given: (SocketAddr, &Words), own: (SocketAddr, &Words)) -> Finding {
    let code = Code::ResolversAgree;
    let ((given, of_given), (own, of_own)) = (given, own);
    let both = || of_given.iter().filter_map(|(what, theirs)| Some((*what, theirs, of_own.get(what)?)));
    if both().next().is_none() {
        return Finding::skip(
            code,
            format!(
                "this machine's own resolver {own} says nothing of these names, so what browsers here are told is not known"
            ),
        );
    }
    let known: Vec<_> =
        of_given.iter().chain(of_own).flat_map(|(_, word)| word.addresses.iter().copied()).collect();
    // A resolver that leaves IPv6 out leads to the same place by IPv4.
    let is_left_out = |((name, version), ours): (&(Name, u16), &Word)| {
        let by_ipv4 = of_given.get(&(*name, 4)).zip(of_own.get(&(*name, 4)));
        *version == 6
            && ours.addresses.is_empty()
            && by_ipv4.is_some_and(|(theirs, ours)| agree(theirs, ours, &known))
    };
    let apart: Vec<_> = both()
        .filter(|(what, theirs, ours)| !agree(theirs, ours, &known) && !is_left_out((what, ours)))
        .collect();
    if apart.is_empty() {
        return Finding::pass(
            code,
            "the resolver that was given and this machine's own lead to the same addresses",
        )
        .seen("given", given)
        .seen("this machine's", own);
    }
    let hosts: BTreeSet<_> = apart.iter().map(|((name, _), ..)| *name).collect();
    let hosts: Vec<_> = hosts.into_iter().map(|name| cx.target.host(name)).collect();
    let finding = Finding::warn(
        code,
        format!("this machine's own resolver says otherwise than the given one where {} leads", hosts.join(", ")),
    )
    .because(
        "browsers here ask the former, and this check goes by the latter: a record was changed and one of them remembers the old one, or \
         this network has a DNS of its own, or the name is answered otherwise from place to place",
    )
    .fix(
        "See what browsers here meet; the check then goes by this machine's own resolver:",
        [format!("hubs-probe check {}", cx.target)],
    );
    apart.into_iter().fold(finding, |finding, ((name, version), theirs, ours)| {
        finding.seen(
            &format!("{} (IPv{version})", cx.target.host(name)),
            format!("{} by {given}, {} by {own}", told(theirs), told(ours)),
        )
    })
}

fn told(word: &Word) -> String {
    let addresses: Vec<_> = word.addresses.iter().copied().collect();
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    format!("{} for {} s more", list(&addresses), word.ttl)
}

/// Whether both could be parts of one answer, or one is made out of the other.
fn agree(theirs: &Word, ours: &Word, known: &[IpAddr]) -> bool {
    match (theirs.addresses.is_empty(), ours.addresses.is_empty()) {
        (true, true) => true,
        (false, false) => !theirs.addresses.is_disjoint(&ours.addresses),
        (true, false) => ours.addresses.iter().all(|address| is_made_of(*address, known)),
        (false, true) => theirs.addresses.iter().all(|address| is_made_of(*address, known)),
    }
}

/// Whether an IPv6 address has one of the IPv4 addresses at its end, as DNS64 makes them (RFC 6147, RFC 6052 section 2.2).
fn is_made_of(address: IpAddr, known: &[IpAddr]) -> bool {
    let IpAddr::V6(address) = address else { return false };
    known.iter().any(|known| match known {
        IpAddr::V4(known) => address.octets().ends_with(&known.octets()),
        IpAddr::V6(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        net::NetOptions,
        testing::{DOMAIN, bare_context, names::Zone},
    };

    const LB: [u8; 4] = [192, 0, 2, 7];
    const OLD: [u8; 4] = [192, 0, 2, 8];

    fn deployment(stream: [u8; 4]) -> Zone {
        let zone = ["", "assets.", "cors."]
            .iter()
            .fold(Zone::default(), |zone, l| zone.a(&format!("{l}{DOMAIN}"), LB));
        zone.a(&format!("stream.{DOMAIN}"), stream)
    }

    async fn outcome(given: Zone, own: Vec<SocketAddr>) -> Outcome {
        let options = NetOptions {
            resolver: Some(given.serve().await),
            system_resolvers: Some(own),
            ..NetOptions::default()
        };
        resolvers(Arc::new(bare_context(options))).await
    }

    async fn found(given: Zone, own: Zone) -> Finding {
        outcome(given, vec![own.serve().await]).await.unwrap().remove(0)
    }

    #[tokio::test]
    async fn resolvers_that_lead_to_the_same_addresses_pass() {
        let finding = found(deployment(LB), deployment(LB)).await;
        assert_eq!((finding.code, finding.status), (Code::ResolversAgree, Status::Pass), "{finding:#?}");
        // Some of several, and by way of another name.
        let several = deployment(LB).a("stream.hubs.example.test", OLD);
        let alias = ["", "assets.", "cors."]
            .iter()
            .fold(Zone::default(), |zone, l| zone.a(&format!("{l}{DOMAIN}"), LB));
        let alias = alias.cname(&format!("stream.{DOMAIN}"), "lb.example.test").a("lb.example.test", OLD);
        assert_eq!(found(several, alias).await.status, Status::Pass);
    }

    #[tokio::test]
    async fn a_name_that_this_machines_resolver_leads_elsewhere_is_a_warning_that_names_both() {
        let finding = found(deployment(LB), deployment(OLD)).await;
        assert_eq!((finding.code, finding.status), (Code::ResolversAgree, Status::Warn), "{finding:#?}");
        assert!(finding.summary.ends_with("where stream.hubs.example.test leads"), "{finding:#?}");
        let [seen] = finding.evidence.as_slice() else { panic!("{finding:#?}") };
        assert_eq!(seen.label, "stream.hubs.example.test (IPv4)");
        assert!(seen.value.starts_with("192.0.2.7 for 60 s more by 127.0.0.1:"), "{finding:#?}");
        assert!(seen.value.contains(", 192.0.2.8 for 60 s more by 127.0.0.1:"), "{finding:#?}");
        assert!(finding.remedy.is_some());
    }

    #[tokio::test]
    async fn the_families_are_compared_apart_and_an_address_that_dns64_made_is_none_of_its_own() {
        let stray = |address: &str| deployment(LB).aaaa(DOMAIN, address);
        let finding = found(deployment(LB), stray("2001:db8::7")).await;
        assert_eq!(finding.status, Status::Warn, "{finding:#?}");
        let expected = format!("{DOMAIN} (IPv6)");
        assert_eq!(finding.evidence[0].label, expected, "{finding:#?}");
        assert!(finding.evidence[0].value.starts_with("no address by "), "{finding:#?}");
        // Browsers here then go by IPv4, to the same place.
        assert_eq!(found(stray("2001:db8::7"), deployment(LB)).await.status, Status::Pass);
        assert_eq!(found(deployment(LB), stray("64:ff9b::192.0.2.7")).await.status, Status::Pass);
    }

    #[tokio::test]
    async fn a_resolver_of_this_machine_that_does_not_tell_is_no_fault() {
        // Nobody answers at port 9.
        let nobody = vec!["127.0.0.1:9".parse().unwrap()];
        let finding = outcome(deployment(LB), nobody).await.unwrap().remove(0);
        assert_eq!((finding.code, finding.status), (Code::ResolversAgree, Status::Skip), "{finding:#?}");
        assert_eq!(found(deployment(LB), Zone::default().failing("")).await.status, Status::Skip);
    }

    #[tokio::test]
    async fn where_there_is_one_resolver_nothing_is_compared() {
        let given = deployment(LB).serve().await;
        for own in [vec![given], Vec::new()] {
            let options =
                NetOptions { resolver: Some(given), system_resolvers: Some(own), ..NetOptions::default() };
            let outcome = resolvers(Arc::new(bare_context(options))).await;
            assert!(matches!(outcome, Err(Stop::Skip(_))), "{outcome:?}");
        }
        let outcome = outcome(Zone::default().failing(""), vec![given]).await;
        assert!(
            matches!(&outcome, Err(Stop::Skip(reason)) if reason.contains("dns.addresses")),
            "{outcome:?}"
        );
    }
}
