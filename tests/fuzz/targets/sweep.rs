//! Any packet that the node gets, and any request: whatever is answered was authenticated, and nothing that was not is.

#![no_main]

use std::time::{Duration, Instant};

use hubs_relay::sweep::arrival::{self, Arrival};
use hubs_relay::sweep::{Observer, Packet, Token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let token: Token = "a-token-that-nobody-has".parse().unwrap();
    let now = Instant::now();
    let mut observer = Observer::new(token, now, now + Duration::from_secs(60));
    let _ = Packet::claimed(packet);
    let Some(arrival) = arrival::read(packet) else { return };
    if let Arrival::Datagram { payload, .. } = arrival {
        assert!(payload.len() < packet.len());
    }
    assert_eq!(observer.handle_arrival(now, arrival), None, "there is no session");
    assert!(observer.probers().is_empty());
});
