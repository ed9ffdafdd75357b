//! What a relay uses of the machine, from `/proc`.

use std::collections::HashSet;
use std::fs;
use std::io;

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in KiB.
    pub resident: u64,
    /// Open files of any kind.
    pub descriptors: usize,
    /// UDP sockets among them: listeners and relay ports.
    pub udp_sockets: usize,
    /// Threads.
    pub threads: usize,
}

impl Usage {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let (mut descriptors, mut udp_sockets) = (0, 0);
        let udp = udp_inodes(pid)?;
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            descriptors += 1;
            // One that has been closed meanwhile is none.
            let Ok(target) = fs::read_link(entry?.path()) else { continue };
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[").and_then(|it| it.strip_suffix(']'));
            udp_sockets += usize::from(inode.is_some_and(|inode| udp.contains(inode)));
        }
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?.count();
        Ok(Self { resident: resident(pid)?, descriptors, udp_sockets, threads })
    }
}

/// Datagrams that the kernel has dropped so far because a socket's buffer was full.
pub(super) fn kernel_drops(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let drops = names.split(' ').zip(values.split(' ')).filter(|(name, _)| name.ends_with("bufErrors"));
    Ok(drops.filter_map(|(_, value)| value.parse::<u64>().ok()).sum())
}

/// The inodes of all UDP sockets there are, whoever has them.
fn udp_inodes(pid: u32) -> io::Result<HashSet<String>> {
    let mut inodes = HashSet::new();
    for table in ["udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        let lines = text.lines().skip(1);
        inodes.extend(lines.filter_map(|line| line.split_whitespace().nth(9)).map(str::to_owned));
    }
    Ok(inodes)
}

/// From the pages themselves: the counters of `status` lag behind.
fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_socket_is_seen_and_a_closed_one_is_not() {
        let me = std::process::id();
        let before = Usage::of(me).unwrap();
        let sockets = [0; 40].map(|port: u16| std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap());
        let usage = Usage::of(me).unwrap();
        // The kernel's table is read in pieces: where others open and close sockets meanwhile, it may miss some of ours.
        assert!(usage.udp_sockets >= 20 && usage.descriptors >= before.descriptors + 40, "{usage:?}");
        assert!(usage.resident > 0 && usage.threads > 0, "{usage:?}");
        drop(sockets);
        assert!(Usage::of(me).unwrap().udp_sockets < 20);
    }
}
