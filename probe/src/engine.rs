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
    finding::{Finding, Status},
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
        checks,
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
    checks: &'static [Check],
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
            finding.needs = self.needed_by(finding);
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

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::Mutex,
    };

    use super::*;
    use crate::{
        check::{Group, Outcome},
        codes::Code,
        report::EXIT_INTERRUPTED,
        testing::context,
    };

    const LIMIT: Duration = Duration::from_mins(1);

    const fn row(
        id: &'static str,
        after: &'static [&'static str],
        run: fn(Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome>,
    ) -> Check {
        let timeout = Duration::from_secs(5);
        Check { id, group: Group::Dns, question: "", code: Code::NameResolves, after, timeout, run }
    }

    fn passing(_: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
        Box::pin(ready(Ok(vec![Finding::pass(Code::NameResolves, "fine")])))
    }

    fn hanging(_: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
        Box::pin(pending())
    }

    fn needing_a_fact(cx: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
        Box::pin(async move { cx.facts.announced.get().map(|_| Vec::new()).map_err(Stop::from) })
    }

    fn panicking(_: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
        Box::pin(async { panic!("a bug") })
    }

    async fn run_all(checks: &'static [Check]) -> Report {
        run(context(None, &[]), checks, LIMIT, &Sink::none(), pending()).await
    }

    #[tokio::test]
    async fn a_check_starts_when_those_before_it_have_ended() {
        static CHECKS: &[Check] =
            &[row("a", &[], passing), row("b", &["a"], passing), row("c", &["a", "b"], passing)];
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink::new({
            let seen = Arc::clone(&seen);
            move |event| {
                seen.lock().unwrap().push(match event {
                    Event::RunStarted { .. } => "run".to_owned(),
                    Event::CheckStarted { check } => format!("+{check}"),
                    Event::CheckFinished { check, .. } => format!("-{check}"),
                    Event::RunFinished(_) => "end".to_owned(),
                });
            }
        });
        run(context(None, &[]), CHECKS, LIMIT, &sink, pending()).await;
        assert_eq!(*seen.lock().unwrap(), ["run", "+a", "-a", "+b", "-b", "+c", "-c", "end"]);
    }

    #[tokio::test]
    async fn a_missing_fact_makes_a_skip_that_says_where_it_would_come_from() {
        static CHECKS: &[Check] = &[row("dialog.candidates", &[], passing), row("a", &[], needing_a_fact)];
        let report = run_all(CHECKS).await;
        let skip = &report.findings[1];
        assert_eq!((skip.status, skip.needs), (Status::Skip, Some("dialog.candidates")));
        assert!(skip.summary.contains("dialog.candidates"), "{}", skip.summary);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_ends_at_its_own_deadline_and_is_our_error() {
        static CHECKS: &[Check] = &[row("a", &[], hanging), row("b", &["a"], passing)];
        let report = run_all(CHECKS).await;
        assert_eq!(report.end, End::Complete);
        assert_eq!(
            report.findings.iter().map(|f| f.status).collect::<Vec<_>>(),
            [Status::Error, Status::Pass]
        );
        assert_eq!(report.findings[0].duration, Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_limit_ends_the_run_and_names_what_was_not_reached() {
        static CHECKS: &[Check] =
            &[row("a", &[], passing), row("b", &[], hanging), row("c", &["b"], passing)];
        let report = run(context(None, &[]), CHECKS, Duration::from_secs(1), &Sink::none(), pending()).await;
        assert_eq!(report.end, End::TimeLimit);
        let statuses: Vec<_> = report.findings.iter().map(|f| f.status).collect();
        assert_eq!(statuses, [Status::Pass, Status::Error, Status::Skip]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupt_keeps_what_was_found() {
        static CHECKS: &[Check] = &[row("a", &[], passing), row("b", &["a"], hanging)];
        let stop = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            End::Interrupted
        };
        let report = run(context(None, &[]), CHECKS, LIMIT, &Sink::none(), stop).await;
        assert_eq!((report.end, report.findings[0].status), (End::Interrupted, Status::Pass));
        assert_eq!(report.exit_code(crate::report::FailOn::Fail), EXIT_INTERRUPTED);
    }

    #[tokio::test]
    async fn a_check_that_panics_does_not_take_the_others_with_it() {
        static CHECKS: &[Check] = &[row("a", &[], panicking), row("b", &["a"], passing)];
        let report = run_all(CHECKS).await;
        assert_eq!(
            report.findings.iter().map(|f| f.status).collect::<Vec<_>>(),
            [Status::Error, Status::Pass]
        );
    }
}
