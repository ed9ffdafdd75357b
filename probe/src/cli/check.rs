//! `hubs-probe check`.

use std::{io, io::IsTerminal, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    deployment::{DeploymentArgs, UsageError, parse_duration},
    progress::progress,
    terminal::{interrupted, print, style},
};
use crate::{
    checks::CHECKS,
    choice::{Choice, Pattern, Suppression},
    engine::{self, Patience, Plan},
    event::Sink,
    report::{self, FailOn, Report},
};

/// The options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) deployment: DeploymentArgs,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
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

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
}

impl CheckArgs {
    fn plan(&self) -> Result<Plan, UsageError> {
        let choice =
            Choice { only: self.only.clone(), skip: self.skip.clone(), suppress: self.suppress.clone() };
        choice.validate(CHECKS)?;
        let patience = self.wait.map(|wait| Patience { wait, fail_on: self.fail_on });
        Ok(Plan { limit: self.deployment.time_limit(), choice, patience })
    }
}

/// Checks a deployment and prints the report.
pub(super) async fn check(args: CheckArgs) -> Result<u8, UsageError> {
    let plan = args.plan()?;
    let cx = args.deployment.context()?;
    let report = engine::run(cx, CHECKS, plan, &sink(args.output), interrupted()).await;
    print(&render(&report, args.output));
    Ok(report.exit_code(args.fail_on))
}

/// Where the events of a run go whose report has this form.
pub(super) fn sink(output: Output) -> Sink {
    match output {
        Output::Human if io::stderr().is_terminal() => progress(),
        Output::Human | Output::Json => Sink::none(),
    }
}

fn render(report: &Report, output: Output) -> String {
    match output {
        Output::Human => report::human::render(report, style()),
        Output::Json => report::json::render(report),
    }
}
