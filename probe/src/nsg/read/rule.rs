//! One rule, in any of the forms in which it is printed: names in camel or in snake case, flat or below `properties`, in the
//! singular or the plural, with tags or with the networks that they stand for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::json::{Value, array, get, is_nothing, text, texts};
use crate::nsg::{
    ranges::{Addresses, Ports},
    region::Protocols,
    rules::{Access, Direction, Operand, PortOperand, Rule},
};

/// Whose words these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As the rule was declared.
    Declared,
    /// As Azure says that it is in effect: `0.0.0.0/0` then stands for every address.
    Effective,
    /// Of Virtual Network Manager.
    Admin,
}

/// One end of a rule, and how its fields are called.
pub(super) struct Side {
    word: &'static str,
    /// Of an administrator's rules.
    addresses: &'static str,
    pub(super) prefix: &'static str,
    pub(super) prefixes: &'static str,
    pub(super) expanded: &'static str,
    groups: &'static str,
    group_ids: &'static str,
    port: &'static str,
    ports: &'static str,
}

pub(super) const SOURCE: Side = Side {
    word: "source",
    addresses: "sources",
    prefix: "sourceAddressPrefix",
    prefixes: "sourceAddressPrefixes",
    expanded: "expandedSourceAddressPrefix",
    groups: "sourceApplicationSecurityGroups",
    group_ids: "sourceApplicationSecurityGroupIds",
    port: "sourcePortRange",
    ports: "sourcePortRanges",
};

pub(super) const DESTINATION: Side = Side {
    word: "destination",
    addresses: "destinations",
    prefix: "destinationAddressPrefix",
    prefixes: "destinationAddressPrefixes",
    expanded: "expandedDestinationAddressPrefix",
    groups: "destinationApplicationSecurityGroups",
    group_ids: "destinationApplicationSecurityGroupIds",
    port: "destinationPortRange",
    ports: "destinationPortRanges",
};

/// What a rule is called that has no name.
pub(super) const UNNAMED: &str = "a rule without a name";

/// What priorities people can give.
const OWN: std::ops::RangeInclusive<u32> = 100..=4096;

/// Reads a rule. What is odd about it is added to `odd`.
pub(super) fn read(value: &Value<'_>, place: String, dialect: Dialect, odd: &mut Vec<String>) -> Rule {
    let full = text(value, "name").unwrap_or_default();
    let name = ["securityRules/", "defaultSecurityRules/", "UserRule_", "DefaultRule_"]
        .iter()
        .find_map(|prefix| full.strip_prefix(prefix))
        .unwrap_or(full);
    let priority = match get(value, "priority") {
        Some(Value::Count(number)) => u32::try_from(*number).ok(),
        Some(Value::Text(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let is_default = full.starts_with("defaultSecurityRules/") || priority.is_some_and(|it| it >= 65_000);
    match priority {
        None => odd.push("it has no priority that could be read".to_owned()),
        Some(it) if dialect == Dialect::Declared && !is_default && !OWN.contains(&it) => {
            odd.push(format!("Azure takes no priority {it}: from 100 to 4096"));
        }
        Some(_) => {}
    }
    let [sources, destinations] = [&SOURCE, &DESTINATION].map(|side| match dialect {
        Dialect::Admin => admin_addresses(value, side.addresses, odd),
        Dialect::Declared | Dialect::Effective => addresses(value, side, dialect, odd),
    });
    Rule {
        name: if name.is_empty() { UNNAMED.to_owned() } else { name.to_owned() },
        priority,
        direction: choice(value, "direction", odd, |word| match word {
            "inbound" => Some(Direction::Inbound),
            "outbound" => Some(Direction::Outbound),
            _ => None,
        }),
        access: choice(value, "access", odd, |word| match word {
            "allow" => Some(Access::Allow),
            "deny" => Some(Access::Deny),
            "alwaysallow" if dialect == Dialect::Admin => Some(Access::AlwaysAllow),
            _ => None,
        }),
        protocols: choice(value, "protocol", odd, protocol),
        sources,
        source_ports: ports(value, &SOURCE, odd),
        destinations,
        ports: ports(value, &DESTINATION, odd),
        is_default,
        place,
    }
}

fn choice<T>(
    value: &Value<'_>,
    field: &str,
    odd: &mut Vec<String>,
    read: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let word = text(value, field).map(|word| word.trim().to_ascii_lowercase());
    let known = word.as_deref().and_then(read);
    if known.is_none() {
        odd.push(match word {
            Some(word) => format!("{field} {word:?} is not known"),
            None => format!("it has no {field}"),
        });
    }
    known
}

fn protocol(word: &str) -> Option<Protocols> {
    Some(match word {
        "*" | "all" | "any" => Protocols::ALL,
        "tcp" | "6" => Protocols::TCP,
        "udp" | "17" => Protocols::UDP,
        "icmp" | "icmpv6" | "1" => Protocols::ICMP,
        "esp" | "50" => Protocols::ESP,
        "ah" | "51" => Protocols::AH,
        _ => return None,
    })
}

/// Every text of the singular and of the plural: Azure fills one of them, and leaves the other one out, null or empty.
fn union<'v>(value: &'v Value<'_>, one: &str, several: &str, odd: &mut Vec<String>) -> Vec<&'v str> {
    let mut all = Vec::new();
    for field in [one, several] {
        match get(value, field) {
            None => {}
            Some(it) if is_nothing(it) => {}
            Some(it) => match texts(it) {
                Some(texts) => all.extend(texts),
                None => odd.push(format!("{field} is no text and no list of texts")),
            },
        }
    }
    all.into_iter().map(str::trim).filter(|it| !it.is_empty()).collect()
}

fn addresses(value: &Value<'_>, side: &Side, dialect: Dialect, odd: &mut Vec<String>) -> Vec<Operand> {
    let before = odd.len();
    let words = union(value, side.prefix, side.prefixes, odd);
    let expanded = get(value, side.expanded).and_then(texts).unwrap_or_default();
    let mut operands: Vec<_> = words.iter().map(|word| operand(word, dialect, odd)).collect();
    if !expanded.is_empty() {
        // What a tag stands for, as Azure itself says.
        operands.retain(|operand| !matches!(operand, Operand::Tag(_)));
        operands.extend(expanded.iter().map(|word| operand(word.trim(), dialect, odd)));
    }
    let groups = get(value, side.groups)
        .map(|groups| array(groups).iter().map(|group| text(group, "id").or_else(|| group.text())).collect());
    let ids = get(value, side.group_ids).map(|ids| array(ids).iter().map(Value::text).collect());
    for id in [groups, ids].into_iter().flatten().flat_map(|it: Vec<_>| it) {
        operands.push(id.map_or_else(
            || Operand::Unclear("an application security group has no identifier".to_owned()),
            |id| Operand::Group(id.to_owned()),
        ));
    }
    if odd.len() > before && operands.iter().all(|it| matches!(it, Operand::Known(_))) {
        operands.push(Operand::Unclear(format!("its {} could not be read", side.word)));
    }
    if operands.is_empty() {
        odd.push(format!("it names no {}", side.word));
        operands.push(Operand::Unclear(format!("it names no {}", side.word)));
    }
    joined(operands)
}

fn admin_addresses(value: &Value<'_>, plural: &str, odd: &mut Vec<String>) -> Vec<Operand> {
    let items = get(value, plural).map(array).unwrap_or_default();
    let mut operands = Vec::with_capacity(items.len());
    for item in items {
        operands.push(match text(item, "addressPrefix") {
            Some(word) => operand(word.trim(), Dialect::Admin, odd),
            None => Operand::Unclear(format!("one of its {plural} has no address")),
        });
    }
    // Nothing stands for everything here.
    if operands.is_empty() { vec![Operand::Known(Addresses::all())] } else { joined(operands) }
}

/// All networks as one operand.
fn joined(operands: Vec<Operand>) -> Vec<Operand> {
    if operands.len() < 2 {
        return operands;
    }
    let (mut known, mut rest) = (Vec::new(), Vec::new());
    for operand in operands {
        match operand {
            Operand::Known(addresses) => known.push(addresses),
            other => rest.push(other),
        }
    }
    if !known.is_empty() {
        rest.insert(0, Operand::Known(known.into_iter().collect()));
    }
    rest
}

fn operand(word: &str, dialect: Dialect, odd: &mut Vec<String>) -> Operand {
    if word == "*" || word.eq_ignore_ascii_case("any") {
        return Operand::Known(Addresses::all());
    }
    if dialect == Dialect::Effective && (word == "0.0.0.0/0" || word == "::/0") {
        return Operand::Known(Addresses::all());
    }
    if let Some(network) = network(word) {
        return Operand::Known(network);
    }
    if word.starts_with('[') {
        odd.push(format!("{word} is an expression that cannot be resolved from the file"));
        return Operand::Unclear(format!("{word} is not resolved"));
    }
    let is_tag = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_');
    if is_tag {
        return Operand::Tag(word.to_owned());
    }
    odd.push(format!("{word:?} is neither a network nor a service tag"));
    Operand::Unclear(format!("{word:?} is not known"))
}

/// A network, an address, or two addresses with a dash between them.
pub(in crate::nsg) fn network(word: &str) -> Option<Addresses> {
    if let Ok(network) = word.parse::<IpNet>() {
        return Some(network.into());
    }
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some([address].into_iter().collect());
    }
    let (first, last) = word.split_once('-')?;
    match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Some((first, last).into()),
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => Some((first, last).into()),
        _ => None,
    }
}

fn ports(
    value: &Value<'_>,
    Side { word: side, port, ports, .. }: &Side,
    odd: &mut Vec<String>,
) -> PortOperand {
    let before = odd.len();
    let words = union(value, port, ports, odd);
    if words == ["*"] && odd.len() == before {
        return PortOperand { known: Ports::every(), unclear: None };
    }
    if words.is_empty() && odd.len() == before {
        odd.push(format!("it names no {side} ports"));
    }
    let mut known = Vec::with_capacity(words.len());
    for word in words {
        match port_range(word) {
            Some(range) => known.push(range),
            None => odd.push(format!("{word:?} is no range of {side} ports")),
        }
    }
    let unclear = odd.get(before).cloned();
    PortOperand { known: known.into_iter().collect(), unclear }
}

/// Reads `*`, `443` or `40000-49999`.
fn port_range(word: &str) -> Option<(u16, u16)> {
    if word == "*" {
        return Some((0, u16::MAX));
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Reads several such texts.
pub(in crate::nsg) fn port_ranges(words: &str) -> Option<Ports> {
    words.split(',').map(|word| port_range(word.trim())).collect()
}
