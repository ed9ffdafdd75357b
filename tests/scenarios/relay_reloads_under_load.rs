//! A thousand people go on talking while the certificate, the secrets, the peers and the limits change a hundred times:
//! nobody misses a word, and whoever comes finds what is new.

use std::iter;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use hubs_relay::auth::{RestCredential, Secret};
use hubs_tests::bed::{REALM, loopback};
use hubs_tests::calls::{Call, Failed, Over, Server, peers, raise_open_files};
use hubs_tests::certs::{Authority, Identity};
use hubs_tests::mount::Mount;
use hubs_tests::process::Process;
use hubs_tests::turn::trusting;
use hubs_tests::{http, port};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const CALLS: usize = 1000;
const RELOADS: usize = 100;
/// So often nobody tells the program to look, and it finds out by itself.
const UNTOLD: usize = 33;
/// So often somebody comes and sees.
const VISITED: usize = 5;
/// Packets that come back between two reloads.
const BETWEEN: usize = CALLS / 10;
/// Each caller says so much and no more: about a packet in half a second.
const PAUSE: Duration = Duration::from_millis(500);
const NAME: &str = "turn.test";
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn relay_reloads_under_load() {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let lab = Lab::start();
        let peers = peers(20).await.unwrap();
        let callers = (0..CALLS).zip(peers.iter().cycle());
        // Not all at once: a relay that was compiled without optimisation shakes few hands a second.
        let calls = stream::iter(callers)
            .map(|(number, peer)| lab.call(0, if number % 2 == 0 { Over::Udp } else { Over::Tls }, *peer))
            .buffer_unordered(16);
        let calls: Vec<Call> = calls.map(Result::unwrap).collect().await;

        let (stop, stopped) = watch::channel(());
        let (spoke, mut packets) = mpsc::unbounded_channel();
        let talk = |call| tokio::spawn(talk(call, spoke.clone(), stopped.clone()));
        let talking: Vec<_> = calls.into_iter().map(talk).collect();
        let mut visitors = 0;
        for reload in 1..=RELOADS {
            for _ in 0..BETWEEN {
                packets.recv().await.unwrap();
            }
            lab.reload(reload);
            if reload.is_multiple_of(VISITED) {
                visitors += usize::from(lab.visit(reload, peers[0]).await);
            }
        }
        drop(stop);
        let calls: Vec<Call> =
            join_all(talking).await.into_iter().map(|call| call.unwrap().unwrap()).collect();
        let said: u64 = calls.iter().map(Call::said).sum();
        // Nobody's session was over but the visitors'.
        assert_eq!(lab.relay.output().matches("session over").count(), visitors);
        lab.wait_for_metric("hubs_relay_sessions{transport=\"udp\"}", CALLS as u64 / 2);
        lab.wait_for_metric("hubs_relay_sessions{transport=\"tls\"}", CALLS as u64 / 2);
        for direction in ["to_peers", "to_clients"] {
            lab.wait_for_metric(&format!("hubs_relay_packets_total{{direction=\"{direction}\"}}"), said);
        }
        lab.wait_for_metric("hubs_relay_reloads_total{outcome=\"failed\"}", 0);
        for released in join_all(calls.into_iter().map(Call::end)).await {
            released.unwrap();
        }
    });
}

/// Talks until it is to stop.
async fn talk(
    mut call: Call,
    spoke: mpsc::UnboundedSender<()>,
    mut stopped: watch::Receiver<()>,
) -> Result<Call, Failed> {
    loop {
        call.talk(1).await?;
        // After the last reload nobody listens any more.
        let _ = spoke.send(());
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = stopped.changed() => return Ok(call),
        }
    }
}

/// The program, and what it is configured with: of each reload the next version, in which one thing has changed.
struct Lab {
    relay: Process,
    addresses: Addresses,
    mount: Mount,
    authorities: [Authority; 2],
    identities: [Identity; 2],
    _folder: TempDir,
}

#[derive(Clone, Copy)]
struct Addresses {
    udp: std::net::SocketAddr,
    tls: std::net::SocketAddr,
    admin: std::net::SocketAddr,
}

/// What changes.
#[derive(Clone, Copy)]
enum Part {
    Certificate,
    Secret,
    Peers,
    Limits,
}

/// How often a part has changed until this reload. Each reload changes one.
const fn version(reload: usize, part: Part) -> usize {
    (reload + part as usize) / 4
}

impl Lab {
    fn start() -> Self {
        let folder = TempDir::with_prefix("hubs-reload-").unwrap();
        let [udp, tls, admin] = [(); 3].map(|()| loopback(port::free()));
        let addresses = Addresses { udp, tls, admin };
        let authorities = [Authority::new(), Authority::new()];
        let identities = authorities.each_ref().map(|authority| authority.issue(NAME));
        let path = folder.path().join("mounted");
        let configuration = configuration(addresses, &path, 0);
        let mount = Mount::new(&path, &files(&configuration, &identities[0]));
        let mut command = Command::new(crate::RELAY);
        let mut relay = Process::start("hubs-relay", command.arg("--config").arg(mount.at("relay.toml")));
        relay.wait_until_accepting(tls);
        Self { relay, addresses, mount, authorities, identities, _folder: folder }
    }

    /// Puts the next version in place, and waits until the program has read it.
    fn reload(&self, reload: usize) {
        let read_before = times_read(&self.relay.output());
        let configuration = configuration(self.addresses, &self.mount.at(""), reload);
        let identity = &self.identities[version(reload, Part::Certificate) % 2];
        self.mount.swap(&files(&configuration, identity));
        if !reload.is_multiple_of(UNTOLD) {
            self.relay.signal(Signal::SIGHUP);
        }
        self.relay.wait_for_output("the next reading", |output| times_read(output) > read_before);
    }

    /// Somebody comes with what this version accepts, and is let in or finds that there is no room. Says which.
    async fn visit(&self, reload: usize, peer: std::net::SocketAddr) -> bool {
        let expected = if is_full(reload) { Some(508) } else { None };
        let deadline = Instant::now() + LIMIT;
        loop {
            // The workers hear of it a moment after the program has said so.
            let visit = self.call(reload, Over::Tls, peer).await;
            match (visit, expected) {
                (Ok(mut call), None) => {
                    call.talk(0).await.unwrap();
                    call.end().await.unwrap();
                    return true;
                }
                (Err(Failed::Refused(code)), Some(expected)) if code == expected => return false,
                (other, _) => assert!(Instant::now() < deadline, "{reload}: {other:?}"),
            }
        }
    }

    /// A call of somebody who trusts only this version's authority, with a credential that its secret signed.
    async fn call(&self, reload: usize, over: Over, peer: std::net::SocketAddr) -> Result<Call, Failed> {
        let Addresses { udp, tls, .. } = self.addresses;
        let trust = trusting(&self.authorities[version(reload, Part::Certificate) % 2]);
        let server = Server { udp, tls, name: NAME, trust };
        let expiry = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 120;
        let credential = RestCredential::new(&Secret::from(secret(reload)), "coturn", expiry);
        Call::start(&server, over, (&credential.username, credential.password.expose()), peer).await
    }

    fn wait_for_metric(&self, name: &str, value: u64) {
        let deadline = Instant::now() + LIMIT;
        let line = format!("{name} {value}");
        // The workers report once a second.
        let found = iter::repeat_with(|| http::get(self.addresses.admin, "/metrics").1)
            .take_while(|_| Instant::now() < deadline)
            .any(|metrics| metrics.lines().any(|it| it == line));
        assert!(found, "no {line} in {}", http::get(self.addresses.admin, "/metrics").1);
    }
}

fn times_read(output: &str) -> usize {
    output.matches("read anew").count()
}

fn files<'a>(configuration: &'a str, identity: &'a Identity) -> [(&'static str, &'a str); 3] {
    [("relay.toml", configuration), ("tls.crt", &identity.certificate), ("tls.key", &identity.key)]
}

fn secret(reload: usize) -> String {
    format!("secret number {}", version(reload, Part::Secret))
}

/// Whether there are fewer allocations allowed than there are.
const fn is_full(reload: usize) -> bool {
    version(reload, Part::Limits) % 2 == 1
}

fn configuration(addresses: Addresses, folder: &std::path::Path, reload: usize) -> String {
    let Addresses { udp, tls, admin } = addresses;
    let folder = folder.display();
    // Peers come and go, but for those of the calls.
    let other = version(reload, Part::Peers);
    let sessions = if is_full(reload) { 10 } else { 20_000 };
    format!(
        "realm = '{REALM}'\nlisten = ['udp://{udp}', 'tls://{tls}']\nrelay.address = '127.0.0.1'\n\
         tls = {{ certificate = '{folder}/tls.crt', private_key = '{folder}/tls.key' }}\n\
         auth.secrets = ['{}']\npeers.allow = ['10.0.0.{other}:1-99', '127.0.0.1:1024-65535']\n\
         admin.address = '{admin}'\n\
         [limits]\nsessions = {sessions}\nstranger_answers = 0\ndrain_deadline = '0s'\n",
        secret(reload)
    )
}
