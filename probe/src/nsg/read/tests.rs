//! Documents of every kind, whole and broken.

use super::*;
use crate::nsg::{
    answer::{State, answers},
    question::{Purpose, Wanted},
    rules::{Layer, Operand},
};

const AKS: &str = include_str!("../../../../tests/lab/nsg/aks.json");
const OWN_NETWORK: &str = include_str!("../../../../tests/lab/nsg/own-network.json");

pub(super) fn given(texts: &[&str]) -> Declared {
    let sources: Vec<_> =
        texts.iter().enumerate().map(|(at, text)| Source::file(format!("{at}.json"), *text)).collect();
    read(&sources).unwrap()
}

/// What becomes of the flow, on each way.
pub(super) fn states(declared: &Declared, flow: &str, to: &str) -> Vec<State> {
    let wanted =
        Wanted { flows: vec![flow.parse().unwrap()], to: Some(to.parse().unwrap()), ..Wanted::default() };
    answers(declared, &wanted).iter().map(super::super::answer::Answer::state).collect()
}

pub(super) fn oddities(declared: &Declared) -> Vec<String> {
    declared.oddities.iter().map(|odd| format!("{}: {}", odd.place, odd.what)).collect()
}

#[test]
fn what_az_prints_of_a_cluster_is_one_way_with_the_entrance_in_it() {
    let declared = given(&[AKS]);
    assert_eq!(declared.frontends, ["203.0.113.10".parse::<IpAddr>().unwrap()]);
    assert_eq!(declared.ways.len(), 1);
    assert_eq!(declared.ways[0].layers, [(Layer::Subnet, 0)]);
    assert_eq!(oddities(&declared), [""; 0]);
    assert_eq!(states(&declared, "tcp/80,443,4443,5349", "Entrance"), [State::Open]);
    assert_eq!(states(&declared, "tcp/80,443,4443,5349", "Node"), [State::Closed]);
    assert_eq!(states(&declared, "udp/40000-49999", "Node"), [State::Closed]);
}

#[test]
fn groups_of_a_subnet_and_of_interfaces_are_both_asked() {
    let declared = given(&[OWN_NETWORK]);
    assert_eq!(declared.ways[0].layers, [(Layer::Subnet, 0), (Layer::Interface, 1)]);
    assert_eq!(states(&declared, "tcp/443", "203.0.113.10"), [State::Open]);
}

pub(super) const RULE: &str = r#"{"name": "media", "priority": 200, "direction": "Inbound", "access": "Allow", "protocol": "Udp",
    "sourceAddressPrefix": "Internet", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "40000-49999"}"#;

#[test]
fn one_odd_rule_never_loses_the_file_and_is_unknown_where_it_stands() {
    for (odd, what) in [
        (RULE.replace("200", "\"soon\""), "priority"),
        (RULE.replace("Inbound", "Sideways"), "direction \"sideways\" is not known"),
        (RULE.replace("Allow", "Perhaps"), "access \"perhaps\" is not known"),
        (RULE.replace("Udp", "Pigeon"), "protocol \"pigeon\" is not known"),
        (RULE.replace("40000-49999", "49999-40000"), "is no range of destination ports"),
        (RULE.replace("\"40000-49999\"", "40000"), "no text and no list of texts"),
        (RULE.replace("\"Internet\"", "\"300.1.2.3/8\""), "is neither a network nor a service tag"),
        (RULE.replace("\"Internet\"", "null"), "it names no source"),
        (RULE.replace("\"Internet\"", "\"[parameters('who')]\""), "cannot be resolved from the file"),
    ] {
        let good = RULE
            .replace("media", "web")
            .replace("200", "300")
            .replace("Udp", "Tcp")
            .replace("40000-49999", "443");
        let text = format!(r#"[{{"name": "g", "securityRules": [{odd}, {good}]}}]"#);
        let declared = given(&[&text]);
        let told = oddities(&declared);
        assert!(told.len() == 1 && told[0].starts_with("0.json $[0].securityRules[0]: media: "), "{told:?}");
        assert!(told[0].contains(what), "{told:?}");
        assert_eq!(states(&declared, "tcp/443", "10.0.0.4"), [State::Open], "{odd}");
        assert_eq!(states(&declared, "udp/40000-49999", "10.0.0.4"), [State::Unknown], "{odd}");
        assert_eq!(states(&declared, "tcp/22", "10.0.0.4").len(), 1);
    }
}

#[test]
fn two_rules_with_one_priority_are_told() {
    let other = RULE.replace("media", "other");
    let declared = given(&[&format!(r#"{{"name": "g", "securityRules": [{RULE}, {other}]}}"#)]);
    assert!(
        oddities(&declared)[0].contains("other and media both have the priority 200"),
        "{:?}",
        oddities(&declared)
    );
}

#[test]
fn a_priority_that_azure_does_not_take_is_told() {
    let declared = given(&[&format!(r#"{{"name": "g", "securityRules": [{}]}}"#, RULE.replace("200", "50"))]);
    assert!(oddities(&declared)[0].contains("Azure takes no priority 50"));
}

#[test]
fn rules_that_are_listed_without_their_group_are_a_group() {
    let id = r#""id": "/subscriptions/0/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/nsg/securityRules/media", "#;
    let listed = format!("[{}]", RULE.replacen('{', &format!("{{{id}"), 1));
    let declared = given(&[&listed]);
    assert_eq!(declared.groups[0].name, "nsg");
    assert_eq!(states(&declared, "udp/40000-49999", "10.0.0.4"), [State::Open]);
}

pub(super) const EFFECTIVE: &str = r#"{"value": [
  {"networkSecurityGroup": {"id": "/subscriptions/0/resourceGroups/MC/providers/Microsoft.Network/networkSecurityGroups/subnet-nsg"},
   "association": {"subnet": {"id": "/x/subnets/s"}},
   "effectiveSecurityRules": [
     {"name": "securityRules/media", "protocol": "Udp", "direction": "Inbound", "access": "Allow", "priority": 200,
      "sourcePortRange": "0-65535", "destinationPortRange": "40000-49999", "sourceAddressPrefix": "Internet",
      "expandedSourceAddressPrefix": ["0.0.0.0/1", "128.0.0.0/1"], "destinationAddressPrefix": "0.0.0.0/0"},
     {"name": "securityRules/front", "protocol": "Tcp", "direction": "Inbound", "access": "Deny", "priority": 210,
      "sourcePortRange": "0-65535", "destinationPortRange": "443-443", "sourceAddressPrefix": "AzureFrontDoor.Backend",
      "destinationAddressPrefix": "0.0.0.0/0"},
     {"name": "securityRules/web", "protocol": "Tcp", "direction": "Inbound", "access": "Allow", "priority": 220,
      "sourcePortRanges": ["0-65535"], "destinationPortRanges": ["443-443"], "sourceAddressPrefixes": ["0.0.0.0/0"],
      "destinationAddressPrefixes": ["0.0.0.0/0"]},
     {"name": "defaultSecurityRules/DenyAllInBound", "protocol": "All", "direction": "Inbound", "access": "Deny", "priority": 65500,
      "sourcePortRange": "0-65535", "destinationPortRange": "0-65535", "sourceAddressPrefix": "0.0.0.0/0", "destinationAddressPrefix": "0.0.0.0/0"}],
   "tagMap": {"VirtualNetwork": ["10.224.0.0/12", "168.63.129.16/32"], "AzureFrontDoor.Backend": ["203.0.113.128/25"]}},
  {"networkSecurityGroup": {"id": "/subscriptions/0/resourceGroups/MC/providers/Microsoft.Network/networkSecurityGroups/aks-agentpool-1-nsg"},
   "association": {"networkInterface": {"id": "/x/networkInterfaces/nic-1"}},
   "effectiveSecurityRules": [
     {"name": "securityRules/all", "protocol": "All", "direction": "Inbound", "access": "Allow", "priority": 200,
      "sourcePortRange": "0-65535", "destinationPortRange": "0-65535", "sourceAddressPrefix": "0.0.0.0/0", "destinationAddressPrefix": "0.0.0.0/0"}]}
]}"#;

#[test]
fn what_is_in_effect_at_an_interface_is_read_with_what_tags_stand_for() {
    let declared = given(&[EFFECTIVE]);
    assert_eq!(oddities(&declared), [""; 0]);
    assert_eq!(declared.ways.len(), 1);
    assert_eq!(declared.ways[0].layers.len(), 2);
    assert_eq!(declared.groups[0].name, "subnet-nsg");
    assert_eq!(states(&declared, "udp/40000-49999", "10.224.0.4"), [State::Open]);
    // The service tag denies a part of the internet, and it is known which.
    assert_eq!(states(&declared, "tcp/443", "10.224.0.4"), [State::Partly]);
    assert_eq!(states(&declared, "tcp/444", "10.224.0.4"), [State::Closed]);
}

#[test]
fn a_service_tag_that_nothing_expands_is_unknown() {
    let declared = given(&[&EFFECTIVE.replace(", \"AzureFrontDoor.Backend\": [\"203.0.113.128/25\"]", "")]);
    assert_eq!(states(&declared, "tcp/443", "10.224.0.4"), [State::Unknown]);
    assert_eq!(states(&declared, "udp/40000-49999", "10.224.0.4"), [State::Open]);
}

#[test]
fn network_watchers_view_of_a_machine_is_read() {
    let deny = r#"{"name": "DefaultInboundDenyAll", "protocol": "All", "direction": "Inbound", "access": "Deny", "priority": 65500,
        "sourcePortRange": "0-65535", "destinationPortRange": "0-65535", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*"}"#;
    let text = format!(
        r#"{{"networkInterfaces": [{{"id": "/x/networkInterfaces/n", "securityRuleAssociations": {{
            "networkInterfaceAssociation": {{"id": "/x/networkInterfaces/n", "securityRules": [{RULE}]}},
            "subnetAssociation": null, "defaultSecurityRules": [{deny}], "effectiveSecurityRules": []}}}}]}}"#
    );
    let declared = given(&[&text]);
    assert_eq!(states(&declared, "udp/39999-50000", "10.0.0.4"), [State::Partly]);
}

#[test]
fn a_template_is_read_with_its_parameters_and_what_it_does_not_say_is_unknown() {
    let rule = |name: &str, ports: &str, source: &str| {
        format!(
            r#"{{"type": "Microsoft.Network/networkSecurityGroups/securityRules", "name": "[concat(parameters('nsg'), '/{name}')]",
                "properties": {{"priority": 200, "direction": "Inbound", "access": "Allow", "protocol": "Udp", "sourcePortRange": "*",
                "destinationPortRange": "{ports}", "sourceAddressPrefix": "{source}", "destinationAddressPrefix": "*"}}}}"#
        )
    };
    let template = |rule: &str| {
        format!(
            r#"{{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
                "parameters": {{"nsg": {{"defaultValue": "hubs-nsg", "type": "String"}}, "who": {{"type": "String"}}}},
                "variables": {{"media": "40000-49999"}},
                "resources": [{{"type": "Microsoft.Network/networkSecurityGroups", "name": "[parameters('nsg')]", "properties": {{"securityRules": []}}}}, {rule}]}}"#
        )
    };
    let declared = given(&[&template(&rule("media", "[variables('media')]", "Internet"))]);
    assert_eq!((declared.groups.len(), declared.groups[0].name.as_str()), (1, "hubs-nsg"));
    assert_eq!(declared.groups[0].rules()[0].name, "media");
    assert_eq!(states(&declared, "udp/40000-49999", "10.0.0.4"), [State::Open]);
    let unresolved = given(&[&template(&rule("media", "40000-49999", "[parameters('who')]"))]);
    assert_eq!(states(&unresolved, "udp/40000-49999", "10.0.0.4"), [State::Unknown]);
    assert!(oddities(&unresolved)[0].contains("[parameters('who')]"));
}

#[test]
fn interfaces_tell_which_groups_are_on_the_way_to_which_node() {
    let nsg = "/subscriptions/0/resourceGroups/MC/providers/Microsoft.Network/networkSecurityGroups";
    let subnet =
        "/subscriptions/0/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/nodes";
    let asg =
        "/subscriptions/0/resourceGroups/MC/providers/Microsoft.Network/applicationSecurityGroups/media";
    let to_group = RULE.replace(
        "\"destinationAddressPrefix\": \"*\"",
        &format!("\"destinationApplicationSecurityGroups\": [{{\"id\": \"{asg}\"}}]"),
    );
    let groups = format!(
        r#"[{{"id": "{nsg}/a", "name": "a", "securityRules": [{to_group}]}}, {{"id": "{nsg}/unused", "name": "unused", "securityRules": []}}]"#
    );
    let subnet_file = format!(
        r#"{{"id": "{subnet}", "addressPrefix": "10.224.0.0/16", "networkSecurityGroup": {{"id": "{nsg}/A"}}}}"#
    );
    let nic = |name: &str, ip: &str, groups: &str| {
        format!(
            r#"{{"id": "/subscriptions/0/resourceGroups/MC/providers/Microsoft.Compute/virtualMachineScaleSets/v/virtualMachines/0/networkInterfaces/{name}",
                "ipConfigurations": [{{"privateIPAddress": "{ip}", "subnet": {{"id": "{subnet}"}}, "applicationSecurityGroups": {groups}}}]}}"#
        )
    };
    let members = format!(r#"[{{"id": "{asg}"}}]"#);
    let interfaces =
        format!("[{}, {}]", nic("one", "10.224.0.4", &members), nic("two", "10.224.0.5", "null"));
    let declared = given(&[&groups, &subnet_file, &interfaces]);
    assert_eq!(declared.ways.len(), 1, "both have the same groups");
    assert_eq!(declared.ways[0].nodes.to_string(), "10.224.0.4/31");
    assert_eq!(
        states(&declared, "udp/40000-49999", "Node"),
        [State::Partly],
        "one of the two is in the group"
    );
    assert_eq!(states(&declared, "udp/40000-49999", "10.224.0.4"), [State::Open]);
    let without = given(&[&groups, &subnet_file]);
    assert_eq!(
        states(&without, "udp/40000-49999", "10.224.0.4"),
        [State::Unknown],
        "who is in the group is not known"
    );
    assert!(
        oddities(&without).iter().any(|odd| odd.contains("unused belongs to no subnet")),
        "{:?}",
        oddities(&without)
    );
}

#[test]
fn a_subnet_without_any_group_is_closed_to_the_internet_and_open_inside() {
    let declared = given(&[
        r#"{"id": "/x/subnets/nodes", "addressPrefix": "10.224.0.0/16", "networkSecurityGroup": null}"#,
    ]);
    assert_eq!(states(&declared, "udp/40000-49999", "Node"), [State::Closed]);
    let answers = answers(&declared, &Wanted::default());
    let inside = answers.iter().filter(|it| it.purpose() == Purpose::Inside);
    assert!(inside.clone().count() == 2 && inside.clone().all(|it| it.state() == State::Open));
}

#[test]
fn the_load_balancer_tells_what_it_forwards_and_which_address_only_leads_out() {
    let id = |kind: &str, name: &str| {
        format!("/subscriptions/0/resourceGroups/MC/providers/Microsoft.Network/{kind}/{name}")
    };
    let (inward, outward) = (id("publicIPAddresses", "in"), id("publicIPAddresses", "out"));
    let (front, back) = (
        id("loadBalancers/kubernetes/frontendIPConfigurations", "a"),
        id("loadBalancers/kubernetes/frontendIPConfigurations", "b"),
    );
    let balancer = |floating: bool| {
        format!(
            r#"[{{"name": "kubernetes",
                "frontendIPConfigurations": [{{"id": "{front}", "publicIPAddress": {{"id": "{inward}"}}}}, {{"id": "{back}", "publicIPAddress": {{"id": "{outward}"}}}}],
                "loadBalancingRules": [
                    {{"protocol": "Tcp", "frontendPort": 443, "backendPort": 30443, "enableFloatingIP": {floating}, "frontendIPConfiguration": {{"id": "{front}"}}}},
                    {{"protocol": "Tcp", "frontendPort": 5349, "backendPort": 30534, "enableFloatingIP": {floating}, "frontendIPConfiguration": {{"id": "{front}"}}}}],
                "outboundRules": [{{"frontendIPConfigurations": [{{"id": "{back}"}}]}}]}}]"#
        )
    };
    let addresses = format!(
        r#"[{{"id": "{inward}", "ipAddress": "203.0.113.10"}}, {{"id": "{outward}", "ipAddress": "203.0.113.9"}}]"#
    );
    let rule = RULE.replace("Udp", "Tcp").replace("40000-49999", "30534");
    let group = format!(r#"{{"name": "g", "securityRules": [{rule}]}}"#);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let turn = |declared: &Declared| {
        let answers = answers(declared, &Wanted::default());
        answers.iter().find(|it| it.purpose() == Purpose::Turn).map(|it| (it.question.target(), it.state()))
    };
    let floating = given(&[&balancer(true), &addresses, &group]);
    assert_eq!(
        (&floating.frontends, &floating.outbound_addresses),
        (&vec![ip("203.0.113.10")], &vec![ip("203.0.113.9")])
    );
    let ports: Vec<_> = floating.forwarded.iter().flatten().map(|it| it.ports.0).collect();
    assert_eq!(ports, [443, 5349]);
    assert_eq!(turn(&floating), Some(("tcp/5349".to_owned(), State::Closed)));
    // Without a floating address packets come to the node and its port.
    assert_eq!(
        turn(&given(&[&balancer(false), &addresses, &group])),
        Some(("tcp/5349".to_owned(), State::Open))
    );
}

#[test]
fn a_service_tells_what_is_forwarded() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [{"kind": "Service", "metadata": {"name": "lb"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 443, "protocol": "TCP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}}]}"#;
    let declared = given(&[text, AKS]);
    assert_eq!(declared.forwarded.unwrap().iter().map(|it| it.ports.0).collect::<Vec<_>>(), [443]);
}

#[test]
fn the_rules_of_an_administrator_come_before_all_groups() {
    let admin = |access: &str| {
        format!(
            r#"[{{"name": "no-udp", "kind": "Custom", "priority": 10, "direction": "Inbound", "access": "{access}", "protocol": "Udp",
                "sources": [{{"addressPrefix": "*", "addressPrefixType": "IPPrefix"}}], "destinations": [{{"addressPrefix": "*", "addressPrefixType": "IPPrefix"}}],
                "sourcePortRanges": ["0-65535"], "destinationPortRanges": ["0-65535"]}}]"#
        )
    };
    let group = format!(r#"{{"name": "g", "securityRules": [{RULE}]}}"#);
    let media = |access: &str| states(&given(&[&group, &admin(access)]), "udp/40000-50000", "10.0.0.4");
    assert_eq!(media("Deny"), [State::Closed]);
    assert_eq!(media("Allow"), [State::Partly], "then the group is asked");
    assert_eq!(media("AlwaysAllow"), [State::Open], "then it is not");
}

#[test]
fn what_is_nothing_of_azures_is_a_mistake() {
    for text in ["{", "{}", "[1]", r#"{"kind": "Pod"}"#] {
        assert!(read(&[Source::file("x", text)]).is_err(), "{text}");
    }
    assert!(given(&["[]"]).ways.is_empty());
}

#[test]
fn tags_are_read_whatever_their_case() {
    let group = format!(
        r#"{{"name": "g", "securityRules": [{}]}}"#,
        RULE.replace("Internet", "INTERNET").replace("Udp", "udp")
    );
    let declared = given(&[&group]);
    assert_eq!(declared.groups[0].rules()[0].sources, [Operand::Tag("INTERNET".to_owned())]);
    assert_eq!(states(&declared, "udp/40000-49999", "10.0.0.4"), [State::Open]);
}
