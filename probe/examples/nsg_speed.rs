//! How long ten thousand rules take, from the text to the findings: `cargo run --release -p hubs-probe --example nsg_speed`.
#![expect(clippy::print_stdout, reason = "an example that tells what it measures")]

use std::time::{Duration, Instant};

use hubs_probe::nsg::{Documents, ReadError};
use serde_json::{Value, json};

fn main() -> Result<(), ReadError> {
    for (name, rule) in [
        ("all kinds", mixed as fn(u32) -> Value),
        ("a port each", a_port_each),
        ("an address each", an_address_each),
        ("a port and an address each", both_each),
    ] {
        let text = document(rule);
        let mut times: Vec<[Duration; 2]> = Vec::new();
        let mut found = 0;
        for _ in 0..5 {
            let begun = Instant::now();
            let documents = Documents::read([("nsg.json", text.as_str())])?;
            let read = begun.elapsed();
            found = documents.findings().len();
            times.push([read, begun.elapsed().saturating_sub(read)]);
        }
        let median = |of: usize| {
            let mut times: Vec<_> = times.iter().map(|it| it[of]).collect();
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1000.0
        };
        println!(
            "{name:<28} {:>5.1} MB  read {:>6.1} ms  evaluate {:>6.1} ms  {found} findings",
            text.len() as f64 / 1e6,
            median(0),
            median(1)
        );
    }
    Ok(())
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
