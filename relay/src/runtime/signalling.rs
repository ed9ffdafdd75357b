//! The thread that stands in front of dialog's signalling, where there is a gateway. No media waits for what it does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::sleep;
use tracing::{info, warn};

use super::background::{Common, IMPATIENCE, runtime};
use super::listeners::Share;
use super::status::{Condition, Need, Shared};
use super::{Phase, StartError};
use crate::config::{Config, Entry, Gateway, Host, Place, Service};
use crate::gateway::signalling::Offer;
use crate::net::bind::Listener;
use crate::net::cluster::{Cluster, Port};
use crate::net::resolve::Names;
use crate::net::signalling::{Door, Proxy, Settings, serve_signalling};

/// So many of a Service's ports are named in the log.
const SHOWN: usize = 16;

/// Serves these listeners until the relay ends.
pub(super) fn serve(
    common: &Common,
    shared: Shared,
    mut listeners: mpsc::UnboundedReceiver<Share>,
) -> Result<JoinHandle<()>, StartError> {
    let (publish, settings) = watch::channel(Settings::default());
    let (closes, door) = watch::channel(Door::Open);
    let proxy = Proxy { directory: shared.directory, settings, tally: shared.tally, door };
    let places = Places::new(common, publish, Cluster::around(), Names::OfTheSystem);
    let (failed, mut phases) = (common.failed.clone(), common.phases.clone());
    common.spawn_background("signalling", runtime()?, async move {
        spawn_local(places.follow());
        spawn_local(async move {
            let _ = phases.wait_for(|phase| *phase != Phase::Serving).await;
            closes.send_replace(Door::Closed);
        });
        while let Some(Share { listener, entrance }) = listeners.recv().await {
            let Listener::Connections(listener) = listener else { continue };
            let serving = serve_signalling(proxy.clone(), listener, entrance.clone());
            let failed = failed.clone();
            let serving = spawn_local(async move {
                if let Err(error) = serving.await {
                    let _ = failed.send(error);
                }
            });
            let mut entrance = entrance;
            spawn_local(async move {
                while entrance.changed().await.is_ok() {}
                serving.abort();
            });
        }
        std::future::pending::<()>().await;
    })
}

/// Where dialog is and what browsers are told, as the configuration says and names stand for at the time.
struct Places {
    configs: watch::Receiver<Arc<Config>>,
    status: Arc<super::Status>,
    publish: watch::Sender<Settings>,
    cluster: Cluster,
    names: Names,
    dialogs: Vec<Known>,
    udp: Vec<Known>,
    tcp: Vec<Known>,
    /// Whether all that browsers are to be told was known at one time: from then on the last answers count.
    was_whole: bool,
}

/// What a place stands for.
#[derive(Default)]
struct Known {
    entry: Option<Entry>,
    addresses: Vec<SocketAddr>,
    failure: Option<String>,
    /// The ports of the Service, if its own is not among them.
    others: Option<Vec<Port>>,
}

impl Places {
    fn new(common: &Common, publish: watch::Sender<Settings>, cluster: Cluster, names: Names) -> Self {
        Self {
            configs: common.configs.clone(),
            status: Arc::clone(&common.status),
            publish,
            cluster,
            names,
            dialogs: Vec::new(),
            udp: Vec::new(),
            tcp: Vec::new(),
            was_whole: false,
        }
    }

    async fn follow(mut self) {
        'anew: loop {
            let config = Arc::clone(&self.configs.borrow_and_update());
            self.apply(&config.gateway);
            // What needs nobody's answer counts at once, and every answer when it comes.
            self.tell(&config);
            let (cluster, names) = (self.cluster.clone(), self.names);
            let question = |place, known: &Known| {
                let answer = answer(known.entry.clone(), &cluster, names);
                async move { (place, answer.await) }
            };
            let mut answers: FuturesUnordered<_> =
                self.all().enumerate().map(|(place, known)| question(place, known)).collect();
            loop {
                let (place, answer) = tokio::select! {
                    answered = answers.next() => match answered {
                        Some((place, Some(answer))) => (place, answer),
                        Some((_, None)) => continue,
                        None => break,
                    },
                    changed = self.configs.changed() => match changed {
                        Ok(()) => continue 'anew,
                        Err(_) => return,
                    },
                };
                if let Some((known, protocol)) = self.all_mut().nth(place) {
                    known.learn(answer, protocol);
                }
                self.tell(&config);
            }
            let is_missing = self.all().any(|it| it.addresses.is_empty());
            let every = config.peers.resolve_every;
            let pause: Duration = if is_missing { every.min(IMPATIENCE) } else { every };
            tokio::select! {
                () = sleep(pause) => {}
                changed = self.configs.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Goes by these places. What is known of one stays known.
    fn apply(&mut self, gateway: &Gateway) {
        let Gateway { dialog, udp, tcp, .. } = gateway;
        let dialog: Vec<Entry> = dialog.iter().cloned().map(Entry::Place).collect();
        for (known, entries) in [(&mut self.dialogs, &dialog), (&mut self.udp, udp), (&mut self.tcp, tcp)] {
            known.resize_with(entries.len(), Known::default);
            for (known, entry) in known.iter_mut().zip(entries) {
                *known = std::mem::take(known).renamed(entry);
            }
        }
    }

    fn tell(&mut self, config: &Config) {
        let all = |known: &[Known]| -> Vec<SocketAddr> {
            known.iter().flat_map(|it| it.addresses.iter().copied()).collect()
        };
        let offer =
            Offer { udp: all(&self.udp), tcp: all(&self.tcp), keeps_dialogs: config.gateway.keep_dialogs };
        let limits = &config.limits;
        let settings = Settings {
            dialogs: all(&self.dialogs),
            offer: Arc::new(offer),
            connections: limits.signalling as u64,
            transports: (limits.transports, limits.transports_per_connection),
            handshake_timeout: limits.handshake_timeout,
        };
        let before = self.publish.send_replace(settings.clone());
        if before.dialogs != settings.dialogs {
            info!(dialogs = ?settings.dialogs, "signalling goes to");
        }
        if before.offer != settings.offer {
            info!(udp = ?settings.offer.udp, tcp = ?settings.offer.tcp, "browsers are told of the gateway at");
        }
        self.was_whole |= self.udp.iter().chain(&self.tcp).all(|it| !it.addresses.is_empty());
        self.status.set(Need::Gateway, self.condition(&settings));
    }

    /// A gateway without dialog or without an address of its own is none. One that begins, and does not know yet all that it is to tell
    /// browsers, would send them where they get through with less, while the one that it takes over from still serves.
    fn condition(&self, settings: &Settings) -> Condition {
        let failures: Vec<String> = self.all().filter_map(Known::failure).collect();
        let failures = failures.join("; ");
        if settings.dialogs.is_empty() || settings.offer.is_empty() || !self.was_whole {
            let nothing = if settings.dialogs.is_empty() {
                "dialog is not known"
            } else {
                "there is nothing to tell browsers"
            };
            return Condition::Unmet(if failures.is_empty() { nothing.to_owned() } else { failures });
        }
        if failures.is_empty() { Condition::Met } else { Condition::Stale(failures) }
    }

    fn all(&self) -> impl Iterator<Item = &Known> {
        self.dialogs.iter().chain(&self.udp).chain(&self.tcp)
    }

    /// The same, with what is spoken there.
    fn all_mut(&mut self) -> impl Iterator<Item = (&mut Known, &'static str)> {
        let udp = self.udp.iter_mut().map(|it| (it, "UDP"));
        let tcp = self.tcp.iter_mut().map(|it| (it, "TCP"));
        self.dialogs.iter_mut().map(|it| (it, "TCP")).chain(udp).chain(tcp)
    }
}

/// What is said of a name or a Service.
struct Answer {
    found: Result<Vec<IpAddr>, String>,
    /// The ports of a Service.
    ports: Option<Vec<Port>>,
}

/// Asks DNS for a name and the cluster for a Service. An address needs nobody's answer.
async fn answer(entry: Option<Entry>, cluster: &Cluster, names: Names) -> Option<Answer> {
    match entry? {
        Entry::Place(Place { host: Host::Name(name), .. }) => {
            Some(Answer { found: names.lookup(&name).await, ports: None })
        }
        Entry::Service { service, .. } => Some(match cluster.reached(&service).await {
            Ok(reached) => Answer { found: Ok(reached.addresses), ports: Some(reached.ports) },
            Err(error) => Answer { found: Err(error.to_string()), ports: None },
        }),
        Entry::Place(_) => None,
    }
}

impl Known {
    fn renamed(self, entry: &Entry) -> Self {
        if self.entry.as_ref() == Some(entry) {
            return self;
        }
        let addresses = match entry {
            Entry::Place(Place { host: Host::Network(network), port }) => {
                vec![SocketAddr::new(network.addr(), *port)]
            }
            Entry::Place(_) | Entry::Service { .. } => Vec::new(),
        };
        Self { entry: Some(entry.clone()), addresses, failure: None, others: None }
    }

    /// Goes by what is said of it; a Service has to have the port as one of `protocol`. Where nothing could be found out, the last
    /// answer counts.
    fn learn(&mut self, answer: Answer, protocol: &str) {
        let port = match &self.entry {
            Some(Entry::Place(place)) => place.port,
            Some(Entry::Service { service, port }) => {
                let (service, port) = (service.clone(), *port);
                if let Some(ports) = &answer.ports {
                    self.compare(&service, protocol, port, ports);
                }
                port
            }
            None => return,
        };
        match answer.found {
            Ok(mut found) => {
                found.sort_unstable();
                found.dedup();
                let to_place = |ip: IpAddr| SocketAddr::new(ip, port);
                self.addresses = found.into_iter().map(to_place).collect();
                self.failure = None;
            }
            Err(failure) => {
                if self.failure.as_ref() != Some(&failure) {
                    let (name, kept) = (self.name(), &self.addresses);
                    warn!(name, %failure, ?kept, "an address of the gateway's cannot be found out; it will be asked for again");
                }
                self.failure = Some(failure);
            }
        }
    }

    /// Says, whenever that changes, that the load balancer does not forward the port that browsers are told.
    fn compare(&mut self, service: &Service, protocol: &str, port: u16, ports: &[Port]) {
        let others = (!ports.iter().any(|it| it.is(protocol, port))).then(|| ports.to_vec());
        if self.others == others {
            return;
        }
        if let Some(others) = &others {
            let has: Vec<_> = others.iter().take(SHOWN).map(ToString::to_string).collect();
            let (has, key) = (has.join(", "), protocol.to_ascii_lowercase());
            warn!(
                %service, %has,
                "the load balancer does not forward {protocol} {port}, which browsers are told: add it to the Service (spec.ports), or name a \
                 port that it has in gateway.{key}"
            );
        } else {
            info!(%service, "the load balancer forwards {protocol} {port}");
        }
        self.others = others;
    }

    fn failure(&self) -> Option<String> {
        let failure = match &self.failure {
            Some(failure) => failure,
            None if self.addresses.is_empty() => "not asked yet",
            None => return None,
        };
        Some(format!("{} cannot be found out: {failure}", self.name()))
    }

    fn name(&self) -> String {
        match &self.entry {
            Some(Entry::Place(place)) => place.host.to_string(),
            Some(Entry::Service { service, .. }) => format!("the address of Service {service}"),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use hyper::StatusCode;
    use serde_json::{Value, json};
    use tokio::task::LocalSet;
    use tokio::time::timeout;
    use tracing::subscriber::DefaultGuard;

    use super::*;
    use crate::net::cluster::tests::{Api, load_balancer};
    use crate::net::resolve::tests::Server;
    use crate::runtime::Status;

    /// Nothing on loopback takes this long.
    const LIMIT: Duration = Duration::from_secs(10);

    /// Goes by this configuration; what it publishes, and its status.
    fn follow(config: &str, cluster: Cluster, names: Names) -> (watch::Receiver<Settings>, Arc<Status>) {
        let config = Config::from_text(config, None, []).unwrap();
        let status = Arc::new(Status::new(1));
        let (publish, settings) = watch::channel(Settings::default());
        let (configs_sender, configs) = watch::channel(Arc::new(config));
        let (phases_sender, phases) = watch::channel(Phase::Serving);
        let (failed, failures) = mpsc::unbounded_channel();
        let common = Common { configs, phases, status: Arc::clone(&status), failed };
        let places = Places::new(&common, publish, cluster, names);
        spawn_local(async move {
            let _kept = (configs_sender, phases_sender, failures);
            places.follow().await;
        });
        (settings, status)
    }

    /// How the need for addresses is met, as soon as it is as expected.
    async fn until(status: &Status, is_so: impl Fn(&Condition) -> bool) {
        while !status.needs().get(&Need::Gateway).is_some_and(&is_so) {
            tokio::task::yield_now().await;
        }
    }

    /// Runs a test, whose expectations may never come true.
    fn within_the_limit(test: impl Future<Output = ()>) {
        let runtime = runtime().unwrap();
        LocalSet::new().block_on(&runtime, async { timeout(LIMIT, test).await.expect("it comes true") });
    }

    /// Whether a condition gives this reason, or is met if there is none.
    fn says(part: &str) -> impl Fn(&Condition) -> bool {
        move |condition| match condition {
            Condition::Met => part.is_empty(),
            Condition::Stale(why) | Condition::Unmet(why) => !part.is_empty() && why.contains(part),
        }
    }

    #[test]
    fn the_load_balancers_address_is_followed_and_without_an_answer_the_last_one_counts() {
        within_the_limit(async {
            let api = Api::start().await;
            api.say(StatusCode::FORBIDDEN, "");
            let config = "gateway.udp = 'service:hubs-media:3478'\ngateway.dialog = '127.0.0.1:4443'\n\
                          peers.resolve_every = '100ms'";
            let (mut settings, status) = follow(config, api.cluster.clone(), Names::OfTheSystem);
            until(
                &status,
                says("the address of Service hubs-media cannot be found out: the cluster's API refuses"),
            )
            .await;
            assert!(matches!(status.needs()[&Need::Gateway], Condition::Unmet(_)));
            for address in ["203.0.113.10", "203.0.113.20"] {
                api.describe(&load_balancer(&json!([{"ip": address}])));
                let place = format!("{address}:3478").parse().unwrap();
                settings.wait_for(|it| it.offer.udp == [place]).await.unwrap();
                until(&status, says("")).await;
            }
            api.say(StatusCode::UNAUTHORIZED, "");
            until(&status, says("401")).await;
            assert!(matches!(status.needs()[&Need::Gateway], Condition::Stale(_)));
            assert_eq!(settings.borrow().offer.udp, ["203.0.113.20:3478".parse().unwrap()]);
        });
    }

    #[test]
    fn what_names_stand_for_is_followed_and_without_an_answer_the_last_one_counts() {
        within_the_limit(async {
            let dns = Server::start().await;
            let config = "gateway.dialog = 'dialog.test:4443'\ngateway.udp = 'media.test:3478'\n\
                          gateway.tcp = 'stream.test:5349'\npeers.resolve_every = '100ms'";
            let (mut settings, status) = follow(config, Cluster::around(), dns.names);
            until(&status, says("dialog.test cannot be found out")).await;
            assert!(matches!(status.needs()[&Need::Gateway], Condition::Unmet(_)));
            let at = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
            for [dialog, media, stream] in
                [["10.0.0.1", "203.0.113.10", "203.0.113.11"], ["10.0.0.2", "203.0.113.20", "2001:db8::21"]]
            {
                dns.say("dialog", &[dialog]);
                dns.say("media", &[media]);
                dns.say("stream", &[stream]);
                let has_moved = |it: &Settings| {
                    it.dialogs == [at(dialog, 4443)]
                        && it.offer.udp == [at(media, 3478)]
                        && it.offer.tcp == [at(stream, 5349)]
                };
                settings.wait_for(has_moved).await.unwrap();
                until(&status, says("")).await;
            }
            // A name may have several, in any order.
            dns.say("dialog", &["10.0.0.3", "10.0.0.2"]);
            let both = [at("10.0.0.2", 4443), at("10.0.0.3", 4443)];
            settings.wait_for(|it| it.dialogs == both).await.unwrap();
            dns.say("dialog", &[]);
            until(&status, says("dialog.test cannot be found out")).await;
            assert!(matches!(status.needs()[&Need::Gateway], Condition::Stale(_)));
            assert_eq!(settings.borrow().dialogs, both);
        });
    }

    #[test]
    fn one_that_does_not_answer_keeps_none_of_the_others_waiting() {
        within_the_limit(async {
            let dns = Server::start().await;
            dns.say("media", &["203.0.113.10"]);
            let config = "gateway.dialog = 'silent.test:4443'\ngateway.udp = 'media.test:3478'";
            let (mut settings, status) = follow(config, Cluster::around(), dns.names);
            let place = "203.0.113.10:3478".parse().unwrap();
            settings.wait_for(|it| it.offer.udp == [place]).await.unwrap();
            until(&status, says("silent.test cannot be found out: not asked yet")).await;
        });
    }

    #[test]
    fn as_long_as_one_address_was_never_known_the_others_do_not_make_it_ready() {
        let runtime = runtime().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let api = Api::start().await;
            api.say(StatusCode::SERVICE_UNAVAILABLE, "");
            let config = "gateway.udp = '203.0.113.5:3478'\ngateway.tcp = 'service:hubs-media:5349'\n\
                          gateway.dialog = '127.0.0.1:4443'\npeers.resolve_every = '100ms'";
            let (mut settings, status) = follow(config, api.cluster.clone(), Names::OfTheSystem);
            let says_503 = |it: &Condition| match it {
                Condition::Met => false,
                Condition::Stale(why) | Condition::Unmet(why) => why.contains("503"),
            };
            until(&status, says_503).await;
            assert!(matches!(status.needs()[&Need::Gateway], Condition::Unmet(_)));
            // Who comes all the same is told what is known.
            assert_eq!(settings.borrow().offer.udp, ["203.0.113.5:3478".parse().unwrap()]);
            api.describe(&load_balancer(&json!([{"ip": "203.0.113.10"}])));
            settings.wait_for(|it| !it.offer.tcp.is_empty()).await.unwrap();
            until(&status, |it| *it == Condition::Met).await;
            api.say(StatusCode::SERVICE_UNAVAILABLE, "");
            until(&status, says_503).await;
            assert!(matches!(status.needs()[&Need::Gateway], Condition::Stale(_)));
            assert_eq!(settings.borrow().offer.tcp, ["203.0.113.10:5349".parse().unwrap()]);
        });
    }

    /// What is logged on this thread from now on.
    fn log() -> (Arc<Mutex<Vec<u8>>>, DefaultGuard) {
        #[derive(Clone)]
        struct Log(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Log {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = Log(Arc::default());
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        (log.0, tracing::subscriber::set_default(subscriber))
    }

    #[test]
    fn a_service_without_the_port_that_browsers_are_told_is_warned_of_once_for_each_change() {
        let (log, _guard) = log();
        let said = || String::from_utf8(log.lock().unwrap().clone()).unwrap();
        let runtime = runtime().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let api = Api::start().await;
            let service = |ports: Value| {
                let mut service = load_balancer(&json!([{"ip": "203.0.113.10"}]));
                service["spec"]["ports"] = ports;
                service
            };
            let entry: Entry = "service:hubs-media:3478".parse().unwrap();
            let mut known = Known::default().renamed(&entry);
            let warnings = || said().matches("does not forward UDP 3478").count();
            for (ports, expected) in [
                (json!([{"port": 3478, "protocol": "UDP"}]), 0),
                (json!([{"port": 3478}, {"port": 443, "protocol": "TCP"}]), 1),
                (json!([{"port": 3478}, {"port": 443, "protocol": "TCP"}]), 1),
                (json!([{"port": 3479, "protocol": "UDP"}]), 2),
                (json!([{"port": 3478, "protocol": "UDP"}, {"port": 443}]), 2),
                (json!([]), 3),
            ] {
                api.describe(&service(ports));
                let answer = answer(known.entry.clone(), &api.cluster, Names::OfTheSystem).await;
                known.learn(answer.unwrap(), "UDP");
                assert_eq!(warnings(), expected, "{}", said());
            }
            // It is told to browsers all the same: what forwards it may be no part of the Service.
            assert_eq!(known.addresses, ["203.0.113.10:3478".parse().unwrap()]);
        });
        let hint = "add it to the Service (spec.ports), or name a port that it has in gateway.udp";
        assert!(said().contains(hint) && said().contains("TCP 3478, TCP 443"), "{}", said());
    }
}
