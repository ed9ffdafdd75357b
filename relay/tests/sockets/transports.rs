//! Allocate, permission, channel, and data both ways, on each transport and in both families.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hubs_relay::wire::{
    Builder, Family, Frame, Icmp, Indication, IndicationKind, Message, Method, PROTOCOL_UDP,
};
use hubs_relay::{Config, Relay};
use rustls::{ALL_VERSIONS, HandshakeKind};

use crate::client::{self, Client, Connection, LIMIT, Link, USER, channel, channel_data, code, heard};
use crate::identity::Identity;

/// A relay on one port of each transport, for peers on loopback.
fn start(family: Family, identity: &Identity) -> Relay {
    let host = host(family);
    let (user, password) = USER;
    let text = format!(
        "listen = ['udp://{host}:0', 'tcp://{host}:0', 'tls://{host}:0']\n\
         relay.address = ['127.0.0.1', '::1']\nrelay.workers = 2\n\
         auth.users = {{ {user} = '{password}' }}\n\
         peers.allow = ['127.0.0.1:1-65535', '[::1]:1-65535']\npeers.map = ['203.0.113.9=127.0.0.1']\n{}",
        identity.config()
    );
    Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap()
}

const fn host(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.1",
        Family::V6 => "[::1]",
    }
}

/// Runs a conversation over each transport, with clients of this family.
fn on_each_transport(family: Family, converse: impl Fn(&mut dyn Link)) {
    let identity = Identity::new("turn.test");
    let relay = start(family, &identity);
    let [udp, tcp, tls] = relay.listeners() else { panic!("three listeners") };
    converse(&mut client::udp(udp.address));
    converse(&mut Connection::new(client::tcp(tcp.address)));
    converse(&mut Connection::new(client::tls(client::tcp(tls.address), &identity)));
}

fn peer(family: Family) -> UdpSocket {
    let peer = UdpSocket::bind((host(family).trim_matches(['[', ']']), 0)).unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    peer
}

impl Link for &mut dyn Link {
    fn send(&mut self, frame: &[u8]) {
        (**self).send(frame);
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        (**self).receive()
    }
}

#[test]
fn data_flows_both_ways_on_a_channel_and_in_indications() {
    for family in [Family::V4, Family::V6] {
        on_each_transport(family, |link| {
            let mut client = Client::new(link);
            let peer = peer(family);
            let to = peer.local_addr().unwrap();
            let relayed = client.allocate();
            assert_eq!((Family::of(relayed), relayed.ip()), (family, to.ip()));
            assert_eq!(client.permit(to), 0);

            client.send_to(to, b"five!");
            assert_eq!(heard(&peer), (b"five!".to_vec(), relayed));
            peer.send_to(b"seven..", relayed).unwrap();
            let received = client.receive().unwrap();
            let data = Indication::read(&received).unwrap();
            assert_eq!((data.kind, data.peer, data.payload), (IndicationKind::Data, to, &b"seven.."[..]));

            // Each length modulo 4, and back to back: on a stream the padding keeps them apart.
            assert_eq!(client.bind(channel(0x4000), to), 0);
            for len in [0, 1, 2, 3, 4, 1200] {
                client.send_on(channel(0x4000), &vec![len as u8; len]);
            }
            for len in [0, 1, 2, 3, 4, 1200] {
                assert_eq!(heard(&peer), (vec![len as u8; len], relayed));
                peer.send_to(&vec![len as u8; len], relayed).unwrap();
            }
            for len in [0, 1, 2, 3, 4, 1200] {
                let received = client.receive().unwrap();
                assert_eq!(received, channel_data(channel(0x4000), &vec![len as u8; len]));
            }

            assert_eq!(client.refresh(Duration::ZERO), 0);
            assert_eq!(client.permit(to), 437);
        });
    }
}

#[test]
fn binding_tells_the_client_its_own_address() {
    let identity = Identity::new("turn.test");
    for family in [Family::V4, Family::V6] {
        let relay = start(family, &identity);
        let [udp, tcp, tls] = relay.listeners() else { panic!("three listeners") };
        let socket = client::udp(udp.address);
        let own = socket.local_addr().unwrap();
        assert_eq!(Client::new(socket).binding(), own);
        let stream = client::tcp(tcp.address);
        let own = stream.local_addr().unwrap();
        assert_eq!(Client::new(Connection::new(stream)).binding(), own);
        let stream = client::tcp(tls.address);
        let own = stream.local_addr().unwrap();
        assert_eq!(Client::new(Connection::new(client::tls(stream, &identity))).binding(), own);
    }
}

#[test]
fn a_client_of_one_family_may_ask_for_the_other() {
    on_each_transport(Family::V4, |link| {
        let mut client = Client::new(link);
        let ask = |it: Builder| it.requested_transport(PROTOCOL_UDP).requested_address_family(Family::V6);
        let answer = client.request(Method::Allocate, ask);
        assert_eq!(code(&answer), 0);
        let relayed = answer.xor_relayed_address().unwrap().unwrap();
        let peer = peer(Family::V6);
        assert_eq!(client.permit(peer.local_addr().unwrap()), 0);
        client.send_to(peer.local_addr().unwrap(), b"over there");
        assert_eq!(heard(&peer), (b"over there".to_vec(), relayed));
    });
}

#[test]
fn a_client_may_have_an_address_of_each_family() {
    on_each_transport(Family::V4, |link| {
        let mut client = Client::new(link);
        let ask = |it: Builder| it.requested_transport(PROTOCOL_UDP).additional_address_family(Family::V6);
        let answer = client.request(Method::Allocate, ask);
        assert_eq!(code(&answer), 0);
        let relayed: Vec<SocketAddr> = answer.xor_relayed_addresses().map(Result::unwrap).collect();
        for (family, relayed) in [Family::V4, Family::V6].into_iter().zip(relayed) {
            let peer = peer(family);
            let to = peer.local_addr().unwrap();
            assert_eq!(client.permit(to), 0);
            client.send_to(to, b"ping");
            assert_eq!(heard(&peer), (b"ping".to_vec(), relayed));
            peer.send_to(b"pong", relayed).unwrap();
            let received = client.receive().unwrap();
            let data = Indication::read(&received).unwrap();
            assert_eq!((data.peer, data.payload), (to, &b"pong"[..]));
        }
    });
}

/// RFC 8656 section 11.5.
#[test]
fn who_sends_to_a_port_where_nobody_listens_is_told_and_loses_nothing_else() {
    // Types and codes of "port unreachable".
    for (family, (kind, unreachable)) in [(Family::V4, (3, 3)), (Family::V6, (1, 4))] {
        on_each_transport(family, |link| {
            let mut client = Client::new(link);
            let relayed = client.allocate();
            let closed = peer(family).local_addr().unwrap();
            let open = peer(family);
            assert_eq!(client.permit(closed), 0);
            assert_eq!(client.permit(open.local_addr().unwrap()), 0);
            for round in 0..20_u8 {
                client.send_to(closed, b"anybody there?");
                client.send_to(open.local_addr().unwrap(), &[round]);
                assert_eq!(heard(&open), (vec![round], relayed));
                let told = Message::parse(&client.receive().unwrap()).unwrap();
                assert_eq!(told.xor_peer_address(), Ok(Some(closed)));
                assert_eq!(told.icmp(), Ok(Some(Icmp { kind, code: unreachable, data: 0 })));
            }
        });
    }
}

#[test]
fn an_announced_address_is_a_name_for_the_real_one() {
    on_each_transport(Family::V4, |link| {
        let mut client = Client::new(link);
        let peer = peer(Family::V4);
        let announced = SocketAddr::new("203.0.113.9".parse().unwrap(), peer.local_addr().unwrap().port());
        let relayed = client.allocate();
        assert_eq!(client.permit(announced), 0);
        client.send_to(announced, b"ping");
        assert_eq!(heard(&peer), (b"ping".to_vec(), relayed));
        peer.send_to(b"pong", relayed).unwrap();
        let received = client.receive().unwrap();
        let data = Indication::read(&received).unwrap();
        assert_eq!((data.peer, data.payload), (announced, &b"pong"[..]));
    });
}

#[test]
fn a_burst_arrives_whole_and_in_order() {
    on_each_transport(Family::V4, |link| {
        let mut client = Client::new(link);
        let peer = peer(Family::V4);
        let relayed = client.allocate();
        assert_eq!(client.bind(channel(0x4001), peer.local_addr().unwrap()), 0);
        for round in 0..30 {
            let number_of = |number| (round * 8_u8) + number;
            for number in 0..8 {
                // Equal lengths, as video has them, and one that differs.
                let len = if number == 5 { 300 } else { 1000 };
                client.send_on(channel(0x4001), &vec![number_of(number); len]);
            }
            for number in 0..8 {
                let (bytes, _) = heard(&peer);
                assert_eq!(bytes[0], number_of(number));
                peer.send_to(&bytes, relayed).unwrap();
            }
            for number in 0..8 {
                let received = client.receive().unwrap();
                let Some(Frame::ChannelData(data)) = Frame::of_datagram(&received) else {
                    panic!("{received:?}")
                };
                assert_eq!(data.payload[0], number_of(number));
            }
        }
    });
}

#[test]
fn a_browsers_second_tls_connection_needs_no_signature() {
    let identity = Identity::new("turn.test");
    let relay = start(Family::V4, &identity);
    for version in ALL_VERSIONS {
        let browser = client::browser(&identity, &[version]);
        let handshakes = [(); 2].map(|()| {
            let stream = client::tls_with(client::tcp(relay.listeners()[2].address), &identity, &browser);
            let mut client = Client::new(Connection::new(stream));
            client.allocate();
            client.link.stream.conn.handshake_kind()
        });
        assert_eq!(handshakes, [HandshakeKind::Full, HandshakeKind::Resumed].map(Some), "{version:?}");
    }
}
