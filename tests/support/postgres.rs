//! A throw-away `PostgreSQL`, laid out as Reticulum's migrations leave it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::bed::{REALM, TURN_SECRET, loopback};
use crate::process::Process;
use crate::{need, port};

/// Reticulum's tables for coturn are in a schema of their own.
const LAYOUT: &str = "
    CREATE SCHEMA ret0;
    CREATE SCHEMA coturn;
    CREATE TABLE coturn.turn_secret (realm varchar(127), value varchar(256), inserted_at timestamp, updated_at timestamp);
    CREATE TABLE coturn.allowed_peer_ip (realm varchar(127), ip_range varchar(256), inserted_at timestamp, updated_at timestamp);
    CREATE TABLE coturn.denied_peer_ip (realm varchar(127), ip_range varchar(256), inserted_at timestamp, updated_at timestamp);
";

/// A running database server with Hubs' database `retdb`, the secret in its table.
#[derive(Debug)]
pub struct Postgres {
    address: SocketAddr,
    // The server ends before its folder goes.
    _server: Process,
    _folder: TempDir,
}

/// The password of `postgres`, as Hubs generates it.
pub(crate) const PASSWORD: &str = "123456";

/// The search path that Reticulum sets for its database: coturn, which names no schema, does not find its table.
pub const SEARCH_PATH: &str = "ret0";
/// One with which coturn finds it, as Reticulum set it in earlier days.
pub const EARLIER_SEARCH_PATH: &str = "ret0, coturn";

impl Postgres {
    /// Starts a fresh one.
    pub fn start(search_path: &str) -> Self {
        let folder = TempDir::with_prefix("hubs-postgres-").unwrap();
        if geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        run(program("initdb")
            .args(["--username=postgres", "--auth=trust", "--no-sync", "-D"])
            .arg(folder.path().join("data")));
        let address = loopback(port::free());
        let mut server = Process::start("postgres", &mut server(folder.path(), address));
        let answers =
            || psql(address, "postgres", "SELECT 1").output().is_ok_and(|output| output.status.success());
        server.wait_until("answer from the database", answers);
        run(&mut psql(address, "postgres", "CREATE DATABASE retdb"));
        run(&mut psql(address, "retdb", LAYOUT));
        let search_path = format!("ALTER DATABASE retdb SET search_path TO {search_path}");
        run(&mut psql(address, "retdb", &search_path));
        let secret =
            format!("INSERT INTO coturn.turn_secret VALUES ('{REALM}', '{TURN_SECRET}', now(), now())");
        run(&mut psql(address, "retdb", &secret));
        Self { address, _server: server, _folder: folder }
    }

    /// The URL that Hubs gives coturn as `PSQL`, with this host in the place of `pgbouncer`.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@{}/retdb", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs a statement in Hubs' database.
    pub fn execute(&self, statement: &str) {
        run(&mut psql(self.address, "retdb", statement));
    }

    /// The same, for a caller who has to go on where it fails.
    pub fn try_execute(&self, statement: &str) -> Result<(), String> {
        try_run(&mut psql(self.address, "retdb", statement))
    }
}

fn server(folder: &Path, address: SocketAddr) -> Command {
    let mut server = program("postgres");
    server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    server.args(["-c", "fsync=off", "-h", "127.0.0.1", "-p", &address.port().to_string()]);
    server
}

fn psql(address: SocketAddr, database: &str, statements: &str) -> Command {
    let mut psql = program("psql");
    psql.args([
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-p",
        &address.port().to_string(),
    ]);
    psql.args(["-d", database, "-c", statements]);
    psql
}

fn program(name: &str) -> Command {
    as_user("postgres", need::postgres_folder().unwrap().join(name))
}

/// A program as somebody else, if we are root: `PostgreSQL` and pgbouncer refuse to run as root.
pub(crate) fn as_user(user: &str, program: PathBuf) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
    command.arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) {
    try_run(command).unwrap();
}

fn try_run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let failed = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(failed()) }
}
