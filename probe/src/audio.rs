//! Opus to be sent and heard again, and what the way there and back did to it. Without a socket or a clock.
//!
//! The tone is a fifth of a second of 440 Hz, repeated for as long as it takes. It was made with Python and opus-tools:
//!
//! ```text
//! python3 -c '
//! import math, struct, wave
//! with wave.open("tone.wav", "wb") as w:
//!     w.setparams((1, 2, 48000, 0, "NONE", ""))
//!     w.writeframes(b"".join(struct.pack("<h", int(6000 * math.sin(2 * math.pi * 440 * n / 48000))) for n in range(9600)))
//! '
//! opusenc --hard-cbr --bitrate 24 --framesize 20 --padding 0 --discard-comments tone.wav tone.opus
//! ```

use std::time::Duration;

use bytes::Bytes;
use rtc::rtp;
use tokio::time::Instant;

use crate::random;

/// One packet of Opus: what browsers send fifty times a second.
pub(crate) const FRAME: Duration = Duration::from_millis(20);

/// The same in ticks of RTP's clock for Opus (RFC 7587 section 4.1).
const TICKS: u32 = 960;

/// How packets of Opus are labelled (RFC 7587 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opus {
    /// Which stream they belong to.
    pub ssrc: u32,
    /// The number for the codec, below 128.
    pub payload_type: u8,
}

impl Opus {
    /// As browsers number it.
    pub(crate) const CUSTOMARY: u8 = 111;

    /// A stream of ours.
    pub fn new(ssrc: u32) -> Self {
        Self { ssrc, payload_type: Self::CUSTOMARY }
    }
}

static TONE: &[u8] = include_bytes!("audio/tone.opus");

/// Packets on their way: each as it was sent, and what became of it.
pub(crate) struct Journey {
    opus: Opus,
    frames: Vec<Bytes>,
    first_timestamp: u32,
    first_sequence: u16,
    packets: Vec<Packet>,
    /// Packets that are none of ours.
    foreign: usize,
    last_heard: Option<usize>,
    reordered: usize,
}

struct Packet {
    sent: Instant,
    heard: Option<Arrival>,
}

#[derive(Clone, Copy)]
struct Arrival {
    at: Instant,
    is_intact: bool,
    /// By how much dialog numbered it otherwise than we did.
    renumbered: u16,
}

/// What came of a journey, from the first packet that was heard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Packets that could have been heard.
    pub(crate) sent: usize,
    /// Packets that were.
    pub(crate) heard: usize,
    /// Those among them that say something else than what was sent.
    pub(crate) damaged: usize,
    /// Those that came behind a later one.
    pub(crate) reordered: usize,
    /// Those whose place in the order dialog told wrongly.
    pub(crate) misnumbered: usize,
    /// Packets that somebody else must have sent.
    pub(crate) foreign: usize,
    /// The time there and back that half of them stayed below.
    pub(crate) round_trip: Duration,
    /// The time that 95 of a hundred stayed below.
    pub(crate) slow_round_trip: Duration,
    /// How unevenly they came (RFC 3550 section 6.4.1).
    pub(crate) jitter: Duration,
    /// Bits of sound in a second.
    pub(crate) bits_per_second: u64,
}

impl Figures {
    /// The share that was lost, of one.
    pub(crate) fn loss(&self) -> f32 {
        1.0 - self.heard as f32 / self.sent.max(1) as f32
    }
}

impl Journey {
    /// One that begins with packets of this stream.
    pub(crate) fn new(opus: Opus) -> Self {
        Self {
            opus,
            frames: frames(TONE),
            first_timestamp: u32::from_be_bytes(random::bytes()),
            first_sequence: u16::from_be_bytes(random::bytes()),
            packets: Vec::new(),
            foreign: 0,
            last_heard: None,
            reordered: 0,
        }
    }

    /// The next packet, sent now.
    pub(crate) fn send(&mut self, now: Instant) -> rtp::Packet {
        let number = self.packets.len();
        self.packets.push(Packet { sent: now, heard: None });
        let header = rtp::header::Header {
            version: 2,
            // A stream of talk begins here (RFC 3551 section 4.1).
            marker: number == 0,
            payload_type: self.opus.payload_type,
            sequence_number: self.first_sequence.wrapping_add(number as u16),
            timestamp: self.first_timestamp.wrapping_add(TICKS.wrapping_mul(number as u32)),
            ssrc: self.opus.ssrc,
            ..rtp::header::Header::default()
        };
        rtp::Packet { header, payload: self.frame(number) }
    }

    /// A packet that came. Dialog labels packets anew, but keeps their time, by which they are known again.
    pub(crate) fn hear(&mut self, packet: &rtp::Packet, at: Instant) {
        let ticks = packet.header.timestamp.wrapping_sub(self.first_timestamp);
        let number = (ticks / TICKS) as usize;
        let expected = self.frame(number);
        let Some(sent) = self.packets.get_mut(number).filter(|_| ticks.is_multiple_of(TICKS)) else {
            self.foreign += 1;
            return;
        };
        // A packet that comes twice counts once.
        if sent.heard.is_none() {
            sent.heard = Some(Arrival {
                at,
                is_intact: packet.payload == expected,
                renumbered: packet.header.sequence_number.wrapping_sub(number as u16),
            });
            self.reordered += usize::from(self.last_heard.is_some_and(|last| number < last));
            self.last_heard = self.last_heard.max(Some(number));
        }
    }

    /// How many were sent.
    pub(crate) fn sent(&self) -> usize {
        self.packets.len()
    }

    /// How many were sent since the first that was heard.
    pub(crate) fn heard_for(&self) -> usize {
        self.packets.iter().skip_while(|p| p.heard.is_none()).count()
    }

    /// Whether each packet since the first that was heard has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.packets.iter().skip_while(|p| p.heard.is_none()).all(|p| p.heard.is_some())
    }

    /// What came of it, unless nothing was heard.
    pub(crate) fn figures(&self) -> Option<Figures> {
        let counted: Vec<_> = self.packets.iter().skip_while(|p| p.heard.is_none()).collect();
        let heard: Vec<_> = counted.iter().filter_map(|p| Some((p.sent, p.heard?))).collect();
        let (first, last) = (heard.first()?.1, heard.iter().map(|(_, arrival)| arrival.at).max()?);
        let mut round_trips: Vec<_> = heard.iter().map(|(sent, arrival)| arrival.at - *sent).collect();
        let jitter = jitter(&round_trips);
        round_trips.sort();
        let share = |hundredths: usize| round_trips[(round_trips.len() - 1) * hundredths / 100];
        let bytes: usize = heard.len() * self.frames.first().map_or(0, Bytes::len);
        let lasted = (last - first.at + FRAME).as_secs_f64();
        Some(Figures {
            sent: counted.len(),
            heard: heard.len(),
            damaged: heard.iter().filter(|(_, arrival)| !arrival.is_intact).count(),
            reordered: self.reordered,
            misnumbered: heard.iter().filter(|(_, arrival)| arrival.renumbered != first.renumbered).count(),
            foreign: self.foreign,
            round_trip: share(50),
            slow_round_trip: share(95),
            jitter,
            bits_per_second: (bytes as f64 * 8.0 / lasted) as u64,
        })
    }

    fn frame(&self, number: usize) -> Bytes {
        self.frames.get(number % self.frames.len().max(1)).cloned().unwrap_or_default()
    }
}

/// RFC 3550 section 6.4.1, over times there and back instead of differences of two clocks.
fn jitter(round_trips: &[Duration]) -> Duration {
    round_trips.windows(2).fold(Duration::ZERO, |jitter, pair| {
        let difference = pair[0].abs_diff(pair[1]);
        jitter.saturating_sub(jitter / 16) + difference / 16
    })
}

/// The packets of a file in which none goes over the end of a page, without the two that describe it (RFC 3533 section 6,
/// RFC 7845 section 3).
fn frames(mut ogg: &'static [u8]) -> Vec<Bytes> {
    const HEADER: usize = 27;
    let mut packets = Vec::new();
    while let Some((header, rest)) = ogg.split_at_checked(HEADER) {
        let Some((lengths, mut body)) = rest.split_at_checked(usize::from(header[HEADER - 1])) else { break };
        for len in lengths {
            let Some((packet, behind)) = body.split_at_checked(usize::from(*len)) else { return packets };
            packets.push(Bytes::from_static(packet));
            body = behind;
        }
        ogg = body;
    }
    packets.split_off(packets.len().min(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Opus = Opus { ssrc: 7, payload_type: 111 };

    struct Way {
        journey: Journey,
        begin: Instant,
    }

    impl Way {
        fn new() -> Self {
            Self { journey: Journey::new(SOUND), begin: Instant::now() }
        }

        /// Sends `count` packets, each of which `there` may drop, delay or change, as dialog does with a stream of its own.
        fn send(&mut self, count: u32, there: impl Fn(u32, &mut rtp::Packet) -> Option<Duration>) {
            let mut arriving = Vec::new();
            for number in 0..count {
                let sent = self.begin + FRAME * number;
                let mut packet = self.journey.send(sent);
                packet.header.ssrc = 9;
                packet.header.payload_type = 100;
                packet.header.sequence_number = packet.header.sequence_number.wrapping_add(12_345);
                if let Some(took) = there(number, &mut packet) {
                    arriving.push((sent + took, packet));
                }
            }
            arriving.sort_by_key(|(at, _)| *at);
            for (at, packet) in arriving {
                self.journey.hear(&packet, at);
            }
        }

        fn figures(&self) -> Figures {
            self.journey.figures().unwrap()
        }
    }

    const ROUND_TRIP: Duration = Duration::from_millis(30);

    #[test]
    fn the_tone_is_opus_of_twenty_milliseconds() {
        let frames = frames(TONE);
        assert_eq!(frames.len(), 11);
        // The first byte says how it is made (RFC 6716 section 3.1): mono, one frame in the packet.
        assert!(frames.iter().all(|frame| frame.len() == 60 && frame[0].trailing_zeros() >= 3), "{frames:?}");
        assert_ne!(frames[1], frames[2]);
    }

    #[test]
    fn what_comes_back_whole_is_heard_whole() {
        let mut way = Way::new();
        way.send(100, |_, _| Some(ROUND_TRIP));
        let figures = way.figures();
        assert_eq!((figures.sent, figures.heard, figures.damaged, figures.reordered), (100, 100, 0, 0));
        assert_eq!((figures.misnumbered, figures.foreign, figures.jitter), (0, 0, Duration::ZERO));
        assert_eq!((figures.round_trip, figures.slow_round_trip), (ROUND_TRIP, ROUND_TRIP));
        assert_eq!(figures.bits_per_second, 24_000);
        assert!(way.journey.is_complete());
    }

    #[test]
    fn what_is_lost_before_the_first_sound_is_no_loss_and_what_is_lost_behind_it_is() {
        let mut way = Way::new();
        way.send(100, |number, _| (number >= 20 && number % 4 != 1).then_some(ROUND_TRIP));
        let figures = way.figures();
        assert_eq!((figures.sent, figures.heard), (80, 60));
        assert!((figures.loss() - 0.25).abs() < 0.001);
        assert!(!way.journey.is_complete());
    }

    #[test]
    fn another_payload_another_order_and_strangers_are_told() {
        let mut way = Way::new();
        way.send(100, |number, packet| {
            match number {
                10 => packet.payload = Bytes::from_static(b"noise"),
                20 => return Some(ROUND_TRIP * 3),
                30 => packet.header.timestamp = packet.header.timestamp.wrapping_add(1),
                40 => packet.header.sequence_number = packet.header.sequence_number.wrapping_add(1),
                _ => {}
            }
            Some(ROUND_TRIP)
        });
        let figures = way.figures();
        assert_eq!((figures.damaged, figures.reordered), (1, 1));
        assert_eq!((figures.foreign, figures.misnumbered, figures.heard), (1, 1, 99));
    }

    #[test]
    fn a_packet_that_comes_twice_counts_once() {
        let mut way = Way::new();
        let packet = way.journey.send(way.begin);
        for times in [1, 2] {
            way.journey.hear(&packet, way.begin + ROUND_TRIP * times);
        }
        let figures = way.figures();
        assert_eq!((figures.sent, figures.heard, figures.round_trip), (1, 1, ROUND_TRIP));
    }

    #[test]
    fn uneven_times_are_jitter() {
        let mut way = Way::new();
        way.send(200, |number, _| Some(ROUND_TRIP + Duration::from_millis(u64::from(number % 2) * 10)));
        let jitter = way.figures().jitter;
        assert!((9..=10).contains(&jitter.as_millis()), "{jitter:?}");
    }

    #[test]
    fn silence_has_no_figures() {
        let mut way = Way::new();
        way.send(10, |_, _| None);
        assert_eq!(way.journey.figures(), None);
        assert_eq!(way.journey.heard_for(), 0);
    }
}
