//! Dialog as mediasoup has it, and browsers that come from any address to any worker.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::*;
use crate::turn::{Client, Link};
use crate::wire::*;

/// The node of a dialog.
pub(super) const DIALOG: &str = "10.0.0.5:40001";
pub(super) const NAME: &str = "dialogsnameoftransportone1234567";
pub(super) const PASSWORD: &str = "passwordoftransportone1234567890";
pub(super) const BROWSER: &str = "192.0.2.7:50000";
/// The same browser, after a NAT has changed its mind.
pub(super) const REBOUND: &str = "192.0.2.7:60000";

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn udp(remote: &str) -> Client {
    Client { remote: addr(remote), local: addr("198.51.100.1:3478"), link: Link::Datagram(0) }
}

pub(super) fn tcp(remote: &str) -> Client {
    Client { link: Link::Stream(3), ..udp(remote) }
}

/// A transport of dialog's: mediasoup adds who checks, and sends to whom a check with USE-CANDIDATE selected.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) id: TransportId,
    pub(super) name: String,
    pub(super) password: String,
    pub(super) tuples: Vec<SocketAddr>,
    pub(super) selected: Option<SocketAddr>,
    /// Media that has come.
    pub(super) received: Vec<Vec<u8>>,
}

/// What a browser puts into a check.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) password: String,
    pub(super) priority: u32,
    pub(super) use_candidate: bool,
    pub(super) transaction: [u8; 12],
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) directory: Arc<Directory>,
    pub(super) workers: Vec<Gateway>,
    /// By where they wait.
    pub(super) transports: HashMap<SocketAddr, Transport>,
    /// Ways that were closed.
    pub(super) closed: Vec<(usize, Ended)>,
    transactions: u32,
}

impl World {
    /// So many workers, and a transport of dialog's.
    pub(super) fn new(workers: usize) -> Self {
        let now = Instant::now();
        let directory = Arc::new(Directory::new(now));
        let settings = |seed| Settings { checks: Some(1000), checks_total: Some(20_000), seed };
        let gateway = |worker| Gateway::new(settings(7000 + worker as u64), Arc::clone(&directory));
        let workers = (0..workers).map(gateway).collect();
        let mut world =
            Self { now, directory, workers, transports: HashMap::new(), closed: Vec::new(), transactions: 0 };
        world.open(NAME, PASSWORD, DIALOG);
        world
    }

    /// Dialog makes a transport.
    pub(super) fn open(&mut self, name: &str, password: &str, target: &str) -> TransportId {
        let key = IntegrityKey::short_term(password);
        let id = self.directory.open(name, key, addr(target), usize::MAX).unwrap();
        let transport = Transport {
            id,
            name: name.to_owned(),
            password: password.to_owned(),
            tuples: Vec::new(),
            selected: None,
            received: Vec::new(),
        };
        self.transports.insert(addr(target), transport);
        id
    }

    pub(super) fn dialog(&self) -> &Transport {
        &self.transports[&addr(DIALOG)]
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// A check as a browser makes it, with a transaction of its own.
    pub(super) fn check(&mut self) -> Check {
        self.transactions += 1;
        let mut transaction = [9; 12];
        transaction[..4].copy_from_slice(&self.transactions.to_be_bytes());
        Check {
            name: format!("{NAME}:browser"),
            password: PASSWORD.to_owned(),
            priority: 1_853_824_767,
            use_candidate: false,
            transaction,
        }
    }

    /// A browser checks, and hears whether dialog has answered.
    pub(super) fn checks(&mut self, worker: usize, client: Client) -> bool {
        let check = self.check();
        self.send(worker, client, &check.bytes())
    }

    /// The same, and selects this pair.
    pub(super) fn selects(&mut self, worker: usize, client: Client) -> bool {
        let check = Check { use_candidate: true, ..self.check() };
        self.send(worker, client, &check.bytes())
    }

    /// A browser sends a packet to a worker. Whether it got to dialog and, if it was a check, the answer to the browser.
    pub(super) fn send(&mut self, worker: usize, client: Client, packet: &[u8]) -> bool {
        let now = self.now;
        let route = self.workers[worker].handle_browser(now, client, packet);
        self.obey(worker);
        let Some(ToDialog { upstream, to, .. }) = route else { return false };
        let answer = self.arrive(source(worker, upstream), to, packet);
        if packet[0] > 3 {
            return true;
        }
        let answered = self.workers[worker].handle_dialog(now, upstream, to, &answer.unwrap());
        self.obey(worker);
        assert_eq!(answered.map(|it| it.client), Some(client), "the answer goes to somebody else");
        true
    }

    /// Dialog sends media to whom it has selected. Who gets it.
    pub(super) fn media(&mut self) -> Option<Client> {
        let selected = self.dialog().selected?;
        let (worker, upstream) = place(selected);
        let now = self.now;
        let route = self.workers[worker].handle_dialog(now, upstream, addr(DIALOG), &[0x80, 111, 0, 1]);
        self.obey(worker);
        route.map(|it| it.client)
    }

    /// A second has passed for each worker.
    pub(super) fn tick(&mut self) {
        for worker in 0..self.workers.len() {
            let now = self.now;
            self.workers[worker].handle_timeout(now);
            self.obey(worker);
        }
    }

    pub(super) fn rejected(&self, reason: Rejected) -> u64 {
        self.workers.iter().map(|it| it.counts().rejected(reason)).sum()
    }

    pub(super) fn obey(&mut self, worker: usize) {
        while let Some(command) = self.workers[worker].poll_command() {
            match command {
                Command::Send { route: ToDialog { upstream, to, .. }, bytes } => {
                    let answer = self.arrive(source(worker, upstream), to, &bytes).unwrap();
                    let now = self.now;
                    let heard = self.workers[worker].handle_dialog(now, upstream, to, &answer);
                    assert_eq!(heard, None, "a browser hears of a check that it did not make");
                }
                Command::Closed { ended, .. } => self.closed.push((worker, ended)),
                Command::Opened { .. } | Command::Moved { .. } => {}
            }
        }
    }

    /// A packet gets to dialog, which answers checks.
    fn arrive(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
        let transport = self.transports.get_mut(&to).expect("nothing goes where no transport is");
        if packet[0] > 3 {
            assert!(transport.tuples.contains(&from), "mediasoup drops what comes from an unknown tuple");
            transport.received.push(packet.to_vec());
            return None;
        }
        let message = Message::parse(packet).unwrap();
        let key = IntegrityKey::short_term(&transport.password);
        assert!(message.verify(&key) && packet.ends_with(&message_end(packet)), "mediasoup would refuse it");
        assert!(message.username().unwrap().unwrap().starts_with(&transport.name));
        if !transport.tuples.contains(&from) {
            transport.tuples.push(from);
        }
        if message.attribute(attribute::USE_CANDIDATE).is_some() {
            transport.selected = Some(from);
        }
        Some(Builder::success(&message).xor_mapped_address(from).integrity(&key).fingerprint().finish())
    }
}

impl Check {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let check = Builder::request(Method::Binding, TransactionId(self.transaction))
            .username(&self.name)
            .priority(self.priority)
            .ice_controlling(1);
        let check = if self.use_candidate { check.use_candidate() } else { check };
        check.integrity(&IntegrityKey::short_term(&self.password)).fingerprint().finish()
    }
}

/// FINGERPRINT, without which mediasoup refuses a check.
fn message_end(packet: &[u8]) -> Vec<u8> {
    let end = packet.len() - 8;
    assert_eq!(packet[end..end + 2], attribute::FINGERPRINT.0.to_be_bytes());
    packet[end..].to_vec()
}

/// Where a worker's socket is.
pub(super) fn source(worker: usize, upstream: Upstream) -> SocketAddr {
    SocketAddr::from(([10, 1, 0, worker as u8], 1000 + upstream.index() as u16))
}

/// Whose socket is there.
fn place(source: SocketAddr) -> (usize, Upstream) {
    let SocketAddr::V4(address) = source else { panic!("no socket of ours") };
    let upstream = Upstream { slot: (source.port() - 1000) as u8, family: Family::V4 };
    (usize::from(address.ip().octets()[3]), upstream)
}
