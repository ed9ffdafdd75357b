//! Which sequence numbers were there already. What is so old that this is not remembered counts as there already
//! (as in RFC 4303 section 3.4.3).

/// How far packets may overtake each other: a tenth of a second at the fastest pace.
const LENGTH: u32 = 1024;

/// The last numbers before the highest one.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Nothing before the first.
    highest: Option<u32>,
    bits: [u64; LENGTH as usize / 64],
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { highest: None, bits: [0; LENGTH as usize / 64] }
    }

    /// Whether the number is new; from now on it is not.
    pub(super) fn admit(&mut self, number: u32) -> bool {
        match self.highest {
            Some(highest) if number <= highest => {
                if highest - number >= LENGTH || self.has(number) {
                    return false;
                }
            }
            Some(highest) => {
                let forgotten = (number - highest).min(LENGTH);
                (0..forgotten).for_each(|step| self.set(number - step, false));
                self.highest = Some(number);
            }
            None => self.highest = Some(number),
        }
        self.set(number, true);
        true
    }

    fn has(&self, number: u32) -> bool {
        let place = number % LENGTH;
        self.bits[(place / 64) as usize] & 1 << (place % 64) != 0
    }

    fn set(&mut self, number: u32, is_there: bool) {
        let place = number % LENGTH;
        let (word, bit) = (&mut self.bits[(place / 64) as usize], 1 << (place % 64));
        if is_there { *word |= bit } else { *word &= !bit }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_admitted_once_and_a_new_high_always(
            numbers in proptest::collection::vec(prop_oneof![0_u32..3000, any::<u32>()], 1..400),
        ) {
            let (mut window, mut admitted) = (Window::new(), BTreeSet::new());
            for number in numbers {
                let highest = admitted.last().copied();
                let is_admitted = window.admit(number);
                prop_assert!(!is_admitted || !admitted.contains(&number), "{} twice", number);
                let is_recent = highest.is_none_or(|highest| number > highest || highest - number < LENGTH);
                prop_assert_eq!(is_admitted, is_recent && !admitted.contains(&number));
                if is_admitted {
                    admitted.insert(number);
                }
            }
        }
    }
}
