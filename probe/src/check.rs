//! What a check is, and what it has to work with. The table of all checks is `crate::checks::CHECKS`.
//!
//! A check reads facts, does one thing and returns findings. It never prints, sleeps or decides an exit code.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::{
    codes::Code,
    facts::{Facts, Missing},
    finding::Finding,
    net::Net,
    target::{Room, Target, TurnLogin},
};

/// A part of the path, in the order in which a person would walk it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// This machine and its network.
    Vantage,
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
    /// The records that login mail needs.
    Mail,
}

impl Group {
    /// Its heading in a report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Vantage => "You",
            Self::Dns => "Names",
            Self::Certificates => "Certificates",
            Self::Http => "Web",
            Self::Signalling => "Signalling",
            Self::Direct => "Media, direct",
            Self::Turn => "Media, through TURN",
            Self::Mail => "Login mail",
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
