//! What happens during a run, for progress and the live view. Events leave through a sink at the side; nothing reads them back.

use std::{fmt, sync::Arc, time::Duration};

use crate::{check::Check, finding::Finding, report::Report};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A run began, with these checks.
    RunStarted {
        /// The domain.
        target: String,
        /// In the order of the report.
        checks: Vec<&'static Check>,
    },
    /// A check began.
    CheckStarted {
        /// Its identifier.
        check: &'static str,
    },
    /// A check ended.
    CheckFinished {
        /// Its identifier.
        check: &'static str,
        /// What it found.
        findings: Vec<Finding>,
        /// How long it took.
        duration: Duration,
    },
    /// Not all is good yet, and what is not will be looked at again.
    Waiting {
        /// What is not good, as the verdict has it.
        reason: String,
        /// How long the person is ready to wait.
        left: Duration,
    },
    /// The run ended, or was interrupted.
    RunFinished(Report),
}

/// Where events go.
#[derive(Clone)]
pub struct Sink(Arc<dyn Fn(Event) + Send + Sync>);

impl Sink {
    /// Events go to `receive`, which must not block.
    pub fn new(receive: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Events go nowhere.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Events go to each of `sinks`.
    pub fn all(sinks: Vec<Self>) -> Self {
        Self::new(move |event| sinks.iter().for_each(|sink| sink.emit(event.clone())))
    }

    pub(crate) fn emit(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
