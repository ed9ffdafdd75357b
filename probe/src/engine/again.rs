//! What is to be looked at again when not all was good.

use std::collections::BTreeSet;

use crate::{
    check::Check,
    finding::{Finding, Status},
    report::{FailOn, Report},
};

/// What this check finds out goes off: a room's credentials are good for two minutes.
const PERISHABLE: &str = "room.join";

/// Of `checks`, what was not good, what comes after it, and, where one of them uses a room's credentials, what brings new ones to
/// it. Warnings are good enough, unless they are what decides.
pub(super) fn due(checks: &[&'static Check], report: &Report, fail_on: FailOn) -> Vec<&'static Check> {
    let is_bad = |(at, finding): (usize, &Finding)| match finding.status {
        Status::Fail | Status::Error => true,
        Status::Skip => finding.left_out.is_none(),
        Status::Warn if fail_on == FailOn::Warn => finding.suppressed.is_none(),
        Status::Warn | Status::Pass => report.diagnoses.iter().any(|d| d.supports.first() == Some(&at)),
    };
    let findings = report.findings.iter().enumerate();
    let bad: BTreeSet<_> = findings.filter(|it| is_bad(*it)).map(|(_, finding)| finding.check).collect();
    let mut due = with_those_after(checks, bad);
    let users = with_those_after(checks, [PERISHABLE].into());
    let leads_to_due = |id| !due.is_disjoint(&with_those_after(checks, [id].into()));
    let fresh: Vec<_> = users.into_iter().filter(|id| leads_to_due(*id)).collect();
    due.extend(fresh);
    checks.iter().copied().filter(|c| due.contains(c.id)).collect()
}

/// `ids`, and every check that comes after one of them, however far on.
fn with_those_after(checks: &[&Check], mut ids: BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    loop {
        let next = checks.iter().filter(|c| c.after.iter().any(|id| ids.contains(id))).map(|c| c.id);
        let more: BTreeSet<_> = next.filter(|id| !ids.contains(id)).collect();
        if more.is_empty() {
            return ids;
        }
        ids.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checks::CHECKS, codes::Code, report::End};

    /// Which of the real checks are due when these report so and the others pass.
    fn due_after(bad: &[(&'static str, Status)]) -> Vec<&'static str> {
        due_when(bad, FailOn::Fail)
    }

    fn due_when(bad: &[(&'static str, Status)], fail_on: FailOn) -> Vec<&'static str> {
        let findings = CHECKS.iter().map(|check| {
            let status =
                bad.iter().find(|(id, _)| *id == check.id).map_or(Status::Pass, |(_, status)| *status);
            let finding = Finding::new(check.code, status, "so");
            Finding { check: check.id, ..finding }
        });
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let report = Report::new("example.org".into(), now, now, End::Complete, findings.collect());
        due(&CHECKS.iter().collect::<Vec<_>>(), &report, fail_on).into_iter().map(|c| c.id).collect()
    }

    #[test]
    fn what_failed_is_due_and_nothing_beside_it() {
        assert_eq!(due_after(&[("http.dialog", Status::Fail)]), ["http.dialog"]);
        assert_eq!(due_after(&[("http.dialog", Status::Warn)]), [""; 0]);
        assert_eq!(due_when(&[("http.dialog", Status::Warn)], FailOn::Warn), ["http.dialog"]);
        assert_eq!(due_after(&[]), [""; 0]);
    }

    #[test]
    fn what_comes_after_it_is_due_too() {
        let due = due_after(&[("dns.addresses", Status::Fail)]);
        for id in ["dns.addresses", "room.join", "http.hubs", "turn.media"] {
            assert!(due.contains(&id), "{id} is not in {due:?}");
        }
    }

    #[test]
    fn what_uses_a_rooms_credentials_gets_new_ones() {
        let due = due_after(&[("turn.media", Status::Fail)]);
        for id in ["room.join", "turn.allocate", "turn.media"] {
            assert!(due.contains(&id), "{id} is not in {due:?}");
        }
        assert!(!due.contains(&"dns.addresses") && !due.contains(&"http.hubs"), "{due:?}");
    }

    #[test]
    fn what_was_left_out_stays_out() {
        let chosen: Vec<_> = CHECKS.iter().filter(|c| c.id != "ice.direct").collect();
        let failed = Finding::fail(Code::SignallingOpens, "closed");
        let failed = Finding { check: "dialog.candidates", ..failed };
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let report = Report::new("example.org".into(), now, now, End::Complete, vec![failed]);
        let due: Vec<_> = due(&chosen, &report, FailOn::Fail).into_iter().map(|c| c.id).collect();
        assert!(due.contains(&"dialog.candidates") && !due.contains(&"ice.direct"), "{due:?}");
    }
}
