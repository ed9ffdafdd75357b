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

/// What is around a region, and nothing but numbers: that two have nothing in common is mostly seen in these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hull {
    protocols: Protocols,
    ports: (u16, u16),
    sources: (u32, u32),
    destinations: (u32, u32),
}

impl Hull {
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let meet = |a: (u32, u32), b: (u32, u32)| a.0 <= b.1 && b.0 <= a.1;
        self.ports.0 <= other.ports.1
            && other.ports.0 <= self.ports.1
            && meet(self.sources, other.sources)
            && meet(self.destinations, other.destinations)
            && !self.protocols.intersection(other.protocols).is_empty()
    }
}

impl Packet {
    pub(crate) fn hull(&self) -> Hull {
        let of = |ip| [ip].into_iter().collect::<Addresses>().v4_hull();
        Hull {
            protocols: self.protocol,
            ports: (self.port, self.port),
            sources: of(self.source),
            destinations: of(self.destination),
        }
    }
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

    pub(crate) fn hull(&self) -> Hull {
        Hull {
            protocols: self.protocols,
            ports: self.ports.hull().unwrap_or((u16::MAX, 0)),
            sources: self.sources.v4_hull(),
            destinations: self.destinations.v4_hull(),
        }
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
    #[cfg(test)]
    pub(crate) fn without<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Vec<Self> {
        self.without_within(&mut usize::MAX.clone(), others).expect("there is no bound")
    }

    /// Whether `others` have all of it; nothing if that takes more looks at a part than the effort allows, from which they are taken.
    pub(crate) fn is_covered<'a>(
        &self,
        effort: &mut usize,
        others: impl IntoIterator<Item = &'a Self>,
    ) -> Option<bool> {
        self.without_within(effort, others).map(|left| left.is_empty())
    }

    fn without_within<'a>(
        &self,
        effort: &mut usize,
        others: impl IntoIterator<Item = &'a Self>,
    ) -> Option<Vec<Self>> {
        let mut left = vec![self.clone()];
        let mut many = MANY;
        for other in others {
            if left.is_empty() {
                break;
            }
            *effort = effort.checked_sub(left.len())?;
            left = fewer(left, &mut many);
            let pieces = std::mem::take(&mut left).into_iter();
            let rest =
                |piece: Self| if piece.overlaps(other) { piece.cut(other).outside } else { vec![piece] };
            left = pieces.flat_map(rest).collect();
        }
        Some(left)
    }
}

/// Something that is so of all packets of a region.
pub(crate) trait Part {
    fn region(&self) -> &Region;
    fn region_mut(&mut self) -> &mut Region;
    /// What is so of them.
    fn label(&self) -> impl Ord;
}

impl Part for Region {
    fn region(&self) -> &Region {
        self
    }

    fn region_mut(&mut self) -> &mut Region {
        self
    }

    fn label(&self) -> impl Ord {}
}

/// In what parts may differ to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Ports,
    Sources,
    Destinations,
    SourcePorts,
}

/// Parts that are alike in all but this become one.
pub(crate) fn joined<T: Part>(mut parts: Vec<T>, dimension: Dimension) -> Vec<T> {
    fn key<T: Part>(part: &T, but: Dimension) -> impl Ord {
        let region = part.region();
        let ends = (
            (but != Dimension::Sources).then_some(&region.sources),
            (but != Dimension::Destinations).then_some(&region.destinations),
        );
        let ports = (
            (but != Dimension::Ports).then_some(&region.ports),
            (but != Dimension::SourcePorts).then_some(&region.source_ports),
        );
        (part.label(), region.protocols, ends, ports)
    }
    // In the order of rules, in which they come, they are sorted but for a few: a stable sort makes use of that.
    parts.sort_by(|a, b| key(a, dimension).cmp(&key(b, dimension)));
    let mut joined: Vec<T> = Vec::with_capacity(parts.len());
    let mut alike: Vec<Region> = Vec::new();
    for part in parts {
        if joined.last().is_some_and(|last| key(last, dimension) == key(&part, dimension)) {
            alike.push(part.region().clone());
        } else {
            close(joined.last_mut(), &mut alike, dimension);
            joined.push(part);
        }
    }
    close(joined.last_mut(), &mut alike, dimension);
    joined
}

/// The part takes in what is alike.
fn close<T: Part>(part: Option<&mut T>, alike: &mut Vec<Region>, dimension: Dimension) {
    let Some(part) = part.filter(|_| !alike.is_empty()) else { return };
    let region = part.region_mut();
    alike.push(region.clone());
    match dimension {
        Dimension::Ports => region.ports = alike.iter().flat_map(|it| it.ports.iter()).collect(),
        Dimension::SourcePorts => {
            region.source_ports = alike.iter().flat_map(|it| it.source_ports.iter()).collect();
        }
        Dimension::Sources => region.sources = alike.iter().map(|it| it.sources.clone()).collect(),
        Dimension::Destinations => {
            region.destinations = alike.iter().map(|it| it.destinations.clone()).collect();
        }
    }
    alike.clear();
}

/// From so many on it is looked whether parts can be joined.
pub(crate) const MANY: usize = 8;

/// Joins parts once there are more than `many` of them: rules cut them along one dimension after the other, and most of what comes of
/// that differs in one only. It pays if it is done whenever there are twice as many as were left the last time.
pub(crate) fn fewer<T: Part>(parts: Vec<T>, many: &mut usize) -> Vec<T> {
    use Dimension::{Destinations, Ports, SourcePorts, Sources};
    if parts.len() <= *many {
        return parts;
    }
    let fewer = [Ports, Sources, Destinations, SourcePorts].into_iter().fold(parts, joined);
    *many = MANY.max(2 * fewer.len());
    fewer
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn region(sources: u8, ports: (u16, u16)) -> Region {
        let source = IpAddr::from([10, 0, 0, sources]);
        Region {
            protocols: Protocols::UDP,
            sources: [source].into_iter().collect(),
            source_ports: Ports::all(),
            destinations: Addresses::all(),
            ports: Ports::span(ports.0, ports.1),
        }
    }

    #[test]
    fn what_differs_in_one_dimension_becomes_one_and_nothing_else() {
        let parts = vec![region(1, (1, 5)), region(2, (1, 5)), region(1, (6, 9)), region(2, (7, 9))];
        let by_ports = joined(parts.clone(), Dimension::Ports);
        assert_eq!(
            by_ports.iter().map(|it| it.ports.words()).collect::<Vec<_>>(),
            [&["1-9"][..], &["1-5", "7-9"]]
        );
        let sources = joined(parts, Dimension::Sources);
        assert_eq!(sources.len(), 3, "{sources:?}");
        assert_eq!(sources[0].sources.words(), ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn what_many_rules_leave_is_told_in_few_regions() {
        let rule = |number: u32| {
            let mixed = number.wrapping_mul(0x9e37_79b9);
            let length = 2 + mixed % 7;
            let first = (mixed >> 4) & (u32::MAX << (32 - length));
            let sources = (Ipv4Addr::from(first), Ipv4Addr::from(first | (u32::MAX >> length)));
            let port = (mixed >> 13) as u16 % 60_000;
            Region { sources: sources.into(), ..region(0, (port, port + 500)) }
        };
        let rules: Vec<_> = (1..=500).map(rule).collect();
        let whole = Region { sources: Addresses::all().v4_only(), ..region(0, (0, u16::MAX)) };
        let without = |left: Vec<Region>, rule: &Region| {
            let cut = |it: Region| if it.overlaps(rule) { it.cut(rule).outside } else { vec![it] };
            left.into_iter().flat_map(cut).collect()
        };
        let one_by_one = rules.iter().fold(vec![whole.clone()], without);
        let left = whole.without(&rules);
        assert!(left.len() * 3 < one_by_one.len(), "{} of {}", left.len(), one_by_one.len());
        // Both are the same packets.
        let is_within =
            |parts: &[Region], others: &[Region]| parts.iter().all(|part| part.without(others).is_empty());
        assert!(is_within(&left, &one_by_one) && is_within(&one_by_one, &left));
    }
}
