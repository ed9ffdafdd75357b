//! The table of checks, and what a check is.
//!
//! A check reads facts, does one thing and returns findings. It never prints, sleeps or decides an exit code.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::{
    checks,
    codes::Code,
    facts::{Facts, Missing},
    finding::Finding,
    net::Net,
    target::{Room, Target, TurnLogin},
};

/// A part of the path, in the order in which a person would walk it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Names and addresses.
    Dns,
    /// TLS certificates.
    Certificates,
    /// Pages and interfaces over HTTP.
    Http,
    /// Reticulum's room and dialog's WebSocket.
    Signalling,
    /// Media straight to dialog.
    Direct,
    /// Media through TURN.
    Turn,
}

impl Group {
    /// Its heading in a report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Dns => "Names",
            Self::Certificates => "Certificates",
            Self::Http => "Web",
            Self::Signalling => "Signalling",
            Self::Direct => "Media, direct",
            Self::Turn => "Media, through TURN",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Check {
    /// Stable name, such as `turn.allocate`.
    pub id: &'static str,
    /// Where it stands in a report.
    pub group: Group,
    /// What it finds out, as a question.
    pub question: &'static str,
    /// The code of its main assertion: what a skip or an error of ours is reported under.
    pub code: Code,
    /// Checks that run before it, because it reads facts that they leave.
    pub after: &'static [&'static str],
    /// How long it may take before the engine ends it.
    pub timeout: Duration,
    /// What it does.
    pub run: fn(Arc<Context>) -> BoxFuture<'static, Outcome>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("id", &self.id).field("after", &self.after).finish_non_exhaustive()
    }
}

/// What a check has to work with.
#[derive(Debug)]
pub struct Context {
    /// The deployment under examination.
    pub target: Target,
    /// The way onto the network.
    pub net: Net,
    /// The room to join for credentials, if one was named.
    pub room: Option<Room>,
    /// TURN credentials from the command line.
    pub turn_login: Option<TurnLogin>,
    /// What checks learned so far.
    pub facts: Facts,
}

impl Context {
    /// The same task, with nothing learned yet.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self {
            target: self.target.clone(),
            net: self.net.clone(),
            room: self.room.clone(),
            turn_login: self.turn_login.clone(),
            facts: Facts::default(),
        }
    }
}

/// Findings, or why there are none.
pub type Outcome = Result<Vec<Finding>, Stop>;

/// Why a check has nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Something that it needs was not found out, or not given.
    Skip(String),
    /// We could not tell; the fault is ours or this machine's.
    Unable(String),
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        Self::Skip(missing.to_string())
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Every check. Reports, help and documentation follow from this table.
pub static CHECKS: &[Check] = &[
    Check {
        id: "dns.addresses",
        group: Group::Dns,
        question: "do the four names have addresses, and the same ones?",
        code: Code::NameResolves,
        after: &[],
        timeout: SECOND.saturating_mul(12),
        run: |cx| Box::pin(checks::dns::addresses(cx)),
    },
    Check {
        id: "room.join",
        group: Group::Signalling,
        question: "does the room let us in, and where does it send media?",
        code: Code::RoomJoined,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(checks::room::join(cx)),
    },
    Check {
        id: "tls.certificates",
        group: Group::Certificates,
        question: "would a browser accept the certificate of each name on each port?",
        code: Code::CertificateValid,
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(checks::tls::certificates(cx)),
    },
    Check {
        id: "http.hubs",
        group: Group::Http,
        question: "does Hubs answer, and does it call itself well?",
        code: Code::HubsHealthy,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(checks::http::hubs(cx)),
    },
    Check {
        id: "http.dialog",
        group: Group::Http,
        question: "does the ingress lead to dialog?",
        code: Code::DialogBehindIngress,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(checks::http::dialog(cx)),
    },
    Check {
        id: "dialog.candidates",
        group: Group::Signalling,
        question: "does dialog open a transport, and at which addresses?",
        code: Code::SignallingOpens,
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(checks::dialog::candidates(cx)),
    },
    Check {
        id: "ice.direct",
        group: Group::Direct,
        question: "does media reach dialog directly?",
        code: Code::DirectPath,
        after: &["dialog.candidates"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(checks::ice::direct(cx)),
    },
    Check {
        id: "turn.allocate",
        group: Group::Turn,
        question: "does TURN answer, and does it accept credentials?",
        code: Code::TurnAllocates,
        after: &["room.join", "tls.certificates"],
        timeout: SECOND.saturating_mul(40),
        run: |cx| Box::pin(checks::turn::allocate(cx)),
    },
    Check {
        id: "turn.media",
        group: Group::Turn,
        question: "does media reach dialog through TURN?",
        code: Code::RelayedDtls,
        after: &["turn.allocate", "dialog.candidates"],
        timeout: SECOND.saturating_mul(50),
        run: |cx| Box::pin(checks::media::relayed(cx)),
    },
];

/// The check of that name.
pub fn find(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|c| c.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_a_name_of_its_own_and_runs_after_earlier_rows_only() {
        for (row, check) in CHECKS.iter().enumerate() {
            let earlier = &CHECKS[..row];
            assert!(earlier.iter().all(|c| c.id != check.id), "{} stands twice", check.id);
            for id in check.after {
                assert!(
                    earlier.iter().any(|c| c.id == *id),
                    "{} comes after {id}, which no earlier row is",
                    check.id
                );
            }
        }
    }
}
