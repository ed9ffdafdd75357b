//! What keeps pods running as they are.

use super::{Found, Sheet};
use crate::{codes::Code, finding::Finding};

/// Each container says whether it is well.
pub(super) fn probes(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::ContainersProbed;
    let mut is_any = false;
    let mut found: Vec<Found> = Vec::new();
    for container in sheet.manifest.containers().filter(|it| !matches!(it.pod.object.kind, "Job" | "CronJob"))
    {
        is_any = true;
        let has = |name: &str| container.node.get(name).is_some();
        if has("readinessProbe") || has("livenessProbe") || has("startupProbe") {
            continue;
        }
        let owner = container.pod.object.name;
        let finding = Finding::warn(code, format!("nobody asks {owner} whether it is well"))
            .because("without a probe a pod that hangs goes on being sent people, and is never started again")
            .seen("container", container.name)
            .fix(
                "Add a readinessProbe and a livenessProbe: tcpSocket on its port is enough to begin with",
                [""; 0],
            );
        found.push(
            sheet.at(finding, container.place()).at(format!("{}/{owner}", container.pod.object.kind)).into(),
        );
    }
    if found.is_empty() && is_any {
        found.push(Finding::pass(code, "each container says whether it is well").into());
    }
    found
}

/// Tags that mean something else every day.
const FLOATING: [&str; 7] = ["latest", "stable", "stable-latest", "main", "master", "dev", "edge"];

/// Each image is one, and not whatever a name stands for today.
pub(super) fn images(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::ImagesPinned;
    let mut is_any = false;
    let mut found: Vec<Found> = Vec::new();
    for container in sheet.manifest.containers() {
        let Some((node, image)) = container.image() else { continue };
        is_any = true;
        let Some(tag) = floating(image) else { continue };
        let owner = container.pod.object.name;
        let finding = Finding::warn(code, format!("{owner} runs whatever {image} is today"))
            .seen("image", image)
            .because(format!("{tag}: a pod that starts again may be another program than the one before"))
            .fix(
                "Name a version, or the digest that runs now:",
                ["kubectl get pods -n hcce -o jsonpath='{.items[*].status.containerStatuses[*].imageID}'"],
            );
        found.push(sheet.at(finding, node.start).at(format!("{}/{owner}", container.pod.object.kind)).into());
    }
    if found.is_empty() && is_any {
        found.push(Finding::pass(code, "each image is pinned").into());
    }
    found
}

/// Why the image may be another one tomorrow.
fn floating(image: &str) -> Option<String> {
    if image.contains('@') {
        return None;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None => Some("it has no tag, which means latest".to_owned()),
        Some((_, tag))
            if FLOATING.contains(&tag) || tag.ends_with("-latest") || tag.starts_with("latest-") =>
        {
            Some(format!("the tag {tag} is moved to each new version"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_move_are_told_from_those_that_stay() {
        for (image, floats) in [
            ("mozillareality/dialog:stable-latest", true),
            ("registry:5000/x/haproxy", true),
            ("postgres:latest", true),
            ("postgres:15.4", false),
            ("hubsfoundation/reticulum:stable-1024", false),
            ("x@sha256:0", false),
        ] {
            assert_eq!(floating(image).is_some(), floats, "{image}");
        }
    }
}
