//! SIGTERM in the middle of many calls: they lose no packet and go on for as long as they like, nobody new is let in,
//! Kubernetes hears that all is well, and the program ends with the last call, or on a second SIGTERM.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hubs_tests::calls::{Call, Failed, Over, Server, peers, raise_open_files};
use hubs_tests::certs::Authority;
use hubs_tests::http;
use hubs_tests::process::Finished;
use hubs_tests::relay::{Relay, USER};
use hubs_tests::turn::trusting;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const CALLS: usize = 100;
/// Packets of a caller that are on their way at the same time.
const BURST: u64 = 4;
const PAUSE: Duration = Duration::from_millis(100);
const NAME: &str = "localhost";
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn relay_drains_without_loss() {
    let lab = Lab::start();
    runtime().block_on(async {
        let peer = peers(1).await.unwrap()[0];
        let (stop, stopped) = watch::channel(());
        let (spoke, mut bursts) = mpsc::unbounded_channel();
        let mut talking = Vec::new();
        for number in 0..CALLS {
            let over = if number % 2 == 0 { Over::Udp } else { Over::Tls };
            let call = lab.call(over, peer).await.unwrap();
            talking.push(tokio::spawn(talk(call, spoke.clone(), stopped.clone())));
        }
        drop(stopped);

        lab.relay.signal(Signal::SIGTERM);
        lab.relay.wait_for_log("draining");
        for over in [Over::Udp, Over::Tls] {
            let refused = lab.call(over, peer).await.unwrap_err();
            assert!(matches!(refused, Failed::Refused(508)), "{over:?}: {refused:?}");
        }
        for _ in 0..10 * CALLS {
            bursts.recv().await.unwrap();
        }
        lab.assert_ready();
        drop(stop);
        let mut calls: Vec<Call> =
            join_all(talking).await.into_iter().map(|call| call.unwrap().unwrap()).collect();
        let said: u64 = calls.iter().map(Call::said).sum();

        let mut last = calls.pop().unwrap();
        for released in join_all(calls.into_iter().map(Call::end)).await {
            released.unwrap();
        }
        lab.assert_ready();
        last.talk(BURST).await.unwrap();
        last.end().await.unwrap();
        let Finished { status, stderr, .. } = lab.relay.finish(LIMIT);
        assert_eq!(status.code(), Some(0), "{stderr}");
        let over = stderr.lines().filter(|line| line.contains("session over: the client gave it back"));
        let packets = ["to_peer_packets=", "to_client_packets="];
        let [to_peers, to_clients] =
            packets.map(|field| over.clone().map(|line| number_behind(field, line)).sum::<u64>());
        assert_eq!((over.count(), to_peers, to_clients), (CALLS, said + BURST, said + BURST));
    });
}

#[test]
fn a_second_sigterm_ends_all_calls_at_once() {
    let lab = Lab::start();
    runtime().block_on(async {
        let peer = peers(1).await.unwrap()[0];
        let (_stop, stopped) = watch::channel(());
        let (spoke, mut bursts) = mpsc::unbounded_channel();
        for over in [Over::Udp, Over::Tls] {
            let call = lab.call(over, peer).await.unwrap();
            tokio::spawn(talk(call, spoke.clone(), stopped.clone()));
        }
        lab.relay.signal(Signal::SIGTERM);
        lab.relay.wait_for_log("draining");
        bursts.recv().await.unwrap();
        lab.relay.signal(Signal::SIGTERM);
        let asked = Instant::now();
        let Finished { status, stderr, .. } = lab.relay.finish(LIMIT);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert_eq!(stderr.matches("session over: the relay stopped").count(), 2, "{stderr}");
    });
}

/// Talks until it is to stop.
async fn talk(
    mut call: Call,
    spoke: mpsc::UnboundedSender<()>,
    mut stopped: watch::Receiver<()>,
) -> Result<Call, Failed> {
    loop {
        call.talk(BURST).await?;
        // Once enough has been said nobody listens any more.
        let _ = spoke.send(());
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = stopped.changed() => return Ok(call),
        }
    }
}

/// A relay that drains for as long as there are calls.
struct Lab {
    relay: Relay,
    authority: Authority,
    _folder: TempDir,
}

impl Lab {
    fn start() -> Self {
        raise_open_files();
        let folder = TempDir::with_prefix("hubs-drain-").unwrap();
        let authority = Authority::new();
        let identity = authority.issue(NAME).write(folder.path(), "relay");
        let limits = "drain_deadline = \"1h\"";
        let program = Command::new(crate::RELAY);
        let relay = Relay::start_with(program, folder.path(), &identity, "127.0.0.1:1024-65535", limits);
        Self { relay, authority, _folder: folder }
    }

    async fn call(&self, over: Over, peer: SocketAddr) -> Result<Call, Failed> {
        let trust = trusting(&self.authority);
        let server = Server { udp: self.relay.plain, tls: self.relay.tls, name: NAME, trust };
        Call::start(&server, over, USER, peer).await
    }

    fn assert_ready(&self) {
        let (status, said) = http::get(self.relay.admin, "/readyz");
        assert!(status == 200 && said.starts_with("ready\ndraining: "), "{status} {said}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn number_behind(field: &str, line: &str) -> u64 {
    let (_, rest) = line.split_once(field).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}
