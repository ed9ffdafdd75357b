//! Any datagram: whatever can be read of it is read, and what is one thing is not another.

#![no_main]

use hubs_relay::wire::{Frame, Indication, IntegrityKey, Message, attribute};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let Some(frame) = Frame::of_datagram(datagram) else { return };
    match frame {
        Frame::ChannelData(data) => assert!(data.payload.len() + 4 <= datagram.len()),
        Frame::Message(bytes) => {
            if Indication::is_indication(bytes) {
                let _ = Indication::read(bytes);
            }
            let Ok(message) = Message::parse(bytes) else { return };
            let _ = (message.username(), message.realm(), message.nonce(), message.software());
            let _ = (message.error_code(), message.lifetime(), message.channel_number());
            let _ = (message.requested_transport(), message.requested_address_family(), message.even_port());
            let _ = (message.xor_mapped_address(), message.xor_relayed_address());
            let _ = message.xor_peer_addresses().count();
            // What is behind MESSAGE-INTEGRITY is not covered by it, so nobody must see it.
            assert!(message.attribute(attribute::MESSAGE_INTEGRITY).is_none());
            assert!(!message.verify(&IntegrityKey::short_term("nobody's password")));
        }
    }
});
