//! The figures of all rounds, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::thread::available_parallelism;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::figures::{FIGURES, Measured, median};
use crate::identity::KeyKind;
use crate::link::Transport;
use crate::session::Framing;
use crate::traffic::Traffic;

/// What was measured, how, and on what kind of machine; never on which one.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema_version: &'static str,
    date: String,
    machine: Machine,
    pub(crate) load: Load,
    /// The server in question, then the one that it is held against.
    pub(crate) servers: [Contender; 2],
    pub(crate) comparisons: Vec<Comparison>,
}

#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    /// Of the last minute when the run began: what else the machine was doing.
    load_average: f64,
}

/// What the servers had to do.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) sessions: usize,
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
    pub(crate) framing: Framing,
    pub(crate) key: KeyKind,
    pub(crate) rounds: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) version: String,
}

/// Both servers over one transport.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    transport: Transport,
    figures: BTreeMap<&'static str, Compared>,
}

/// One figure of both servers, in the order of [`Report::servers`].
#[derive(Debug, Serialize)]
struct Compared {
    medians: [f64; 2],
    /// The first median by the second; nothing if that is zero.
    ratio: Option<f64>,
    rounds: [Vec<f64>; 2],
}

impl Report {
    /// Notes what the machine is like; called before the machine is put to work.
    pub(crate) fn new(load: Load, servers: [Contender; 2]) -> Self {
        let date = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        Self { schema_version: "1.0", date, machine: Machine::here(), load, servers, comparisons: Vec::new() }
    }

    /// Adds what was measured over a transport, for each server one entry for each round.
    pub(crate) fn add(&mut self, transport: Transport, measured: &[Vec<Measured>; 2]) {
        let figures = FIGURES.iter().map(|figure| {
            let rounds =
                measured.each_ref().map(|rounds| rounds.iter().map(figure.of).map(rounded).collect());
            let medians = rounds.each_ref().map(|values: &Vec<f64>| rounded(median(values)));
            let ratio = (medians[1] != 0.0).then(|| rounded(medians[0] / medians[1]));
            (figure.name, Compared { medians, ratio, rounds })
        });
        self.comparisons.push(Comparison { transport, figures: figures.collect() });
    }

    /// One JSON document, ending with a line break.
    pub(crate) fn json(&self) -> String {
        // Only a map with keys that are no text could fail, and there is none.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Machine {
    fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let processor = model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
        Self {
            processor: processor.to_owned(),
            processors: available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease")
                .split('-')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
            load_average: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|it| it.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, load, servers: [subject, reference], .. } = self;
        writeln!(
            f,
            "{}, {} processors, load average {} before the run",
            machine.processor, machine.processors, machine.load_average
        )?;
        writeln!(f, "{} {} against {} {}", subject.name, subject.version, reference.name, reference.version)?;
        let Traffic { rate, payload, seconds } = load.traffic;
        for Comparison { transport, figures } in &self.comparisons {
            writeln!(
                f,
                "\n{}: {} sessions × {rate} packets/s each way, {payload} bytes each, {}; medians of {} × {seconds} s",
                match transport {
                    Transport::Udp => "UDP",
                    Transport::Tls => "TLS",
                    Transport::Gateway => "media gateway (coturn: UDP relay)",
                },
                load.sessions,
                match load.framing {
                    Framing::Channel => "on channels",
                    Framing::Indication => "in indications",
                    Framing::Plain => "as they are",
                },
                load.rounds,
            )?;
            writeln!(f, "{:36}{:>12}{:>12}{:>8}", "", subject.name, reference.name, "ratio")?;
            for figure in &FIGURES {
                let Some(Compared { medians: [first, second], ratio, .. }) = figures.get(figure.name) else {
                    continue;
                };
                let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
                writeln!(f, "  {:34}{first:>12.2}{second:>12.2}{ratio:>8}", figure.title)?;
            }
        }
        Ok(())
    }
}

/// Three digits behind the point: there is no more truth in it.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
