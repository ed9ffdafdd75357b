//! Any bytes of a stream as RFC 4571 has them, in any pieces: the pieces do not matter, and packets come out as they go in.

#![no_main]

use hubs_relay::wire::PacketDecoder;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1500;

/// All packets up to the end or to one that is too long, and whether it came to that.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let (mut decoder, mut packets) = (PacketDecoder::new(LIMIT), Vec::new());
    for piece in pieces {
        if decoder.decode(piece, |packet| packets.push(packet.to_vec())).is_err() {
            return (packets, true);
        }
    }
    (packets, false)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let whole = decode(std::iter::once(stream));
    assert_eq!(whole, decode(stream.chunks(usize::from(size).max(1))));
    let framed = whole.0.iter().flat_map(|packet| {
        let header = PacketDecoder::header(packet).expect("no packet is longer than the limit");
        [&header, packet.as_slice()].concat()
    });
    assert!(stream.starts_with(&framed.collect::<Vec<_>>()));
});
