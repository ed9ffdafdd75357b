//! Debian's coturn: configured as the image does that Hubs ships, or with little more than its own defaults.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::bed::{Bed, REALM};
use crate::certs::IdentityFiles;
use crate::need;
use crate::process::Process;

/// Starts coturn behind the bed's ingress with the keys of Hubs' `turnserver.conf`, and with the database where it is to
/// look for secrets. Where the image puts the node's own and its public address, the bed has loopback and an address
/// that leads nowhere.
pub fn start_as_hubs_does(bed: &Bed, database: &str, identity: &IdentityFiles) -> Process {
    let external = crate::bed::ANNOUNCED.parse().unwrap();
    start_as_shipped(bed.folder(), bed.turn_backend(), external, database, identity)
}

/// The same on any node: `address` is the node's own, `external` the one that the image's script takes for its public one.
pub(crate) fn start_as_shipped(
    folder: &Path,
    address: SocketAddr,
    external: IpAddr,
    database: &str,
    identity: &IdentityFiles,
) -> Process {
    let configuration = folder.join("turnserver.conf");
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
external-ip={external}
"
    );
    fs::write(&configuration, text).unwrap();
    let mut coturn = Process::start(
        "coturn",
        Command::new(need::program("turnserver").unwrap())
            .args(["--log-file=stdout", "--lt-cred-mech", "--pidfile"])
            .arg(folder.join("turnserver.pid"))
            .arg(format!("--psql-userdb={database}"))
            .arg("-c")
            .arg(&configuration),
    );
    coturn.wait_until_accepting(address);
    coturn
}

/// Starts coturn on UDP and TCP for these users. They may reach loopback, and nobody in 10.0.0.0/8.
pub fn start(folder: &Path, address: SocketAddr, users: &[(&str, &str)]) -> Process {
    let mut command = Command::new(need::program("turnserver").unwrap());
    command.args(["-n", "--log-file=stdout", "--lt-cred-mech", "--no-tls", "--no-dtls", "--no-cli"]);
    command.args(["--allow-loopback-peers", "--denied-peer-ip=10.0.0.0-10.255.255.255", "--relay-threads=1"]);
    command.arg(format!("--pidfile={}", folder.join("turnserver.pid").display()));
    command.arg(format!("--userdb={}", folder.join("turndb").display()));
    command.arg(format!("--realm={REALM}"));
    command.arg(format!("--listening-ip={}", address.ip())).arg(format!("--relay-ip={}", address.ip()));
    command.arg(format!("--listening-port={}", address.port()));
    for (user, password) in users {
        command.arg(format!("--user={user}:{password}"));
    }
    let mut coturn = Process::start("coturn", &mut command);
    coturn.wait_until_accepting(address);
    coturn
}
