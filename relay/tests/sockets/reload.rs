//! A configuration, a certificate and a key that are read anew while people talk.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use hubs_relay::{Config, Relay, ReloadError};
use nix::sys::signal::Signal;

use crate::admin::{get, wait_for};
use crate::client::{self, Client, Connection, LIMIT, Link, USER, channel, channel_data, code};
use crate::identity::Identity;
use crate::program::Running;

/// A configuration in which clients may reach loopback, and what a test adds.
fn config(rest: &str) -> Config {
    let text = format!(
        "listen = ['udp://127.0.0.1:0', 'tls://127.0.0.1:0']\nrelay.address = '127.0.0.1'\nrelay.workers = 2\n{rest}"
    );
    Config::from_text(&text, None, []).unwrap()
}

fn users(user: &str) -> String {
    format!("auth.users = {{ {user} = '{}' }}\n", USER.1)
}

const LOOPBACK: &str = "peers.allow = ['127.0.0.1:1-65535']\n";

/// Says something on channel 0x4000 and hears an answer.
fn talk(client: &mut Client<impl Link>, peer: &UdpSocket, relayed: SocketAddr) {
    client.send_on(channel(0x4000), b"hello");
    assert_eq!(client::heard(peer).0, b"hello");
    peer.send_to(b"hi", relayed).unwrap();
    assert_eq!(client.receive().unwrap(), channel_data(channel(0x4000), b"hi"));
}

fn peer() -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    peer
}

/// Asks again and again: workers hear of a new configuration a moment later.
fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never is");
    }
}

#[test]
fn a_hundred_reloads_cost_a_call_nothing() {
    let (one, other) = (Identity::new("turn.test"), Identity::new("turn.test"));
    let text = |identity: &Identity| format!("{}{LOOPBACK}{}", users(USER.0), identity.config());
    let mut relay = Relay::start(&config(&text(&one))).unwrap();
    let peer = peer();
    let stream = client::tls(client::tcp(relay.listeners()[1].address), &one);
    let mut client = Client::new(Connection::new(stream));
    let relayed = client.allocate();
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
    for round in 0..100 {
        let identity = if round % 2 == 0 { &other } else { &one };
        assert!(relay.reload(Ok(config(&text(identity)))).unwrap().is_empty());
        talk(&mut client, &peer, relayed);
    }
    assert_eq!(client.refresh(LIMIT), 0);
}

#[test]
fn the_next_handshake_shows_the_new_certificate() {
    let (old, new) = (Identity::new("turn.test"), Identity::new("turn.test"));
    let text = |identity: &Identity| format!("{}{}", users(USER.0), identity.config());
    let mut relay = Relay::start(&config(&text(&old))).unwrap();
    let tls = relay.listeners()[1].address;
    Client::new(Connection::new(client::tls(client::tcp(tls), &old))).allocate();
    relay.reload(Ok(config(&text(&new)))).unwrap();
    Client::new(Connection::new(client::tls(client::tcp(tls), &new))).allocate();
}

#[test]
fn users_and_secrets_come_and_go_and_sessions_stay() {
    let identity = Identity::new("turn.test");
    let text = |user: &str| format!("{}{LOOPBACK}{}", users(user), identity.config());
    let mut relay = Relay::start(&config(&text(USER.0))).unwrap();
    let udp = relay.listeners()[0].address;
    let (mut client, peer) = (Client::new(client::udp(udp)), peer());
    let relayed = client.allocate();
    relay.reload(Ok(config(&text("bob")))).unwrap();
    let allocate = |user: &str| code(&Client::named(client::udp(udp), user, USER.1).try_allocate());
    eventually(|| allocate("bob") == 0);
    eventually(|| allocate(USER.0) == 401);
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
    talk(&mut client, &peer, relayed);
}

#[test]
fn a_peer_that_is_no_longer_allowed_is_out_of_reach_at_once() {
    let identity = Identity::new("turn.test");
    let text = |allow: &str| format!("{}peers.allow = ['{allow}']\n{}", users(USER.0), identity.config());
    let mut relay = Relay::start(&config(&text("127.0.0.1:1-65535"))).unwrap();
    let (mut client, peer) = (Client::new(client::udp(relay.listeners()[0].address)), peer());
    let relayed = client.allocate();
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
    talk(&mut client, &peer, relayed);

    relay.reload(Ok(config(&text("127.0.0.2:1-65535")))).unwrap();
    eventually(|| client.permit(peer.local_addr().unwrap()) == 403);
    client.send_on(channel(0x4000), b"hello");
    // The answer shows that what was sent before it has been dealt with.
    assert_eq!(client.permit("127.0.0.2:1".parse().unwrap()), 0);
    peer.set_nonblocking(true).unwrap();
    assert!(peer.recv(&mut [0; 9]).is_err());
}

#[test]
fn a_peer_that_is_no_longer_allowed_is_out_of_reach_before_others_have_been_found() {
    let identity = Identity::new("turn.test");
    let text = |peers: &str| format!("{}{}[peers]\n{peers}", users(USER.0), identity.config());
    let mut relay = Relay::start(&config(&text("allow = ['127.0.0.1:1-65535']"))).unwrap();
    let (mut client, peer) = (Client::new(client::udp(relay.listeners()[0].address)), peer());
    client.allocate();
    assert_eq!(client.permit(peer.local_addr().unwrap()), 0);

    // Two dialogs that never answer.
    let dialogs = [2, 3].map(|host| TcpListener::bind((Ipv4Addr::new(127, 0, 0, host), 0)).unwrap());
    let automatic = dialogs.each_ref().map(|dialog| {
        let place = dialog.local_addr().unwrap();
        format!("{{ announced = 'auto', actual = '{}', signalling_port = {} }}", place.ip(), place.port())
    });
    let peers = format!("allow = ['127.0.0.2:1-65535']\nmap = [{}]", automatic.join(", "));
    relay.reload(Ok(config(&text(&peers)))).unwrap();
    let asked = dialogs.map(|dialog| dialog.accept().unwrap().0);
    eventually(|| client.permit(peer.local_addr().unwrap()) == 403);
    for mut dialog in asked {
        dialog.set_nonblocking(true).unwrap();
        let greeting = dialog.read_to_end(&mut Vec::new());
        assert!(greeting.is_err_and(|it| it.kind() == ErrorKind::WouldBlock), "the relay still waits for it");
    }
}

#[test]
fn limits_change() {
    let identity = Identity::new("turn.test");
    let text = |limits: &str| format!("{}{}[limits]\n{limits}\n", users(USER.0), identity.config());
    let mut relay = Relay::start(&config(&text("sessions_per_address = 1"))).unwrap();
    let udp = relay.listeners()[0].address;
    relay.reload(Ok(config(&text("sessions = 0")))).unwrap();
    eventually(|| code(&Client::new(client::udp(udp)).try_allocate()) == 508);
}

#[test]
fn what_cannot_be_used_changes_nothing_and_shows() {
    let (one, other) = (Identity::new("turn.test"), Identity::new("turn.test"));
    let good = format!("{}{}", users(USER.0), one.config());
    let mut relay = Relay::start(&config(&good)).unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let [udp, tls] = [0, 1].map(|it| relay.listeners()[it].address);

    // As when the certificate's secret is replaced one file after the other.
    fs::copy(other.private_key(), one.private_key()).unwrap();
    let error = relay.reload(Ok(config(&format!("{}{}", users("bob"), one.config())))).unwrap_err();
    assert!(matches!(error, ReloadError::Tls(_)), "{error}");
    let error = relay.reload(Config::from_text("relam = 'x'", None, [])).unwrap_err();
    assert!(matches!(error, ReloadError::Config(_)), "{error}");

    Client::new(Connection::new(client::tls(client::tcp(tls), &one))).allocate();
    assert_eq!(code(&Client::named(client::udp(udp), "bob", USER.1).try_allocate()), 401);
    let (status, _, said) = get(admin, "/readyz");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(said.contains("configuration: unknown key relam") && said.contains("going on with"), "{said}");
    let metrics = get(admin, "/metrics").2;
    assert!(metrics.contains("hubs_relay_reloads_total{outcome=\"failed\"} 2\n"), "{metrics}");
    assert!(metrics.contains("hubs_relay_need_met{need=\"configuration\"} 0\n"), "{metrics}");

    fs::copy(other.certificate(), one.certificate()).unwrap();
    relay.reload(Ok(config(&good))).unwrap();
    assert_eq!(get(admin, "/readyz").2, "ready\n");
    Client::new(Connection::new(client::tls(client::tcp(tls), &other))).allocate();
}

/// A configuration with these listeners, and what all tests of listeners need.
fn listening(listen: &[String], identity: &Identity) -> Config {
    let text = format!(
        "listen = [{}]\nrelay = {{ address = '127.0.0.1', workers = 3 }}\n{}{LOOPBACK}{}",
        listen.iter().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(", "),
        users(USER.0),
        identity.config()
    );
    Config::from_text(&text, None, []).unwrap()
}

/// Where a relay listens, as its configuration would say.
fn listeners(relay: &Relay) -> Vec<String> {
    relay.listeners().iter().map(ToString::to_string).collect()
}

/// How many sockets share the port of a UDP listener.
fn sockets(listener: SocketAddr) -> usize {
    let bound = format!(" 0100007F:{:04X} 00000000:0000 ", listener.port());
    fs::read_to_string("/proc/net/udp").unwrap().lines().filter(|line| line.contains(&bound)).count()
}

/// Whether each of many clients, which come to all workers, is told its own address.
fn all_are_served(relay: SocketAddr) -> bool {
    (0..50).all(|_| {
        let socket = client::udp(relay);
        let own = socket.local_addr().unwrap();
        Client::new(socket).binding() == own
    })
}

#[test]
fn a_new_listener_is_open_for_all_workers_and_the_others_go_on() {
    let identity = Identity::new("turn.test");
    let any = |transport: &str| format!("{transport}://127.0.0.1:0");
    let mut relay = Relay::start(&listening(&[any("tcp")], &identity)).unwrap();
    let old = listeners(&relay);
    let peer = peer();
    let mut client = Client::new(Connection::new(client::tcp(relay.listeners()[0].address)));
    let relayed = client.allocate();
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);

    let unchanged = relay.reload(Ok(listening(&[any("tcp"), any("udp"), any("tls")], &identity))).unwrap();
    assert!(unchanged.is_empty(), "{unchanged:?}");
    assert_eq!(listeners(&relay)[0], old[0], "it has the port that it took");
    let [tcp, udp, tls] = relay.listeners() else { panic!("three listeners") };
    assert!(all_are_served(udp.address));
    assert_eq!(sockets(udp.address), 3);
    Client::new(Connection::new(client::tcp(tcp.address))).allocate();
    // There was no TLS before.
    Client::new(Connection::new(client::tls(client::tcp(tls.address), &identity))).allocate();
    talk(&mut client, &peer, relayed);
}

#[test]
fn a_listener_that_is_gone_takes_nobody_any_more_and_its_connections_go_on() {
    let identity = Identity::new("turn.test");
    let mut relay =
        Relay::start(&listening(&["tcp://127.0.0.1:0".into(), "udp://127.0.0.1:0".into()], &identity))
            .unwrap();
    let [tcp, udp] = relay.listeners() else { panic!("two listeners") };
    let (tcp, udp, peer) = (tcp.address, udp.address, peer());
    let mut client = Client::new(Connection::new(client::tcp(tcp)));
    let relayed = client.allocate();
    assert_eq!(client.bind(channel(0x4000), peer.local_addr().unwrap()), 0);

    relay.reload(Ok(listening(&[format!("udp://{udp}")], &identity))).unwrap();
    assert_eq!(listeners(&relay), [format!("udp://{udp}")]);
    eventually(|| TcpStream::connect(tcp).is_err());
    talk(&mut client, &peer, relayed);
    assert_eq!(client.refresh(LIMIT), 0);
    assert!(all_are_served(udp));

    // And comes back.
    relay.reload(Ok(listening(&[format!("tcp://{tcp}")], &identity))).unwrap();
    Client::new(Connection::new(client::tcp(tcp))).allocate();
    talk(&mut client, &peer, relayed);
}

#[test]
fn the_sessions_of_a_udp_listener_that_is_gone_are_over() {
    let identity = Identity::new("turn.test");
    let mut relay =
        Relay::start(&listening(&["udp://127.0.0.1:0".into(), "udp://127.0.0.1:0".into()], &identity))
            .unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let [one, other] = [0, 1].map(|it| relay.listeners()[it].address);
    let peer = peer();
    let mut lost = Client::new(client::udp(one));
    let forgotten = lost.allocate();
    let mut kept = Client::new(client::udp(other));
    let relayed = kept.allocate();
    assert_eq!(kept.bind(channel(0x4000), peer.local_addr().unwrap()), 0);
    wait_for(admin, "hubs_relay_sessions{transport=\"udp\"}", 2.0);

    relay.reload(Ok(listening(&[format!("udp://{other}")], &identity))).unwrap();
    wait_for(admin, "hubs_relay_sessions{transport=\"udp\"}", 1.0);
    eventually(|| UdpSocket::bind(one).is_ok());
    eventually(|| UdpSocket::bind(forgotten).is_ok());
    talk(&mut kept, &peer, relayed);

    // What opens now may get its number, and none of its sessions.
    relay.reload(Ok(listening(&[format!("udp://{other}"), format!("udp://{one}")], &identity))).unwrap();
    assert_eq!(lost.refresh(LIMIT), 437);
    assert!(all_are_served(one));
    talk(&mut kept, &peer, relayed);
}

#[test]
fn a_listener_may_speak_tls_or_believe_other_proxies_from_now_on() {
    let identity = Identity::new("turn.test");
    let mut relay = Relay::start(&listening(&["tcp://127.0.0.1:0".into()], &identity)).unwrap();
    let address = relay.listeners()[0].address;
    let mut plain = Client::new(Connection::new(client::tcp(address)));
    plain.allocate();
    relay.reload(Ok(listening(&[format!("tls://{address}")], &identity))).unwrap();
    Client::new(Connection::new(client::tls(client::tcp(address), &identity))).allocate();
    assert_eq!(plain.refresh(LIMIT), 0, "who has come goes on as he began");

    let mut trusting = listening(&[format!("tcp://{address}")], &identity);
    trusting.listen[0].proxy_protocol_from = vec!["127.0.0.1/32".parse().unwrap()];
    relay.reload(Ok(trusting)).unwrap();
    let mut stream = client::tcp(address);
    stream.write_all(b"PROXY TCP4 203.0.113.50 192.0.2.1 41000 5349\r\n").unwrap();
    assert_eq!(Client::new(Connection::new(stream)).binding(), "203.0.113.50:41000".parse().unwrap());
}

#[test]
fn a_listener_that_cannot_be_opened_leaves_everything_as_it_was() {
    let (old, new) = (Identity::new("turn.test"), Identity::new("turn.test"));
    let mut relay = Relay::start(&listening(&["tls://127.0.0.1:0".into()], &old)).unwrap();
    let admin = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
    let before = listeners(&relay);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = listening(&[before[0].clone(), format!("udp://{free}"), format!("tcp://{taken}")], &new);
    let error = relay.reload(Ok(config)).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "cannot listen on tcp://{taken}: Address already in use (os error 98); \
             another program has that port: stop it, or choose another port"
        )
    );
    assert_eq!(listeners(&relay), before);
    UdpSocket::bind(free).unwrap();
    let tls = relay.listeners()[0].address;
    Client::new(Connection::new(client::tls(client::tcp(tls), &old))).allocate();
    assert!(get(admin, "/readyz").2.contains("configuration: cannot listen on"));
    let none = Config { listen: Vec::new(), ..listening(&[], &new) };
    assert!(relay.reload(Ok(none)).unwrap_err().to_string().starts_with("listen is empty"));
    assert_eq!(listeners(&relay), before);
}

#[test]
fn a_port_that_the_relay_itself_has_needs_a_restart_to_be_had_at_another_address() {
    let identity = Identity::new("turn.test");
    let mut relay = Relay::start(&listening(&["udp://127.0.0.1:0".into()], &identity)).unwrap();
    let before = listeners(&relay);
    let port = relay.listeners()[0].address.port();
    let everywhere = format!("udp://0.0.0.0:{port}");
    let error = relay.reload(Ok(listening(std::slice::from_ref(&everywhere), &identity))).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {everywhere}: the relay itself has that port, for {}; a restart is needed for this",
            before[0]
        )
    );
    assert_eq!(listeners(&relay), before);
    let both = listening(&[before[0].clone(), everywhere.clone()], &identity);
    let error = relay.reload(Ok(both)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {everywhere}: listen has that port twice, for {} as well; take one of them out",
            before[0]
        )
    );
}

#[test]
fn what_only_a_restart_changes_is_named() {
    let identity = Identity::new("turn.test");
    let mut relay = Relay::start(&config(&identity.config())).unwrap();
    let text = "realm = 'other'\nlisten = ['udp://127.0.0.1:0', 'tls://127.0.0.1:0']\nlog.format = 'json'\nadmin.address = '127.0.0.1:1'\n\
                relay.ports = '1-2'\nauth.postgres = 'host=x user=y'\n";
    let config = Config::from_text(&format!("{text}{}", identity.config()), None, []).unwrap();
    let unchanged = relay.reload(Ok(config)).unwrap();
    assert_eq!(unchanged, ["realm", "relay", "auth.postgres", "admin.address", "log.format"]);
}

#[test]
fn the_program_reads_anew_what_changes_below_it_and_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |version: &str, user: &str, identity: &Identity| {
        fs::create_dir(at(version)).unwrap();
        fs::copy(identity.certificate(), at(version).join("tls.crt")).unwrap();
        fs::copy(identity.private_key(), at(version).join("tls.key")).unwrap();
        fs::write(at(version).join("relay.toml"), users(user)).unwrap();
    };
    // As Kubernetes mounts a volume: each file a link through ..data, which is swapped as a whole.
    let swap = |version: &str| {
        symlink(version, at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
    };
    let (old, new) = (Identity::new("turn.test"), Identity::new("turn.test"));
    write("..1", USER.0, &old);
    write("..2", "bob", &new);
    swap("..1");
    for file in ["tls.crt", "tls.key", "relay.toml"] {
        symlink(Path::new("..data").join(file), at(file)).unwrap();
    }
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    let (mut relay, tls) = Running::start_with(
        &path("relay.toml"),
        &[
            ("HUBS_RELAY_LISTEN", "tls://127.0.0.1:0"),
            ("HUBS_RELAY_TLS__CERTIFICATE", &path("tls.crt")),
            ("HUBS_RELAY_TLS__PRIVATE_KEY", &path("tls.key")),
            ("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1"),
        ],
    );
    Client::new(Connection::new(client::tls(client::tcp(tls), &old))).allocate();
    swap("..2");
    relay.line_with("read anew");
    let mut bob = Client::named(Connection::new(client::tls(client::tcp(tls), &new)), "bob", USER.1);
    eventually(|| code(&bob.try_allocate()) == 0);

    fs::write(at("..2").join("relay.toml"), "relam = 'x'").unwrap();
    relay.line_with("going on with the old configuration and certificate: unknown key relam");
    relay.signal(Signal::SIGHUP);
    relay.line_with("going on with the old configuration");
    fs::write(at("..2").join("relay.toml"), "realm = 'x'").unwrap();
    relay.signal(Signal::SIGHUP);
    relay.line_with("a restart is needed for what changed in realm");
}
