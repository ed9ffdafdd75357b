//! Sets of ports and of addresses, as ranges: disjoint, ascending, none next to another one. All that is done with them is
//! exact, so that an answer about a set is an answer about each of its members.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, LazyLock},
};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// Something that can be counted through.
pub(crate) trait Point: Copy + Ord + fmt::Debug {
    /// The first of all.
    const FIRST: Self;
    /// The last of all.
    const LAST: Self;
    /// The one behind it; for the last one, itself.
    fn next(self) -> Self;
    /// The one before it; for the first one, itself.
    fn previous(self) -> Self;
}

macro_rules! points {
    ($($type:ty),*) => {
        $(impl Point for $type {
            const FIRST: Self = <$type>::MIN;
            const LAST: Self = <$type>::MAX;

            fn next(self) -> Self {
                self.saturating_add(1)
            }

            fn previous(self) -> Self {
                self.saturating_sub(1)
            }
        })*
    };
}

points!(u16, u32, u128);

/// A set of points. Copies share their ranges until one of them changes: while rules are evaluated, most never do. The empty set is
/// nothing, since of tens of thousands of sets half are that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ranges<T>(Option<Arc<Vec<(T, T)>>>);

/// A set of ports.
pub(crate) type Ports = Ranges<u16>;

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Point> Ranges<T> {
    /// Every point.
    pub(crate) fn all() -> Self {
        Self::of(vec![(T::FIRST, T::LAST)])
    }

    /// From `first` to `last`, both included; nothing if they are the wrong way round.
    pub(crate) fn span(first: T, last: T) -> Self {
        if first > last { Self::default() } else { Self::of(vec![(first, last)]) }
    }

    /// Of ranges as they are kept.
    fn of(ranges: Vec<(T, T)>) -> Self {
        Self((!ranges.is_empty()).then(|| Arc::new(ranges)))
    }

    fn as_slice(&self) -> &[(T, T)] {
        self.0.as_deref().map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn is_all(&self) -> bool {
        *self.as_slice() == [(T::FIRST, T::LAST)]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (T, T)> + Clone {
        self.as_slice().iter().copied()
    }

    /// The lowest and the highest point.
    pub(crate) fn hull(&self) -> Option<(T, T)> {
        let all = self.as_slice();
        Some((all.first()?.0, all.last()?.1))
    }

    /// The lowest point.
    pub(crate) fn first(&self) -> Option<T> {
        self.as_slice().first().map(|range| range.0)
    }

    /// The ranges that reach `first` or lie above it, and begin no later than `last`.
    fn touching(&self, first: T, last: T) -> &[(T, T)] {
        let all = self.as_slice();
        if let [range] = all {
            return if range.1 < first || last < range.0 { &[] } else { all };
        }
        let from = all.partition_point(|range| range.1 < first);
        let until = all.partition_point(|range| range.0 <= last);
        all.get(from..until).unwrap_or_default()
    }

    pub(crate) fn has(&self, point: T) -> bool {
        !self.touching(point, point).is_empty()
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (Some(own), Some(others)) = (self.hull(), other.hull()) else { return false };
        if own.1 < others.0 || others.1 < own.0 {
            return false;
        }
        let (few, many) = self.fewer_first(other);
        few.iter().any(|(first, last)| !many.touching(first, last).is_empty())
    }

    /// Whether all of `other` is in it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        if other.is_same(self) {
            return true;
        }
        other.iter().all(|(first, last)| match self.touching(first, last) {
            [(low, high)] => *low <= first && last <= *high,
            _ => false,
        })
    }

    /// Whether it is a copy of the other one.
    fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }

    fn fewer_first<'a>(&'a self, other: &'a Self) -> (&'a Self, &'a Self) {
        if self.as_slice().len() < other.as_slice().len() { (self, other) } else { (other, self) }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let (few, many) = self.fewer_first(other);
        let cut = few.iter().flat_map(|(first, last)| {
            let touching = many.touching(first, last).iter();
            touching.map(move |(low, high)| (first.max(*low), last.min(*high)))
        });
        Self::of(cut.collect())
    }

    pub(crate) fn difference(&self, other: &Self) -> Self {
        let mut left = self.clone();
        left.remove(other);
        left
    }

    /// Takes out all that is in `other`.
    pub(crate) fn remove(&mut self, other: &Self) {
        for (first, last) in other.iter() {
            let Some(ranges) = &mut self.0 else { return };
            let from = ranges.partition_point(|range| range.1 < first);
            let until = ranges.partition_point(|range| range.0 <= last);
            if from >= until {
                continue;
            }
            let below = ranges.get(from).filter(|range| range.0 < first).map(|r| (r.0, first.previous()));
            let above = ranges.get(until - 1).filter(|range| range.1 > last).map(|r| (last.next(), r.1));
            let ranges = Arc::make_mut(ranges);
            ranges.splice(from..until, below.into_iter().chain(above));
            if ranges.is_empty() {
                self.0 = None;
            }
        }
    }
}

impl<T: Point> FromIterator<(T, T)> for Ranges<T> {
    /// From ranges in any order, that may overlap.
    fn from_iter<I: IntoIterator<Item = (T, T)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        if ranges.len() < 2 {
            return Self::of(ranges);
        }
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.next() => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self::of(merged)
    }
}

impl Ports {
    /// Every port.
    pub(crate) fn every() -> Self {
        static ALL: LazyLock<Ports> = LazyLock::new(Ports::all);
        ALL.clone()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.iter().map(|(first, last)| u32::from(last) - u32::from(first) + 1).sum()
    }

    /// As Azure's command line takes them: each range a word.
    pub(crate) fn words(&self) -> Vec<String> {
        if self.is_all() {
            return vec!["*".to_owned()];
        }
        let word = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
        self.iter().map(word).collect()
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all ports");
        }
        f.write_str(&shortened(self.words().into_iter(), self.as_slice().len()))
    }
}

/// As many as one reads through, and how many there are besides.
fn shortened(mut words: impl Iterator<Item = String>, count: usize) -> String {
    const MOST: usize = 8;
    let mut text = words.by_ref().take(MOST).collect::<Vec<_>>().join(", ");
    if count > MOST {
        let _ = write!(text, " and {} more", count - MOST);
    }
    text
}

/// A set of addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Addresses {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Addresses {
    /// Every address.
    pub(crate) fn all() -> Self {
        static ALL: LazyLock<Addresses> =
            LazyLock::new(|| Addresses { v4: Ranges::all(), v6: Ranges::all() });
        ALL.clone()
    }

    /// Addresses that no router of the internet knows.
    pub(crate) fn private() -> Self {
        const NETWORKS: [(Ipv4Addr, u8); 9] = [
            (Ipv4Addr::UNSPECIFIED, 8),
            (Ipv4Addr::new(10, 0, 0, 0), 8),
            // RFC 6598: between providers and their customers.
            (Ipv4Addr::new(100, 64, 0, 0), 10),
            (Ipv4Addr::new(127, 0, 0, 0), 8),
            (Ipv4Addr::new(169, 254, 0, 0), 16),
            (Ipv4Addr::new(172, 16, 0, 0), 12),
            (Ipv4Addr::new(192, 168, 0, 0), 16),
            // Groups of receivers and what is kept back: nobody sends from there.
            (Ipv4Addr::new(224, 0, 0, 0), 4),
            (Ipv4Addr::new(240, 0, 0, 0), 4),
        ];
        let v4 = NETWORKS.map(|(network, length)| {
            let first = u32::from(network);
            (first, first | (u32::MAX >> length))
        });
        // RFC 4193 and RFC 4291 section 2.5.6.
        let v6 = [(0xfc00 << 112, (0xfe00 << 112) - 1), (0xfe80 << 112, (0xfec0 << 112) - 1)];
        Self { v4: v4.into_iter().collect(), v6: v6.into_iter().collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(crate) fn is_all(&self) -> bool {
        self.v4.is_all() && self.v6.is_all()
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.v4.overlaps(&other.v4) || self.v6.overlaps(&other.v6)
    }

    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.v4.covers(&other.v4) && self.v6.covers(&other.v6)
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.has(ip.into()),
            IpAddr::V6(ip) => self.v6.has(ip.into()),
        }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        Self { v4: self.v4.union(&other.v4), v6: self.v6.union(&other.v6) }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self { v4: self.v4.intersection(&other.v4), v6: self.v6.intersection(&other.v6) }
    }

    pub(crate) fn difference(&self, other: &Self) -> Self {
        Self { v4: self.v4.difference(&other.v4), v6: self.v6.difference(&other.v6) }
    }

    /// Takes out all that is in `other`.
    pub(crate) fn remove(&mut self, other: &Self) {
        self.v4.remove(&other.v4);
        self.v6.remove(&other.v6);
    }

    /// The lowest and the highest address of IPv4. Where there is IPv6 as well, nothing is left out.
    pub(crate) fn v4_hull(&self) -> (u32, u32) {
        match self.v4.hull() {
            _ if !self.v6.is_empty() => (0, u32::MAX),
            Some(hull) => hull,
            None => (u32::MAX, 0),
        }
    }

    /// How many addresses of IPv4 it has.
    pub(crate) fn v4_count(&self) -> u64 {
        self.v4.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The networks of 16 bits, by these bits, in which it has addresses of IPv4: first and last of each range.
    pub(crate) fn v4_blocks(&self) -> impl Iterator<Item = (u16, u16)> + Clone {
        self.v4.iter().map(|(first, last)| ((first >> 16) as u16, (last >> 16) as u16))
    }

    /// The lowest address.
    pub(crate) fn first(&self) -> Option<IpAddr> {
        let v6 = || self.v6.first().map(|ip| Ipv6Addr::from(ip).into());
        self.v4.first().map(|ip| Ipv4Addr::from(ip).into()).or_else(v6)
    }

    /// Those of it that belong to IPv4.
    pub(crate) fn v4_only(&self) -> Self {
        Self { v4: self.v4.clone(), v6: Ranges::default() }
    }

    /// Whether any of it belongs to IPv6.
    pub(crate) fn has_v6(&self) -> bool {
        !self.v6.is_empty()
    }

    /// As Azure's command line takes them: each network a word.
    pub(crate) fn words(&self) -> Vec<String> {
        if self.is_all() {
            return vec!["*".to_owned()];
        }
        self.networks().map(word).collect()
    }

    fn networks(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().flat_map(|(first, last)| Ipv4Subnets::new(first.into(), last.into(), 0));
        let v6 = self.v6.iter().flat_map(|(first, last)| Ipv6Subnets::new(first.into(), last.into(), 0));
        v4.map(IpNet::from).chain(v6.map(IpNet::from))
    }
}

/// A network, or the address itself where it is one only.
fn word(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

impl From<IpNet> for Addresses {
    fn from(network: IpNet) -> Self {
        match network {
            IpNet::V4(it) => {
                Self { v4: Ranges::span(it.network().into(), it.broadcast().into()), v6: Ranges::default() }
            }
            IpNet::V6(it) => {
                Self { v4: Ranges::default(), v6: Ranges::span(it.network().into(), it.broadcast().into()) }
            }
        }
    }
}

impl From<(Ipv4Addr, Ipv4Addr)> for Addresses {
    fn from((first, last): (Ipv4Addr, Ipv4Addr)) -> Self {
        Self { v4: Ranges::span(first.into(), last.into()), v6: Ranges::default() }
    }
}

impl From<(Ipv6Addr, Ipv6Addr)> for Addresses {
    fn from((first, last): (Ipv6Addr, Ipv6Addr)) -> Self {
        Self { v4: Ranges::default(), v6: Ranges::span(first.into(), last.into()) }
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        addresses.into_iter().map(IpNet::from).map(Self::from).collect()
    }
}

impl FromIterator<Self> for Addresses {
    fn from_iter<I: IntoIterator<Item = Self>>(sets: I) -> Self {
        let mut sets = sets.into_iter();
        let Some(first) = sets.next() else { return Self::default() };
        let Some(second) = sets.next() else { return first };
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in [first, second].into_iter().chain(sets) {
            v4.extend(set.v4.iter());
            v6.extend(set.v6.iter());
        }
        Self { v4: v4.into_iter().collect(), v6: v6.into_iter().collect() }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_all(), self.is_empty()) {
            (true, _) => f.write_str("any address"),
            (_, true) => f.write_str("no address"),
            _ => f.write_str(&shortened(self.networks().map(word), self.networks().count())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn any_ports() -> impl Strategy<Value = Ports> {
        let range = (0u16..64, 0u16..16).prop_map(|(first, more)| (first, first + more));
        let edge = prop::sample::select(vec![(0, 3), (65_530, u16::MAX), (0, u16::MAX)]);
        prop::collection::vec(prop_oneof![4 => range, 1 => edge], 0..6)
            .prop_map(|it| it.into_iter().collect())
    }

    fn members(ports: &Ports) -> BTreeSet<u16> {
        ports.iter().flat_map(|(first, last)| first..=last).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sets_of_ranges_do_what_sets_of_members_do(a in any_ports(), b in any_ports()) {
            let (x, y) = (members(&a), members(&b));
            prop_assert_eq!(members(&a.union(&b)), &x | &y);
            prop_assert_eq!(members(&a.intersection(&b)), &x & &y);
            prop_assert_eq!(members(&a.difference(&b)), &x - &y);
            prop_assert_eq!(a.overlaps(&b), !x.is_disjoint(&y));
            prop_assert_eq!(a.covers(&b), x.is_superset(&y));
            prop_assert_eq!(a.count() as usize, x.len());
        }

        #[test]
        fn a_set_has_one_form_only(a in any_ports(), b in any_ports()) {
            for set in [a.union(&b), a.intersection(&b), a.difference(&b)] {
                let again: Ports = members(&set).into_iter().map(|port| (port, port)).collect();
                prop_assert_eq!(&set, &again);
            }
        }
    }

    #[test]
    fn addresses_are_shown_as_networks() {
        let network = |text: &str| Addresses::from(text.parse::<IpNet>().unwrap());
        assert_eq!(network("10.224.0.0/16").to_string(), "10.224.0.0/16");
        assert_eq!(network("10.0.0.4/32").to_string(), "10.0.0.4");
        assert_eq!(network("10.0.0.77/8"), network("10.0.0.0/8"));
        let holed = network("10.0.0.0/30").difference(&network("10.0.0.1/32"));
        assert_eq!(holed.to_string(), "10.0.0.0, 10.0.0.2/31");
        assert_eq!(
            network("2001:db8::/32").union(&network("10.0.0.1/32")).to_string(),
            "10.0.0.1, 2001:db8::/32"
        );
        assert!(Addresses::private().contains("172.31.255.255".parse().unwrap()));
        assert!(!Addresses::private().contains("172.32.0.0".parse().unwrap()));
        for (ip, is_private) in [
            ("100.63.255.255", false),
            ("100.64.0.0", true),
            ("100.127.255.255", true),
            ("100.128.0.0", false),
            ("223.255.255.255", false),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
        ] {
            assert_eq!(Addresses::private().contains(ip.parse().unwrap()), is_private, "{ip}");
        }
        assert!(Addresses::private().contains("fe80::1".parse().unwrap()));
        assert!(!Addresses::private().contains("2001:db8::1".parse().unwrap()));
    }
}
