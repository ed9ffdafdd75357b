//! What holds of any rules whatever: the answers are those of a naive evaluator that looks at one packet after the other, in
//! whichever form the rules are written.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    advise::fixes,
    answer::{State, answers},
    evaluate::{End, Extent, Fate, Flow, Piece, evaluate},
    question::Wanted,
    ranges::{Addresses, Ports},
    read::{Declared, Source, read},
    region::Protocols,
    review::order,
    rules::{Direction, Group},
};

/// A rule as somebody might write it.
#[derive(Clone, Debug)]
struct Written {
    priority: u32,
    direction: &'static str,
    access: &'static str,
    protocol: &'static str,
    sources: Vec<&'static str>,
    destinations: Vec<&'static str>,
    source_ports: Vec<(u16, u16)>,
    ports: Vec<(u16, u16)>,
    /// Whether something in it cannot be read.
    is_odd: bool,
}

const SOURCES: [&str; 8] = [
    "*",
    "Internet",
    "203.0.113.0/24",
    "203.0.113.128/25",
    "198.51.100.7",
    "VirtualNetwork",
    "AzureLoadBalancer",
    "Storage.WestEurope",
];
const DESTINATIONS: [&str; 5] = ["*", "VirtualNetwork", "10.224.0.4", "10.224.0.0/16", "asg"];
const ASG: &str =
    "/subscriptions/0/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups/asg";
const NETWORK: &str = r#"{"addressSpace": {"addressPrefixes": ["10.224.0.0/16"]}, "subnets": []}"#;

fn any_ports() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let range = (40_000u16..40_060, 0u16..30).prop_map(|(first, more)| (first, first + more));
    let one = (40_000u16..40_060).prop_map(|port| (port, port));
    let edge = prop::sample::select(vec![(0, u16::MAX), (0, 40_010), (40_050, u16::MAX)]);
    prop::collection::vec(prop_oneof![3 => range, 1 => one, 2 => edge], 1..3)
}

fn any_rule() -> impl Strategy<Value = Written> {
    (
        prop::sample::select(vec!["Inbound", "Inbound", "Inbound", "Outbound"]),
        prop::sample::select(vec!["Allow", "Deny"]),
        prop::sample::select(vec!["Udp", "Udp", "Tcp", "*"]),
        prop::collection::vec(prop::sample::select(SOURCES.to_vec()), 1..3),
        prop::collection::vec(prop::sample::select(DESTINATIONS.to_vec()), 1..3),
        prop_oneof![4 => Just(vec![(0, u16::MAX)]), 1 => Just(vec![(1024, 2048)])],
        any_ports(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(direction, access, protocol, sources, destinations, source_ports, ports, is_odd)| {
            Written {
                priority: 0,
                direction,
                access,
                protocol,
                sources,
                destinations,
                source_ports,
                ports,
                is_odd,
            }
        })
}

fn any_rules() -> impl Strategy<Value = Vec<Written>> {
    prop::collection::vec(any_rule(), 0..7).prop_map(|rules| {
        let numbered = rules.into_iter().enumerate();
        numbered.map(|(at, rule)| Written { priority: 1000 + 10 * at as u32, ..rule }).collect()
    })
}

/// The forms in which the same rules are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Flat, as `az` prints it, each value in the plural.
    Plural,
    /// Flat, and in the singular where there is one value.
    Singular,
    /// As the resource manager has it.
    Properties,
    /// `terraform show -json`.
    Terraform,
}

fn words(ranges: &[(u16, u16)]) -> Vec<String> {
    let word = |(first, last): &(u16, u16)| match (first, last) {
        (0, &u16::MAX) => "*".to_owned(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    ranges.iter().map(word).collect()
}

fn json_rule(rule: &Written, form: Form) -> Value {
    let name =
        |camel: &str, snake: &str| if form == Form::Terraform { snake.to_owned() } else { camel.to_owned() };
    let protocol = if rule.is_odd { "Pigeon" } else { rule.protocol };
    let mut out = json!({
        "name": format!("rule-{}", rule.priority),
        "priority": rule.priority,
        "direction": rule.direction,
        "access": rule.access,
        "protocol": if form == Form::Singular { protocol.to_uppercase() } else { protocol.to_owned() },
    });
    let is_group = |word: &&&str| **word == "asg";
    for (side, addresses, ports) in
        [("source", &rule.sources, &rule.source_ports), ("destination", &rule.destinations, &rule.ports)]
    {
        let prefixes: Vec<_> =
            addresses.iter().filter(|it| !is_group(it)).map(|it| (*it).to_owned()).collect();
        for (values, camel, snake) in
            [(prefixes, "AddressPrefix", "_address_prefix"), (words(ports), "PortRange", "_port_range")]
        {
            let plural = if camel == "AddressPrefix" { "es" } else { "s" };
            let one = name(&format!("{side}{camel}"), &format!("{side}{snake}"));
            let several = name(&format!("{side}{camel}{plural}"), &format!("{side}{snake}{plural}"));
            if let (Form::Singular | Form::Terraform, [value]) = (form, values.as_slice()) {
                out[one] = json!(format!(" {value}"));
                out[several] = if form == Form::Singular { json!([]) } else { Value::Null };
            } else {
                out[one] = json!("");
                out[several] = json!(values);
            }
        }
        if addresses.iter().any(|it| is_group(&it)) {
            match form {
                Form::Terraform => out[format!("{side}_application_security_group_ids")] = json!([ASG]),
                _ => out[format!("{side}ApplicationSecurityGroups")] = json!([{ "id": ASG }]),
            }
        }
    }
    if form != Form::Properties {
        return out;
    }
    let name = out["name"].take();
    json!({ "name": name, "properties": out })
}

/// A group of a subnet and one of interfaces.
fn document(subnet: &[Written], interface: &[Written], form: Form) -> String {
    let id = |kind: &str, name: &str| format!("/subscriptions/0/resourceGroups/g/providers/{kind}/{name}");
    let rules = |rules: &[Written]| rules.iter().map(|rule| json_rule(rule, form)).collect::<Vec<_>>();
    let (a, b) = (
        id("Microsoft.Network/networkSecurityGroups", "a"),
        id("Microsoft.Network/networkSecurityGroups", "b"),
    );
    let (subnet_id, interface_id) = (
        id("Microsoft.Network/virtualNetworks/v/subnets", "s"),
        id("Microsoft.Compute/virtualMachineScaleSets/v/virtualMachines/0/networkInterfaces", "n"),
    );
    let document = match form {
        Form::Terraform => {
            let resource = |kind: &str, values: Value| json!({ "type": kind, "values": values });
            let group = |name: &str, id: &str, own: &[Written]| {
                resource(
                    "azurerm_network_security_group",
                    json!({ "name": name, "id": id, "resource_group_name": "g", "security_rule": rules(own) }),
                )
            };
            json!({ "format_version": "1.0", "values": { "root_module": { "resources": [
                group("a", &a, subnet),
                group("b", &b, interface),
                resource("azurerm_subnet_network_security_group_association", json!({ "subnet_id": subnet_id, "network_security_group_id": a })),
                resource("azurerm_network_interface_security_group_association", json!({ "network_interface_id": interface_id, "network_security_group_id": b })),
            ] } } })
        }
        Form::Properties => json!({ "value": [
            { "name": "a", "id": a, "properties": { "securityRules": rules(subnet), "subnets": [{ "id": subnet_id }] } },
            { "name": "b", "id": b, "properties": { "securityRules": rules(interface), "networkInterfaces": [{ "id": interface_id }] } },
        ] }),
        Form::Plural | Form::Singular => json!([
            { "name": "a", "id": a, "securityRules": rules(subnet), "subnets": [{ "id": subnet_id }], "networkInterfaces": null },
            { "name": "b", "id": b, "securityRules": rules(interface), "networkInterfaces": [{ "id": interface_id }] },
        ]),
    };
    document.to_string()
}

fn declared(subnet: &[Written], interface: &[Written], form: Form) -> Declared {
    let source = |name: &str, text: String| Source::file(name, text);
    read(&[source("nsg.json", document(subnet, interface, form)), source("vnet.json", NETWORK.to_owned())])
        .unwrap()
}

fn flow(direction: Direction) -> Flow {
    let end = |networks: &[&str]| End {
        addresses: networks.iter().map(|it| Addresses::from(it.parse::<ipnet::IpNet>().unwrap())).collect(),
        extent: Extent::Every,
        text: "there".to_owned(),
    };
    let (outside, inside) = (
        end(&["203.0.113.0/24", "198.51.100.0/24", "192.0.2.1/32"]),
        end(&["10.224.0.4/31", "10.224.7.7/32"]),
    );
    let (source, destination) =
        if direction == Direction::Inbound { (outside, inside) } else { (inside, outside) };
    Flow { direction, protocol: Protocols::UDP, ports: Ports::span(39_990, 40_100), source, destination }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naive {
    Allowed,
    Denied,
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    direction: &'static str,
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    port: u16,
}

/// Whether the word covers the address; nothing if that cannot be known.
fn covers(word: &str, ip: IpAddr) -> Option<bool> {
    let IpAddr::V4(v4) = ip else { return Some(false) };
    let is_inside = v4.octets()[..2] == [10, 224];
    match word {
        "*" => Some(true),
        "Internet" => Some(!is_inside),
        "VirtualNetwork" => Some(is_inside),
        // None of the packets comes from there.
        "AzureLoadBalancer" => Some(false),
        "Storage.WestEurope" => {
            if is_inside {
                Some(false)
            } else {
                None
            }
        }
        "asg" => {
            if is_inside {
                None
            } else {
                Some(false)
            }
        }
        word => {
            Some(word.parse::<ipnet::IpNet>().map_or_else(|_| word.parse() == Ok(ip), |it| it.contains(&ip)))
        }
    }
}

fn any_of(matches: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let all: Vec<_> = matches.collect();
    match (all.contains(&Some(true)), all.contains(&None)) {
        (true, _) => Some(true),
        (false, true) => None,
        (false, false) => Some(false),
    }
}

fn matches(rule: &Written, packet: Packet) -> Option<bool> {
    let is_in = |ranges: &[(u16, u16)], port: u16| {
        Some(ranges.iter().any(|(first, last)| (*first..=*last).contains(&port)))
    };
    let protocol = match (rule.is_odd, rule.protocol) {
        (true, _) => None,
        (false, protocol) => Some(protocol == "*" || protocol == "Udp"),
    };
    let each = [
        protocol,
        any_of(rule.sources.iter().map(|word| covers(word, packet.source))),
        any_of(rule.destinations.iter().map(|word| covers(word, packet.destination))),
        is_in(&rule.source_ports, packet.source_port),
        is_in(&rule.ports, packet.port),
    ];
    if each.contains(&Some(false)) {
        Some(false)
    } else {
        each.iter().copied().collect::<Option<Vec<_>>>().map(|_| true)
    }
}

/// Everything that one group may do: whether it may allow it, and whether it may deny it.
fn naive_group(rules: &[Written], packet: Packet) -> (bool, bool) {
    let (mut may_allow, mut may_deny) = (false, false);
    for rule in rules.iter().filter(|rule| rule.direction == packet.direction) {
        let is_match = matches(rule, packet);
        if is_match != Some(false) {
            may_allow |= rule.access == "Allow";
            may_deny |= rule.access == "Deny";
        }
        if is_match == Some(true) {
            return (may_allow, may_deny);
        }
    }
    // Azure's own: inside and outside never meet here, so what comes in is denied and what goes out is allowed.
    if packet.direction == "Inbound" { (may_allow, true) } else { (true, may_deny) }
}

fn naive(subnet: &[Written], interface: &[Written], packet: Packet) -> Naive {
    let (first, second) = (naive_group(subnet, packet), naive_group(interface, packet));
    let may_allow = first.0 && second.0;
    let may_deny = first.1 || first.0 && second.1;
    match (may_allow, may_deny) {
        (true, false) => Naive::Allowed,
        (false, _) => Naive::Denied,
        (true, true) => Naive::Unknown,
    }
}

fn found(pieces: &[Piece], packet: Packet) -> Naive {
    let of: Vec<_> = pieces
        .iter()
        .filter(|piece| {
            let region = &piece.region;
            region.ports.has(packet.port)
                && region.source_ports.has(packet.source_port)
                && region.sources.contains(packet.source)
                && region.destinations.contains(packet.destination)
        })
        .collect();
    assert_eq!(of.len(), 1, "{packet:?} is in {} pieces", of.len());
    match of[0].fate {
        Fate::Allowed(_) => Naive::Allowed,
        Fate::Denied(_) | Fate::Closed => Naive::Denied,
        Fate::Unknown(_) | Fate::Unfinished(_) => Naive::Unknown,
    }
}

fn packets(direction: Direction, ports: impl Iterator<Item = u16> + Clone) -> impl Iterator<Item = Packet> {
    const OUTSIDE: [&str; 4] = ["203.0.113.1", "203.0.113.200", "198.51.100.7", "192.0.2.1"];
    const INSIDE: [&str; 3] = ["10.224.0.4", "10.224.0.5", "10.224.7.7"];
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let pairs = OUTSIDE.iter().flat_map(|outside| INSIDE.iter().map(|inside| (*outside, *inside)));
    let pairs: Vec<_> = pairs.map(|(outside, inside)| (ip(outside), ip(inside))).collect();
    pairs.into_iter().flat_map(move |(outside, inside)| {
        let (source, destination) =
            if direction == Direction::Inbound { (outside, inside) } else { (inside, outside) };
        ports.clone().flat_map(move |port| {
            [1500, 50_000].map(|source_port| Packet {
                direction: direction.word(),
                source,
                destination,
                source_port,
                port,
            })
        })
    })
}

/// Ports at which something can change, and their neighbours, within those of the flow.
fn borders(rules: &[&[Written]]) -> impl Iterator<Item = u16> + Clone + use<> {
    let ranges = rules.iter().copied().flatten().flat_map(|rule| rule.ports.clone());
    let ports =
        ranges.flat_map(|(first, last)| [first.saturating_sub(1), first, last, last.saturating_add(1)]);
    let ports: std::collections::BTreeSet<_> = ports.chain([39_990, 40_100]).collect();
    let ports: Vec<_> = ports.into_iter().filter(|port| (39_990..=40_100).contains(port)).collect();
    ports.into_iter()
}

fn any_direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(vec![Direction::Inbound, Direction::Inbound, Direction::Outbound])
}

fn any_form() -> impl Strategy<Value = Form> {
    prop::sample::select(vec![Form::Plural, Form::Singular, Form::Properties, Form::Terraform])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_answer_is_that_of_a_naive_evaluator_of_single_packets(
        subnet in any_rules(),
        interface in any_rules(),
        direction in any_direction(),
        form in any_form(),
    ) {
        let declared = declared(&subnet, &interface, form);
        prop_assert_eq!(declared.ways.len(), 1);
        let pieces = evaluate(&declared.ways[0], &declared.groups, &declared.knowledge, &flow(direction));
        for packet in packets(direction, borders(&[&subnet, &interface])) {
            prop_assert_eq!(found(&pieces, packet), naive(&subnet, &interface, packet), "{:?}: {:#?}", packet, pieces);
        }
    }

    #[test]
    fn each_form_of_the_same_rules_gives_the_same_answer(subnet in any_rules(), interface in any_rules(), direction in any_direction()) {
        let pieces = |form| {
            let declared = declared(&subnet, &interface, form);
            evaluate(&declared.ways[0], &declared.groups, &declared.knowledge, &flow(direction))
        };
        let plural = pieces(Form::Plural);
        for form in [Form::Singular, Form::Properties, Form::Terraform] {
            prop_assert_eq!(&pieces(form), &plural, "{:?}", form);
        }
    }

    #[test]
    fn a_rule_that_never_decides_can_be_taken_out(subnet in any_rules(), interface in any_rules(), direction in any_direction()) {
        let declared = declared(&subnet, &interface, Form::Plural);
        let without: Vec<_> = declared.groups.iter().map(|group| {
            let dead: Vec<_> = order(&declared).shadowed.into_iter().filter(|it| it.group == group).map(|it| it.rule.clone()).collect();
            let kept = group.rules().iter().filter(|rule| !dead.contains(rule)).cloned().collect();
            {
                    let mut rest = Group::new(group.name.clone(), group.id.clone(), None, kept);
                    rest.resolve(&declared.knowledge);
                    rest
                }
        }).collect();
        let before = evaluate(&declared.ways[0], &declared.groups, &declared.knowledge, &flow(direction));
        let after = evaluate(&declared.ways[0], &without, &declared.knowledge, &flow(direction));
        for packet in packets(direction, borders(&[&subnet, &interface])) {
            let (before, after) = (found(&before, packet), found(&after, packet));
            // Of a rule that may not be read as it is, less is in doubt without it.
            prop_assert!(before == after || before == Naive::Unknown, "{:?}: {:?} {:?}", packet, before, after);
        }
    }

    #[test]
    fn what_the_fix_says_lets_all_of_it_pass(subnet in any_rules(), interface in any_rules()) {
        let declared = declared(&subnet, &interface, Form::Plural);
        let wanted = Wanted { flows: vec!["udp/40000-40030".parse().unwrap()], ..Wanted::default() };
        for answer in answers(&declared, &wanted) {
            let Ok(fixes) = fixes(&answer) else { continue };
            let mut groups = declared.groups.clone();
            for fix in &fixes {
                let group = &groups[fix.group];
                let is_taken = group.directed(Direction::Inbound).any(|(_, it)| it.priority == fix.rule.priority);
                prop_assert!(!is_taken && fix.rule.priority.is_some_and(|it| (100..500).contains(&it)));
                groups[fix.group] = group.with(fix.rule.clone(), &declared.knowledge);
            }
            let pieces = evaluate(answer.way, &groups, &declared.knowledge, &answer.question.flow);
            let is_denied = pieces.iter().any(|piece| matches!(piece.fate, Fate::Denied(_)));
            prop_assert!(!is_denied, "{:#?}", pieces);
            prop_assert_eq!(fixes.is_empty(), matches!(answer.state(), State::Open | State::Unknown) && !answer.pieces.iter().any(|it| matches!(it.fate, Fate::Denied(_))));
        }
    }

    #[test]
    fn no_document_makes_reading_fail(text in "\\PC{0,200}", value in any_json()) {
        let source = |text: String| [Source::file("x", text)];
        let _ = read(&source(text));
        if let Ok(declared) = read(&source(value.to_string())) {
            answers(&declared, &Wanted::default());
            order(&declared);
        }
    }
}

/// Rules that differ in all dimensions at once, so that what is left of the packets falls into ever more parts.
fn shattering(count: u32) -> Vec<Written> {
    let mut state = 1_u64;
    let mut number = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut range = |first: u64, last: u64| {
        let (a, b) = (first + number(last - first), first + number(last - first));
        vec![(a.min(b) as u16, a.max(b) as u16)]
    };
    let rule = |at: u32| Written {
        priority: 100 + at,
        direction: "Inbound",
        access: if at.is_multiple_of(3) { "Deny" } else { "Allow" },
        protocol: "Udp",
        sources: vec![SOURCES[2 + at as usize % 3]],
        destinations: vec![DESTINATIONS[1 + at as usize % 3]],
        source_ports: range(1024, 60_000),
        ports: range(39_990, 40_100),
        is_odd: false,
    };
    (0..count).map(rule).collect()
}

#[test]
fn what_would_take_too_long_is_unfinished_and_what_is_answered_is_right() {
    let rules = shattering(2000);
    let declared = declared(&rules, &[], Form::Plural);
    let flow = flow(Direction::Inbound);
    let pieces = evaluate(&declared.ways[0], &declared.groups, &declared.knowledge, &flow);
    let (mut answered, mut unfinished) = (0, 0);
    for packet in packets(Direction::Inbound, 39_990..=40_100) {
        match found(&pieces, packet) {
            Naive::Unknown => unfinished += 1,
            told => {
                answered += 1;
                assert_eq!(told, naive(&rules, &[], packet), "{packet:?}");
            }
        }
    }
    assert!(answered > 100 && unfinished > 10, "{answered} {unfinished}");
    let wanted = Wanted { flows: vec!["udp/39990-40100".parse().unwrap()], ..Wanted::default() };
    let answer = &answers(&declared, &wanted)[0];
    assert!(answer.is_unfinished() && answer.state() != State::Open, "{:?}", answer.state());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn it_is_so_for_every_port_there_is(subnet in any_rules(), interface in any_rules()) {
        let declared = declared(&subnet, &interface, Form::Plural);
        let flow = Flow { ports: Ports::all(), ..flow(Direction::Inbound) };
        let pieces = evaluate(&declared.ways[0], &declared.groups, &declared.knowledge, &flow);
        let one = (0..=u16::MAX).map(|port| Packet {
            direction: "Inbound",
            source: [203, 0, 113, 200].into(),
            destination: [10, 224, 0, 4].into(),
            source_port: 50_000,
            port,
        });
        for packet in one {
            prop_assert_eq!(found(&pieces, packet), naive(&subnet, &interface, packet));
        }
    }
}

/// Documents with the names that are looked for, and anything behind them.
fn any_json() -> impl Strategy<Value = Value> {
    let names = vec![
        "securityRules",
        "defaultSecurityRules",
        "properties",
        "name",
        "id",
        "priority",
        "access",
        "direction",
        "protocol",
        "sourceAddressPrefix",
        "destinationAddressPrefixes",
        "destinationPortRange",
        "sourcePortRanges",
        "value",
        "resources",
        "$schema",
        "values",
        "root_module",
        "planned_values",
        "type",
        "effectiveSecurityRules",
        "association",
        "subnet",
        "tagMap",
        "ipConfigurations",
        "frontendIPConfigurations",
        "loadBalancingRules",
        "addressSpace",
        "addressPrefixes",
        "sources",
        "networkInterfaces",
        "securityRuleAssociations",
        "kind",
        "spec",
        "ports",
        "networkProfile",
        "loadBalancerProfile",
    ];
    let words = vec![
        "",
        "*",
        "Allow",
        "Inbound",
        "Udp",
        "10.0.0.0/8",
        "0-65535",
        "[parameters('x')]",
        "Internet",
        "9-1",
        "Service",
        "Microsoft.Network/networkSecurityGroups",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<u32>().prop_map(Value::from),
        prop::sample::select(words).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 96, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(names.clone()), inner), 0..8).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}
