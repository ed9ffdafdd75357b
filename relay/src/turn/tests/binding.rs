//! RFC 8489 sections 2 and 6.3: Binding, and what gets no answer.

use super::harness::*;
use crate::wire::*;

const ID: TransactionId = TransactionId([1; 12]);

#[test]
fn a_binding_tells_a_client_its_address_and_needs_no_credentials() {
    for client in ["198.51.100.7:50000", "[2001:db8::7]:50000"] {
        let mut world = World::new();
        let answer = world.request(udp(client), Builder::request(Method::Binding, ID)).unwrap();
        assert_eq!((answer.class(), answer.transaction()), (Class::Success, ID));
        assert_eq!(answer.xor_mapped_address().unwrap(), Some(addr(client)));
        assert_eq!(world.server.sessions(), 0);
    }
}

#[test]
fn a_binding_with_an_attribute_that_we_must_understand_and_do_not_is_a_420() {
    let mut world = World::new();
    let request = Builder::request(Method::Binding, ID).attribute(AttrType(0x7777), &[]).software("fine");
    let answer = world.request(udp("198.51.100.7:50000"), request).unwrap();
    assert_eq!(code(&answer), 420);
    assert_eq!(answer.attribute(attribute::UNKNOWN_ATTRIBUTES), Some(&[0x77, 0x77][..]));
}

#[test]
fn the_answer_to_many_unknown_attributes_is_not_longer_than_the_question() {
    let mut world = World::new();
    let request = (0..2000)
        .fold(Builder::request(Method::Binding, ID), |it, n| it.attribute(AttrType(n + 0x1000), &[]));
    let answer = world.request(udp("198.51.100.7:50000"), request).unwrap();
    assert_eq!(answer.attribute(attribute::UNKNOWN_ATTRIBUTES).map(<[u8]>::len), Some(32));
}

#[test]
fn a_request_from_port_0_gets_no_answer() {
    let mut world = World::new();
    for method in [Method::Binding, Method::Allocate] {
        assert!(world.request(udp("198.51.100.7:0"), Builder::request(method, ID)).is_none());
    }
}

#[test]
fn responses_indications_and_unknown_methods_get_no_answer() {
    let mut world = World::new();
    let client = udp("198.51.100.7:50000");
    for class in [Class::Indication, Class::Success, Class::Error] {
        for method in [Method::Binding, Method::Allocate, Method::Refresh, Method::Send, Method::Data] {
            assert!(world.request(client, Builder::new(class, method, ID)).is_none());
        }
    }
    let connect = Method::Other(rtc_stun::message::METHOD_CONNECT);
    assert!(world.request(client, Builder::request(connect, ID)).is_none());
    assert!(world.request(client, Builder::request(Method::Send, ID)).is_none());
}
