//! The figures: what was measured, reduced to numbers that can be held against each other.

use std::time::Duration;

use crate::traffic::Outcome;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    cpu_per_packet_us: f64,
    cpu_per_join_us: f64,
    idle_session_kib: f64,
    loss_percent: f64,
    round_trip_p50_us: f64,
    round_trip_p99_us: f64,
    server_busy_percent: f64,
    generator_busy_percent: f64,
}

/// A figure: its name in JSON, what it is called in the table, and how to get it.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) of: fn(&Measured) -> f64,
}

/// Every figure, in the table's order. The names carry the units.
pub(crate) const FIGURES: [Figure; 8] = [
    Figure { name: "cpu_per_packet_us", title: "CPU per relayed packet, µs", of: |it| it.cpu_per_packet_us },
    Figure { name: "cpu_per_join_us", title: "CPU per join, µs", of: |it| it.cpu_per_join_us },
    Figure { name: "idle_session_kib", title: "memory per idle session, KiB", of: |it| it.idle_session_kib },
    Figure { name: "loss_percent", title: "lost on the way there and back, %", of: |it| it.loss_percent },
    Figure { name: "round_trip_p50_us", title: "round trip, median, µs", of: |it| it.round_trip_p50_us },
    Figure {
        name: "round_trip_p99_us",
        title: "round trip, 99th percentile, µs",
        of: |it| it.round_trip_p99_us,
    },
    Figure { name: "server_busy_percent", title: "server's core in use, %", of: |it| it.server_busy_percent },
    Figure {
        name: "generator_busy_percent",
        title: "generator's core in use, %",
        of: |it| it.generator_busy_percent,
    },
];

impl Measured {
    /// `joins` is the server's CPU time for all sessions, `idle` the bytes that they added; the outcome of so many seconds
    /// observed the CPU time of server and generator.
    pub(crate) fn new(
        sessions: usize,
        seconds: u32,
        joins: Duration,
        idle: u64,
        outcome: &Outcome<[Duration; 2]>,
    ) -> Self {
        let sessions = sessions as f64;
        let [before, after] = outcome.observed;
        let [server, generator] = [0, 1].map(|side| after[side].saturating_sub(before[side]));
        let busy = |cpu: Duration| 100.0 * cpu.as_secs_f64() / f64::from(seconds);
        let lost = outcome.sent - outcome.round_trips.len() as u64;
        Self {
            cpu_per_packet_us: micros(server) / outcome.relayed.max(1) as f64,
            cpu_per_join_us: micros(joins) / sessions,
            idle_session_kib: idle as f64 / 1024.0 / sessions,
            loss_percent: 100.0 * lost as f64 / outcome.sent as f64,
            round_trip_p50_us: micros(percentile(&outcome.round_trips, 50)),
            round_trip_p99_us: micros(percentile(&outcome.round_trips, 99)),
            server_busy_percent: busy(server),
            generator_busy_percent: busy(generator),
        }
    }
}

/// The value in the middle, or between the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => f64::NAN,
        Some(value) if sorted.len() % 2 == 1 => *value,
        Some(value) => f64::midpoint(sorted[middle - 1], *value),
    }
}

/// Of sorted values; zero if there are none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted
        .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn percentiles_leave_so_many_values_below() {
        let values: Vec<Duration> = (0..200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&values, 50), Duration::from_micros(100));
        assert_eq!(percentile(&values, 99), Duration::from_micros(198));
        assert_eq!(percentile(&values[..1], 99), Duration::ZERO);
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
