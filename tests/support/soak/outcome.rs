//! How a soak went, for people.

use std::fmt;
use std::time::Duration;

use super::usage::Usage;
use super::world::Tally;

/// A soak on its way.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Since the first client came.
    pub elapsed: Duration,
    /// What has happened.
    pub tally: Tally,
    /// What the relay uses.
    pub usage: Usage,
}

/// A soak that is over.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What happened, the warm-up included.
    pub tally: Tally,
    /// What the relay used before its first client, when the warm-up's clients had left, and at the end.
    pub usage: [Usage; 3],
    /// Datagrams that the kernel dropped meanwhile because a socket's buffer was full, anybody's.
    pub kernel_drops: u64,
    /// What was not as it should be.
    pub faults: Vec<String>,
}

impl Outcome {
    /// Whether nothing went wrong, and the relay is back where it began.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { elapsed, tally, usage } = self;
        write!(
            f,
            "{:5} s  {} sessions  {} joins  {} leaves  {} packets  {} lost  RSS {} KiB  {} descriptors",
            elapsed.as_secs(),
            tally.sessions,
            tally.joins,
            tally.leaves(),
            tally.sent + tally.returned,
            tally.lost_tls + tally.lost_udp,
            usage.resident,
            usage.descriptors
        )
    }
}

impl Tally {
    /// Sessions that are over.
    pub const fn leaves(&self) -> u64 {
        self.released + self.disconnected + self.vanished
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, usage, kernel_drops, faults } = self;
        for (what, count) in [
            ("joins", tally.joins),
            ("left by giving the allocation back", tally.released),
            ("left by ending the connection", tally.disconnected),
            ("left without a word", tally.vanished),
            ("refreshes", tally.refreshes),
            ("requests sent again over UDP", tally.repeats),
            ("strangers turned away", tally.strangers),
            ("secrets rotated", tally.rotations),
            ("configurations and certificates reloaded", tally.reloads),
            ("packets sent", tally.sent),
            ("packets returned", tally.returned),
            ("abandoned by clients that broke off", tally.abandoned),
            ("lost over TLS", tally.lost_tls),
            ("lost over UDP", tally.lost_udp),
            ("dropped by the kernel, anybody's", *kernel_drops),
        ] {
            writeln!(f, "{what:44}{count:>12}")?;
        }
        writeln!(f, "\n{:32}{:>12}{:>12}{:>12}", "the relay's", "before", "warm", "after")?;
        let of = |resource: fn(&Usage) -> u64| usage.each_ref().map(resource);
        for (what, [before, warm, after]) in [
            ("resident memory, KiB", of(|it| it.resident)),
            ("descriptors", of(|it| it.descriptors as u64)),
            ("UDP sockets", of(|it| it.udp_sockets as u64)),
            ("threads", of(|it| it.threads as u64)),
        ] {
            writeln!(f, "{what:32}{before:>12}{warm:>12}{after:>12}")?;
        }
        writeln!(f)?;
        faults.iter().try_for_each(|fault| writeln!(f, "fault: {fault}"))?;
        writeln!(f, "{}", if self.holds() { "it held" } else { "it did not hold" })
    }
}
