//! How requests ended, counted since the beginning.

use std::collections::BTreeMap;

use crate::auth::Refused;
use crate::wire::ErrorCode;

/// Counts for an operator; the server itself does not look at them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Error answers, by their code.
    pub errors: BTreeMap<ErrorCode, u64>,
    /// Datagrams of strangers that were not answered, because their address had been answered enough.
    pub unanswered: u64,
    /// Clients without an allocation whose user and password were good.
    pub authenticated: u64,
    /// Those whose were not, by the reason's name.
    pub refused: BTreeMap<&'static str, u64>,
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
