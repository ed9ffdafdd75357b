//! Whatever happens in whatever order: nothing goes but on the way that a check has opened.

use std::time::Duration;

use proptest::prelude::*;

use super::harness::*;
use crate::turn::Client;

#[derive(Clone, Debug)]
enum Step {
    /// To this worker, from this browser, of this transport; signed rightly or not.
    Check {
        worker: usize,
        client: u16,
        transport: usize,
        is_signed: bool,
        selects: bool,
        priority: u32,
    },
    Media {
        worker: usize,
        client: u16,
    },
    Garbage {
        worker: usize,
        client: u16,
        bytes: Vec<u8>,
    },
    Pass(u64),
    Close {
        transport: usize,
    },
    Leave {
        worker: usize,
        client: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (worker, client, transport) = (0..2_usize, 1..12_u16, 0..3_usize);
    prop_oneof![
        6 => (worker.clone(), client.clone(), transport.clone(), prop::bool::weighted(0.9), any::<bool>(), 1..3_u32)
            .prop_map(|(worker, client, transport, is_signed, selects, priority)| Step::Check {
                worker, client, transport, is_signed, selects, priority
            }),
        4 => (worker.clone(), client.clone()).prop_map(|(worker, client)| Step::Media { worker, client }),
        1 => (worker.clone(), client.clone(), any::<Vec<u8>>())
            .prop_map(|(worker, client, bytes)| Step::Garbage { worker, client, bytes }),
        3 => (0..8000_u64).prop_map(Step::Pass),
        1 => transport.prop_map(|transport| Step::Close { transport }),
        1 => (worker, client).prop_map(|(worker, client)| Step::Leave { worker, client }),
    ]
}

fn client(number: u16) -> Client {
    udp(&format!("192.0.2.7:{number}"))
}

const NAMES: [(&str, &str, &str); 3] = [
    (NAME, PASSWORD, DIALOG),
    ("secondtransport", "passwordofsecondtransport", "10.0.0.5:40002"),
    ("thirdtransport", "passwordofthirdtransport", "10.0.0.6:40001"),
];

proptest! {
    #[test]
    fn each_way_leads_to_the_transport_whose_check_opened_it(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new(2);
        for (name, password, target) in &NAMES[1..] {
            world.open(name, password, target);
        }
        let mut is_open = [true; NAMES.len()];
        // What each browser's last good check at each worker was about.
        let mut speaks_of = std::collections::HashMap::new();
        for step in steps {
            match step {
                Step::Check { worker, client: number, transport, is_signed, selects, priority } => {
                    let (name, password, _) = NAMES[transport];
                    let password = if is_signed { password } else { "a guess that somebody has made" };
                    let check = Check {
                        name: format!("{name}:browser"),
                        password: password.to_owned(),
                        priority,
                        use_candidate: selects,
                        ..world.check()
                    };
                    let passed = world.send(worker, client(number), &check.bytes());
                    prop_assert!(!passed || is_signed && is_open[transport]);
                    if passed {
                        speaks_of.insert((worker, number), transport);
                    }
                }
                Step::Media { worker, client: number } => {
                    let before: Vec<usize> =
                        NAMES.iter().map(|(.., at)| world.transports[&addr(at)].received.len()).collect();
                    if world.send(worker, client(number), &[0x80, 1, 2, 3]) {
                        let transport = speaks_of[&(worker, number)];
                        prop_assert!(is_open[transport]);
                        let after = NAMES.map(|(.., at)| world.transports[&addr(at)].received.len());
                        for place in 0..NAMES.len() {
                            prop_assert_eq!(after[place], before[place] + usize::from(place == transport));
                        }
                    }
                }
                Step::Garbage { worker, client: number, bytes } => {
                    let is_known = world.workers[worker].has(&client(number));
                    let passed = !bytes.is_empty() && world.send(worker, client(number), &bytes);
                    prop_assert!(!passed || is_known && bytes[0] > 3);
                }
                Step::Pass(millis) => {
                    world.advance(Duration::from_millis(millis));
                    world.tick();
                }
                Step::Close { transport } => {
                    let (.., target) = NAMES[transport];
                    world.directory.close(world.transports[&addr(target)].id);
                    is_open[transport] = false;
                }
                Step::Leave { worker, client: number } => {
                    world.workers[worker].handle_client_closed(&client(number));
                    world.obey(worker);
                }
            }
        }
        world.advance(Duration::from_secs(31));
        world.tick();
        prop_assert_eq!(world.workers.iter().map(crate::gateway::Gateway::ways).sum::<usize>(), 0);
    }
}
