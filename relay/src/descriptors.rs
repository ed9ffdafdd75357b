//! How many files, sockets included, the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files of the relay itself: listeners, event loops, log, admin.
const OWN: u64 = 100;

/// Takes as many as the system grants: the limit that a process begins with is often a thousand, for the sake of old
/// programs. Returns how many that is; nothing if the system does not tell.
pub fn raise() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let is_raised = soft == hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    Some(if is_raised { hard } else { soft })
}

/// How many sessions so many files are enough for, each being a relay socket and, on TCP and TLS, a connection.
pub(crate) const fn enough_for(files: u64) -> u64 {
    files.saturating_sub(OWN) / 2
}
