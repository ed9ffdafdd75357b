//! Runs of tables of checks that are made for the purpose.

use std::{
    fmt::Write as _,
    future::{pending, ready},
    sync::Mutex,
};

use super::*;
use crate::{
    check::{Group, Outcome},
    codes::Code,
    report::{EXIT_BROKEN, EXIT_INTERRUPTED, FailOn},
    testing::context,
};

const LIMIT: Duration = Duration::from_mins(1);

const fn row(
    id: &'static str,
    after: &'static [&'static str],
    run: fn(Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome>,
) -> Check {
    let timeout = Duration::from_secs(5);
    let code = Code::NameResolves;
    Check { id, group: Group::Dns, question: "", code, also: &[], contacts: "", after, timeout, run }
}

fn passing(_: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
    Box::pin(ready(Ok(vec![Finding::pass(Code::NameResolves, "fine")])))
}

fn failing(_: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
    Box::pin(ready(Ok(vec![Finding::fail(Code::NameResolves, "bad")])))
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
                Event::Waiting { .. } => "wait".to_owned(),
                Event::RunFinished(_) => "end".to_owned(),
            });
        }
    });
    run(context(None, &[]), CHECKS, LIMIT, &sink, pending()).await;
    assert_eq!(*seen.lock().unwrap(), ["run", "+a", "-a", "+b", "-b", "+c", "-c", "end"]);
}

#[tokio::test]
async fn what_runs_only_for_what_comes_after_it_does_not_decide_the_exit_status() {
    static CHECKS: &[Check] = &[row("a", &[], failing), row("b", &["a"], passing)];
    let exit_code = async |only: &str| {
        let choice = Choice { only: vec![only.into()], ..Choice::default() };
        let plan = Plan { choice, ..Plan::from(LIMIT) };
        let report = run(context(None, &[]), CHECKS, plan, &Sink::none(), pending()).await;
        assert_eq!(report.findings[0].status, Status::Fail, "it is shown");
        report.exit_code(FailOn::Fail)
    };
    assert_eq!((exit_code("a").await, exit_code("b").await), (EXIT_BROKEN, EXIT_GOOD));
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
    assert_eq!(report.findings.iter().map(|f| f.status).collect::<Vec<_>>(), [Status::Error, Status::Pass]);
    assert_eq!(report.findings[0].duration, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_ends_the_run_and_names_what_was_not_reached() {
    static CHECKS: &[Check] = &[row("a", &[], passing), row("b", &[], hanging), row("c", &["b"], passing)];
    let report = run(context(None, &[]), CHECKS, Duration::from_secs(1), &Sink::none(), pending()).await;
    assert_eq!(report.end, End::TimeLimit);
    let statuses: Vec<_> = report.findings.iter().map(|f| f.status).collect();
    assert_eq!(statuses, [Status::Pass, Status::Error, Status::Skip]);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_keeps_what_was_found() {
    static CHECKS: &[Check] = &[row("a", &[], passing), row("b", &["a"], hanging)];
    let stop = async {
        sleep(Duration::from_secs(1)).await;
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
    assert_eq!(report.findings.iter().map(|f| f.status).collect::<Vec<_>>(), [Status::Error, Status::Pass]);
}

fn not_good_at_first(cx: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
    Box::pin(async move {
        // What was learned in the first round is still there in the second one, unless it was to be found out again.
        let is_first = cx.facts.turn_certificate.get().is_err();
        Ok(vec![if is_first {
            Finding::fail(Code::NameResolves, "not yet")
        } else {
            Finding::pass(Code::NameResolves, "at last")
        }])
    })
}

fn learning_a_fact(cx: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
    Box::pin(async move {
        sleep(Duration::from_secs(1)).await;
        cx.facts.turn_certificate.learn(crate::facts::TurnCertificate::Accepted);
        Ok(vec![Finding::pass(Code::NameResolves, "known")])
    })
}

fn patient(wait: Duration) -> Plan {
    let patience = Some(Patience { wait, fail_on: FailOn::Fail });
    Plan { patience, choice: without_c(), ..LIMIT.into() }
}

/// The exit status cannot become good in a table that follows no path of media; that everything known is left aside can.
fn without_c() -> Choice {
    Choice { skip: vec!["c".into()], ..Choice::default() }
}

async fn played(checks: &'static [Check], plan: Plan) -> (Report, Vec<String>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Sink::new({
        let seen = Arc::clone(&seen);
        move |event| match event {
            Event::CheckStarted { check } => seen.lock().unwrap().push(check.to_owned()),
            Event::Waiting { .. } => seen.lock().unwrap().push("wait".to_owned()),
            _ => {}
        }
    });
    let report = run(context(None, &[]), checks, plan, &sink, pending()).await;
    let seen = seen.lock().unwrap().clone();
    (report, seen)
}

#[tokio::test(start_paused = true)]
async fn waiting_runs_again_only_what_was_not_good_and_keeps_what_was_learned() {
    static CHECKS: &[Check] =
        &[row("a", &[], not_good_at_first), row("b", &[], learning_a_fact), row("c", &[], passing)];
    let (report, seen) = played(CHECKS, patient(Duration::from_mins(5))).await;
    assert_eq!(seen, ["a", "b", "wait", "a"]);
    assert_eq!(report.findings[0].summary, "at last");
    assert_eq!(report.exit_code(FailOn::Fail), EXIT_GOOD);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_its_time_is_over() {
    static CHECKS: &[Check] = &[row("a", &[], not_good_at_first), row("c", &[], passing)];
    let begun = Instant::now();
    let (report, seen) = played(CHECKS, patient(Duration::from_secs(12))).await;
    assert_eq!(seen, ["a", "wait", "a", "wait", "a"]);
    assert!(begun.elapsed() <= Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_eq!(report.findings[0].status, Status::Fail);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_the_waiting_too() {
    static CHECKS: &[Check] = &[row("a", &[], not_good_at_first)];
    let stop = async {
        sleep(Duration::from_secs(2)).await;
        End::Interrupted
    };
    let report = run(context(None, &[]), CHECKS, patient(LIMIT), &Sink::none(), stop).await;
    assert_eq!((report.end, report.findings.len()), (End::Interrupted, 1));
}

#[tokio::test]
async fn what_is_left_out_does_not_run_and_is_named() {
    static CHECKS: &[Check] = &[row("a", &[], passing), row("c", &[], panicking)];
    let (report, seen) = played(CHECKS, Plan { choice: without_c(), ..LIMIT.into() }).await;
    assert_eq!(seen, ["a"]);
    let left_out = &report.findings[1];
    assert_eq!((left_out.check, left_out.left_out.as_deref()), ("c", Some("left out by --skip c")));
}

fn telling_addresses(_: Arc<Context>) -> futures_util::future::BoxFuture<'static, Outcome> {
    let found = Finding::fail(Code::NameResolves, "192.0.2.7 is dead").seen("at", "192.0.2.7:9");
    Box::pin(ready(Ok(vec![found])))
}

#[tokio::test]
async fn a_redacted_run_tells_no_address_to_anybody() {
    static CHECKS: &[Check] = &[row("a", &[], telling_addresses)];
    let seen = Arc::new(Mutex::new(String::new()));
    let sink = Sink::new({
        let seen = Arc::clone(&seen);
        move |event| write!(seen.lock().unwrap(), "{event:?}").unwrap()
    });
    let plan = |redact| Plan { redact, ..LIMIT.into() };
    run(context(None, &[]), CHECKS, plan(true), &sink, pending()).await;
    let told = std::mem::take(&mut *seen.lock().unwrap());
    assert!(told.contains("[address 1] is dead") && !told.contains("192.0.2.7"), "{told}");
    run(context(None, &[]), CHECKS, plan(false), &sink, pending()).await;
    assert!(seen.lock().unwrap().contains("192.0.2.7"));
}
