//! The payload of a packet under load: it says which one it is and when it left, and shows if a bit of it changed.

use std::time::Duration;

/// Its number and the time that it left.
const HEADER_LEN: usize = 16;

/// The shortest payload.
pub(crate) const MIN_LEN: u16 = HEADER_LEN as u16;

/// Which packet, and when it left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Packet {
    /// Counts all packets of a run.
    pub(crate) number: u64,
    /// Since the run began.
    pub(crate) sent: Duration,
}

impl Packet {
    /// Fills `payload`, which is not shorter than [`MIN_LEN`].
    pub(crate) fn write(self, payload: &mut [u8]) {
        let (header, rest) = payload.split_at_mut(HEADER_LEN);
        header[..8].copy_from_slice(&self.number.to_be_bytes());
        header[8..].copy_from_slice(&(self.sent.as_nanos() as u64).to_be_bytes());
        let pattern = pattern(self.number);
        rest.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&pattern[..chunk.len()]));
    }

    /// Reads a payload of `len` bytes; nothing if that is not what [`Self::write`] wrote.
    pub(crate) fn read(payload: &[u8], len: usize) -> Option<Self> {
        let (header, rest) = payload.split_at_checked(HEADER_LEN).filter(|_| payload.len() == len)?;
        let word = |at: usize| Some(u64::from_be_bytes(header[at..at + 8].try_into().ok()?));
        let packet = Self { number: word(0)?, sent: Duration::from_nanos(word(8)?) };
        let pattern = pattern(packet.number);
        rest.chunks(8).all(|chunk| chunk == &pattern[..chunk.len()]).then_some(packet)
    }
}

/// Different for each packet, so that one packet's end behind another's beginning is noticed.
fn pattern(number: u64) -> [u8; 8] {
    number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_was_changed_is_not() {
        let packet = Packet { number: 7, sent: Duration::from_nanos(123) };
        let mut payload = [0; 37];
        packet.write(&mut payload);
        assert_eq!(Packet::read(&payload, 37), Some(packet));
        assert_eq!(Packet::read(&payload, 38), None);
        assert_eq!(Packet::read(&payload[..36], 37), None);
        for at in (0..8).chain(HEADER_LEN..37) {
            let mut changed = payload;
            changed[at] ^= 1;
            assert_eq!(Packet::read(&changed, 37), None, "byte {at}");
        }
    }
}
