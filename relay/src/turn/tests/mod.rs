//! The core in virtual time. Each test is a sentence about one behaviour, under the RFC section that asks for it.

mod allocate;
mod authentication;
mod binding;
mod both_families;
mod browsers;
mod channels;
mod drain;
mod hardening;
mod harness;
mod icmp;
mod indications;
mod peers;
mod permissions;
mod properties;
mod refresh;
mod reservations;
mod rfc8489;

use harness::*;

/// The whole of TURN in a few lines: what a browser does in a Hubs room.
#[test]
fn media_crosses_the_relay_both_ways() {
    let mut world = World::new();
    let mut browser = Caller::from_hubs(&mut world, stream("198.51.100.7:50000"));
    let allocated = browser.allocate(&mut world);
    let relay = *world.relays.keys().next().unwrap();
    assert_eq!(allocated.xor_relayed_address().unwrap(), Some(world.relays[&relay]));
    assert_eq!(code(&browser.permit(&mut world, &[ANNOUNCED])), 0);

    let check = world.client_sends(browser.client, &send(ANNOUNCED, b"ICE check")).unwrap();
    assert_eq!((check.peer, &check.payload[..]), (addr(DIALOG), &b"ICE check"[..]));
    assert_eq!(code(&browser.bind(&mut world, 0x4000, ANNOUNCED)), 0);
    let media = world.client_sends(browser.client, &channel_data(0x4000, b"opus")).unwrap();
    assert_eq!((media.peer, &media.payload[..]), (addr(DIALOG), &b"opus"[..]));

    let (client, received) = world.peer_sends(relay, DIALOG, b"opus!").unwrap();
    assert_eq!(client, browser.client);
    assert_eq!(received, [&channel_data(0x4000, b"opus!")[..], &[0, 0, 0]].concat());
}
