//! Of each deployment under `tests/lab`, broken or not, `hubs-probe check` says from a laptop at home what the file says
//! that it has to.

use std::collections::BTreeSet;
use std::fs;

use hubs_tests::lab::{Lab, Scenario};
use hubs_tests::need::{self, skip};

/// A test for each file.
macro_rules! scenarios {
    ($($name:ident,)*) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            play(stringify!($name));
        })*
    };
}

scenarios! {
    a_healthy_deployment_is_all_green,
    hubs_as_shipped_on_aks,
    hubs_relay_heals_hubs_on_aks,
}

#[test]
fn each_file_of_the_lab_is_played() {
    let files = fs::read_dir(need::tests_folder().join("lab")).unwrap();
    let names = files.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".toml").map(str::to_owned)
    });
    let played = SCENARIOS.iter().map(ToString::to_string);
    assert_eq!(played.collect::<BTreeSet<_>>(), names.collect());
}

fn play(name: &str) {
    if skip(&[need::LAB, need::BED, need::COTURN, need::PGBOUNCER]) {
        return;
    }
    let scenario = Scenario::read(name);
    let checked = Lab::start(&scenario, crate::RELAY).check(crate::PROBE);
    scenario.expect.compare(&checked);
}
