//! Whatever else fails is a cause of its own: no failure goes unnamed.

use super::{
    rule::Rule,
    seen::{Direct, Turn},
};

pub(super) const RULES: &[Rule] =
    &[Rule::new("rest", &[], |_, cause| cause.summary.clone()).means(|seen, cause, _| {
        let heard = match (seen.direct(), seen.turn()) {
            (Direct::Works, _) | (_, Turn::Works) => "Voice works, but something else is broken",
            _ => "Something is broken, and whether voice works could not be decided",
        };
        format!("{heard}: {}.", cause.summary)
    })];
