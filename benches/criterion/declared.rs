//! What the probe makes of files: ten thousand rules of Azure's, and manifests of ten megabytes, from the text to the findings.

use std::{hint::black_box, net::Ipv4Addr};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hubs_probe::{lint, nsg::Documents};
use serde_json::{Value, json};

/// So large is the manifest.
const MANIFEST: usize = 10_000_000;

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = rules, manifests
}
criterion_main!(benches);

fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nsg, 10,000 rules");
    for (name, rule) in [
        ("all kinds", mixed as fn(u32) -> Value),
        ("a port each", a_port_each),
        ("an address each", an_address_each),
        ("a port and an address each", both_each),
        ("all four dimensions at random", shattering),
    ] {
        let text = document(rule);
        let read = || Documents::read([("nsg.json", text.as_str())]).expect("they are rules");
        group.bench_function(format!("{name}: read"), |bencher| bencher.iter_with_large_drop(read));
        group.bench_function(format!("{name}: evaluate"), |bencher| {
            bencher.iter_batched_ref(
                read,
                |documents| black_box(documents.findings()),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("{name}: both"), |bencher| bencher.iter(|| read().findings()));
    }
    group.finish();
}

fn manifests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lint, 10 MB");
    group.throughput(Throughput::Bytes(MANIFEST as u64));
    for (name, text) in [
        ("Hubs' manifest again and again, and all that is wrong with it", hubs()),
        ("small objects in a list", small_objects()),
        ("long scripts", scripts()),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| lint::findings("hcce.yaml", black_box(&text)));
        });
    }
    group.finish();
}

/// Hubs' own, each time with other names.
fn hubs() -> String {
    let shipped = include_str!("../../probe/src/lint/hcce.yaml");
    repeated("", |number| format!("{}\n---\n", shipped.replace("name: ", &format!("name: x{number}-"))))
}

fn small_objects() -> String {
    repeated("apiVersion: v1\nkind: List\nitems:\n", |number| {
        format!(
            "- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: x{number}\n  data:\n    a: some words in a row\n    b: \"quoted\"\n"
        )
    })
}

fn scripts() -> String {
    let script = "    a line of a script that says $HUB_DOMAIN and goes on\n".repeat(200);
    repeated("", |number| {
        format!("---\nkind: ConfigMap\nmetadata:\n  name: x{number}\ndata:\n  a: |\n{script}")
    })
}

fn repeated(head: &str, part: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    let mut number = 0;
    while text.len() < MANIFEST {
        text += &part(number);
        number += 1;
    }
    text
}

/// Ten groups of a thousand rules, which is as many as Azure takes, on one way each.
fn document(rule: fn(u32) -> Value) -> String {
    let group = |at: u32| {
        let rules: Vec<_> = (0..1000).map(|number| rule(at * 1000 + number)).collect();
        let subnet = format!(
            "/subscriptions/0/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/{at}"
        );
        json!({ "name": format!("nsg-{at}"), "securityRules": rules, "subnets": [{ "id": subnet }] })
    };
    Value::from((0..10).map(group).collect::<Vec<_>>()).to_string()
}

fn base(number: u32, source: &str, ports: &str) -> Value {
    let access = if number.is_multiple_of(3) { "Deny" } else { "Allow" };
    let protocol = ["Udp", "Tcp", "*"][number as usize % 3];
    json!({
        "name": format!("rule-{number}"), "priority": 100 + number % 1000, "direction": "Inbound",
        "access": access, "protocol": protocol,
        "sourceAddressPrefix": source, "sourceAddressPrefixes": [], "sourcePortRange": "*", "sourcePortRanges": [],
        "destinationAddressPrefix": "*", "destinationAddressPrefixes": [],
        "destinationPortRange": ports, "destinationPortRanges": [],
    })
}

fn address(number: u32) -> String {
    format!("198.{}.{}.{}/32", 51 + number % 40, number / 256 % 256, number % 256)
}

fn mixed(number: u32) -> Value {
    let first = 1024 + number * 7 % 60_000;
    match number % 4 {
        0 => base(number, "Internet", &first.to_string()),
        1 => base(number, &address(number), "*"),
        2 => base(number, "VirtualNetwork", &format!("{first}-{}", first + 50)),
        _ => base(number, &address(number), &format!("{first}-{}", first + 500)),
    }
}

fn a_port_each(number: u32) -> Value {
    base(number, "Internet", &(40_000 + number % 10_000).to_string())
}

fn an_address_each(number: u32) -> Value {
    base(number, &address(number), "*")
}

fn both_each(number: u32) -> Value {
    base(number, &address(number), &(40_000 + number % 10_000).to_string())
}

/// Nobody writes such rules: networks and ports of both ends differ, so that what is left of the packets falls into ever more parts.
fn shattering(number: u32) -> Value {
    let mixed =
        |salt: u32| (number ^ salt.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b).rotate_left(15);
    let network = |salt: u32, shortest: u32, longest: u32| {
        let length = shortest + mixed(salt) % (longest - shortest);
        (mixed(salt + 1) & (u32::MAX << (32 - length)), length)
    };
    let ports = |salt: u32| {
        let first = mixed(salt) % 65_536;
        format!("{first}-{}", (first + mixed(salt + 1) % 20_000).min(65_535))
    };
    let (source, length) = network(1, 1, 8);
    let mut rule = base(number, &format!("{}/{length}", Ipv4Addr::from(source)), &ports(3));
    let (destination, length) = network(5, 9, 24);
    let destination = Ipv4Addr::from((destination & 0x00ff_ffff) | (10 << 24));
    rule["destinationAddressPrefix"] = format!("{destination}/{length}").into();
    rule["sourcePortRange"] = ports(7).into();
    rule
}
