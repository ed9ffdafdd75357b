//! What a test needs of the machine. Where it is missing, the test prints why and passes; `tests/run` has installed
//! everything, so there it fails instead.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::Namespace;

/// Something that a test cannot do without.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// A program of this name.
    Program(&'static str),
    /// The packages of `tests/bed`, and mediasoup's worker.
    Mediasoup,
    /// A `PostgreSQL` server.
    Postgres,
    /// The right to make network namespaces. Nothing that could be installed gives it.
    Namespaces,
}

/// The parts of a [`Bed`](crate::bed::Bed).
pub const BED: &[Need] =
    &[Need::Mediasoup, Need::Program("node"), Need::Program("haproxy"), Need::Program("openssl")];
/// Both browsers, and what makes them trust a private authority.
pub const BROWSERS: &[Need] =
    &[Need::Program("chromium"), Need::Program("firefox-esr"), Need::Program("certutil")];
/// coturn as Hubs runs it: with its database.
pub const COTURN: &[Need] = &[Need::Program("turnserver"), Need::Postgres];
/// coturn's test clients and their peer.
pub const TURNUTILS: &[Need] = &[
    Need::Program("turnutils_uclient"),
    Need::Program("turnutils_stunclient"),
    Need::Program("turnutils_peer"),
];
/// The database.
pub const POSTGRES: &[Need] = &[Need::Postgres];
/// The networks of a [`Lab`](crate::lab::Lab), and what tells them how to treat packets.
pub const LAB: &[Need] = &[Need::Namespaces, Need::Program("ip"), Need::Program("nft")];
/// The database with pgbouncer before it.
pub const PGBOUNCER: &[Need] = &[Need::Program("pgbouncer"), Need::Postgres];

/// True, and the reason printed, if something is missing and the test has to be left out.
///
/// ```no_run
/// use hubs_tests::need::{self, skip};
/// if skip(&[need::BED, need::BROWSERS]) {
///     return;
/// }
/// ```
pub fn skip(needs: &[&[Need]]) -> bool {
    let needs = || needs.iter().copied().flatten();
    if needs().any(|need| matches!(need, Need::Namespaces)) && !Namespace::allowed() {
        println!("skipped: it takes root to make network namespaces");
        return true;
    }
    let missing: Vec<String> = needs().filter_map(missing).collect();
    if missing.is_empty() {
        return false;
    }
    let reason = format!("missing: {} (tests/run installs it)", missing.join(", "));
    assert!(env::var_os("HUBS_TESTS_SKIP_NOTHING").is_none(), "{reason}");
    println!("skipped: {reason}");
    true
}

fn missing(need: &Need) -> Option<String> {
    match need {
        Need::Program(name) => program(name).is_none().then(|| (*name).to_owned()),
        Need::Mediasoup => {
            mediasoup_worker().is_none().then(|| "the packages of tests/bed or mediasoup's worker".into())
        }
        Need::Postgres => postgres_folder().is_none().then(|| "PostgreSQL".into()),
        Need::Namespaces => None,
    }
}

/// Where a program is: on the path, or where Debian puts what it thinks only root runs.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.find_map(|folder| Some(folder.join(name)).filter(|program| program.is_file()))
}

/// `tests`.
pub fn tests_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `tests/bed`.
pub fn bed_folder() -> PathBuf {
    tests_folder().join("bed")
}

/// mediasoup's worker, if it has been built and the packages of `tests/bed` are there too.
pub fn mediasoup_worker() -> Option<PathBuf> {
    let asked = Command::new(bed_folder().join("mediasoup-worker")).arg("--cached").output().ok()?;
    let path = String::from_utf8(asked.stdout).ok()?;
    asked.status.success().then(|| path.trim_end().into())
}

/// Where the newest `PostgreSQL` has its programs: Debian keeps them off the path.
pub fn postgres_folder() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").is_file()).max()
}
