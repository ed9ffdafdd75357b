//! What is said of rules that people have.

use std::net::SocketAddr;

use super::{
    judge::{Observed, Owner, Reality, flows, rules},
    question::Wanted,
    ranges::Addresses,
    read::{Declared, Source, read},
};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

const AKS: &str = include_str!("../../../tests/lab/nsg/aks.json");
const OWN_NETWORK: &str = include_str!("../../../tests/lab/nsg/own-network.json");

/// The groups with one rule more in the group of that place.
fn with(document: &str, group: usize, rule: &str) -> Declared {
    let mut value: serde_json::Value = serde_json::from_str(document).unwrap();
    if !rule.is_empty() {
        let rules = value[group]["securityRules"].as_array_mut().unwrap();
        let rule: serde_json::Value = serde_json::from_str(rule).unwrap();
        match rule {
            serde_json::Value::Array(several) => rules.extend(several),
            one => rules.push(one),
        }
    }
    read(&[Source::file("nsg.json", value.to_string())]).unwrap()
}

fn rule(name: &str, priority: u16, access: &str, protocol: &str, destination: &str, ports: &str) -> String {
    format!(
        r#"{{"name": "{name}", "priority": {priority}, "direction": "Inbound", "access": "{access}", "protocol": "{protocol}",
            "sourceAddressPrefix": "Internet", "sourcePortRange": "*", "destinationAddressPrefix": "{destination}", "destinationPortRange": "{ports}"}}"#
    )
}

fn media(destination: &str) -> String {
    rule("hubs-media", 200, "Allow", "Udp", destination, "40000-49999")
}

#[track_caller]
fn finding(findings: &[Finding], code: Code) -> &Finding {
    let found: Vec<_> = findings.iter().filter(|it| it.code == code).collect();
    assert_eq!(found.len(), 1, "{code}: {findings:#?}");
    found[0]
}

fn declared_only(declared: &Declared) -> Vec<Finding> {
    flows(declared, &Wanted::default(), None)
}

fn commands(finding: &Finding) -> &[String] {
    finding.remedy.as_ref().map(|it| it.commands.as_slice()).unwrap_or_default()
}

#[test]
fn of_aks_own_rules_the_entrance_is_open_and_media_is_not() {
    let findings = declared_only(&with(AKS, 0, ""));
    for code in [
        Code::EntranceAdmitted,
        Code::TurnAdmitted,
        Code::ProbesAdmitted,
        Code::OutAdmitted,
        Code::AdminDenied,
    ] {
        assert_eq!(finding(&findings, code).status, Status::Pass, "{findings:#?}");
    }
    assert!(findings.iter().filter(|it| it.code == Code::InsideAdmitted).all(|it| it.status == Status::Pass));
    let media = finding(&findings, Code::MediaAdmitted);
    assert_eq!(media.status, Status::Warn);
    assert_eq!(media.target.as_deref(), Some("udp/40000-49999"));
    assert!(
        media.summary.contains("denied by DenyAllInBound (65500) of aks-agentpool-21418527-nsg"),
        "{}",
        media.summary
    );
    assert_eq!(
        commands(media)[1],
        "az network nsg rule create -g MC_hubs_hubs_westeurope --nsg-name aks-agentpool-21418527-nsg -n hubs-media --priority 200 --direction Inbound --access Allow --protocol Udp --source-address-prefixes Internet --source-port-ranges '*' --destination-address-prefixes '*' --destination-port-ranges 40000-49999"
    );
}

#[test]
fn an_entrance_that_is_denied_is_a_failure_with_the_rule_that_mends_it() {
    let declared = with(AKS, 0, &rule("harden", 200, "Deny", "Tcp", "*", "4443"));
    let findings = declared_only(&declared);
    let entrance = finding(&findings, Code::EntranceAdmitted);
    assert_eq!(entrance.status, Status::Fail);
    assert!(entrance.summary.contains("4443 denied by harden (200)"), "{}", entrance.summary);
    let cause = entrance.cause.as_deref().unwrap();
    assert!(
        cause.contains("k8s-azure-lb_allow")
            && cause.contains("harden (200)")
            && cause.contains("comes first"),
        "{cause}"
    );
    let command = &commands(entrance)[0];
    assert!(
        command.contains("--priority 199") && command.contains("--destination-port-ranges 4443"),
        "{command}"
    );
    assert_eq!(finding(&findings, Code::TurnAdmitted).status, Status::Pass);
}

#[test]
fn near_misses_say_what_the_rule_lacks() {
    for (rule, said) in [
        (rule("r", 200, "Allow", "Tcp", "*", "40000-49999"), "is for TCP, and these packets are UDP"),
        (rule("r", 200, "Allow", "Udp", "*", "30000-39999"), "is for ports 30000-39999"),
        (media("*").replace("\"Internet\"", "\"10.0.0.0/8\""), "is for packets from 10.0.0.0/8"),
        (
            media("*").replace("\"sourcePortRange\": \"*\"", "\"sourcePortRange\": \"40000-49999\""),
            "is denied",
        ),
    ] {
        let findings = declared_only(&with(AKS, 0, &rule));
        let media = findings
            .iter()
            .find(|it| it.target.as_deref() == Some("udp/40000-49999") && it.status == Status::Warn)
            .unwrap();
        let told = format!("{media:?}");
        assert!(told.contains(said) || said == "is denied", "{said}: {told}");
    }
}

#[test]
fn a_rule_that_ends_too_early_leaves_the_rest_denied_port_by_port() {
    let findings = declared_only(&with(AKS, 0, &rule("r", 200, "Allow", "Udp", "*", "35000-44999")));
    let media = finding(&findings, Code::MediaAdmitted);
    assert!(media.summary.contains("45000-49999 denied by DenyAllInBound"), "{}", media.summary);
    let lines: Vec<_> = media.evidence.iter().map(|it| it.label.as_str()).collect();
    assert_eq!(&lines[..2], ["40000-44999", "45000-49999"]);
    assert!(commands(media)[1].contains("--destination-port-ranges 45000-49999"));
}

#[test]
fn a_subnet_without_the_copy_and_a_wrong_destination_have_codes_of_their_own() {
    let findings = declared_only(&with(OWN_NETWORK, 1, &media("*")));
    let copy = finding(&findings, Code::RuleCopied);
    assert_eq!(copy.status, Status::Warn);
    assert!(commands(copy)[0].contains("--nsg-name subnet-nsg"), "{copy:#?}");
    let findings = declared_only(&with(AKS, 0, &media("203.0.113.40")));
    let elsewhere = finding(&findings, Code::RuleDestination);
    assert!(elsewhere.cause.as_deref().unwrap().contains("is for 203.0.113.40"), "{elsewhere:#?}");
}

#[test]
fn what_somebodys_own_rule_denies_is_located_at_that_rule() {
    let blocker = rule("blocker", 200, "Deny", "*", "*", "40000-49999");
    let denied = |rules: &[&str]| {
        let document = format!("[{}]", rules.join(", "));
        let findings = declared_only(&with(r#"[{"name": "g", "securityRules": []}]"#, 0, &document));
        let found = findings.iter().find(|it| it.target.as_deref() == Some("udp/40000-49999")).unwrap();
        let column = found.location.as_ref().unwrap().column.unwrap();
        let before = r#"[{"name":"g","securityRules":["#.len() + 1;
        let first = serde_json::from_str::<serde_json::Value>(rules[0]).unwrap().to_string().len();
        let at = usize::from(column != before);
        assert_eq!(column, before + at * (first + 1), "{found:#?}");
        (at, found.code, found.cause.clone().unwrap(), format!("{:?}", found.evidence))
    };
    for unrelated in [
        rule("stun", 300, "Allow", "Udp", "*", "3478"),
        rule("stun", 300, "Allow", "Udp", "203.0.113.40", "40000-49999"),
    ] {
        let (at, code, cause, evidence) = denied(&[&blocker, &unrelated]);
        assert_eq!((at, code), (0, Code::MediaAdmitted));
        assert!(cause.contains("blocker (200)") && !cause.contains("stun"), "{cause}");
        assert!(evidence.contains("near miss") && evidence.contains("stun"), "{evidence}");
    }
    // Here somebody did make the rule, and put it behind the other one.
    let (at, _, cause, _) = denied(&[&blocker, &rule("late", 300, "Allow", "Udp", "*", "40000-49999")]);
    assert!(at == 1 && cause.contains("late (300)") && cause.contains("comes first"), "{at} {cause}");
    // What denies is Azure's own, and the near miss is all that there is to be put right.
    let stun = rule("stun", 300, "Allow", "Udp", "*", "3478");
    let (at, _, cause, _) = denied(&[&stun, &rule("web", 310, "Allow", "Tcp", "*", "443")]);
    assert!(at == 0 && cause.contains("stun (300)"), "{at} {cause}");
}

#[test]
fn health_probes_that_a_rule_denies_are_a_failure() {
    let all = r#"{"name": "deny-all", "priority": 4000, "direction": "Inbound", "access": "Deny", "protocol": "*", "sourceAddressPrefix": "*",
        "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "*"}"#;
    let findings = declared_only(&with(AKS, 0, all));
    let probes = finding(&findings, Code::ProbesAdmitted);
    assert_eq!(probes.status, Status::Fail);
    assert!(commands(probes)[0].contains("--source-address-prefixes AzureLoadBalancer"), "{probes:#?}");
    assert!(findings.iter().any(|it| it.code == Code::InsideAdmitted && it.status == Status::Fail));
}

#[test]
fn nodes_that_cannot_get_out_are_a_warning() {
    let out = r#"{"name": "no-way-out", "priority": 200, "direction": "Outbound", "access": "Deny", "protocol": "*", "sourceAddressPrefix": "*",
        "sourcePortRange": "*", "destinationAddressPrefix": "Internet", "destinationPortRange": "*"}"#;
    let findings = declared_only(&with(AKS, 0, out));
    assert_eq!(finding(&findings, Code::OutAdmitted).status, Status::Warn);
}

#[test]
fn of_those_who_are_asked_about_only_the_internet_has_to_be_kept_from_the_admin_port() {
    let asked = |rule: &str, from: &str| {
        let wanted = Wanted { from: Some(from.parse().unwrap()), ..Wanted::default() };
        let findings = flows(&with(AKS, 0, rule), &wanted, None);
        let admin = findings.into_iter().find(|it| it.code == Code::AdminDenied);
        admin.map(|it| (it.status, it.summary))
    };
    for from in ["Internet", "0.0.0.0/0", "203.0.113.7"] {
        let (status, summary) = asked("", from).unwrap();
        assert_eq!(status, Status::Pass, "{summary}");
        let open = rule("all", 200, "Allow", "*", "*", "*");
        assert_eq!(asked(&open, from).unwrap().0, Status::Fail, "{from}");
    }
    // Who is inside gets there in any case, and AKS's own rules say so.
    for from in ["VirtualNetwork", "10.224.0.0/16", "AzureLoadBalancer"] {
        assert_eq!(asked("", from), None, "{from}");
    }
}

#[test]
fn a_rule_that_opens_the_admin_port_is_a_failure_and_too_broad() {
    let declared = with(AKS, 0, &rule("all", 200, "Allow", "*", "*", "*"));
    let findings = declared_only(&declared);
    let admin = finding(&findings, Code::AdminDenied);
    assert_eq!(admin.status, Status::Fail);
    assert!(commands(admin)[0].contains("-n all --destination-port-ranges 80 443 3478"));
    let about_rules = rules(&declared);
    let broad = finding(&about_rules, Code::RuleNarrow);
    assert_eq!(broad.status, Status::Warn);
    assert!(broad.summary.contains("lets everybody in to 65536 ports"), "{}", broad.summary);
    // The rule of AKS has nothing left to decide.
    assert_eq!(finding(&about_rules, Code::RuleDecides).status, Status::Warn);
    assert!(rules(&with(AKS, 0, &media("*"))).iter().all(|it| it.status == Status::Pass));
}

#[test]
fn what_is_too_broad_is_narrowed_to_what_hubs_needs_of_it() {
    for (protocol, ports, needed) in [
        ("Tcp", "1-10000", "80 443 4443 5349"),
        ("Udp", "1-65535", "3478 40000-49999"),
        ("*", "*", "80 443 3478 4443 5349 40000-49999"),
        ("Tcp", "1000-8000", "4443 5349"),
    ] {
        let declared = with(AKS, 0, &rule("broad", 300, "Allow", protocol, "*", ports));
        let findings = [rules(&declared), declared_only(&declared)].concat();
        let wanted = format!(
            "az network nsg rule update -g MC_hubs_hubs_westeurope --nsg-name aks-agentpool-21418527-nsg -n broad \
             --destination-port-ranges {needed}"
        );
        for code in [Code::RuleNarrow, Code::AdminDenied] {
            let found = finding(&findings, code);
            let is_about_it = found.status != Status::Pass;
            assert!(is_about_it || code == Code::AdminDenied && protocol == "Udp", "{found:#?}");
            assert!(!is_about_it || commands(found) == [wanted.clone()], "{found:#?}");
        }
    }
    let declared = with(AKS, 0, &rule("none", 300, "Allow", "Tcp", "*", "6000-8000"));
    assert_eq!(commands(finding(&rules(&declared), Code::RuleNarrow)).len(), 0);
}

#[test]
fn everybody_is_everybody_also_where_azure_writes_all_networks_of_the_internet() {
    let networks = Addresses::all().v4_only().difference(&Addresses::private()).words();
    let written = format!("\"sourceAddressPrefixes\": {networks:?}");
    let broad = rule("broad", 300, "Allow", "Tcp", "*", "80-5349")
        .replace("\"sourceAddressPrefix\": \"Internet\"", &written);
    assert_eq!(finding(&rules(&with(AKS, 0, &broad)), Code::RuleNarrow).status, Status::Warn);
}

#[test]
fn who_is_kept_out_on_purpose_is_named_and_not_let_in() {
    let bad = rule("bad", 150, "Deny", "*", "*", "*").replace("\"Internet\"", "\"198.51.100.0/24\"");
    let findings = declared_only(&with(AKS, 0, &bad));
    for code in [Code::EntranceAdmitted, Code::TurnAdmitted] {
        let found = finding(&findings, code);
        assert_eq!((found.status, commands(found).len()), (Status::Warn, 0), "{found:#?}");
        assert!(found.summary.ends_with("passes, but not from 198.51.100.0/24"), "{}", found.summary);
    }
    // Several rules against some may come to one against nearly everybody.
    let some = |name: &str, priority, access: &str, from: &str| {
        rule(name, priority, access, "*", "*", "*").replace("\"Internet\"", &format!("{from:?}"))
    };
    let rules = [
        some("us", 140, "Allow", "198.51.100.0/24"),
        some("low", 150, "Deny", "0.0.0.0/1"),
        some("high", 151, "Deny", "128.0.0.0/1"),
    ];
    let nearly = declared_only(&with(AKS, 0, &format!("[{}]", rules.join(","))));
    assert_eq!(finding(&nearly, Code::EntranceAdmitted).status, Status::Fail);
    // Whom a rule keeps out that is about everybody is kept out by mistake.
    let all = declared_only(&with(AKS, 0, &rule("bad", 150, "Deny", "*", "*", "*")));
    assert_eq!(finding(&all, Code::EntranceAdmitted).status, Status::Fail);
}

#[test]
fn rules_for_several_flows_have_names_and_priorities_of_their_own() {
    let findings = declared_only(&with(AKS, 0, &rule("shut", 300, "Deny", "*", "*", "*")));
    let commands: Vec<_> = findings.iter().flat_map(commands).filter(|it| it.contains("Inbound")).collect();
    let words = |option: &str| {
        let values = commands.iter().map(|it| it.split(option).nth(1).unwrap().split(' ').nth(1).unwrap());
        values.collect::<Vec<_>>()
    };
    assert_eq!(words("--priority"), ["200", "201", "202"], "{commands:#?}");
    assert_eq!(words(" -n"), ["hubs-entrance", "hubs-turn", "hubs-media"]);
}

#[test]
fn what_is_asked_for_fails_where_hubs_own_needs_only_warn() {
    let wanted = Wanted { flows: vec!["udp/40000-49999".parse().unwrap()], ..Wanted::default() };
    let findings = flows(&with(AKS, 0, ""), &wanted, None);
    assert_eq!(finding(&findings, Code::FlowAdmitted).status, Status::Fail);
    let group = r#"{"name": "g", "securityRules": []}"#;
    let odd = group.replace("[]", &format!("[{}]", rule("r", 200, "Allow", "Pigeon", "*", "*")));
    let odd = read(&[Source::file("x", odd)]).unwrap();
    assert_eq!(finding(&flows(&odd, &wanted, None), Code::FlowAdmitted).status, Status::Error);
    assert_eq!(finding(&rules(&odd), Code::RulesRead).status, Status::Warn);
}

#[test]
fn what_is_odd_has_its_line_where_the_person_has_the_file_and_its_path_otherwise() {
    let group = "{\n \"name\": \"g\",\n \"securityRules\": [\n  {\"name\": \"r\"}]}";
    let odd = rules(&read(&[Source::file("my nsg.json", group)]).unwrap());
    let found = finding(&odd, Code::RulesRead);
    assert_eq!(found.location.as_ref().unwrap().to_string(), "my nsg.json:4:3");
    assert_eq!(found.evidence[0].label, "my nsg.json:4:3 $.securityRules[0]");
    let odd = rules(&read(&[Source::printed("az network nsg list", group)]).unwrap());
    let found = finding(&odd, Code::RulesRead);
    assert_eq!(found.location.as_ref().unwrap().to_string(), "az network nsg list $.securityRules[0]");
}

#[test]
fn no_name_of_a_rule_or_group_gets_out_of_its_quotes() {
    let text = format!(
        r#"[{{"name": "x'; rm -rf / #", "securityRules": [{}], "subnets": [{{"id": "/x/subnets/s"}}]}}]"#,
        rule("r", 100, "Deny", "*", "*", "*")
    );
    let declared = read(&[Source::file("x", text)]).unwrap();
    let told: Vec<_> = declared_only(&declared)
        .iter()
        .chain(&rules(&declared))
        .flat_map(|it| commands(it).to_vec())
        .collect();
    for command in told.iter().filter(|it| it.contains("rm -rf")) {
        assert!(command.contains(r"'x'\''; rm -rf / #'"), "{command}");
    }
}

const OPEN: Observed = Observed::Open(String::new());
const SILENT: Observed = Observed::Silent(String::new());

fn seen(media: Observed, owner: Owner) -> Reality {
    Reality { entrance: OPEN, turn: OPEN, gateway: Observed::Unknown, media, owner, ports: Vec::new() }
}

fn compared(declared: &Declared, reality: &Reality) -> Vec<Finding> {
    flows(declared, &Wanted::default(), Some(reality))
}

#[test]
fn declared_and_observed_together_tell_what_neither_does() {
    let (open, closed) = (with(AKS, 0, &media("*")), with(AKS, 0, ""));
    let code = |declared: &Declared, media: Observed, owner| {
        let findings = compared(declared, &seen(media, owner));
        let found = findings
            .into_iter()
            .find(|it| it.target.as_deref() == Some("udp/40000-49999") && it.code != Code::InsideAdmitted);
        let found = found.unwrap();
        (found.code, found.status, found.cause.unwrap_or_default())
    };
    assert_eq!(code(&open, OPEN, Owner::Node).0, Code::MediaAdmitted);
    let (dead, status, cause) = code(&open, SILENT, Owner::Outbound);
    assert_eq!((dead, status), (Code::AdmittedArrives, Status::Warn));
    assert!(cause.contains("goes out"), "{cause}");
    assert!(code(&open, SILENT, Owner::Node).2.contains("a node's own"));
    assert_eq!(code(&closed, OPEN, Owner::Unknown).0, Code::DeniedIsClosed);
    assert_eq!(code(&closed, SILENT, Owner::Unknown).0, Code::MediaAdmitted);
}

#[test]
fn an_entrance_that_is_let_in_and_silent_is_not_the_rules_fault() {
    let declared = with(AKS, 0, "");
    let reality = Reality { turn: SILENT, ..seen(SILENT, Owner::Unknown) };
    let findings = compared(&declared, &reality);
    let dead = finding(&findings, Code::AdmittedArrives);
    assert_eq!((dead.status, dead.target.as_deref()), (Status::Fail, Some("tcp/5349")));
    let label = |label: &str| dead.evidence.iter().find(|it| it.label == label).map(|it| it.value.as_str());
    assert_eq!(label("declared"), Some("let in"));
    assert!(label("forwarded").unwrap().starts_with("not known"));
}

#[test]
fn the_gateways_port_is_asked_for_where_the_gateway_is() {
    let gateway: SocketAddr = "203.0.113.10:3478".parse().unwrap();
    let wanted = Wanted { gateway: vec![gateway], ..Wanted::default() };
    let compare = |declared: &Declared, gateway| {
        let reality = Reality { gateway, ..seen(SILENT, Owner::Unknown) };
        flows(declared, &wanted, Some(&reality))
    };
    let closed = with(AKS, 0, "");
    let open = with(AKS, 0, &rule("r", 200, "Allow", "Udp", "203.0.113.10", "3478"));
    let denied = compare(&closed, SILENT);
    let denied = finding(&denied, Code::GatewayAdmitted);
    assert_eq!((denied.status, denied.target.as_deref()), (Status::Warn, Some("udp/3478")));
    assert!(commands(denied)[0].contains("3478"), "{denied:#?}");
    let passes = compare(&open, OPEN);
    assert_eq!(finding(&passes, Code::GatewayAdmitted).status, Status::Pass);
    // Media has a way then, and dialog's own ports may be as closed as they are.
    assert_eq!(finding(&passes, Code::MediaAdmitted).status, Status::Skip);
    let dead = compare(&open, SILENT);
    let dead = dead.iter().find(|it| it.target.as_deref() == Some("udp/3478")).unwrap();
    assert_eq!((dead.code, dead.status), (Code::AdmittedArrives, Status::Warn));
    // Without a gateway nobody asks.
    assert!(
        compared(&closed, &seen(SILENT, Owner::Unknown)).iter().all(|it| it.code != Code::GatewayAdmitted)
    );
}

#[test]
fn what_a_node_sends_to_an_address_goes_out() {
    let wanted = Wanted {
        flows: vec!["tcp/443".parse().unwrap()],
        from: Some("Node".parse().unwrap()),
        to: Some("8.8.8.8".parse().unwrap()),
        ..Wanted::default()
    };
    let findings = flows(&with(AKS, 0, ""), &wanted, None);
    assert_eq!(finding(&findings, Code::FlowAdmitted).status, Status::Pass, "{findings:#?}");
}

/// AKS with the Service of the gateway beside `lb`: each has an address, and AKS a rule for each.
fn with_gateway(documents: &[serde_json::Value]) -> Declared {
    let gateway = rule("k8s-azure-lb_gw", 501, "Allow", "Udp", "203.0.113.77", "3478");
    let mut groups: serde_json::Value = serde_json::from_str(AKS).unwrap();
    let rules = groups[0]["securityRules"].as_array_mut().unwrap();
    rules.push(serde_json::from_str(&gateway).unwrap());
    let mut sources = vec![Source::file("nsg.json", groups.to_string())];
    sources.extend(documents.iter().map(|it| Source::file("services.json", it.to_string())));
    read(&sources).unwrap()
}

#[test]
fn each_address_of_the_load_balancer_is_asked_for_what_is_forwarded_there() {
    let service = |name: &str, address: &str, protocol: &str, ports: &[u16]| {
        let ports: Vec<_> =
            ports.iter().map(|port| serde_json::json!({ "port": port, "protocol": protocol })).collect();
        serde_json::json!({ "kind": "Service", "metadata": { "name": name }, "spec": { "type": "LoadBalancer", "ports": ports },
            "status": { "loadBalancer": { "ingress": [{ "ip": address }] } } })
    };
    let services = [
        service("lb", "203.0.113.10", "TCP", &[80, 443, 4443, 5349]),
        service("hubs-media", "203.0.113.77", "UDP", &[3478]),
    ];
    for documents in [&services[..], &[]] {
        let declared = with_gateway(documents);
        assert_eq!(declared.frontends.len(), 2);
        let findings = declared_only(&declared);
        for code in [Code::EntranceAdmitted, Code::TurnAdmitted] {
            let found = finding(&findings, code);
            assert_eq!(found.status, Status::Pass, "{found:#?}");
            assert!(found.summary.contains("the load balancer (203.0.113.10)"), "{}", found.summary);
        }
        if !documents.is_empty() {
            let gateway = finding(&findings, Code::GatewayAdmitted);
            assert_eq!(gateway.status, Status::Pass, "{gateway:#?}");
        }
    }
}

#[test]
fn a_port_of_udp_that_is_forwarded_is_only_supposed_to_be_the_gateways() {
    let service = r#"{"kind": "Service", "spec": {"type": "LoadBalancer", "ports": [{"port": 53, "protocol": "UDP"}]}}"#;
    let declared = read(&[Source::file("nsg.json", AKS), Source::file("dns.json", service)]).unwrap();
    let supposed = declared_only(&declared);
    let summary = &finding(&supposed, Code::GatewayAdmitted).summary;
    assert!(summary.starts_with("udp/53 from the internet to the load balancer"), "{summary}");
    assert!(summary.contains("if that is hubs-relay's gateway: denied"), "{summary}");
    let gateway = "203.0.113.10:3478".parse().unwrap();
    let known = flows(&declared, &Wanted { gateway: vec![gateway], ..Wanted::default() }, None);
    assert!(!finding(&known, Code::GatewayAdmitted).summary.contains("if that is"));
}

#[test]
fn ports_that_were_tried_are_held_against_the_intervals() {
    let declared = with(AKS, 0, &rule("r", 200, "Allow", "Udp", "*", "40000-44999"));
    let compare = |ports: Vec<(u16, bool)>| {
        let findings = compared(&declared, &Reality { ports, ..seen(OPEN, Owner::Node) });
        let found = finding(&findings, Code::MediaAdmitted).clone();
        found.evidence.into_iter().find(|it| it.label == "ports that were tried").unwrap().value
    };
    assert_eq!(compare(vec![(41_000, true), (46_000, false)]), "all 2 as the rules say");
    assert_eq!(compare(vec![(41_000, false), (46_000, true)]), "otherwise than the rules say: 41000, 46000");
}

#[test]
fn a_resource_group_without_any_security_group_says_nothing() {
    let declared = read(&[Source::file("nsg.json", "[]")]).unwrap();
    let findings = rules(&declared);
    let read = finding(&findings, Code::RulesRead);
    assert_eq!(read.status, Status::Error);
    assert!(commands(read)[0].contains("nodeResourceGroup"));
}
