//! What the view can be told.
//!
//! Texts are shown as they come, cut to fit; control characters in them are left out.

use std::{fmt, time::Duration};

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// A run over all checks begins; whatever the last one found is forgotten.
    RunStarted {
        /// What is examined.
        target: String,
        /// Every check of the run, in the order in which to show them, those of a group together.
        checks: Vec<Check>,
    },
    /// A check begins.
    CheckStarted {
        /// Its [`Check::id`].
        check: String,
    },
    /// A check ended. Its status is that of its gravest finding.
    CheckFinished {
        /// Its [`Check::id`].
        check: String,
        /// What it found.
        findings: Vec<Finding>,
    },
    /// What the findings come to.
    Verdict(Verdict),
    /// The run is over and another one can begin.
    RunFinished,
    /// The paths that are measured from now on. A path that keeps its name keeps its history.
    Paths(Vec<Path>),
    /// One attempt to reach the end of a path.
    Sample {
        /// Its [`Path::name`].
        path: String,
        /// The round trip, or why there was none.
        outcome: Result<Duration, String>,
    },
    /// Something for the log.
    Note(String),
}

/// A check, before it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What the other messages call it.
    pub id: String,
    /// The heading that it stands under.
    pub group: String,
    /// What it finds out.
    pub title: String,
}

/// How something turned out, from harmless to grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It holds.
    Pass,
    /// It was not examined.
    Skip,
    /// It holds in part.
    Warn,
    /// It could not be told.
    Error,
    /// It does not hold.
    Fail,
}

impl Status {
    /// Every status, the gravest first.
    pub(crate) const ALL: [Self; 5] = [Self::Fail, Self::Error, Self::Warn, Self::Skip, Self::Pass];

    /// The word that stands for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it turned out.
    pub status: Status,
    /// One line.
    pub summary: String,
    /// Reason, evidence, remedy: what the details show beneath the summary, in this order.
    pub notes: Vec<Note>,
}

/// A labelled line of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Such as `cause` or `fix`; one short word.
    pub label: String,
    /// What there is to say.
    pub text: String,
}

/// What all findings come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How grave it is.
    pub status: Status,
    /// The word for it.
    pub word: String,
    /// One sentence.
    pub headline: String,
    /// Why, and what to do: lines, the most important ones first.
    pub advice: Vec<String>,
}

/// A way to the far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Such as `through TURN`.
    pub name: String,
    /// What it leads through and to, such as `192.0.2.1:3478 -> 192.0.2.2:40000`.
    pub route: String,
}
