//! A whole deployment of Hubs in one process, on loopback: checked as Hubs ships it, again with hubs-relay in TURN's place, and
//! once more with its media gateway in front of dialog.
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
mod permission;
mod plain;
mod reply;
mod reticulum;
mod rooms;
mod srtp;
mod transport;
mod turn;
mod web;

use std::{future::Future, time::Duration};

use crate::{
    checks::CHECKS,
    codes::Code,
    diagnose::Outcome,
    engine,
    event::Sink,
    finding::Status,
    report::{EXIT_BROKEN, EXIT_GOOD, End, FailOn, Report},
};

#[cfg(test)]
pub(crate) use deployment::ANNOUNCED;
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

/// What the checks found: those after one that was interrupted are missing.
pub(crate) struct Play {
    reports: Vec<Report>,
}

/// Plays all acts.
pub(crate) async fn play(
    sink: &Sink,
    stop: impl Future<Output = End> + Clone,
    mut show: impl FnMut(Scene<'_>),
) -> Result<Play, DeploymentError> {
    let mut play = Play { reports: Vec::new() };
    let mut deployment = Deployment::start(Turn::Shipped).await?;
    for turn in [Turn::Shipped, Turn::Relay, Turn::Gateway] {
        if turn != Turn::Shipped {
            deployment.put(turn).await?;
        }
        show(Scene::Begins(turn, &deployment));
        let report = engine::run(deployment.context()?, CHECKS, CHECK_LIMIT, sink, stop.clone()).await;
        show(Scene::Ends(&report));
        play.reports.push(report);
        if play.was_interrupted() {
            break;
        }
    }
    Ok(play)
}

impl Play {
    /// What was found, act by act.
    pub(crate) fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Whether somebody ended it before its end.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.reports.last().is_some_and(|report| matches!(report.end, End::Interrupted | End::Terminated))
    }

    /// Whether the first check found what is broken, the second one nothing, and the third one a better way.
    pub(crate) fn went_as_announced(&self) -> bool {
        let [shipped, repaired, gateway] = self.reports() else { return false };
        let is_good = |report: &Report| report.verdict.outcome == Outcome::Good;
        let passed = |code| gateway.findings.iter().any(|f| f.code == code && f.status == Status::Pass);
        blames_the_certificate(shipped)
            && is_good(repaired)
            && is_good(gateway)
            && passed(Code::GatewayUdp)
            && passed(Code::GatewayTcp)
    }

    /// The exit status of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.reports.last() {
            Some(last) if self.was_interrupted() => last.exit_code(FailOn::Fail),
            _ if self.went_as_announced() => EXIT_GOOD,
            _ => EXIT_BROKEN,
        }
    }
}

/// Whether the verdict is about the certificate of coturn's image: it then has that finding's remedy.
fn blames_the_certificate(report: &Report) -> bool {
    let mut findings = report.findings.iter();
    let fault = findings.find(|f| f.code == Code::CertificateOfCoturn && f.status == Status::Fail);
    report.verdict.outcome == Outcome::Broken && fault.is_some_and(|f| f.remedy == report.verdict.remedy)
}

#[cfg(test)]
mod tests;
