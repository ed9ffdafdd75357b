//! The command line of `hubs-load`.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::cpu;
use crate::error::LoadError;
use crate::identity::{Identity, KeyKind};
use crate::link::Transport;
use crate::measure::{Setup, measure};
use crate::packet;
use crate::report::{Contender, Load, Report};
use crate::server::Program;
use crate::session::Framing;
use crate::traffic::Traffic;

/// Packets per second of all sessions; more than a generator on one core can send.
const MOST_PACKETS: usize = 200_000;

/// Puts the same load on hubs-relay and on coturn, in turn, and prints what each packet, join and idle session costs.
#[derive(Debug, Parser)]
#[command(name = "hubs-load", version)]
struct Cli {
    /// The hubs-relay in question; the one that was built beside this program, if none is named.
    #[arg(long, value_name = "PROGRAM")]
    relay: Option<PathBuf>,
    /// What it is held against: coturn's turnserver, another hubs-relay, or hubs-forward, which forwards datagrams and nothing else.
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/bin/turnserver")]
    against: PathBuf,
    /// What the sessions' packets travel in; given twice, both.
    #[arg(long, value_enum, default_values = ["udp", "tls"])]
    transport: Vec<Transport>,
    /// How payloads are framed.
    #[arg(long, value_enum, default_value = "channel")]
    framing: Framing,
    /// Sessions at a time.
    #[arg(long, default_value = "200", value_parser = clap::value_parser!(u16).range(1..=5000))]
    sessions: u16,
    /// Packets per second of each session, each way.
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: u32,
    /// Bytes in each packet.
    #[arg(long, default_value = "160", value_parser = clap::value_parser!(u16).range(i64::from(packet::MIN_LEN)..=1200))]
    payload: u16,
    /// How long each measurement counts.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// How often each server is measured over each transport.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u16).range(1..=50))]
    rounds: u16,
    /// The key of the servers' certificate.
    #[arg(long, value_enum, default_value = "ec")]
    key: KeyKind,
    /// The core that the server has for itself.
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    server_core: usize,
    /// The core that clients and peer have for themselves.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    generator_core: usize,
    /// What to print.
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
    /// Writes the JSON to a file besides.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A table.
    Human,
    /// Every round's figures, and the medians.
    Json,
}

/// Runs the program with its arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hubs-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), LoadError> {
    let sessions = usize::from(cli.sessions);
    if sessions * cli.rate as usize > MOST_PACKETS {
        let error = io::Error::other(format!("more than {MOST_PACKETS} packets/s in all"));
        return Err(LoadError::io("too much for one generator")(error));
    }
    let programs = [Program::at(&cli.relay()?), Program::at(&cli.against)];
    let mut contenders = Vec::new();
    for program in &programs {
        contenders.push(Contender { name: program.name(), version: program.version()? });
    }
    let traffic = Traffic { rate: cli.rate, payload: cli.payload, seconds: cli.seconds };
    let (framing, key, rounds) = (cli.framing, cli.key, usize::from(cli.rounds));
    let load = Load { sessions, traffic, framing, key, rounds };
    let [subject, reference] = [0, 1].map(|it| contenders[it].clone());
    let mut report = Report::new(load, [subject, reference]);

    cpu::pin(cli.generator_core)?;
    let folder = tempfile::tempdir().map_err(LoadError::io("cannot make a folder"))?;
    let identity = Identity::make(key, folder.path())?;
    let (server_core, generator_core) = (cli.server_core, cli.generator_core);
    let setup = Setup { sessions, framing, traffic, identity, server_core, generator_core };
    for &transport in &cli.transport {
        let mut measured = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            // Who begins changes, so that neither always follows the other.
            for server in [round % 2, 1 - round % 2] {
                let _ = writeln!(
                    io::stderr(),
                    "{transport:?}, round {} of {rounds}: {}",
                    round + 1,
                    programs[server].name()
                );
                measured[server].push(measure(&programs[server], transport, &setup)?);
            }
        }
        report.add(transport, &measured);
    }

    if let Some(file) = &cli.report {
        fs::write(file, report.json()).map_err(LoadError::io(file.display().to_string()))?;
    }
    let text = match cli.output {
        Output::Human => report.to_string(),
        Output::Json => report.json(),
    };
    io::stdout().write_all(text.as_bytes()).map_err(LoadError::io("cannot print"))
}

impl Cli {
    /// The relay to measure, which has to be there.
    fn relay(&self) -> Result<PathBuf, LoadError> {
        if let Some(relay) = &self.relay {
            return Ok(relay.clone());
        }
        let own = env::current_exe().map_err(LoadError::io("cannot tell where this program is"))?;
        Ok(own.with_file_name("hubs-relay"))
    }
}
