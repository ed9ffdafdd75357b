//! A scenario is a file: what is broken, and what `hubs-probe check` has to make of it. All that it does not name is good.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::idle::Forgets;
use super::names::{Addresses, Entry, Signatures};
use super::network::{OTHER_RELAY, RELAY};
use super::nsg::{self, Group, Rule};
use crate::bed::{DialogKey, ROOM};
use crate::need;

/// What a file under `tests/lab` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// In words: what happened there, and what people see of it.
    pub about: String,
    /// How the person who looks is connected.
    #[serde(default)]
    pub home: Home,
    /// Names that have other addresses than the load balancer's, or none.
    #[serde(default)]
    pub(super) names: Addresses,
    /// What the second of the zone's two servers still says otherwise.
    #[serde(default)]
    pub(super) outdated: Addresses,
    /// What names have besides addresses.
    #[serde(default)]
    pub(super) records: Vec<Entry>,
    #[serde(default)]
    pub(super) signatures: Signatures,
    /// What the resolver that the home asks remembers from earlier.
    #[serde(default)]
    pub(super) remembered: Addresses,
    /// The cloud's network.
    #[serde(default)]
    pub(super) azure: Azure,
    /// haproxy and the certificates that it shows.
    #[serde(default)]
    pub(super) ingress: Ingress,
    /// Reticulum.
    #[serde(default)]
    pub(super) reticulum: Part,
    /// dialog.
    #[serde(default)]
    pub(super) dialog: Part,
    /// What dialog verifies permissions with.
    #[serde(default)]
    pub(super) dialog_key: DialogKey,
    /// What is in coturn's place.
    #[serde(default)]
    pub(super) turn: Turn,
    /// Whether that is the media gateway as well.
    #[serde(default)]
    pub(super) gateway: Gateway,
    /// What the person tells the probe besides. Without `--resolver` among it, it is the router at home.
    #[serde(default)]
    pub(super) arguments: Vec<String>,
    /// The manifest that the person gives to the probe.
    #[serde(default)]
    manifest: Manifest,
    /// The room that the person names; empty if none.
    #[serde(default = "open_room")]
    pub(super) room: String,
    /// What it has to say.
    pub expect: Expected,
}

fn open_room() -> String {
    ROOM.to_owned()
}

/// Which manifest the probe is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Manifest {
    #[default]
    Nothing,
    /// As Hubs' generator makes it.
    AsShipped,
    /// The same with hubs-relay in coturn's place.
    WithRelay,
}

/// The network of the person who looks.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Home {
    pub(super) families: Families,
    /// nftables rules on what wants to go out, such as `meta l4proto udp drop`.
    pub(super) rules: Vec<String>,
    /// Until somebody logs in, a page of its own answers in the place of all others, and nothing else gets through.
    pub(super) wants_login: bool,
    /// Of the datagrams, in each direction.
    pub(super) loss_percent: Option<u8>,
    /// Variables that programs find there.
    pub(super) environment: BTreeMap<String, String>,
    /// By how much the laptop's clock is wrong: `-400d`.
    pub(super) clock: Option<String>,
    /// What the router, which the laptop asks for names, remembers from earlier.
    pub(super) remembered: Addresses,
    /// What a firewall on the way forgets. It sees what the laptop sends.
    pub(super) forgets: Option<Forgets>,
    /// Added to each round trip.
    round_trip_ms: Option<u64>,
}

/// Which addresses the laptop has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Families {
    #[default]
    Ipv4,
    Ipv6,
    Both,
}

impl Home {
    /// What is added to each round trip.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.round_trip_ms.map(Duration::from_millis)
    }
}

/// The virtual network, the load balancer and the security groups.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Azure {
    /// Whether nodes have public addresses of their own. By default they share one to go out with.
    pub(super) node_public_ip: bool,
    pub(super) pods: Pods,
    /// The TCP ports that the load balancer forwards.
    pub(super) forwarded: Vec<u16>,
    /// A file under `tests/lab/nsg`, as `az network nsg list -o json` prints it.
    nsg: String,
    /// Rules that somebody added to the groups of these names.
    rules: Added,
    /// The same that somebody took out again. The person checked before, and kept the report.
    taken_out: Added,
    /// What the load balancer forgets. It sees what comes from the internet.
    pub(super) forgets: Option<Forgets>,
    /// What the person tells the probe of the rules.
    told: Told,
}

/// Rules by the names of the groups that they were added to.
type Added = BTreeMap<String, Vec<toml::Value>>;

/// Which rules the probe is told of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    #[default]
    Nothing,
    /// Those that are in effect.
    All,
    /// Those of the file, without what was added since.
    Earlier,
}

/// How a node reaches its pods, which decides from which address it answers them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Pods {
    /// As Azure CNI does it: from its own.
    #[default]
    Routed,
    /// As kubenet and flannel do it: from that of the bridge on which the pods are.
    Bridged,
}

impl Default for Azure {
    fn default() -> Self {
        Self {
            node_public_ip: false,
            pods: Pods::default(),
            forwarded: vec![80, 443, 4443, 5349],
            nsg: "aks".to_owned(),
            rules: Added::new(),
            taken_out: Added::new(),
            forgets: None,
            told: Told::Nothing,
        }
    }
}

impl Azure {
    /// The groups with these rules in the one of this name, and no others that somebody added.
    pub(super) fn groups_with(&self, name: &str, rules: impl IntoIterator<Item = Rule>) -> Vec<Group> {
        let mut groups = nsg::read(&read(&format!("nsg/{}.json", self.nsg)));
        groups.iter_mut().find(|group| group.name == name).unwrap().add(rules);
        groups
    }

    /// The network before rules were taken out, if any were.
    pub(super) fn before(&self) -> Option<Self> {
        let mut before = self.clone();
        for (name, rules) in std::mem::take(&mut before.taken_out) {
            before.rules.entry(name).or_default().extend(rules);
        }
        (!self.taken_out.is_empty()).then_some(before)
    }

    /// The groups with all rules.
    pub(super) fn groups(&self) -> Vec<Group> {
        let mut groups = nsg::read(&read(&format!("nsg/{}.json", self.nsg)));
        for (name, rules) in &self.rules {
            let group = groups.iter_mut().find(|group| group.name == *name);
            let rules = rules.iter().map(|rule| rule.clone().try_into::<Rule>().unwrap());
            group.unwrap_or_else(|| panic!("no group {name}")).add(rules);
        }
        groups
    }

    /// What `az network nsg list -o json` prints, or printed, for the person to give to the probe.
    pub(super) fn told(&self) -> Option<String> {
        let mut groups: serde_json::Value =
            serde_json::from_str(&read(&format!("nsg/{}.json", self.nsg))).unwrap();
        match self.told {
            Told::Nothing => return None,
            Told::Earlier => {}
            Told::All => {
                for group in groups.as_array_mut().unwrap() {
                    let added = self.rules.get(group["name"].as_str().unwrap()).into_iter().flatten();
                    let added = added.map(|rule| serde_json::to_value(rule).unwrap());
                    group["securityRules"].as_array_mut().unwrap().extend(added);
                }
            }
        }
        Some(groups.to_string())
    }
}

/// haproxy, and the service before it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ingress {
    pub(super) state: State,
    /// Which port of the pod is behind which of the service.
    pub(super) ports: Vec<(u16, u16)>,
    /// What it shows for names that it has no certificate of, or several.
    pub(super) default: Certificate,
    /// The organisation of the authority that issued them, if it has one.
    pub(super) organisation: Option<String>,
    /// For each name, if it is not good.
    pub(super) certificates: BTreeMap<String, Certificate>,
    /// The same where signalling comes to a port of its own: 4444 of the pod, see `ports`. There is none without.
    pub(super) certificates_of_dialog: Option<BTreeMap<String, Certificate>>,
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            state: State::default(),
            ports: vec![(80, 8080), (443, 4443), (4443, 4443), (5349, 5349)],
            default: Certificate::default(),
            organisation: None,
            certificates: BTreeMap::new(),
            certificates_of_dialog: None,
        }
    }
}

/// What a server shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Certificate {
    /// One that browsers accept.
    #[default]
    Good,
    /// Signed by itself, for the domain, as Hubs' generator makes it for the ingress.
    Generated,
    /// Signed by itself, for `dialog`, as Hubs' coturn image has it.
    Shipped,
    /// It was good once.
    Expired,
    /// It will be good soon.
    NotYetValid,
    /// Good, and it runs out in some days.
    RunsOutSoon,
    /// Good for another name.
    OtherName,
    /// By an authority that nobody knows.
    OtherAuthority,
    /// By a product that opens TLS on the way.
    Inspected,
    /// By an intermediate authority, whose certificate is not sent.
    Incomplete,
    /// There is none at all.
    Missing,
}

/// A program of the deployment.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Part {
    pub(super) state: State,
    /// Variables that it has otherwise than Hubs sets them.
    pub(super) environment: BTreeMap<String, String>,
    /// By how much the clock of its node is wrong: `+10m`.
    pub(super) clock: Option<String>,
}

impl Part {
    /// Whether it does all that it should.
    pub(super) fn is_good(&self) -> bool {
        self.state == State::Runs && self.environment.is_empty() && self.clock.is_none()
    }
}

/// Whether a part does its work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    #[default]
    Runs,
    /// Nothing listens where it should.
    Stopped,
    /// Something accepts connections there and never says a word.
    Mute,
}

/// What is behind port 5349.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Turn {
    pub(super) server: Server,
    /// Where coturn runs: hubs-relay has an address of its own wherever it does.
    pub(super) node: CoturnNode,
    /// What it shows.
    pub(super) certificate: Certificate,
    pub(super) database: Database,
    /// Variables that hubs-relay has besides.
    pub(super) environment: BTreeMap<String, String>,
}

/// Which server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Server {
    #[default]
    HubsRelay,
    /// With the keys of Hubs' image, on the node's network.
    Coturn,
    Stopped,
    Mute,
}

/// Whether hubs-relay stands in front of dialog's signalling and tells browsers of itself, as deploy/gateway sets it up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Gateway {
    #[default]
    Off,
    On,
    /// It does, and there is no Service for its UDP port.
    UdpNotForwarded,
    /// There are two, behind one Service: signalling goes through the first, and UDP comes to the second.
    TwoBehindOneService,
    /// The Service `dialog` has an address of its own, which leads to dialog's WebSocket and to nothing else.
    DialogBehindAnAddress,
}

impl Gateway {
    /// Where what comes in on its UDP port goes, if it is forwarded.
    pub(super) const fn media(self) -> Option<Ipv4Addr> {
        match self {
            Self::Off | Self::UdpNotForwarded => None,
            Self::On | Self::DialogBehindAnAddress => Some(RELAY),
            Self::TwoBehindOneService => Some(OTHER_RELAY),
        }
    }
}

/// On which node's network coturn is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CoturnNode {
    /// dialog's. What people send to the announced address, which coturn takes for its own, then reaches dialog.
    #[default]
    Dialogs,
    /// Another one of the cluster.
    Other,
}

/// Of what use the database is to the TURN server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Database {
    /// There is none, and hubs-relay is told the secret: what the scenario is about lies elsewhere, and this takes less time.
    #[default]
    Spared,
    /// As Hubs has it: the table is in a schema of its own.
    AsShipped,
    /// Its name does not resolve, as on the node's network.
    NameUnknown,
    /// The schema is on the search path, where coturn finds it.
    SchemaOnPath,
}

/// What has to come of a check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The exit status.
    pub status: i32,
    /// `good`, `broken` or `inconclusive`.
    pub outcome: String,
    /// The code on which the first diagnosis rests.
    pub first: Option<String>,
    /// The code of each cause that is named, in the order of the path, where the scenario says.
    pub diagnoses: Option<Vec<String>>,
    /// The names of the rules that found them, where the code does not tell.
    pub rules: Option<Vec<String>>,
    /// What its sentence for people says, among others.
    pub headline: String,
    /// What it says of why, among others.
    pub detail: Option<String>,
    /// What it says of where to look next or what to mend, among others.
    pub remedy: Option<String>,
    /// The codes that fail, and no others.
    #[serde(default)]
    pub fail: BTreeSet<String>,
    /// The codes that warn, and no others.
    #[serde(default)]
    pub warn: BTreeSet<String>,
    /// The codes about which nothing could be found out, and no others.
    #[serde(default)]
    pub error: BTreeSet<String>,
    /// Codes that pass, among others.
    #[serde(default)]
    pub pass: BTreeSet<String>,
    /// Codes that come out one way or the other by chance, such as what depends on ports that are drawn at random.
    #[serde(default)]
    pub by_chance: BTreeSet<String>,
}

impl Scenario {
    /// Reads `tests/lab/NAME.toml`.
    pub fn read(name: &str) -> Self {
        toml::from_str(&read(&format!("{name}.toml"))).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The text of the manifest that the person gives to the probe.
    pub(super) fn manifest(&self) -> Option<String> {
        let shipped = include_str!("../../../probe/src/lint/hcce.yaml");
        match self.manifest {
            Manifest::Nothing => None,
            Manifest::AsShipped => Some(shipped.to_owned()),
            Manifest::WithRelay => Some(shipped.replace(
                "      hostNetwork: true\n      containers:\n      - name: coturn\n        image: mozillareality/coturn:stable-latest\n",
                "      containers:\n      - name: coturn\n        image: registry.test/hubs-relay:0.1.0\n        volumeMounts:\n        - mountPath: /certs\n",
            )),
        }
    }

    /// The same with this added to each round trip.
    #[must_use]
    pub fn with_round_trip(mut self, round_trip: Duration) -> Self {
        self.home.round_trip_ms = Some(round_trip.as_millis().try_into().unwrap_or(u64::MAX));
        self
    }
}

/// A file under `tests/lab`.
fn read(path: &str) -> String {
    let file = need::tests_folder().join("lab").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", Path::new(path).display()))
}
