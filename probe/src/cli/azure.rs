//! Azure, asked through the `az` that the person is logged in with. It is only ever asked to show and to list.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, Output, Stdio},
    str::FromStr,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::Value;

use crate::{finding::printable, nsg::Source};

/// More than Azure says of a thousand groups, in bytes.
const MOST_SAID: u64 = 256 << 20;

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
    #[error("{command} says nothing for {seconds} s, and was ended: see whether it answers when you type it")]
    Slow { command: String, seconds: u64 },
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
    for what in [["network", "lb", "list"], ["network", "vnet", "list"], ["network", "nic", "list"]] {
        fetched.ask(&what, &group)?;
    }
    let addresses = ids(&fetched.ask(&["network", "public-ip", "list"], &group)?);
    let gateways = fetched.ask(&["network", "nat", "gateway", "list"], &group)?;
    let mut gateways: Vec<_> = gateways.as_array().into_iter().flatten().cloned().collect();
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
        if let Some(id) = shown["networkSecurityGroup"]["id"].as_str()
            && groups.insert(id.to_ascii_lowercase())
        {
            fetched.ask(&["network", "nsg", "show"], &[format!("--ids={id}")])?;
        }
        if let Some(id) = shown["natGateway"]["id"].as_str() {
            gateways.extend(fetched.ask_abroad(&["network", "nat", "gateway", "show"], id));
        }
    }
    // So may be the addresses with which it goes out.
    let profile = &shown["networkProfile"];
    let outward =
        ["loadBalancerProfile", "natGatewayProfile"].map(|it| profile[it]["effectiveOutboundIPs"].clone());
    let outward = outward.iter().chain(gateways.iter().map(|it| &it["publicIpAddresses"])).map(ids);
    for address in outward.flatten().collect::<BTreeSet<_>>().difference(&addresses) {
        fetched.ask_abroad(&["network", "public-ip", "show"], address);
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
        self.sources.push(Source::printed(format!("az {}", what.join(" ")), text));
        Ok(value)
    }

    /// Asks about something in another resource group, which the person may not be allowed to see: then it is not known.
    fn ask_abroad(&mut self, what: &[&str], id: &str) -> Option<Value> {
        self.ask(what, &[format!("--ids={id}")]).ok()
    }
}

fn called(what: &[&str], of: &[String]) -> String {
    format!("az {} {}", what.join(" "), of.join(" "))
}

/// So long one question may take: `az` starts slowly, and asks again where Azure is slow.
const LIMIT: Duration = Duration::from_mins(1);

fn run(what: &[&str], of: &[String]) -> Result<(String, Value), AzureError> {
    let mut az = Command::new("az");
    az.args(what).args(of).args(["--output=json", "--only-show-errors"]);
    answer(az, called(what, of), LIMIT)
}

fn answer(mut az: Command, command: String, limit: Duration) -> Result<(String, Value), AzureError> {
    // az is a script that starts another program: all of it is to be ended when it hangs, so it is a group of its own.
    az.process_group(0);
    let child = az.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let output = finished(child.map_err(AzureError::Missing)?, limit).map_err(AzureError::Missing)?;
    let Some(output) = output else {
        return Err(AzureError::Slow { command, seconds: limit.as_secs() });
    };
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

/// What the program printed; nothing if it had to be ended.
fn finished(mut child: Child, limit: Duration) -> io::Result<Option<Output>> {
    let until = Instant::now() + limit;
    let stdout = read_apart(child.stdout.take());
    let stderr = read_apart(child.stderr.take());
    let left = || until.saturating_duration_since(Instant::now());
    // Its outputs end when it does, and if a program that it started keeps them open, that is what is waited for.
    let (Ok(stdout), Ok(stderr)) = (stdout.recv_timeout(left()), stderr.recv_timeout(left())) else {
        // Nobody has waited for the child yet, so nothing else can have its number and its group's.
        killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
        child.wait()?;
        return Ok(None);
    };
    Ok(Some(Output { status: child.wait()?, stdout, stderr }))
}

fn read_apart(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could not be read is no JSON, and is told as that.
        let _ = from.map(|from| from.take(MOST_SAID).read_to_end(&mut bytes));
        let _ = tell.send(bytes);
    });
    told
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

    #[test]
    fn an_az_that_hangs_is_ended_and_said_to_hang() {
        let script = |text: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", text]);
            shell
        };
        let limit = Duration::from_millis(300);
        let hung = answer(script("echo '[]'; exec tail -f /dev/null"), "az aks show".to_owned(), limit);
        assert!(
            matches!(&hung, Err(AzureError::Slow { command, .. }) if command == "az aks show"),
            "{hung:?}"
        );
        let told = answer(script("echo '[1]'"), "az".to_owned(), LIMIT).unwrap();
        assert_eq!(told.1, serde_json::json!([1]));
        let failed = answer(script("echo no >&2; exit 1"), "az".to_owned(), LIMIT);
        assert!(matches!(&failed, Err(AzureError::Failed { said, .. }) if said == "no"), "{failed:?}");
    }

    #[test]
    fn what_an_az_that_hangs_has_started_is_ended_with_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut az = Command::new("sh");
        // The child says through the pipe that it is there, and holds it open as long as it lives.
        az.args(["-c", "(echo there; exec sleep 600) > \"$1\" & wait", "az"]).arg(&pipe);
        let said = thread::spawn(move || {
            let mut said = String::new();
            std::fs::File::open(pipe).and_then(|mut pipe| pipe.read_to_string(&mut said)).map(|_| said)
        });
        let hung = answer(az, "az aks show".to_owned(), Duration::from_secs(2));
        assert!(matches!(hung, Err(AzureError::Slow { .. })), "{hung:?}");
        // The pipe comes to its end when nobody holds it any more.
        assert_eq!(said.join().unwrap().unwrap(), "there\n");
    }
}
