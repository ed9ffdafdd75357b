//! IPv6: who publishes an AAAA record should listen there, or browsers try it first and wait.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::join_all;

use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::{ConnectError, Data, Family, Kind, Mode},
    target::{DIALOG, HTTPS, Name},
};

/// More addresses than any name has.
const MOST_ADDRESSES: usize = 4;

pub(crate) async fn published(cx: Arc<Context>) -> Outcome {
    if cx.net.family() == Family::V4 {
        return Err(Stop::Skip("-4 admits no IPv6".to_owned()));
    }
    let looked_up = join_all(Name::ALL.map(|name| {
        let cx = Arc::clone(&cx);
        async move {
            let host = cx.target.host(name);
            let reply = cx.net.ask_resolver(&host, Kind::Aaaa, Mode::Recursive).await.ok()?;
            let of_record = |data: &Data| match data {
                Data::Address(IpAddr::V6(address)) => Some(*address),
                _ => None,
            };
            let all = reply.answers.iter().filter_map(|record| of_record(&record.data));
            Some((name, host, all.take(MOST_ADDRESSES).collect::<Vec<_>>()))
        }
    }))
    .await;
    if looked_up.iter().all(Option::is_none) {
        return Err(Stop::Unable("the resolver gives no answer about AAAA records".to_owned()));
    }
    let places = looked_up.into_iter().flatten().flat_map(|(name, host, addresses)| {
        let ports: &[u16] = if name == Name::Stream { &[HTTPS, DIALOG] } else { &[HTTPS] };
        let all = addresses.into_iter().flat_map(|a| ports.iter().map(move |port| (a, *port)));
        all.map(|(a, port)| (host.clone(), SocketAddr::new(a.into(), port))).collect::<Vec<_>>()
    });
    let tried = join_all(places.map(|(host, address)| {
        let cx = &cx;
        async move { (host, address, cx.net.connect_address(address).await.map(drop)) }
    }))
    .await;
    Ok(vec![judge(&tried, cx.facts.name_servers.get().is_ok_and(|servers| servers.over_ipv6))])
}

type Tried = (String, SocketAddr, Result<(), ConnectError>);

/// `works` is whether anything else answered over IPv6, so that this machine has it.
fn judge(tried: &[Tried], works: bool) -> Finding {
    let code = Code::AaaaReached;
    if tried.is_empty() {
        return Finding::pass(code, "none of the names has an IPv6 address");
    }
    let works = works || tried.iter().any(|(.., came)| came.is_ok());
    let is_dead = |came: &Result<(), ConnectError>| match came {
        // Somebody at the address, or before it, said no.
        Err(ConnectError::Refused(_)) => true,
        Err(ConnectError::Silent(_)) => works,
        Ok(()) | Err(ConnectError::Resolve(_) | ConnectError::Io { .. }) => false,
    };
    let dead: Vec<_> = tried.iter().filter(|(.., came)| is_dead(came)).collect();
    if dead.is_empty() {
        return if tried.iter().all(|(.., came)| came.is_ok()) {
            Finding::pass(code, "what the names have in IPv6 answers there")
        } else {
            Finding::skip(
                code,
                "names have IPv6 addresses, and whether those answer cannot be told from here: nothing shows that this machine has IPv6",
            )
        };
    }
    let mut names: Vec<_> = dead.iter().map(|(host, ..)| host.as_str()).collect();
    names.dedup();
    let finding = Finding::warn(code, format!("{} has an IPv6 address at which nobody answers", names.join(", ")))
        .because(
            "an AAAA record was published and the load balancer has no such address; browsers try it first and lose time, and people who have nothing but IPv6 get nowhere",
        )
        .fix("Delete the AAAA records, unless the service lb has these addresses:", [super::LB_ADDRESSES]);
    dead.into_iter().fold(finding, |finding, (host, address, came)| match came {
        Err(e) => finding.seen(host, e),
        Ok(()) => finding.seen(host, address),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        testing::{DOMAIN, names::Zone},
    };

    fn tried(came: Result<(), fn(SocketAddr) -> ConnectError>) -> Tried {
        let address = "[2001:db8::7]:443".parse().unwrap();
        (DOMAIN.to_owned(), address, came.map_err(|error| error(address)))
    }

    fn no_route(address: SocketAddr) -> ConnectError {
        ConnectError::Io { address, source: std::io::ErrorKind::NetworkUnreachable.into() }
    }

    #[test]
    fn an_address_at_which_nobody_listens_is_stray() {
        let finding = judge(&[tried(Ok(())), tried(Err(ConnectError::Refused))], false);
        assert_eq!((finding.status, finding.remedy.is_some()), (Status::Warn, true), "{finding:#?}");
        assert_eq!(judge(&[tried(Ok(()))], false).status, Status::Pass);
        assert_eq!(judge(&[], false).status, Status::Pass);
    }

    #[test]
    fn a_machine_without_ipv6_says_nothing_of_the_deployment() {
        assert_eq!(judge(&[tried(Err(no_route))], false).status, Status::Skip);
        assert_eq!(judge(&[tried(Err(ConnectError::Silent))], false).status, Status::Skip);
    }

    #[test]
    fn silence_counts_where_something_else_answers_over_ipv6() {
        assert_eq!(judge(&[tried(Err(ConnectError::Silent))], true).status, Status::Warn);
        assert_eq!(judge(&[tried(Ok(())), tried(Err(ConnectError::Silent))], false).status, Status::Warn);
    }

    #[tokio::test]
    async fn names_without_an_aaaa_record_pass() {
        let cx = Zone::default().a(DOMAIN, [192, 0, 2, 7]).resolver().await;
        assert_eq!(published(cx).await.unwrap()[0].status, Status::Pass);
    }

    #[tokio::test]
    async fn an_address_that_is_published_is_tried() {
        // The discard prefix (RFC 6666): whatever this machine's network makes of it, nobody accepts connections there.
        let cx = Zone::default().aaaa(DOMAIN, "100::7").resolver().await;
        let finding = &published(cx).await.unwrap()[0];
        assert_ne!(finding.status, Status::Pass, "{finding:#?}");
    }
}
