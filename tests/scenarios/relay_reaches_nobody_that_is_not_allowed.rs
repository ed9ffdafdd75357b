//! Nobody is sent a packet whom the operator has not allowed: by no form of address, by no message, on an allocation of
//! neither family. Packets are counted on a network on which each of these addresses would be reached.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};

use hubs_relay::wire::Family;
use hubs_relay::{Config, Relay};
use hubs_tests::bed::{REALM, loopback};
use hubs_tests::need::{self, skip};
use hubs_tests::network::{Counted, Network};
use hubs_tests::relay::USER;
use hubs_tests::turn::{TurnClient, echo_at};
use nix::net::if_::if_nametoindex;

/// The node that the relay runs on, as AKS numbers it; the next one's dialog is the peer that clients may reach.
const NODE: [&str; 2] = ["10.224.0.4", "fd00:10:224::4"];
const ROUTER: [&str; 2] = ["10.224.0.1", "fd00:10:224::1"];
const DIALOG: [&str; 2] = ["10.224.0.5", "fd00:10:224::5"];
/// What dialog says its address is.
const ANNOUNCED: &str = "203.0.113.9";
/// What the relay says its address is.
const ADVERTISED: [&str; 2] = ["203.0.113.7", "2001:db8::7"];
const LISTENER: u16 = 3478;
/// One of the ports that clients may reach.
const PORT: u16 = 40000;
const CHANNEL: u16 = 0x4000;
const OTHER_CHANNEL: u16 = 0x4001;

/// Whom nobody allowed: addresses on a port on which dialog may be reached, or on the port that stands behind them.
const REFUSED: &[&str] = &[
    // This host, and the network that nobody numbers (RFC 6890).
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.0.0.1:22",
    "127.255.255.254",
    // Private, and what providers use like it.
    "10.0.0.1",
    "10.255.255.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.255.254",
    "100.64.0.1",
    "100.127.255.254",
    // Link-local, the clouds' metadata among it; Azure's wire server, which looks public.
    "169.254.0.1",
    "169.254.169.254",
    "169.254.169.254:80",
    "169.254.255.254",
    "168.63.129.16",
    "168.63.129.16:80",
    "168.63.129.16:32526",
    // For protocols, documentation, benchmarks, AS112, AMT, 6to4's anycast (RFC 6890 and IANA's registry).
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.254",
    "198.51.100.1",
    "203.0.113.1",
    // Groups, everybody, and the future.
    "224.0.0.1",
    "224.0.0.251:5353",
    "239.1.2.3",
    "239.255.255.250:1900",
    "240.0.0.1",
    "255.255.255.254",
    "255.255.255.255",
    // Anybody on the internet.
    "8.8.8.8:53",
    "1.1.1.1:443",
    // The same in IPv6.
    "::",
    "::1",
    "[::1]:22",
    "fc00::1",
    "fd00:ec2::254",
    "[fd00:ec2::254]:80",
    "fdff:ffff:ffff:ffff::1",
    "fe80::1",
    "febf:ffff:ffff:ffff::1",
    "fec0::1",
    "ff01::1",
    "ff02::1",
    "[ff02::fb]:5353",
    "ff05::2",
    "ff0e::1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:1::1",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "2620:4f:8000::1",
    "[2606:4700:4700::1111]:443",
    // An IPv4 address inside: mapped, compatible, translated, NAT64 and its local prefix, 6to4, Teredo, ISATAP.
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "[::ffff:127.0.0.1]:22",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "[::ffff:169.254.169.254]:80",
    "::ffff:168.63.129.16",
    "::ffff:224.0.0.1",
    "::ffff:255.255.255.255",
    "::127.0.0.1",
    "::10.0.0.1",
    "::169.254.169.254",
    "::ffff:0:127.0.0.1",
    "::ffff:0:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::168.63.129.16",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1:fffe::169.254.169.254",
    "2002::1",
    "2002:7f00:1::",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::",
    "2002:a9fe:a9fe::1",
    "2002:a83f:8110::1",
    "2001:0:7f00:1::",
    "2001::80ff:fffe",
    "2001::5601:5601",
    "fd00:10:224::5efe:169.254.169.254",
    // Hubs' own: the API and the DNS of the cluster, its database, a pod, the router.
    "10.0.0.1:443",
    "10.0.0.10:53",
    "10.0.7.7:5432",
    "10.244.0.1",
    "10.244.1.7:5432",
    "fd12:3456:789a::10:53",
    "10.224.0.1",
    "10.224.255.255",
    "[fd00:10:224::1]:53",
    // The node, and the relay on it: its listener by each name of the machine, and where it says it is.
    "10.224.0.4",
    "10.224.0.4:22",
    "10.224.0.4:10250",
    "fd00:10:224::4",
    "[fd00:10:224::4]:10250",
    "::ffff:10.224.0.4",
    "127.0.0.1:3478",
    "10.224.0.4:3478",
    "[::1]:3478",
    "[fd00:10:224::4]:3478",
    "[::ffff:127.0.0.1]:3478",
    "127.0.0.1:9641",
    "203.0.113.7",
    "203.0.113.7:3478",
    "2001:db8::7",
    "[2001:db8::7]:3478",
];

/// dialog's host on ports that nobody allowed. A permission is for a host, so that one is granted and opens nothing.
const REFUSED_PORTS: [u16; 9] = [0, 22, 53, 80, 443, 4443, 39999, 50000, 65535];

/// dialog, by names that are those of the other family to an allocation of either.
const OF_NO_FAMILY: &[&str] = &["::ffff:10.224.0.5", "::10.224.0.5", "64:ff9b::10.224.0.5", "2002:ae0:5::1"];

/// What is no single host, whatever a rule says.
const NOBODY: &[&str] = &[
    "0.0.0.0",
    "224.0.0.1",
    "224.0.0.251:5353",
    "239.1.2.3",
    "239.255.255.250:1900",
    "255.255.255.255",
    "::",
    "ff01::1",
    "ff02::1",
    "[ff02::fb]:5353",
    "ff05::2",
    "ff0e::1",
    "::ffff:0.0.0.0",
    "::ffff:224.0.0.1",
    "::ffff:255.255.255.255",
    "::224.0.0.1",
    "64:ff9b::",
    "64:ff9b::224.0.0.1",
    "64:ff9b::255.255.255.255",
    "2002::1",
    "2002:e000:1::1",
    "2002:ffff:ffff::1",
    "127.0.0.1:0",
    "8.8.8.8:0",
    "[2001:db8::1]:0",
];

#[test]
fn relay_reaches_nobody_that_is_not_allowed() {
    let Some(lab) = Lab::new() else { return };
    lab.near.run(|| {
        let _relay = start(&["10.224.0.5:40000-49999", "[fd00:10:224::5]:40000-49999"]);
        for family in [Family::V4, Family::V6] {
            let mut client = client();
            lab.count(&[&client]);
            let relayed = client.allocate_family(family).unwrap();
            let own = SocketAddr::new(of(family, NODE), relayed.port());
            let refused: Vec<SocketAddr> = REFUSED.iter().map(|it| at(it)).chain([relayed, own]).collect();
            let dialog = SocketAddr::new(of(family, DIALOG), PORT);

            // With no permission, and none gets in through a request that is refused.
            for peer in &refused {
                assert_refused(&mut client, *peer, dialog);
            }
            assert_ports_refused(&mut client, dialog);
            client.send_data(&[dialog], b"too early");
            assert_eq!(lab.counted(&mut client), [(); 2].map(|()| BTreeMap::new()), "{family:?}");

            // With dialog in reach, and in between packets for it.
            assert_eq!(client.permit(dialog), Ok(()));
            assert_eq!(client.bind(CHANNEL, dialog), Ok(()));
            for peer in &refused {
                assert_refused(&mut client, *peer, dialog);
                assert_eq!(client.bind(CHANNEL, *peer), Err(403), "{peer}");
            }
            assert_ports_refused(&mut client, dialog);
            assert_other_family_refused(&mut client, family);
            for said in [b"one", b"two"] {
                assert_eq!(client.exchange_on(CHANNEL, said), said);
            }
            let to_dialog = BTreeMap::from([(dialog, 2)]);
            assert_eq!(lab.counted(&mut client), [to_dialog.clone(), to_dialog], "{family:?}");
        }
    });
}

#[test]
fn no_rule_is_so_wide_that_a_packet_goes_to_nobody_or_to_everybody() {
    let Some(lab) = Lab::new() else { return };
    lab.near.run(|| {
        let _relay = start(&["0.0.0.0/0:1-65535", "[::]/0:1-65535"]);
        for family in [Family::V4, Family::V6] {
            let mut client = client();
            lab.count(&[&client]);
            client.allocate_family(family).unwrap();
            let dialog = SocketAddr::new(of(family, DIALOG), PORT);
            assert_eq!(client.permit(dialog), Ok(()));
            for peer in NOBODY.iter().map(|it| at(it)) {
                if peer.port() != 0 {
                    assert_refused(&mut client, peer, dialog);
                }
                let bound = client.bind(OTHER_CHANNEL, peer);
                assert_eq!(bound, Err(403), "{peer}");
                client.send_data(&[peer], b"to nobody");
            }
            // Everybody on the node's own network. The relay cannot know what is a broadcast there; its socket does.
            let _ = client.bind(OTHER_CHANNEL, at("10.224.255.255"));
            client.send_data(&[at("10.224.255.255")], b"to everybody");
            assert_eq!(client.exchange_data(dialog, b"to one"), Some(b"to one".to_vec()));
            let to_dialog = BTreeMap::from([(dialog, 1)]);
            assert_eq!(lab.counted(&mut client), [to_dialog.clone(), to_dialog], "{family:?}");
        }
    });
}

#[test]
fn whoever_is_named_is_reached_on_loopback_and_in_the_cluster_too() {
    let Some(lab) = Lab::new() else { return };
    lab.near.run(|| {
        let named = [
            "127.0.0.1:40000",
            "[::1]:40000",
            "169.254.169.254:80",
            "10.244.1.7:40000",
            "[fd00:ec2::254]:80",
        ];
        let _relay = start(&named);
        // Who lives on this machine answers; who does not is sent to all the same.
        let here = [echo_at(at("127.0.0.1:40000")), echo_at(at("[::1]:40000"))];
        for family in [Family::V4, Family::V6] {
            let mut client = client();
            lab.count(&[&client]);
            client.allocate_family(family).unwrap();
            let (reached, others): (Vec<_>, Vec<_>) =
                named.map(at).into_iter().partition(|peer| Family::of(*peer) == family);
            for peer in others {
                assert_eq!(client.permit(peer), Err(443), "{peer}");
                assert_eq!(client.bind(CHANNEL, peer), Err(443), "{peer}");
            }
            for peer in &reached {
                assert_eq!(client.permit(*peer), Ok(()), "{peer}");
                client.send_data(&[*peer], b"there");
                if here.contains(peer) {
                    assert_eq!(client.receive().data(), Some(&b"there"[..]));
                }
            }
            let [sent, _] = lab.counted(&mut client);
            let expected: BTreeMap<_, _> = reached.iter().map(|peer| (*peer, 1)).collect();
            // What the echo returns to the relay is sent here, too.
            let to_peers = sent.into_iter().filter(|(to, _)| named.map(at).contains(to));
            assert_eq!(to_peers.collect::<BTreeMap<_, _>>(), expected, "{family:?}");
        }
    });
}

/// Nothing of the above means anything if those packets could not leave anyway.
#[test]
fn each_address_has_a_way_on_this_network() {
    let Some(lab) = Lab::new() else { return };
    lab.near.run(|| {
        lab.count(&[]);
        let [ipv4, ipv6] = ["0.0.0.0:0", "[::]:0"].map(|it| UdpSocket::bind(it).unwrap());
        for socket in [&ipv4, &ipv6] {
            socket.set_broadcast(true).unwrap();
        }
        for refused in REFUSED {
            let peer = at(refused);
            let sent = match peer {
                SocketAddr::V4(_) => ipv4.send_to(b"x", peer),
                SocketAddr::V6(peer) => {
                    let link = if_nametoindex("wire0").unwrap();
                    ipv6.send_to(b"x", SocketAddrV6::new(*peer.ip(), peer.port(), 0, link))
                }
            };
            sent.unwrap_or_else(|error| panic!("{refused}: {error}"));
        }
        let [sent, _] = lab.take_counted();
        assert_eq!(sent.values().sum::<u64>(), REFUSED.len() as u64, "{sent:#?}");
    });
}

/// A node on whose only interface everything has its way, and what is behind that.
struct Lab {
    near: Network,
    far: Network,
}

impl Lab {
    fn new() -> Option<Self> {
        if skip(&[need::NETWORKS]) {
            return None;
        }
        let (near, far) = (Network::new(), Network::new());
        near.connect("wire0", &far, "wire1");
        let [ipv4, ipv6] = NODE;
        near.ip(&format!("address add {ipv4}/16 dev wire0\naddress add {ipv6}/64 dev wire0 nodad"));
        for [ipv4, ipv6] in [ROUTER, DIALOG] {
            far.ip(&format!("address add {ipv4}/16 dev wire1\naddress add {ipv6}/64 dev wire1 nodad"));
        }
        let [ipv4, ipv6] = ROUTER;
        near.ip(&format!("route add default via {ipv4}\nroute add ::/0 via {ipv6}"));
        far.run(|| DIALOG.map(|ip| echo_at(SocketAddr::new(ip.parse().unwrap(), PORT))));
        far.count(Counted::Received, "");
        Some(Self { near, far })
    }

    /// Begins to count what is sent on the node, but for what these clients and the relay say to each other.
    fn count(&self, clients: &[&TurnClient]) {
        let conversation = |client: &&TurnClient| {
            let port = client.local_addr().port();
            format!(
                "ip saddr 127.0.0.1 ip daddr 127.0.0.1 udp sport {port} udp dport {LISTENER}\n\
                 ip saddr 127.0.0.1 ip daddr 127.0.0.1 udp sport {LISTENER} udp dport {port}"
            )
        };
        let except: Vec<String> = clients.iter().map(conversation).collect();
        self.near.count(Counted::Sent, &except.join("\n"));
        self.far.take_counted();
    }

    /// What has been sent until now for this client, as counted on the node and behind the wire.
    fn counted(&self, client: &mut TurnClient) -> [BTreeMap<SocketAddr, u64>; 2] {
        // The answer shows that what came before it has been dealt with.
        assert_eq!(client.refresh(), Ok(()));
        self.take_counted()
    }

    fn take_counted(&self) -> [BTreeMap<SocketAddr, u64>; 2] {
        [self.near.take_counted(), self.far.take_counted()]
    }
}

/// A relay on each address of the node, from which clients may reach these.
fn start(allow: &[&str]) -> Relay {
    let (user, password) = USER;
    let text = format!(
        "realm = '{REALM}'\nlisten = ['udp://0.0.0.0:{LISTENER}', 'udp://[::]:{LISTENER}']\n\
         relay.address = {NODE:?}\nrelay.advertise = {ADVERTISED:?}\nauth.users = {{ {user} = '{password}' }}\n\
         [peers]\nallow = {allow:?}\nmap = ['{ANNOUNCED}={}']\n",
        DIALOG[0]
    );
    Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap()
}

fn client() -> TurnClient {
    let (user, password) = USER;
    TurnClient::new(loopback(LISTENER), user, password)
}

/// Asks for a peer in every way, alone and together with dialog.
fn assert_refused(client: &mut TurnClient, peer: SocketAddr, dialog: SocketAddr) {
    for peers in [&[peer][..], &[peer, dialog], &[dialog, peer]] {
        assert_eq!(client.permit_all(peers), Err(403), "{peers:?}");
    }
    for peers in [&[peer][..], &[peer, dialog]] {
        assert_eq!(client.bind_all(OTHER_CHANNEL, peers), Err(403), "{peers:?}");
        client.send_data(peers, b"to whom nobody allowed");
    }
}

/// Asks for ports of dialog's host that nobody allowed.
fn assert_ports_refused(client: &mut TurnClient, dialog: SocketAddr) {
    for port in REFUSED_PORTS {
        let peer = SocketAddr::new(dialog.ip(), port);
        assert_eq!(client.bind(OTHER_CHANNEL, peer), Err(403), "{peer}");
        client.send_data(&[peer], b"to a port that nobody allowed");
    }
}

/// Asks for what may be reached, but not from here.
fn assert_other_family_refused(client: &mut TurnClient, family: Family) {
    let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
    let mut names: Vec<SocketAddr> = OF_NO_FAMILY.iter().map(|it| at(it)).collect();
    names.push(SocketAddr::new(of(other, DIALOG), PORT));
    if family == Family::V6 {
        names.push(at(ANNOUNCED));
    }
    for peer in names {
        assert_eq!(client.permit(peer), Err(443), "{peer}");
        assert_eq!(client.bind(OTHER_CHANNEL, peer), Err(443), "{peer}");
        client.send_data(&[peer], b"to the other family");
    }
}

fn of(family: Family, [ipv4, ipv6]: [&str; 2]) -> IpAddr {
    if family == Family::V4 { ipv4 } else { ipv6 }.parse().unwrap()
}

/// An address with its port, or on [`PORT`].
fn at(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| SocketAddr::new(text.parse().unwrap(), PORT))
}
