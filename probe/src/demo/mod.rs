//! A whole deployment of Hubs in one process, on loopback: checked as Hubs ships it, and again with hubs-relay in TURN's
//! place.
//!
//! It is a deployment, not a mock of the checks: they do not know that they look at it, and get there by options that
//! anybody can give.

mod authority;
mod deployment;
mod dialog;
mod dns;
mod dtls;
mod front;
mod ice_lite;
pub(crate) mod narrative;
mod reticulum;
mod transport;
mod turn;

use std::{future::Future, time::Duration};

use crate::{
    check::CHECKS,
    codes::Code,
    diagnose::Outcome,
    engine,
    event::Sink,
    finding::Status,
    report::{EXIT_BROKEN, EXIT_GOOD, End, FailOn, Report},
};

pub(crate) use deployment::{Deployment, DeploymentError, Turn};

/// Many times what a check of something on this machine takes.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

/// What happens, for those who watch.
pub(crate) enum Scene<'a> {
    /// The deployment runs, with this TURN server; the check begins.
    Begins(Turn, &'a Deployment),
    /// What the check of it found.
    Ends(&'a Report),
}

/// What both checks found: the second one is missing if the first one was interrupted.
pub(crate) struct Play {
    reports: Vec<Report>,
}

/// Plays both acts.
pub(crate) async fn play(
    sink: &Sink,
    stop: impl Future<Output = End> + Clone,
    mut show: impl FnMut(Scene<'_>),
) -> Result<Play, DeploymentError> {
    let mut reports = Vec::new();
    let mut deployment = Deployment::start(Turn::Shipped).await?;
    for turn in [Turn::Shipped, Turn::Relay] {
        if turn != Turn::Shipped {
            deployment.put(turn).await?;
        }
        show(Scene::Begins(turn, &deployment));
        let report = engine::run(deployment.context()?, CHECKS, CHECK_LIMIT, sink, stop.clone()).await;
        show(Scene::Ends(&report));
        let is_over = matches!(report.end, End::Interrupted | End::Terminated);
        reports.push(report);
        if is_over {
            break;
        }
    }
    Ok(Play { reports })
}

impl Play {
    /// What was found, act by act.
    pub(crate) fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Whether the first check found what is broken and the second one nothing.
    pub(crate) fn went_as_announced(&self) -> bool {
        matches!(self.reports(), [shipped, repaired] if blames_the_certificate(shipped) && repaired.verdict.outcome == Outcome::Good)
    }

    /// The exit status of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.reports.last() {
            Some(last) if matches!(last.end, End::Interrupted | End::Terminated) => {
                last.exit_code(FailOn::Fail)
            }
            _ if self.went_as_announced() => EXIT_GOOD,
            _ => EXIT_BROKEN,
        }
    }
}

/// Whether the verdict is about the certificate of coturn's image.
fn blames_the_certificate(report: &Report) -> bool {
    let is_it = |code, status| code == Code::CertificateOfCoturn && status == Status::Fail;
    report.verdict.outcome == Outcome::Broken
        && report
            .findings
            .iter()
            .any(|f| is_it(f.code, f.status) && f.remedy.is_some() && f.remedy == report.verdict.remedy)
}

#[cfg(test)]
mod tests;
