//! Azure, asked through the `az` that the person is logged in with. It is only ever asked to show and to list.

use std::{
    collections::BTreeSet,
    io,
    process::{Command, Stdio},
    str::FromStr,
};

use serde_json::Value;

use crate::{finding::printable, nsg::Source};

/// A cluster of AKS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    group: String,
    name: String,
}

/// The text names no cluster.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} names no cluster: give its resource group and its name, as in hubs-group/hubs-cluster")]
pub(super) struct ClusterError(String);

impl FromStr for Cluster {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        let is_name = |it: &str| {
            !it.is_empty()
                && it.chars().all(|c| c.is_alphanumeric() || "-_.()".contains(c))
                && !it.starts_with('-')
        };
        match text.split_once('/') {
            Some((group, name)) if is_name(group) && is_name(name) => {
                Ok(Self { group: group.to_owned(), name: name.to_owned() })
            }
            _ => Err(ClusterError(text.to_owned())),
        }
    }
}

/// Why Azure does not tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum AzureError {
    #[error("--azure needs the program az, which cannot be run: {0}")]
    Missing(#[source] io::Error),
    #[error("{command} fails: {said}")]
    Failed { command: String, said: String },
    #[error("{command} prints no JSON: {source}")]
    Json { command: String, source: serde_json::Error },
    #[error("{0} does not say in which resource group the nodes are")]
    NoNodes(String),
}

/// Everything that Azure has about the way to the cluster's nodes.
pub(super) fn fetch(cluster: &Cluster) -> Result<Vec<Source>, AzureError> {
    let mut fetched = Fetched::default();
    let of_cluster = [format!("--resource-group={}", cluster.group), format!("--name={}", cluster.name)];
    let shown = fetched.ask(&["aks", "show"], &of_cluster)?;
    let nodes = shown["nodeResourceGroup"]
        .as_str()
        .ok_or_else(|| AzureError::NoNodes(called(&["aks", "show"], &of_cluster)))?;
    let group = [format!("--resource-group={nodes}")];
    let mut groups = ids(&fetched.ask(&["network", "nsg", "list"], &group)?);
    for what in [
        ["network", "lb", "list"],
        ["network", "public-ip", "list"],
        ["network", "vnet", "list"],
        ["network", "nic", "list"],
    ] {
        fetched.ask(&what, &group)?;
    }
    let (_, sets) = run(&["vmss", "list"], &group)?;
    for set in sets.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()) {
        fetched.ask(&["vmss", "nic", "list"], &[group[0].clone(), format!("--vmss-name={set}")])?;
        fetched.ask(&["vmss", "list-instance-public-ips"], &[group[0].clone(), format!("--name={set}")])?;
    }
    // A network of one's own is somewhere else, and so is the group of its subnet.
    let pools = shown["agentPoolProfiles"].as_array().into_iter().flatten();
    let subnets: BTreeSet<_> =
        pools.filter_map(|it| it["vnetSubnetId"].as_str().or_else(|| it["vnetSubnetID"].as_str())).collect();
    for subnet in subnets {
        let shown = fetched.ask(&["network", "vnet", "subnet", "show"], &[format!("--ids={subnet}")])?;
        let Some(id) = shown["networkSecurityGroup"]["id"].as_str() else { continue };
        if groups.insert(id.to_ascii_lowercase()) {
            fetched.ask(&["network", "nsg", "show"], &[format!("--ids={id}")])?;
        }
    }
    Ok(fetched.sources)
}

fn ids(list: &Value) -> BTreeSet<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|it| Some(it["id"].as_str()?.to_ascii_lowercase())).collect()
}

#[derive(Default)]
struct Fetched {
    sources: Vec<Source>,
}

impl Fetched {
    /// Asks, and keeps the answer.
    fn ask(&mut self, what: &[&str], of: &[String]) -> Result<Value, AzureError> {
        let (text, value) = run(what, of)?;
        self.sources.push(Source { name: format!("az {}", what.join(" ")), text });
        Ok(value)
    }
}

fn called(what: &[&str], of: &[String]) -> String {
    format!("az {} {}", what.join(" "), of.join(" "))
}

fn run(what: &[&str], of: &[String]) -> Result<(String, Value), AzureError> {
    let command = called(what, of);
    let output = Command::new("az")
        .args(what)
        .args(of)
        .args(["--output=json", "--only-show-errors"])
        .stdin(Stdio::null())
        .output()
        .map_err(AzureError::Missing)?;
    if !output.status.success() {
        let said = printable(String::from_utf8_lossy(&output.stderr).trim());
        return Err(AzureError::Failed { command, said });
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Of nothing, az prints nothing.
    let text = if text.trim().is_empty() { "[]".to_owned() } else { text };
    let value = serde_json::from_str(&text).map_err(|source| AzureError::Json { command, source })?;
    Ok((text, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_named_with_its_group() {
        let cluster: Cluster = "hubs-group/hubs.1".parse().unwrap();
        assert_eq!((cluster.group.as_str(), cluster.name.as_str()), ("hubs-group", "hubs.1"));
        for text in ["hubs", "/hubs", "hubs/", "a b/c", "a/b/c", "--help/x", "a/$(x)"] {
            assert!(text.parse::<Cluster>().is_err(), "{text}");
        }
    }
}
