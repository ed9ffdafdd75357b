//! The candidates that dialog offers for a transport: where media may be sent, and of what use each of them is to a browser
//! (RFC 8445 section 5.1).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A candidate, as offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is: usually an address, but dialog announces whatever it was told.
    pub text: String,
    /// The port.
    pub port: u16,
    /// How to get there.
    pub protocol: Protocol,
    /// The larger, the sooner it is tried.
    pub priority: u32,
    /// Of what use it is.
    pub kind: Kind,
    /// Who waits there.
    pub whose: Whose,
}

/// The transport protocol of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// What media normally takes.
    Udp,
    /// Only offered on request, or by the media gateway.
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Who waits for media at a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Dialog.
    Dialogs,
    /// The media gateway, which stands in front of dialog.
    Gateways,
}

/// With which the foundations of the gateway's candidates begin. Dialog's own say `udpcandidate`.
const GATEWAYS: &str = "gateway";

/// Of what use a candidate is to a browser somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reaches dialog only from its own machine.
    Loopback,
    /// Reaches dialog only from its own network.
    Private(IpAddr),
    /// Announced to the world.
    Public(IpAddr),
    /// Text that is no address, or an address at which nobody can be. Browsers drop it silently.
    Unusable,
}

impl Candidate {
    /// Takes a candidate of dialog's as it was offered.
    pub fn new(text: String, port: u16, protocol: Protocol, priority: u32) -> Self {
        let kind = Kind::of(&text);
        Self { text, port, protocol, priority, kind, whose: Whose::Dialogs }
    }

    /// The same, as its foundation says whose it is.
    #[must_use]
    pub fn of_foundation(self, foundation: &str) -> Self {
        let whose = if foundation.starts_with(GATEWAYS) { Whose::Gateways } else { Whose::Dialogs };
        Self { whose, ..self }
    }

    /// Where to send datagrams straight to dialog, unless it leads nowhere but to the sender itself.
    pub fn direct(&self) -> Option<SocketAddr> {
        self.address().filter(|_| self.whose == Whose::Dialogs && self.protocol == Protocol::Udp)
    }

    /// Where the media gateway waits, over [`Self::protocol`].
    pub fn gateway(&self) -> Option<SocketAddr> {
        self.address().filter(|_| self.whose == Whose::Gateways)
    }

    fn address(&self) -> Option<SocketAddr> {
        match self.kind {
            Kind::Private(ip) | Kind::Public(ip) if self.port != 0 => Some(SocketAddr::new(ip, self.port)),
            Kind::Private(_) | Kind::Public(_) | Kind::Loopback | Kind::Unusable => None,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Loopback => write!(f, "{}:{} (loopback)", self.text, self.port),
            Kind::Private(ip) => write!(f, "{} (private)", SocketAddr::new(ip, self.port)),
            Kind::Public(ip) => write!(f, "{} (public)", SocketAddr::new(ip, self.port)),
            Kind::Unusable => write!(f, "{:?} (no usable address)", self.text),
        }?;
        match (self.whose, self.protocol) {
            (Whose::Dialogs, Protocol::Udp) => Ok(()),
            (Whose::Dialogs, Protocol::Tcp) => f.write_str(" over TCP"),
            (Whose::Gateways, protocol) => write!(f, " of the gateway over {protocol}"),
        }
    }
}

impl Kind {
    fn of(text: &str) -> Self {
        text.parse().map_or(Self::Unusable, Self::of_address)
    }

    /// Of what use an address is.
    pub fn of_address(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let is_private = match ip {
            IpAddr::V4(ip) => is_private_v4(ip),
            IpAddr::V6(ip) => is_private_v6(ip),
        };
        let is_nowhere = ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        if is_nowhere {
            Self::Unusable
        } else if ip.is_loopback() {
            Self::Loopback
        } else if is_private {
            Self::Private(ip)
        } else {
            Self::Public(ip)
        }
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    // RFC 6598: addresses between a provider's own NAT and its customers.
    let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    ip.is_private() || ip.is_link_local() || is_shared
}

const fn is_private_v6(ip: Ipv6Addr) -> bool {
    ip.is_unique_local() || ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(text: &str) -> Kind {
        Candidate::new(text.to_owned(), 40_000, Protocol::Udp, 1).kind
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_candidate_of_a_stock_deployment_is_known_for_what_it_is() {
        assert_eq!(kind("127.0.0.1"), Kind::Loopback);
        assert_eq!(kind("203.0.113.9"), Kind::Public(ip("203.0.113.9")));
        assert_eq!(kind("10.224.0.4"), Kind::Private(ip("10.224.0.4")));
        // What ipinfo.io says when it is asked too often, and what is announced when nothing was.
        assert_eq!(kind("Rate limit exceeded. Subscribe to a paid plan"), Kind::Unusable);
        assert_eq!(kind("0.0.0.0"), Kind::Unusable);
        assert_eq!(kind(""), Kind::Unusable);
    }

    #[test]
    fn addresses_that_are_no_use_outside_of_their_network_are_private() {
        for text in ["172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "fd00::1", "fe80::1"] {
            assert_eq!(kind(text), Kind::Private(ip(text)), "{text}");
        }
        for text in ["172.32.0.1", "100.128.0.1", "2001:db8::1"] {
            assert_eq!(kind(text), Kind::Public(ip(text)), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_of_ipv6_is_that_ipv4_address() {
        assert_eq!(kind("::ffff:127.0.0.1"), Kind::Loopback);
        assert_eq!(kind("::ffff:203.0.113.9"), Kind::Public(ip("203.0.113.9")));
    }

    #[test]
    fn nothing_is_sent_to_a_loopback_address_or_to_port_zero() {
        assert_eq!(Candidate::new("127.0.0.1".into(), 40_000, Protocol::Udp, 1).direct(), None);
        assert_eq!(Candidate::new("203.0.113.9".into(), 0, Protocol::Udp, 1).direct(), None);
    }

    #[test]
    fn the_gateways_candidates_are_told_from_dialogs_and_tcp_is_never_taken_for_udp() {
        let offered = |protocol, foundation| {
            let candidate = Candidate::new("203.0.113.9".into(), 3478, protocol, 1).of_foundation(foundation);
            (candidate.direct().is_some(), candidate.gateway().is_some(), candidate.to_string())
        };
        let shown = |text: &str| format!("203.0.113.9:3478 (public){text}");
        assert_eq!(offered(Protocol::Udp, "udpcandidate"), (true, false, shown("")));
        assert_eq!(offered(Protocol::Tcp, "tcpcandidate"), (false, false, shown(" over TCP")));
        assert_eq!(offered(Protocol::Udp, "gatewayudp0"), (false, true, shown(" of the gateway over UDP")));
        assert_eq!(offered(Protocol::Tcp, "gatewaytcp1"), (false, true, shown(" of the gateway over TCP")));
    }

    proptest! {
        #[test]
        fn whatever_is_announced_is_classified_without_a_panic(text in ".*", port: u16) {
            let candidate = Candidate::new(text, port, Protocol::Udp, 0);
            let _ = (candidate.direct(), candidate.to_string());
        }
    }
}
