//! A set of ports, of one range: a bit for each.

use std::ops::RangeInclusive;

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Ports of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSet {
    range: RangeInclusive<u16>,
    bits: Vec<u8>,
}

impl PortSet {
    /// None of them.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let bits = vec![0; range.len().div_ceil(8)];
        Self { range, bits }
    }

    /// The set that [`Self::to_text`] wrote of this range; nothing if it wrote no such text.
    pub fn from_text(range: RangeInclusive<u16>, text: &str) -> Option<Self> {
        let bits = BASE64_STANDARD.decode(text).ok().filter(|bits| bits.len() == range.len().div_ceil(8))?;
        Some(Self { range, bits })
    }

    /// Puts a port in. One that is not of the range changes nothing.
    pub fn insert(&mut self, port: u16) {
        if let Some((byte, bit)) = self.place(port) {
            self.bits[byte] |= bit;
        }
    }

    /// Takes a port out, if it is there.
    pub fn remove(&mut self, port: u16) {
        if let Some((byte, bit)) = self.place(port) {
            self.bits[byte] &= !bit;
        }
    }

    /// Whether it has this port.
    pub fn contains(&self, port: u16) -> bool {
        self.place(port).is_some_and(|(byte, bit)| self.bits[byte] & bit != 0)
    }

    /// How many it has.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Its ports, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.range.clone().filter(|port| self.contains(*port))
    }

    /// The range of which it is.
    pub fn range(&self) -> RangeInclusive<u16> {
        self.range.clone()
    }

    /// All of it as text, however many ports it has: a few kilobytes.
    pub fn to_text(&self) -> String {
        BASE64_STANDARD.encode(&self.bits)
    }

    fn place(&self, port: u16) -> Option<(usize, u8)> {
        let at = usize::from(port.checked_sub(*self.range.start())?);
        self.range.contains(&port).then(|| (at / 8, 1 << (at % 8)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_the_ports_of_its_range(
            (a, b) in (any::<u16>(), any::<u16>()),
            ports in proptest::collection::vec(any::<u16>(), 0..200),
        ) {
            let range = a.min(b)..=a.max(b);
            let mut set = PortSet::new(range.clone());
            for port in &ports {
                set.insert(*port);
            }
            let expected: BTreeSet<u16> = ports.into_iter().filter(|port| range.contains(port)).collect();
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), expected);
            prop_assert_eq!(PortSet::from_text(range.clone(), &set.to_text()), Some(set));
            prop_assert!(PortSet::from_text(range, "AA==AA").is_none());
        }
    }
}
