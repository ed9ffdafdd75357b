//! The first bytes of any connection, and any datagram: they are one thing, and more bytes do not make it another.

#![no_main]

use hubs_relay::gateway::Gateway;
use hubs_relay::wire::{Frame, Opening, is_check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let told = (0..=bytes.len()).find_map(|len| Opening::tell(&bytes[..len]).map(|opening| (len, opening)));
    match told {
        Some((len, opening)) => {
            assert!(len <= Opening::ENOUGH);
            assert_eq!(Opening::tell(bytes), Some(opening));
        }
        None => assert!(bytes.len() < Opening::ENOUGH),
    }
    // What TURN knows besides STUN is never the gateway's.
    if Gateway::is_for(bytes) && is_check(bytes) {
        assert!(matches!(Frame::of_datagram(bytes), Some(Frame::Message(_))));
    } else if Gateway::is_for(bytes) {
        assert!(!matches!(Frame::of_datagram(bytes), Some(Frame::ChannelData(_))));
    }
});
