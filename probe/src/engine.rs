//! Runs the checks as a graph: each as soon as those that it comes after have ended, in parallel, each with a deadline.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    check::{Check, Context, Stop},
    event::{Event, Sink},
    finding::Finding,
    report::{End, Report},
};

/// Runs `checks` until all have ended, `limit` has passed or `interrupt` completes, whichever comes first.
///
/// What was found so far is in the report in each case; what was not reached is skipped with that reason.
pub async fn run(
    cx: Arc<Context>,
    checks: &'static [Check],
    limit: Duration,
    sink: &Sink,
    interrupt: impl Future<Output = End>,
) -> Report {
    let started = OffsetDateTime::now_utc();
    let deadline = Instant::now() + limit;
    let mut interrupt = pin!(interrupt);
    sink.emit(Event::RunStarted { target: cx.target.to_string(), checks: checks.iter().collect() });

    let mut run = Run {
        cx,
        sink,
        waiting: checks.iter().collect(),
        tasks: JoinSet::new(),
        running: BTreeMap::new(),
        ended: BTreeMap::new(),
    };
    let end = loop {
        run.start_ready();
        if run.running.is_empty() {
            break End::Complete;
        }
        tokio::select! {
            Some(joined) = run.tasks.join_next_with_id() => run.finish(joined),
            () = sleep_until(deadline) => break End::TimeLimit,
            end = &mut interrupt => break end,
        }
    };
    run.abandon(end, limit);
    let findings = checks.iter().flat_map(|c| run.ended.remove(c.id).unwrap_or_default()).collect();
    let report = Report::new(run.cx.target.to_string(), started, OffsetDateTime::now_utc(), end, findings);
    sink.emit(Event::RunFinished(report.clone()));
    report
}

struct Run<'a> {
    cx: Arc<Context>,
    sink: &'a Sink,
    waiting: Vec<&'static Check>,
    tasks: JoinSet<Vec<Finding>>,
    running: BTreeMap<tokio::task::Id, (&'static Check, Instant)>,
    ended: BTreeMap<&'static str, Vec<Finding>>,
}

impl Run<'_> {
    fn start_ready(&mut self) {
        // A check that is not part of this run can't be waited for.
        let unfinished: BTreeSet<_> =
            self.waiting.iter().map(|c| c.id).chain(self.running.values().map(|(c, _)| c.id)).collect();
        let (ready, waiting): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|c: &&Check| c.after.iter().all(|id| !unfinished.contains(id)));
        self.waiting = waiting;
        for check in ready {
            self.sink.emit(Event::CheckStarted { check: check.id });
            let task = self.tasks.spawn(perform(check, Arc::clone(&self.cx)));
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

    fn abandon(&mut self, end: End, limit: Duration) {
        let reason = match end {
            End::Complete => return,
            End::TimeLimit => format!("not finished within the time limit of {} s", limit.as_secs()),
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
        for finding in &mut findings {
            finding.check = check.id;
            finding.duration = duration;
        }
        self.sink.emit(Event::CheckFinished { check: check.id, findings: findings.clone(), duration });
        self.ended.insert(check.id, findings);
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
