//! `hubs-probe check`.

use std::{io, io::IsTerminal, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    deployment::{DeploymentArgs, UsageError, parse_duration},
    output::{Destination, Existing, Lines, Output, Stream, print_report},
    progress::{Scroll, progress},
    terminal::{interrupted, print, style},
};
use crate::{
    checks::CHECKS,
    choice::{Choice, Pattern, Suppression},
    engine::{self, Patience, Plan},
    event::Sink,
    report::{FailOn, human},
};

/// The options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) deployment: DeploymentArgs,
    /// The form of the report [default: human].
    #[arg(long, value_enum)]
    output: Option<Output>,
    /// Write the report to this file, in the form of --output or of the file's name (.json .jsonl .xml .sarif .md .html .prom
    /// .txt), besides the one for people on the terminal.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write over the file of --report if it is there.
    #[arg(long, requires = "report")]
    overwrite: bool,
    /// Take addresses, rooms and user names out of everything that is told of the run.
    #[arg(long)]
    redact: bool,
    /// Show no progress, and for people the verdict only.
    #[arg(short, long)]
    quiet: bool,
    /// Which findings make the exit status 1.
    #[arg(long, value_enum, default_value_t)]
    fail_on: FailOn,
    /// Run only the checks that are called so, or report a code that is, and those that they come after: turn.*, HP06??.
    #[arg(long, value_name = "GLOB")]
    only: Vec<Pattern>,
    /// Leave out the checks that are called so, and findings with a code that is.
    #[arg(long, value_name = "GLOB")]
    skip: Vec<Pattern>,
    /// Do not count this known fault, everywhere or at one place, for a reason: HP0206=assets.example.org:renewed on Monday.
    #[arg(long, value_name = "CODE[=PLACE][:REASON]")]
    suppress: Vec<Suppression>,
    /// Look again at what is not good until it is, or until this time has passed: 90s, 5m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

impl CheckArgs {
    fn plan(&self) -> Result<Plan, UsageError> {
        let choice =
            Choice { only: self.only.clone(), skip: self.skip.clone(), suppress: self.suppress.clone() };
        choice.validate(CHECKS)?;
        let patience = self.wait.map(|wait| Patience { wait, fail_on: self.fail_on });
        Ok(Plan { limit: self.deployment.time_limit(), choice, patience, redact: self.redact })
    }
}

/// Checks a deployment and reports.
pub(super) async fn check(args: CheckArgs) -> Result<u8, UsageError> {
    let plan = args.plan()?;
    let destination = match args.report {
        Some(path) => {
            let existing = if args.overwrite { Existing::Overwritten } else { Existing::Kept };
            Some(Destination::new(path, args.output, existing)?)
        }
        None => None,
    };
    // A report that goes to a file leaves the terminal to the person.
    let shown = if destination.is_some() { Output::Human } else { args.output.unwrap_or(Output::Human) };
    let cx = args.deployment.context()?;

    let (lines, mut stream, mut sinks) = (Lines::default(), None, Vec::new());
    if destination.as_ref().is_some_and(|it| it.format() == Output::Jsonl) {
        sinks.push(lines.sink());
    }
    if shown == Output::Jsonl {
        let (started, sink) = Stream::start();
        stream = Some(started);
        sinks.push(sink);
    }
    if shown == Output::Human && !args.quiet && can_show_progress() {
        sinks.push(progress(Scroll::Ended));
    }
    let report = engine::run(cx, CHECKS, plan, &Sink::all(sinks), interrupted()).await;
    if let Some(stream) = stream {
        stream.finish();
    }
    if shown == Output::Human && args.quiet {
        print(&human::verdict(&report, style()));
    } else {
        print_report(&report, shown, style());
    }
    if let Some(destination) = destination {
        destination.write(&report, &lines)?;
    }
    Ok(report.exit_code(args.fail_on))
}

/// Whether standard error is a terminal that can take back what it shows.
pub(super) fn can_show_progress() -> bool {
    io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}
