//! `hubs-check-time`: how long `hubs-probe check` takes, and how much memory, against the deployments of the lab.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use hubs_relay::config::parse_duration;
use hubs_tests::lab::{Lab, Scenario};
use hubs_tests::need::{self, skip};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// Starts deployments of the lab (tests/lab) at the other end of a long wire, runs `hubs-probe check` against each, and prints
/// how long that took and how much memory it used at most. Needs what the lab needs: see tests/README.md.
#[derive(Debug, Parser)]
#[command(name = "hubs-check-time", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    own: Option<Own>,
    /// The hubs-probe in question; the one that was built beside this program, if none is named.
    #[arg(long, value_name = "PROGRAM")]
    probe: Option<PathBuf>,
    /// The hubs-relay of the deployments; the one that was built beside this program, if none is named.
    #[arg(long, value_name = "PROGRAM")]
    relay: Option<PathBuf>,
    /// Added to each round trip.
    #[arg(long, default_value = "20ms", value_parser = parse_duration)]
    round_trip: Duration,
    /// How often each deployment is checked.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// The deployments, by their names under tests/lab.
    #[arg(default_values = ["a_healthy_deployment_is_all_green", "hubs_relay_heals_hubs_on_aks", "hubs_as_shipped_on_aks", "dialog_hangs"])]
    scenarios: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Own {
    /// Run a command and print what it used: a process of its own, whose only child that is.
    #[command(hide = true)]
    Measure { command: Vec<String> },
}

/// What one run used.
#[derive(Debug, Serialize, Deserialize)]
struct Used {
    status: Option<i32>,
    seconds: f64,
    /// Resident at most, in KiB.
    memory: i64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.own {
        Some(Own::Measure { command }) => measure(command),
        None => check_all(&cli),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hubs-check-time: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(command: &[String]) -> Result<(), Box<dyn Error>> {
    let [program, arguments @ ..] = command else { return Err("no command to measure".into()) };
    let begin = Instant::now();
    let status =
        Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let seconds = begin.elapsed().as_secs_f64();
    let memory = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    let used = Used { status: status.code(), seconds, memory };
    writeln!(io::stdout(), "{}", serde_json::to_string(&used)?)?;
    Ok(())
}

fn check_all(cli: &Cli) -> Result<(), Box<dyn Error>> {
    if skip(&[need::NETWORKS, need::BED, need::COTURN, need::PGBOUNCER]) {
        return Err("the lab cannot be built here".into());
    }
    let beside = |given: &Option<PathBuf>, name: &str| -> Result<String, Box<dyn Error>> {
        let program = match given {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name(name),
        };
        let found = program.is_file().then(|| program.display().to_string());
        found.ok_or_else(|| format!("there is no {}; build or name it", program.display()).into())
    };
    let (probe, relay) = (beside(&cli.probe, "hubs-probe")?, beside(&cli.relay, "hubs-relay")?);
    let own = std::env::current_exe()?;
    writeln!(
        io::stdout(),
        "{:<44} {:>6} {:>8} {:>8} {:>8}",
        "deployment",
        "status",
        "median s",
        "worst s",
        "MiB"
    )?;
    for name in &cli.scenarios {
        let lab = Lab::start(&Scenario::read(name).with_round_trip(cli.round_trip), &relay);
        let runs = (0..cli.rounds).map(|_| run(&lab, &own, &probe)).collect::<Result<Vec<_>, _>>()?;
        print(name, &runs)?;
    }
    Ok(())
}

/// One check from the laptop, without sound, which takes as long as it is listened to.
fn run(lab: &Lab, own: &Path, probe: &str) -> Result<Used, Box<dyn Error>> {
    let mut command = Command::new(own);
    command.args(["measure", "--", probe, "check", "--no-audio"]).args(lab.arguments());
    let output = lab.on_laptop(|| command.output())?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn print(name: &str, runs: &[Used]) -> io::Result<()> {
    let mut seconds: Vec<_> = runs.iter().map(|used| used.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let (median, worst) = (seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
    let memory = runs.iter().map(|used| used.memory).max().unwrap_or_default() as f64 / 1024.0;
    let status = runs[0].status.map_or_else(|| "killed".to_owned(), |status| status.to_string());
    writeln!(io::stdout(), "{name:<44} {status:>6} {median:>8.2} {worst:>8.2} {memory:>8.1}")
}
