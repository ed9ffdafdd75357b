//! Debian's pgbouncer between a client and the database, as Hubs puts it there.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::postgres::{PASSWORD, Postgres, as_user};
use crate::process::Process;
use crate::{bed::loopback, need, port};

/// A running pgbouncer.
#[derive(Debug)]
pub struct PgBouncer {
    _process: Process,
    _folder: TempDir,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy)]
pub enum AuthType {
    /// As Hubs sets it.
    Md5,
    /// What newer databases have.
    Scram,
}

/// A port on which one can be started later.
pub fn reserve() -> SocketAddr {
    loopback(port::free())
}

/// The URL that Hubs gives coturn as `PSQL`, for a pgbouncer at `address`.
pub fn url(address: SocketAddr) -> String {
    format!("postgres://postgres:{PASSWORD}@{address}/retdb")
}

impl PgBouncer {
    /// Starts one at `address`, in transaction mode, before `database`; no start-up parameter passes it that Hubs' does
    /// not let through.
    pub fn start(address: SocketAddr, database: &Postgres, auth: AuthType) -> Self {
        let folder = TempDir::with_prefix("hubs-pgbouncer-").unwrap();
        let users = folder.path().join("users.txt");
        fs::write(&users, format!("\"postgres\" \"{PASSWORD}\"\n")).unwrap();
        let (host, port) = (database.address().ip(), database.address().port());
        let auth = match auth {
            AuthType::Md5 => "md5",
            AuthType::Scram => "scram-sha-256",
        };
        let configuration = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\nretdb = host={host} port={port} dbname=retdb\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = {auth}\nauth_file = {}\npool_mode = transaction\n\
             ignore_startup_parameters = extra_float_digits\n",
            address.ip(),
            address.port(),
            users.display()
        );
        fs::write(&configuration, text).unwrap();
        if geteuid().is_root() {
            let status = Command::new("chown").args(["-R", "postgres"]).arg(folder.path()).status().unwrap();
            assert!(status.success());
        }
        let program = need::program("pgbouncer").unwrap();
        let mut process = Process::start("pgbouncer", as_user("postgres", program).arg(configuration));
        process.wait_until_accepting(address);
        Self { _process: process, _folder: folder }
    }
}
