//! How many files, sockets included, the process may have open.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files of the relay itself: listeners, event loops, log, admin.
const OWN: u64 = 100;

/// Descriptors that no client is given, however many there are: for who asks whether the relay is alive, because Kubernetes would end
/// it with all calls; for reading anew what changes; for the database.
const KEPT: u64 = 8;

/// Takes as many as the system grants: the limit that a process begins with is often a thousand, for the sake of old
/// programs. Returns how many that is; nothing if the system does not tell.
pub fn raise() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let is_raised = soft == hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    Some(if is_raised { hard } else { soft })
}

/// A socket that was opened for a client, unless it is one of those that are kept: the system gives the lowest descriptor that is free.
///
/// # Errors
/// As if there were no more: `EMFILE`.
pub(crate) fn for_client<S: AsFd>(socket: S) -> io::Result<S> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let number = socket.as_fd().as_raw_fd().unsigned_abs();
    if u64::from(number) + KEPT < limit { Ok(socket) } else { Err(Errno::EMFILE.into()) }
}

/// How many sessions so many files are enough for, each being a relay socket and, on TCP and TLS, a connection.
pub(crate) const fn enough_for(files: u64) -> u64 {
    files.saturating_sub(OWN) / 2
}
