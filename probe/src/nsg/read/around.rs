//! What stands around groups in real networks: subnets in use, rules that are told twice, groups of other machines, peers.

use super::{
    gaps::{GROUP, asked, deployed, terraform},
    tests::{RULE, given, oddities, states},
    *,
};
use crate::nsg::{answer::State, question::Purpose, rules::Layer};

const NETWORK: &str = "/subscriptions/0/resourceGroups/MC/providers/Microsoft.Network";
const MEDIA: &str = "udp/40000-49999";

/// A group of this name and these rules, and more of it.
fn group(name: &str, rules: &str, more: &str) -> String {
    format!(
        r#"{{"id": "{NETWORK}/networkSecurityGroups/{name}", "name": "{name}", "securityRules": [{rules}]{more}}}"#
    )
}

/// That it stands before this subnet.
fn of_subnet(name: &str) -> String {
    format!(r#", "subnets": [{{"id": "{NETWORK}/virtualNetworks/v/subnets/{name}"}}]"#)
}

/// That it stands before this interface.
fn of_interface(id: &str) -> String {
    format!(r#", "networkInterfaces": [{{"id": "{id}"}}]"#)
}

/// The groups on each way, by their names.
fn ways(declared: &Declared) -> Vec<Vec<(Layer, &str)>> {
    let name = |(layer, at): &(Layer, usize)| (*layer, declared.groups[*at].name.as_str());
    declared.ways.iter().map(|way| way.layers.iter().map(name).collect()).collect()
}

#[test]
fn a_subnet_in_use_is_a_subnet_and_no_interface() {
    for prefix in [
        r#""addressPrefix": "10.224.0.0/16", "addressPrefixes": null"#,
        r#""addressPrefix": null, "addressPrefixes": ["10.224.0.0/16"]"#,
        r#""ipamPoolPrefixAllocations": [{}]"#,
    ] {
        let subnet = format!(
            r#"{{"id": "{NETWORK}/virtualNetworks/v/subnets/aks", "name": "aks", {prefix},
                "networkSecurityGroup": {{"id": "{NETWORK}/networkSecurityGroups/nodes"}},
                "ipConfigurations": [{{"id": "{NETWORK}/x/ipConfigurations/ipconfig1"}}],
                "ipConfigurationProfiles": [{{"id": "{NETWORK}/y"}}], "privateEndpoints": [{{"id": "{NETWORK}/privateEndpoints/e"}}]}}"#
        );
        let declared = given(&[&group("nodes", RULE, ""), &subnet]);
        assert_eq!(oddities(&declared), [""; 0]);
        assert_eq!(ways(&declared), [[(Layer::Subnet, "nodes")]]);
        assert_eq!(declared.ways[0].nodes.is_empty(), prefix.contains("Pool"));
        assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
    }
}

#[test]
fn what_else_has_an_address_in_the_network_is_no_node() {
    let subnet = "[resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 'aks')]";
    let (name, rest) = RULE.strip_prefix('{').and_then(|it| it.split_once(',')).unwrap();
    let of_template = |kind: &str, configurations: &str| {
        deployed(&format!(
            r#"[{{"type": "Microsoft.Network/networkSecurityGroups", "name": "n", "properties": {{"securityRules": [{{{name}, "properties": {{{rest}}}]}}}},
                {{"type": "Microsoft.Network/virtualNetworks", "name": "v", "properties": {{"addressSpace": {{"addressPrefixes": ["10.224.0.0/12"]}}, "subnets": [{{"name": "aks", "properties": {{
                    "addressPrefix": "10.224.0.0/16", "networkSecurityGroup": {{"id": "[resourceId('Microsoft.Network/networkSecurityGroups', 'n')]"}}}}}}]}}}},
                {{"type": "Microsoft.Network/{kind}", "name": "it", "properties": {{"subnet": {{"id": "{subnet}"}}, "ipConfigurations": [{configurations}]}}}}]"#
        ))
    };
    let configuration = |address: &str| {
        format!(r#"{{"name": "c", "properties": {{"subnet": {{"id": "{subnet}"}}{address}}}}}"#)
    };
    let with_address = configuration(r#", "privateIPAddress": "10.224.0.9""#);
    for (kind, configurations) in [
        ("privateEndpoints", ""),
        ("privateEndpoints", with_address.as_str()),
        ("bastionHosts", configuration("").as_str()),
        ("azureFirewalls", with_address.as_str()),
    ] {
        let declared = given(&[&of_template(kind, configurations)]);
        assert_eq!(oddities(&declared), [""; 0], "{kind}");
        assert_eq!(ways(&declared), [[(Layer::Subnet, "n")]], "{kind}");
        assert_eq!(declared.ways[0].nodes.to_string(), "10.224.0.0/16", "{kind}");
        assert_eq!(states(&declared, MEDIA, "Node"), [State::Open], "{kind}");
    }
    // Such an endpoint has an interface of its own besides.
    let interface = |name: &str, ip: &str, of: &str| {
        format!(
            r#"{{"id": "{NETWORK}/networkInterfaces/{name}", "privateEndpoint": {of}, "ipConfigurations": [
                {{"privateIPAddress": "{ip}", "subnet": {{"id": "{NETWORK}/virtualNetworks/v/subnets/aks"}}}}]}}"#
        )
    };
    let of_endpoint = interface(
        "kube-apiserver.nic",
        "10.224.0.9",
        &format!(r#"{{"id": "{NETWORK}/privateEndpoints/e"}}"#),
    );
    let interfaces = format!("[{}, {of_endpoint}]", interface("node", "10.224.0.4", "null"));
    let declared = given(&[&group("nodes", RULE, &of_subnet("aks")), &interfaces]);
    assert_eq!(declared.ways[0].nodes.to_string(), "10.224.0.4");
}

#[test]
fn a_rule_that_is_told_with_its_group_and_by_itself_is_one_rule() {
    let of_group =
        format!(r#"{{"id": "/g", "name": "nsg", "resource_group_name": "MC", "security_rule": [{RULE}]}}"#);
    let apart = |rule: &str| {
        let more = r#"{"network_security_group_name": "NSG", "resource_group_name": "mc", "#;
        rule.replacen('{', more, 1).replace("media", "Media")
    };
    let of_state = |rule: &str| {
        let rule = ("azurerm_network_security_rule", apart(rule));
        given(&[&terraform(false, &[(GROUP, &of_group), (rule.0, &rule.1)])])
    };
    let declared = of_state(RULE);
    assert_eq!((declared.groups.len(), declared.rules), (1, 1));
    assert_eq!(oddities(&declared), [""; 0]);
    // Of two that differ, Terraform's own resource is what it makes of the group.
    let declared = of_state(&RULE.replace("40000-49999", "50000-59999"));
    assert_eq!(declared.rules, 1);
    assert!(oddities(&declared)[0].contains("its group has a rule of this name that differs"));
    assert_eq!(states(&declared, "udp/50000-59999", "10.0.0.4"), [State::Open]);
    assert_eq!(states(&declared, MEDIA, "10.0.0.4"), [State::Closed]);
    // As `az network nsg rule list` prints them.
    let id = format!(r#"{{"id": "{NETWORK}/networkSecurityGroups/nsg/securityRules/media", "#);
    let listed = |rule: &str| format!("[{}]", rule.replacen('{', &id, 1));
    let declared = given(&[&group("nsg", RULE, ""), &listed(RULE)]);
    assert_eq!((declared.groups.len(), declared.rules), (1, 1));
    assert_eq!(oddities(&declared), [""; 0]);
    let declared = given(&[&group("nsg", RULE, ""), &listed(&RULE.replace("40000-49999", "50000-59999"))]);
    assert_eq!(declared.rules, 1);
    assert!(oddities(&declared)[0].contains("its group has a rule of this name that differs"));
    assert_eq!(states(&declared, MEDIA, "10.0.0.4"), [State::Open]);
}

#[test]
fn groups_of_one_name_in_two_resource_groups_each_have_their_own_rules() {
    let of = |container: &str| {
        format!(
            r#"{{"id": "/subscriptions/0/resourceGroups/{container}/providers/Microsoft.Network/networkSecurityGroups/nsg", "name": "nsg",
                "resource_group_name": "{container}", "security_rule": []}}"#
        )
    };
    let rule = |container: &str, name: &str| {
        let more = format!(
            r#"{{"network_security_group_name": "nsg", "resource_group_name": "{container}", "name": "{name}", "#
        );
        RULE.replace(r#""name": "media", "#, "").replacen('{', &more, 1)
    };
    let kind = "azurerm_network_security_rule";
    let declared = given(&[&terraform(
        false,
        &[(GROUP, &of("one")), (GROUP, &of("two")), (kind, &rule("Two", "b")), (kind, &rule("one", "a"))],
    )]);
    let own = |group: &Group| -> Vec<_> {
        let own = group.rules().iter().filter(|it| !it.is_default);
        own.map(|it| it.name.clone()).collect()
    };
    let own: Vec<_> = declared.groups.iter().map(|it| (it.container.clone().unwrap(), own(it))).collect();
    assert_eq!(own, [("one".to_owned(), vec!["a".to_owned()]), ("two".to_owned(), vec!["b".to_owned()])]);
}

#[test]
fn subnets_that_terraform_declares_within_their_network_are_read() {
    let network = |group: &str| {
        format!(
            r#"{{"id": "/v", "name": "v", "address_space": ["10.224.0.0/12"],
                "subnet": [{{"name": "aks", "id": "/v/subnets/aks", "address_prefixes": ["10.224.0.0/16"], "security_group": "{group}"}}]}}"#
        )
    };
    let of =
        |id: &str, rules: &str| format!(r#"{{"id": "{id}", "name": "n{id}", "security_rule": [{rules}]}}"#);
    let (nodes, other) = (of("/g", RULE), of("/other", ""));
    let of_state = |group: &str| {
        given(&[&terraform(
            false,
            &[("azurerm_virtual_network", &network(group)), (GROUP, &nodes), (GROUP, &other)],
        )])
    };
    let declared = of_state("/G");
    assert_eq!(ways(&declared), [[(Layer::Subnet, "n/g")]]);
    assert_eq!(declared.ways[0].nodes.to_string(), "10.224.0.0/16");
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
    let told = oddities(&declared);
    assert!(told.len() == 1 && told[0].contains("n/other belongs to no subnet"), "{told:?}");
    // Of a plan: which group it is may follow from what it refers to, and otherwise is not known.
    let planned = |references: &str| {
        format!(
            r#"{{"planned_values": {{"root_module": {{"resources": [
                    {{"address": "azurerm_virtual_network.v", "type": "azurerm_virtual_network", "values": {{"name": "v", "address_space": ["10.224.0.0/12"],
                        "subnet": [{{"name": "aks", "address_prefixes": ["10.224.0.0/16"]}}]}}}},
                    {{"address": "{GROUP}.n", "type": "{GROUP}", "values": {{"name": "n", "security_rule": [{RULE}]}}}}]}}}},
                "configuration": {{"root_module": {{"resources": [
                    {{"address": "{GROUP}.n", "type": "{GROUP}", "expressions": {{}}}},
                    {{"address": "azurerm_virtual_network.v", "type": "azurerm_virtual_network",
                        "expressions": {{"subnet": [{{"security_group": {{"references": [{references}]}}}}]}}}}]}}}}}}"#
        )
    };
    let declared = given(&[&planned(&format!(r#""{GROUP}.n.id", "{GROUP}.n""#))]);
    assert_eq!(ways(&declared), [[(Layer::Subnet, "n")]]);
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
    let declared = given(&[&planned(r#""var.group""#)]);
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Unknown]);
}

#[test]
fn a_group_of_other_machines_is_not_on_the_way_to_the_clusters_nodes() {
    let jump =
        |name: &str| group(name, "", &of_interface(&format!("{NETWORK}/networkInterfaces/jumpbox-nic")));
    let at_subnet = group("aks-agentpool-1-nsg", RULE, &of_subnet("aks"));
    let declared = given(&[&at_subnet, &jump("jump")]);
    assert_eq!(ways(&declared), [[(Layer::Subnet, "aks-agentpool-1-nsg")]]);
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
    let told = oddities(&declared);
    assert!(told.len() == 1 && told[0].contains("jump stands before interfaces"), "{told:?}");
    // In a network of one's own, AKS puts its group before the interfaces.
    let own = group("own", RULE, &of_subnet("aks"));
    for (name, id) in [
        ("aks-agentpool-1-nsg", "/x/networkInterfaces/a"),
        ("g", "/x/virtualMachineScaleSets/aks-vmss/virtualMachines/0/networkInterfaces/a"),
    ] {
        let at_nodes = group(name, RULE, &of_interface(id));
        let declared = given(&[&own, &at_nodes, &jump("jump")]);
        assert_eq!(ways(&declared), [[(Layer::Subnet, "own"), (Layer::Interface, name)]]);
        assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
        let declared = given(&[&at_nodes, &jump("jump")]);
        assert_eq!(ways(&declared), [[(Layer::Interface, name)]]);
    }
}

#[test]
fn what_a_group_does_of_which_nobody_says_whose_it_is_is_in_doubt() {
    let own = group("own", RULE, &of_subnet("nodes"));
    let at_interface =
        |rules: &str| group("other", rules, &of_interface(&format!("{NETWORK}/networkInterfaces/n")));
    let declared = given(&[&own, &at_interface("")]);
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Unknown]);
    assert_eq!(declared.rules, 1);
    // Whatever it lets in, the subnet's does not.
    assert_eq!(states(&declared, "tcp/22", "Node"), [State::Closed]);
    assert_eq!(states(&given(&[&own, &at_interface(RULE)]), MEDIA, "Node"), [State::Open]);
    // Where nothing else is known it is taken for the one that counts.
    assert_eq!(states(&given(&[&at_interface(RULE)]), MEDIA, "Node"), [State::Open]);
}

#[test]
fn of_many_groups_each_is_on_some_way_and_the_ways_stay_few() {
    let many = |count: usize, of: &dyn Fn(usize) -> String| {
        let groups: Vec<_> = (0..count).map(of).collect();
        format!("[{}]", groups.join(", "))
    };
    let subnets = |count| many(count, &|at| group(&format!("s{at}"), RULE, &of_subnet(&format!("n{at}"))));
    let interfaces = |count| {
        let of = |at| of_interface(&format!("/x/virtualMachineScaleSets/v{at}/networkInterfaces/n"));
        many(count, &|at| group(&format!("i{at}"), RULE, &of(at)))
    };
    for (of_subnets, of_interfaces) in [(80, 80), (80, 3), (3, 80)] {
        let declared = given(&[&subnets(of_subnets), &interfaces(of_interfaces)]);
        assert_eq!(declared.ways.len(), 80);
        let on_way: BTreeSet<_> =
            declared.ways.iter().flat_map(|it| it.layers.iter().map(|(_, at)| *at)).collect();
        assert_eq!(on_way.len(), of_subnets + of_interfaces);
        assert!(declared.ways.iter().all(|it| it.layers.len() == 2));
        let told = oddities(&declared);
        let what = format!("80 of {} pairs", of_subnets * of_interfaces);
        assert!(told.len() == 1 && told[0].contains(&what), "{told:?}");
    }
    let declared = given(&[&subnets(8), &interfaces(8)]);
    assert_eq!((declared.ways.len(), oddities(&declared).len()), (64, 0));
}

#[test]
fn networks_that_are_connected_belong_to_the_virtual_network() {
    let peering = |state: &str, more: &str| {
        format!(
            r#"{{"id": "{NETWORK}/virtualNetworks/v/virtualNetworkPeerings/p", "peeringState": "{state}"{more},
                "remoteAddressSpace": {{"addressPrefixes": ["20.50.0.0/16"]}},
                "remoteVirtualNetworkAddressSpace": {{"addressPrefixes": ["20.50.0.0/16", "20.51.0.0/16"]}}}}"#
        )
    };
    let network = |peerings: &str| {
        format!(
            r#"{{"id": "{NETWORK}/virtualNetworks/v", "addressSpace": {{"addressPrefixes": ["10.224.0.0/12"]}}, "virtualNetworkPeerings": [{peerings}]}}"#
        )
    };
    let space = |texts: &[&str]| given(texts).knowledge.network.to_string();
    assert_eq!(space(&[&network(&peering("Connected", ""))]), "10.224.0.0/12, 20.50.0.0/15");
    for none in [peering("Initiated", ""), peering("Connected", r#", "allowVirtualNetworkAccess": false"#)] {
        assert_eq!(space(&[&network(&none)]), "10.224.0.0/12");
    }
    // As `az network vnet peering list` prints them, which says nothing of the network itself.
    let listed = format!("[{}]", peering("Connected", ""));
    assert_eq!(space(&[&listed, &network("")]), "10.224.0.0/12, 20.50.0.0/15");
    assert_eq!(space(&[&listed]), "no address");
    let unread = given(&[&network(&peering("Connected", "").replace("20.50.0.0/16", "everything"))]);
    assert!(unread.knowledge.is_network_unclear);
}

#[test]
fn what_azure_expands_in_rules_tells_what_the_virtual_network_is() {
    let outside = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    ];
    let outside: Addresses = outside.iter().filter_map(|it| network(it)).collect();
    let internet = Addresses::all().v4_only().difference(&outside).words();
    let internet = serde_json::to_string(&internet).unwrap();
    let inside = r#"["10.224.0.0/12", "168.63.129.16/32"]"#;
    let rule = |name: &str, priority: u32, access: &str, [from, to]: [&str; 2], ports: &str| {
        let expanded = |tag: &str| match tag {
            "Internet" => internet.clone(),
            "VirtualNetwork" => inside.to_owned(),
            "AzureLoadBalancer" => r#"["168.63.129.16/32"]"#.to_owned(),
            _ => "null".to_owned(),
        };
        let direction = if name.contains("Out") { "Outbound" } else { "Inbound" };
        format!(
            r#"{{"name": "{name}", "priority": {priority}, "access": "{access}", "direction": "{direction}", "protocol": "All",
                "sourcePortRange": "0-65535", "destinationPortRange": "{ports}",
                "sourceAddressPrefix": "{from}", "sourceAddressPrefixes": ["{from}"], "expandedSourceAddressPrefix": {},
                "destinationAddressPrefix": "{to}", "destinationAddressPrefixes": ["{to}"], "expandedDestinationAddressPrefix": {}}}"#,
            expanded(from),
            expanded(to)
        )
    };
    let any = "0.0.0.0/0";
    let (network, balancer) = (["VirtualNetwork"; 2], ["AzureLoadBalancer", any]);
    let of = |name: &str| format!("defaultSecurityRules/{name}");
    let rules = [
        rule("securityRules/media", 200, "Allow", ["Internet", any], "40000-49999"),
        rule(&of("AllowVnetInBound"), 65_000, "Allow", network, "0-65535"),
        rule(&of("AllowAzureLoadBalancerInBound"), 65_001, "Allow", balancer, "0-65535"),
        rule(&of("DenyAllInBound"), 65_500, "Deny", [any; 2], "0-65535"),
        rule(&of("AllowVnetOutBound"), 65_000, "Allow", network, "0-65535"),
        rule(&of("AllowInternetOutBound"), 65_001, "Allow", [any, "Internet"], "0-65535"),
        rule(&of("DenyAllOutBound"), 65_500, "Deny", [any; 2], "0-65535"),
    ];
    for tags in ["null", r#"{"VirtualNetwork": ["10.224.0.0/12", "168.63.129.16/32"]}"#] {
        let declared = given(&[&format!(
            r#"{{"value": [{{"association": {{"subnet": {{"id": "/x/subnets/aks"}}}}, "networkSecurityGroup": {{"id": "{NETWORK}/networkSecurityGroups/n"}},
                "tagMap": {tags}, "effectiveSecurityRules": [{}]}}]}}"#,
            rules.join(", ")
        )]);
        assert_eq!(oddities(&declared), [""; 0]);
        assert_eq!(declared.knowledge.network.to_string(), "10.224.0.0/12, 168.63.129.16");
        for purpose in [Purpose::Media, Purpose::Inside, Purpose::Probes, Purpose::Out] {
            let states: Vec<_> = asked(&declared, purpose).into_iter().map(|it| it.2).collect();
            assert!(
                !states.is_empty() && states.iter().all(|it| *it == State::Open),
                "{purpose:?} {states:?}"
            );
        }
    }
}

#[test]
fn the_interface_of_another_machine_is_no_nodes() {
    let interface = |id: &str, ip: &str, group: &str| {
        format!(
            r#"{{"id": "{id}", "networkSecurityGroup": {group}, "ipConfigurations": [
                {{"privateIPAddress": "{ip}", "subnet": {{"id": "{NETWORK}/virtualNetworks/v/subnets/aks"}}}}]}}"#
        )
    };
    let groups = format!("[{}, {}]", group("nodes", RULE, &of_subnet("aks")), group("jump", "", ""));
    let jump = format!(r#"{{"id": "{NETWORK}/networkSecurityGroups/jump"}}"#);
    let of_scale_set = "/x/virtualMachineScaleSets/aks-vmss/virtualMachines/0/networkInterfaces/n";
    let (of_pool, other) =
        (format!("{NETWORK}/networkInterfaces/aks-pool-1"), format!("{NETWORK}/networkInterfaces/jumpbox"));
    let interfaces = |group: &str| {
        let all = [
            interface(&other, "10.224.0.9", group),
            interface(of_scale_set, "10.224.0.4", "null"),
            interface(&of_pool, "10.224.0.5", "null"),
        ];
        format!("[{}]", all.join(", "))
    };
    let declared = given(&[&groups, &interfaces(&jump)]);
    assert_eq!(ways(&declared), [[(Layer::Subnet, "nodes")]]);
    assert_eq!(declared.ways[0].nodes.to_string(), "10.224.0.4/31");
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
    let told = oddities(&declared);
    assert!(told.len() == 1 && told[0].contains("jumpbox is no node's as far as the files say"), "{told:?}");
    // Where it has no other groups than nodes have, nothing hangs on it.
    assert_eq!(oddities(&given(&[&groups, &interfaces("null")])), [""; 0]);
    // Of interfaces that all may be nodes', each counts.
    let declared = given(&[&groups, &format!("[{}]", interface(&other, "10.224.0.9", "null"))]);
    assert_eq!(declared.ways[0].nodes.to_string(), "10.224.0.9");
}
