//! The lab: a whole Hubs deployment on Azure as somebody's laptop sees it, on networks of its own, with one thing broken.
//!
//! A [`Scenario`] says what; [`Lab::start`] builds it; [`Lab::check`] runs `hubs-probe check` on the laptop, as a person
//! would; [`Expected::compare`] holds the report against what it has to say.

mod deployment;
mod forward;
mod idle;
mod names;
mod namespace;
mod network;
mod nsg;
mod scenario;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

pub use self::namespace::Namespace;
pub use self::network::{NODE, NODE_PUBLIC};
pub use self::nsg::Rule;
pub use self::scenario::{Expected, Home, Scenario};

use self::deployment::Deployment;
use self::network::Network;
use crate::bed::DOMAIN;
use crate::clock::Clock;
use crate::probe::{self, Checked};

/// How good sound is. Where one machine plays laptop, cloud and everybody in the room, and several labs at once, that it comes
/// unevenly is the machine's doing; that it does not come is not.
const SOUND: [&str; 4] = ["HP0640", "HP0641", "HP0642", "HP0643"];

/// A running deployment, and the networks around it.
#[derive(Debug)]
pub struct Lab {
    room: String,
    /// What the probe is told besides.
    told: Vec<String>,
    /// What the laptop's programs find in their environment, and what clock.
    environment: BTreeMap<String, String>,
    clock: Option<String>,
    /// The files that the probe is given: rules, and a manifest.
    rules: Option<PathBuf>,
    manifest: Option<PathBuf>,
    // In this order they end.
    _deployment: Option<Deployment>,
    network: Network,
    folder: TempDir,
}

impl Lab {
    /// Builds what `scenario` describes; `relay` is the program of hubs-relay.
    pub fn start(scenario: &Scenario, relay: &str) -> Self {
        let folder = TempDir::with_prefix("hubs-lab-").unwrap();
        let network = Network::start(folder.path(), scenario);
        let deployment = Deployment::start(folder.path(), &network, scenario, relay);
        let mut lab = Self {
            room: scenario.room.clone(),
            told: scenario.arguments.clone(),
            environment: scenario.home.environment.clone(),
            clock: scenario.home.clock.clone(),
            rules: None,
            manifest: None,
            _deployment: Some(deployment),
            network,
            folder,
        };
        lab.rules = scenario.azure.told().map(|rules| lab.write("nsg.json", &rules));
        lab.manifest = scenario.manifest().map(|manifest| lab.write("hcce.yaml", &manifest));
        lab
    }

    /// Where rules of `scenario` were taken out: checks as it was before that, and gives the probe that report from now on.
    pub fn check_before(&mut self, scenario: &Scenario, program: &str) {
        let Some(before) = scenario.azure.before() else { return };
        let now = self.rules.take();
        self.rules = before.told().map(|rules| self.write("nsg-before.json", &rules));
        self.network.apply(&before.groups());
        let report = self.check(program).report;
        self.network.apply(&scenario.azure.groups());
        self.rules = now;
        let baseline = self.write("baseline.json", &report.to_string());
        self.told.extend(["--baseline".to_owned(), baseline.display().to_string()]);
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    /// Builds the networks of `scenario` and nothing of Hubs in them.
    pub fn without_hubs(scenario: &Scenario) -> Self {
        let folder = TempDir::with_prefix("hubs-lab-").unwrap();
        let network = Network::start(folder.path(), scenario);
        let environment = BTreeMap::new();
        Self {
            room: String::new(),
            told: Vec::new(),
            environment,
            clock: None,
            rules: None,
            manifest: None,
            _deployment: None,
            network,
            folder,
        }
    }

    /// Runs `hubs-probe check` on the laptop. `program` is hubs-probe's.
    pub fn check(&self, program: &str) -> Checked {
        let mut program = Command::new(program);
        program.envs(&self.environment);
        if let Some(clock) = &self.clock {
            Clock::shift(&mut program, clock);
        }
        self.on_laptop(|| probe::check_prepared(&mut program, &self.arguments()))
    }

    /// What `hubs-probe check` has to be told here.
    pub fn arguments(&self) -> Vec<String> {
        let ca_file = self.folder.path().join("ca.pem").display().to_string();
        let known = [DOMAIN.to_owned(), "--ca-file".to_owned(), ca_file];
        let is_told_whom_to_ask = self.told.iter().any(|argument| argument == "--resolver");
        let resolver =
            (!is_told_whom_to_ask).then(|| ["--resolver".to_owned(), self.network.resolver.to_string()]);
        let room = (!self.room.is_empty()).then(|| format!("https://{DOMAIN}/{}", self.room));
        let rules = self.rules.as_ref().map(|file| ["--nsg".to_owned(), file.display().to_string()]);
        let manifest =
            self.manifest.as_ref().map(|file| ["--manifest".to_owned(), file.display().to_string()]);
        let room = room.map(|room| ["--room".to_owned(), room]);
        let options = [resolver, rules, manifest, room].into_iter().flatten().flatten();
        known.into_iter().chain(options).chain(self.told.clone()).collect()
    }

    /// Puts these rules in the place of those that the scenario adds to the node's security group.
    pub fn replace_rules(&self, scenario: &Scenario, rules: impl IntoIterator<Item = Rule>) {
        self.network.replace_rules(scenario, rules);
    }

    /// Adds nftables rules to what the cloud's network does, such as `insert rule ip azure forward udp dport 5 reject`.
    pub fn change_cloud(&self, rules: &str) {
        self.network.change_cloud(rules);
    }

    /// Does something on the network of dialog's node.
    pub fn on_node<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.network.node.run(work)
    }

    /// What `kubectl port-forward` does: who connects to this port on the laptop's loopback has the node's.
    pub fn forward(&self, port: u16) {
        forward::start(&self.network.laptop, &self.network.node, port);
    }

    /// Gives the node a public IPv6 address, at which no security group stands before it.
    pub fn give_ipv6(&self) -> Ipv6Addr {
        self.network.give_ipv6()
    }

    /// Does something on the laptop's network.
    pub fn on_laptop<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.network.laptop.run(work)
    }
}

impl Expected {
    /// Holds a report against it.
    ///
    /// # Panics
    /// If the report says anything else.
    pub fn compare(&self, checked: &Checked) {
        let (report, verdict) = (&checked.report, &checked.report["verdict"]);
        let text = |field: &str| verdict[field].as_str().unwrap_or_default().to_owned();
        let mut differences = Vec::new();
        let mut differ = |what: &str, expected: String, found: String| {
            if expected != found {
                differences.push(format!("{what}: expected {expected}, found {found}"));
            }
        };
        differ("exit status", self.status.to_string(), checked.status.to_string());
        differ("outcome", self.outcome.clone(), text("outcome"));
        let explains = verdict["explains"].as_array().into_iter().flatten().filter_map(|code| code.as_str());
        let is_the_machines = |code: &str| SOUND.contains(&code) && !self.warn.contains(code);
        let first =
            explains.map(str::to_owned).find(|code| !self.by_chance.contains(code) && !is_the_machines(code));
        differ("first", format!("{:?}", self.first), format!("{first:?}"));
        for (status, expected) in [("fail", &self.fail), ("warn", &self.warn), ("error", &self.error)] {
            let mut found = checked.codes(status);
            found.retain(|code| {
                !(self.by_chance.contains(*code) || status == "warn" && is_the_machines(code))
            });
            differ(status, format!("{expected:?}"), format!("{found:?}"));
        }
        for (what, expected, place) in
            [("diagnoses", &self.diagnoses, "/cause/code"), ("rules", &self.rules, "/rule")]
        {
            let Some(expected) = expected else { continue };
            let named = report["diagnoses"].as_array().into_iter().flatten();
            let named: Vec<_> = named.filter_map(|it| it.pointer(place)?.as_str()).collect();
            differ(what, format!("{expected:?}"), format!("{named:?}"));
        }
        let is_heard = |code: &&str| is_the_machines(code);
        let heard = checked.codes("warn").into_iter().filter(is_heard);
        let passed: BTreeSet<String> =
            checked.codes("pass").into_iter().chain(heard).map(str::to_owned).collect();
        let not_passed: Vec<_> = self.pass.difference(&passed).collect();
        differ("do not pass", "[]".to_owned(), format!("{not_passed:?}"));
        let headline = text("headline");
        if !headline.contains(&self.headline) {
            differ("headline", self.headline.clone(), headline);
        }
        let detail = text("detail");
        if let Some(expected) = self.detail.as_ref().filter(|expected| !detail.contains(*expected)) {
            differ("detail", expected.clone(), detail);
        }
        let remedy = verdict["remedy"].to_string();
        if let Some(expected) = self.remedy.as_ref().filter(|expected| !remedy.contains(*expected)) {
            differ("remedy", expected.clone(), remedy);
        }
        assert!(differences.is_empty(), "{}\n{report:#}", differences.join("\n"));
    }
}
