//! Parts of the space of all packets: protocol, addresses and ports of both ends. A region is a product of sets, so cutting one
//! out of another leaves at most one region for each dimension.

use std::{fmt, net::IpAddr};

use super::ranges::{Addresses, Ports};

/// A set of protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Protocols(u8);

impl Protocols {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const TCP: Self = Self(1);
    pub(crate) const UDP: Self = Self(2);
    pub(crate) const ICMP: Self = Self(4);
    pub(crate) const ESP: Self = Self(8);
    pub(crate) const AH: Self = Self(16);
    /// These, and those that have no name here.
    pub(crate) const ALL: Self = Self(63);

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn covers(self, other: Self) -> bool {
        other.difference(self).is_empty()
    }

    /// One of them.
    fn first(self) -> Option<Self> {
        (!self.is_empty()).then(|| Self(1 << self.0.trailing_zeros()))
    }

    /// As Azure's command line takes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::TCP => "Tcp",
            Self::UDP => "Udp",
            Self::ICMP => "Icmp",
            Self::ESP => "Esp",
            Self::AH => "Ah",
            _ => "*",
        }
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::TCP => "TCP",
            Self::UDP => "UDP",
            Self::ICMP => "ICMP",
            Self::ESP => "ESP",
            Self::AH => "AH",
            _ => "any protocol",
        })
    }
}

/// Packets: every combination of what the sets have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Region {
    pub(crate) protocols: Protocols,
    pub(crate) sources: Addresses,
    pub(crate) source_ports: Ports,
    pub(crate) destinations: Addresses,
    pub(crate) ports: Ports,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    protocol: Protocols,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    port: u16,
}

/// What is in both of two regions, and what is in the first one only.
pub(crate) struct Cut {
    pub(crate) inside: Region,
    pub(crate) outside: Vec<Region>,
}

impl Region {
    pub(crate) fn is_empty(&self) -> bool {
        self.protocols.is_empty()
            || self.ports.is_empty()
            || self.source_ports.is_empty()
            || self.sources.is_empty()
            || self.destinations.is_empty()
    }

    /// One of its packets.
    pub(crate) fn first(&self) -> Option<Packet> {
        Some(Packet {
            protocol: self.protocols.first()?,
            source: self.sources.first()?,
            source_port: self.source_ports.first()?,
            destination: self.destinations.first()?,
            port: self.ports.first()?,
        })
    }

    pub(crate) fn has(&self, packet: &Packet) -> bool {
        self.protocols.covers(packet.protocol)
            && self.ports.has(packet.port)
            && self.sources.contains(packet.source)
            && self.destinations.contains(packet.destination)
            && self.source_ports.has(packet.source_port)
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        // Those first in which regions mostly differ.
        !self.protocols.intersection(other.protocols).is_empty()
            && self.ports.overlaps(&other.ports)
            && self.sources.overlaps(&other.sources)
            && self.destinations.overlaps(&other.destinations)
            && self.source_ports.overlaps(&other.source_ports)
    }

    /// Cuts it along the borders of `other`, with which it has something in common. One dimension after the other: what lies
    /// outside in the first, what of the rest lies outside in the second, and so on.
    pub(crate) fn cut(mut self, other: &Self) -> Cut {
        let mut outside = Vec::new();
        let protocols = self.protocols.difference(other.protocols);
        if !protocols.is_empty() {
            outside.push(Self { protocols, ..self.clone() });
            self.protocols = self.protocols.intersection(other.protocols);
        }
        macro_rules! dimension {
            ($field:ident) => {
                if !other.$field.covers(&self.$field) {
                    let inside = self.$field.intersection(&other.$field);
                    // A set of thousands of ranges, of which each rule takes one more out, is not copied for that.
                    let mut rest = std::mem::replace(&mut self.$field, inside);
                    rest.remove(&other.$field);
                    outside.push(Self { $field: rest, ..self.clone() });
                }
            };
        }
        dimension!(ports);
        dimension!(source_ports);
        dimension!(sources);
        dimension!(destinations);
        Cut { inside: self, outside }
    }

    /// What of it none of `others` has.
    pub(crate) fn without<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Vec<Self> {
        let mut left = vec![self.clone()];
        for other in others {
            if left.is_empty() {
                break;
            }
            let pieces = std::mem::take(&mut left).into_iter();
            let rest =
                |piece: Self| if piece.overlaps(other) { piece.cut(other).outside } else { vec![piece] };
            left = pieces.flat_map(rest).collect();
        }
        left
    }
}
