//! What a test needs of the machine. Where it is missing, the test prints why and passes; `tests/run` has installed
//! everything, so there it fails instead.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::network;

/// Something that a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A program of this name.
    Program(&'static str),
    /// The packages of `tests/bed`, and mediasoup's worker.
    Mediasoup,
    /// A `PostgreSQL` server.
    Postgres,
    /// The Python of `target/python`, with the packages of `tests/bed/requirements.txt`.
    Python,
    /// libfaketime.
    Faketime,
    /// The right to make [networks](crate::network), which root has.
    Networks,
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
/// A [`Network`](crate::network::Network) of the test's own, and its counters.
pub const NETWORKS: &[Need] = &[Need::Networks, Need::Program("ip"), Need::Program("nft")];
/// aioice, and a clock for what it talks to.
pub const AIOICE: &[Need] = &[Need::Python, Need::Faketime];
/// Programs whose clock is wrong.
pub const CLOCK: &[Need] = &[Need::Faketime];
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
    if needs.contains(&BROWSERS) {
        assert_browsers_have_the_machine_to_themselves();
    }
    let missing: Vec<(Need, String)> =
        needs.iter().copied().flatten().filter_map(|need| Some((*need, missing(need)?))).collect();
    if missing.is_empty() {
        return false;
    }
    // A right cannot be installed; where `tests/isolated` had it, a test has it as well.
    let could_be_there = missing.iter().any(|(need, _)| !matches!(need, Need::Networks));
    let names: Vec<&str> = missing.iter().map(|(_, name)| name.as_str()).collect();
    let reason = format!("missing: {} (tests/run installs what can be installed)", names.join(", "));
    assert!(!could_be_there || env::var_os("HUBS_TESTS_SKIP_NOTHING").is_none(), "{reason}");
    println!("skipped: {reason}");
    true
}

/// `.config/nextest.toml` knows such tests by their names; where another runner runs them, that is its matter.
fn assert_browsers_have_the_machine_to_themselves() {
    let group = env::var("NEXTEST_TEST_GROUP");
    assert!(
        group.as_ref().map_or(true, |it| it == "browsers"),
        "a test with browsers of the group {group:?}"
    );
}

fn missing(need: &Need) -> Option<String> {
    match need {
        Need::Program(name) => program(name).is_none().then(|| (*name).to_owned()),
        Need::Mediasoup => {
            mediasoup_worker().is_none().then(|| "the packages of tests/bed or mediasoup's worker".into())
        }
        Need::Postgres => postgres_folder().is_none().then(|| "PostgreSQL".into()),
        Need::Python => python().is_none().then(|| "the packages of tests/bed/requirements.txt".into()),
        Need::Faketime => faketime_library().is_none().then(|| "libfaketime".into()),
        Need::Networks => (!network::may_make()).then(|| "the right to make networks".into()),
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

/// Python with the packages of `tests/bed/requirements.txt`, if `tests/run` has installed them.
pub fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    python.is_file().then_some(python)
}

/// libfaketime, where Debian has it.
pub fn faketime_library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let libraries = folders.filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")));
    libraries.into_iter().find(|library| library.is_file())
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
