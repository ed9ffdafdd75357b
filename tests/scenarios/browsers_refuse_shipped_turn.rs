//! The certificate that is built into Hubs' coturn image is one that no browser accepts.

use hubs_tests::bed::Bed;
use hubs_tests::browsers::{Browser, State, refused_call};
use hubs_tests::coturn;
use hubs_tests::need::{self, skip};

#[test]
fn chromium_gives_up_on_coturn_as_hubs_ships_it() {
    let Some(speaker) = speak_through_shipped_coturn(Browser::Chromium) else { return };
    assert_gave_up(&speaker);
    assert_eq!(speaker["send"]["candidateErrors"][0]["errorText"], "Failed to establish connection");
}

#[test]
fn firefox_gives_up_on_coturn_as_hubs_ships_it() {
    let Some(speaker) = speak_through_shipped_coturn(Browser::Firefox) else { return };
    assert_gave_up(&speaker);
}

fn speak_through_shipped_coturn(browser: Browser) -> Option<State> {
    if skip(&[need::BED, need::BROWSERS, need::COTURN]) {
        return None;
    }
    let bed = Bed::start();
    let _coturn =
        coturn::start_as_hubs_does(&bed, "postgres://nobody@127.0.0.1:1/none", &bed.shipped_turn_identity());
    Some(refused_call(&bed, browser))
}

fn assert_gave_up(speaker: &State) {
    let send = &speaker["send"];
    let errors = send["candidateErrors"].as_array().unwrap();
    assert!(!errors.is_empty() && errors.iter().all(|error| error["errorCode"] == 701), "{send:#}");
    // Under relay policy nothing is left to try, and ICE never even fails: the Hubs client sees no reason to act.
    assert_eq!(send["gathering"], "complete", "{send:#}");
    assert_eq!(send["ice"], "new", "{send:#}");
    assert_eq!(send["dialog"]["iceState"], "new", "{send:#}");
}
