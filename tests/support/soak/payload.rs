//! What sessions send: each payload says whose it is and which one, and shows if a bit of it changed.

use std::collections::BTreeSet;

/// Whose it is, and which one.
const HEADER_LEN: usize = 16;
/// Browsers send no longer packets.
const LONGEST: u64 = 1200;

/// The payloads of one session, and which of them have not come back.
#[derive(Debug)]
pub(super) struct Ledger {
    owner: u64,
    issued: u64,
    out: BTreeSet<u64>,
}

impl Ledger {
    pub(super) const fn new(owner: u64) -> Self {
        Self { owner, issued: 0, out: BTreeSet::new() }
    }

    /// The next payload, which is out from now on.
    pub(super) fn issue(&mut self) -> Vec<u8> {
        let number = self.issued;
        self.issued += 1;
        self.out.insert(number);
        write(self.owner, number)
    }

    /// A payload came back; why it should not have, if so.
    pub(super) fn redeem(&mut self, payload: &[u8]) -> Result<(), String> {
        let Some((owner, number)) = header(payload) else {
            return Err(format!("{} bytes that nobody sent came back", payload.len()));
        };
        if owner != self.owner {
            return Err(format!("packet {number} of session {owner} came to another session"));
        }
        if payload != write(owner, number) {
            return Err(format!("packet {number} came back changed"));
        }
        if self.out.remove(&number) {
            return Ok(());
        }
        let fault = if number < self.issued { "twice" } else { "before it was sent" };
        Err(format!("packet {number} came back {fault}"))
    }

    /// How many have not come back.
    pub(super) fn out(&self) -> usize {
        self.out.len()
    }
}

/// Whose payload it is, if it is one.
pub(super) fn owner(payload: &[u8]) -> Option<u64> {
    header(payload).map(|(owner, _)| owner)
}

fn header(payload: &[u8]) -> Option<(u64, u64)> {
    let (owner, rest) = payload.split_first_chunk()?;
    Some((u64::from_be_bytes(*owner), u64::from_be_bytes(*rest.first_chunk()?)))
}

/// Length and filling depend on both numbers, so that no part of another packet is taken for a part of this one.
fn write(owner: u64, number: u64) -> Vec<u8> {
    let scattered = scatter(scatter(owner) ^ number);
    let filling = (scattered % (LONGEST - HEADER_LEN as u64)) as usize;
    let mut payload = [owner.to_be_bytes(), number.to_be_bytes()].concat();
    payload.extend(scattered.to_be_bytes().iter().cycle().take(filling));
    payload
}

/// Spreads numbers that lie next to each other over all numbers, always in the same way.
pub(super) const fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_comes_back_once() {
        let mut ledger = Ledger::new(7);
        let (first, second) = (ledger.issue(), ledger.issue());
        assert_eq!(ledger.out(), 2);
        assert_eq!(ledger.redeem(&second), Ok(()));
        assert_eq!(ledger.redeem(&first), Ok(()));
        assert_eq!(ledger.out(), 0);
        assert!(ledger.redeem(&first).unwrap_err().ends_with("twice"));
        assert!(ledger.redeem(&write(7, 2)).unwrap_err().ends_with("before it was sent"));
    }

    #[test]
    fn what_is_somebody_elses_or_changed_is_noticed() {
        let (mut ledger, mut other) = (Ledger::new(7), Ledger::new(8));
        let payload = ledger.issue();
        assert!(other.redeem(&payload).is_err());
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert!(ledger.redeem(&changed).is_err(), "byte {at}");
            assert!(ledger.redeem(&payload[..at]).is_err(), "{at} bytes");
        }
        assert_eq!(ledger.redeem(&payload), Ok(()));
    }
}
