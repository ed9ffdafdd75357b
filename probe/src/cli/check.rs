//! `hubs-probe check`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    deployment::{DeploymentArgs, parse_duration},
    files,
    output::ReportArgs,
    progress::{Scroll, progress},
    terminal::interrupted,
    usage::UsageError,
};
use crate::{
    baseline::Baseline,
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
    /// Say of what is not well whether it was in this earlier report, which `check --output json` wrote. Of Azure's rules it knows if both
    /// were given them (--nsg, --azure).
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

impl CheckArgs {
    fn plan(&self) -> Result<Plan, UsageError> {
        let choice =
            Choice { only: self.only.clone(), skip: self.skip.clone(), suppress: self.told.suppress.clone() };
        choice.validate(CHECKS)?;
        let patience = self.wait.map(|wait| Patience { wait, fail_on: self.told.fail_on });
        let baseline = self.baseline.as_ref().map(|path| self.read_baseline(path)).transpose()?;
        let limit = self.deployment.time_limit();
        Ok(Plan { limit, choice, patience, baseline, redact: self.told.redact })
    }

    fn read_baseline(&self, path: &Path) -> Result<Baseline, UsageError> {
        let text = files::text(path)?.text;
        Baseline::read(&text, self.deployment.domain())
            .map_err(|source| UsageError::Baseline { path: path.to_owned(), source })
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
