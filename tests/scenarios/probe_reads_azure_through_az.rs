//! `--azure` asks Azure through the `az` on the path: here a recorded one, which knows what a cluster of AKS looks like, writes
//! down what it is asked, and fails at everything else.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use hubs_tests::bed::{Bed, ROOM};
use hubs_tests::need::{self, skip};
use hubs_tests::{probe, relay};
use serde_json::{Value, json};
use tempfile::TempDir;

const NODES: &str = "MC_hubs_hubs_westeurope";

/// What it prints for which words, and nothing else.
fn recorded() -> Vec<(String, Value)> {
    let of = |kind: &str| {
        format!("/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/{NODES}/providers/{kind}")
    };
    let groups = fs::read_to_string(need::tests_folder().join("lab/nsg/aks.json")).unwrap();
    let groups: Value = serde_json::from_str(&groups).unwrap();
    let subnet = groups[0]["subnets"][0]["id"].clone();
    let (inward, outward) =
        (of("Microsoft.Network/publicIPAddresses/in"), of("Microsoft.Network/publicIPAddresses/out"));
    let (front, back) = ("/lb/frontendIPConfigurations/a", "/lb/frontendIPConfigurations/b");
    let rule = |port: u16| json!({ "protocol": "Tcp", "frontendPort": port, "backendPort": port, "enableFloatingIP": true, "frontendIPConfiguration": { "id": front } });
    let list = |what: &str| format!("network {what} list --resource-group={NODES}");
    vec![
        (
            "aks show --resource-group=hubs --name=hubs".to_owned(),
            json!({
            "name": "hubs", "nodeResourceGroup": NODES, "agentPoolProfiles": [{ "name": "pool", "vnetSubnetId": null }],
            "networkProfile": { "loadBalancerProfile": { "effectiveOutboundIPs": [{ "id": outward }] } } }),
        ),
        (list("nsg"), groups),
        (
            list("lb"),
            json!([{ "name": "kubernetes",
            "frontendIPConfigurations": [{ "id": front, "publicIPAddress": { "id": inward } }, { "id": back, "publicIPAddress": { "id": outward } }],
            "loadBalancingRules": [rule(80), rule(443), rule(4443)], "outboundRules": [{ "frontendIPConfigurations": [{ "id": back }] }] }]),
        ),
        (
            list("public-ip"),
            json!([{ "id": inward, "ipAddress": "203.0.113.10" }, { "id": outward, "ipAddress": "203.0.113.9" }]),
        ),
        (list("vnet"), json!([{ "addressSpace": { "addressPrefixes": ["10.224.0.0/12"] }, "subnets": [] }])),
        (list("nic"), json!([])),
        (list("nat gateway"), json!([])),
        (format!("vmss list --resource-group={NODES}"), json!([{ "name": "aks-pool" }])),
        (
            format!("vmss nic list --resource-group={NODES} --vmss-name=aks-pool"),
            json!([{
            "id": of("Microsoft.Compute/virtualMachineScaleSets/aks-pool/virtualMachines/0/networkInterfaces/nic"),
            "ipConfigurations": [{ "privateIPAddress": "10.224.0.4", "subnet": { "id": subnet } }] }]),
        ),
        (format!("vmss list-instance-public-ips --resource-group={NODES} --name=aks-pool"), json!([])),
    ]
}

/// Puts the program there.
fn record(folder: &Path, answers: &[(String, Value)]) {
    let mut script =
        "#!/bin/sh\nfolder=$(dirname \"$0\")\necho \"$*\" >> \"$folder/asked\"\ncase \"$*\" in\n".to_owned();
    for (at, (words, answer)) in answers.iter().enumerate() {
        fs::write(folder.join(format!("{at}.json")), answer.to_string()).unwrap();
        script
            .extend([format!("'{words} --output=json --only-show-errors') cat \"$folder/{at}.json\" ;;\n")]);
    }
    script += "*) echo \"ERROR: please run az login\" >&2; exit 1 ;;\nesac\n";
    let program = folder.join("az");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let path = format!("{}:{}", folder.display(), env::var("PATH").unwrap());
    Command::new(crate::PROBE).args(arguments).env("PATH", path).output().unwrap()
}

#[test]
fn the_whole_way_is_fetched_and_nothing_is_changed() {
    let folder = TempDir::new().unwrap();
    record(folder.path(), &recorded());
    let output = run(folder.path(), &["nsg", "--azure", "hubs/hubs", "--output", "json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let summaries: Vec<_> =
        report["findings"].as_array().unwrap().iter().map(|it| it["summary"].as_str().unwrap()).collect();
    let media =
        "udp/40000-49999 from the internet to the nodes (10.224.0.4): denied by DenyAllInBound (65500)";
    assert!(summaries.iter().any(|it| it.starts_with(media)), "{summaries:#?}");
    assert!(
        summaries.iter().any(|it| it.contains("to the load balancer (203.0.113.10): passes")),
        "{summaries:#?}"
    );
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(asked.lines().count(), recorded().len(), "{asked}");
    for line in asked.lines() {
        let verb = line.split(" --").next().and_then(|words| words.split(' ').next_back()).unwrap();
        assert!(["show", "list", "list-instance-public-ips"].contains(&verb), "{line}");
    }
}

/// In a resource group that the people of the network look after.
fn of_network(kind: &str) -> String {
    format!(
        "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/network/providers/Microsoft.Network/{kind}"
    )
}

/// The same cluster in a network of one's own, which goes out through a NAT gateway of one's own.
fn recorded_in_own_network() -> Vec<(String, Value)> {
    let (subnet, group) =
        (of_network("virtualNetworks/hubs/subnets/nodes"), of_network("networkSecurityGroups/nodes-nsg"));
    let (gateway, outward) = (of_network("natGateways/out"), of_network("publicIPAddresses/nat"));
    let mut answers = recorded();
    let of_nodes = |words: &str| format!("{words} --resource-group={NODES}");
    for (words, answer) in &mut answers {
        if words.starts_with("aks show") {
            *answer = json!({ "name": "hubs", "nodeResourceGroup": NODES,
                "agentPoolProfiles": [{ "name": "pool", "vnetSubnetId": subnet }, { "name": "more", "vnetSubnetId": subnet }],
                "networkProfile": { "outboundType": "userAssignedNATGateway", "loadBalancerProfile": null, "natGatewayProfile": null } });
        } else if *words == of_nodes("network vnet list") || *words == of_nodes("network nsg list") {
            *answer = json!([]);
        } else if words.starts_with("vmss nic list") {
            answer[0]["ipConfigurations"][0]["subnet"]["id"] = json!(subnet);
        } else if *words == of_nodes("network lb list") {
            answer[0]["outboundRules"] = json!([]);
        } else if *words == of_nodes("network public-ip list") {
            answer.as_array_mut().unwrap().truncate(1);
        }
    }
    let mut nsg: Value =
        serde_json::from_str(&fs::read_to_string(need::tests_folder().join("lab/nsg/aks.json")).unwrap())
            .unwrap();
    let mut nsg = nsg[0].take();
    nsg["id"] = json!(group);
    nsg["name"] = json!("nodes-nsg");
    nsg["resourceGroup"] = json!("network");
    nsg["subnets"] = json!([{ "id": subnet }]);
    let shown = |words: &str, id: &str, answer: Value| (format!("{words} show --ids={id}"), answer);
    answers.extend([
        shown(
            "network vnet subnet",
            &subnet,
            json!({ "id": subnet, "name": "nodes", "addressPrefix": "10.224.0.0/16", "natGateway": { "id": gateway },
                "networkSecurityGroup": { "id": group, "resourceGroup": "network" } }),
        ),
        shown("network nsg", &group, nsg),
        shown("network nat gateway", &gateway, json!({ "id": gateway, "publicIpAddresses": [{ "id": outward }], "subnets": [{ "id": subnet }] })),
        shown("network public-ip", &outward.to_ascii_lowercase(), json!({ "id": outward, "ipAddress": "203.0.113.9" })),
    ]);
    answers
}

#[test]
fn a_network_of_ones_own_is_fetched_from_where_it_is() {
    let folder = TempDir::new().unwrap();
    record(folder.path(), &recorded_in_own_network());
    let output = run(folder.path(), &["nsg", "--azure", "hubs/hubs", "--output", "json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let read = findings.iter().find(|it| it["code"] == "HP0700").unwrap();
    assert_eq!(read["status"], "pass", "{read:#}");
    let media =
        findings.iter().find(|it| it["target"] == "udp/40000-49999" && it["status"] == "warn").unwrap();
    let text = media.to_string();
    assert!(
        text.contains("of nodes-nsg (subnet)") && text.contains("-g network --nsg-name nodes-nsg"),
        "{media:#}"
    );
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    // Two pools in one subnet are no reason to ask twice.
    assert_eq!(asked.lines().count(), recorded_in_own_network().len(), "{asked}");
    assert!(asked.contains("network public-ip show"), "{asked}");
}

#[test]
fn a_check_holds_what_azure_has_against_what_it_sees() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let _relay = relay::start_for(&bed, crate::RELAY);
    for answers in [recorded(), recorded_in_own_network()] {
        let folder = TempDir::new().unwrap();
        record(folder.path(), &answers);
        let path = format!("{}:{}", folder.path().display(), env::var("PATH").unwrap());
        let mut command = probe::prepare(crate::PROBE, &bed);
        let checked = probe::run(command.env("PATH", path).args([
            "--azure",
            "hubs/hubs",
            "--room",
            ROOM,
            "--no-audio",
        ]));
        let media = checked
            .findings()
            .find(|it| {
                it["check"] == "nsg.flows" && it["target"] == "udp/40000-49999" && it["code"] == "HP0703"
            })
            .unwrap_or_else(|| panic!("{:#}", checked.report));
        let seen = |label: &str| {
            let all = media["evidence"].as_array().unwrap().iter();
            all.clone().find(|it| it["label"] == label).map(|it| it["value"].as_str().unwrap().to_owned())
        };
        assert_eq!(seen("declared").as_deref(), Some("denied"), "{media:#}");
        let forwarded = "no: the address is the one by which the cluster goes out";
        assert_eq!(seen("forwarded").as_deref(), Some(forwarded), "{media:#}");
        // The load balancer's rules are known, too: TURN's port is in none of them.
        let turn =
            checked.findings().find(|it| it["check"] == "nsg.flows" && it["target"] == "tcp/5349").unwrap();
        assert!(turn.to_string().contains("no rule for 5349"), "{turn:#}");
    }
}

#[test]
fn who_is_not_logged_in_is_told_what_az_says() {
    let folder = TempDir::new().unwrap();
    record(folder.path(), &[]);
    let output = run(folder.path(), &["nsg", "--azure", "hubs/hubs"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("az aks show") && said.contains("please run az login"), "{said}");
}
