//! Where what people store is kept.

use std::collections::{BTreeSet, HashSet};

use super::{
    Found, Sheet,
    fix::{Mend, SPREAD, replacing},
};
use crate::{codes::Code, finding::Finding};

/// Each claim that a pod mounts is declared.
pub(super) fn claims(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::ClaimsDeclared;
    let manifest = &sheet.manifest;
    let declared: BTreeSet<_> = manifest.of_kind("PersistentVolumeClaim").map(|it| it.name).collect();
    let mounted: Vec<_> = manifest
        .pods()
        .flat_map(|pod| pod.spec.items_at("volumes").iter().map(move |volume| (pod, volume)))
        .filter_map(|(pod, volume)| {
            let node = volume.at("persistentVolumeClaim.claimName")?;
            Some((pod, node, node.text()?))
        })
        .collect();
    let names: HashSet<_> = mounted.iter().map(|(.., name)| *name).collect();
    let unused: Vec<_> = declared.iter().copied().filter(|it| !names.contains(it)).collect();
    let missing: Vec<_> = names.iter().copied().filter(|it| !declared.contains(it)).collect();
    let mut found: Vec<Found> = Vec::new();
    for (pod, node, name) in &mounted {
        if declared.contains(name) {
            continue;
        }
        if !sheet.tells("PersistentVolumeClaim", name) {
            return found;
        }
        let meant = meant(name, &unused, &missing);
        let finding = Finding::fail(
            code,
            format!("{} mounts the claim {name}, which is not declared", pod.object.name),
        )
        .because("a pod whose claim is not there waits for it for ever");
        let finding = match meant {
            Some(meant) => finding
                .seen("declared, and mounted by nobody", meant)
                .fix(format!("If {meant} is meant, name it (--fix does)"), [""; 0]),
            None => finding.fix("See which claims the cluster has:", ["kubectl get pvc -n hcce"]),
        };
        let mend = meant.map_or(Mend::Decision, |meant| Mend::by(replacing(node, meant), SPREAD));
        found.push(Found {
            finding: sheet.at(finding, node.start).at(format!("{}/{}", pod.object.kind, pod.object.name)),
            mend,
        });
    }
    if found.is_empty() && !mounted.is_empty() {
        found.push(Finding::pass(code, "each claim that is mounted is declared").into());
    }
    found
}

/// The claim that has a name like this one, if there is one only, and nothing else that is missing is like it.
fn meant<'y>(name: &str, unused: &[&'y str], missing: &[&str]) -> Option<&'y str> {
    let distance = |one: &str, other: &str| strsim::levenshtein(one, other);
    let least = unused.iter().map(|it| distance(it, name)).min().filter(|it| *it <= 3)?;
    let mut nearest = unused.iter().copied().filter(|it| distance(it, name) == least);
    let meant = nearest.next().filter(|_| nearest.next().is_none())?;
    let is_one = missing.iter().filter(|it| distance(meant, it) <= 3).count() == 1;
    is_one.then_some(meant)
}

/// Parts of Hubs that keep what people store.
const KEEPERS: [&str; 4] = ["reticulum", "pgsql", "postgres", "storage"];

/// What is stored outlives the node.
pub(super) fn host_paths(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::StorageKept;
    let mut found: Vec<Found> = Vec::new();
    let mut is_any = false;
    for pod in sheet.manifest.pods() {
        let is_keeper = KEEPERS.iter().any(|it| pod.object.name.contains(it));
        for volume in pod.spec.items_at("volumes") {
            is_any |= is_keeper && volume.at("persistentVolumeClaim").is_some();
            let Some((key, _)) = volume.field("hostPath") else { continue };
            let path = volume.text_at("hostPath.path").unwrap_or_default();
            if !is_keeper && !path.starts_with("/tmp") {
                continue;
            }
            let finding = Finding::warn(code, format!("{} keeps its data in {path} of whichever node it runs on", pod.object.name))
                .because("when the node is replaced, by an upgrade of AKS for one, everything in it is gone; on another node it is as good as gone")
                .fix("Let the generator make claims: GENERATE_PERSISTENT_VOLUMES: \"Yes\" in input-values.yaml. Save the data first:", ["npm run gen-hcce"]);
            found.push(
                sheet.at(finding, key.start).at(format!("{}/{}", pod.object.kind, pod.object.name)).into(),
            );
        }
    }
    if found.is_empty() && is_any {
        found.push(Finding::pass(code, "what people store is in claims").into());
    }
    found
}
