//! A soak: clients come, talk, refresh and leave, while secrets rotate, configuration and certificate reload and strangers
//! knock. When all have left, the relay has to be where it began.
//!
//! The relay is the program itself, with the database of Hubs. One thread plays all clients and their peers, each on
//! sockets of its own. Every packet that comes back is held against what was sent.

mod client;
mod files;
mod life;
mod link;
mod outcome;
mod payload;
mod strangers;
mod usage;
mod world;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hubs_relay::auth::Secret;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, interval_at, sleep, sleep_until};
use tokio_rustls::TlsConnector;

use self::files::{Addresses, Files};
use self::link::Link;
pub use self::outcome::{Outcome, Progress};
use self::payload::scatter;
pub use self::usage::Usage;
use self::usage::{kernel_drops, udp_ports_at};
pub use self::world::Tally;
use self::world::World;
use crate::bed::{REALM, STREAM, TURN_SECRET, loopback};
use crate::certs::Authority;
use crate::port;
use crate::postgres::{Postgres, SEARCH_PATH};
use crate::process::Process;

/// The address from which this relay reaches peers, and no other program does.
const RELAY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
/// For how long connections without an allocation may stay.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(2);
/// From one secret to the next. Reticulum takes five minutes, and deletes what is older than three times that.
const ROTATE_EVERY: Duration = Duration::from_secs(4);
/// From one configuration to the next; the relay looks for changes every two seconds.
const RELOAD_EVERY: Duration = Duration::from_secs(3);
/// Memory that may be in use at the end beyond what was in use after the warm-up, in KiB.
const MEMORY_SLACK: u64 = 1024;
/// How long the relay may take to be where it began, and clients to leave.
const END_LIMIT: Duration = Duration::from_secs(30);
/// From one look at the relay to the next.
const LOOK: Duration = Duration::from_millis(250);

/// What a soak does.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Clients at a time.
    pub sessions: usize,
    /// Packets a second of each, each way.
    pub rate: u32,
    /// How long clients come and go before anything counts, in which the relay takes the memory that it needs.
    pub warm_up: Duration,
    /// How long they come and go.
    pub duration: Duration,
}

impl Soak {
    /// Runs it against `relay`, a program, and says now and then how it goes. Where it is given up before its end, what it
    /// started ends with it.
    ///
    /// # Panics
    /// If the database or the relay does not start.
    pub async fn run(&self, relay: &Path, progress: impl FnMut(&Progress)) -> Outcome {
        raise_descriptors();
        tokio::task::LocalSet::new().run_until(self.run_locally(relay, progress)).await
    }

    async fn run_locally(&self, program: &Path, mut progress: impl FnMut(&Progress)) -> Outcome {
        let database = Arc::new(Postgres::start(SEARCH_PATH));
        let addresses = Addresses {
            udp: loopback(port::free()),
            tls: loopback(port::free()),
            admin: loopback(port::free()),
            database: database.url(),
        };
        let (listeners, admin) = ([addresses.udp, addresses.tls], addresses.admin);
        let files = Files::new(addresses);
        let (gap, secret) = (Duration::from_secs(1) / self.rate, Secret::from(TURN_SECRET));
        let world = Rc::new(World::new(listeners, connectors(files.authority()), gap, secret));
        let relay = start(program, &files);
        let lab = Lab { world, relay, admin, files: Rc::new(RefCell::new(files)), database };
        let mut outcome = Outcome::default();
        let drops = lab.kernel_drops();

        outcome.usage[0] = lab.settled_usage().await;
        // As many as there will ever be at a time.
        let vanishing = (self.sessions / 10).max(1);
        lab.churn(self.sessions + vanishing, self.warm_up, &mut progress).await;
        lab.wait_for_the_beginning(&outcome.usage[0]).await;
        outcome.usage[1] = lab.settled_usage().await;

        let last = (Instant::now() + self.duration).checked_sub(life::EXPIRY + END_LIMIT);
        lab.world.may_vanish.set((vanishing, last));
        lab.churn(self.sessions, self.duration, &mut progress).await;
        lab.wait_for_the_vanished().await;
        lab.wait_for_the_beginning(&outcome.usage[0]).await;
        outcome.usage[2] = lab.settled_usage().await;

        outcome.kernel_drops = lab.kernel_drops() - drops;
        outcome.tally = lab.world.tally();
        lab.judge(outcome)
    }
}

/// The relay, and everything around it.
struct Lab {
    world: Rc<World>,
    relay: Process,
    admin: SocketAddr,
    files: Rc<RefCell<Files>>,
    database: Arc<Postgres>,
}

impl Lab {
    /// Lets clients come and go on so many seats for so long, and all leave.
    async fn churn(&self, seats: usize, duration: Duration, progress: &mut impl FnMut(&Progress)) {
        let begin = Instant::now();
        let (until, ramp) = (begin + duration, duration / 5);
        let mut tasks = JoinSet::new();
        for seat in 0..seats {
            let first = begin + ramp.min(Duration::from_secs(5)) * seat as u32 / seats as u32;
            tasks.spawn_local(occupy(Rc::clone(&self.world), seat, first, until));
        }
        tasks.spawn_local(rotate(Rc::clone(&self.world), Arc::clone(&self.database), until));
        tasks.spawn_local(reload(Rc::clone(&self.world), Rc::clone(&self.files), until));
        tasks.spawn_local(strangers::come(Rc::clone(&self.world), until));
        let mut ticks = interval_at(begin + Duration::from_secs(10), Duration::from_secs(10));
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    None => return,
                    Some(Ok(())) => {}
                    Some(Err(error)) => self.world.note(error),
                },
                _ = ticks.tick() => {
                    let usage = Usage::of(self.relay.id()).unwrap_or_default();
                    progress(&Progress { elapsed: begin.elapsed(), tally: self.world.tally(), usage });
                }
                () = sleep_until(until + END_LIMIT) => {
                    return self.world.note(format!("{} clients did not leave", tasks.len()));
                }
            }
            if self.world.is_broken() {
                return;
            }
        }
    }

    /// Waits until the relay has noticed that those who left without a word are gone.
    async fn wait_for_the_vanished(&self) {
        let mut vanished = self.world.vanished.take();
        while !self.world.is_broken() && vanished.join_next().await.is_some() {}
    }

    /// Waits until the relay serves nobody, has read what there is to read, and holds what it held at first; or notes what
    /// is different.
    async fn wait_for_the_beginning(&self, first: &Usage) {
        let deadline = Instant::now() + END_LIMIT;
        loop {
            let difference = self.difference(first).await.unwrap_or_else(|error| Some(error.to_string()));
            let Some(difference) = difference else { return };
            if self.world.is_broken() || Instant::now() > deadline {
                return self.world.note(format!("when all had left: {difference}"));
            }
            sleep(LOOK).await;
        }
    }

    async fn difference(&self, first: &Usage) -> io::Result<Option<String>> {
        let document = self.metrics().await?;
        let value = |sample: &str| {
            let line = document.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<u64>().ok())
        };
        for (sample, expected) in [
            ("hubs_relay_sessions{transport=\"udp\"}", 0..=0),
            ("hubs_relay_sessions{transport=\"tls\"}", 0..=0),
            ("hubs_relay_strangers", 0..=0),
            ("hubs_relay_queue_drops_total", 0..=0),
            ("hubs_relay_limited_total{limit=\"strangers\"}", 0..=0),
            ("hubs_relay_need_met{need=\"database\"}", 1..=1),
            ("hubs_relay_reloads_total{outcome=\"failed\"}", 0..=0),
            ("hubs_relay_reloads_total{outcome=\"applied\"}", self.world.tally().reloads..=u64::MAX),
        ] {
            let value = value(sample);
            if !value.is_some_and(|value| expected.contains(&value)) {
                return Ok(Some(format!("{sample} is {value:?}")));
            }
        }
        let shown = Link::tls(self.world.tls, &self.world.connectors[0], STREAM).await?.certificate();
        if shown != Some(self.files.borrow().certificate()) {
            return Ok(Some("the relay does not show its last certificate".to_owned()));
        }
        let ports = udp_ports_at(self.relay.id(), RELAY_ADDRESS)?;
        if ports != 0 {
            return Ok(Some(format!("{ports} relay ports are open")));
        }
        let usage = Usage { resident: first.resident, ..self.settled_usage().await };
        Ok((usage != *first).then(|| format!("the relay held {first:?} at first, and now {usage:?}")))
    }

    /// What the relay uses when it does nothing for a moment, such as to answer us.
    async fn settled_usage(&self) -> Usage {
        let mut last = Usage::default();
        loop {
            sleep(LOOK).await;
            let usage = Usage::of(self.relay.id()).unwrap_or_default();
            if (usage.descriptors, usage.threads) == (last.descriptors, last.threads) {
                return usage;
            }
            last = usage;
        }
    }

    async fn metrics(&self) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn kernel_drops(&self) -> u64 {
        kernel_drops(self.relay.id()).unwrap_or_default()
    }

    /// Ends the relay, reads its log, and adds what is wrong.
    fn judge(self, mut outcome: Outcome) -> Outcome {
        let Self { world, relay, .. } = self;
        relay.signal(Signal::SIGTERM);
        let finished = relay.finish(END_LIMIT);
        if !finished.status.success() {
            world.note(format!("the relay ended with {}", finished.status));
        }
        let log = finished.stderr;
        for line in log.lines().filter(|line| !line.contains(" INFO ")) {
            world.note(format!("in the relay's log: {line}"));
        }
        let Outcome { tally, usage: [_, warm, after], kernel_drops, .. } = outcome;
        for (reason, expected) in [
            ("session over: the client gave it back", tally.released),
            ("session over: the client's connection ended", tally.disconnected),
            ("session over: the client did not refresh it", tally.vanished),
            ("session over: ", tally.joins),
        ] {
            let found = log.lines().filter(|line| line.contains(reason)).count() as u64;
            if found != expected {
                world.note(format!(
                    "{expected} lines of {reason:?} should be in the relay's log, and {found} are"
                ));
            }
        }
        if tally.lost_tls > 0 {
            world.note(format!("{} packets were lost over TLS", tally.lost_tls));
        }
        if tally.lost_udp > kernel_drops {
            world.note(format!(
                "{} packets were lost over UDP, of which the kernel knows {kernel_drops}",
                tally.lost_udp
            ));
        }
        if after.resident > warm.resident + MEMORY_SLACK {
            world.note(format!("{} KiB of memory have become {} KiB", warm.resident, after.resident));
        }
        outcome.faults = world.take_faults();
        outcome
    }
}

/// One client after the other takes a seat. Every tenth seat is taken once, for the whole time.
async fn occupy(world: Rc<World>, seat: usize, first: Instant, until: Instant) {
    let length = until - first;
    let usual = (length / 4).min(Duration::from_mins(1));
    sleep_until(first).await;
    while Instant::now() < until && !world.is_broken() {
        let number = world.next_number();
        // Between a half and one and a half times as long as usual.
        let life = usual / 2 + usual * (scatter(number) % 1000) as u32 / 1000;
        let end = if seat.is_multiple_of(10) { until } else { until.min(Instant::now() + life) };
        life::live(&world, number, end).await;
        // A life that fails must not be followed by a thousand others.
        sleep(LOOK).await;
    }
}

/// As Reticulum does it: a new secret, and those that are too old deleted.
async fn rotate(world: Rc<World>, database: Arc<Postgres>, until: Instant) {
    let old = (ROTATE_EVERY * 3).as_secs();
    let mut ticks = interval_at(Instant::now() + ROTATE_EVERY, ROTATE_EVERY);
    while Instant::now() + ROTATE_EVERY < until {
        ticks.tick().await;
        let secret = format!("{:032x}", u128::from(scatter(world.next_number())));
        let statement = format!(
            "INSERT INTO coturn.turn_secret VALUES ('{REALM}', '{secret}', now(), now()); \
             DELETE FROM coturn.turn_secret WHERE inserted_at < now() - interval '{old} seconds'"
        );
        let database = Arc::clone(&database);
        match spawn_blocking(move || database.try_execute(&statement)).await {
            Ok(Ok(())) => world.set_secret(Secret::from(secret)),
            Ok(Err(error)) => world.note(error),
            Err(error) => world.note(error),
        }
        world.count(|it| it.rotations += 1);
    }
}

async fn reload(world: Rc<World>, files: Rc<RefCell<Files>>, until: Instant) {
    let mut ticks = interval_at(Instant::now() + RELOAD_EVERY, RELOAD_EVERY);
    while Instant::now() + RELOAD_EVERY < until {
        ticks.tick().await;
        files.borrow_mut().renew();
        world.count(|it| it.reloads += 1);
    }
}

fn start(program: &Path, files: &Files) -> Process {
    let mut command = Command::new(program);
    // As an operator runs it: what he does not hear of at this level is not there.
    command.arg("--config").arg(files.configuration()).env("RUST_LOG", "info");
    let relay = Process::start("hubs-relay", &mut command);
    relay.wait_for_line("ready", |line| line.ends_with(" ready").then_some(()));
    relay
}

/// Clients that trust the authority. The first shakes hands in full each time, the second has a browser's tickets.
fn connectors(authority: &Authority) -> [TlsConnector; 2] {
    let certificate = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap();
    [Resumption::disabled(), Resumption::default()].map(|resumption| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.resumption = resumption;
        TlsConnector::from(Arc::new(config))
    })
}

/// Each client has two sockets.
fn raise_descriptors() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
