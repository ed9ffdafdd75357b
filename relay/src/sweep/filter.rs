//! What the kernel hands the agent of all packets that the node gets: a program for it, so that dialog's media costs the
//! agent nothing. Whatever passes is read and verified all the same; the program only spares work.
//!
//! Packets begin with their IP header here ("cooked").

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Packet;

/// Where the kernel says how a packet came: 0 is for this machine.
const PACKET_TYPE: u32 = 0xffff_f004;

const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_WORD_AT_X: u16 = 0x40;
/// X becomes the length of the IPv4 header.
const HEADER_LENGTH_TO_X: u16 = 0xb1;
const X_BECOMES: u16 = 0x01;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// The most of a packet that is handed over.
const WHOLE: u32 = 0x0004_0000;

/// So many probers of a family are told from others; a jump goes over 255 instructions at most. With more of them the beginnings of
/// everybody's connections pass.
const MOST: usize = 30;

/// An instruction, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) value: u32,
}

/// Where to go on.
#[derive(Clone, Copy)]
enum To {
    Next,
    Skip(u8),
    Accept,
    Reject,
}

struct Program(Vec<(u16, To, To, u32)>);

/// The program for IPv4: datagrams that begin as ours, and the beginnings of TCP connections from these addresses.
pub(super) fn ipv4(probers: &[Ipv4Addr]) -> Vec<Instruction> {
    let mut program = Program(Vec::new());
    program.load(LOAD_BYTE, PACKET_TYPE);
    program.test(IF_EQUAL, 0, To::Next, To::Reject);
    program.load(LOAD_HALF, 6);
    program.test(IF_ANY_BIT, 0x3fff, To::Reject, To::Next);
    program.load(HEADER_LENGTH_TO_X, 0);
    program.load(LOAD_BYTE, 9);
    program.datagram_or_segment();
    for prober in program.named(probers) {
        program.load(LOAD_WORD, 12);
        program.test(IF_EQUAL, (*prober).into(), To::Accept, To::Next);
    }
    program.finish()
}

/// The same for IPv6.
pub(super) fn ipv6(probers: &[Ipv6Addr]) -> Vec<Instruction> {
    let mut program = Program(Vec::new());
    program.load(LOAD_BYTE, PACKET_TYPE);
    program.test(IF_EQUAL, 0, To::Next, To::Reject);
    program.load(X_BECOMES, 40);
    program.load(LOAD_BYTE, 6);
    program.datagram_or_segment();
    for prober in program.named(probers) {
        let octets = prober.octets();
        let words = octets.chunks_exact(4).map(|it| u32::from_be_bytes([it[0], it[1], it[2], it[3]]));
        for (number, word) in (0_u8..4).zip(words) {
            program.load(LOAD_WORD, 8 + 4 * u32::from(number));
            let (equal, other) =
                if number == 3 { (To::Accept, To::Next) } else { (To::Next, To::Skip(2 * (3 - number))) };
            program.test(IF_EQUAL, word, equal, other);
        }
    }
    program.finish()
}

/// The addresses of each family.
pub(super) fn by_family(addresses: &[IpAddr]) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let mut families = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => families.0.push(*address),
            IpAddr::V6(address) => families.1.push(*address),
        }
    }
    families
}

impl Program {
    fn load(&mut self, code: u16, value: u32) {
        self.0.push((code, To::Next, To::Next, value));
    }

    fn test(&mut self, code: u16, value: u32, if_true: To, if_false: To) {
        self.0.push((code, if_true, if_false, value));
    }

    /// The protocol is loaded, and X is where its header begins. Goes on with the beginning of a TCP connection.
    fn datagram_or_segment(&mut self) {
        self.test(IF_EQUAL, 17, To::Next, To::Skip(2));
        self.load(LOAD_WORD_AT_X, 8);
        self.test(IF_EQUAL, Packet::MAGIC, To::Accept, To::Reject);
        self.test(IF_EQUAL, 6, To::Next, To::Reject);
        self.load(LOAD_BYTE_AT_X, 13);
        self.load(AND, 0x12);
        self.test(IF_EQUAL, 0x02, To::Next, To::Reject);
    }

    /// The probers to tell from others: all of them, or none if they are too many.
    fn named<'a, T>(&mut self, probers: &'a [T]) -> &'a [T] {
        if probers.len() <= MOST {
            return probers;
        }
        self.0.push((RETURN, To::Next, To::Next, WHOLE));
        &[]
    }

    fn finish(self) -> Vec<Instruction> {
        let length = self.0.len();
        let resolve = |at: usize, to| match to {
            To::Next => 0,
            To::Skip(count) => count,
            To::Reject => (length - at - 1) as u8,
            To::Accept => (length - at) as u8,
        };
        let mut program: Vec<_> = (self.0.iter().enumerate())
            .map(|(at, (code, if_true, if_false, value))| Instruction {
                code: *code,
                if_true: resolve(at, *if_true),
                if_false: resolve(at, *if_false),
                value: *value,
            })
            .collect();
        for value in [0, WHOLE] {
            program.push(Instruction { code: RETURN, if_true: 0, if_false: 0, value });
        }
        program
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arrival::{self, Arrival, tests as bytes};
    use super::*;

    /// Runs a program as the kernel does.
    fn passes(program: &[Instruction], packet: &[u8], packet_type: u8) -> bool {
        let load = |at: usize, length: usize| -> Option<u32> {
            let bytes = packet.get(at..at.checked_add(length)?)?;
            Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
        };
        let (mut a, mut x, mut at) = (0_u32, 0_u32, 0_usize);
        loop {
            let Instruction { code, if_true, if_false, value } = program[at];
            at += 1;
            let loaded = match code {
                LOAD_BYTE if value == PACKET_TYPE => Some(packet_type.into()),
                LOAD_BYTE => load(value as usize, 1),
                LOAD_HALF => load(value as usize, 2),
                LOAD_WORD => load(value as usize, 4),
                LOAD_BYTE_AT_X => load((x + value) as usize, 1),
                LOAD_WORD_AT_X => load((x + value) as usize, 4),
                AND => Some(a & value),
                HEADER_LENGTH_TO_X | X_BECOMES => {
                    let length = load(0, 1).map(|byte| (byte & 0xf) * 4);
                    match if code == X_BECOMES { Some(value) } else { length } {
                        Some(length) => x = length,
                        None => return false,
                    }
                    continue;
                }
                IF_EQUAL | IF_ANY_BIT => {
                    let holds = if code == IF_EQUAL { a == value } else { a & value != 0 };
                    at += usize::from(if holds { if_true } else { if_false });
                    continue;
                }
                RETURN => return value > 0,
                other => panic!("{other:#x}"),
            };
            match loaded {
                Some(loaded) => a = loaded,
                None => return false,
            }
        }
    }

    fn program(of: &[u8], probers: &[IpAddr]) -> Vec<Instruction> {
        let (v4, v6) = by_family(probers);
        if of[0] >> 4 == 4 { ipv4(&v4) } else { ipv6(&v6) }
    }

    #[test]
    fn our_datagrams_pass_and_those_of_others_do_not() {
        for (source, destination) in bytes::ends() {
            let ours = bytes::datagram(source, destination, b"SWP1 and so on");
            assert!(passes(&program(&ours, &[]), &ours, 0));
            assert!(!passes(&program(&ours, &[]), &ours, 4), "one that this machine sent");
            let others = bytes::datagram(source, destination, b"\x80\x60media");
            assert!(!passes(&program(&others, &[]), &others, 0));
        }
    }

    #[test]
    fn of_connections_only_the_beginnings_of_probers_pass() {
        let strangers: [IpAddr; 2] = ["198.51.100.21".parse().unwrap(), "2001:db8::21".parse().unwrap()];
        for (source, destination) in bytes::ends() {
            let begin = bytes::segment(source, destination, 0x02);
            let probers = [strangers.as_slice(), &[source.ip()]].concat();
            assert!(passes(&program(&begin, &probers), &begin, 0));
            assert!(!passes(&program(&begin, &strangers), &begin, 0));
            assert!(!passes(&program(&begin, &[]), &begin, 0));
            let answer = bytes::segment(source, destination, 0x12);
            assert!(!passes(&program(&answer, &probers), &answer, 0));
        }
    }

    #[test]
    fn of_more_probers_than_a_program_names_none_is_left_out() {
        for count in [29, 30, 31, 60, 130, 500_u16] {
            let probers: Vec<IpAddr> = (0..count)
                .flat_map(|number| {
                    let [high, low] = number.to_be_bytes();
                    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number);
                    [IpAddr::from([198, 18, high, low]), IpAddr::from(v6)]
                })
                .collect();
            for (source, destination) in bytes::ends() {
                let probers = [probers.as_slice(), &[source.ip()]].concat();
                let passing = |packet: &[u8]| passes(&program(packet, &probers), packet, 0);
                assert!(passing(&bytes::segment(source, destination, 0x02)), "{count}");
                assert!(!passing(&bytes::segment(source, destination, 0x12)), "{count}");
                assert!(passing(&bytes::datagram(source, destination, b"SWP1 and so on")), "{count}");
                assert!(!passing(&bytes::datagram(source, destination, b"\x80\x60media")), "{count}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_observer_would_make_something_of_passes(
            family in 0_usize..2,
            is_ours in any::<bool>(),
            flags in any::<u8>(),
            is_datagram in any::<bool>(),
            noise in proptest::collection::vec((0_usize..100, any::<u8>()), 0..3),
        ) {
            let (source, destination) = bytes::ends()[family];
            let payload: &[u8] = if is_ours { b"SWP1 and so on" } else { b"\x80\x60media" };
            let mut packet = if is_datagram {
                bytes::datagram(source, destination, payload)
            } else {
                bytes::segment(source, destination, flags)
            };
            for (at, value) in noise {
                // What is not IP of that family is never handed to the program.
                if let Some(byte) = packet.get_mut(at.max(1)) {
                    *byte = value;
                }
            }
            let is_for_us = match arrival::read(&packet) {
                Some(Arrival::Datagram { payload, .. }) => payload.starts_with(b"SWP1"),
                Some(Arrival::Syn { source: from, .. }) => from.ip() == source.ip(),
                None => false,
            };
            let has_passed = passes(&program(&packet, &[source.ip()]), &packet, 0);
            prop_assert!(has_passed || !is_for_us);
        }
    }
}
