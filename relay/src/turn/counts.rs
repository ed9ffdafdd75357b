//! How requests ended, counted since the beginning.

use std::collections::BTreeMap;

use crate::auth::Refused;
use crate::wire::ErrorCode;

/// Counts for an operator; the server itself does not look at them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Error answers, by their code.
    pub errors: BTreeMap<ErrorCode, u64>,
    /// How often a bound was met.
    pub limited: Limited,
    /// Clients without an allocation whose user and password were good.
    pub authenticated: u64,
    /// Those whose were not, by the reason's name.
    pub refused: BTreeMap<&'static str, u64>,
}

/// How often each of the [`Limits`](super::Limits) was met: requests that were refused, or datagrams not answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "each counts for the limit of its name")]
pub struct Limited {
    pub sessions: u64,
    pub sessions_per_address: u64,
    pub permissions: u64,
    pub channels: u64,
    pub stranger_answers: u64,
    pub stranger_answers_total: u64,
}

impl Counts {
    pub(super) fn add_error(&mut self, code: ErrorCode) {
        *self.errors.entry(code).or_default() += 1;
    }

    pub(super) fn add_refused(&mut self, reason: Refused) {
        let name = match reason {
            Refused::UnknownUser => "unknown_user",
            Refused::Expired(_) => "expired",
            Refused::WrongPassword => "wrong_password",
            Refused::UnknownSecret => "unknown_secret",
        };
        *self.refused.entry(name).or_default() += 1;
    }
}
