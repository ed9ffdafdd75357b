//! `hubs-probe check`.

use std::{io, io::IsTerminal, time::Duration};

use clap::Args;

use super::{
    deployment::{DeploymentArgs, UsageError, parse_duration},
    output::{Lines, Output, ReportArgs, Stream},
    progress::{Scroll, progress},
    terminal::interrupted,
};
use crate::{
    checks::CHECKS,
    choice::{Choice, Pattern},
    engine::{self, Patience, Plan},
    event::Sink,
};

/// The options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) deployment: DeploymentArgs,
    #[command(flatten)]
    told: ReportArgs,
    /// Run only the checks that are called so, or report a code that is, and those that they come after: turn.*, HP06??.
    #[arg(long, value_name = "GLOB")]
    only: Vec<Pattern>,
    /// Leave out the checks that are called so, and findings with a code that is.
    #[arg(long, value_name = "GLOB")]
    skip: Vec<Pattern>,
    /// Look again at what is not good until it is, or until this time has passed: 90s, 5m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

impl CheckArgs {
    fn plan(&self) -> Result<Plan, UsageError> {
        let choice =
            Choice { only: self.only.clone(), skip: self.skip.clone(), suppress: self.told.suppress.clone() };
        choice.validate(CHECKS)?;
        let patience = self.wait.map(|wait| Patience { wait, fail_on: self.told.fail_on });
        Ok(Plan { limit: self.deployment.time_limit(), choice, patience, redact: self.told.redact })
    }
}

/// Checks a deployment and reports.
pub(super) async fn check(args: CheckArgs) -> Result<u8, UsageError> {
    let plan = args.plan()?;
    let destination = args.told.destination()?;
    let shown = args.told.shown();
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
    if shown == Output::Human && !args.told.quiet && can_show_progress() {
        sinks.push(progress(Scroll::Ended));
    }
    let report = engine::run(cx, CHECKS, plan, &Sink::all(sinks), interrupted()).await;
    if let Some(stream) = stream {
        stream.finish();
    }
    args.told.print(&report);
    if let Some(destination) = destination {
        destination.write(&report, &lines)?;
    }
    Ok(report.exit_code(args.told.fail_on))
}

/// Whether standard error is a terminal that can take back what it shows.
pub(super) fn can_show_progress() -> bool {
    io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}
