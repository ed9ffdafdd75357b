//! One direction of a WebSocket (RFC 6455 section 5), cut into text messages and everything else.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Messages of dialog's that are longer pass unread: what the gateway looks for is short.
pub(super) const LONGEST: usize = 64 << 10;
/// The same for what browsers say, who are many, and whose requests are shorter still.
pub(super) const LONGEST_ASKED: usize = 16 << 10;
/// What is kept of the room for a frame that is over.
const KEPT: usize = 1 << 10;

/// What comes out, in the order in which it has to go on.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Piece<'a> {
    /// Bytes that go on as they are.
    Pass(&'a [u8]),
    /// A whole text message.
    Text {
        /// Its frames, as they came.
        raw: &'a [u8],
        /// What they say.
        text: &'a [u8],
    },
}

/// Reads frames. It keeps no more than a message that is not too long.
#[derive(Debug)]
pub(super) struct Frames {
    /// Messages that are longer pass unread.
    longest: usize,
    /// The beginning of a frame of which more is needed.
    begun: Vec<u8>,
    /// What is left of a frame that passes.
    passing: u64,
    /// The text message that has begun and not ended. One that passes is not remembered.
    message: Option<Begun>,
    /// What came is no WebSocket. Whoever reads it will say so.
    is_lost: bool,
}

/// The beginning of a text message.
#[derive(Debug, Default)]
struct Begun {
    /// Its frames, as they came.
    raw: Vec<u8>,
    /// What they say.
    text: Vec<u8>,
}

impl Frames {
    /// Those of one direction, of which messages up to this length are read.
    pub(super) const fn new(longest: usize) -> Self {
        Self { longest, begun: Vec::new(), passing: 0, message: None, is_lost: false }
    }

    /// Takes bytes, and hands on what they complete.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            if self.is_lost {
                return each(Piece::Pass(bytes));
            }
            if self.passing > 0 {
                let len = usize::try_from(self.passing).map_or(bytes.len(), |it| it.min(bytes.len()));
                let (now, rest) = bytes.split_at(len);
                each(Piece::Pass(now));
                self.passing -= len as u64;
                bytes = rest;
                continue;
            }
            let wanted = match header(&self.begun) {
                // Byte by byte, so that nothing behind the header is taken with it: it has 14 at most.
                Ok(None) => 1,
                Ok(Some((_, header_len, len))) => header_len + len as usize - self.begun.len(),
                Err(()) => 0,
            };
            let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.begun.extend_from_slice(now);
            bytes = rest;
            self.proceed(&mut each);
        }
    }

    /// Looks at what has begun.
    fn proceed(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        let (header, header_len, len) = match header(&self.begun) {
            Ok(Some(header)) => header,
            Ok(None) => return,
            Err(()) => {
                self.release(each);
                self.is_lost = true;
                return;
            }
        };
        if !self.keeps(&header, len) {
            if matches!(header.opcode, OpCode::Data(_)) {
                self.release_message(each);
            }
            each(Piece::Pass(&self.begun));
            self.forget_begun();
            self.passing = len;
            return;
        }
        if self.begun.len() < header_len + len as usize {
            return;
        }
        let Begun { mut raw, mut text } = self.message.take().unwrap_or_default();
        raw.extend_from_slice(&self.begun);
        let payload = &self.begun[header_len..];
        match header.mask {
            None => text.extend_from_slice(payload),
            Some(mask) => {
                text.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            }
        }
        self.forget_begun();
        if header.is_final {
            each(Piece::Text { raw: &raw, text: &text });
        } else {
            self.message = Some(Begun { raw, text });
        }
    }

    /// Whether a frame belongs to a text message that is not too long.
    fn keeps(&self, header: &FrameHeader, len: u64) -> bool {
        let before = match (&self.message, header.opcode) {
            (None, OpCode::Data(Data::Text)) => 0,
            (Some(begun), OpCode::Data(Data::Continue)) => begun.raw.len(),
            _ => return false,
        };
        let is_plain = !header.rsv1 && !header.rsv2 && !header.rsv3;
        is_plain && len <= self.longest as u64 && before + len as usize <= self.longest
    }

    fn release(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        self.release_message(each);
        each(Piece::Pass(&self.begun));
        self.forget_begun();
    }

    fn forget_begun(&mut self) {
        self.begun.clear();
        self.begun.shrink_to(KEPT);
    }

    fn release_message(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        if let Some(begun) = self.message.take() {
            each(Piece::Pass(&begun.raw));
        }
    }
}

/// The header that these bytes begin with, its length and that of what follows; nothing if it is not whole.
fn header(bytes: &[u8]) -> Result<Option<(FrameHeader, usize, u64)>, ()> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| ())?;
    Ok(parsed.map(|(header, len)| (header, cursor.position() as usize, len)))
}

/// An unmasked text message in one frame, as a server sends it.
pub(super) fn text_frame(text: &[u8]) -> Vec<u8> {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let mut frame = Vec::with_capacity(text.len() + 10);
    // Nothing fails that writes into memory.
    let _ = header.format(text.len() as u64, &mut frame);
    frame.extend_from_slice(text);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, is_final: bool, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode: OpCode::from(opcode), mask, ..FrameHeader::default() };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        let mask = mask.unwrap_or_default();
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// All bytes that go on, and the texts among them.
    fn read(bytes: &[u8], size: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut frames, mut passed, mut texts) = (Frames::new(LONGEST), Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            frames.read(piece, |piece| match piece {
                Piece::Pass(bytes) => passed.extend_from_slice(bytes),
                Piece::Text { raw, text } => {
                    passed.extend_from_slice(raw);
                    texts.push(text.to_vec());
                }
            });
        }
        (passed, texts)
    }

    const TEXT: u8 = 1;
    const CONTINUE: u8 = 0;
    const BINARY: u8 = 2;
    const CLOSE: u8 = 8;
    const PING: u8 = 9;

    #[test]
    fn texts_are_read_and_all_bytes_pass_in_their_order() {
        let long = vec![b'x'; LONGEST + 1];
        let mask = Some([1, 2, 3, 4]);
        for (parts, texts) in [
            (vec![frame(TEXT, true, None, b"one"), frame(TEXT, true, mask, b"two")], vec!["one", "two"]),
            (vec![frame(TEXT, false, mask, b"on"), frame(CONTINUE, true, mask, b"e")], vec!["one"]),
            (
                vec![
                    frame(BINARY, true, None, b"no"),
                    frame(PING, true, None, b""),
                    frame(TEXT, true, None, b""),
                ],
                vec![""],
            ),
            (vec![frame(TEXT, true, None, &long), frame(TEXT, true, None, b"after")], vec!["after"]),
            (vec![frame(TEXT, false, None, &long[2..]), frame(CONTINUE, true, None, b"xyz")], vec![]),
            (
                vec![
                    frame(BINARY, false, None, b"a"),
                    frame(CONTINUE, true, None, b"b"),
                    frame(TEXT, true, None, b"c"),
                ],
                vec!["c"],
            ),
            (vec![frame(CLOSE, true, None, &[3, 233])], vec![]),
            (vec![b"GET / HTTP/1.1\r\n".to_vec()], vec![]),
        ] {
            let bytes = parts.concat();
            for size in [1, 2, 7, 100_000] {
                let (passed, read) = read(&bytes, size);
                assert!(passed == bytes, "in pieces of {size}: {} of {} bytes", passed.len(), bytes.len());
                assert_eq!(read, texts.iter().map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_comes_between_the_parts_of_a_message_does_not_wait_for_it() {
        let bytes = [
            frame(TEXT, false, None, b"on"),
            frame(PING, true, None, b"p"),
            frame(CONTINUE, true, None, b"e"),
        ];
        let mut seen = Vec::new();
        let mut frames = Frames::new(LONGEST);
        frames.read(&bytes.concat(), |piece| {
            seen.push(match piece {
                Piece::Pass(bytes) => bytes.to_vec(),
                Piece::Text { text, .. } => text.to_vec(),
            });
        });
        assert_eq!(seen.concat(), [&bytes[1][..], b"one"].concat());
    }

    #[test]
    fn a_frame_that_announces_the_most_that_there_can_be_is_not_waited_for() {
        let bytes = [&[0x81, 127][..], &[0x7f, 255, 255, 255, 255, 255, 255, 255], b"begins"].concat();
        assert_eq!(read(&bytes, 3), (bytes, vec![]));
    }

    #[test]
    fn a_browser_that_never_ends_its_message_holds_little() {
        let mut frames = Frames::new(LONGEST_ASKED);
        let mut passed = 0;
        let mut pass = |piece: Piece<'_>| match piece {
            Piece::Pass(bytes) => passed += bytes.len(),
            Piece::Text { .. } => panic!("it has not ended"),
        };
        let half = frame(TEXT, false, Some([1, 2, 3, 4]), &vec![b'x'; LONGEST_ASKED / 2]);
        frames.read(&half, &mut pass);
        let begun = frames.message.as_ref().unwrap();
        let held = frames.begun.capacity() + begun.raw.capacity() + begun.text.capacity();
        assert!(held < LONGEST_ASKED + 2 * KEPT, "{held}");
        let more = frame(CONTINUE, false, Some([1, 2, 3, 4]), &vec![b'x'; LONGEST_ASKED]);
        frames.read(&more, &mut pass);
        assert_eq!(passed, half.len() + more.len());
        assert!(frames.message.is_none() && frames.begun.capacity() <= KEPT);
    }

    #[test]
    fn a_text_frame_of_ours_is_read_as_what_it_says() {
        for len in [0, 125, 126, 65535, LONGEST] {
            let text = vec![b'x'; len];
            assert_eq!(read(&text_frame(&text), 1000).1, [text]);
        }
    }

    /// How often each byte is there.
    fn counts(bytes: &[u8]) -> [usize; 256] {
        bytes.iter().fold([0; 256], |mut counts, byte| {
            counts[usize::from(*byte)] += 1;
            counts
        })
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_nothing_is_lost_but_what_is_not_whole(bytes: Vec<u8>, size in 1_usize..20) {
            let whole = read(&bytes, usize::MAX);
            prop_assert_eq!(&read(&bytes, size), &whole);
            // What comes between the parts of a message goes before it.
            let (came, passed) = (counts(&bytes), counts(&whole.0));
            prop_assert!(passed.iter().zip(came).all(|(passed, came)| *passed <= came));
        }
    }
}
