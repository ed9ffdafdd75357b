//! What a client may cost: connections that say nothing or the wrong thing, frames that never end, readers that do not
//! read.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;

use hubs_relay::wire::{Builder, Method, TransactionId, attribute};
use hubs_relay::{Config, Relay};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::admin::{get, parse, wait_for};
use crate::client::{self, Client, Connection, LIMIT, USER, channel, code};
use crate::dialog::Dialog;
use crate::gateway::{check, connect, create, talk};
use crate::identity::Identity;
use crate::program::Running;

const SOON: &str = "stranger_timeout = '300ms'";
const LATE: &str = "stranger_timeout = '10m'";

/// A relay with one worker, on TCP and TLS.
fn start(limits: &[&str]) -> Relay {
    let identity = Identity::new("turn.test");
    let (user, password) = USER;
    let text = format!(
        "listen = ['tcp://127.0.0.1:0', 'tls://127.0.0.1:0']\nrelay.address = '127.0.0.1'\nrelay.workers = 1\n\
         auth.users = {{ {user} = '{password}' }}\npeers.allow = ['127.0.0.1:1-65535']\n\
         [limits]\nhandshake_timeout = '300ms'\n{}\n{}",
        limits.join("\n"),
        identity.config()
    );
    Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap()
}

fn address(relay: &Relay) -> SocketAddr {
    relay.listeners()[0].address
}

/// Waits until the relay closes a connection that it has nothing to say to.
pub(crate) fn assert_closed(stream: &mut TcpStream) {
    match stream.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) if error.kind() == ErrorKind::Interrupted => assert_closed(stream),
        other => panic!("still open: {other:?}"),
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let relay = start(&[SOON]);
    for listen in relay.listeners() {
        assert_closed(&mut client::tcp(listen.address));
    }
}

#[test]
fn a_connection_that_says_little_at_a_time_is_closed_all_the_same() {
    let relay = start(&[SOON]);
    for listen in relay.listeners() {
        let mut stream = client::tcp(listen.address);
        let mut reader = stream.try_clone().unwrap();
        let closed = thread::spawn(move || assert_closed(&mut reader));
        // A Binding request of which a byte comes now and then; a TLS record begins no better.
        let request = Builder::request(Method::Binding, TransactionId([1; 12])).software("slow").finish();
        let bytes = if listen.address == address(&relay) { request } else { vec![22, 3, 1, 2, 0, 1, 0] };
        for byte in bytes.iter().take(bytes.len() - 1) {
            if closed.is_finished() || stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        closed.join().unwrap();
    }
}

#[test]
fn no_more_strangers_are_admitted_than_allowed_and_those_who_go_make_room() {
    let relay = start(&["strangers = 3", LATE]);
    let mut known = Client::new(Connection::new(client::tcp(address(&relay))));
    known.allocate();
    let strangers: Vec<_> =
        (0..3).map(|_| Client::new(Connection::new(client::tcp(address(&relay))))).collect();
    let strangers: Vec<_> = strangers.into_iter().map(|mut it| (it.binding(), it)).collect();
    assert_closed(&mut client::tcp(address(&relay)));
    assert_eq!(known.refresh(LIMIT), 0, "who has an allocation is no stranger");
    drop(strangers);
    // The relay learns of it a moment later.
    let admitted = || {
        let mut stream = client::tcp(address(&relay));
        let request = Builder::request(Method::Binding, TransactionId([1; 12])).finish();
        stream.write_all(&request).is_ok() && stream.read(&mut [0; 64]).is_ok_and(|len| len > 0)
    };
    assert!((0..1000).any(|_| admitted()));
}

#[test]
fn no_more_strangers_of_one_address_are_admitted_than_allowed_and_those_who_go_make_room() {
    let relay = start(&["strangers_per_address = 2", LATE]);
    for listen in relay.listeners() {
        let mut known = Client::new(Connection::new(client::tcp(address(&relay))));
        known.allocate();
        // They have said nothing yet, and count all the same.
        let strangers = [(); 2].map(|()| client::tcp(listen.address));
        assert_closed(&mut client::tcp(listen.address));
        for mut stranger in &strangers {
            stranger.set_nonblocking(true).unwrap();
            assert_eq!(stranger.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "they stay");
        }
        assert_eq!(known.refresh(LIMIT), 0, "who has an allocation is no stranger");
        let elsewhere = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        elsewhere.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        elsewhere.connect(&address(&relay).into()).unwrap();
        Client::new(Connection::new(TcpStream::from(elsewhere))).binding();
        drop(strangers);
        // The relay learns of it a moment later.
        let admitted = || {
            let mut stream = client::tcp(address(&relay));
            let request = Builder::request(Method::Binding, TransactionId([1; 12])).finish();
            stream.write_all(&request).is_ok() && stream.read(&mut [0; 64]).is_ok_and(|len| len > 0)
        };
        assert!((0..1000).any(|_| admitted()));
        assert_eq!(known.refresh(std::time::Duration::ZERO), 0);
    }
}

/// Relays of which each has met one of its bounds.
struct Meetings {
    identity: Identity,
    relays: Vec<(&'static str, SocketAddr, Relay)>,
}

impl Meetings {
    /// Lets a relay meet this bound, which has this value.
    fn meet(&mut self, gateway: &str, key: &'static str, value: &str, how: &dyn Fn(&Relay)) {
        let (user, password) = USER;
        // Nobody waits for the time limits where it is not about them.
        let patience = ["handshake_timeout", "stranger_timeout"].into_iter().filter(|it| *it != key);
        let limits = patience.fold(format!("{key} = {value}\n"), |all, it| all + it + " = '10m'\n");
        let text = format!(
            "listen = ['tcp://127.0.0.1:0', 'tls://127.0.0.1:0', 'udp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\n\
             relay.workers = 1\nauth.users = {{ {user} = '{password}' }}\n{gateway}\n\
             peers.allow = ['127.0.0.0/8:1-65535']\n[limits]\n{limits}\n{}",
            self.identity.config()
        );
        let mut relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();
        let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
        how(&relay);
        self.relays.push((key, admin, relay));
    }
}

#[test]
fn every_bound_has_a_counter_that_moves_when_it_is_met() {
    let mut meetings = Meetings { identity: Identity::new("turn.test"), relays: Vec::new() };
    meet_those_of_turn(&mut meetings);
    meet_those_of_the_gateway(&mut meetings);
    let keys = meetings.relays.iter().map(|(key, ..)| (*key).to_owned());
    assert_eq!(keys.collect::<BTreeSet<_>>(), bounds());
    for (key, admin, _relay) in meetings.relays {
        wait_for(admin, &format!("hubs_relay_limited_total{{limit=\"{key}\"}}"), 1.0);
    }
}

fn meet_those_of_turn(meetings: &mut Meetings) {
    let mut meet = |key: &'static str, value: &str, how: &dyn Fn(&Relay)| meetings.meet("", key, value, how);
    let tcp = |relay: &Relay| Client::new(Connection::new(client::tcp(address(relay))));
    let udp = |relay: &Relay| Client::new(client::udp(relay.listeners()[2].address));
    let peer = |host: u8| SocketAddr::from(([127, 0, 0, host], 5000));

    meet("sessions", "0", &|relay| assert_eq!(code(&udp(relay).try_allocate()), 508));
    meet("sessions_per_address", "1", &|relay| {
        udp(relay).allocate();
        assert_eq!(code(&udp(relay).try_allocate()), 486);
    });
    meet("permissions", "1", &|relay| {
        let mut client = udp(relay);
        client.allocate();
        assert_eq!((client.permit(peer(1)), client.permit(peer(2))), (0, 508));
    });
    meet("channels", "1", &|relay| {
        let mut client = udp(relay);
        client.allocate();
        let outcomes = [1, 2].map(|it| client.bind(channel(0x4000 + u16::from(it)), peer(it)));
        assert_eq!(outcomes, [0, 508]);
    });
    for key in ["stranger_answers", "stranger_answers_total"] {
        meet(key, "1", &|relay| {
            let mut client = udp(relay);
            // Twice as many at once, and a little while passes meanwhile.
            for _ in 0..3 {
                client.binding();
            }
            let request = Builder::request(Method::Binding, TransactionId([1; 12])).finish();
            client.link.send(&request).unwrap();
        });
    }
    for key in ["strangers", "strangers_per_address"] {
        meet(key, "1", &|relay| {
            let mut stranger = tcp(relay);
            stranger.binding();
            assert_closed(&mut client::tcp(address(relay)));
        });
    }
    for listener in [0, 1] {
        meet("handshake_timeout", "'300ms'", &|relay| {
            assert_closed(&mut client::tcp(relay.listeners()[listener].address));
        });
    }
    meet("handshake_timeout", "'300ms'", &|relay| {
        let mut hello = client::tcp(relay.listeners()[1].address);
        hello.write_all(&[22, 3, 1]).unwrap();
        assert_closed(&mut hello);
    });
    meet("stranger_timeout", "'300ms'", &|relay| {
        let mut stranger = tcp(relay);
        stranger.binding();
        assert_closed(&mut stranger.link.stream);
    });
    meet("stranger_timeout", "'300ms'", &|relay| {
        let mut client = tcp(relay);
        client.allocate();
        client.link.stream.write_all(&[0x40, 0x00, 0x01]).unwrap();
        assert_closed(&mut client.link.stream);
    });
    meet("queue", "1000", &|relay| {
        let mut client = tcp(relay);
        let (relayed, peer) = (client.allocate(), UdpSocket::bind("127.0.0.1:0").unwrap());
        assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
        peer.send_to(&[0; 2000], relayed).unwrap();
    });
}

fn meet_those_of_the_gateway(meetings: &mut Meetings) {
    let dialog = Dialog::start("127.0.0.1");
    let mut meet = |transport: &str, key: &'static str, value: &str, how: &dyn Fn(&Relay)| {
        let gateway = format!(
            "gateway = {{ listen = '{transport}://127.0.0.1:0', dialog = '{}', udp = '203.0.113.10:3478' }}",
            dialog.address
        );
        meetings.meet(&gateway, key, value, how);
    };
    let signalling = |relay: &Relay| relay.signalling().unwrap().address;
    let is_ours = |created: &Value| created["data"]["iceCandidates"][0]["ip"] == "203.0.113.10";
    for key in ["checks", "checks_total"] {
        meet("tcp", key, "1", &|relay| {
            let mut browser = connect(signalling(relay));
            let mut peer = dialog.peer();
            create(&mut browser, &dialog, &mut peer, "nameofdialogstransport");
            let media = client::udp(relay.listeners()[2].address);
            // As above.
            for number in 0..3 {
                talk(&media, "nameofdialogstransport", number);
            }
            media.send(&check("nameofdialogstransport", 3)).unwrap();
        });
    }
    for (key, browsers) in [("transports", 2), ("transports_per_connection", 1)] {
        meet("tcp", key, "1", &|relay| {
            let mut open: Vec<_> =
                (0..browsers).map(|_| (connect(signalling(relay)), dialog.peer())).collect();
            let (browser, peer) = &mut open[0];
            assert!(is_ours(&create(browser, &dialog, peer, "nameofthefirsttransport")));
            let (browser, peer) = open.last_mut().unwrap();
            assert!(!is_ours(&create(browser, &dialog, peer, "nameofthesecondtransport")));
        });
    }
    meet("tcp", "signalling", "1", &|relay| {
        let mut browser = connect(signalling(relay));
        let mut peer = dialog.peer();
        assert_closed(&mut client::tcp(signalling(relay)));
        assert!(is_ours(&create(&mut browser, &dialog, &mut peer, "nameofdialogstransport")));
    });
    for (transport, said) in
        [("tcp", &b""[..]), ("tcp", b"GET /?roomId=abc HTTP/1.1\r\n"), ("tls", &[22, 3, 1])]
    {
        meet(transport, "handshake_timeout", "'300ms'", &|relay| {
            let mut slow = client::tcp(signalling(relay));
            slow.write_all(said).unwrap();
            assert_closed(&mut slow);
        });
    }
}

/// Every key of `[limits]` but one: when the deadline has passed, the relay ends and nobody can ask any more.
fn bounds() -> BTreeSet<String> {
    let defaults: toml::Table = hubs_relay::config::DEFAULTS.parse().unwrap();
    let keys = defaults["limits"].as_table().unwrap().keys().cloned();
    keys.filter(|key| key != "drain_deadline").collect()
}

#[test]
fn no_more_connections_for_signalling_are_admitted_than_allowed_and_those_who_go_make_room() {
    let dialog = Dialog::start("127.0.0.1");
    let text = format!(
        "listen = ['udp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\nlimits.signalling = 2\n\
         gateway = {{ listen = 'tcp://127.0.0.1:0', dialog = '{}', udp = '203.0.113.10:3478' }}",
        dialog.address
    );
    let mut relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let signalling = relay.signalling().unwrap().address;
    let (browser, peer) = (connect(signalling), dialog.peer());
    // It has said nothing yet, and counts all the same.
    let _silent = client::tcp(signalling);
    wait_for(admin, "hubs_relay_gateway_signalling", 2.0);
    for _ in 0..3 {
        assert_closed(&mut client::tcp(signalling));
    }
    drop((browser, peer));
    wait_for(admin, "hubs_relay_gateway_signalling", 1.0);
    connect(signalling);
    wait_for(admin, "hubs_relay_limited_total{limit=\"signalling\"}", 3.0);
}

#[test]
fn an_allocation_that_no_port_is_left_for_is_a_508_and_counted() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (user, password) = USER;
    let text = format!(
        "listen = ['tcp://127.0.0.1:0']\nrelay = {{ address = '127.0.0.1', ports = '{port}', workers = 2 }}\n\
         auth.users = {{ {user} = '{password}' }}"
    );
    let mut relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let come = || Client::new(Connection::new(client::tcp(address(&relay))));
    let mut first = come();
    assert_eq!(first.allocate().port(), port);
    // Whichever worker they come to.
    for _ in 0..10 {
        assert_eq!(code(&come().try_allocate()), 508);
    }
    wait_for(admin, "hubs_relay_unopened_relays_total{reason=\"no_port\"}", 10.0);
    assert_eq!(first.refresh(std::time::Duration::ZERO), 0);
    // Its socket is closed a moment later.
    assert!((0..1000).any(|_| code(&come().try_allocate()) == 0));
}

#[test]
fn no_bound_is_without_a_counter() {
    let mut relay = start(&[LATE]);
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let samples = parse(&get(admin, "/metrics").2);
    let prefix = "hubs_relay_limited_total{limit=\"";
    let counted = samples.keys().filter_map(|it| it.strip_prefix(prefix)?.strip_suffix("\"}"));
    assert_eq!(bounds(), counted.map(str::to_owned).collect());
}

#[test]
fn a_frame_that_never_ends_closes_the_connection_of_a_client_with_an_allocation() {
    let relay = start(&[SOON]);
    let mut client = Client::new(Connection::new(client::tcp(address(&relay))));
    client.allocate();
    // Complete frames alone do not: this client was quiet for longer than a stranger may be.
    client.link.stream.set_read_timeout(Some(std::time::Duration::from_millis(700))).unwrap();
    assert_eq!(client.link.stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.link.stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(client.refresh(LIMIT), 0);
    client.link.stream.write_all(&[0x40, 0x00, 0x01]).unwrap();
    assert_closed(&mut client.link.stream);
}

#[test]
fn what_is_not_turn_closes_the_connection() {
    let relay = start(&[LATE]);
    let long =
        Builder::request(Method::Binding, TransactionId([1; 12])).attribute(attribute::DATA, &[0; 2500]);
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 20], &[0, 1, 0, 3, 0x21, 0x12, 0xa4, 0x42], &long.finish()]
    {
        let mut stream = client::tcp(address(&relay));
        stream.write_all(bytes).unwrap();
        assert_closed(&mut stream);
    }
}

#[test]
fn a_client_that_does_not_read_loses_packets_and_stays_in_step() {
    let relay = start(&["queue = 20000", LATE]);
    // A small window, so that little can hide in the kernel.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address(&relay).into()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut client = Client::new(Connection::new(TcpStream::from(socket)));
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relayed = client.allocate();
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);

    // Far more than queue and kernel hold, at a pace at which the relay reads everything: it answers a request on
    // another connection after each burst.
    let mut other = Client::new(Connection::new(client::tcp(address(&relay))));
    other.allocate();
    let bursts = 400_u16;
    for burst in 0..bursts {
        for _ in 0..20 {
            peer.send_to(&[&burst.to_be_bytes()[..], &[7; 1000]].concat(), relayed).unwrap();
        }
        other.binding();
    }
    let last = [0xff; 1002];
    let mut received = 0;
    loop {
        let frame = client.receive().expect("the connection holds");
        received += 1;
        if frame[4..] == last {
            break;
        }
        // What the queue lost is lost, and what comes now finds room again.
        peer.send_to(&last, relayed).unwrap();
    }
    assert!(received < usize::from(bursts) * 20, "nothing was lost, so the queue has no bound");
    assert_eq!(client.refresh(LIMIT), 0);
}

#[test]
fn strangers_leave_no_memory_behind_however_many_they_are() {
    // A quick machine sends more than are answered by default, and who comes last would wait for ever.
    let limits = ("HUBS_RELAY_LIMITS__STRANGER_ANSWERS_TOTAL", "0");
    let (relay, address) = Running::start(&[("HUBS_RELAY_RELAY__WORKERS", "1"), limits]);
    let mut last = Client::new(client::udp(address));
    let unsigned = Builder::request(Method::Allocate, TransactionId([1; 12])).finish();
    let mut come = |sources: std::ops::Range<u32>| {
        for source in sources {
            // Each address of 127.0.0.0/8 is ours.
            let [_, high, middle, low] = source.to_be_bytes();
            let stranger = UdpSocket::bind((Ipv4Addr::new(127, 1 + high, middle, low), 0)).unwrap();
            for _ in 0..5 {
                stranger.send_to(&unsigned, address).unwrap();
            }
            if source.is_multiple_of(20) {
                // Its answer shows that all before it have been dealt with.
                last.binding();
            }
        }
    };
    come(0..2000);
    let before = relay.resident();
    come(2000..22_000);
    let after = relay.resident();
    assert!(after <= before + 1024, "{before} KiB became {after} KiB");
}
