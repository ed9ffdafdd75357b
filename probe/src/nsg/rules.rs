//! Rules as Azure has them, and what is known about the addresses that they only name.
//!
//! What a rule says is kept as it was written; what it means depends on what else is known (which networks a tag stands for, who is
//! in a group), and so [`Knowledge`] gives each rule two regions: what it surely decides about, and what it may decide about.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use super::{
    ranges::{Addresses, Ports},
    region::{Protocols, Region},
};

/// Which way a packet goes, as seen from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Inbound => "Inbound",
            Self::Outbound => "Outbound",
        }
    }
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Access {
    Allow,
    Deny,
    /// Of Virtual Network Manager: no group is asked any more.
    AlwaysAllow,
}

/// What a rule says of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Networks.
    Known(Addresses),
    /// A service tag.
    Tag(String),
    /// An application security group, by its identifier.
    Group(String),
    /// Something that cannot be known from here, and why.
    Unclear(String),
}

/// What a rule says of ports: those that it surely names, and why there may be others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortOperand {
    pub(crate) known: Ports,
    pub(crate) unclear: Option<String>,
}

/// A rule, as it was read. Of what could not be read there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) priority: Option<u32>,
    pub(crate) direction: Option<Direction>,
    pub(crate) access: Option<Access>,
    pub(crate) protocols: Option<Protocols>,
    pub(crate) sources: Vec<Operand>,
    pub(crate) source_ports: PortOperand,
    pub(crate) destinations: Vec<Operand>,
    pub(crate) ports: PortOperand,
    /// Whether Azure put it there.
    pub(crate) is_default: bool,
    /// Where it stands, such as `nsg.json $[0].securityRules[3]`.
    pub(crate) place: String,
}

impl Rule {
    /// Whether it is of those that AKS's load balancer controller makes and takes away.
    pub(crate) fn is_of_aks(&self) -> bool {
        self.name.starts_with("k8s-azure-lb_")
    }

    /// In the order in which rules count. One without a priority may come first.
    fn order(&self) -> (u32, bool) {
        (self.priority.unwrap_or(0), self.is_default)
    }

    /// Whether it is asked about packets that go this way.
    pub(crate) fn is_for(&self, direction: Direction) -> bool {
        self.direction.is_none_or(|own| own == direction)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.priority {
            Some(priority) => write!(f, "{} ({priority})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// At which point of the way rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Layer {
    /// Virtual Network Manager.
    Admin,
    Subnet,
    Interface,
}

/// A network security group, or the rules of an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Its resource identifier, if that is known.
    pub(crate) id: Option<String>,
    /// The resource group that it is in.
    pub(crate) container: Option<String>,
    /// In the order in which they count.
    rules: Vec<Rule>,
    /// What each of them decides about, once that is known.
    reaches: Vec<Reach>,
}

impl Group {
    pub(crate) fn new(
        name: String,
        id: Option<String>,
        container: Option<String>,
        mut rules: Vec<Rule>,
    ) -> Self {
        rules.sort_by_key(Rule::order);
        Self { name, id, container, rules, reaches: Vec::new() }
    }

    /// Finds out what each rule decides about.
    pub(crate) fn resolve(&mut self, knowledge: &Knowledge) {
        let meaning =
            Meaning { knowledge, network: knowledge.virtual_network(), internet: knowledge.internet() };
        self.reaches = self.rules.iter().map(|rule| meaning.reach(rule)).collect();
    }

    /// The same group with one rule more.
    pub(crate) fn with(&self, rule: Rule, knowledge: &Knowledge) -> Self {
        let rules = self.rules.iter().cloned().chain([rule]).collect();
        let mut group = Self::new(self.name.clone(), self.id.clone(), self.container.clone(), rules);
        group.resolve(knowledge);
        group
    }

    /// What the rule decides about. Of a group that was not resolved, nothing.
    pub(crate) fn reach(&self, rule: usize) -> Option<&Reach> {
        self.reaches.get(rule)
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn directed(&self, direction: Direction) -> impl Iterator<Item = (usize, &Rule)> {
        self.rules.iter().enumerate().filter(move |(_, rule)| rule.is_for(direction))
    }

    /// Whether AKS looks after it, and puts it right again.
    pub(crate) fn is_of_aks(&self) -> bool {
        self.name.starts_with("aks-agentpool-") && self.name.ends_with("-nsg")
    }
}

/// Behind the place of a group, what says that a rule of it is nowhere in the document.
pub(crate) const AZURES_OWN: &str = " (Azure's own)";

/// The rules that each group has and nobody can take out.
pub(crate) fn default_rules(place: &str) -> Vec<Rule> {
    use Access::{Allow, Deny};
    use Direction::{Inbound, Outbound};
    let tag = |name: &str| vec![Operand::Tag(name.to_owned())];
    let any = || vec![Operand::Known(Addresses::all())];
    let rule = |name: &str, priority, direction, access, sources, destinations| Rule {
        name: name.to_owned(),
        priority: Some(priority),
        direction: Some(direction),
        access: Some(access),
        protocols: Some(Protocols::ALL),
        sources,
        source_ports: PortOperand { known: Ports::all(), unclear: None },
        destinations,
        ports: PortOperand { known: Ports::all(), unclear: None },
        is_default: true,
        place: format!("{place}{AZURES_OWN}"),
    };
    let network = || tag("VirtualNetwork");
    vec![
        rule("AllowVnetInBound", 65_000, Inbound, Allow, network(), network()),
        rule("AllowAzureLoadBalancerInBound", 65_001, Inbound, Allow, tag("AzureLoadBalancer"), any()),
        rule("DenyAllInBound", 65_500, Inbound, Deny, any(), any()),
        rule("AllowVnetOutBound", 65_000, Outbound, Allow, network(), network()),
        rule("AllowInternetOutBound", 65_001, Outbound, Allow, any(), tag("Internet")),
        rule("DenyAllOutBound", 65_500, Outbound, Deny, any(), any()),
    ]
}

/// From where Azure asks whether a machine is well, and answers its names.
pub(crate) const PLATFORM: IpAddr = IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16));

/// What is known about addresses that rules only name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Knowledge {
    /// The virtual network, with what is connected to it.
    pub(crate) network: Addresses,
    /// Whether there is more of it that could not be read.
    pub(crate) is_network_unclear: bool,
    /// What service tags stand for, by their names in lower case.
    pub(crate) tags: BTreeMap<String, Addresses>,
    /// The interfaces in application security groups, by their identifiers in lower case.
    pub(crate) groups: BTreeMap<String, Addresses>,
}

/// What a rule decides about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// This, whatever else is true.
    pub(crate) sure: Region,
    /// And this at most.
    pub(crate) possible: Region,
    /// Why the two differ.
    pub(crate) doubts: Vec<String>,
}

impl Knowledge {
    /// The virtual network, or what stands in for it where nobody said what it is: all that is private.
    pub(crate) fn virtual_network(&self) -> Addresses {
        let network = if self.network.is_empty() { Addresses::private() } else { self.network.clone() };
        network.union(&[PLATFORM].into_iter().collect())
    }

    /// What surely is of the virtual network, and what may be: where that could not be read, all that is private.
    fn unclear_network(&self) -> (Addresses, Addresses) {
        let sure = self.network.union(&[PLATFORM].into_iter().collect());
        let possible = sure.union(&Addresses::private());
        (sure, possible)
    }

    /// What Azure's tag of that name stands for.
    pub(crate) fn internet(&self) -> Addresses {
        Addresses::all().difference(&self.virtual_network())
    }
}

/// What the words of rules stand for. What most of them name is worked out once.
struct Meaning<'k> {
    knowledge: &'k Knowledge,
    network: Addresses,
    internet: Addresses,
}

impl Meaning<'_> {
    /// What the rule decides about.
    fn reach(&self, rule: &Rule) -> Reach {
        let mut doubts = Vec::new();
        let (sure_sources, possible_sources) = self.resolve(&rule.sources, &mut doubts);
        let (sure_destinations, possible_destinations) = self.resolve(&rule.destinations, &mut doubts);
        let mut ports = |operand: &PortOperand| {
            let Some(unclear) = &operand.unclear else {
                return (operand.known.clone(), operand.known.clone());
            };
            doubts.push(unclear.clone());
            (operand.known.clone(), Ports::all())
        };
        let (sure_source_ports, possible_source_ports) = ports(&rule.source_ports);
        let (sure_ports, possible_ports) = ports(&rule.ports);
        if rule.protocols.is_none() {
            doubts.push("its protocol could not be read".to_owned());
        }
        for (is_known, what) in [
            (rule.priority.is_some(), "priority"),
            (rule.access.is_some(), "access"),
            (rule.direction.is_some(), "direction"),
        ] {
            if !is_known {
                doubts.push(format!("its {what} could not be read"));
            }
        }
        // Of a rule that may stand anywhere, or do anything, nothing is sure.
        let is_sure = rule.priority.is_some() && rule.access.is_some() && rule.direction.is_some();
        let sure = Region {
            protocols: rule.protocols.filter(|_| is_sure).unwrap_or(Protocols::NONE),
            sources: sure_sources,
            destinations: sure_destinations,
            source_ports: sure_source_ports,
            ports: sure_ports,
        };
        let possible = Region {
            protocols: rule.protocols.unwrap_or(Protocols::ALL),
            sources: possible_sources,
            destinations: possible_destinations,
            source_ports: possible_source_ports,
            ports: possible_ports,
        };
        Reach { sure, possible, doubts }
    }

    fn resolve(&self, operands: &[Operand], doubts: &mut Vec<String>) -> (Addresses, Addresses) {
        if let [Operand::Known(known)] = operands {
            return (known.clone(), known.clone());
        }
        let (mut sure, mut possible) = (Vec::new(), Vec::new());
        for operand in operands {
            match self.operand(operand) {
                Ok(known) => {
                    possible.push(known.clone());
                    sure.push(known);
                }
                Err(Doubt { at_least, at_most, why }) => {
                    sure.push(at_least);
                    possible.push(at_most);
                    doubts.push(why);
                }
            }
        }
        (sure.into_iter().collect(), possible.into_iter().collect())
    }

    /// The addresses, as far as they are known.
    fn operand(&self, operand: &Operand) -> Result<Addresses, Doubt> {
        let at_most = |at_most, why| Doubt { at_least: Addresses::default(), at_most, why };
        match operand {
            Operand::Known(known) => Ok(known.clone()),
            Operand::Tag(tag) => {
                let name = tag.to_ascii_lowercase();
                match (name.as_str(), self.knowledge.tags.get(&name)) {
                    ("internet" | "virtualnetwork", _) if self.knowledge.is_network_unclear => {
                        let (sure, possible) = self.knowledge.unclear_network();
                        let why = "which addresses the virtual network has could not be read".to_owned();
                        if name == "virtualnetwork" {
                            return Err(Doubt { at_least: sure, at_most: possible, why });
                        }
                        let outside = |network| Addresses::all().difference(&network);
                        Err(Doubt { at_least: outside(possible), at_most: outside(sure), why })
                    }
                    ("internet", _) => Ok(self.internet.clone()),
                    ("virtualnetwork", _) => Ok(self.network.clone()),
                    ("azureloadbalancer", _) => Ok([PLATFORM].into_iter().collect()),
                    (_, Some(known)) => Ok(known.clone()),
                    // Microsoft's services have public addresses.
                    (_, None) => Err(at_most(
                        self.internet.clone(),
                        format!("which addresses the service tag {tag} covers is not known"),
                    )),
                }
            }
            Operand::Group(id) => match self.knowledge.groups.get(&id.to_ascii_lowercase()) {
                Some(members) => Ok(members.clone()),
                None => Err(at_most(
                    self.network.clone(),
                    format!(
                        "which interfaces are in the application security group {} is not known",
                        last_part(id)
                    ),
                )),
            },
            Operand::Unclear(why) => Err(at_most(Addresses::all(), why.clone())),
        }
    }
}

/// Addresses that are known in part, and why.
struct Doubt {
    at_least: Addresses,
    at_most: Addresses,
    why: String,
}

/// The name at the end of a resource identifier.
pub(crate) fn last_part(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}
