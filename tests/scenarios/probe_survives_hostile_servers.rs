//! Whatever is at the other end, `hubs-probe check` ends in time and says what it saw.

use std::io;
use std::thread;

use hubs_tests::bed::{Bed, NAMES, Ports, ROOM, STREAM};
use hubs_tests::dns;
use hubs_tests::hostile::{self, Tls};
use hubs_tests::need::{self, skip};
use hubs_tests::probe::{self, Checked};

/// What a hostile server does with each connection.
type Converse = fn(&mut Tls) -> io::Result<()>;

#[test]
fn a_domain_that_does_not_exist() {
    let resolver = dns::start().to_string();
    let checked = probe::check_with(crate::PROBE, &["nowhere.test", "--resolver", &resolver]);
    assert_says(&checked, "HP0101");
}

#[test]
fn servers_that_accept_and_say_nothing() {
    let Some(bed) = bed() else { return };
    let silent = || hostile::silent().port();
    assert_each_says(
        &bed,
        &[
            (Ports { https: silent(), ..bed.ports() }, "HP0209"),
            (Ports { dialog: silent(), ..bed.ports() }, "HP0209"),
            (Ports { turn: silent(), ..bed.ports() }, "HP0209"),
        ],
    );
}

#[test]
fn servers_that_say_nothing_once_tls_is_there() {
    let Some(bed) = bed() else { return };
    assert_each_says(
        &bed,
        &[
            (with_web(&bed, hostile::says_nothing), "HP0301"),
            (with_dialog(&bed, hostile::says_nothing), "HP0402"),
            (with_turn(&bed, hostile::says_nothing), "HP0601"),
        ],
    );
}

#[test]
fn web_servers_that_never_come_to_the_point() {
    let Some(bed) = bed() else { return };
    assert_each_says(
        &bed,
        &[
            (with_web(&bed, hostile::redirects), "HP0301"),
            (with_web(&bed, hostile::sends_headers_for_ever), "HP0301"),
            (with_web(&bed, hostile::sends_a_long_header), "HP0301"),
        ],
    );
}

#[test]
fn websockets_that_close_in_mid_answer() {
    let Some(bed) = bed() else { return };
    assert_each_says(
        &bed,
        &[
            (with_web(&bed, hostile::closes_in_mid_answer), "HP0401"),
            (with_dialog(&bed, hostile::closes_in_mid_answer), "HP0403"),
        ],
    );
}

#[test]
fn turn_servers_whose_answers_break_off_or_never_end() {
    let Some(bed) = bed() else { return };
    assert_each_says(
        &bed,
        &[
            (with_turn(&bed, hostile::answers_half_and_closes), "HP0601"),
            (with_turn(&bed, hostile::answers_half_and_waits), "HP0601"),
            (with_turn(&bed, hostile::answers_half_to_credentials), "HP0602"),
            (with_turn(&bed, hostile::answers_too_much), "HP0601"),
            (with_turn(&bed, hostile::answers_other_questions), "HP0601"),
        ],
    );
}

#[test]
fn a_turn_server_that_writes_to_the_terminal() {
    let Some(bed) = bed() else { return };
    assert_each_says(&bed, &[(with_turn(&bed, hostile::refuses_with_escapes), "HP0601")]);
}

fn bed() -> Option<Bed> {
    (!skip(&[need::BED])).then(Bed::start)
}

fn with_web(bed: &Bed, converse: Converse) -> Ports {
    let identity = bed.authority().issue_for(&NAMES);
    Ports { https: hostile::behind_tls(&identity, converse).port(), ..bed.ports() }
}

fn with_dialog(bed: &Bed, converse: Converse) -> Ports {
    let identity = bed.authority().issue(STREAM);
    Ports { dialog: hostile::behind_tls(&identity, converse).port(), ..bed.ports() }
}

fn with_turn(bed: &Bed, converse: Converse) -> Ports {
    let identity = bed.authority().issue(STREAM);
    Ports { turn: hostile::behind_tls(&identity, converse).port(), ..bed.ports() }
}

/// Checks the deployment with other servers in the places of its own, all at once, since most of each run is waiting.
fn assert_each_says(bed: &Bed, cases: &[(Ports, &str)]) {
    thread::scope(|scope| {
        for (ports, code) in cases {
            scope.spawn(|| {
                let checked = probe::check_at(crate::PROBE, bed, *ports, &["--room", ROOM]);
                assert_says(&checked, code);
            });
        }
    });
}

/// The run came to its end by itself, this code is among the failures, and no text of a server can do anything to a
/// terminal.
fn assert_says(checked: &Checked, code: &str) {
    let report = &checked.report;
    assert_eq!(checked.status, 1, "{report:#}");
    assert_eq!(report["run"]["end"], "complete", "{report:#}");
    assert_eq!(report["summary"]["error"], 0, "{report:#}");
    assert!(checked.codes("fail").contains(code), "{code}: {report:#}");
    // JSON escapes some control characters, and none that reorder text.
    let text = report.to_string();
    assert!(!text.contains("\\u00") && !text.contains(char::is_control), "{report:#}");
    assert!(!text.contains('\u{202e}'), "{report:#}");
}
