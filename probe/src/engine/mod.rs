//! Runs the checks as a graph: each as soon as those that it comes after have ended, in parallel, each with a deadline.
//! If asked to wait, runs again what was not good and what hangs on it, until all is good or the time is over.

mod again;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    baseline::Baseline,
    check::{Check, Context, Stop},
    choice::Choice,
    event::{Event, Sink},
    finding::{Finding, Status},
    redact::Redaction,
    report::{EXIT_GOOD, End, FailOn, Report},
};

/// How long what is not good is left alone before it is looked at again.
const PAUSE: Duration = Duration::from_secs(5);

/// What a run is to do besides the checks themselves.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The time after which it ends with what was found by then.
    pub limit: Duration,
    /// What of the checks and findings is wanted.
    pub choice: Choice,
    /// Whether to go on until all is good.
    pub patience: Option<Patience>,
    /// What is to be compared with.
    pub baseline: Option<Baseline>,
    /// Whether addresses, rooms and user names are taken out of everything that is told of it.
    pub redact: bool,
}

/// How long to go on until all is good, and what that is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// When to give up.
    pub wait: Duration,
    /// What is not good.
    pub fail_on: FailOn,
}

impl From<Duration> for Plan {
    /// Every check, once.
    fn from(limit: Duration) -> Self {
        Self { limit, choice: Choice::default(), patience: None, baseline: None, redact: false }
    }
}

/// Runs `checks` until all have ended, the plan's time is over or `interrupt` completes, whichever comes first.
///
/// What was found so far is in the report in each case; what was not reached is skipped with that reason.
pub async fn run(
    mut cx: Arc<Context>,
    checks: &'static [Check],
    plan: impl Into<Plan>,
    sink: &Sink,
    interrupt: impl Future<Output = End>,
) -> Report {
    let (plan, started, begun) = (plan.into(), OffsetDateTime::now_utc(), Instant::now());
    let mut interrupt = pin!(interrupt);
    let target = cx.target.to_string();
    let mut found: BTreeMap<&'static str, Vec<Finding>> = BTreeMap::new();
    let mut redaction = plan.redact.then(Redaction::default);
    let mut chosen = Vec::new();
    for check in checks {
        match plan.choice.leaves_out(check, checks) {
            Some(reason) => {
                found.insert(check.id, vec![left_out(check, &reason)]);
            }
            None => chosen.push(check),
        }
    }
    sink.emit(Event::RunStarted { target: target.clone(), checks: chosen.clone() });
    let mut due = chosen.clone();
    let report = |found: &BTreeMap<&'static str, Vec<Finding>>, end| {
        let mut findings: Vec<_> = checks.iter().filter_map(|c| found.get(c.id)).flatten().cloned().collect();
        plan.choice.spare(&mut findings, checks);
        Report::new(target.clone(), started, OffsetDateTime::now_utc(), end, findings)
    };
    let report = loop {
        let round = Round::new(&cx, checks, &plan, sink, due, redaction.as_mut());
        let (end, newly_found) = round.play(interrupt.as_mut()).await;
        found.extend(newly_found);
        let so_far = report(&found, end);
        let Some(patience) = plan.patience else { break so_far };
        let left = patience.wait.saturating_sub(begun.elapsed());
        let is_over = matches!(end, End::Interrupted | End::Terminated) || left <= PAUSE;
        if is_over || so_far.exit_code(patience.fail_on) == EXIT_GOOD {
            break so_far;
        }
        sink.emit(Event::Waiting { reason: so_far.verdict.headline.clone(), left });
        tokio::select! {
            () = sleep(PAUSE) => {}
            end = interrupt.as_mut() => break report(&found, end),
        }
        due = again::due(&chosen, &so_far, patience.fail_on);
        cx = Arc::new(cx.without(&due.iter().map(|check| check.id).collect()));
    };
    sink.emit(Event::RunFinished(report.clone()));
    report
}

fn left_out(check: &'static Check, reason: &str) -> Finding {
    let finding = Finding::skip(check.code, reason).left_out(reason);
    Finding { check: check.id, ..finding }
}

/// One pass through the graph.
struct Round<'a> {
    cx: &'a Arc<Context>,
    sink: &'a Sink,
    checks: &'static [Check],
    plan: &'a Plan,
    redaction: Option<&'a mut Redaction>,
    waiting: Vec<&'static Check>,
    tasks: JoinSet<Vec<Finding>>,
    running: BTreeMap<tokio::task::Id, (&'static Check, Instant)>,
    ended: BTreeMap<&'static str, Vec<Finding>>,
}

impl<'a> Round<'a> {
    fn new(
        cx: &'a Arc<Context>,
        checks: &'static [Check],
        plan: &'a Plan,
        sink: &'a Sink,
        due: Vec<&'static Check>,
        redaction: Option<&'a mut Redaction>,
    ) -> Self {
        let (tasks, running, ended) = (JoinSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { cx, sink, checks, plan, redaction, waiting: due, tasks, running, ended }
    }

    async fn play<I: Future<Output = End>>(
        mut self,
        mut interrupt: Pin<&mut I>,
    ) -> (End, BTreeMap<&'static str, Vec<Finding>>) {
        let deadline = Instant::now() + self.plan.limit;
        let end = loop {
            self.start_ready();
            if self.running.is_empty() {
                break End::Complete;
            }
            tokio::select! {
                Some(joined) = self.tasks.join_next_with_id() => self.finish(joined),
                () = sleep_until(deadline) => break End::TimeLimit,
                end = interrupt.as_mut() => break end,
            }
        };
        self.abandon(end);
        (end, self.ended)
    }

    fn start_ready(&mut self) {
        // A check that is not part of this run can't be waited for.
        let unfinished: BTreeSet<_> =
            self.waiting.iter().map(|c| c.id).chain(self.running.values().map(|(c, _)| c.id)).collect();
        let (ready, waiting): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|c: &&Check| c.after.iter().all(|id| !unfinished.contains(id)));
        self.waiting = waiting;
        for check in ready {
            self.sink.emit(Event::CheckStarted { check: check.id });
            let task = self.tasks.spawn(perform(check, Arc::clone(self.cx)));
            self.running.insert(task.id(), (check, Instant::now()));
        }
    }

    fn finish(&mut self, joined: Result<(tokio::task::Id, Vec<Finding>), tokio::task::JoinError>) {
        let id = joined.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
        let Some((check, since)) = self.running.remove(&id) else { return };
        let findings = joined.map_or_else(
            |_| {
                vec![Finding::error(
                    check.code,
                    "the check itself broke: this is a fault of hubs-probe, please report it",
                )]
            },
            |(_, findings)| findings,
        );
        self.record(check, findings, since.elapsed());
    }

    fn abandon(&mut self, end: End) {
        let reason = match end {
            End::Complete => return,
            End::TimeLimit => {
                format!("not finished within the time limit of {} s", self.plan.limit.as_secs())
            }
            End::Interrupted | End::Terminated => "interrupted".to_owned(),
        };
        self.tasks.abort_all();
        for (check, since) in std::mem::take(&mut self.running).into_values() {
            self.record(check, vec![Finding::error(check.code, &reason)], since.elapsed());
        }
        for check in std::mem::take(&mut self.waiting) {
            self.record(check, vec![Finding::skip(check.code, &reason)], Duration::ZERO);
        }
    }

    fn record(&mut self, check: &'static Check, mut findings: Vec<Finding>, duration: Duration) {
        let undeclared = findings.iter().map(|f| f.code).find(|code| check.codes().all(|it| it != *code));
        debug_assert_eq!(undeclared, None, "{} reports a code that its row does not name", check.id);
        self.plan.choice.judge(&mut findings);
        for finding in &mut findings {
            finding.check = check.id;
            finding.duration = duration;
            finding.needs = self.needed_by(finding);
            if let Some(baseline) = &self.plan.baseline {
                baseline.hold_against(finding, self.plan.redact);
            }
            if let Some(redaction) = &mut self.redaction {
                redaction.learn(self.cx);
                redaction.apply(finding);
            }
        }
        self.sink.emit(Event::CheckFinished { check: check.id, findings: findings.clone(), duration });
        self.ended.insert(check.id, findings);
    }

    /// The check that a skip's reason refers to at its end: the reason names it for people, and this for programs.
    fn needed_by(&self, finding: &Finding) -> Option<&'static str> {
        let (_, check) = finding.summary.rsplit_once(", see ").filter(|_| finding.status == Status::Skip)?;
        self.checks.iter().map(|c| c.id).find(|id| *id == check)
    }
}

async fn perform(check: &'static Check, cx: Arc<Context>) -> Vec<Finding> {
    match timeout(check.timeout, (check.run)(cx)).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(Stop::Skip(reason))) => vec![Finding::skip(check.code, reason)],
        Ok(Err(Stop::Unable(reason))) => vec![Finding::error(check.code, reason)],
        Err(_) => {
            vec![Finding::error(check.code, format!("not finished within {} s", check.timeout.as_secs()))]
        }
    }
}
