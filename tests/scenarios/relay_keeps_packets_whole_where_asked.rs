//! A packet that a client sends with DONT-FRAGMENT is not cut up on its way, and the client hears where it did not fit
//! (RFC 8656 sections 11.5 and 14). All others arrive, in pieces if need be.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use hubs_relay::wire::{Builder, Class, Icmp, Method, TransactionId};
use hubs_relay::{Config, Relay};
use hubs_tests::bed::{REALM, loopback};
use hubs_tests::need::{self, skip};
use hubs_tests::network::Network;
use hubs_tests::relay::USER;
use hubs_tests::turn::{TurnClient, echo_at};

const LISTENER: u16 = 3478;
const PORT: u16 = 40000;
/// What the link behind the router takes: the least that IPv6 allows.
const MTU: u16 = 1280;
/// Fits the link before the router and not the one behind it.
const PAYLOAD: &[u8] = &[7; 1400];

#[test]
fn over_ipv4_the_router_says_what_would_fit() {
    // Destination unreachable, fragmentation needed (RFC 1191 section 4).
    sent_whole("10.1.0.2", "10.2.0.2", Icmp { kind: 3, code: 4, data: MTU.into() });
}

#[test]
fn over_ipv6_the_router_says_what_would_fit() {
    // Packet too big (RFC 4443 section 3.2).
    sent_whole("fd00:1::2", "fd00:2::2", Icmp { kind: 2, code: 0, data: MTU.into() });
}

/// Sends from a relay at `node` to a peer, past a link that is too narrow.
fn sent_whole(node: &str, peer: &str, too_big: Icmp) {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (near, router, far) = (Network::new(), Network::new(), Network::new());
    near.connect("wire0", &router, "wire1");
    router.connect("wire2", &far, "wire3");
    near.ip("address add 10.1.0.2/24 dev wire0\naddress add fd00:1::2/64 dev wire0 nodad");
    router.ip("address add 10.1.0.1/24 dev wire1\naddress add fd00:1::1/64 dev wire1 nodad");
    router.ip("address add 10.2.0.1/24 dev wire2\naddress add fd00:2::1/64 dev wire2 nodad");
    far.ip("address add 10.2.0.2/24 dev wire3\naddress add fd00:2::2/64 dev wire3 nodad");
    near.ip("route add default via 10.1.0.1\nroute add ::/0 via fd00:1::1");
    far.ip("route add default via 10.2.0.1\nroute add ::/0 via fd00:2::1");
    // What one end of a cable takes, the other must not exceed: virtual cables drop it without a word.
    router.ip(&format!("link set wire2 mtu {MTU}"));
    far.ip(&format!("link set wire3 mtu {MTU}"));
    router.run(|| {
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
        }
    });
    let [node, peer]: [IpAddr; 2] = [node, peer].map(|it| it.parse().unwrap());
    let peer = far.run(|| echo_at(SocketAddr::new(peer, PORT)));
    near.run(|| {
        let (user, password) = USER;
        let text = format!(
            "realm = '{REALM}'\nlisten = ['udp://127.0.0.1:{LISTENER}']\nrelay.address = '{node}'\n\
             auth.users = {{ {user} = '{password}' }}\npeers.allow = ['{peer}']\n"
        );
        let _relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();
        let mut client = TurnClient::new(loopback(LISTENER), user, password);
        client.allocate().unwrap();
        client.permit(peer).unwrap();

        let indication = Builder::new(Class::Indication, Method::Send, TransactionId([9; 12]));
        let whole = indication.xor_peer_address(peer).dont_fragment().data(PAYLOAD).finish();
        client.send(&whole);
        let told = client.receive();
        assert_eq!((told.method(), told.xor_peer_address()), (Method::Data, Ok(Some(peer))));
        assert_eq!(told.icmp(), Ok(Some(too_big)));
        // Again, although the kernel knows the path by now: the network has to be asked, not our memory of it.
        client.send(&whole);
        assert_eq!(client.receive().icmp(), Ok(Some(too_big)));
        // And one that may be cut up arrives, and comes back.
        assert_eq!(client.exchange_data(peer, PAYLOAD).as_deref(), Some(PAYLOAD));
    });
}
