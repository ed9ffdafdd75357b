//! Of each way in which Hubs ships TURN broken, and of all of them together, `hubs-probe check` names the cause. With
//! hubs-relay in coturn's place it finds nothing to name.

use std::fs;

use hubs_tests::bed::{Bed, DOMAIN, DialogKey, ROOM, Setup};
use hubs_tests::certs::IdentityFiles;
use hubs_tests::coturn;
use hubs_tests::need::{self, Need, skip};
use hubs_tests::postgres::{EARLIER_SEARCH_PATH, Postgres, SEARCH_PATH};
use hubs_tests::probe::{self, Checked};
use hubs_tests::relay;

/// The address of the database that a pod gets which does not use the cluster's names.
const UNKNOWN_DATABASE: &str = "postgres://postgres:123456@pgbouncer.invalid/retdb";

#[test]
fn a_certificate_that_no_browser_accepts_before_all_that_is_behind_it() {
    let Some(checked) = check_coturn(UNKNOWN_DATABASE, Bed::shipped_turn_identity) else { return };
    assert_names(&checked, "HP0204", "browsers refuse the certificate of the TURN server");
    assert!(checked.codes("fail").is_superset(&["HP0204", "HP0602"].into()), "{:#}", checked.report);
    assert!(checked.codes("pass").is_disjoint(&["HP0601", "HP0605"].into()), "{:#}", checked.report);
}

#[test]
fn a_database_that_coturn_does_not_find() {
    let Some(checked) = check_coturn(UNKNOWN_DATABASE, good_certificate) else { return };
    assert_names(&checked, "HP0602", "the TURN server turns everybody away");
}

#[test]
fn a_table_that_coturn_does_not_find() {
    let Some(database) = database(SEARCH_PATH) else { return };
    let Some(checked) = check_coturn(&database.url(), good_certificate) else { return };
    assert_names(&checked, "HP0602", "the TURN server turns everybody away");
}

#[test]
fn an_announced_address_that_leads_nowhere_from_inside_either() {
    let Some(database) = database(EARLIER_SEARCH_PATH) else { return };
    let Some(checked) = check_coturn(&database.url(), good_certificate) else { return };
    assert_names(&checked, "HP0604", "what goes through the TURN server does not reach the media server");
}

#[test]
fn nothing_once_hubs_relay_is_in_coturns_place() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let _relay = relay::start_for(&bed, crate::RELAY);
    let checked = check(&bed);
    let report = &checked.report;
    assert_eq!((checked.status, &report["verdict"]["outcome"]), (0, &"good".into()), "{report:#}");
    assert!(checked.codes("pass").contains("HP0605"), "{report:#}");
    // The direct path is as dead as before, which is worth saying and no fault.
    assert_eq!(checked.codes("warn"), ["HP0501"].into(), "{report:#}");
}

#[test]
fn nothing_when_hubs_relay_is_asked_itself() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let (_relay, admin) = relay::start_with_admin_for(&bed, crate::RELAY);
    let (room, admin) = (format!("https://{DOMAIN}/{ROOM}"), format!("http://{admin}"));
    let checked = probe::check(crate::PROBE, &bed, &["--room", &room, "--relay-admin", &admin]);
    let passed = checked.codes("pass");
    assert!(passed.is_superset(&["HP0680", "HP0681", "HP0683", "HP0684"].into()), "{:#}", checked.report);
    assert_eq!(checked.status, 0, "{:#}", checked.report);
}

#[test]
fn when_it_was_well_if_an_earlier_report_says_so() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let relay = relay::start_for(&bed, crate::RELAY);
    let room = format!("https://{DOMAIN}/{ROOM}");
    let well = probe::check(crate::PROBE, &bed, &["--room", &room, "--no-audio"]);
    assert_eq!(well.status, 0, "{:#}", well.report);
    let folder = tempfile::tempdir().unwrap();
    let earlier = folder.path().join("well.json");
    fs::write(&earlier, well.report.to_string()).unwrap();
    drop(relay);
    let earlier = earlier.to_str().unwrap();
    let checked = probe::check(crate::PROBE, &bed, &["--room", &room, "--no-audio", "--baseline", earlier]);
    let finished = well.report["run"]["finished"].as_str().unwrap();
    let detail = checked.report["verdict"]["detail"].as_str().unwrap();
    assert_eq!(checked.status, 1, "{:#}", checked.report);
    assert!(detail.contains(&format!("It was well on {finished}: ")), "{detail}");
}

#[test]
fn no_room_and_no_credentials_leave_it_undecided() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let _relay = relay::start_for(&bed, crate::RELAY);
    let checked = probe::check(crate::PROBE, &bed, &[]);
    let verdict = &checked.report["verdict"];
    assert_eq!((checked.status, &verdict["outcome"]), (3, &"inconclusive".into()), "{verdict:#}");
    let next = format!("hubs-probe check {DOMAIN} --room https://{DOMAIN}/ROOM");
    assert_eq!(verdict["remedy"]["commands"][0], next.as_str(), "{verdict:#}");
}

#[test]
fn a_text_in_the_place_of_dialogs_address() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start_with(&Setup { announced: "Rate limit exceeded", ..Setup::default() });
    let checked = check(&bed);
    assert_names(&checked, "HP0404", "tells browsers no address to send voice to");
    assert!(checked.codes("fail").contains("HP0405"), "{:#}", checked.report);
}

#[test]
fn a_key_that_dialog_and_reticulum_do_not_share() {
    if skip(&[need::BED]) {
        return;
    }
    for (dialog_key, code) in [(DialogKey::Another, "HP0407"), (DialogKey::OnOneLine, "HP0408")] {
        let bed = Bed::start_with(&Setup { dialog_key, ..Setup::default() });
        let _relay = relay::start_for(&bed, crate::RELAY);
        let checked = check(&bed);
        assert_eq!((checked.status, checked.codes("fail")), (1, [code].into()), "{:#}", checked.report);
    }
}

fn database(search_path: &str) -> Option<Postgres> {
    (!skip(&[&[Need::Postgres]])).then(|| Postgres::start(search_path))
}

fn good_certificate(bed: &Bed) -> IdentityFiles {
    bed.turn_identity().clone()
}

/// Checks a deployment whose coturn looks there for its secrets and shows that certificate.
fn check_coturn(database: &str, identity: fn(&Bed) -> IdentityFiles) -> Option<Checked> {
    if skip(&[need::BED, need::COTURN]) {
        return None;
    }
    let bed = Bed::start();
    let _coturn = coturn::start_as_hubs_does(&bed, database, &identity(&bed));
    Some(check(&bed))
}

fn check(bed: &Bed) -> Checked {
    probe::check(crate::PROBE, bed, &["--room", ROOM])
}

/// The verdict is that nobody can be heard, for this reason, with something to do about it.
fn assert_names(checked: &Checked, code: &str, reason: &str) {
    let (report, verdict) = (&checked.report, &checked.report["verdict"]);
    assert_eq!((checked.status, &verdict["outcome"]), (1, &"broken".into()), "{report:#}");
    assert_eq!(verdict["explains"][0], code, "{report:#}");
    let headline = verdict["headline"].as_str().unwrap();
    assert!(headline.starts_with("Nobody can be heard") && headline.contains(reason), "{headline}");
    assert!(verdict["remedy"]["text"].is_string(), "{verdict:#}");
}
