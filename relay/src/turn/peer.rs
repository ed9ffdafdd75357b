//! Whom clients may reach: nobody, but for what the operator allowed.
//!
//! A request names a peer as the client knows it. [`PeerPolicy::decide`] reduces that address to its canonical form,
//! turns an announced address into the real one, and looks at the real one. A [`Peer`] can come from nowhere else,
//! and only a `Peer` can get a channel or be sent to. A permission is for a [`Host`], which comes from there as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::wire::Family;

/// Addresses and ports that clients may reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowedPeers {
    /// The addresses.
    pub network: IpNet,
    /// The ports; port 0 is never reachable.
    pub ports: RangeInclusive<u16>,
}

/// An address that peers announce, and the one where they really are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MappedAddress {
    /// What clients ask for and see.
    pub announced: IpAddr,
    /// Where packets go, to the same port.
    pub actual: IpAddr,
}

/// An address from which a peer's packets come, because its machine has several and chose this one towards us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AnsweringAddress {
    /// Where they come from.
    pub from: IpAddr,
    /// Where packets to the peer go.
    pub actual: IpAddr,
}

/// What the operator allows and maps, with every name resolved.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PeerPolicy {
    /// Decides on the real address.
    pub allow: Vec<AllowedPeers>,
    /// Applied before that.
    pub map: Vec<MappedAddress>,
    /// Peers that answer from another address than they are sent to.
    pub answers: Vec<AnsweringAddress>,
}

/// A peer that the policy allows, by both of its names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    requested: SocketAddr,
    actual: SocketAddr,
}

/// A host of which the policy allows some port, by both of its names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Host {
    requested: IpAddr,
    actual: IpAddr,
}

impl Peer {
    /// The peer as the client calls it.
    pub const fn requested(self) -> SocketAddr {
        self.requested
    }

    /// Where its packets go to and come from.
    pub const fn actual(self) -> SocketAddr {
        self.actual
    }

    /// Where it is, whatever its port.
    pub(super) const fn host(self) -> Host {
        Host { requested: self.requested.ip(), actual: self.actual.ip() }
    }
}

impl Host {
    /// The host as the client calls it.
    pub const fn requested(self) -> IpAddr {
        self.requested
    }

    /// Where its packets go to and come from.
    pub const fn actual(self) -> IpAddr {
        self.actual
    }

    /// Whether a relay socket of this family can reach it, and the client can be told of it.
    pub(super) const fn is_family(self, family: Family) -> bool {
        let is_ipv6 = matches!(family, Family::V6);
        self.requested.is_ipv6() == is_ipv6 && self.actual.is_ipv6() == is_ipv6
    }
}

impl PeerPolicy {
    /// The peer behind an address that a client asked for, if clients may reach it.
    pub fn decide(&self, requested: SocketAddr) -> Option<Peer> {
        let (actual, port) = (self.actual(requested.ip()), requested.port());
        let is_allowed = port != 0 && self.allowed(actual).any(|it| it.ports.contains(&port));
        is_allowed.then_some(Peer { requested, actual: SocketAddr::new(actual, port) })
    }

    /// The host behind an address that a client asked for, if clients may reach some port of it.
    pub fn decide_host(&self, requested: IpAddr) -> Option<Host> {
        let actual = self.actual(requested);
        self.allowed(actual).next().map(|_| Host { requested, actual })
    }

    /// The peer whose packets come from this address, if that is not its own.
    pub(super) fn behind(&self, from: SocketAddr) -> Option<SocketAddr> {
        let peer = self.answers.iter().find(|it| it.from == from.ip())?;
        Some(SocketAddr::new(peer.actual, from.port()))
    }

    /// Where the packets for an address go, if that is allowed.
    pub fn actual(&self, requested: IpAddr) -> IpAddr {
        let announced = canonical(requested);
        let mapped = self.map.iter().find(|it| canonical(it.announced) == announced);
        mapped.map_or(announced, |it| canonical(it.actual))
    }

    /// What is allowed at an address.
    fn allowed(&self, actual: IpAddr) -> impl Iterator<Item = &AllowedPeers> {
        self.allow.iter().filter(move |it| is_one_host(actual) && it.network.contains(&actual))
    }
}

/// The IPv4 address inside an IPv6 one, where there is one: a rule about the first must hold for the second
/// (CVE-2026-27624 is what happens otherwise).
fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let segments = v6.segments();
    let [first, second, third, .., high, low] = segments;
    let embedded = match segments[..6] {
        // "Any" and loopback only look as if they held one.
        _ if v6 <= Ipv6Addr::LOCALHOST => return ip,
        // IPv4-compatible and IPv4-mapped (RFC 4291 section 2.5.5), NAT64 (RFC 6052 section 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => [high, low],
        // 6to4 (RFC 3056 section 2).
        _ if first == 0x2002 => [second, third],
        _ => return ip,
    };
    let [[a, b], [c, d]] = embedded.map(u16::to_be_bytes);
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// Not "any", not a group, not everybody: such an address is no peer, whatever a wide rule says.
fn is_one_host(ip: IpAddr) -> bool {
    ip != IpAddr::V4(Ipv4Addr::BROADCAST) && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[(&str, RangeInclusive<u16>)], map: &[(&str, &str)]) -> PeerPolicy {
        PeerPolicy {
            allow: allow
                .iter()
                .map(|(net, ports)| AllowedPeers { network: net.parse().unwrap(), ports: ports.clone() })
                .collect(),
            answers: Vec::new(),
            map: map
                .iter()
                .map(|(announced, actual)| MappedAddress {
                    announced: announced.parse().unwrap(),
                    actual: actual.parse().unwrap(),
                })
                .collect(),
        }
    }

    fn reaches(policy: &PeerPolicy, requested: &str) -> Option<String> {
        policy.decide(requested.parse().unwrap()).map(|peer| peer.actual().to_string())
    }

    #[test]
    fn nobody_is_reachable_unless_allowed() {
        let empty = PeerPolicy::default();
        for address in ["192.0.2.1:40000", "127.0.0.1:40000", "[2001:db8::1]:40000", "[::1]:40000"] {
            assert_eq!(reaches(&empty, address), None);
        }
    }

    #[test]
    fn an_allowed_host_is_reachable_on_its_ports_only() {
        let policy = policy(&[("10.0.0.5/32", 40000..=49999)], &[]);
        assert_eq!(reaches(&policy, "10.0.0.5:40000").as_deref(), Some("10.0.0.5:40000"));
        assert_eq!(reaches(&policy, "10.0.0.5:49999").as_deref(), Some("10.0.0.5:49999"));
        for refused in ["10.0.0.5:39999", "10.0.0.5:50000", "10.0.0.5:0", "10.0.0.6:40000"] {
            assert_eq!(reaches(&policy, refused), None, "{refused}");
        }
    }

    #[test]
    fn a_host_is_allowed_with_any_of_its_ports_and_no_other_host_is() {
        let policy = policy(&[("10.0.0.5/32", 40000..=49999)], &[("203.0.113.9", "10.0.0.5")]);
        let host = |requested: &str| policy.decide_host(requested.parse().unwrap());
        assert_eq!(host("10.0.0.5").unwrap().actual().to_string(), "10.0.0.5");
        assert_eq!(host("203.0.113.9").unwrap().actual().to_string(), "10.0.0.5");
        for refused in ["10.0.0.6", "0.0.0.0", "127.0.0.1", "::ffff:127.0.0.1", "::1", "ff02::1"] {
            assert_eq!(host(refused), None, "{refused}");
        }
    }

    #[test]
    fn an_announced_address_leads_to_the_real_one_on_the_same_port() {
        let policy = policy(&[("10.0.0.5/32", 40000..=49999)], &[("203.0.113.9", "10.0.0.5")]);
        let peer = policy.decide("203.0.113.9:40123".parse().unwrap()).unwrap();
        assert_eq!(peer.requested().to_string(), "203.0.113.9:40123");
        assert_eq!(peer.actual().to_string(), "10.0.0.5:40123");
    }

    #[test]
    fn the_real_address_decides_and_not_the_announced_one() {
        let policy = policy(&[("203.0.113.9/32", 1..=65535)], &[("203.0.113.9", "10.0.0.5")]);
        assert_eq!(reaches(&policy, "203.0.113.9:40123"), None);
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself() {
        let everything_in_ipv6 = policy(&[("::/0", 1..=65535)], &[]);
        for hidden in [
            "[::ffff:127.0.0.1]:80",
            "[::ffff:169.254.169.254]:80",
            "[::127.0.0.1]:80",
            "[::7f00:1]:80",
            "[64:ff9b::7f00:1]:80",
            "[2002:7f00:1::]:80",
            "[2002:a9fe:a9fe::]:80",
        ] {
            assert_eq!(reaches(&everything_in_ipv6, hidden), None, "{hidden}");
        }
        let loopback = policy(&[("127.0.0.1/32", 80..=80)], &[]);
        assert_eq!(reaches(&loopback, "[::ffff:127.0.0.1]:80").as_deref(), Some("127.0.0.1:80"));
    }

    #[test]
    fn no_rule_is_wide_enough_for_an_address_that_is_not_one_host() {
        let everything = policy(&[("0.0.0.0/0", 0..=65535), ("::/0", 0..=65535)], &[]);
        for refused in [
            "0.0.0.0:80",
            "255.255.255.255:80",
            "224.0.0.1:80",
            "239.1.2.3:80",
            "[::]:80",
            "[ff02::1]:80",
            "[::ffff:0.0.0.0]:80",
            "192.0.2.1:0",
        ] {
            assert_eq!(reaches(&everything, refused), None, "{refused}");
        }
        assert!(reaches(&everything, "192.0.2.1:80").is_some());
        assert!(reaches(&everything, "[::1]:80").is_some());
    }
}
