//! Whatever else fails is a cause of its own: no failure goes unnamed.

use super::{
    entrance::says_it_is_old,
    names::APART_BESIDE,
    rule::Rule,
    seen::{Direct, Seen, Turn},
};
use crate::finding::Finding;

pub(super) const RULES: &[Rule] = &[
    APART_BESIDE.means(beside),
    Rule::new("rest", &[], |_, cause| cause.summary.clone()).means(beside).folds(says_it_is_old),
];

fn beside(seen: &Seen<'_>, cause: &Finding, _: &str) -> String {
    let heard = match (seen.direct(), seen.turn()) {
        (Direct::Works, _) | (_, Turn::Works) => "Voice works, but something else is broken",
        _ => "Something is broken, and whether voice works could not be decided",
    };
    format!("{heard}: {}.", cause.summary)
}
