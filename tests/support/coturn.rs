//! Debian's coturn, configured as the image does that Hubs ships.

use std::fs;
use std::process::Command;

use crate::bed::{Bed, REALM};
use crate::certs::IdentityFiles;
use crate::need;
use crate::process::Process;

/// Starts coturn behind the bed's ingress with the keys of Hubs' `turnserver.conf`, and with the database where it is to
/// look for secrets. Where the image puts the node's own and its public address, the bed has loopback and an address
/// that leads nowhere.
pub fn start_as_hubs_does(bed: &Bed, database: &str, identity: &IdentityFiles) -> Process {
    let configuration = bed.folder().join("turnserver.conf");
    let address = bed.turn_backend();
    let (ip, port) = (address.ip(), address.port());
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    let text = format!(
        "realm={REALM}
no-udp=true
no-tcp=true
no-dtls=false
no-tls=false
no-auth-pings=true
no-dynamic-ip-list=true
no-dynamic-realms=true
min-port=49152
max-port=51609
tls-listening-port={port}
###psql-schema=coturn
use-auth-secret=true
cert={certificate}
pkey={key}
listening-ip={ip}
relay-ip={ip}
external-ip={announced}
",
        announced = crate::bed::ANNOUNCED,
    );
    fs::write(&configuration, text).unwrap();
    let mut coturn = Process::start(
        "coturn",
        Command::new(need::program("turnserver").unwrap())
            .args(["--log-file=stdout", "--lt-cred-mech", "--pidfile"])
            .arg(bed.folder().join("turnserver.pid"))
            .arg(format!("--psql-userdb={database}"))
            .arg("-c")
            .arg(&configuration),
    );
    coturn.wait_until_accepting(address);
    coturn
}
