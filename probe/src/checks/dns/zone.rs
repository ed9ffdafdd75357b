//! The zone that the deployment's names are in, and what a name leads to by somebody's word.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use futures_util::future::join_all;

use crate::{
    check::Context,
    net::{AskError, Data, Family, Kind, Mode, Net, Reply, ReplyCode},
};

/// More labels than anybody's domain has above the zone's apex.
const MOST_ANCESTORS: usize = 5;

/// More name servers than any zone needs; those beyond are not asked.
const MOST_SERVERS: usize = 6;

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    /// The name that it begins with.
    pub(crate) apex: String,
    /// Its servers' names, in alphabetical order.
    pub(crate) servers: Vec<String>,
}

/// The zone that the domain is in: that of the nearest name above that has servers of its own. Nothing if the resolver does
/// not tell.
pub(crate) async fn find(cx: &Context) -> Option<Zone> {
    let names = ancestors(cx.target.domain());
    let asked = join_all(names.iter().map(|name| cx.net.ask_resolver(name, Kind::Ns, Mode::Recursive))).await;
    names.into_iter().zip(asked).find_map(|(apex, reply)| {
        let reply = reply.ok()?;
        let servers: BTreeSet<_> = reply
            .of(&apex)
            .filter_map(|record| match &record.data {
                Data::Server(host) if !host.is_empty() => Some(host.clone()),
                _ => None,
            })
            .collect();
        let servers: Vec<_> = servers.into_iter().take(MOST_SERVERS).collect();
        (!servers.is_empty()).then_some(Zone { apex, servers })
    })
}

/// The domain and the names above it, the nearest first, without the top-level one.
pub(crate) fn ancestors(domain: &str) -> Vec<String> {
    std::iter::successors(Some(domain), |name| Some(name.split_once('.')?.1))
        .take_while(|name| name.contains('.'))
        .take(MOST_ANCESTORS)
        .map(str::to_owned)
        .collect()
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// It does not exist, or has no address.
    Nowhere,
    /// It stands for another name.
    Alias(String),
    /// It has addresses.
    Addresses(BTreeSet<IpAddr>),
}

impl Lead {
    /// Whether both could be parts of one answer, of which servers give each client some.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Addresses(ours), Self::Addresses(theirs)) => !ours.is_disjoint(theirs),
            (ours, theirs) => ours == theirs,
        }
    }
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("nowhere"),
            Self::Alias(target) => write!(f, "an alias of {target}"),
            Self::Addresses(addresses) => {
                let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(", "))
            }
        }
    }
}

/// What a name leads to by somebody's word, and for how many seconds that may be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) lead: Lead,
    pub(crate) ttl: u32,
}

/// What `host` leads to by the resolver's word. Nothing if it did not tell.
pub(crate) async fn said_by_resolver(net: &Net, host: &str) -> Option<Said> {
    let (v4, v6) = tokio::join!(
        asked_if(net.family() != Family::V6, net.ask_resolver(host, Kind::A, Mode::Recursive)),
        asked_if(net.family() != Family::V4, net.ask_resolver(host, Kind::Aaaa, Mode::Recursive)),
    );
    said(host, [v4, v6], Reply::is_definite)
}

/// Asks, unless the command line does not want that.
pub(crate) async fn asked_if(
    wanted: bool,
    question: impl Future<Output = Result<Reply, AskError>>,
) -> Option<Result<Reply, AskError>> {
    if wanted { Some(question.await) } else { None }
}

/// Puts the answers for both families together, as far as they were asked for. Nothing unless each is there and `counts`.
pub(crate) fn said(
    host: &str,
    replies: [Option<Result<Reply, AskError>>; 2],
    counts: impl Fn(&Reply) -> bool,
) -> Option<Said> {
    let replies = replies.into_iter().flatten().collect::<Result<Vec<_>, _>>().ok()?;
    if !replies.iter().all(counts) {
        return None;
    }
    let alias = replies.iter().find_map(|reply| reply.alias_of(host)).map(str::to_owned);
    let addresses = || replies.iter().flat_map(Reply::addresses).collect::<BTreeSet<_>>();
    let lead = match alias {
        Some(target) => Lead::Alias(target),
        None if addresses().is_empty() => Lead::Nowhere,
        None => Lead::Addresses(addresses()),
    };
    let ttl = replies.iter().flat_map(|reply| reply.of(host)).map(|record| record.ttl).min().unwrap_or(0);
    Some(Said { lead, ttl })
}

/// Whether a server of the zone speaks for the name: it does not if it only knows whom to ask.
pub(crate) fn speaks_for_itself(reply: &Reply) -> bool {
    reply.authoritative && matches!(reply.code, ReplyCode::Exists | ReplyCode::NoSuchName)
}

/// A number of seconds as people say it.
pub(crate) fn seconds(seconds: u32) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_looked_for_from_the_domain_up() {
        assert_eq!(ancestors("a.b.example.org"), ["a.b.example.org", "b.example.org", "example.org"]);
        assert_eq!(ancestors("hubs.test"), ["hubs.test"]);
    }

    #[test]
    fn time_is_said_as_people_say_it() {
        assert_eq!([59, 300, 86_400].map(seconds), ["59 s", "5 min", "24 h"]);
    }

    #[test]
    fn two_servers_that_give_some_of_the_same_addresses_agree() {
        let lead = |texts: &[&str]| Lead::Addresses(texts.iter().map(|t| t.parse().unwrap()).collect());
        assert!(lead(&["192.0.2.1", "192.0.2.2"]).agrees_with(&lead(&["192.0.2.2", "192.0.2.3"])));
        assert!(!lead(&["192.0.2.1"]).agrees_with(&lead(&["192.0.2.2"])));
        assert!(!lead(&["192.0.2.1"]).agrees_with(&Lead::Nowhere));
        assert!(!Lead::Alias("a.org".into()).agrees_with(&Lead::Alias("b.org".into())));
    }
}
