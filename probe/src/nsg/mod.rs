//! Azure's rules on traffic, as declared: read from what `az` and others print, evaluated over whole ranges of ports and sets of
//! addresses, and held against what Hubs needs. Pure: nothing here opens a file or a socket.
//!
//! `read` recognises documents by their structure and never loses one for an odd rule. `evaluate` is exact: its answers are about
//! every port and every address that was asked about. What cannot be known from what was given is unknown, never allowed.

mod advise;
mod answer;
mod evaluate;
mod judge;
#[cfg(test)]
mod properties;
mod question;
mod ranges;
mod read;
mod region;
mod review;
mod rules;
#[cfg(test)]
mod tests;

use crate::finding::Finding;

pub use self::read::ReadError;
pub(crate) use self::{
    advise::shell_word,
    judge::{Observed, Owner, Reality, flows, rules as judge_rules},
    question::{NamedFlow, Place, Wanted},
    read::{Declared, Source, read},
};

/// Documents that declare rules, read.
#[derive(Debug)]
pub struct Documents(Declared);

impl Documents {
    /// Reads documents, each with the name that findings call it by.
    pub fn read<'d>(documents: impl IntoIterator<Item = (&'d str, &'d str)>) -> Result<Self, ReadError> {
        let source = |(name, text): (&str, &str)| Source::file(name, text);
        Ok(Self(read(&documents.into_iter().map(source).collect::<Vec<_>>())?))
    }

    /// All that is to be said of them, with Hubs' needs in mind.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = judge_rules(&self.0);
        findings.extend(flows(&self.0, &Wanted::default(), None));
        findings
    }
}
