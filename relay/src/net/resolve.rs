//! Turns peer rules into addresses, again and again, because pods move: names by asking DNS, what dialog announces by
//! asking dialog.
//!
//! It asks DNS itself, so that a static binary needs nothing of the system's resolver but its configuration. Whoever
//! does not answer keeps the addresses that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tracing::{info, warn};

use super::dialog;
use crate::config::{Announced, Host, Mapping, Peers};
use crate::turn::{AllowedPeers, MappedAddress, PeerPolicy};

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
    /// Why the last question was not answered, if it was not.
    failure: Option<String>,
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

    /// Whether there is anything to ask for.
    pub(crate) fn has_questions(&self) -> bool {
        !self.names.is_empty() || self.automatic().next().is_some()
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
        let names = self.names.iter().map(|(name, known)| (name.clone(), known));
        let dialogs =
            self.dialogs.iter().map(|(place, known)| (format!("what dialog at {place} announces"), known));
        let failed = names.chain(dialogs).filter_map(|(what, known)| {
            let kept = if known.addresses.is_empty() { "" } else { " any more" };
            Some(format!("{what} cannot be found out{kept}: {}", known.failure.as_ref()?))
        });
        failed.collect()
    }

    /// Asks everybody once.
    pub(crate) async fn resolve(&mut self) {
        self.resolve_names().await;
        self.ask_dialogs().await;
    }

    async fn resolve_names(&mut self) {
        for (name, known) in &mut self.names {
            let news = known.learn(lookup(name).await);
            let Known { addresses, failure } = &*known;
            match news {
                Some(News::Found) => info!(name, ?addresses, "peer resolved"),
                Some(News::Failed) => {
                    let failure = failure.as_deref();
                    warn!(name, failure, kept = ?addresses, "a peer's name does not resolve; it will be asked for again");
                }
                None => {}
            }
        }
    }

    async fn ask_dialogs(&mut self) {
        let places: BTreeSet<SocketAddr> = self
            .automatic()
            .flat_map(|(mapping, port)| {
                self.actual(mapping).into_iter().map(move |address| SocketAddr::new(address, port))
            })
            .collect();
        self.dialogs.retain(|place, _| places.contains(place));
        for place in places {
            let answer = dialog::announced(place).await.map_err(|error| error.to_string());
            let known = self.dialogs.entry(place).or_default();
            let news = known.learn(answer);
            let Known { addresses, failure } = &*known;
            match news {
                Some(News::Found) => info!(dialog = %place, announced = ?addresses, "dialog announces"),
                Some(News::Failed) => {
                    let failure = failure.as_deref();
                    warn!(
                        dialog = %place, failure, kept = ?addresses,
                        "dialog does not say what it announces; it will be asked again"
                    );
                }
                None => {}
            }
        }
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
        PeerPolicy { allow: allow.collect(), map: map.collect() }
    }

    /// The addresses that a name has today.
    pub(crate) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.names.get(name).map_or(&[], |known| &known.addresses)
    }
}

/// The addresses that a name has now, or that it is.
pub(crate) async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = 0;
        builder.build()
    });
    let found = resolver.map_err(|error| error.to_string())?.lookup_ip(name).await;
    let addresses: Vec<IpAddr> = found.map_err(|error| error.to_string())?.iter().collect();
    if addresses.is_empty() { Err(format!("{name} has no address")) } else { Ok(addresses) }
}

impl Known {
    /// Takes an answer. A failure changes no address, and is news only if the last one was another.
    fn learn(&mut self, answer: Result<Vec<IpAddr>, String>) -> Option<News> {
        match answer {
            Ok(mut addresses) => {
                addresses.sort_unstable();
                addresses.dedup();
                let is_new = self.addresses != addresses || self.failure.is_some();
                *self = Self { addresses, failure: None };
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
