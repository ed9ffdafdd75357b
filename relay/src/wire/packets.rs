//! Packets on a TCP connection, each behind two bytes that say how long it is (RFC 4571), as ICE-TCP has them.

use thiserror::Error;

use super::stream::Cutter;
use super::u16_at;

/// A packet longer than allowed. There is no way back into step: close the connection.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a packet of {len} bytes is longer than the limit of {limit}")]
pub struct PacketTooLong {
    /// What the packet's header announces.
    pub len: usize,
    /// What was allowed.
    pub limit: usize,
}

/// Cuts a stream into packets.
#[derive(Debug)]
pub struct PacketDecoder {
    cutter: Cutter,
    limit: usize,
}

impl PacketDecoder {
    /// The longest packet that there can be.
    pub const MAX_PACKET: usize = 0xffff;
    /// Bytes in front of each packet.
    pub const HEADER_LEN: usize = 2;

    /// A decoder that refuses packets of more than `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { cutter: Cutter::new(), limit }
    }

    /// Changes the limit for the packets that follow.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether the beginning of a packet is waiting for its rest.
    pub const fn is_waiting(&self) -> bool {
        self.cutter.is_waiting()
    }

    /// Takes what arrived and hands each packet that is now complete to `each`, in order.
    pub fn decode(&mut self, arrived: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), PacketTooLong> {
        let limit = self.limit;
        let len_of = |begun: &[u8]| match u16_at(begun, 0).map(usize::from) {
            Some(len) if len > limit => Err(PacketTooLong { len, limit }),
            len => Ok(len.map(|len| Self::HEADER_LEN + len)),
        };
        self.cutter.cut(arrived, len_of, |whole| {
            each(&whole[Self::HEADER_LEN..]);
            Ok(())
        })
    }

    /// What stands in front of a packet; nothing if it is too long for that.
    pub fn header(packet: &[u8]) -> Option<[u8; Self::HEADER_LEN]> {
        Some(u16::try_from(packet.len()).ok()?.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
        packets.iter().flat_map(|it| [&PacketDecoder::header(it).unwrap(), it.as_slice()].concat()).collect()
    }

    fn decode<'a>(
        limit: usize,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<Vec<u8>>, PacketTooLong> {
        let (mut decoder, mut packets) = (PacketDecoder::new(limit), Vec::new());
        for piece in pieces {
            decoder.decode(piece, |packet| packets.push(packet.to_vec()))?;
        }
        Ok(packets)
    }

    #[test]
    fn a_packet_longer_than_the_limit_is_refused_before_it_is_kept() {
        let refused = decode(100, [&[0, 101][..]].into_iter());
        assert_eq!(refused, Err(PacketTooLong { len: 101, limit: 100 }));
    }

    #[test]
    fn a_packet_too_long_for_its_header_has_none() {
        assert_eq!(PacketDecoder::header(&vec![0; 0xffff]), Some([0xff, 0xff]));
        assert_eq!(PacketDecoder::header(&vec![0; 0x10000]), None);
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_whatever_pieces_the_stream_comes_in(
            packets: Vec<Vec<u8>>,
            size in 1_usize..50,
        ) {
            let stream = framed(&packets);
            prop_assert_eq!(decode(PacketDecoder::MAX_PACKET, stream.chunks(size)), Ok(packets));
        }
    }
}
