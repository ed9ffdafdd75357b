//! hubs-probe under test.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bed::{Bed, DOMAIN, NAMES, Ports};
use crate::dns;
use crate::process::Process;

/// No run may take longer than its own time limit (a minute unless set) and a little.
const LIMIT: Duration = Duration::from_secs(75);

/// What a run of `hubs-probe check` ended with.
#[derive(Debug)]
pub struct Checked {
    /// Its exit status.
    pub status: i32,
    /// Its JSON report, which the schema has accepted.
    pub report: Value,
}

/// Checks a deployment as somebody would from their laptop, with `arguments` besides.
pub fn check(program: &str, bed: &Bed, arguments: &[&str]) -> Checked {
    check_at(program, bed, bed.ports(), arguments)
}

/// The same, with other servers in the places of some of the deployment's.
pub fn check_at(program: &str, bed: &Bed, ports: Ports, arguments: &[&str]) -> Checked {
    run(deployed(program, "check", bed, ports).args(arguments))
}

/// The same, to be prepared further and then [`run`].
pub fn prepare(program: &str, bed: &Bed) -> Command {
    deployed(program, "check", bed, bed.ports())
}

/// Looks at a deployment live, as somebody would from their laptop.
pub fn watch(program: &str, bed: &Bed) -> Command {
    deployed(program, "watch", bed, bed.ports())
}

/// The subcommand, and how to get to the deployment.
fn deployed(program: &str, subcommand: &str, bed: &Bed, ports: Ports) -> Command {
    let mut command = Command::new(program);
    let resolver = dns::start().to_string();
    command
        // The machine's own resolver knows nothing of these names, and is left in peace.
        .args([subcommand, DOMAIN, "--resolver", &resolver, "--system-resolver", &resolver, "--ca-file"])
        .arg(bed.ca_file());
    for name in NAMES {
        // TURN is where the room says, or where Hubs has it.
        let turn = [5349, bed.ports().turn].map(|public| (public, ports.turn));
        let web = [(80, ports.http), (443, ports.https), (4443, ports.dialog)];
        for (public, here) in web.into_iter().chain(turn) {
            command.args(["--connect-to", &format!("{name}:{public}:127.0.0.1:{here}")]);
        }
    }
    command
}

/// Runs a `check` with exactly these arguments, and JSON as its output.
pub fn check_with(program: &str, arguments: &[&str]) -> Checked {
    run(Command::new(program).arg("check").args(arguments))
}

/// The same for a program that is prepared already.
pub fn check_prepared(program: &mut Command, arguments: &[String]) -> Checked {
    run(program.arg("check").args(arguments))
}

/// Runs a `check` that is prepared, with JSON as its output.
pub fn run(command: &mut Command) -> Checked {
    let finished = Process::start("hubs-probe", command.args(["--output", "json"])).finish(LIMIT);
    let status =
        finished.status.code().unwrap_or_else(|| panic!("hubs-probe was killed: {}", finished.status));
    let report = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}):\n{}\n{}", finished.stdout, finished.stderr));
    validate(&report);
    Checked { status, report }
}

fn validate(report: &Value) {
    let schema = serde_json::from_str(include_str!("../../probe/schema/report-1.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "the report is not as its schema says: {errors:#?}\n{report:#}");
}

impl Checked {
    /// The codes of all findings with this status.
    pub fn codes(&self, status: &str) -> BTreeSet<&str> {
        let with_status = self.findings().filter(|finding| finding["status"] == status);
        with_status.filter_map(|finding| finding["code"].as_str()).collect()
    }

    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Value> {
        self.report["findings"].as_array().into_iter().flatten()
    }
}
