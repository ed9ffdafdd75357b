//! `hubs-probe sweep`.

use std::{
    future::Future,
    io::{self, Write},
    net::IpAddr,
    ops::RangeInclusive,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use futures_util::FutureExt;
use hubs_relay::config::PortRange;
use time::OffsetDateTime;

use super::{
    deployment::WayArgs, output::ReportArgs, progress::CLEAR, terminal::interrupted, usage::UsageError,
};
use crate::{
    check::{Check, Context, Stop},
    checks::{
        CHECKS,
        sweep::{Bearing, FORWARD, START, addresses, judge, unable},
    },
    choice::{Choice, Pattern},
    codes::Code,
    diagnose::{End, Outcome, Subject, Verdict},
    engine::{self, Plan},
    event::{Event, Sink},
    finding::{Finding, Remedy, Status},
    redact::Redaction,
    report::Report,
    sweep::{DIALOG_PORTS, Found, Progress, SweepError, SweepOptions, USUAL, sweep_tcp, sweep_udp},
};

/// The row of the table that says all of this about a deployment.
const CHECK: &str = "ice.sweep";
/// What finds out where dialog's ports are.
const WHERE: &str = "dialog.candidates";
/// Intervals of one state that the verdict tells.
const MOST_TOLD: usize = 8;
/// What estimates.
const SAMPLE: &str = "ice.ports";

/// What ports are to look like.
const PORTS: &str = "give a port or a range of them, the lower one first, such as 40000-49999";

/// The options of `sweep`.
#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    deployment: WayArgs,
    /// Ask these ports.
    #[arg(long, value_name = "FIRST-LAST", default_value_t = Ports(USUAL), requires = "agent")]
    ports: Ports,
    /// These have to be open [default: those of --ports that are dialog's, 40000-49999, or else all; with --tcp none].
    #[arg(long, value_name = "FIRST-LAST", requires = "agent")]
    expect: Option<Ports>,
    /// Ask at this address instead of the one that dialog announces; can be given several times.
    #[arg(long, value_name = "ADDRESS", requires = "agent")]
    to: Vec<IpAddr>,
    /// Ask TCP ports.
    #[arg(long, requires = "agent")]
    tcp: bool,
    /// With --tcp: the address that the node sees this machine come from, if no UDP gets there to tell.
    #[arg(long, value_name = "ADDRESS", requires = "tcp")]
    from: Vec<IpAddr>,
    #[command(flatten)]
    told: ReportArgs,
}

/// A range of ports.
#[derive(Clone, Debug)]
struct Ports(RangeInclusive<u16>);

impl std::str::FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<PortRange>().map(|range| Self(range.range())).map_err(|_| PORTS.to_owned())
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

/// Sweeps and reports.
pub(super) async fn sweep(args: SweepArgs) -> Result<u8, UsageError> {
    let choice = Choice { suppress: args.told.suppress.clone(), ..Choice::default() };
    choice.validate(CHECKS)?;
    if let Some(Ports(expected)) = &args.expect
        && (expected.end() < args.ports.0.start() || args.ports.0.end() < expected.start())
    {
        let [expected, asked] = [expected, &args.ports.0].map(|it| Ports(it.clone()).to_string());
        return Err(UsageError::ExpectApart { expected, asked });
    }
    let (telling, sinks) = args.told.begin()?;
    let cx = Arc::new(args.deployment.context(None)?);
    let options = args.deployment.sweep(args.ports.0.clone())?;

    let sink = Sink::all(sinks);
    let redaction = args.told.redact.then(Redaction::default).map(|it| Arc::new(Mutex::new(it)));
    let run = Run { args: &args, cx, options, choice, redaction, sink: &sink };
    let report = run.play(interrupted()).await;
    sink.emit(Event::RunFinished(report.clone()));
    drop(sink);
    telling.finish(&report)
}

/// One sweep, as it was asked for.
struct Run<'a> {
    args: &'a SweepArgs,
    cx: Arc<Context>,
    options: Option<SweepOptions>,
    /// What is known and does not count.
    choice: Choice,
    /// Shared with those who hear of findings while they are made.
    redaction: Option<Arc<Mutex<Redaction>>>,
    sink: &'a Sink,
}

impl Run<'_> {
    async fn play(self, stop: impl Future<Output = End>) -> Report {
        let started = OffsetDateTime::now_utc();
        let mut stop = pin!(stop.fuse());
        let target = self.cx.target.to_string();
        let checks = CHECKS.iter().filter(|check| self.needs(check)).collect();
        self.sink.emit(Event::RunStarted { target: target.clone(), checks });
        let (mut findings, mut end) = self.look_where(&mut stop).await;
        if end == End::Complete {
            let begun = tokio::time::Instant::now();
            let swept;
            (swept, end) = self.sweep_all(&mut stop).await;
            let duration = begun.elapsed();
            let mut swept: Vec<_> =
                swept.into_iter().map(|it| Finding { check: CHECK, duration, ..it }).collect();
            self.choice.judge(&mut swept);
            redact(self.redaction.as_deref(), &self.cx, &mut swept);
            if !swept.is_empty() {
                let event = Event::CheckFinished { check: CHECK, findings: swept.clone(), duration };
                self.sink.emit(event);
            }
            findings.extend(swept);
        }
        let verdict = self.conclude(&findings, end);
        let finished = OffsetDateTime::now_utc();
        let subject = Subject::Deployment;
        Report { target, subject, started, finished, end, findings, diagnoses: Vec::new(), verdict }
    }

    /// Whether the check is part of this: the sweep, and what it hangs on.
    fn needs(&self, check: &Check) -> bool {
        match check.id {
            CHECK => self.options.is_some(),
            SAMPLE => self.options.is_none(),
            "dns.addresses" | "room.join" | WHERE => self.args.to.is_empty(),
            _ => false,
        }
    }

    /// Finds out where dialog's ports are, unless that was said; without an agent, takes a sample of them.
    async fn look_where(&self, stop: impl Future<Output = End>) -> (Vec<Finding>, End) {
        let last = match (&self.options, self.args.to.is_empty()) {
            (Some(_), false) => return (Vec::new(), End::Complete),
            (Some(_), true) => WHERE,
            (None, _) => SAMPLE,
        };
        let only = vec![Pattern::from(last)];
        let choice = Choice { only, ..self.choice.clone() };
        let limit = self.args.deployment.timeout;
        let plan = Plan { choice, ..Plan::from(limit) };
        let (told, redaction, cx) = (self.sink.clone(), self.redaction.clone(), Arc::clone(&self.cx));
        let sink = Sink::new(move |event| match event {
            // This run is part of ours.
            Event::RunStarted { .. } | Event::RunFinished(_) => {}
            Event::CheckFinished { check, mut findings, duration } => {
                redact(redaction.as_deref(), &cx, &mut findings);
                told.emit(Event::CheckFinished { check, findings, duration });
            }
            event => told.emit(event),
        });
        let report = engine::run(Arc::clone(&self.cx), CHECKS, plan, &sink, stop).await;
        let mut findings = report.findings;
        findings.retain(|finding| finding.left_out.is_none());
        // That only these checks ran was not the person's choice, so all of them count.
        self.choice.judge(&mut findings);
        redact(self.redaction.as_deref(), &self.cx, &mut findings);
        (findings, report.end)
    }

    async fn sweep_all(&self, mut stop: impl Future<Output = End> + Unpin) -> (Vec<Finding>, End) {
        let Some(options) = &self.options else {
            let reason =
                "there is no agent to ask, so what is said of the ports is an estimate from a sample";
            let finding = Finding::skip(Code::SweepAgent, reason)
                .fix("Start an agent in the cluster, lead a port to it, and give --agent:", [START, FORWARD]);
            return (vec![finding], End::Complete);
        };
        let addresses: Vec<_> = match (self.args.to.as_slice(), addresses(&self.cx)) {
            ([], Ok(addresses)) => addresses.into_iter().collect(),
            ([], Err(Stop::Skip(reason) | Stop::Unable(reason))) => {
                let reason = format!("it is not known where dialog's ports are: {reason}");
                let finding = Finding::error(Code::SweepArrives, reason).fix(
                    "Give the address with --to, such as the public one of dialog's node:",
                    ["kubectl get nodes -o wide"],
                );
                return (vec![finding], End::Complete);
            }
            (to, _) => to.to_vec(),
        };
        let mut findings = Vec::new();
        let mut end = End::Complete;
        for address in addresses {
            let stopped = async { end = (&mut stop).await };
            match self.sweep_one(options, address, stopped).await {
                Ok(found) => findings.extend(judge(&found, &self.needed(), Bearing::Asked)),
                Err(error) => findings.push(unable(&error)),
            }
            if end != End::Complete {
                break;
            }
        }
        (findings, end)
    }

    async fn sweep_one(
        &self,
        options: &SweepOptions,
        address: IpAddr,
        stop: impl Future<Output = ()>,
    ) -> Result<Found, SweepError> {
        let shows_progress = self.args.told.shows_progress();
        let tell = move |progress| {
            if shows_progress {
                let _ = io::stderr().write_all(line(address, progress).as_bytes());
            }
        };
        let found = if self.args.tcp {
            sweep_tcp(&self.cx.net, options, address, &self.args.from, &tell, stop).await
        } else {
            sweep_udp(&self.cx.net, options, address, &tell, stop).await
        };
        if shows_progress {
            let _ = io::stderr().write_all(CLEAR.as_bytes());
        }
        found
    }

    /// The ports that have to be open; none is an empty range.
    fn needed(&self) -> RangeInclusive<u16> {
        needed(self.args.expect.as_ref().map(|it| &it.0), &self.args.ports.0, self.args.tcp)
    }

    fn conclude(&self, findings: &[Finding], end: End) -> Verdict {
        let with = |status| findings.iter().find(|finding| finding.status == status);
        let domain = self.cx.target.domain();
        let estimate = findings.iter().find(|it| it.code == Code::PortsOpen && it.status != Status::Skip);
        let (outcome, headline, decisive) = match (with(Status::Fail), with(Status::Error), &self.options) {
            (Some(failed), ..) => (Outcome::Broken, sentence(&failed.summary), Some(failed)),
            (None, Some(unable), _) => (
                Outcome::Inconclusive,
                "Which ports are open could not be found out.".to_owned(),
                Some(unable),
            ),
            (None, None, Some(_)) if end == End::Complete => {
                (Outcome::Good, format!("Packets reach the ports of {domain} that they need to reach."), None)
            }
            (None, None, None) => match estimate {
                Some(pass) if pass.status == Status::Pass => (
                    Outcome::Good,
                    format!("As far as a sample tells, dialog's ports at {domain} are open."),
                    None,
                ),
                Some(warn) => (
                    Outcome::Inconclusive,
                    format!("As far as a sample tells: {}.", warn.summary),
                    Some(warn),
                ),
                None => (
                    Outcome::Inconclusive,
                    "No port answers, so there is not even a sample.".to_owned(),
                    None,
                ),
            },
            (None, None, Some(_)) => (Outcome::Inconclusive, "The sweep was interrupted.".to_owned(), None),
        };
        let cause = decisive.and_then(|it| it.cause.as_ref().or(Some(&it.summary)));
        let detail: Vec<_> =
            cause.map(|text| sentence(text)).into_iter().chain(findings.iter().filter_map(states)).collect();
        let explains =
            findings.iter().filter(|it| matches!(it.status, Status::Fail | Status::Warn | Status::Error));
        let mut explains: Vec<_> = decisive.into_iter().chain(explains).map(|it| it.code).collect();
        let mut known = Vec::new();
        explains.retain(|code| {
            !known.contains(code) && {
                known.push(*code);
                true
            }
        });
        Verdict {
            outcome,
            headline,
            detail: detail.join(" "),
            explains,
            remedy: decisive
                .and_then(|it| it.remedy.clone())
                .or_else(|| self.options.is_none().then(with_agent)),
        }
    }
}

/// Takes out of the findings what is nobody's business. An address that comes again has the number that it had.
fn redact(redaction: Option<&Mutex<Redaction>>, cx: &Context, findings: &mut [Finding]) {
    if let Some(redaction) = redaction {
        let mut redaction = redaction.lock().unwrap_or_else(PoisonError::into_inner);
        redaction.learn(cx);
        for finding in findings {
            redaction.apply(finding);
        }
    }
}

/// What is known of the ports, in a line.
fn states(finding: &Finding) -> Option<String> {
    let is_of_ports =
        matches!(finding.code, Code::SweepArrives | Code::SweepTcp) && !finding.evidence.is_empty();
    let place = finding.target.as_deref().filter(|_| is_of_ports)?;
    let states: Vec<_> =
        finding.evidence.iter().map(|it| format!("{} {}", it.label, shortened(&it.value))).collect();
    Some(format!("{place}: {}.", states.join("; ")))
}

/// As much of a list as a person reads; the report has all of it.
fn shortened(list: &str) -> String {
    let parts: Vec<_> = list.split(", ").collect();
    match parts.get(..MOST_TOLD) {
        Some(first) if parts.len() > MOST_TOLD => {
            format!("{} and {} more", first.join(", "), parts.len() - MOST_TOLD)
        }
        _ => list.to_owned(),
    }
}

fn with_agent() -> Remedy {
    Remedy {
        text: "With an agent in the cluster every port is examined: start one, lead a port to it, and give --agent:"
            .to_owned(),
        commands: vec![START.to_owned(), FORWARD.to_owned()],
    }
}

fn needed(
    expected: Option<&RangeInclusive<u16>>,
    asked: &RangeInclusive<u16>,
    tcp: bool,
) -> RangeInclusive<u16> {
    let dialog = *asked.start().max(DIALOG_PORTS.start())..=*asked.end().min(DIALOG_PORTS.end());
    match expected {
        Some(expected) => expected.clone(),
        #[expect(clippy::reversed_empty_ranges, reason = "none is needed")]
        None if tcp => 1..=0,
        None if dialog.is_empty() => asked.clone(),
        None => dialog,
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str().trim_end_matches('.'))
}

fn line(address: IpAddr, progress: Progress) -> String {
    let Progress { asked, total, arrived, rate } = progress;
    format!(
        "{CLEAR}  {address}: {asked} of {total} ports asked, {arrived} let packets in, {rate} packets a second"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn dialogs_ports_are_needed_as_far_as_they_are_asked() {
        assert_eq!(needed(None, &USUAL, false), DIALOG_PORTS);
        assert_eq!(needed(None, &(45_000..=60_000), false), 45_000..=49_999);
        assert_eq!(needed(None, &(80..=90), false), 80..=90);
        assert_eq!(needed(Some(&(80..=81)), &(80..=90), true), 80..=81);
        assert!(needed(None, &USUAL, true).is_empty());
    }

    #[test]
    fn of_many_intervals_the_verdict_tells_the_first() {
        assert_eq!(shortened("1-2, 4"), "1-2, 4");
        assert_eq!(shortened("1, 3, 5, 7, 9, 11, 13, 15, 17, 19"), "1, 3, 5, 7, 9, 11, 13, 15 and 2 more");
    }

    #[tokio::test]
    async fn to_expect_ports_that_are_not_asked_is_a_mistake() {
        let words = "hubs-probe hubs.example.org --agent http://192.0.2.1:9642 --ports 40000-40100 --expect 41000-41001";
        let args = Typed::try_parse_from(words.split(' ')).unwrap().args;
        let refused = sweep(args).await.unwrap_err().to_string();
        assert!(refused.contains("41000-41001") && refused.contains("40000-40100"), "{refused}");
    }

    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        args: SweepArgs,
    }

    #[test]
    fn ports_are_read_as_a_range_or_a_single_one() {
        assert_eq!("35000-60000".parse::<Ports>().unwrap().0, USUAL);
        assert_eq!("443".parse::<Ports>().unwrap().0, 443..=443);
        for text in ["", "0", "70000", "5-4", "a-b"] {
            assert_eq!(text.parse::<Ports>().unwrap_err(), PORTS, "{text}");
        }
    }
}
