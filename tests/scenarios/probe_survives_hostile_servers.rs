//! Whatever is at the other end, `hubs-probe check` ends in time and says what it saw.

use hubs_tests::bed::{Bed, Ports, ROOM, STREAM};
use hubs_tests::need::{self, skip};
use hubs_tests::probe::{self, Checked};
use hubs_tests::{dns, hostile};

#[test]
fn a_domain_that_does_not_exist() {
    let resolver = dns::start().to_string();
    let checked = probe::check_with(crate::PROBE, &["nowhere.test", "--resolver", &resolver]);
    assert_says(&checked, "HP0101");
}

#[test]
fn a_web_server_that_accepts_and_says_nothing() {
    let Some(checked) = check_with(|_, ports| Ports { https: hostile::silent().port(), ..ports }) else {
        return;
    };
    assert_says(&checked, "HP0209");
}

#[test]
fn a_turn_server_that_accepts_and_says_nothing() {
    let Some(checked) = check_with(|_, ports| Ports { turn: hostile::silent().port(), ..ports }) else {
        return;
    };
    assert_says(&checked, "HP0209");
}

#[test]
fn a_dialog_that_accepts_and_says_nothing() {
    let Some(checked) = check_with(|_, ports| Ports { dialog: hostile::silent().port(), ..ports }) else {
        return;
    };
    assert_says(&checked, "HP0209");
}

#[test]
fn a_dialog_that_closes_in_mid_answer() {
    let closes = |bed: &Bed, ports| {
        let identity = bed.authority().issue(STREAM);
        Ports { dialog: hostile::dialog_that_closes_in_mid_answer(&identity).port(), ..ports }
    };
    let Some(checked) = check_with(closes) else { return };
    assert_says(&checked, "HP0403");
}

fn check_with(replace: impl Fn(&Bed, Ports) -> Ports) -> Option<Checked> {
    if skip(&[need::BED]) {
        return None;
    }
    let bed = Bed::start();
    let ports = replace(&bed, bed.ports());
    Some(probe::check_at(crate::PROBE, &bed, ports, &["--room", ROOM]))
}

/// The run came to its end by itself, and this code is among the failures.
fn assert_says(checked: &Checked, code: &str) {
    let report = &checked.report;
    assert_eq!(checked.status, 1, "{report:#}");
    assert_eq!(report["run"]["end"], "complete", "{report:#}");
    assert_eq!(report["summary"]["error"], 0, "{report:#}");
    assert!(checked.codes("fail").contains(code), "{report:#}");
}
