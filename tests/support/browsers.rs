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
    let mut states =
        drive(bed, &json!({"producer": speaker.name(), "consumer": listener.name(), "until": "heard"}));
    (states["producer"].take(), states["consumer"].take())
}

/// One browser tries to speak in the room, through TURN only, until it has given up each TURN server; what it reports.
pub fn refused_call(bed: &Bed, speaker: Browser) -> State {
    drive(bed, &json!({"producer": speaker.name(), "until": "refused"}))["producer"].take()
}

fn drive(bed: &Bed, call: &Value) -> Value {
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
