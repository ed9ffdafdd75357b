//! Which core a thread, and the processes that it starts, may run on.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::LoadError;

/// Keeps this thread on one core. What it starts from now on stays there, too.
pub(crate) fn pin(core: usize) -> Result<(), LoadError> {
    let mut cores = CpuSet::new();
    let pinned = cores.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
    pinned.map_err(|source| LoadError::Core { core, source: source.into() })
}
