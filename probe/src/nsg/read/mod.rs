//! Documents that say what is declared: what `az` prints of groups, interfaces, subnets, load balancers and public addresses, ARM
//! resources and exported templates, `terraform show -json`, Services of Kubernetes. Each is recognised by its structure.
//!
//! Nothing in a document makes the rest of it unreadable: what is odd is told with its place, and means "unknown" from there on.

#[cfg(test)]
mod gaps;
mod json;
mod lines;
mod resource;
mod rule;
mod template;
mod terraform;
#[cfg(test)]
mod tests;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

pub(super) use self::rule::{network, port_ranges};
use self::{
    json::{Value, array, get, list, text},
    rule::Dialect,
};
use super::{
    evaluate::Way,
    ranges::Addresses,
    region::Protocols,
    rules::{AZURES_OWN, Group, Knowledge, Layer, Rule, default_rules, last_part},
};
use crate::finding::{Finding, Location};

/// A document, and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its name, as the person gave it.
    pub(crate) name: String,
    pub(crate) text: Arc<str>,
    pub(crate) origin: Origin,
}

/// Where a document is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The person has it, and can look up a line.
    File,
    /// Another program printed it for us.
    Program,
}

impl Source {
    pub(crate) fn file(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), text: text.into(), origin: Origin::File }
    }

    pub(crate) fn printed(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), text: text.into(), origin: Origin::Program }
    }

    /// Without the mark with which some editors begin a file.
    fn json(&self) -> &str {
        self.text.trim_start_matches('\u{feff}')
    }
}

/// What is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) groups: Vec<Group>,
    pub(crate) knowledge: Knowledge,
    /// The ways that lead to nodes, each through groups of its own.
    pub(crate) ways: Vec<Way>,
    /// The public addresses at which a load balancer takes what it forwards.
    pub(crate) frontends: Vec<IpAddr>,
    /// Public addresses that nodes have for themselves.
    pub(crate) node_addresses: Vec<IpAddr>,
    /// Public addresses with which nodes go out, and where nothing comes in.
    pub(crate) outbound_addresses: Vec<IpAddr>,
    /// What the load balancer forwards; nothing if no document says that.
    pub(crate) forwarded: Option<Vec<Forwarded>>,
    /// What could not be read, and where that is.
    pub(crate) oddities: Vec<Oddity>,
    /// How many rules there are, without Azure's own.
    pub(crate) rules: usize,
    /// What all that is from.
    sources: Vec<Source>,
}

/// A port that the load balancer forwards, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Forwarded {
    pub(crate) protocol: Protocols,
    /// First and last.
    pub(crate) ports: PortSpan,
    /// At which port it comes to the node, whose address then is the packet's destination; nothing with a floating address,
    /// which is what AKS sets up: then packets keep the load balancer's. The same ports stand for each port itself.
    pub(crate) node_ports: Option<PortSpan>,
    /// At which of the addresses, if that is known.
    pub(crate) frontend: Option<IpAddr>,
}

/// A port, or ports among which one is: first and last.
pub(crate) type PortSpan = (u16, u16);

impl Forwarded {
    /// One port for each of its protocols.
    fn each(protocol: &str, ports: Option<PortSpan>, node_ports: Option<PortSpan>) -> Vec<Self> {
        let protocols: &[_] = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => &[Protocols::TCP],
            "udp" => &[Protocols::UDP],
            _ => &[Protocols::TCP, Protocols::UDP],
        };
        let of = |ports| {
            let of_protocol =
                move |protocol: &_| Self { protocol: *protocol, ports, node_ports, frontend: None };
            protocols.iter().map(of_protocol)
        };
        ports.into_iter().flat_map(of).collect()
    }

    /// The one port, if it is one.
    pub(crate) fn port(&self) -> Option<u16> {
        (self.ports.0 == self.ports.1).then_some(self.ports.0)
    }

    pub(crate) fn has(&self, port: u16) -> bool {
        (self.ports.0..=self.ports.1).contains(&port)
    }
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oddity {
    /// The document, and in it the JSON path.
    pub(crate) place: String,
    pub(crate) what: String,
}

/// Why there is nothing to evaluate.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not JSON.
    #[error("{name} is no JSON: {source}")]
    Json {
        /// Which document.
        name: String,
        /// What is wrong with it, and where.
        source: serde_json::Error,
    },
    /// Nothing of it is of any use.
    #[error(
        "{0} has nothing that hubs-probe knows: give what `az network nsg list -g NODE_GROUP -o json` prints, or see `hubs-probe nsg --help`"
    )]
    Unknown(String),
}

/// Reads all of them. What they say complements one another.
pub(crate) fn read(sources: &[Source]) -> Result<Declared, ReadError> {
    let mut reader = Reader::default();
    let mut distinct: Vec<Source> = Vec::with_capacity(sources.len());
    for source in sources {
        // What is given twice says no more.
        if distinct.iter().any(|it| it.name == source.name && it.text == source.text) {
            continue;
        }
        distinct.push(source.clone());
        let value = Value::read(source.json())
            .map_err(|error| ReadError::Json { name: source.name.clone(), source: error })?;
        let before = reader.recognised;
        reader.visit(&value, &format!("{} $", source.name));
        // An empty list is an answer: there are no groups.
        if reader.recognised == before && !value.items().is_some_and(<[_]>::is_empty) {
            return Err(ReadError::Unknown(source.name.clone()));
        }
    }
    Ok(Declared { sources: distinct, ..reader.finish() })
}

impl Declared {
    /// Findings whose locations are places as rules and oddities have them, with the line and the column in their place, and with
    /// these before the path where evidence names such a place.
    pub(crate) fn located(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        for source in self.sources.iter().filter(|it| it.origin == Origin::File) {
            let path_of = |place: &str| {
                let path = place.strip_prefix(source.name.as_str())?.strip_prefix(' ')?;
                path.starts_with('$').then(|| path.strip_suffix(AZURES_OWN).unwrap_or(path).to_owned())
            };
            let in_location = |it: &Finding| it.location.as_ref().and_then(|it| path_of(&it.file));
            let labels = findings.iter().flat_map(|it| &it.evidence).filter_map(|it| path_of(&it.label));
            let paths: BTreeSet<_> = findings.iter().filter_map(in_location).chain(labels).collect();
            let places = lines::of(source.json(), paths.iter().map(String::as_str));
            for finding in &mut findings {
                if let Some((line, column)) = in_location(finding).and_then(|it| places.get(it.as_str())) {
                    let (line, column) = (Some(*line), Some(*column));
                    finding.location = Some(Location { file: source.name.clone(), line, column });
                }
                for evidence in &mut finding.evidence {
                    let Some(path) = path_of(&evidence.label) else { continue };
                    if let Some((line, column)) = places.get(path.as_str()) {
                        evidence.label = format!("{}:{line}:{column} {path}", source.name);
                    }
                }
            }
        }
        findings
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    recognised: usize,
    groups: Vec<ReadGroup>,
    /// Rules that were given apart from their group, by its name.
    loose: BTreeMap<String, Vec<Rule>>,
    admin: Vec<Rule>,
    subnets: Vec<Subnet>,
    interfaces: Vec<Interface>,
    effective: Vec<Effective>,
    networks: Vec<Addresses>,
    /// What service tags stand for, or nothing where that could not be read.
    tags: BTreeMap<String, Option<Addresses>>,
    /// Whether a prefix of the network could not be read.
    is_network_unclear: bool,
    associations: Vec<Association>,
    public: Vec<PublicAddress>,
    frontends: Vec<Frontend>,
    /// Identifiers of frontends or addresses with which nodes go out.
    outbound: Vec<String>,
    forwarding: Vec<Forwarding>,
    is_forwarding_known: bool,
    oddities: Vec<Oddity>,
}

struct ReadGroup {
    name: String,
    id: Option<String>,
    resource_group: Option<String>,
    rules: Vec<Rule>,
    place: String,
    subnets: Vec<String>,
    interfaces: Vec<String>,
    /// Whether its rules were given, and not only its name, if that.
    is_given: bool,
}

struct Subnet {
    id: String,
    /// Nothing if one of them could not be read.
    prefixes: Addresses,
    group: Option<String>,
    place: String,
}

struct Interface {
    id: String,
    addresses: Vec<IpAddr>,
    subnets: Vec<String>,
    group: Option<String>,
    place: String,
    security_groups: Vec<String>,
    public: Vec<String>,
}

/// That a group stands before a subnet or an interface, declared apart from both. What is not known yet there is not of either.
struct Association {
    layer: Layer,
    of: Option<String>,
    group: Option<String>,
    place: String,
}

/// The groups in effect at one interface.
struct Effective {
    name: String,
    layers: Vec<(Layer, Group)>,
}

struct PublicAddress {
    id: String,
    address: IpAddr,
    /// What it belongs to.
    owner: Option<String>,
}

struct Frontend {
    id: String,
    /// The identifier of its public address, or nothing for one that is private.
    public: Option<String>,
    address: Option<IpAddr>,
}

struct Forwarding {
    frontend: Option<String>,
    forwarded: Vec<Forwarded>,
}

impl Reader {
    fn visit(&mut self, value: &Value<'_>, path: &str) {
        if let Value::List(items) = value {
            if items.iter().any(is_effective) {
                return self.effective(items, path);
            }
            for (at, item) in items.iter().enumerate() {
                self.visit(item, &format!("{path}[{at}]"));
            }
            return;
        }
        if !value.is_map() {
            return;
        }
        let has_list = |name: &str| get(value, name).is_some_and(Value::is_list);
        let before = self.recognised;
        self.recognised += 1;
        if is_effective(value) {
            self.effective(std::slice::from_ref(value), path);
        } else if list(value, "networkInterfaces")
            .iter()
            .any(|it| get(it, "securityRuleAssociations").is_some())
        {
            self.watcher(value, path);
        } else if value.get("planned_values").or_else(|| value.get("values")?.get("root_module")).is_some() {
            terraform::read(self, value, path);
        } else if value.get("resources").is_some_and(|it| *it != Value::Null)
            && (value.get("$schema").is_some() || value.get("contentVersion").is_some())
        {
            template::read(self, value, path);
        } else if has_list("securityRules") || has_list("defaultSecurityRules") {
            self.group(value, path);
        } else if has_list("loadBalancingRules")
            || has_list("frontendIPConfigurations")
            || has_list("frontendIpConfigurations")
        {
            self.load_balancer(value, path);
        } else if has_list("ipConfigurations") {
            self.interface(value, path);
        } else if get(value, "addressSpace").is_some_and(Value::is_map) {
            self.network(value, path);
        } else if text(value, "addressPrefix").is_some() || has_list("addressPrefixes") {
            self.subnet(value, None, path);
        } else if get(value, "ipAddress").is_some() && text(value, "id").is_some() {
            self.public_address(value);
        } else if text(value, "access").is_some() && text(value, "direction").is_some() {
            self.loose_rule(value, path);
        } else if get(value, "networkProfile").is_some() && get(value, "nodeResourceGroup").is_some() {
            self.cluster(value);
        } else if has_list("publicIpAddresses") || has_list("publicIPAddresses") {
            self.nat_gateway(value);
        } else if text(value, "kind") == Some("Service") {
            self.service(value, path);
        } else {
            self.recognised = before;
            for name in ["value", "items", "networkSecurityGroups", "resources"] {
                if let Some(inner) = value.get(name).filter(|inner| inner.is_list()) {
                    self.recognised += usize::from(array(inner).is_empty());
                    self.visit(inner, &format!("{path}.{name}"));
                }
            }
        }
    }

    /// Keeps what is odd about something.
    fn note(&mut self, place: &str, odd: impl IntoIterator<Item = String>) {
        self.oddities.extend(odd.into_iter().map(|what| Oddity { place: place.to_owned(), what }));
    }

    fn rules(&mut self, values: &[Value<'_>], path: &str, dialect: Dialect) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            let place = format!("{path}[{at}]");
            let mut odd = Vec::new();
            let rule = rule::read(value, place, dialect, &mut odd);
            self.note(&rule.place, odd.into_iter().map(|what| format!("{}: {what}", rule.name)));
            rules.push(rule);
        }
        rules
    }

    fn group(&mut self, value: &Value<'_>, path: &str) {
        let place = |field: &str| place_of(value, field, path);
        let own = list(value, "securityRules");
        let mut rules = self.rules(own, &place("securityRules"), Dialect::Declared);
        if get(value, "securityRules").is_some_and(|it| !it.is_list()) {
            let what = "its rules are in no list, and unknown";
            self.note(&place("securityRules"), [what.to_owned()]);
            rules.push(ways::unknown_rule(what, path));
        }
        let defaults = list(value, "defaultSecurityRules");
        let mut defaults = self.rules(defaults, &place("defaultSecurityRules"), Dialect::Declared);
        if defaults.is_empty() {
            defaults = default_rules(path);
        }
        for rule in &mut defaults {
            rule.is_default = true;
        }
        rules.append(&mut defaults);
        let ids = |name: &str| -> Vec<String> {
            list(value, name).iter().filter_map(|it| Some(text(it, "id")?.to_ascii_lowercase())).collect()
        };
        let id = text(value, "id").map(str::to_owned);
        let name = text(value, "name").map(str::to_owned);
        self.groups.push(ReadGroup {
            name: name
                .or_else(|| id.as_deref().map(|id| last_part(id).to_owned()))
                .unwrap_or_else(|| "a group without a name".to_owned()),
            resource_group: text(value, "resourceGroup")
                .map(str::to_owned)
                .or_else(|| resource_group(id.as_deref()?)),
            id,
            rules,
            place: path.to_owned(),
            subnets: ids("subnets"),
            interfaces: ids("networkInterfaces"),
            is_given: true,
        });
    }

    /// A rule that was printed without its group, as `az network nsg rule list` does, or an administrator's.
    fn loose_rule(&mut self, value: &Value<'_>, path: &str) {
        let is_admin = get(value, "sources").is_some() || get(value, "destinations").is_some();
        let dialect = if is_admin { Dialect::Admin } else { Dialect::Declared };
        let mut odd = Vec::new();
        let rule = rule::read(value, path.to_owned(), dialect, &mut odd);
        let name = rule.name.clone();
        self.note(path, odd.into_iter().map(|what| format!("{name}: {what}")));
        if is_admin {
            self.admin.push(rule);
            return;
        }
        let group = text(value, "id").and_then(|id| part_after(id, "networkSecurityGroups"));
        self.loose.entry(group.unwrap_or("a group without a name").to_owned()).or_default().push(rule);
    }
}

/// Where a field of the value stands, which may be below `properties`, or would stand if it were there.
fn place_of(value: &Value<'_>, field: &str, path: &str) -> String {
    match json::path_of(value, field) {
        Some(found) => format!("{path}{found}"),
        None => format!("{path}.{field}"),
    }
}

/// A port, if the field is one.
fn port(value: &Value<'_>, field: &str) -> Option<u16> {
    get(value, field).and_then(Value::count).and_then(|it| u16::try_from(it).ok())
}

fn is_effective(value: &Value<'_>) -> bool {
    get(value, "effectiveSecurityRules").is_some_and(Value::is_list)
}

/// What stands behind `name` in a resource identifier.
fn part_after<'i>(id: &'i str, name: &str) -> Option<&'i str> {
    let mut parts = id.split('/');
    parts.find(|part| part.eq_ignore_ascii_case(name))?;
    parts.next()
}

fn resource_group(id: &str) -> Option<String> {
    part_after(id, "resourceGroups").map(str::to_owned)
}
