//! Real browsers in a call, driven by `tests/bed/drive.js`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::{Bed, DOMAIN, ROOM};
use crate::need;
use crate::process::Process;

/// A stock browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browser {
    /// Debian's Chromium.
    Chromium,
    /// Debian's Firefox ESR.
    Firefox,
}

impl Browser {
    fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
        }
    }
}

/// What one browser reports of its two peer connections: `send` and `recv`, each with the browser's statistics and with
/// dialog's (see `legState` in `tests/bed/client.js`).
pub type State = Value;

/// How long a call may take to be heard, or to be given up.
const CALL_LIMIT: Duration = Duration::from_mins(1);

/// One browser speaks in the room, through TURN only, and another listens until it has decoded a second of sound.
/// What both report then, speaker first; or what they report when the time is over.
pub fn call(bed: &Bed, speaker: Browser, listener: Browser) -> (State, State) {
    call_with(bed, (ROOM, "relay"), speaker, listener)
}

/// The same by each way that there is, as Hubs has it.
pub fn call_by_any_way(bed: &Bed, speaker: Browser, listener: Browser) -> (State, State) {
    call_in(bed, ROOM, speaker, listener)
}

/// The same in another room.
pub fn call_in(bed: &Bed, room: &str, speaker: Browser, listener: Browser) -> (State, State) {
    call_with(bed, (room, "all"), speaker, listener)
}

fn call_with(bed: &Bed, (room, policy): (&str, &str), speaker: Browser, listener: Browser) -> (State, State) {
    let call = json!({
        "room": room, "producer": speaker.name(), "consumer": listener.name(), "policy": policy,
        "until": "heard",
    });
    let mut states = drive(bed, &call);
    (states["producer"].take(), states["consumer"].take())
}

/// What became of a call that went on after sound was heard.
#[derive(Debug)]
pub struct Continued {
    /// What both browsers report at its end, speaker first.
    pub states: (State, State),
    /// The longest time without a packet of sound at the listener, as its statistics have it.
    pub gap: Duration,
    /// Packets of sound that the listener had in its last second.
    pub last_second: u64,
}

/// A call by each way that there is. When sound has been heard, both browsers do what `action` says (see `drive.js`), and
/// `happening` happens around them; then they go on for so many seconds.
pub fn call_through(
    bed: &Bed,
    speaker_and_listener: (Browser, Browser),
    action: &str,
    seconds: u64,
    happening: impl FnOnce(),
) -> Continued {
    call_in_through(bed, ROOM, speaker_and_listener, action, seconds, happening)
}

/// The same in another room.
pub fn call_in_through(
    bed: &Bed,
    room: &str,
    (speaker, listener): (Browser, Browser),
    action: &str,
    seconds: u64,
    happening: impl FnOnce(),
) -> Continued {
    let call = json!({
        "room": room, "producer": speaker.name(), "consumer": listener.name(), "policy": "all",
        "until": "heard",
        "then": {"action": action, "seconds": seconds},
    });
    let mut end = drive_during(bed, &call, |driver| {
        driver.wait_for_line("sound", |line| (line == "heard").then_some(()));
        happening();
    });
    Continued {
        gap: Duration::from_millis(end["gapMs"].as_u64().unwrap()),
        last_second: end["lastSecond"].as_u64().unwrap(),
        states: (end["producer"].take(), end["consumer"].take()),
    }
}

/// One browser tries to speak in the room, through TURN only, until it has given up each TURN server; what it reports.
pub fn refused_call(bed: &Bed, speaker: Browser) -> State {
    drive(bed, &json!({"producer": speaker.name(), "until": "refused"}))["producer"].take()
}

fn drive(bed: &Bed, call: &Value) -> Value {
    drive_during(bed, call, |_| {})
}

fn drive_during(bed: &Bed, call: &Value, meanwhile: impl FnOnce(&Process)) -> Value {
    let home = home_that_trusts(&bed.ca_file());
    let mut instructions = json!({
        "domain": DOMAIN,
        "room": ROOM,
        "ports": {"443": bed.ports().https, "4443": bed.ports().dialog},
        "home": home.path(),
        "limitSeconds": CALL_LIMIT.as_secs(),
    });
    instructions.as_object_mut().unwrap().extend(call.as_object().unwrap().clone());
    let driver = need::bed_folder().join("drive.js");
    let driver = Process::start("browsers", Command::new("node").arg(driver).arg(instructions.to_string()));
    meanwhile(&driver);
    let finished = driver.finish(CALL_LIMIT + Duration::from_mins(1));
    assert!(finished.status.success(), "the browsers were not driven to the end:\n{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

/// A home folder whose certificate stores trust an authority as if the user had imported it.
fn home_that_trusts(ca_file: &Path) -> TempDir {
    let home = TempDir::with_prefix("hubs-home-").unwrap();
    // Chromium reads the user's store, Firefox its profile's.
    for store in [".pki/nssdb", "firefox"] {
        let store = home.path().join(store);
        fs::create_dir_all(&store).unwrap();
        certutil(&store, &["-N", "--empty-password"]);
        certutil(&store, &["-A", "-t", "C,,", "-n", "test authority", "-i", ca_file.to_str().unwrap()]);
    }
    home
}

fn certutil(store: &Path, arguments: &[&str]) {
    let store = format!("sql:{}", store.display());
    let done = Command::new("certutil").args(arguments).args(["-d", &store]).output().unwrap();
    assert!(done.status.success(), "certutil: {}", String::from_utf8_lossy(&done.stderr));
}
