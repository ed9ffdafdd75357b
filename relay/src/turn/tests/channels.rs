//! RFC 8656 section 12: channels.

use std::time::Duration;

use super::harness::*;
use crate::wire::*;

fn allocated() -> (World, Caller, crate::turn::RelayId) {
    let mut world = World::new();
    let (caller, relay) = Caller::allocated(&mut world, udp("198.51.100.7:50000"));
    (world, caller, relay)
}

#[test]
fn a_channel_carries_both_ways_and_permits_its_peer() {
    let (mut world, mut caller, relay) = allocated();
    assert_eq!(code(&caller.bind(&mut world, 0x4000, NEIGHBOUR)), 0);
    let delivered = world.client_sends(caller.client, &channel_data(0x4000, b"out")).unwrap();
    assert_eq!((delivered.peer, &delivered.payload[..]), (addr(NEIGHBOUR), &b"out"[..]));
    let (client, bytes) = world.peer_sends(relay, NEIGHBOUR, b"in").unwrap();
    assert_eq!((client, bytes), (caller.client, channel_data(0x4000, b"in")));
    assert!(world.client_sends(caller.client, &send(NEIGHBOUR, b"x")).is_some(), "the permission");
}

#[test]
fn another_port_of_a_channels_host_comes_in_a_data_indication() {
    let (mut world, mut caller, relay) = allocated();
    caller.bind(&mut world, 0x4000, NEIGHBOUR);
    let (_, bytes) = world.peer_sends(relay, "10.0.0.6:40002", b"x").unwrap();
    assert_eq!(Indication::read(&bytes).unwrap().peer, addr("10.0.0.6:40002"));
}

#[test]
fn on_a_stream_channel_data_is_padded_to_four_bytes() {
    let mut world = World::new();
    let (mut caller, relay) = Caller::allocated(&mut world, stream("198.51.100.7:50000"));
    caller.bind(&mut world, 0x4000, NEIGHBOUR);
    for (payload, padding) in [(&b""[..], 0), (b"1", 3), (b"12", 2), (b"123", 1), (b"1234", 0)] {
        let (_, bytes) = world.peer_sends(relay, NEIGHBOUR, payload).unwrap();
        let padded = [&channel_data(0x4000, payload)[..], &vec![0; padding]].concat();
        assert_eq!(bytes, padded);
    }
}

#[test]
fn channel_data_on_an_unbound_channel_is_dropped() {
    let (mut world, mut caller, _) = allocated();
    caller.bind(&mut world, 0x4000, NEIGHBOUR);
    assert_eq!(world.client_sends(caller.client, &channel_data(0x4001, b"x")), None);
    assert_eq!(world.client_sends(udp("198.51.100.8:1"), &channel_data(0x4000, b"x")), None);
}

#[test]
fn a_channel_has_one_peer_and_a_peer_one_channel() {
    let (mut world, mut caller, _) = allocated();
    assert_eq!(code(&caller.bind(&mut world, 0x4000, NEIGHBOUR)), 0);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, ANNOUNCED)), 400);
    assert_eq!(code(&caller.bind(&mut world, 0x4001, NEIGHBOUR)), 400);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, NEIGHBOUR)), 0, "renewing is fine");
    assert_eq!(code(&caller.bind(&mut world, 0x4001, ANNOUNCED)), 0);
}

#[test]
fn a_channel_number_outside_the_range_is_a_400() {
    let (mut world, mut caller, _) = allocated();
    for channel in [0x3fff, 0x8000, 0xffff] {
        assert_eq!(code(&caller.bind(&mut world, channel, NEIGHBOUR)), 400, "{channel:#x}");
    }
    for channel in [0x4000, 0x7fff] {
        assert_eq!(code(&caller.bind(&mut world, channel, &format!("10.0.0.6:{}", 40000 + channel % 2))), 0);
    }
}

#[test]
fn a_channel_bind_without_its_number_or_peer_is_a_400() {
    let (mut world, mut caller, _) = allocated();
    let channel = ChannelNumber::MIN;
    assert_eq!(code(&caller.ask(&mut world, Method::ChannelBind, |it| it.channel_number(channel))), 400);
    let peer = addr(NEIGHBOUR);
    assert_eq!(code(&caller.ask(&mut world, Method::ChannelBind, |it| it.xor_peer_address(peer))), 400);
}

#[test]
fn a_channel_to_a_refused_peer_is_a_403_and_to_the_other_family_a_443() {
    let (mut world, mut caller, _) = allocated();
    assert_eq!(code(&caller.bind(&mut world, 0x4000, REFUSED)), 403);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, "10.0.0.6:22")), 403);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, "[2001:db8::5]:40000")), 443);
    assert_eq!(world.client_sends(caller.client, &channel_data(0x4000, b"x")), None);
}

#[test]
fn channels_beyond_the_limit_are_a_508() {
    let (mut world, mut caller, _) = allocated();
    for channel in 0x4000..0x4004_u16 {
        assert_eq!(code(&caller.bind(&mut world, channel, &format!("10.0.0.6:{}", 24000 + channel))), 0);
    }
    assert_eq!(code(&caller.bind(&mut world, 0x4004, "10.0.0.6:49000")), 508);
}

#[test]
fn a_channel_lasts_ten_minutes_and_its_permission_five() {
    let (mut world, mut caller, relay) = allocated();
    caller.refresh(&mut world, 3600);
    caller.bind(&mut world, 0x4000, NEIGHBOUR);
    world.wait(Duration::from_mins(5));
    assert_eq!(world.peer_sends(relay, NEIGHBOUR, b"x"), None, "the permission has expired");
    world.wait(Duration::from_secs(299));
    assert!(world.client_sends(caller.client, &channel_data(0x4000, b"x")).is_some());
    world.wait(Duration::from_secs(1));
    assert_eq!(world.client_sends(caller.client, &channel_data(0x4000, b"x")), None);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, ANNOUNCED)), 0, "the number is free again");
}
