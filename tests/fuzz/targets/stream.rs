//! Any bytes of a stream, in any pieces: the pieces do not matter, and no memory grows.

#![no_main]

use hubs_relay::wire::{Frame, StreamDecoder};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq)]
enum Seen {
    Channel(u16, Vec<u8>),
    Message(Vec<u8>),
}

/// All frames up to the end or to what is no TURN, and whether it came to that.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Seen>, bool) {
    let (mut decoder, mut seen) = (StreamDecoder::new(StreamDecoder::MAX_FRAME), Vec::new());
    for piece in pieces {
        let result = decoder.decode(piece, |frame| {
            seen.push(match frame {
                Frame::ChannelData(data) => Seen::Channel(data.channel.get(), data.payload.to_vec()),
                Frame::Message(bytes) => Seen::Message(bytes.to_vec()),
            });
        });
        if result.is_err() {
            return (seen, true);
        }
    }
    (seen, false)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let whole = decode(std::iter::once(stream));
    let pieces = decode(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole, pieces);
});
