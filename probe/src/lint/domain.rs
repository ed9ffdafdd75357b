//! Names: one domain throughout, a certificate for each host, and none that stands in for all of them.

use std::collections::HashSet;

use super::{
    Found, HOST, Sheet,
    fix::{Edit, Mend},
    manifest::{Given, Manifest},
    yaml::{Node, Style},
};
use crate::{codes::Code, finding::Finding};

/// The names that a deployment needs before its domain, and for which people come.
const NAMES: [&str; 4] = ["", "assets.", "stream.", "cors."];

/// The domain that the settings name, or else the one of which an Ingress has `stream.`.
pub(super) fn of(manifest: &Manifest<'_>) -> Option<String> {
    let setting = manifest.setting("configs", "HUB_DOMAIN").map(|it| it.value);
    let setting = setting.filter(|it| it.contains('.') && !it.contains(['$', '<', '{', ' ']));
    let of_host = || hosts(manifest).find_map(|(_, host)| host.strip_prefix("stream.").map(str::to_owned));
    setting.or_else(of_host).map(|it| it.to_ascii_lowercase())
}

/// Every host of every Ingress.
fn hosts<'y>(manifest: &Manifest<'y>) -> impl Iterator<Item = (&'y Node<'y>, &'y str)> {
    let rules = manifest.of_kind("Ingress").flat_map(|ingress| ingress.node.items_at("spec.rules"));
    rules.filter_map(|rule| {
        let node = rule.get("host")?;
        Some((node, node.text()?))
    })
}

/// Whether a certificate's name, or an Ingress's, is the host's (RFC 6125 section 6.4.3).
pub(super) fn covers(name: &str, host: &str) -> bool {
    let parent = host.split_once('.').map_or("", |(_, parent)| parent);
    name.eq_ignore_ascii_case(host)
        || name.strip_prefix("*.").is_some_and(|name| name.eq_ignore_ascii_case(parent))
}

/// Each host has its certificate's secret.
pub(super) fn certificates(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::HostsHaveSecrets;
    let mut found: Vec<Found> = Vec::new();
    let manifest = &sheet.manifest;
    let (mut is_any, mut is_told) = (false, true);
    let knows_secrets =
        manifest.of_kind("Secret").any(|it| it.name.starts_with("cert-") && it.name != "cert-hcce");
    let mut asked = HashSet::new();
    for ingress in manifest.of_kind("Ingress") {
        let tls = ingress.node.items_at("spec.tls");
        let target = format!("Ingress/{}", ingress.name);
        for rule in ingress.node.items_at("spec.rules") {
            let Some((node, host)) = rule.get("host").and_then(|it| Some((it, it.text()?))) else { continue };
            is_any = true;
            let is_named = |it: &Node<'_>| it.text().is_some_and(|name| covers(name, host));
            if !tls.iter().any(|it| it.items_at("hosts").iter().any(is_named)) {
                let finding = Finding::fail(code, format!("no certificate is named for {host}"))
                    .because("no entry of spec.tls has this host, so haproxy shows its default certificate, which no browser accepts")
                    .seen(HOST, host)
                    .fix(format!("Add the host to spec.tls with the secret cert-{host}"), [""; 0]);
                found.push(sheet.at(finding, node.start).at(&target).into());
            }
        }
        for entry in tls {
            let Some((node, name)) = entry.get("secretName").and_then(|it| Some((it, it.text()?))) else {
                let finding = Finding::fail(code, "an entry of spec.tls names no secret")
                    .because("without one haproxy shows its default certificate for these hosts");
                found.push(sheet.at(finding, entry.start).at(&target).into());
                continue;
            };
            if manifest.find("Secret", name).is_some() || !asked.insert(name) {
                continue;
            }
            if !sheet.tells("Secret", name) {
                is_told = false;
                continue;
            }
            let hosts = entry.items_at("hosts").iter().filter_map(Node::text);
            // What the generator makes has none of them: they come into the cluster by themselves, and of which hosts that is true is
            // not known from the file.
            let finding = if sheet.is_whole() {
                let finding = Finding::fail(code, format!("the secret {name} is not in the cluster"));
                hosts.fold(finding, |finding, host| finding.seen(HOST, host))
            } else if knows_secrets {
                let summary = format!("the secret {name} is not there, and others of its kind are");
                hosts.fold(Finding::fail(code, summary), |finding, host| finding.seen(HOST, host))
            } else {
                Finding::warn(
                    code,
                    format!("the secret {name} is not in the file: it has to be in the cluster"),
                )
            };
            let finding = finding
                .because("haproxy shows its default certificate for hosts whose secret is missing")
                .fix(
                    "See whether it is there; Hubs' own script makes it:",
                    [
                        format!("kubectl get secret -n hcce {}", crate::nsg::shell_word(name)),
                        "npm run gen-ssl".to_owned(),
                    ],
                );
            found.push(sheet.at(finding, node.start).at(&target).into());
        }
    }
    if found.is_empty() && is_any && is_told {
        found.push(Finding::pass(code, "each host has the secret of its certificate").into());
    }
    found
}

/// haproxy shows no certificate in place of a missing one.
pub(super) fn default_certificate(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::NoDefaultCertificate;
    let mut found: Vec<Found> = Vec::new();
    let haproxys = || {
        let containers = sheet.manifest.containers();
        containers.filter(|it| it.name.contains("haproxy") || it.pod.object.name.contains("haproxy"))
    };
    for container in haproxys() {
        for given in container.options("--default-ssl-certificate") {
            if given.value.rsplit('/').next() != Some("cert-hcce") {
                continue;
            }
            let words: Vec<_> = given.items.iter().filter_map(Node::text).collect();
            let finding = Finding::warn(code, "haproxy is told to show Hubs' self-signed certificate wherever it has no other one")
                .because("that certificate is for the domain itself, so for the domain there are two, and haproxy shows the wrong one: the first page that people open is refused")
                .seen("argument", words.join(" "))
                .fix("Once the real certificates are there, take the argument out (--fix makes it a comment), or name the domain's own secret in it", [""; 0]);
            found.push(Found {
                finding: sheet
                    .at(finding, given.items[0].start)
                    .at(format!("{}/{}", container.pod.object.kind, container.pod.object.name)),
                mend: taken_out(container.node.field("args"), &given),
            });
        }
    }
    if let (true, Some(haproxy)) = (found.is_empty(), haproxys().next()) {
        let good = Finding::pass(code, "haproxy has no self-signed certificate to show");
        found.push(sheet.at(good, haproxy.place()).into());
    }
    found
}

/// The argument becomes a comment, where its lines are its own.
fn taken_out(field: Option<&(Node<'_>, Node<'_>)>, given: &Given<'_>) -> Mend {
    let Some((key, list)) = field else { return Mend::Decision };
    let all = list.items();
    if all.len() == given.items.len() {
        return Mend::Unable("it is the only argument, and a list has to have one");
    }
    let on_line = |line| all.iter().filter(|it| it.start.line() == line).count();
    let is_apart = |item: &Node<'_>| {
        // Within a text over several lines a number sign begins no comment.
        item.style != Style::Block
            && item.start.line() == item.end.line()
            && on_line(item.start.line()) == 1
            // A bracket on the line would become part of the comment.
            && (key.end.line() < item.start.line() && item.start.line() < list.end.line())
    };
    if !given.items.iter().all(is_apart) {
        return Mend::Unable("it does not have a line of its own");
    }
    Mend::Edits(given.items.iter().map(|it| Edit::Comment { line: it.start.line() }).collect())
}

/// Every name is one of the domain's.
pub(super) fn domains(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::OneDomain;
    let Some(domain) = &sheet.domain else { return Vec::new() };
    let belongs = |host: &str| NAMES.iter().any(|name| format!("{name}{domain}").eq_ignore_ascii_case(host));
    let mut found: Vec<Found> = Vec::new();
    let mut seen = HashSet::new();
    for (node, host) in hosts(&sheet.manifest) {
        seen.insert(host.to_ascii_lowercase());
        if !belongs(host) {
            let finding = Finding::fail(code, format!("{host} is none of the names of {domain}"))
                .because("browsers are sent to the domain itself and to assets., stream. and cors. of it, and nothing else")
                .fix("Use one domain throughout: set HUB_DOMAIN and generate the file again:", ["npm run gen-hcce"]);
            found.push(sheet.at(finding, node.start).into());
        }
    }
    let missing: Vec<_> =
        NAMES.iter().map(|name| format!("{name}{domain}")).filter(|it| !seen.contains(it)).collect();
    if !seen.is_empty() && !missing.is_empty() && found.is_empty() {
        let place =
            sheet.manifest.of_kind("Ingress").next().map_or_else(|| super::Place::new(1, 1), |it| it.place());
        let finding = Finding::warn(code, format!("no Ingress has a rule for {}", missing.join(", ")))
            .because("each of the four names leads to other parts of Hubs")
            .fix("Generate the file again, and compare:", ["npm run gen-hcce"]);
        found.push(sheet.at(finding, place).into());
    }
    if found.is_empty() && !seen.is_empty() {
        found.push(Finding::pass(code, format!("every host is one of {domain}")).into());
    }
    found
}
