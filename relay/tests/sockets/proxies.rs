//! Behind a load balancer: the client is who a trusted sender says it is, and nobody else gets to say.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};

use hubs_relay::wire::{Builder, Family, Method, TransactionId};
use hubs_relay::{Config, Relay};

use crate::bounds::assert_closed;
use crate::client::{self, Client, Connection, USER, code};
use crate::identity::Identity;

const REAL: &str = "203.0.113.50:41000";

/// A relay on TCP and TLS that believes these senders.
fn start(identity: &Identity, trusted: &str, proxy_protocol: &str) -> Relay {
    let (user, password) = USER;
    let listen = |transport| {
        format!(
            "[[listen]]\ntransport = '{transport}'\naddress = '127.0.0.1:0'\n\
             proxy_protocol_from = ['{trusted}']\nproxy_protocol = '{proxy_protocol}'\n"
        )
    };
    let text = format!(
        "{}{}{}[relay]\naddress = '127.0.0.1'\nworkers = 1\n[auth]\nusers = {{ {user} = '{password}' }}\n\
         [limits]\nsessions_per_address = 1\nstrangers_per_address = 2\n",
        listen("tcp"),
        listen("tls"),
        identity.config(),
    );
    Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap()
}

fn v1(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, destination) =
        if client.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
    format!("PROXY {family} {} {destination} {} 5349\r\n", client.ip(), client.port()).into_bytes()
}

fn v2(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let addresses = [&ip[..], &ip, &client.port().to_be_bytes(), &[20, 229]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, family, 0, addresses.len() as u8][..], &addresses].concat()
}

/// A connection through a proxy that sends this first.
fn through_proxy(relay: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = client::tcp(relay);
    stream.write_all(header).unwrap();
    stream
}

#[test]
fn the_client_is_whom_a_trusted_sender_names() {
    let identity = Identity::new("turn.test");
    let relay = start(&identity, "127.0.0.0/8", "required");
    let [tcp, tls] = relay.listeners() else { panic!("two listeners") };
    for client in [REAL, "[2001:db8::50]:41000"] {
        for header in [v1(client), v2(client)] {
            let expected: SocketAddr = client.parse().unwrap();
            let stream = through_proxy(tcp.address, &header);
            assert_eq!(Client::new(Connection::new(stream)).binding(), expected);
            let stream = client::tls(through_proxy(tls.address, &header), &identity);
            assert_eq!(Client::new(Connection::new(stream)).binding(), expected);
        }
    }
}

#[test]
fn limits_count_the_real_client() {
    let identity = Identity::new("turn.test");
    let relay = start(&identity, "127.0.0.0/8", "optional");
    let tcp = relay.listeners()[0].address;
    let allocate = |client: &str| {
        let mut client = Client::new(Connection::new(through_proxy(tcp, &v2(client))));
        let answer = client.try_allocate();
        assert!(answer.xor_relayed_address().unwrap().is_none_or(|it| Family::of(it) == Family::V4));
        (code(&answer), client)
    };
    let (first, _kept) = allocate("203.0.113.50:1");
    let (other, _kept) = allocate("203.0.113.51:1");
    let (again, _) = allocate("203.0.113.50:2");
    assert_eq!((first, other, again), (0, 0, 486));
}

#[test]
fn strangers_are_counted_by_the_real_client_and_the_proxys_own_waiting_ones_for_nobody() {
    let relay = start(&Identity::new("turn.test"), "127.0.0.0/8", "optional");
    let tcp = relay.listeners()[0].address;
    let come = |client: &str| Client::new(Connection::new(through_proxy(tcp, &v2(client))));
    let _without_header = [(); 5].map(|()| client::tcp(tcp));
    for [one, two, three, other] in [
        ["203.0.113.50:1", "203.0.113.50:2", "203.0.113.50:3", "203.0.113.51:1"],
        ["[2001:db8::50]:1", "[2001:db8::51]:1", "[2001:db8::52]:1", "[2001:db8:0:1::50]:1"],
    ] {
        let mut admitted = [one, two].map(come);
        for client in &mut admitted {
            client.binding();
        }
        assert_closed(&mut through_proxy(tcp, &v2(three)));
        come(other).binding();
    }
}

#[test]
fn a_header_from_anybody_else_ends_the_connection() {
    let identity = Identity::new("turn.test");
    let relay = start(&identity, "192.0.2.0/24", "optional");
    for listen in relay.listeners() {
        for header in [v1(REAL), v2(REAL)] {
            assert_closed(&mut through_proxy(listen.address, &header));
        }
    }
    let stream = client::tcp(relay.listeners()[0].address);
    let own = stream.local_addr().unwrap();
    assert_eq!(Client::new(Connection::new(stream)).binding(), own, "without a header it is served");
}

#[test]
fn a_trusted_sender_without_a_header_is_the_client_unless_one_is_required() {
    let identity = Identity::new("turn.test");
    let relay = start(&identity, "127.0.0.1", "optional");
    let [tcp, tls] = relay.listeners() else { panic!("two listeners") };
    let stream = client::tcp(tcp.address);
    let own = stream.local_addr().unwrap();
    assert_eq!(Client::new(Connection::new(stream)).binding(), own);
    let stream = client::tcp(tls.address);
    let own = stream.local_addr().unwrap();
    assert_eq!(Client::new(Connection::new(client::tls(stream, &identity))).binding(), own);

    let relay = start(&identity, "127.0.0.1", "required");
    let request = Builder::request(Method::Binding, TransactionId([1; 12]));
    assert_closed(&mut through_proxy(relay.listeners()[0].address, &request.finish()));
}

#[test]
fn a_health_check_is_from_the_proxy_itself() {
    let relay = start(&Identity::new("turn.test"), "127.0.0.1", "required");
    let tcp = relay.listeners()[0].address;
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let stream = through_proxy(tcp, header);
        let own = stream.local_addr().unwrap();
        assert_eq!(Client::new(Connection::new(stream)).binding(), own);
    }
}

#[test]
fn a_header_that_breaks_off_or_makes_no_sense_ends_the_connection() {
    let relay = start(&Identity::new("turn.test"), "127.0.0.1", "optional");
    for listen in relay.listeners() {
        for header in [&b"PROXY TCP4 nobody\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", &[b'P'; 200]] {
            assert_closed(&mut through_proxy(listen.address, header));
        }
    }
}

#[test]
fn datagrams_have_no_headers_to_believe() {
    let text = "[[listen]]\ntransport = 'udp'\naddress = '127.0.0.1:0'\nproxy_protocol_from = ['127.0.0.1']";
    let error = Config::from_text(text, Some("relay.toml"), []).unwrap_err().to_string();
    assert!(error.contains("proxy_protocol_from is for tcp and tls"), "{error}");
    let text = "[[listen]]\ntransport = 'tls'\naddress = '127.0.0.1:0'\nproxy_protocol_from = ['haproxy']";
    let error = Config::from_text(text, Some("relay.toml"), []).unwrap_err().to_string();
    assert!(error.contains("\"haproxy\" is neither an address nor a CIDR"), "{error}");
}
