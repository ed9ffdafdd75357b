//! Turns the names in peer rules into addresses, again and again: pods move.
//!
//! It asks DNS itself, so that a static binary needs nothing of the system's resolver but its configuration. A name
//! that does not resolve keeps the addresses that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tracing::{info, warn};

use crate::config::{Host, Peers};
use crate::turn::{AllowedPeers, MappedAddress, PeerPolicy};

/// The names of the peer rules and what they were last.
pub(crate) struct Resolver {
    peers: Peers,
    known: BTreeMap<String, Known>,
}

#[derive(Default)]
struct Known {
    addresses: Vec<IpAddr>,
    /// Why the last look-up failed, if it did; warned about once.
    failure: Option<String>,
}

impl Resolver {
    pub(crate) fn new(peers: Peers) -> Self {
        let hosts = peers.allow.iter().map(|it| &it.host).chain(peers.map.iter().map(|it| &it.actual));
        let names: BTreeSet<&String> = hosts.filter_map(|host| host.name()).collect();
        let known = names.into_iter().map(|name| (name.clone(), Known::default())).collect();
        Self { peers, known }
    }

    /// Whether there is anything to look up.
    pub(crate) fn has_names(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether some name has no address yet.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.known.values().any(|it| it.addresses.is_empty())
    }

    /// Looks every name up once.
    pub(crate) async fn resolve(&mut self) {
        let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.cache_size = 0;
            builder.build()
        });
        for (name, known) in &mut self.known {
            let found = match &resolver {
                Ok(resolver) => resolver.lookup_ip(name.as_str()).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            known.learn(name, found.map(|found| found.iter().collect()));
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
        let map = self.peers.map.iter().filter_map(|mapping| {
            let actual = match &mapping.actual {
                Host::Network(network) => network.addr(),
                Host::Name(name) => {
                    let is_same_family = |it: &&IpAddr| it.is_ipv4() == mapping.announced.is_ipv4();
                    *self.addresses(name).iter().find(is_same_family)?
                }
            };
            Some(MappedAddress { announced: mapping.announced, actual })
        });
        PeerPolicy { allow: allow.collect(), map: map.collect() }
    }

    /// The addresses that a name has today.
    pub(crate) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.known.get(name).map_or(&[], |known| &known.addresses)
    }
}

impl Known {
    fn learn(&mut self, name: &str, found: Result<Vec<IpAddr>, String>) {
        let found = found.and_then(|mut addresses| {
            addresses.sort_unstable();
            addresses.dedup();
            if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
        });
        match found {
            Ok(addresses) => {
                if self.addresses != addresses {
                    info!(name, ?addresses, "peer resolved");
                }
                *self = Self { addresses, failure: None };
            }
            Err(failure) if self.failure.as_ref() != Some(&failure) => {
                let kept = &self.addresses;
                warn!(name, %failure, ?kept, "a peer's name does not resolve; it will be asked for again");
                self.failure = Some(failure);
            }
            Err(_) => {}
        }
    }
}
