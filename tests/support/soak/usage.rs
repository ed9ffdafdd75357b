//! What a relay uses of the machine, from `/proc`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in KiB.
    pub resident: u64,
    /// Open files of any kind.
    pub descriptors: usize,
    /// UDP sockets among them.
    pub udp_sockets: usize,
    /// Threads.
    pub threads: usize,
}

impl Usage {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let (mut descriptors, mut udp_sockets) = (0, 0);
        let udp: HashSet<String> = udp_table(pid)?.into_iter().map(|it| it.inode).collect();
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

/// UDP ports that are open at an address, whoever has them.
pub(super) fn udp_ports_at(pid: u32, address: IpAddr) -> io::Result<usize> {
    Ok(udp_table(pid)?.iter().filter(|it| it.address == Some(address)).count())
}

/// Datagrams that the kernel has dropped so far because a socket's buffer was full.
pub(super) fn kernel_drops(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let drops = names.split(' ').zip(values.split(' ')).filter(|(name, _)| name.ends_with("bufErrors"));
    Ok(drops.filter_map(|(_, value)| value.parse::<u64>().ok()).sum())
}

/// A line of `/proc/net/udp`.
struct UdpSocket {
    /// IPv4 only; an IPv6 socket has none here.
    address: Option<IpAddr>,
    inode: String,
}

fn udp_table(pid: u32) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    for table in ["udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(inode)) = (fields.get(1), fields.get(9)) else { continue };
            let address =
                local.split_once(':').and_then(|(address, _)| u32::from_str_radix(address, 16).ok());
            // The number is as it lies in memory.
            let address = address.map(|it| IpAddr::V4(Ipv4Addr::from(it.to_ne_bytes())));
            sockets.push(UdpSocket { address, inode: (*inode).to_owned() });
        }
    }
    Ok(sockets)
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
        let (me, address) = (std::process::id(), IpAddr::from([127, 0, 0, 77]));
        let before = udp_ports_at(me, address).unwrap();
        let sockets = [0; 40].map(|port: u16| std::net::UdpSocket::bind((address, port)).unwrap());
        assert_eq!(udp_ports_at(me, address).unwrap(), before + 40);
        let usage = Usage::of(me).unwrap();
        assert!(usage.udp_sockets >= 40 && usage.descriptors >= usage.udp_sockets, "{usage:?}");
        assert!(usage.resident > 0 && usage.threads > 0, "{usage:?}");
        drop(sockets);
        assert_eq!(udp_ports_at(me, address).unwrap(), before);
    }
}
