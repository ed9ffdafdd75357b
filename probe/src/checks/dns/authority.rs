//! The zone's own servers: does each of them answer, and do they say what this machine's resolver says?

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use futures_util::future::join_all;

use super::zone::{self, Said, Zone};
use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    facts::NameServers,
    finding::Finding,
    net::{AskError, Data, Family, Kind, Net, Over, Reply},
    target::Name,
};

const DNS: u16 = 53;

/// What the names lead to by somebody's word, as far as they told.
type Words = BTreeMap<Name, Said>;

pub(crate) async fn authority(cx: Arc<Context>) -> Outcome {
    let Some(zone) = zone::find(&cx).await else {
        return Err(Stop::Skip(format!(
            "the resolver does not name the servers of the zone that {} is in",
            cx.target
        )));
    };
    let (views, here) =
        tokio::join!(join_all(zone.servers.iter().map(|host| view(&cx, &zone, host))), words(&cx, None),);
    let views: Vec<_> = views.into_iter().flatten().collect();
    cx.facts.name_servers.learn(transports(&views));
    let mut findings = vec![judge_servers(&zone, &views).at(&zone.apex)];
    findings.extend(judge_agreement(&cx, &views, &here).map(|finding| finding.at(&zone.apex)));
    Ok(findings)
}

/// A server at one of its addresses, and what it is good for.
struct View {
    /// Its name, and its address where it has one.
    place: String,
    is_v6: bool,
    found: Found,
}

/// What became of asking a server.
enum Found {
    /// It knows the zone.
    Knows { serial: Option<u32>, words: Words, over: Over },
    /// It does not know the zone, or has no address.
    Lame(String),
    /// A resolver answers in its place.
    Resolver,
    /// Nobody answers.
    Silent,
    /// This machine could not ask.
    Unable,
}

/// What each name leads to by the word of this server of the zone, or of the resolver.
async fn words(cx: &Context, server: Option<SocketAddr>) -> Words {
    let asked = join_all(Name::ALL.map(|name| async move {
        let host = cx.target.host(name);
        let said = match server {
            Some(server) => said_by_server(&cx.net, server, &host).await,
            None => zone::said_by_resolver(&cx.net, &host).await,
        };
        Some((name, said?))
    }));
    asked.await.into_iter().flatten().collect()
}

async fn said_by_server(net: &Net, server: SocketAddr, host: &str) -> Option<Said> {
    let (v4, v6) = tokio::join!(
        zone::asked_if(net.family() != Family::V6, net.ask_server(server, host, Kind::A)),
        zone::asked_if(net.family() != Family::V4, net.ask_server(server, host, Kind::Aaaa)),
    );
    zone::said(host, [v4, v6], zone::speaks_for_itself)
}

/// A server as it looks at its first address of each family.
async fn view(cx: &Context, zone: &Zone, host: &str) -> Vec<View> {
    let Ok(addresses) = cx.net.route(host, DNS).await else {
        let found = Found::Lame("it has no address".to_owned());
        return vec![View { place: host.to_owned(), is_v6: false, found }];
    };
    let first = |is_v6| addresses.iter().copied().find(|a: &SocketAddr| a.is_ipv6() == is_v6);
    join_all([first(false), first(true)].into_iter().flatten().map(|address| async move {
        View {
            place: format!("{host} ({})", address.ip()),
            is_v6: address.is_ipv6(),
            found: ask(cx, zone, address).await,
        }
    }))
    .await
}

async fn ask(cx: &Context, zone: &Zone, server: SocketAddr) -> Found {
    let (start, words) =
        tokio::join!(cx.net.ask_server(server, &zone.apex, Kind::Soa), words(cx, Some(server)));
    match start {
        Ok(reply) if reply.authoritative => Found::Knows { serial: serial(&reply), words, over: reply.over },
        Ok(reply) if reply.recursive => Found::Resolver,
        Ok(reply) => Found::Lame(format!("it does not know the zone ({})", reply.code)),
        // One lost answer says nothing.
        Err(_) if !words.is_empty() => Found::Knows { serial: None, words, over: Over::Udp },
        Err(AskError::Silent | AskError::Refused) => Found::Silent,
        Err(AskError::Unable(_) | AskError::BadName(_) | AskError::NoResolver) => Found::Unable,
    }
}

fn serial(reply: &Reply) -> Option<u32> {
    reply.answers.iter().find_map(|record| match record.data {
        Data::Start { serial } => Some(serial),
        _ => None,
    })
}

/// What the answers say about this machine's network.
fn transports(views: &[View]) -> NameServers {
    let count = |wanted: fn(Over) -> bool| {
        views.iter().filter(|v| matches!(v.found, Found::Knows { over, .. } if wanted(over))).count()
    };
    NameServers {
        over_udp: count(|over| over != Over::Tcp { udp_was_silent: true }),
        over_tcp_only: count(|over| over == Over::Tcp { udp_was_silent: true }),
        over_ipv6: views.iter().any(|v| v.is_v6 && matches!(v.found, Found::Knows { .. })),
        silent: views.iter().filter(|v| !v.is_v6 && matches!(v.found, Found::Silent)).count(),
    }
}

fn judge_servers(zone: &Zone, views: &[View]) -> Finding {
    let code = Code::AuthorityAnswers;
    let known = views.iter().filter(|v| matches!(v.found, Found::Knows { .. })).count();
    if known == 0 && views.iter().any(|v| matches!(v.found, Found::Resolver)) {
        return Finding::skip(
            code,
            "a resolver of this network answers in the place of the zone's servers, so they were not asked",
        );
    }
    if known == 0 && views.iter().all(|v| matches!(v.found, Found::Silent | Found::Unable)) {
        return Finding::skip(
            code,
            "none of the zone's servers answers from here: this network may let nobody but its own resolver ask them",
        );
    }
    let v6_works = transports(views).over_ipv6;
    let fault = |view: &View| match &view.found {
        Found::Lame(reason) => Some(reason.clone()),
        Found::Resolver => Some("it is a resolver and no server of the zone".to_owned()),
        // What is silent over IPv6 may be so for this machine only.
        Found::Silent if !view.is_v6 || v6_works => Some("it does not answer".to_owned()),
        Found::Silent | Found::Unable | Found::Knows { .. } => None,
    };
    let faults: Vec<_> = views.iter().filter_map(|v| Some((&v.place, fault(v)?))).collect();
    if faults.is_empty() {
        return Finding::pass(code, format!("every server of the zone {} that was asked answers", zone.apex));
    }
    let finding = Finding::warn(
        code,
        format!("{} of the {} servers of the zone {} are of no use", faults.len(), views.len(), zone.apex),
    )
    .because(
        "some people's resolvers ask that server first, wait for it, and find the names late or not at all",
    )
    .fix(
        "Mend that server, or take it out of the zone's NS records, at the registrar as well:",
        [format!("dig +short NS {}", zone.apex)],
    );
    faults.into_iter().fold(finding, |finding, (place, fault)| finding.seen(place, fault))
}

/// Whether all who were asked say the same. Nothing where there is nobody to compare with.
fn judge_agreement(cx: &Context, views: &[View], here: &Words) -> Option<Finding> {
    let code = Code::AuthorityAgrees;
    let known = || {
        views.iter().filter_map(|view| match &view.found {
            Found::Knows { words, serial, .. } => Some((&view.place, words, *serial)),
            _ => None,
        })
    };
    let by = |name: Name| known().filter_map(move |(place, words, _)| Some((place, words.get(&name)?)));
    let disputed = Name::ALL.into_iter().find(|name| {
        let (mut all, first) = (by(*name), by(*name).next());
        first.is_some_and(|(_, first)| all.any(|(_, said)| !said.lead.agrees_with(&first.lead)))
    });
    if let Some(name) = disputed {
        let host = cx.target.host(name);
        let finding = Finding::warn(code, format!("the zone's own servers do not agree where {host} leads"))
            .because(
                "a change has not reached all of them, so where people are led depends on whom their resolver asks",
            )
            .fix(
                "If they still differ in an hour, mend the transfer of the zone from the first server to the others; compare:",
                [format!("dig +nssearch {host}")],
            );
        return Some(by(name).fold(finding, |f, (place, said)| f.seen(place, &said.lead)));
    }
    let moved: Vec<_> = Name::ALL
        .into_iter()
        .filter_map(|name| {
            let (here, (_, there)) = (here.get(&name)?, by(name).next()?);
            let agrees = by(name).any(|(_, said)| said.lead.agrees_with(&here.lead));
            (!agrees).then_some((name, here, there))
        })
        .collect();
    if let Some((name, old, new)) = moved.first() {
        let wait = moved.iter().map(|(_, old, _)| old.ttl).max().unwrap_or_default();
        let summary = format!(
            "the resolver that was asked says that {} is {}, and the zone's own servers that it is {}",
            cx.target.host(*name),
            old.lead,
            new.lead
        );
        let finding = Finding::warn(code, summary)
            .because(
                "the record was changed, and resolvers remember the old one until its time has run out; or this network has a DNS of its own",
            )
            .advise(format!("Wait: the old answer lives for {} more; then run the check again", zone::seconds(wait)));
        return Some(moved.iter().fold(finding, |f, (name, old, new)| {
            f.seen(
                &cx.target.host(*name),
                format!("{} for {} s more here, {} at the zone's servers", old.lead, old.ttl, new.lead),
            )
        }));
    }
    let longest = known().flat_map(|(_, words, _)| words.values()).map(|said| said.ttl).max()?;
    let finding = Finding::pass(
        code,
        format!(
            "the zone's servers agree with each other and with the resolver that was asked; a change shows within {}",
            zone::seconds(longest)
        ),
    );
    let serials: Vec<_> = known().filter_map(|(_, _, serial)| Some(serial?.to_string())).collect();
    Some(if serials.is_empty() { finding } else { finding.seen("serials", serials.join(", ")) })
}

#[cfg(test)]
mod tests;
