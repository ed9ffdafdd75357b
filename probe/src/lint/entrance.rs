//! The Service through which everybody comes in.

use super::{
    Found, PORT, Sheet,
    fix::{Edit, Mend, dash},
    manifest::{Manifest, Object},
    yaml::{Node, Style},
};
use crate::{codes::Code, finding::Finding};

/// What browsers open, where it goes, and what the port is called.
const PORTS: [(u16, u16, &str); 4] =
    [(80, 8080, "http"), (443, 4443, "https"), (4443, 4443, "dialog"), (5349, 5349, "turn")];

/// The one that is not HTTP.
const TURN: u16 = 5349;

/// It has the four ports, and haproxy knows the one that is not HTTP.
pub(super) fn ports(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::EntranceComplete;
    let mut found: Vec<Found> = Vec::new();
    let Some(service) = entrance(&sheet.manifest) else { return found };
    let target = format!("Service/{}", service.name);
    let items = service.node.items_at("spec.ports");
    let place = service
        .node
        .get("spec")
        .and_then(|spec| spec.field("ports"))
        .map_or_else(|| service.place(), |(key, _)| key.start);
    for (port, target_port, name) in PORTS {
        let is_there = items.iter().any(|it| {
            it.text_at("port").and_then(|it| it.parse().ok()) == Some(port)
                && it.text_at("protocol") != Some("UDP")
        });
        if is_there {
            continue;
        }
        let what = match port {
            80 => "certificates cannot be issued, and http:// leads nowhere",
            443 => "no page opens",
            4443 => "nobody gets into a room",
            _ => "browsers find no TURN server",
        };
        let finding = Finding::fail(code, format!("the load balancer does not forward TCP {port}: {what}"))
            .because("the Service has no such port, and AKS forwards and opens exactly those that it has")
            .seen(PORT, port)
            .fix(format!("Add the port to the Service, with targetPort {target_port} (--fix does)"), [""; 0]);
        let mend = match end_of_list(sheet, &service, items, name) {
            Ok((line, indent)) => {
                let text =
                    format!("- name: {name}\n  port: {port}\n  targetPort: {target_port}\n  protocol: TCP");
                Mend::Edits(vec![Edit::InsertAfter { line, indent, text }])
            }
            Err(why) => Mend::Unable(why),
        };
        found.push(Found { finding: sheet.at(finding, place).at(&target), mend });
    }
    for item in items {
        if item.text_at("protocol") == Some("UDP") {
            let finding = Finding::warn(code, "the load balancer is asked to forward a port of UDP, which nothing behind it takes")
                .because("media goes to ports that dialog draws from a range of ten thousand, and a Service has single ports")
                .fix("Take it out; nodes with public addresses, or hubs-relay, are how media gets in", [""; 0]);
            found.push(sheet.at(finding, item.start).at(&target).into());
        }
    }
    found.extend(tcp_services(sheet));
    if found.is_empty() {
        found.push(
            sheet
                .at(Finding::pass(code, "the Service has the four ports that browsers open"), place)
                .at(&target)
                .into(),
        );
    }
    found
}

/// The one by which pages and rooms come in: it has the generator's name or leads to haproxy, or has a port that only Hubs has.
fn entrance<'y>(manifest: &Manifest<'y>) -> Option<Object<'y>> {
    let leads_to_haproxy = |it: &Object<'_>| {
        let selector = it.node.at("spec.selector").map(Node::fields).unwrap_or_default();
        selector.iter().any(|(_, value)| value.text().is_some_and(|it| it.contains("haproxy")))
    };
    let is_of_hubs = |it: &Object<'_>| {
        let ports = it.node.items_at("spec.ports").iter();
        ports.filter_map(|it| it.text_at("port")).any(|it| matches!(it, "4443" | "5349"))
    };
    let all = || manifest.of_kind("Service").filter(may_be_entrance);
    all()
        .find(|it| it.name == "lb")
        .or_else(|| all().find(leads_to_haproxy))
        .or_else(|| all().find(is_of_hubs))
}

/// Whether it is open to everybody. One that has ports of UDP alone is the media gateway's (deploy/gateway).
fn may_be_entrance(service: &Object<'_>) -> bool {
    let is_udp = |it: &Node<'_>| it.text_at("protocol") == Some("UDP");
    let ports = service.node.items_at("spec.ports");
    service.node.text_at("spec.type") == Some("LoadBalancer")
        && (ports.is_empty() || !ports.iter().all(is_udp))
}

/// haproxy is told where 5349 leads, and that is there.
fn tcp_services(sheet: &Sheet<'_>) -> Option<Found> {
    let code = Code::EntranceComplete;
    let haproxy = sheet.manifest.containers().find(|it| it.pod.object.name.contains("haproxy"))?;
    let Some(given) = haproxy.options("--configmap-tcp-services").next() else {
        let finding =
            Finding::fail(code, "haproxy is not told of any TCP service, so nothing is behind port 5349")
                .because("--configmap-tcp-services is not among its arguments")
                .seen(PORT, TURN);
        return Some(sheet.at(finding, haproxy.place()).into());
    };
    let name = given.value.rsplit('/').next().unwrap_or(given.value);
    if !sheet.tells("ConfigMap", name) {
        return None;
    }
    let map = sheet.manifest.find("ConfigMap", name);
    let Some(map) = map else {
        let finding =
            Finding::fail(code, format!("haproxy reads its TCP services from {name}, which is not declared"))
                .seen(PORT, TURN);
        return Some(sheet.at(finding, given.items[0].start).into());
    };
    let Some((_, value)) = map.node.get("data").and_then(|data| data.field("5349")) else {
        let finding = Finding::fail(code, format!("{name} does not say what is behind port 5349"))
            .because("haproxy opens only those TCP ports that this map names")
            .seen(PORT, TURN);
        return Some(sheet.at(finding, map.place()).at(format!("ConfigMap/{name}")).into());
    };
    let service = value.text()?.rsplit('/').next()?.split(':').next()?;
    if sheet.manifest.find("Service", service).is_some() || !sheet.tells("Service", service) {
        return None;
    }
    let finding =
        Finding::fail(code, format!("port 5349 leads to the Service {service}, which is not declared"))
            .seen(PORT, TURN);
    Some(sheet.at(finding, value.start).at(format!("ConfigMap/{name}")).into())
}

/// Behind which line, and how far from the left, another port of this name can be put; or why none can.
fn end_of_list(
    sheet: &Sheet<'_>,
    service: &Object<'_>,
    items: &[Node<'_>],
    name: &str,
) -> Result<(usize, usize), &'static str> {
    if items.iter().any(|it| it.text_at("name").is_none()) {
        return Err("a port has no name, which each must have where there are several");
    }
    if items.iter().any(|it| it.text_at("name") == Some(name)) {
        return Err("another port has its name");
    }
    let within = "the list of ports is empty or within brackets, where no line can be put";
    let field = service.node.get("spec").and_then(|spec| spec.own_field("ports"));
    let ((key, ports), last) = field.zip(items.last()).ok_or(within)?;
    if last.start.line() == key.start.line() || !is_block(last, items) {
        return Err(within);
    }
    // What an alias stands for is written further up.
    let is_here = key.start < ports.start && items.is_sorted_by(|one, next| one.start < next.start);
    let mut is_any_block = false;
    last.each_text(&mut |node, _| is_any_block |= node.style == Style::Block || node.start < last.start);
    if !is_here || ports.start > last.start || is_any_block {
        return Err("the last port is an alias, or has a text over several lines");
    }
    let indent = dash(&sheet.lines, last.start)
        .ok_or("the last port is within braces, behind which no line can be put")?;
    Ok((last_line(last), indent))
}

/// Whether each has a line of its own.
fn is_block(item: &Node<'_>, items: &[Node<'_>]) -> bool {
    items.iter().filter(|it| it.start.line() == item.start.line()).count() == 1
        && (items.len() < 2 || items[0].start.line() != items[1].start.line())
}

/// The line on which the last of its values stands: a block ends only where something else begins.
fn last_line(item: &Node<'_>) -> usize {
    let mut last = item.start.line();
    item.each_text(&mut |node, _| last = last.max(node.start.line()));
    last
}
