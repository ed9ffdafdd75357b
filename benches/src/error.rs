//! Why a run ends without figures.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What went wrong, and on whose side.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error("cannot run on core {core}: {source}; choose others with --server-core and --generator-core")]
    Core { core: usize, source: io::Error },
    #[error("{} did not start: {reason}", program.display())]
    Start { program: PathBuf, reason: String },
    #[error("{server} did not answer {what}: {source}")]
    NoAnswer { server: String, what: &'static str, source: io::Error },
    #[error("{server} refused {what}: {answer}")]
    Refused { server: String, what: &'static str, answer: String },
    #[error("{server} ended session {session}: {source}")]
    Ended { server: String, session: usize, source: io::Error },
    #[error("{server} delivered what nobody sent: {what}")]
    Corrupt { server: String, what: String },
    #[error("openssl made no certificate: {0}; it has to be installed")]
    Certificate(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl LoadError {
    /// For `map_err`: says what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
