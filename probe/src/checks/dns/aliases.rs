//! Aliases (CNAME): does the chain that begins at a name end at an address?

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::{Kind, Mode, Reply, ReplyCode},
    target::Name,
};

/// What resolvers follow is nowhere said; BIND and Unbound give up after some more.
const MOST_STEPS: usize = 8;

pub(crate) async fn aliases(cx: Arc<Context>) -> Outcome {
    let hosts = Name::ALL.map(|name| cx.target.host(name));
    let followed = join_all(hosts.iter().map(|host| follow(&cx, host))).await;
    if followed.iter().all(Option::is_none) {
        return Err(Stop::Unable("the resolver gives no answer about aliases".to_owned()));
    }
    let chains: Vec<_> = followed.into_iter().flatten().filter(|chain| chain.names.len() > 1).collect();
    let code = Code::AliasesEnd;
    if chains.is_empty() {
        return Ok(vec![Finding::pass(code, "none of the names is an alias")]);
    }
    Ok(chains.iter().map(|chain| judge(chain).at(&chain.names[0])).collect())
}

/// A name and all that it stands for, in order.
struct Chain {
    names: Vec<String>,
    end: End,
}

/// How a chain ends.
#[derive(PartialEq, Eq)]
enum End {
    /// At a name with addresses.
    Address,
    /// At a name without.
    Nothing,
    /// At a name that came before.
    Loop,
    /// It goes on.
    TooLong,
    /// The resolver does not say.
    Unknown,
}

/// Follows the aliases from `host`, step by step: a resolver gives up on the worst of them as a whole. Nothing if it does not
/// even say whether the name itself is one.
async fn follow(cx: &Context, host: &str) -> Option<Chain> {
    let mut names = vec![host.to_owned()];
    loop {
        let last = names.last()?;
        let reply = cx.net.ask_resolver(last, Kind::Cname, Mode::Recursive).await.ok();
        let Some(reply) = reply.filter(Reply::is_definite) else {
            return (names.len() > 1).then_some(Chain { names, end: End::Unknown });
        };
        let Some(next) = reply.alias_of(last) else {
            let end = if names.len() > 1 { end(cx, last).await } else { End::Address };
            return Some(Chain { names, end });
        };
        let is_known = names.iter().any(|name| name == next);
        names.push(next.to_owned());
        if is_known {
            return Some(Chain { names, end: End::Loop });
        }
        if names.len() > MOST_STEPS {
            return Some(Chain { names, end: End::TooLong });
        }
    }
}

async fn end(cx: &Context, host: &str) -> End {
    let (v4, v6) = tokio::join!(
        cx.net.ask_resolver(host, Kind::A, Mode::Recursive),
        cx.net.ask_resolver(host, Kind::Aaaa, Mode::Recursive)
    );
    let replies = [v4, v6];
    let has_address = |reply: &Reply| !reply.addresses().is_empty();
    let is_empty = |reply: &Reply| matches!(reply.code, ReplyCode::Exists | ReplyCode::NoSuchName);
    if replies.iter().flatten().any(has_address) {
        End::Address
    } else if replies.iter().all(|reply| reply.as_ref().is_ok_and(is_empty)) {
        End::Nothing
    } else {
        End::Unknown
    }
}

fn judge(chain: &Chain) -> Finding {
    let code = Code::AliasesEnd;
    let (first, last) = (&chain.names[0], &chain.names[chain.names.len() - 1]);
    let finding = match chain.end {
        End::Address => Finding::pass(code, format!("{first} is an alias of {last}, which has an address")),
        End::Unknown => Finding::error(
            code,
            format!("{first} is an alias, and the resolver does not say where {last} leads"),
        ),
        End::Nothing => Finding::fail(code, format!("{first} is an alias of {last}, which has no address"))
            .because("the name behind the alias was taken away or renamed, and nobody told the alias")
            .fix(replace(first), [super::LB_ADDRESS]),
        End::Loop => Finding::fail(code, format!("{first} is an alias of a name that leads back to {last}"))
            .because("two aliases name each other, so no resolver ever comes to an address")
            .fix(replace(first), [super::LB_ADDRESS]),
        End::TooLong => {
            Finding::warn(code, format!("{first} is an alias of an alias, more than {MOST_STEPS} times over"))
                .because("each step is a question of its own, and resolvers give up at some length")
                .fix(replace(first), [super::LB_ADDRESS])
        }
    };
    finding.seen("chain", chain.names.join(" → "))
}

fn replace(host: &str) -> String {
    format!(
        "Put an A record in the place of the CNAME of {host}, leading to the external address of the service lb:"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        testing::{DOMAIN, names::Zone},
    };

    /// What is said about a deployment whose `stream.` is not an address but what `zone` makes of it.
    async fn found(zone: impl FnOnce(Zone) -> Zone) -> Vec<Finding> {
        let names = ["", "assets.", "cors."].map(|label| format!("{label}{DOMAIN}"));
        let addresses = names.iter().fold(Zone::default(), |zone, host| zone.a(host, [192, 0, 2, 7]));
        aliases(zone(addresses).resolver().await).await.unwrap()
    }

    fn only(findings: &[Finding], status: Status) -> &Finding {
        let [finding] = findings else { panic!("{findings:#?}") };
        assert_eq!((finding.code, finding.status), (Code::AliasesEnd, status), "{finding:#?}");
        assert_eq!(finding.remedy.is_some(), matches!(status, Status::Warn | Status::Fail), "{finding:#?}");
        finding
    }

    #[tokio::test]
    async fn names_that_are_no_aliases_pass_in_one_line() {
        only(&found(|zone| zone.a("stream.hubs.example.test", [192, 0, 2, 7])).await, Status::Pass);
    }

    #[tokio::test]
    async fn an_alias_that_ends_at_an_address_passes_and_one_that_ends_nowhere_does_not() {
        let alias = |zone: Zone| zone.cname("stream.hubs.example.test", "lb.example.test");
        only(&found(|zone| alias(zone).a("lb.example.test", [192, 0, 2, 7])).await, Status::Pass);
        let findings = found(alias).await;
        assert!(only(&findings, Status::Fail).summary.contains("no address"));
    }

    #[tokio::test]
    async fn aliases_that_name_each_other_are_followed_once_around() {
        let findings = found(|zone| {
            zone.cname("stream.hubs.example.test", "lb.example.test")
                .cname("lb.example.test", "stream.hubs.example.test")
        })
        .await;
        assert!(only(&findings, Status::Fail).summary.contains("leads back"));
    }

    #[tokio::test]
    async fn a_chain_without_end_is_not_followed_to_its_end() {
        let findings = found(|zone| {
            let steps = (0..100).map(|n| (format!("a{n}.example.test"), format!("a{}.example.test", n + 1)));
            let zone = zone.cname("stream.hubs.example.test", "a0.example.test");
            steps.fold(zone, |zone, (from, to)| zone.cname(&from, &to))
        })
        .await;
        let finding = only(&findings, Status::Warn);
        assert!(finding.evidence[0].value.len() < 300, "{finding:#?}");
    }

    #[tokio::test]
    async fn a_resolver_that_says_nothing_makes_no_finding_about_the_deployment() {
        let outcome = aliases(Zone::default().failing("").resolver().await).await;
        assert!(matches!(outcome, Err(Stop::Unable(_))), "{outcome:?}");
    }
}
