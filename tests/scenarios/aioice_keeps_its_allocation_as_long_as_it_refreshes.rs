//! aioice, a TURN client that nobody here wrote, allocates, gets permissions and channels, talks both ways, refreshes, and is
//! refused when it does not: over each transport, against the program, whose clock is put forward meanwhile.

use std::process::Command;
use std::time::Duration;

use hubs_tests::certs::Authority;
use hubs_tests::clock::Clock;
use hubs_tests::need::{self, bed_folder, skip};
use hubs_tests::process::{Finished, Process};
use hubs_tests::relay::{RELAYED, Relay, USER};
use serde_json::json;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(1);
const HOST: &str = "127.0.0.1";

#[test]
fn over_udp() {
    aioice_lives_through_an_allocation("udp");
}

#[test]
fn over_tcp() {
    aioice_lives_through_an_allocation("tcp");
}

#[test]
fn over_tls() {
    aioice_lives_through_an_allocation("tls");
}

fn aioice_lives_through_an_allocation(transport: &str) {
    if skip(&[need::AIOICE]) {
        return;
    }
    let folder = TempDir::with_prefix("hubs-aioice-").unwrap();
    let authority = Authority::new();
    let authority_file = folder.path().join("ca.pem");
    std::fs::write(&authority_file, authority.certificate()).unwrap();
    let identity = authority.issue(HOST).write(folder.path(), "relay");
    let clock = Clock::new(folder.path());
    let mut program = Command::new(crate::RELAY);
    clock.give_to(&mut program);
    let relay = Relay::start_with(program, folder.path(), &identity, &format!("{HOST}:1-65535"), "");

    let server = if transport == "tls" { relay.tls } else { relay.plain };
    let given = json!({
        "transport": transport,
        "port": server.port(),
        "relayed": RELAYED,
        "username": USER.0,
        "password": USER.1,
        "authority": authority_file,
        "clock": clock.file(),
    });
    let script = bed_folder().join("aioice_client.py");
    let mut aioice = Command::new(need::python().unwrap());
    aioice.arg(script).arg(given.to_string());
    let Finished { status, stdout, stderr } = Process::start("aioice", &mut aioice).finish(LIMIT);
    assert!(status.success(), "{status}: {stdout}{stderr}\n{}", relay.log());

    let log = relay.log();
    for (reason, count) in [("the client did not refresh it", 1), ("the client gave it back", 1)] {
        assert_eq!(log.matches(&format!("session over: {reason}")).count(), count, "{log}");
    }
}
