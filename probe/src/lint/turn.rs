//! The four reasons for which coturn cannot work as Hubs ships it, each of which is enough, and the ports that it shares with dialog.

use std::collections::HashMap;

use super::{
    Found, Sheet,
    fix::{Edit, Mend, SPREAD, replacing},
    manifest::{Container, Manifest, Pod},
    yaml::Node,
};
use crate::{codes::Code, finding::Finding};

const RELAY: [&str; 1] = ["kubectl apply -n hcce -k deploy/kustomize"];
const REPLACE: &str = "Put hubs-relay in coturn's place, see deploy/README.md:";

/// The TURN server: whatever stands in coturn's place.
fn turn<'y>(manifest: &Manifest<'y>) -> Option<Container<'y>> {
    manifest.container("coturn").or_else(|| manifest.containers().find(is_coturn))
}

/// The names of the secrets that the TURN server's pod mounts.
pub(super) fn secrets_of_pod<'y>(manifest: &Manifest<'y>) -> impl Iterator<Item = &'y Node<'y>> {
    let volumes = turn(manifest).map_or(&[][..], |turn| turn.pod.spec.items_at("volumes"));
    volumes.iter().filter_map(|volume| volume.at("secret.secretName"))
}

/// Whether haproxy does TLS for the TURN server.
pub(super) fn is_behind_tls(manifest: &Manifest<'_>) -> bool {
    terminates(manifest).and_then(|(_, value)| value.text()).is_some_and(|it| it.ends_with(":ssl"))
}

/// Whether it is coturn itself, going by the image's name.
fn is_coturn(container: &Container<'_>) -> bool {
    let Some((_, image)) = container.image() else { return false };
    let repository = image.split('@').next().unwrap_or(image);
    repository.contains("coturn") && !repository.contains("hubs-relay")
}

/// What it finds of the TURN server, or that this is in order.
fn of_turn(
    sheet: &Sheet<'_>,
    code: Code,
    good: &str,
    find: impl FnOnce(Container<'_>) -> Option<Found>,
) -> Vec<Found> {
    let Some(turn) = turn(&sheet.manifest) else { return Vec::new() };
    let found = find(turn).unwrap_or_else(|| sheet.at(Finding::pass(code, good), turn.place()).into());
    vec![Found {
        finding: found.finding.at(format!("{}/{}", turn.pod.object.kind, turn.pod.object.name)),
        mend: found.mend,
    }]
}

/// Reason one: coturn looks for the secrets in the wrong schema.
pub(super) fn secrets(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::TurnFindsSecrets;
    of_turn(sheet, code, "the TURN server is none that looks for its secrets in the wrong schema", |turn| {
        if !is_coturn(&turn) || turn.variable("PSQL").is_none() {
            return None;
        }
        let (node, image) = turn.image()?;
        let finding = Finding::fail(code, "coturn refuses everybody: it looks for its secrets where Reticulum does not put them")
            .because("Reticulum keeps them in coturn.turn_secret, coturn asks for turn_secret, and Reticulum sets the database's search path to its own schema")
            .seen("image", image)
            .fix(REPLACE, RELAY);
        Some(sheet.at(finding, node.start).into())
    })
}

/// Reason two: on the node's network the cluster's names are unknown.
pub(super) fn names(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::TurnResolvesNames;
    of_turn(sheet, code, "the TURN server's pod resolves the cluster's names", |turn| {
        let (key, _) = turn.pod.spec.field("hostNetwork").filter(|_| turn.pod.is_on_host())?;
        let policy = turn.pod.spec.field("dnsPolicy");
        if policy.is_some_and(|(_, value)| value.text() == Some("ClusterFirstWithHostNet"))
            || turn.variable("PSQL").is_none()
        {
            return None;
        }
        // In a flow mapping there is no line of its own to put it behind.
        let is_block = key.start.line() != turn.pod.spec.start.line()
            || turn.pod.spec.start.column() == key.start.column();
        let is_own = |name| turn.pod.spec.own_field(name).is_some();
        let mend = if !is_own(if policy.is_some() { "dnsPolicy" } else { "hostNetwork" }) {
            Mend::Unable("it is merged into the pod from elsewhere")
        } else if let Some((_, value)) = policy {
            Mend::by(replacing(value, "ClusterFirstWithHostNet"), SPREAD)
        } else {
            let insertion = Edit::InsertAfter {
                line: key.start.line(),
                indent: key.start.column() - 1,
                text: "dnsPolicy: ClusterFirstWithHostNet".to_owned(),
            };
            Mend::by(is_block.then_some(insertion), "the pod is within braces, where no line can be put")
        };
        let finding = Finding::fail(code, "the TURN server does not find its database: its pod asks the node's resolver for a name of the cluster")
            .because("hostNetwork without dnsPolicy: ClusterFirstWithHostNet means the node's resolver, which does not know pgbouncer")
            .fix("Set the policy (--fix does), or put hubs-relay in coturn's place, which needs no host network:", RELAY);
        Some(Found { finding: sheet.at(finding, key.start), mend })
    })
}

/// Reason three: nobody gave it a certificate that browsers accept.
pub(super) fn certificate(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::TurnHasCertificate;
    if !sheet.tells("ConfigMap", "") {
        // Whether haproxy shows one in its place stands in one of those.
        return Vec::new();
    }
    of_turn(
        sheet,
        code,
        "the TURN server is given a certificate, or haproxy shows one in its place",
        |turn| {
            if turn.has_mount("/certs") || is_behind_tls(&sheet.manifest) {
                return None;
            }
            let stream = sheet
                .domain
                .as_ref()
                .map_or_else(|| "stream.<domain>".to_owned(), |domain| format!("stream.{domain}"));
            let finding = Finding::fail(code, "browsers refuse the TURN server: nothing gives it a certificate of its name")
            .because(format!("no volume is mounted at /certs, so it shows the one of its image, which is self-signed for \"dialog\"; haproxy passes port 5349 through as it is, and browsers ask for {stream}"))
            .fix(format!("Mount the secret cert-{stream} at /certs. With hubs-relay in coturn's place that is done:"), RELAY);
            Some(sheet.at(finding, turn.place()).into())
        },
    )
}

/// Where haproxy is told of port 5349.
fn terminates<'y>(manifest: &Manifest<'y>) -> Option<&'y (Node<'y>, Node<'y>)> {
    let maps = manifest.of_kind("ConfigMap");
    let mut data = maps.filter(|it| it.name.contains("tcp")).filter_map(|it| it.node.get("data"));
    data.find_map(|data| data.field("5349"))
}

/// Reason four: the address that dialog announces leads nowhere from inside either.
pub(super) fn peers(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::TurnReachesDialog;
    let Some(dialog) = sheet.manifest.container("dialog") else { return Vec::new() };
    of_turn(sheet, code, "what comes through the TURN server has a way to dialog", |turn| {
        if !is_coturn(&turn) || dialog.variable("MEDIASOUP_LISTEN_IP").is_some() {
            return None;
        }
        let finding = Finding::fail(code, "coturn sends to the address that dialog announces, and nothing leads there from inside of the cluster")
            .because("dialog's start script announces the address by which the cluster goes out (ipinfo.io), where nothing comes in; coturn knows no other one")
            .fix(
                "Let dialog listen on its node's address as well (env MEDIASOUP_LISTEN_IP from status.hostIP), or put hubs-relay in coturn's place, which maps the address:",
                RELAY,
            );
        Some(sheet.at(finding, dialog.place()).into())
    })
}

/// coturn's, as its start script sets them.
const COTURN: (u16, u16) = (49_152, 51_609);
/// dialog's, if nothing else is said.
const DIALOG: (u16, u16) = (40_000, 49_999);

/// With so many of those that want a port another one is compared. Two would be enough, if all could run on one node.
const MOST_COMPARED: usize = 32;

/// Ports of the node that two want.
pub(super) fn ports(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::PortsShared;
    let mut found: Vec<Found> = Vec::new();
    let containers: Vec<_> =
        sheet.manifest.containers().filter(|it| !it.pod.object.is_made_by_another()).collect();
    let mut taken: HashMap<(u16, &str), Vec<Pod<'_>>> = HashMap::new();
    for container in &containers {
        for (port, protocol, node) in container.host_ports() {
            let owner = container.pod.object.name;
            let owners = taken.entry((port, protocol)).or_default();
            let is_other =
                |it: &&Pod<'_>| it.object.name != owner && !are_on_different_nodes(**it, container.pod);
            if let Some(other) = owners.iter().find(is_other).map(|it| it.object.name) {
                let finding = Finding::fail(code, format!("{owner} and {other} both want {protocol} port {port} of their node"))
                    .because("two pods with one host port never run on one node: the second one waits, on a cluster of one node for ever")
                    .fix("Give one of them another port", [""; 0]);
                found.push(
                    sheet.at(finding, node.start).at(format!("{}/{owner}", container.pod.object.kind)).into(),
                );
            }
            if owners.len() < MOST_COMPARED && owners.iter().all(|it| it.object.name != owner) {
                owners.push(container.pod);
            }
        }
    }
    found.extend(shared_range(sheet, &containers));
    if found.is_empty() && !containers.is_empty() {
        let place = containers[0].pod.object.place();
        found.push(sheet.at(Finding::pass(code, "no two pods want the same port of a node"), place).into());
    }
    found
}

fn shared_range(sheet: &Sheet<'_>, containers: &[Container<'_>]) -> Option<Found> {
    let dialog = containers.iter().find(|it| it.name == "dialog" && it.pod.is_on_host())?;
    let coturn = containers.iter().find(|it| is_coturn(it) && it.pod.is_on_host())?;
    let number = |name: &str, usual: u16| {
        let given = dialog.variable(name).and_then(|it| it.text_at("value")).and_then(|it| it.parse().ok());
        given.unwrap_or(usual)
    };
    let own = (number("MEDIASOUP_MIN_PORT", DIALOG.0), number("MEDIASOUP_MAX_PORT", DIALOG.1));
    let shared = (own.0.max(COTURN.0), own.1.min(COTURN.1));
    let avoids = |pod: Pod<'_>| pod.spec.at("affinity.podAntiAffinity").is_some();
    let are_apart =
        avoids(dialog.pod) || avoids(coturn.pod) || are_on_different_nodes(dialog.pod, coturn.pod);
    if shared.0 > shared.1 || are_apart {
        return None;
    }
    let finding = Finding::warn(Code::PortsShared, format!("dialog and coturn draw from the same ports, {}-{}, if they run on one node", shared.0, shared.1))
        .because(format!("both are on the node's network: dialog takes {}-{}, coturn {}-{}; a port that one has, the other one cannot give to anybody", own.0, own.1, COTURN.0, COTURN.1))
        .fix("Let dialog end below (env MEDIASOUP_MAX_PORT: \"49151\"), or keep the two on different nodes with podAntiAffinity", [""; 0]);
    Some(sheet.at(finding, coturn.place()).at("Deployment/coturn").into())
}

/// Whether no node has the labels that both ask for.
fn are_on_different_nodes(one: Pod<'_>, other: Pod<'_>) -> bool {
    let selector = one.spec.get("nodeSelector").map(Node::fields).unwrap_or_default();
    selector.iter().any(|(key, value)| {
        let others = key.text().and_then(|key| other.spec.get("nodeSelector")?.get(key)).and_then(Node::text);
        others.is_some_and(|others| value.text().is_some_and(|own| own != others))
    })
}
