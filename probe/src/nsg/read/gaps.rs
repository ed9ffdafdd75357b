//! What documents leave open: it is never taken for absent, and what they say in a roundabout way is understood.

use super::{
    tests::{EFFECTIVE, RULE, given, oddities, states},
    *,
};
use crate::nsg::{
    answer::{Answer, State, answers},
    question::{Purpose, Wanted},
    rules::Layer,
};

/// Questions and what becomes of them, of one purpose.
pub(super) fn asked(declared: &Declared, purpose: Purpose) -> Vec<(String, String, State)> {
    let answers = answers(declared, &Wanted::default());
    let of = answers.iter().filter(|it| it.purpose() == purpose);
    of.map(|it| (it.question.target(), it.question.flow.ports.to_string(), it.state())).collect()
}

fn closed(rule: &str) -> String {
    rule.replace("Allow", "Deny")
}

const NSG: &str = "[resourceId('Microsoft.Network/networkSecurityGroups', parameters('nsg_name'))]";
const SUBNET: &str =
    "[resourceId('Microsoft.Network/virtualNetworks/subnets', parameters('vnet_name'), 'nodes')]";

/// A group, a network with a subnet and an interface, of which the two have what the texts say of their groups.
fn template(of_subnet: &str, subnet: &str, of_interface: &str) -> String {
    let (name, rest) = RULE.strip_prefix('{').and_then(|it| it.split_once(',')).unwrap();
    format!(
        r#"{{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
            "parameters": {{"nsg_name": {{"defaultValue": "nodes-nsg", "type": "String"}}, "vnet_name": {{"defaultValue": "hubs", "type": "String"}}}},
            "resources": [
                {{"type": "Microsoft.Network/networkInterfaces", "name": "nic", "dependsOn": ["{NSG}"], "properties": {{
                    "ipConfigurations": [{{"name": "a", "properties": {{"privateIPAddress": "10.0.0.4", "subnet": {{"id": "{subnet}"}}}}}}]{of_interface}}}}},
                {{"type": "Microsoft.Network/networkSecurityGroups", "name": "[parameters('nsg_name')]", "properties": {{
                    "securityRules": [{{{name}, "properties": {{{rest}}}]}}}},
                {{"type": "Microsoft.Network/virtualNetworks", "name": "[parameters('vnet_name')]", "dependsOn": ["{NSG}"], "properties": {{
                    "addressSpace": {{"addressPrefixes": ["10.0.0.0/16"]}},
                    "subnets": [{{"name": "nodes", "properties": {{"addressPrefix": "10.0.0.0/24"{of_subnet}}}}}]}}}}]}}"#
    )
}

fn group(id: &str) -> String {
    format!(r#", "networkSecurityGroup": {{"id": "{id}"}}"#)
}

const MEDIA: &str = "udp/40000-49999";

#[test]
fn resources_of_a_template_are_found_by_the_identifiers_that_its_expressions_make() {
    let child = "[concat(resourceId('Microsoft.Network/virtualNetworks', parameters('vnet_name')), '/subnets/', 'nodes')]";
    let own = "[resourceId(resourceGroup().name, 'Microsoft.Network/networkSecurityGroups', format('{0}', parameters('nsg_name')))]";
    for (of_subnet, subnet, of_interface, layers) in [
        (group(NSG), SUBNET, String::new(), vec![(Layer::Subnet, 0)]),
        (String::new(), child, group(NSG), vec![(Layer::Interface, 0)]),
        (group(own), child, group(own), vec![(Layer::Subnet, 0), (Layer::Interface, 0)]),
    ] {
        let text = template(&of_subnet, subnet, &of_interface);
        // A name that the file does not say is the same one wherever it stands.
        for text in [text.clone(), text.replace(r#""defaultValue": "nodes-nsg", "#, "")] {
            let declared = given(&[&text]);
            assert_eq!(oddities(&declared), [""; 0]);
            assert_eq!(declared.ways.iter().map(|it| &it.layers).collect::<Vec<_>>(), [&layers]);
            assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
            assert_eq!(states(&declared, "udp/39999", "Node"), [State::Closed]);
        }
    }
}

#[test]
fn a_subnet_of_a_template_that_is_a_resource_of_its_own_is_the_one_of_its_network() {
    let own = format!(
        r#"{{"type": "Microsoft.Network/virtualNetworks/subnets", "name": "[concat(parameters('vnet_name'), '/nodes')]",
            "properties": {{"addressPrefix": "10.0.0.0/24"{}}}}}, "#,
        group(NSG)
    );
    let text = template("", SUBNET, "").replacen("\"resources\": [", &format!("\"resources\": [{own}"), 1);
    let declared = given(&[&text]);
    assert_eq!(declared.ways[0].layers, [(Layer::Subnet, 0)]);
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
}

#[test]
fn what_a_template_only_depends_on_is_not_on_the_way() {
    let declared = given(&[&template("", SUBNET, "")]);
    assert_eq!(declared.ways[0].layers, []);
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Closed]);
}

#[test]
fn a_reference_that_cannot_be_resolved_is_a_group_of_which_nothing_is_known() {
    let either = "[if(parameters('is_open'), parameters('one'), parameters('other'))]";
    let elsewhere = "/subscriptions/0/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/x";
    let other = "[resourceId('other-group', 'Microsoft.Network/networkSecurityGroups', 'nodes-nsg')]";
    for (text, place) in [
        (template(&group(either), SUBNET, ""), "$.resources[2].properties.subnets[0]"),
        (template(&group(elsewhere), SUBNET, ""), "$.resources[2].properties.subnets[0]"),
        (template("", SUBNET, &group(other)), "$.resources[0]"),
        (template("", SUBNET, r#", "networkSecurityGroup": {"name": "x"}"#), "$.resources[0]"),
        (template("", either, ""), "$.resources[0]"),
    ] {
        let declared = given(&[&text]);
        assert_eq!(states(&declared, MEDIA, "Node"), [State::Unknown], "{text}");
        let told = oddities(&declared);
        assert!(told.len() == 1 && told[0].starts_with(&format!("0.json {place}: ")), "{told:?}");
        let answers = answers(&declared, &Wanted::default());
        let lines: Vec<_> = answers.iter().flat_map(Answer::lines).map(|(_, text)| text).collect();
        assert!(lines.iter().any(|it| it.contains("not known: it depends on")), "{lines:?}");
    }
    // What another group denies is denied in any case.
    let text = closed(&template(&group(NSG), SUBNET, &group(either)));
    assert_eq!(states(&given(&[&text]), MEDIA, "Node"), [State::Closed]);
}

#[test]
fn of_a_group_with_an_interface_whose_address_is_not_known_not_all_members_are() {
    let asg = "[resourceId('Microsoft.Network/applicationSecurityGroups', 'media')]";
    let group = format!(r#", "networkSecurityGroup": {{"id": "{NSG}"}}"#);
    let text = template("", SUBNET, &group)
        .replace(
            r#""destinationAddressPrefix": "*""#,
            &format!(r#""destinationApplicationSecurityGroups": [{{"id": "{asg}"}}]"#),
        )
        .replace(
            r#""subnet": {"#,
            &format!(r#""applicationSecurityGroups": [{{"id": "{asg}"}}], "subnet": {{"#),
        );
    assert_eq!(states(&given(&[&text]), MEDIA, "Node"), [State::Open]);
    let dynamic = text.replace(r#""privateIPAddress": "10.0.0.4", "#, "");
    assert_eq!(states(&given(&[&dynamic]), MEDIA, "Node"), [State::Unknown]);
}

#[test]
fn expressions_that_grow_without_end_stay_what_they_are() {
    let many = |name: &str| vec![format!("parameters('{name}')"); 200].join(", ");
    let parameter = |at: usize| {
        let before = many(&format!("p{}", at - 1));
        format!(r#""p{at}": {{"defaultValue": "[concat({before})]"}}"#)
    };
    let first = r#""p0": {"defaultValue": "0123456789"}"#.to_owned();
    let parameters = [first].into_iter().chain((1..12).map(parameter)).collect::<Vec<_>>().join(", ");
    let deep = "concat(".repeat(100_000) + &")".repeat(100_000);
    let text = format!(
        r#"{{"$schema": "x", "parameters": {{{parameters}}}, "resources": [
            {{"type": "Microsoft.Network/networkSecurityGroups", "name": "[parameters('p11')]", "tags": ["[{deep}]", "[concat('a)]", "[[x]"],
              "properties": {{"securityRules": [{RULE}]}}}}]}}"#
    );
    assert_eq!(given(&[&text]).groups.len(), 1);
}

/// `terraform show -json` of resources by their types and values.
pub(super) fn terraform(is_plan: bool, resources: &[(&str, &str)]) -> String {
    let resource = |(at, (kind, values)): (usize, &(&str, &str))| {
        format!(r#"{{"address": "{kind}.r{at}", "type": "{kind}", "values": {values}}}"#)
    };
    let resources: Vec<_> = resources.iter().enumerate().map(resource).collect();
    let field = if is_plan { "planned_values" } else { "values" };
    format!(r#"{{"{field}": {{"root_module": {{"resources": [{}]}}}}}}"#, resources.join(", "))
}

const OF_INTERFACE: &str = "azurerm_network_interface_security_group_association";
const OF_SUBNET: &str = "azurerm_subnet_network_security_group_association";
pub(super) const GROUP: &str = "azurerm_network_security_group";
const INTERFACE: &str = "azurerm_network_interface";

#[test]
fn associations_of_terraform_count_wherever_they_stand() {
    let group = format!(r#"{{"id": "/g", "name": "nsg", "security_rule": [{RULE}]}}"#);
    let interface =
        r#"{"id": "/n", "ip_configuration": [{"private_ip_address": "10.0.0.4", "subnet_id": "/s"}]}"#;
    let subnet = r#"{"id": "/s", "name": "nodes", "address_prefixes": ["10.0.0.0/24"]}"#;
    let declared = given(&[&terraform(
        false,
        &[
            (INTERFACE, interface),
            (OF_INTERFACE, r#"{"network_interface_id": "/n", "network_security_group_id": "/G"}"#),
            (GROUP, &group),
            ("azurerm_subnet", subnet),
        ],
    )]);
    assert_eq!(oddities(&declared), [""; 0]);
    assert_eq!(declared.ways[0].layers, [(Layer::Interface, 0)]);
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
}

#[test]
fn what_terraform_knows_only_after_apply_is_unknown() {
    let group = format!(r#"{{"name": "nsg", "security_rule": [{RULE}]}}"#);
    let interface = r#"{"name": "n", "ip_configuration": [{"private_ip_address": "10.0.0.4"}]}"#;
    let at_subnet = r#"{"name": "n", "ip_configuration": [{"subnet_id": "/s"}]}"#;
    let subnet = r#"{"id": "/s", "name": "nodes", "address_prefixes": ["10.0.0.0/24"]}"#;
    for resources in [
        // Nothing is known of who belongs to whom, with and without interfaces.
        vec![(OF_INTERFACE, "{}"), (INTERFACE, interface), (GROUP, group.as_str())],
        vec![(OF_INTERFACE, "{}"), (GROUP, group.as_str())],
        vec![(OF_SUBNET, "{}"), (GROUP, group.as_str()), ("azurerm_subnet", subnet)],
        // The subnet is not known, or its group, or which subnet the group belongs to.
        vec![(INTERFACE, interface), (GROUP, group.as_str())],
        vec![(INTERFACE, at_subnet), ("azurerm_subnet", subnet), (OF_SUBNET, r#"{"subnet_id": "/s"}"#)],
        vec![(INTERFACE, at_subnet), ("azurerm_subnet", subnet), (OF_INTERFACE, "{}")],
        vec![
            (INTERFACE, at_subnet),
            ("azurerm_subnet", subnet),
            (OF_SUBNET, r#"{"network_security_group_id": "/elsewhere"}"#),
        ],
    ] {
        let declared = given(&[&terraform(true, &resources)]);
        assert_eq!(states(&declared, MEDIA, "Node"), [State::Unknown], "{resources:?}");
        let told = oddities(&declared);
        assert!(told.iter().any(|it| it.contains("$.planned_values.root_module.resources[")), "{told:?}");
        assert!(!told.iter().any(|it| it.contains("decides nothing")), "{told:?}");
    }
    let without =
        terraform(true, &[(INTERFACE, at_subnet), ("azurerm_subnet", subnet), (GROUP, group.as_str())]);
    assert_eq!(states(&given(&[&without]), MEDIA, "Node"), [State::Closed], "nothing says that it has one");
}

/// A group that lets one port of TCP in, whatever the destination.
fn admits(port: &str) -> String {
    let rule = RULE.replace("Udp", "Tcp").replace("40000-49999", port);
    format!(r#"{{"name": "g", "securityRules": [{rule}]}}"#)
}

#[test]
fn without_floating_addresses_terraforms_load_balancer_sends_to_the_node() {
    let turn = |more: &str| {
        let rule = format!(r#"{{"protocol": "All", "frontend_port": 5349, "backend_port": 30534{more}}}"#);
        given(&[&terraform(false, &[("azurerm_lb", "{}"), ("azurerm_lb_rule", &rule)]), &admits("30534")])
    };
    for more in ["", r#", "enable_floating_ip": false"#, r#", "floating_ip_enabled": false"#] {
        let declared = turn(more);
        assert_eq!(
            asked(&declared, Purpose::Turn),
            [("tcp/5349".to_owned(), "30534".to_owned(), State::Open)],
            "{more}"
        );
        let protocols: Vec<_> = declared.forwarded.iter().flatten().map(|it| it.protocol).collect();
        assert_eq!(protocols, [Protocols::TCP, Protocols::UDP]);
    }
    for more in [r#", "enable_floating_ip": true"#, r#", "floating_ip_enabled": true"#] {
        let told = asked(&turn(more), Purpose::Turn);
        assert_eq!(told, [("tcp/5349".to_owned(), "5349".to_owned(), State::Closed)], "{more}");
    }
}

#[test]
fn a_service_without_floating_addresses_sends_to_its_node_ports() {
    let turn = |disabled: &str, node_port: &str| {
        let service = format!(
            r#"{{"kind": "Service", "metadata": {{"name": "lb", "annotations": {{"service.beta.kubernetes.io/azure-disable-load-balancer-floating-ip": "{disabled}"}}}},
                "spec": {{"type": "LoadBalancer", "ports": [{{"port": 5349{node_port}}}, {{"port": 5349, "protocol": "UDP", "nodePort": 30001}}]}}}}"#
        );
        given(&[&service, &admits("30534")])
    };
    let node_port = r#", "nodePort": 30534"#;
    let one = |ports: &str, state| [("tcp/5349".to_owned(), ports.to_owned(), state)];
    assert_eq!(asked(&turn("true", node_port), Purpose::Turn), one("30534", State::Open));
    assert_eq!(asked(&turn("false", node_port), Purpose::Turn), one("5349", State::Closed));
    // Kubernetes takes any of these.
    let unknown = turn("true", "");
    assert_eq!(asked(&unknown, Purpose::Turn)[0].1, "30000-32767");
    assert!(oddities(&unknown)[0].starts_with("0.json $.spec.ports[0]: "), "{:?}", oddities(&unknown));
}

#[test]
fn ports_with_and_without_a_floating_address_are_asked_about_apart() {
    let rule = |port: u16, is_floating: bool| {
        format!(
            r#"{{"protocol": "Tcp", "frontendPort": {port}, "backendPort": {}, "enableFloatingIP": {is_floating}}}"#,
            port + 30_000
        )
    };
    let balancer = format!(
        r#"{{"loadBalancingRules": [{}, {}, {}]}}"#,
        rule(80, true),
        rule(443, false),
        rule(4443, true)
    );
    let declared = given(&[&balancer, &admits("30443")]);
    let of = |target: &str, ports: &str, state| (target.to_owned(), ports.to_owned(), state);
    assert_eq!(
        asked(&declared, Purpose::Entrance),
        [of("tcp/443", "30443", State::Open), of("tcp/80,4443", "80, 4443", State::Closed)]
    );
    // What is not forwarded would come to the node as well, where nothing has a floating address.
    let balancer = format!(r#"{{"loadBalancingRules": [{}]}}"#, rule(443, false));
    let declared = given(&[&balancer, &admits("30443")]);
    let entrance: Wanted =
        Wanted { flows: vec!["tcp/443".parse().unwrap()], to: "Entrance".parse().ok(), ..Wanted::default() };
    let asked: Vec<_> = answers(&declared, &entrance).iter().map(Answer::state).collect();
    assert_eq!(asked, [State::Open]);
}

#[test]
fn a_tag_of_which_a_prefix_cannot_be_read_is_unknown() {
    let broken = EFFECTIVE.replace("[\"203.0.113.128/25\"]", "[\"203.0.113.128/25\", \"Nowhere\"]");
    let no_texts = EFFECTIVE.replace("[\"203.0.113.128/25\"]", "[7]");
    for text in [broken, no_texts] {
        let declared = given(&[&text]);
        assert_eq!(states(&declared, "tcp/443", "10.224.0.4"), [State::Unknown]);
        assert_eq!(states(&declared, MEDIA, "10.224.0.4"), [State::Open]);
        let told = oddities(&declared);
        assert!(
            told.len() == 1 && told[0].starts_with("0.json $.value[0].tagMap.AzureFrontDoor.Backend: "),
            "{told:?}"
        );
    }
}

#[test]
fn a_network_of_which_a_prefix_cannot_be_read_may_be_larger() {
    let group = r#"{"name": "g", "securityRules": []}"#;
    let inside = |document: &str| {
        let declared = given(&[group, document]);
        let wanted = Wanted {
            flows: vec!["tcp/4443".parse().unwrap()],
            from: "10.9.0.4".parse().ok(),
            to: "10.224.0.4".parse().ok(),
            ..Wanted::default()
        };
        let state = answers(&declared, &wanted)[0].state();
        assert_eq!(states(&declared, MEDIA, "Node"), [State::Closed], "the internet is outside in any case");
        (state, oddities(&declared))
    };
    let network = r#"{"id": "/v", "addressSpace": {"addressPrefixes": ["10.224.0.0/16", "10.9.0.0/16"]}}"#;
    assert_eq!(inside(network), (State::Open, Vec::new()));
    assert_eq!(inside(&network.replace(", \"10.9.0.0/16\"", "")), (State::Closed, Vec::new()));
    let (state, told) = inside(&network.replace("10.9.0.0/16", "[parameters('space')]"));
    assert_eq!(state, State::Unknown);
    assert!(told.len() == 1 && told[0].starts_with("1.json $.addressSpace.addressPrefixes: "), "{told:?}");
    let known = r#""VirtualNetwork": ["10.224.0.0/12", "168.63.129.16/32"]"#;
    let declared = given(&[&EFFECTIVE.replace(known, r#""VirtualNetwork": ["10.224.0.0/12", "mine"]"#)]);
    assert!(oddities(&declared)[0].starts_with("0.json $.value[0].tagMap.VirtualNetwork: "));
}

#[test]
fn a_subnet_of_which_a_prefix_cannot_be_read_does_not_say_where_nodes_are() {
    let subnet = r#"{"id": "/x/subnets/nodes", "addressPrefixes": ["10.224.0.0/24", "10.224.1.0/24"], "networkSecurityGroup": null}"#;
    assert_eq!(given(&[subnet]).ways[0].nodes.to_string(), "10.224.0.0/23");
    let declared = given(&[&subnet.replace("10.224.1.0/24", "there")]);
    assert!(declared.ways[0].nodes.is_empty());
    assert!(oddities(&declared)[0].starts_with("0.json $.addressPrefixes: "), "{:?}", oddities(&declared));
}

/// The template as a deployment within another one, which gives the group's name.
fn nested(inner: &str, options: &str) -> String {
    format!(
        r#"{{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
            "parameters": {{"nsg_name": {{"defaultValue": "outer-nsg", "type": "String"}}, "vnet_name": {{"defaultValue": "outer", "type": "String"}}}},
            "resources": [{{"type": "Microsoft.Resources/deployments", "name": "network", "resourceGroup": "elsewhere", "properties": {{
                "mode": "Incremental", {options} "parameters": {{"nsg_name": {{"value": "given-nsg"}}}}, "template": {inner}}}}}]}}"#
    )
}

#[test]
fn a_template_within_a_template_is_read_with_its_own_parameters_or_the_outer_ones() {
    let reference = group(NSG);
    let inner = template(&reference, SUBNET, "");
    for (options, name) in
        [("", "outer-nsg"), (r#""expressionEvaluationOptions": {"scope": "inner"},"#, "given-nsg")]
    {
        let declared = given(&[&nested(&inner, options)]);
        assert_eq!(declared.groups[0].name, name, "{:#?}", declared.oddities);
        let id = declared.groups[0].id.as_deref().unwrap();
        assert!(id.starts_with("/resourceGroups/elsewhere/providers/") && id.ends_with(name), "{id}");
        if name == "given-nsg" {
            assert_eq!(oddities(&declared), [""; 0]);
            assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
        }
    }
    let linked = nested(&inner, "").replace("\"template\":", "\"templateLink\":");
    assert!(oddities(&given(&[&linked])).iter().any(|it| it.contains("is in no file")));
}

#[test]
fn a_rule_for_all_ports_forwards_each_of_them_as_it_is() {
    let balancer = |floating: bool| {
        format!(
            r#"{{"name": "lb", "frontendIPConfigurations": [], "loadBalancingRules": [
                {{"protocol": "All", "frontendPort": 0, "backendPort": 0, "enableFloatingIP": {floating}}}]}}"#
        )
    };
    let rule = RULE.replace("\"Udp\"", "\"Tcp\"").replace("40000-49999", "443");
    let nodes = format!(r#"{{"name": "nsg", "securityRules": [{rule}]}}"#);
    let declared = given(&[&nodes, &balancer(false)]);
    assert_eq!(oddities(&declared), [""; 0]);
    // Of the three ports that people come to, one is let in to the node, at the port at which they came.
    let entrance = asked(&declared, Purpose::Entrance);
    assert_eq!(entrance, [("tcp/80,443,4443".to_owned(), "80, 443, 4443".to_owned(), State::Partly)]);
    assert_eq!(declared.forwarded.as_ref().unwrap().len(), 2);
    // No port of UDP is taken for the gateway's.
    assert_eq!(asked(&declared, Purpose::Gateway), []);
    let floating = given(&[&nodes, &balancer(true)]);
    assert!(floating.forwarded.unwrap().iter().all(|it| it.has(40_000) && it.node_ports.is_none()));
}

/// A plan of a group, a subnet, an interface and what ties them together, of which no identifier is known.
fn plan(group: &str, association: &str) -> String {
    let resource = |kind: &str, name: &str, values: &str| {
        format!(
            r#"{{"address": "module.net[0].{kind}.{name}", "type": "{kind}", "name": "{name}", "values": {values}}}"#
        )
    };
    let planned = [
        resource(GROUP, "media", group),
        resource("azurerm_subnet", "nodes", r#"{"name": "nodes", "address_prefixes": ["10.0.0.0/24"]}"#),
        resource(
            INTERFACE,
            "node",
            r#"{"name": "n", "ip_configuration": [{"private_ip_address": "10.0.0.4"}]}"#,
        ),
        resource(OF_SUBNET, "it", "{}"),
    ];
    let configured = |kind: &str, name: &str, expressions: &str| {
        format!(
            r#"{{"address": "{kind}.{name}", "type": "{kind}", "name": "{name}", "expressions": {expressions}}}"#
        )
    };
    let subnet = r#"{"references": ["azurerm_subnet.nodes.id", "azurerm_subnet.nodes"]}"#;
    let of =
        format!(r#"{{"subnet_id": {subnet}, "network_security_group_id": {{"references": {association}}}}}"#);
    let configuration = [
        configured(GROUP, "media", "{}"),
        configured("azurerm_subnet", "nodes", "{}"),
        configured(INTERFACE, "node", &format!(r#"{{"ip_configuration": [{{"subnet_id": {subnet}}}]}}"#)),
        configured(OF_SUBNET, "it", &of),
    ];
    format!(
        r#"{{"planned_values": {{"root_module": {{"child_modules": [{{"address": "module.net[0]", "resources": [{}]}}]}}}},
            "configuration": {{"root_module": {{"module_calls": {{"net": {{"module": {{"resources": [{}]}}}}}}}}}}}}"#,
        planned.join(", "),
        configuration.join(", ")
    )
}

#[test]
fn what_a_plan_is_going_to_make_is_known_by_what_refers_to_it() {
    let group = format!(r#"{{"name": "nsg", "security_rule": [{RULE}]}}"#);
    let one = format!(r#"["{GROUP}.media.id", "{GROUP}.media"]"#);
    let declared = given(&[&plan(&group, &one)]);
    assert_eq!(oddities(&declared), [""; 0]);
    assert_eq!(declared.ways[0].layers, [(Layer::Subnet, 0)]);
    assert_eq!(states(&declared, MEDIA, "Node"), [State::Open]);
    // Which of two it is, and what a variable stands for, nobody knows before.
    for unclear in [
        format!(r#"["{GROUP}.media.id", "{GROUP}.media", "{GROUP}.other.id", "{GROUP}.other"]"#),
        r#"["var.group"]"#.to_owned(),
        format!(r#"["data.{GROUP}.media.id"]"#),
        format!(r#"["{GROUP}.media.id", "{GROUP}.media", "module.shared.nsg_id", "module.shared"]"#),
        format!(r#"["var.is_own", "{GROUP}.media.id", "{GROUP}.media", "var.other_id"]"#),
    ] {
        assert_eq!(states(&given(&[&plan(&group, &unclear)]), MEDIA, "Node"), [State::Unknown], "{unclear}");
    }
}

/// A template of resources, which are in a list or have names.
pub(super) fn deployed(resources: &str) -> String {
    format!(r#"{{"$schema": "x", "contentVersion": "1.0.0.0", "resources": {resources}}}"#)
}

/// A group that is a resource, and more of that.
fn group_resource(more: &str, rules: &str) -> String {
    format!(
        r#"{{"type": "Microsoft.Network/networkSecurityGroups", "name": "nsg"{more}, "properties": {{"securityRules": [{rules}]}}}}"#
    )
}

/// A deployment of that template, and more of that.
fn deployment(more: &str, template: &str) -> String {
    format!(
        r#"{{"type": "Microsoft.Resources/deployments", "name": "d"{more}, "properties": {{"template": {template}}}}}"#
    )
}

#[test]
fn what_is_not_deployed_is_not_there_and_what_may_not_be_is_unknown() {
    let of_group = |more: &str| deployed(&format!("[{}]", group_resource(more, RULE)));
    let of_deployment = |more: &str| {
        deployed(&format!("[{}]", deployment(more, &deployed(&format!("[{}]", group_resource("", RULE))))))
    };
    for document in [&of_group as &dyn Fn(&str) -> String, &of_deployment] {
        for sure in ["", r#", "condition": true"#] {
            let declared = given(&[&document(sure)]);
            assert_eq!(oddities(&declared), [""; 0]);
            assert_eq!(states(&declared, MEDIA, "10.0.0.4"), [State::Open], "{sure}");
        }
        let not = given(&[&document(r#", "condition": false"#)]);
        assert!(not.groups.is_empty() && not.oddities.is_empty(), "{not:#?}");
        for unsure in [
            r#", "condition": "[parameters('with_group')]""#,
            r#", "condition": "true""#,
            r#", "copy": {"name": "c", "count": 3}"#,
            r#", "condition": true, "copy": {"name": "c", "count": 0}"#,
        ] {
            let declared = given(&[&document(unsure)]);
            assert_eq!(states(&declared, MEDIA, "10.0.0.4"), [State::Unknown], "{unsure}");
            assert_eq!(states(&declared, "tcp/22", "10.0.0.4"), [State::Unknown], "{unsure}");
            let told = oddities(&declared);
            assert!(told.len() == 1 && told[0].starts_with("0.json $.resources[0]: "), "{told:?}");
        }
    }
    let copied = r#""properties": {"copy": [{"name": "securityRules", "count": 2, "input": {}}], "#;
    let declared = given(&[&of_group("").replace(r#""properties": {"#, copied)]);
    assert_eq!(states(&declared, MEDIA, "10.0.0.4"), [State::Unknown]);
    let existing = given(&[&of_group(r#", "existing": true"#)]);
    assert!(existing.groups.is_empty() && existing.oddities.len() == 1, "{existing:#?}");
}

#[test]
fn rules_that_an_expression_stands_for_are_unknown() {
    let text = deployed(&format!("[{}]", group_resource("", "")));
    let declared =
        given(&[&text.replace(r#""securityRules": []"#, r#""securityRules": "[parameters('all')]""#)]);
    assert_eq!(states(&declared, MEDIA, "10.0.0.4"), [State::Unknown]);
    assert!(oddities(&declared)[0].starts_with("0.json $.resources[0].properties.securityRules: "));
}

#[test]
fn a_rule_that_may_not_be_deployed_leaves_the_rest_of_its_group_sure() {
    let (_, rest) = RULE.split_once(',').unwrap();
    let declared = |more: &str| {
        let rule = format!(
            r#"{{"type": "Microsoft.Network/networkSecurityGroups/securityRules", "name": "nsg/media"{more}, "properties": {{{rest}}}"#
        );
        given(&[&deployed(&format!("[{}, {rule}]", group_resource("", "")))])
    };
    assert_eq!(states(&declared(""), MEDIA, "10.0.0.4"), [State::Open]);
    assert_eq!(states(&declared(r#", "condition": false"#), MEDIA, "10.0.0.4"), [State::Closed]);
    let unsure = declared(r#", "condition": "[parameters('with_media')]""#);
    assert_eq!(states(&unsure, MEDIA, "10.0.0.4"), [State::Unknown]);
    assert_eq!(states(&unsure, "tcp/22", "10.0.0.4"), [State::Closed]);
}

#[test]
fn resources_within_one_that_is_not_deployed_have_conditions_of_their_own() {
    let (name, rest) = RULE.strip_prefix('{').and_then(|it| it.split_once(',')).unwrap();
    let rule = format!(r#"{{"type": "securityRules", {name}, "properties": {{{rest}}}"#);
    let group = |more: &str| {
        let more = format!(r#"{more}, "resources": [{rule}]"#);
        given(&[&deployed(&format!("[{}]", group_resource(&more, "")))])
    };
    assert_eq!(states(&group(""), MEDIA, "10.0.0.4"), [State::Open]);
    let within = group(r#", "condition": false"#);
    assert_eq!(states(&within, MEDIA, "10.0.0.4"), [State::Unknown], "{within:#?}");
}

#[test]
fn resources_that_have_symbolic_names_are_read_as_those_of_a_list() {
    let odd = RULE.replace("Udp", "Pigeon");
    let named = |rule: &str| deployed(&format!(r#"{{"nsg": {}}}"#, group_resource("", rule)));
    let nested = |rule: &str| deployed(&format!("[{}]", deployment("", &named(rule))));
    let top = given(&[&named(&odd)]);
    assert!(oddities(&top)[0].starts_with("0.json $.resources.nsg.properties.securityRules[0]: "));
    let below = "0.json $.resources[0].properties.template.resources.nsg.properties.securityRules[0]: ";
    assert!(oddities(&given(&[&nested(&odd)]))[0].starts_with(below));
    for document in [named(RULE), nested(RULE)] {
        assert_eq!(states(&given(&[&document]), MEDIA, "10.0.0.4"), [State::Open]);
    }
    let neither = given(&[&deployed(r#""[variables('all')]""#)]);
    assert!(oddities(&neither)[0].starts_with("0.json $.resources: "), "{neither:#?}");
}

#[test]
fn what_the_outer_template_could_not_resolve_is_nothing_of_the_inner_one() {
    let rule = RULE.replace("\"40000-49999\"", "\"[parameters('media')]\"");
    let inner = deployed(&format!("[{}]", group_resource("", &rule))).replacen(
        '{',
        r#"{"parameters": {"media": {"type": "string"}, "ports": {"defaultValue": "40000-49999"}},"#,
        1,
    );
    let options = r#""expressionEvaluationOptions": {"scope": "inner"}, "parameters": {"media": {"value": "[parameters('ports')]"}}, "template""#;
    let outer = |value: &str| {
        let outer = deployed(&format!("[{}]", deployment("", &inner).replace("\"template\"", options)));
        given(&[&outer.replacen('{', &format!(r#"{{"parameters": {{"ports": {value}}},"#), 1)])
    };
    let known = outer(r#"{"defaultValue": "40000-44999"}"#);
    assert_eq!(states(&known, "udp/40000-44999", "10.0.0.4"), [State::Open]);
    assert_eq!(states(&known, "udp/45000", "10.0.0.4"), [State::Closed]);
    assert_eq!(states(&outer(r#"{"type": "string"}"#), MEDIA, "10.0.0.4"), [State::Unknown]);
}

#[test]
fn what_is_odd_stands_where_its_field_was_found() {
    let odd = RULE.replace("Udp", "Pigeon");
    for (document, place) in [
        (format!(r#"{{"name": "g", "security_rules": [{odd}]}}"#), "$.security_rules[0]"),
        (
            format!(r#"{{"name": "g", "properties": {{"security_rules": [{odd}]}}}}"#),
            "$.properties.security_rules[0]",
        ),
        (
            format!(r#"{{"name": "g", "securityRules": null, "properties": {{"securityRules": [{odd}]}}}}"#),
            "$.properties.securityRules[0]",
        ),
        (
            format!(r#"{{"name": "g", "securityRules": [{odd}], "properties": {{"securityRules": []}}}}"#),
            "$.securityRules[0]",
        ),
    ] {
        let told = oddities(&given(&[&document]));
        assert!(told[0].starts_with(&format!("0.json {place}: ")), "{told:?}");
    }
}

#[test]
fn a_document_that_is_given_twice_is_read_once() {
    let group = format!(r#"{{"name": "g", "securityRules": [{RULE}]}}"#);
    let once = read(&[Source::file("a.json", group.as_str())]).unwrap();
    let twice =
        read(&[Source::file("a.json", group.as_str()), Source::file("a.json", group.as_str())]).unwrap();
    assert_eq!(twice, once);
    let other =
        read(&[Source::file("a.json", group.as_str()), Source::file("b.json", group.as_str())]).unwrap();
    assert_eq!(other.groups.len(), 2);
}
