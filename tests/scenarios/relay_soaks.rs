//! Clients come and go by the dozen, and hubs-relay is where it began when they have left. `hubs-soak` does the same with
//! more of them and for longer.

use std::path::Path;
use std::time::Duration;

use hubs_tests::need::{self, skip};
use hubs_tests::soak::Soak;

#[tokio::test]
async fn when_all_have_left_the_relay_is_where_it_began() {
    if skip(&[need::POSTGRES]) {
        return;
    }
    let soak =
        Soak { sessions: 60, rate: 10, warm_up: Duration::from_secs(3), duration: Duration::from_secs(8) };
    let outcome = soak.run(Path::new(crate::RELAY), |progress| println!("{progress}")).await;
    println!("{outcome}");
    assert!(outcome.holds(), "{outcome}");
    // Each way to leave has been taken, but for the one that takes ten minutes.
    let tally = outcome.tally;
    assert!(tally.released > 0 && tally.disconnected > 0 && tally.refreshes > 0, "{outcome}");
    assert!(tally.rotations > 0 && tally.reloads > 0 && tally.strangers > 0, "{outcome}");
}
