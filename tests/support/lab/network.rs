//! The networks between a laptop and a Hubs deployment on Azure, each a namespace.
//!
//! ```text
//! laptop ── home ──────────── internet ──────────── azure ─────────── node ── pods
//! .178.20   masquerades as    the world's DNS,      load balancer,    dialog, haproxy, Reticulum,
//!           198.51.100.20     ipinfo.io             groups, SNAT      coturn  database, hubs-relay
//! ```
//!
//! Every lab has the same addresses, since its namespaces are its own.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::names::{self, Addresses, SERVER_IPV6, SERVERS, Signatures, Zone};
use super::nsg::Group;
use super::scenario::{Azure, Families, Gateway, Home, Pods, Scenario};
use super::{Namespace, nsg, wire};
use crate::bed::{DOMAIN, NAMES};

/// Where the load balancer takes what is for Hubs: the address that the four names have.
pub(super) const FRONTEND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// With which the cluster goes out to the internet by default. Nothing comes in there.
const EGRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// The node's own public address, if it has one.
pub const NODE_PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 40);
/// The node in its virtual network.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 224, 0, 4);
/// Another node of the cluster, on which there is coturn or nothing.
pub(super) const OTHER_NODE: Ipv4Addr = Ipv4Addr::new(10, 224, 0, 5);
/// The ingress's pod.
pub(super) const HAPROXY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 5);
/// Reticulum's pod.
pub(super) const RETICULUM: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 6);
/// pgbouncer's pod.
pub(super) const PGBOUNCER: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 7);
/// hubs-relay's pod.
pub(super) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 8);
/// Another replica's.
pub(super) const OTHER_RELAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 9);
/// The address of the Service `dialog`, where it has one.
pub(super) const DIALOG_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 20);
/// Where the media gateway takes UDP.
pub(super) const GATEWAY_PORT: u16 = 3478;

/// Who tells others their address, as the start script of Hubs' dialog and coturn asks <https://ipinfo.io/ip>.
const IPINFO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// A resolver for everybody, which the home's router asks.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// The resolver of Azure's machines.
const AZURE_RESOLVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
/// The resolver of the cluster's pods.
const CLUSTER_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

const DNS: u16 = 53;
const STUN: u16 = 3478;
/// Where the router of a hotel has its login page.
const LOGIN_PORT: u16 = 8080;

/// The security group of the nodes' interfaces.
const NODES_GROUP: &str = "aks-agentpool-21418527-nsg";

/// All of them, connected and running.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) laptop: Namespace,
    pub(super) node: Namespace,
    pub(super) other_node: Namespace,
    pub(super) pods: Namespace,
    /// The router at home, as the laptop asks it for names.
    pub(super) resolver: SocketAddr,
    home: Namespace,
    internet: Namespace,
    azure: Namespace,
}

impl Network {
    /// Builds what `scenario` describes.
    pub(super) fn start(folder: &Path, scenario: &Scenario) -> Self {
        let (home, azure) = (&scenario.home, &scenario.azure);
        let resolver: IpAddr = match home.families {
            Families::Ipv4 | Families::Both => [192, 168, 178, 1].into(),
            Families::Ipv6 => [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into(),
        };
        let network = Self {
            laptop: namespace(folder, "laptop", resolver, ""),
            node: namespace(folder, "node", AZURE_RESOLVER.into(), ""),
            other_node: namespace(folder, "other-node", AZURE_RESOLVER.into(), ""),
            pods: namespace(folder, "pods", CLUSTER_RESOLVER.into(), CLUSTER_SEARCH),
            resolver: (resolver, DNS).into(),
            home: namespace(folder, "home", RESOLVER.into(), ""),
            internet: namespace(folder, "internet", RESOLVER.into(), ""),
            azure: namespace(folder, "azure", AZURE_RESOLVER.into(), ""),
        };
        let Self { laptop, node, other_node, pods, .. } = &network;
        lay_cables(&network, home);
        lay_out_laptop(laptop, home);
        lay_out_home(&network.home, home);
        lay_out_internet(&network.internet);
        lay_out_azure(&network.azure, azure, scenario.gateway);
        lay_out_node(node, azure.pods, &scenario.ingress.ports, scenario.gateway);
        other_node.ip(&format!(
            "link set eth0 up\naddress add {OTHER_NODE}/16 dev eth0\nroute add default via 10.224.0.1"
        ));
        lay_out_pods(pods);
        network.start_names(scenario);
        network
    }

    /// What ipinfo.io says to the node: the address that dialog and coturn take for theirs.
    pub(super) fn egress(&self) -> IpAddr {
        let mut said = String::new();
        self.node
            .run(|| TcpStream::connect((IPINFO, 80)).and_then(|mut stream| stream.read_to_string(&mut said)))
            .unwrap();
        said.parse().unwrap()
    }

    /// Compiles the groups anew, with these rules for the nodes'.
    pub(super) fn replace_rules(&self, scenario: &Scenario, rules: impl IntoIterator<Item = nsg::Rule>) {
        self.apply(&scenario.azure.groups_with(NODES_GROUP, rules));
    }

    /// Compiles these groups in the place of those that are in effect.
    pub(super) fn apply(&self, groups: &[Group]) {
        let flushed = nsg::chains(groups).iter().fold(String::new(), |mut text, chain| {
            writeln!(text, "flush chain ip azure {chain}").unwrap();
            text
        });
        self.azure.nft(&format!("{flushed}table ip azure {{\n{}}}\n", nsg::compile(groups)));
    }

    /// Lays out IPv6 from the internet to the node, and returns its address.
    pub(super) fn give_ipv6(&self) -> Ipv6Addr {
        let node = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 4);
        self.internet
            .ip("address add 2001:db8:3::1/64 dev azure0 nodad\nroute add 2001:db8:2::/64 via 2001:db8:3::2");
        self.azure.ip("address add 2001:db8:3::2/64 dev wan0 nodad
             address add 2001:db8:2::1/64 dev vnet0 nodad
             route add default via 2001:db8:3::1");
        self.node.ip(&format!("address add {node}/64 dev eth0 nodad\nroute add default via 2001:db8:2::1"));
        self.await_way_to(node);
        node
    }

    /// Waits until packets come through from the laptop to the node and back. Until the routers have made sure of their own
    /// addresses (RFC 4862, 5.4) they ask for no neighbour.
    fn await_way_to(&self, node: Ipv6Addr) {
        let open = |namespace: &Namespace, address| {
            let socket = namespace.run(|| UdpSocket::bind((address, 0)).unwrap());
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket
        };
        let (there, here) = (open(&self.node, node), open(&self.laptop, Ipv6Addr::UNSPECIFIED));
        let comes_through = || {
            here.send_to(b"there", there.local_addr().unwrap())?;
            let (_, from) = there.recv_from(&mut [0; 8])?;
            there.send_to(b"back", from)?;
            here.recv(&mut [0; 8])
        };
        assert!((0..200).any(|_| comes_through().is_ok()), "no packet comes through to {node}");
    }

    pub(super) fn change_cloud(&self, rules: &str) {
        self.azure.nft(rules);
    }

    fn start_names(&self, scenario: &Scenario) {
        let Self { home, internet, azure, .. } = self;
        let at = |address: Ipv4Addr| SocketAddr::from((address, DNS));
        let mut zone = Zone {
            addresses: NAMES.map(|name| (name.to_owned(), vec![FRONTEND.into()])).into(),
            records: scenario.records.clone(),
            servers: Some((DOMAIN, SERVERS.map(|(name, _)| name).into())),
        };
        zone.addresses.extend(SERVERS.map(|(name, address)| (name.to_owned(), vec![address.into()])));
        zone.addresses.entry(SERVERS[0].0.to_owned()).or_default().push(SERVER_IPV6.into());
        zone.addresses.extend(scenario.names.clone());
        let mut outdated = zone.clone();
        outdated.addresses.extend(scenario.outdated.clone());
        for (mut zone, (_, server)) in [zone, outdated].into_iter().zip(SERVERS) {
            zone.addresses.retain(|_, addresses| !addresses.is_empty());
            if server == SERVERS[0].1 {
                names::know(zone.clone(), (SERVER_IPV6, DNS).into(), internet);
            }
            names::know(zone, at(server), internet);
        }
        let broken = (scenario.signatures == Signatures::Broken).then_some(DOMAIN);
        names::ask(at(SERVERS[0].1), scenario.remembered.clone(), broken, at(RESOLVER), internet);
        names::ask(at(RESOLVER), scenario.home.remembered.clone(), None, self.resolver, home);
        names::ask(at(RESOLVER), Addresses::new(), None, at(AZURE_RESOLVER), azure);
        let services = [("dialog", NODE), ("pgbouncer", PGBOUNCER)];
        let services = services.map(|(name, address)| {
            let name = format!("{name}.hcce.svc.cluster.local");
            (name, vec![IpAddr::from(address)])
        });
        let services = Zone { addresses: services.into(), ..Zone::default() };
        names::know(services, at(CLUSTER_RESOLVER), &self.node);
        answer_with_address_of_sender(internet);
        answer_stun(internet);
    }
}

const CLUSTER_SEARCH: &str =
    "search hcce.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";

fn namespace(folder: &Path, name: &str, resolver: IpAddr, search: &str) -> Namespace {
    let file: PathBuf = folder.join(format!("{name}.resolv.conf"));
    fs::write(&file, format!("nameserver {resolver}\n{search}")).unwrap();
    Namespace::new(&file)
}

fn lay_cables(network: &Network, home: &Home) {
    let Network { laptop, node, other_node, pods, home: router, internet, azure, .. } = network;
    laptop.connect("eth0", router, "lan0");
    match home.delay() {
        None => router.connect("wan0", internet, "home0"),
        // Half of it on the way there, half on the way back.
        Some(delay) => wire::connect((router, "wan0"), (internet, "home0"), delay / 2),
    }
    internet.connect("azure0", azure, "wan0");
    azure.connect("vnet0", node, "eth0");
    azure.connect("vnet1", other_node, "eth0");
    node.connect("pods0", pods, "eth0");
}

fn lay_out_laptop(laptop: &Namespace, home: &Home) {
    laptop.ip("link set eth0 up");
    if home.families != Families::Ipv6 {
        laptop.ip("address add 192.168.178.20/24 dev eth0\nroute add default via 192.168.178.1");
    }
    if home.families != Families::Ipv4 {
        laptop.ip("address add 2001:db8:1::20/64 dev eth0 nodad\nroute add default via 2001:db8:1::1");
    }
}

/// A router as people have one: it lets out what its rules do not forbid, and in what answers that.
fn lay_out_home(router: &Namespace, home: &Home) {
    router.forward();
    router.ip("link set lan0 up
         link set wan0 up
         address add 192.168.178.1/24 dev lan0
         address add 198.51.100.20/24 dev wan0
         address add 2001:db8:1::1/64 dev lan0 nodad
         address add 2001:db8::20/64 dev wan0 nodad
         route add default via 198.51.100.1
         route add default via 2001:db8::1");
    let login = if home.wants_login { "    drop\n" } else { "" };
    let rules: String = home.rules.iter().fold(String::new(), |mut rules, rule| {
        writeln!(rules, "    {rule}").unwrap();
        rules
    });
    router.nft(&format!(
        "table inet home {{
  chain out {{
{login}{rules}    accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname lan0 oifname wan0 jump out
  }}
}}
table ip nat {{
  chain leave {{
    type nat hook postrouting priority srcnat;
    oifname wan0 masquerade
  }}
}}
"
    ));
    if let Some(forgets) = &home.forgets {
        forgets.set_up(router, "lan0");
    }
    if home.wants_login {
        router.nft(&format!(
            "table ip login {{
  chain arrive {{
    type nat hook prerouting priority dstnat;
    iifname lan0 tcp dport 80 dnat to 192.168.178.1:{LOGIN_PORT}
  }}
}}
"
        ));
        answer_with_login_page(router);
    }
    if let Some(percent) = home.loss_percent {
        // Before anything else sees them, in both directions.
        router.nft(&format!(
            "table netdev loss {{
  chain in {{
    type filter hook ingress device wan0 priority 0;
    ip protocol udp numgen random mod 100 < {percent} drop
  }}
}}
table inet loss {{
  chain out {{
    type filter hook postrouting priority 300;
    oifname wan0 ip protocol udp numgen random mod 100 < {percent} drop
  }}
}}
"
        ));
    }
}

/// The addresses of everybody who is not there lead nowhere, without a word.
fn lay_out_internet(internet: &Namespace) {
    internet.forward();
    let servers = SERVERS.map(|(_, address)| format!("address add {address}/32 dev lo")).join("\n");
    internet.ip(&format!(
        "link set home0 up
         link set azure0 up
         address add {RESOLVER}/32 dev lo
         {servers}
         address add {SERVER_IPV6}/128 dev lo nodad
         address add {IPINFO}/32 dev lo
         address add 198.51.100.1/24 dev home0
         address add 192.0.2.1/30 dev azure0
         address add 2001:db8::1/64 dev home0 nodad
         route add 203.0.113.0/24 via 192.0.2.2
         route add 2001:db8:1::/64 via 2001:db8::20
         route add blackhole default
         route add blackhole ::/0"
    ));
}

/// A standard load balancer, as AKS sets it up: it forwards single ports, keeps the client's address and, by floating IP,
/// its own as well, so that the security groups' rules name that; pods behind it do not reach it (no hairpin).
fn lay_out_azure(cloud: &Namespace, azure: &Azure, gateway: Gateway) {
    cloud.forward();
    // The virtual network is no cable to which all are connected: Azure answers for each neighbour and carries the packets.
    cloud.run(|| {
        for node in ["vnet0", "vnet1"] {
            fs::write(format!("/proc/sys/net/ipv4/conf/{node}/proxy_arp"), "1").unwrap();
        }
    });
    cloud.ip(&format!(
        "link set wan0 up
         link set vnet0 up
         address add 192.0.2.2/30 dev wan0
         address add {AZURE_RESOLVER}/32 dev lo
         link set vnet1 up
         address add 10.224.0.1/16 dev vnet0
         route add {OTHER_NODE}/32 dev vnet1
         route add 10.244.0.0/24 via {NODE}
         route add default via 192.0.2.1
         route add blackhole 203.0.113.0/24
         route add {FRONTEND}/32 via {NODE}"
    ));
    let (inside, outside) = if azure.node_public_ip {
        (format!("ip daddr {NODE_PUBLIC} dnat to {NODE}"), NODE_PUBLIC)
    } else {
        (String::new(), EGRESS)
    };
    let balanced = match azure.forwarded.as_slice() {
        [] => String::new(),
        ports => {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            format!("tcp dport {{ {} }} return", ports.join(", "))
        }
    };
    let media = gateway.media().map(|_| format!("udp dport {GATEWAY_PORT} return")).unwrap_or_default();
    let groups = nsg::compile(&azure.groups());
    let (inbound, outbound) = (nsg::INBOUND, nsg::OUTBOUND);
    cloud.nft(&format!(
        "table ip azure {{
  chain arrive {{
    type nat hook prerouting priority dstnat;
    {inside}
  }}
  chain leave {{
    type nat hook postrouting priority srcnat;
    ip saddr 10.224.0.0/16 oifname wan0 snat to {outside}
  }}
{groups}  chain balance {{
    {balanced}
    {media}
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname wan0 ip daddr {FRONTEND} jump balance
    iifname wan0 ip daddr != 10.224.0.0/16 ip daddr != {FRONTEND} drop
    iifname {{ vnet0, vnet1 }} jump {outbound}
    oifname {{ vnet0, vnet1 }} jump {inbound}
    iifname {{ vnet0, vnet1 }} ip daddr {FRONTEND} drop
    accept
  }}
}}
"
    ));
    if let Some(forgets) = &azure.forgets {
        forgets.set_up(cloud, "wan0");
    }
}

/// A node with kube-proxy's rules for the services `lb` and `hubs-media`. What its pods send out of the network leaves with its address.
fn lay_out_node(node: &Namespace, pods: Pods, ports: &[(u16, u16)], gateway: Gateway) {
    node.forward();
    node.run(|| fs::write("/proc/sys/net/ipv4/conf/pods0/proxy_arp", "1").unwrap());
    let to_pods = match pods {
        Pods::Routed => format!("route add 10.244.0.0/24 dev pods0 src {NODE}"),
        Pods::Bridged => "address add 10.244.0.1/24 dev pods0".to_owned(),
    };
    node.ip(&format!(
        "link set eth0 up
         link set pods0 up
         address add {NODE}/16 dev eth0
         {to_pods}
         address add {CLUSTER_RESOLVER}/32 dev lo
         route add default via 10.224.0.1"
    ));
    let mut translated: String = ports.iter().fold(String::new(), |mut text, (public, pod)| {
        writeln!(text, "    ip daddr {FRONTEND} tcp dport {public} dnat to {HAPROXY}:{pod}").unwrap();
        text
    });
    if let Some(pod) = gateway.media() {
        let media = format!("ip daddr {FRONTEND} udp dport {GATEWAY_PORT} dnat to {pod}:{GATEWAY_PORT}");
        writeln!(translated, "    {media}").unwrap();
    }
    if gateway == Gateway::DialogBehindAnAddress {
        writeln!(translated, "    ip daddr {DIALOG_SERVICE} tcp dport 4443 dnat to {NODE}:4443").unwrap();
    }
    node.nft(&format!(
        "table ip kube-proxy {{
  chain services {{
    type nat hook prerouting priority dstnat;
{translated}  }}
  chain leave {{
    type nat hook postrouting priority srcnat;
    ip saddr 10.244.0.0/24 oifname eth0 masquerade
  }}
}}
"
    ));
}

/// All pods in one: between them there is nothing to stage.
fn lay_out_pods(pods: &Namespace) {
    let addresses = [HAPROXY, RETICULUM, PGBOUNCER, RELAY, OTHER_RELAY];
    let addresses = addresses.map(|address| format!("address add {address}/24 dev eth0\n")).concat();
    pods.ip(&format!(
        "link set eth0 up\n{addresses}route add 169.254.1.1 dev eth0\nroute add default via 169.254.1.1"
    ));
}

/// Sends everybody who wants any page to its own.
fn answer_with_login_page(router: &Namespace) {
    let listener = router.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, LOGIN_PORT)).unwrap());
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://login.hotel.test/\r\ncontent-length: 0\r\n\r\n";
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
}

fn answer_with_address_of_sender(internet: &Namespace) {
    let listener = internet.run(|| TcpListener::bind((IPINFO, 80)).unwrap());
    thread::spawn(move || {
        while let Ok((mut stream, sender)) = listener.accept() {
            let _ = std::io::Write::write_all(&mut stream, sender.ip().to_string().as_bytes());
        }
    });
}

/// A STUN server that has nothing to do with the deployment: it tells each who asks their address (RFC 8489 section 14.2).
fn answer_stun(internet: &Namespace) {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let socket = internet.run(|| UdpSocket::bind((IPINFO, STUN)).unwrap());
    thread::spawn(move || {
        let mut datagram = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut datagram) {
            let (IpAddr::V4(address), true) = (client.ip(), length >= 20 && datagram[..2] == [0, 1]) else {
                continue;
            };
            let masked =
                |bytes: &[u8]| bytes.iter().zip(COOKIE).map(|(byte, mask)| byte ^ mask).collect::<Vec<_>>();
            let mapped = [
                &[0, 0x20, 0, 8, 0, 1][..],
                &masked(&client.port().to_be_bytes()),
                &masked(&address.octets()),
            ];
            let answer = [&[1, 1, 0, 12][..], &datagram[4..20], &mapped.concat()].concat();
            let _ = socket.send_to(&answer, client);
        }
    });
}
