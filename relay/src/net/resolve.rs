//! Turns peer rules into addresses, again and again, because pods move: names by asking DNS, what dialog announces by
//! asking dialog.
//!
//! It asks DNS itself, so that a static binary needs nothing of the system's resolver but its configuration. Whoever
//! does not answer keeps the addresses that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tracing::{info, warn};

use super::dialog;
use crate::config::{Announced, Host, Mapping, Peers};
use crate::turn::{AllowedPeers, AnsweringAddress, MappedAddress, PeerPolicy};

/// What the peer rules leave open, and what it was last.
pub(crate) struct Resolver {
    peers: Peers,
    /// The addresses that a name has.
    names: BTreeMap<String, Known>,
    /// The addresses that a dialog announces, by where its WebSocket is.
    dialogs: BTreeMap<SocketAddr, Known>,
}

/// Addresses that were found out.
#[derive(Default)]
struct Known {
    addresses: Vec<IpAddr>,
    /// Of a dialog, the address from which it answered us last.
    answers_from: Option<IpAddr>,
    /// Why the last question was not answered, if it was not.
    failure: Option<String>,
}

/// Something to be found out.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
enum Question {
    /// The addresses that a name has.
    Name(String),
    /// The addresses that the dialog announces whose WebSocket is there.
    Dialog(SocketAddr),
}

/// What was found out, or why nothing was.
type Answer = Result<Found, String>;

struct Found {
    addresses: Vec<IpAddr>,
    answers_from: Option<IpAddr>,
}

/// What an answer changed, and so is worth a line in the log.
#[derive(Debug, Eq, PartialEq)]
enum News {
    Found,
    Failed,
}

impl Resolver {
    pub(crate) fn new(peers: Peers) -> Self {
        let hosts = peers.allow.iter().map(|it| &it.host).chain(peers.map.iter().map(|it| &it.actual));
        let names: BTreeSet<&String> = hosts.filter_map(|host| host.name()).collect();
        let names = names.into_iter().map(|name| (name.clone(), Known::default())).collect();
        Self { peers, names, dialogs: BTreeMap::new() }
    }

    /// Goes by other rules from now on. What is known of names that they share with the old ones stays known.
    pub(crate) fn set_peers(&mut self, peers: Peers) {
        let mut new = Self::new(peers);
        for (name, known) in &mut new.names {
            *known = self.names.remove(name).unwrap_or_default();
        }
        new.dialogs = std::mem::take(&mut self.dialogs);
        *self = new;
    }

    /// Whether an announced address may stand for another.
    pub(crate) fn has_mappings(&self) -> bool {
        !self.peers.map.is_empty()
    }

    /// Whether dialog has to be asked before clients can reach it.
    pub(crate) fn needs_map(&self) -> bool {
        self.automatic().next().is_some()
    }

    /// Whether somebody has never answered.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.names.values().chain(self.dialogs.values()).any(|it| it.addresses.is_empty())
    }

    /// Why clients do not reach whom they should, as far as we know.
    pub(crate) fn failures(&self) -> Vec<String> {
        let names = self.names.iter().map(|(name, known)| (name.clone(), Some(known)));
        let dialogs = self
            .places(|_| true)
            .into_iter()
            .map(|place| (format!("what dialog at {place} announces"), self.dialogs.get(&place)));
        let failed = names.chain(dialogs).filter_map(|(what, known)| {
            let (kept, failure) = match known {
                Some(Known { addresses, failure: None, .. }) if !addresses.is_empty() => return None,
                None | Some(Known { failure: None, .. }) => ("", "not asked yet"),
                Some(Known { addresses, failure: Some(failure), .. }) => {
                    (if addresses.is_empty() { "" } else { " any more" }, failure.as_str())
                }
            };
            Some(format!("{what} cannot be found out{kept}: {failure}"))
        });
        failed.collect()
    }

    /// Asks everybody once, all at the same time so that who is silent holds up nobody, and calls `learned` after each
    /// answer. What a name stands for is asked what it announces as soon as the name has an address.
    pub(crate) async fn resolve(&mut self, learned: impl Fn(&Self)) {
        let mut asked = BTreeSet::new();
        let mut next: Vec<_> = self.names.keys().cloned().map(Question::Name).collect();
        next.extend(self.places(|host| host.name().is_none()).into_iter().map(Question::Dialog));
        let mut open = FuturesUnordered::new();
        loop {
            let new = next.drain(..).filter(|question| asked.insert(question.clone()));
            open.extend(new.map(Question::ask));
            let Some((question, answer)) = open.next().await else { return };
            self.learn(&question, answer);
            if let Question::Name(name) = &question {
                next.extend(self.places(|host| host.name() == Some(name)).into_iter().map(Question::Dialog));
            }
            learned(self);
        }
    }

    fn learn(&mut self, question: &Question, answer: Answer) {
        let known = match question {
            Question::Name(name) => self.names.entry(name.clone()).or_default(),
            Question::Dialog(place) => self.dialogs.entry(*place).or_default(),
        };
        let news = known.learn(answer);
        let Known { addresses, answers_from, failure } = &*known;
        let failure = failure.as_deref();
        match (question, news) {
            (_, None) => {}
            (Question::Name(name), Some(News::Found)) => info!(name, ?addresses, "peer resolved"),
            (Question::Name(name), Some(News::Failed)) => {
                warn!(name, failure, kept = ?addresses, "a peer's name does not resolve; it will be asked for again");
            }
            (Question::Dialog(place), Some(News::Found)) => {
                info!(dialog = %place, announced = ?addresses, ?answers_from, "dialog announces");
            }
            (Question::Dialog(place), Some(News::Failed)) => warn!(
                dialog = %place, failure, kept = ?addresses,
                "dialog does not say what it announces; it will be asked again"
            ),
        }
        let places = self.places(|_| true);
        self.dialogs.retain(|place, _| places.contains(place));
    }

    /// Where the dialogs are that have to be asked, of the mappings to these hosts.
    fn places(&self, is_of: impl Fn(&Host) -> bool) -> BTreeSet<SocketAddr> {
        let automatic = self.automatic().filter(|(mapping, _)| is_of(&mapping.actual));
        let places = automatic.flat_map(|(mapping, port)| {
            self.actual(mapping).into_iter().map(move |address| SocketAddr::new(address, port))
        });
        places.collect()
    }

    /// The mappings for which dialog has to be asked, with the port to ask at.
    fn automatic(&self) -> impl Iterator<Item = (&Mapping, u16)> {
        self.peers.map.iter().filter_map(|mapping| match mapping.announced {
            Announced::Auto { signalling_port } => Some((mapping, signalling_port)),
            Announced::Fixed(_) => None,
        })
    }

    /// The addresses behind a mapping today.
    fn actual(&self, mapping: &Mapping) -> Vec<IpAddr> {
        match &mapping.actual {
            Host::Network(network) => vec![network.addr()],
            Host::Name(name) => self.addresses(name).to_vec(),
        }
    }

    /// The rules as the core wants them, with the addresses of today.
    pub(crate) fn policy(&self) -> PeerPolicy {
        let allow = self.peers.allow.iter().flat_map(|rule| {
            let ports = rule.ports.range();
            let networks = match &rule.host {
                Host::Network(network) => vec![*network],
                Host::Name(name) => self.addresses(name).iter().map(|address| (*address).into()).collect(),
            };
            networks.into_iter().map(move |network| AllowedPeers { network, ports: ports.clone() })
        });
        let map = self.peers.map.iter().flat_map(|mapping| {
            let actual = self.actual(mapping);
            match mapping.announced {
                Announced::Fixed(announced) => {
                    let actual = actual.into_iter().find(|it| it.is_ipv4() == announced.is_ipv4());
                    actual.map(|actual| MappedAddress { announced, actual }).into_iter().collect()
                }
                Announced::Auto { signalling_port } => {
                    let announced = |place| self.dialogs.get(&place).map_or(&[][..], |it| &it.addresses);
                    let mapped = actual.into_iter().flat_map(|actual| {
                        let announced = announced(SocketAddr::new(actual, signalling_port));
                        announced.iter().map(move |announced| MappedAddress { announced: *announced, actual })
                    });
                    mapped.collect::<Vec<_>>()
                }
            }
        });
        let answers = self.dialogs.iter().filter_map(|(place, known)| {
            let from = known.answers_from.filter(|from| *from != place.ip())?;
            Some(AnsweringAddress { from, actual: place.ip() })
        });
        PeerPolicy { allow: allow.collect(), map: map.collect(), answers: answers.collect() }
    }

    /// The addresses that a name has today.
    pub(crate) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.names.get(name).map_or(&[], |known| &known.addresses)
    }
}

impl Question {
    async fn ask(self) -> (Self, Answer) {
        let answer = match &self {
            Self::Name(name) => lookup(name).await.map(|addresses| Found { addresses, answers_from: None }),
            Self::Dialog(place) => {
                let told = dialog::ask(*place).await.map_err(|error| error.to_string());
                told.map(|it| Found { addresses: it.announced, answers_from: it.answers_from })
            }
        };
        (self, answer)
    }
}

/// Who is asked for names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names {
    /// Whom the system asks.
    OfTheSystem,
    /// A server of a test's own.
    #[cfg(test)]
    Of(SocketAddr),
}

impl Names {
    /// The addresses that a name has now, or that it is.
    pub(crate) async fn lookup(self, name: &str) -> Result<Vec<IpAddr>, String> {
        let resolver = self.builder().and_then(|mut builder| {
            let options = builder.options_mut();
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.cache_size = 0;
            builder.build()
        });
        let found = resolver.map_err(|error| error.to_string())?.lookup_ip(name).await;
        let addresses: Vec<IpAddr> = found.map_err(|error| error.to_string())?.iter().collect();
        if addresses.is_empty() { Err(format!("{name} has no address")) } else { Ok(addresses) }
    }

    fn builder(self) -> Result<ResolverBuilder<TokioRuntimeProvider>, NetError> {
        match self {
            Self::OfTheSystem => TokioResolver::builder_tokio(),
            #[cfg(test)]
            Self::Of(server) => Ok(tests::builder(server)),
        }
    }
}

/// The addresses that a name has now, or that it is, by whom the system asks.
pub(crate) async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    Names::OfTheSystem.lookup(name).await
}

impl Known {
    /// Takes an answer. A failure changes no address, and is news only if the last one was another.
    fn learn(&mut self, answer: Answer) -> Option<News> {
        match answer {
            Ok(Found { mut addresses, answers_from }) => {
                addresses.sort_unstable();
                addresses.dedup();
                // Who was silent once is believed to be where it was.
                let answers_from = answers_from.or(self.answers_from);
                let is_known = self.addresses == addresses && self.answers_from == answers_from;
                let is_new = !is_known || self.failure.is_some();
                *self = Self { addresses, answers_from, failure: None };
                is_new.then_some(News::Found)
            }
            Err(failure) => {
                let is_new = self.failure.as_ref() != Some(&failure);
                self.failure = Some(failure);
                is_new.then_some(News::Failed)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
