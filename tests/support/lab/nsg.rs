//! Azure's network security groups, as `az network nsg list -o json` prints them, compiled to nftables.
//!
//! A packet that comes in has to be allowed by the group of the subnet and then by that of the network interface; one that
//! goes out by the same two the other way round. In each the rule with the lowest priority that matches decides. Answers
//! to what was allowed need no rule. Without any group a standard public address is closed.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

/// What a packet meets on its way in.
pub(super) const INBOUND: &str = "nsg-inbound";
/// What a packet meets on its way out.
pub(super) const OUTBOUND: &str = "nsg-outbound";

/// What Azure counts as the virtual network: the nodes, the pods, and the platform's own address.
const VIRTUAL_NETWORK: &str = "{ 10.224.0.0/16, 10.244.0.0/16, 168.63.129.16 }";
/// From where Azure's load balancer asks whether a node is well. Its clients' packets come from the clients.
const LOAD_BALANCER: &str = "168.63.129.16";

/// A group, as far as it decides about packets.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) name: String,
    security_rules: Vec<Rule>,
    default_security_rules: Vec<Rule>,
    subnets: Option<Vec<Value>>,
}

/// A rule. Azure fills either the singular or the plural of a property, and leaves the other one out, null or empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    name: String,
    priority: u16,
    direction: Direction,
    access: Access,
    protocol: String,
    source_address_prefix: Option<String>,
    source_address_prefixes: Option<Vec<String>>,
    destination_address_prefix: Option<String>,
    destination_address_prefixes: Option<Vec<String>>,
    source_port_range: Option<String>,
    source_port_ranges: Option<Vec<String>>,
    destination_port_range: Option<String>,
    destination_port_ranges: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Direction {
    Inbound,
    Outbound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Access {
    Allow,
    Deny,
}

/// Reads what `az` printed.
pub(super) fn read(json: &str) -> Vec<Group> {
    serde_json::from_str(json).unwrap()
}

impl Group {
    /// Adds rules that somebody made.
    pub(super) fn add(&mut self, rules: impl IntoIterator<Item = Rule>) {
        self.security_rules.extend(rules);
    }

    fn is_of_subnet(&self) -> bool {
        self.subnets.as_ref().is_some_and(|subnets| !subnets.is_empty())
    }

    /// The chain with the rules of one direction, in the order in which they count.
    fn chain(&self, direction: Direction) -> String {
        let rules = self.security_rules.iter().chain(&self.default_security_rules);
        let mut rules: Vec<_> = rules.filter(|rule| rule.direction == direction).collect();
        rules.sort_by_key(|rule| rule.priority);
        let rules: String = rules.into_iter().map(Rule::compile).collect();
        format!("  chain {} {{\n{rules}  }}\n", self.chain_name(direction))
    }

    fn chain_name(&self, direction: Direction) -> String {
        format!("{}-{direction:?}", self.name)
    }
}

impl Rule {
    fn compile(&self) -> String {
        let protocol = match self.protocol.to_lowercase().as_str() {
            "*" => None,
            protocol @ ("tcp" | "udp" | "icmp" | "esp" | "ah") => Some(protocol.to_owned()),
            other => panic!("{}: protocol {other:?}", self.name),
        };
        let sources = addresses(
            "saddr",
            self.source_address_prefix.as_deref(),
            self.source_address_prefixes.as_deref(),
        );
        let destinations = addresses(
            "daddr",
            self.destination_address_prefix.as_deref(),
            self.destination_address_prefixes.as_deref(),
        );
        let from = ports("sport", self.source_port_range.as_deref(), self.source_port_ranges.as_deref());
        let to =
            ports("dport", self.destination_port_range.as_deref(), self.destination_port_ranges.as_deref());
        let protocol = match protocol {
            Some(protocol) => format!("meta l4proto {protocol} "),
            None if from.is_empty() && to.is_empty() => String::new(),
            None => "meta l4proto { tcp, udp } ".to_owned(),
        };
        let verdict = match self.access {
            Access::Allow => "return",
            Access::Deny => "drop",
        };
        // Rules can name groups of interfaces instead, of which the lab knows nothing.
        assert!(!sources.is_empty() && !destinations.is_empty(), "{}: no addresses", self.name);
        let mut lines = String::new();
        for source in &sources {
            for destination in &destinations {
                let name = &self.name;
                writeln!(
                    lines,
                    "    {source}{destination}{protocol}{from}{to}counter {verdict} comment \"{name}\""
                )
                .unwrap();
            }
        }
        lines
    }
}

/// The names of the chains that [`compile`] makes.
pub(super) fn chains(groups: &[Group]) -> Vec<String> {
    let of_group = |group: &Group| [Direction::Inbound, Direction::Outbound].map(|it| group.chain_name(it));
    let common = [INBOUND, OUTBOUND].map(str::to_owned);
    groups.iter().flat_map(of_group).chain(common).collect()
}

/// The chains of all groups, for a table of the family `ip`. They return what is allowed and drop what is not.
pub(super) fn compile(groups: &[Group]) -> String {
    let (subnet, interface): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group.is_of_subnet());
    let jumps = |layers: [&Vec<&Group>; 2], direction| -> String {
        let groups = layers.into_iter().flatten();
        let lines: Vec<_> =
            groups.map(|group| format!("    jump {}\n", group.chain_name(direction))).collect();
        lines.concat()
    };
    let mut text = String::new();
    for group in groups {
        text += &group.chain(Direction::Inbound);
        text += &group.chain(Direction::Outbound);
    }
    let inbound = match groups {
        [] => "    drop\n".to_owned(),
        _ => jumps([&subnet, &interface], Direction::Inbound),
    };
    let outbound = jumps([&interface, &subnet], Direction::Outbound);
    write!(text, "  chain {INBOUND} {{\n{inbound}  }}\n  chain {OUTBOUND} {{\n{outbound}  }}\n").unwrap();
    text
}

/// Conditions on an address, any of which suffices.
fn addresses(field: &str, one: Option<&str>, several: Option<&[String]>) -> Vec<String> {
    let is = |what: &str| format!("ip {field} {what} ");
    let condition = |prefix: &str| match prefix {
        "*" | "0.0.0.0/0" => String::new(),
        "Internet" => is(&format!("!= {VIRTUAL_NETWORK}")),
        "VirtualNetwork" => is(VIRTUAL_NETWORK),
        "AzureLoadBalancer" => is(LOAD_BALANCER),
        prefix => is(prefix),
    };
    union(one, several).map(condition).collect()
}

/// The condition on a port; empty if any will do.
fn ports(field: &str, one: Option<&str>, several: Option<&[String]>) -> String {
    let ranges: Vec<_> = union(one, several).collect();
    if ranges.contains(&"*") || ranges.is_empty() {
        return String::new();
    }
    format!("th {field} {{ {} }} ", ranges.join(", "))
}

fn union<'a>(one: Option<&'a str>, several: Option<&'a [String]>) -> impl Iterator<Item = &'a str> {
    let several = several.unwrap_or_default().iter();
    several.map(String::as_str).chain(one).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        let text = format!("name = 'r'\npriority = 200\ndirection = 'Inbound'\n{text}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn what_azure_writes_into_the_singular_or_the_plural_means_the_same() {
        let one = rule(
            "access = 'Allow'\nprotocol = 'Udp'\nsourceAddressPrefix = 'Internet'\ndestinationAddressPrefix = '*'\n\
             sourcePortRange = '*'\ndestinationPortRange = '40000-49999'\ndestinationPortRanges = []",
        );
        let several = rule(
            "access = 'Allow'\nprotocol = 'UDP'\nsourceAddressPrefixes = ['Internet']\ndestinationAddressPrefix = '*'\n\
             sourcePortRange = '*'\ndestinationPortRange = ''\ndestinationPortRanges = ['40000-49999']",
        );
        assert_eq!(one.compile(), several.compile());
        let expected = format!(
            "    ip saddr != {VIRTUAL_NETWORK} meta l4proto udp th dport {{ 40000-49999 }} counter return comment \"r\"\n"
        );
        assert_eq!(one.compile(), expected);
    }

    #[test]
    fn ports_of_any_protocol_are_those_of_protocols_that_have_ports() {
        let any = rule(
            "access = 'Deny'\nprotocol = '*'\nsourceAddressPrefix = '*'\ndestinationAddressPrefix = '10.224.0.4'\n\
             sourcePortRange = '*'\ndestinationPortRanges = ['80', '443']",
        );
        let expected = "    ip daddr 10.224.0.4 meta l4proto { tcp, udp } th dport { 80, 443 } counter drop comment \"r\"\n";
        assert_eq!(any.compile(), expected);
    }

    #[test]
    fn the_lowest_priority_counts_first_and_the_subnet_before_the_interface() {
        let mut groups = read(include_str!("../../lab/nsg/own-network.json"));
        let deny =
            "access = 'Deny'\nprotocol = '*'\nsourceAddressPrefix = '*'\ndestinationAddressPrefix = '*'";
        groups[0].add([rule(deny)]);
        let text = compile(&groups);
        let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in:\n{text}"));
        assert!(position("comment \"r\"") < position("comment \"DenyAllInBound\""));
        let inbound = &text[position(&format!("chain {INBOUND} "))..];
        assert!(
            inbound.find("jump subnet-nsg-Inbound") < inbound.find("jump aks-agentpool-21418527-nsg-Inbound")
        );
    }

    #[test]
    fn without_any_group_nothing_comes_in() {
        assert!(compile(&[]).contains(&format!("chain {INBOUND} {{\n    drop\n")));
    }
}
