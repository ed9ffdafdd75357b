//! `hubs-probe check`.

use std::time::Duration;

use clap::Args;

use super::{
    deployment::{DeploymentArgs, UsageError, parse_duration},
    output::ReportArgs,
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
    let (telling, mut sinks) = args.told.begin()?;
    let cx = args.deployment.context()?;
    if args.told.shows_progress() {
        sinks.push(progress(Scroll::Ended));
    }
    let report = engine::run(cx, CHECKS, plan, &Sink::all(sinks), interrupted()).await;
    telling.finish(&report)
}
