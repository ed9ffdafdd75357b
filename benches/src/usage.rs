//! What a process has used, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time of all its threads, as the scheduler counts it: in nanoseconds, where `times` counts ticks of 10 ms. A
/// thread that has ended takes its time with it; servers keep theirs.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanos = text.split_whitespace().next().and_then(|it| it.parse().ok());
        total += Duration::from_nanos(nanos.ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(total)
}

/// Resident memory in bytes, from the pages themselves: the counters of `status` lag behind.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.ok_or(io::ErrorKind::InvalidData)? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        let me = std::process::id();
        let (cpu_before, resident_before) = (cpu_time(me).unwrap(), resident(me).unwrap());
        let pages = vec![1_u8; 32 << 20];
        assert!(resident(me).unwrap() >= resident_before + (30 << 20));
        assert!(cpu_time(me).unwrap() > cpu_before);
        drop(pages);
    }
}
