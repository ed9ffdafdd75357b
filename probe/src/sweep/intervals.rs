//! Ports next to each other that have something in common.

use std::fmt;

/// From one port to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// The intervals of ports, which ascend.
pub(crate) fn intervals(ports: impl IntoIterator<Item = u16>) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    for port in ports {
        match intervals.last_mut() {
            Some(interval) if interval.last.checked_add(1) == Some(port) => interval.last = port,
            _ => intervals.push(Interval { first: port, last: port }),
        }
    }
    intervals
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn intervals_have_exactly_the_ports_and_are_as_few_as_can_be(
            ports in proptest::collection::btree_set(prop_oneof![0_u16..40, 65_500..=65_535_u16], 0..60),
        ) {
            let found = intervals(ports.iter().copied());
            let again: BTreeSet<u16> = found.iter().flat_map(|it| it.first..=it.last).collect();
            prop_assert_eq!(again, ports);
            prop_assert!(found.windows(2).all(|two| two[0].last + 1 < two[1].first));
        }
    }

    #[test]
    fn an_interval_reads_as_a_rule_has_it() {
        let found: Vec<_> = intervals([1, 2, 3, 5]).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["1-3", "5"]);
    }
}
