//! What a check is, and what it has to work with. The table of all checks is `crate::checks::CHECKS`.
//!
//! A check reads facts, does one thing and returns findings. It never prints or decides an exit code.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::{
    codes::Code,
    facts::{Facts, Missing},
    finding::Finding,
    lint::Live,
    net::Net,
    nsg::{Declared, Source},
    sweep::SweepOptions,
    target::{RelayAdmin, Room, Target, TurnLogin},
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
    /// Sound, from one end to the other.
    Audio,
    /// hubs-relay, as those see it who run it.
    Relay,
    /// The records that login mail needs.
    Mail,
    /// Azure's rules, as they are declared.
    Rules,
    /// The manifest, as it is declared.
    Manifest,
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
            Self::Audio => "Audio",
            Self::Relay => "Relay, from inside",
            Self::Mail => "Login mail",
            Self::Rules => "Rules, as declared",
            Self::Manifest => "Manifest, as declared",
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
    /// What else it reports.
    pub also: &'static [Code],
    /// Whom it talks to.
    pub contacts: &'static str,
    /// Checks that run before it, because it reads facts that they leave.
    pub after: &'static [&'static str],
    /// How long it may take before the engine ends it.
    pub timeout: Duration,
    /// What it does.
    pub run: fn(Arc<Context>) -> BoxFuture<'static, Outcome>,
}

impl Check {
    /// Every code that it reports.
    pub fn codes(&self) -> impl Iterator<Item = Code> {
        [self.code].into_iter().chain(self.also.iter().copied())
    }
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
    /// What is asked for besides.
    pub options: Options,
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
            options: self.options.clone(),
            facts: Facts::default(),
        }
    }

    /// The same task, with nothing learned yet of what these checks find out.
    #[must_use]
    pub(crate) fn without(&self, checks: &BTreeSet<&str>) -> Self {
        Self { facts: self.facts.without(checks), ..self.anew() }
    }
}

/// What a run is asked for besides the deployment: what takes longer, costs more, or needs an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many transports of dialog are opened to sample its ports; each has two or three.
    pub samples: usize,
    /// For how long audio is sent in a room; nothing for not at all.
    pub audio: Option<Duration>,
    /// For how long ways are left silent before they are tried again; nothing for not at all.
    pub silence: Option<Duration>,
    /// Where hubs-relay answers its operators.
    pub relay_admin: Option<RelayAdmin>,
    /// What Azure's rules say, as files tell.
    pub(crate) nsg: Option<Arc<Declared>>,
    /// What the manifest says that the deployment was made from.
    pub(crate) manifest: Option<Arc<Source>>,
    /// What the cluster has.
    pub(crate) cluster: Option<Arc<Live>>,
    /// The agent that sees which packets arrive.
    pub sweep: Option<SweepOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            samples: 8,
            audio: Some(Duration::from_secs(5)),
            silence: None,
            relay_admin: None,
            nsg: None,
            manifest: None,
            cluster: None,
            sweep: None,
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
