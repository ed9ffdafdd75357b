//! `hubs-soak`: the soak of `hubs_tests::soak`, with as many clients and for as long as one likes.

use std::env;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use hubs_relay::config::parse_duration;
use hubs_tests::need::{self, skip};
use hubs_tests::soak::Soak;
use tokio::signal::unix::{SignalKind, signal};

/// As a shell has it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Lets clients come to hubs-relay, talk, refresh and leave, while secrets rotate, configuration and certificate reload and
/// strangers knock; says whether the relay is where it began when all have left. Exit status: 0 it held, 1 it did not, 130
/// interrupted.
#[derive(Debug, Parser)]
#[command(name = "hubs-soak", version)]
struct Cli {
    /// The hubs-relay in question; the one that was built beside this program, if none is named.
    #[arg(long, value_name = "PROGRAM")]
    relay: Option<PathBuf>,
    /// How long clients come and go after a warm-up of a minute at most. Those who leave without a word do so more than ten
    /// minutes before the end: so long the relay keeps an allocation.
    #[arg(long, default_value = "30m", value_parser = parse_duration)]
    duration: Duration,
    /// Clients at a time.
    #[arg(long, default_value = "500", value_parser = clap::value_parser!(u16).range(1..=2000))]
    sessions: u16,
    /// Packets a second of each client, each way.
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if skip(&[need::POSTGRES]) {
        return ExitCode::FAILURE;
    }
    let relay =
        match cli.relay.map_or_else(|| env::current_exe().map(|it| it.with_file_name("hubs-relay")), Ok) {
            Ok(relay) if relay.is_file() => relay,
            Ok(relay) => return fail(format!("there is no {}; name another with --relay", relay.display())),
            Err(error) => return fail(error),
        };
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate)] = signals else { return fail("signals cannot be caught") };
    let warm_up = (cli.duration / 3).min(Duration::from_mins(1));
    let soak = Soak { sessions: cli.sessions.into(), rate: cli.rate, warm_up, duration: cli.duration };
    tokio::select! {
        outcome = soak.run(&relay, say) => {
            say(&outcome);
            if outcome.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        _ = interrupt.recv() => ExitCode::from(INTERRUPTED),
        _ = terminate.recv() => ExitCode::from(INTERRUPTED),
    }
}

fn say(what: &impl Display) {
    let _ = writeln!(io::stdout(), "{what}");
}

fn fail(why: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "hubs-soak: {why}");
    ExitCode::FAILURE
}
