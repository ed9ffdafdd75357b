//! The thread that stands in front of dialog's signalling, where there is a gateway. No media waits for what it does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::sleep;
use tracing::{info, warn};

use super::StartError;
use super::background::{Common, IMPATIENCE, runtime};
use super::listeners::Share;
use super::status::{Condition, Need};
use crate::config::{Config, Gateway, Host, Place};
use crate::gateway::Directory;
use crate::gateway::signalling::Offer;
use crate::net::bind::Listener;
use crate::net::resolve::lookup;
use crate::net::signalling::{Proxy, Settings, Tally, serve_signalling};

/// What the gateway's threads share, and metrics read.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) directory: Arc<Directory>,
    pub(super) tally: Arc<Tally>,
}

/// Serves these listeners until the relay ends.
pub(super) fn serve(
    common: &Common,
    shared: Shared,
    mut listeners: mpsc::UnboundedReceiver<Share>,
) -> Result<JoinHandle<()>, StartError> {
    let (publish, settings) = watch::channel(Settings::default());
    let proxy = Proxy { directory: shared.directory, settings, tally: shared.tally };
    let places = Places::new(common, publish);
    let failed = common.failed.clone();
    common.spawn_background("signalling", runtime()?, async move {
        spawn_local(places.follow());
        while let Some(Share { listener, entrance }) = listeners.recv().await {
            let Listener::Connections(listener) = listener else { continue };
            let serving = serve_signalling(proxy.clone(), listener, entrance.clone());
            let failed = failed.clone();
            let serving = spawn_local(async move {
                let Err(error) = serving.await;
                let _ = failed.send(error);
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
    dialogs: Vec<Known>,
    udp: Vec<Known>,
    tcp: Vec<Known>,
}

/// What a place stands for.
#[derive(Default)]
struct Known {
    place: Option<Place>,
    addresses: Vec<SocketAddr>,
    failure: Option<String>,
}

impl Places {
    fn new(common: &Common, publish: watch::Sender<Settings>) -> Self {
        Self {
            configs: common.configs.clone(),
            status: Arc::clone(&common.status),
            publish,
            dialogs: Vec::new(),
            udp: Vec::new(),
            tcp: Vec::new(),
        }
    }

    async fn follow(mut self) {
        loop {
            let config = Arc::clone(&self.configs.borrow_and_update());
            self.apply(&config.gateway);
            // What needs nobody's answer counts at once.
            self.tell(&config);
            for known in self.dialogs.iter_mut().chain(&mut self.udp).chain(&mut self.tcp) {
                known.ask().await;
            }
            self.tell(&config);
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
        for (known, places) in [(&mut self.dialogs, dialog), (&mut self.udp, udp), (&mut self.tcp, tcp)] {
            known.resize_with(places.len(), Known::default);
            for (known, place) in known.iter_mut().zip(places) {
                *known = std::mem::take(known).renamed(place);
            }
        }
    }

    fn tell(&self, config: &Config) {
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
        self.status.set(Need::Gateway, self.condition(&settings));
    }

    /// A gateway without dialog or without an address of its own is none.
    fn condition(&self, settings: &Settings) -> Condition {
        let failures: Vec<String> = self.all().filter_map(Known::failure).collect();
        let failures = failures.join("; ");
        if settings.dialogs.is_empty() || settings.offer.is_empty() {
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
}

impl Known {
    fn renamed(self, place: &Place) -> Self {
        if self.place.as_ref() == Some(place) {
            return self;
        }
        let addresses = match &place.host {
            Host::Network(network) => vec![SocketAddr::new(network.addr(), place.port)],
            Host::Name(_) => Vec::new(),
        };
        Self { place: Some(place.clone()), addresses, failure: None }
    }

    /// Looks the name up, if it is one. Without an answer the last one counts.
    async fn ask(&mut self) {
        let Some(Place { host: Host::Name(name), port }) = &self.place else { return };
        match lookup(name).await {
            Ok(mut found) => {
                found.sort_unstable();
                found.dedup();
                let to_place = |ip: IpAddr| SocketAddr::new(ip, *port);
                self.addresses = found.into_iter().map(to_place).collect();
                self.failure = None;
            }
            Err(failure) => {
                if self.failure.as_ref() != Some(&failure) {
                    warn!(name, %failure, kept = ?self.addresses, "a name of the gateway's does not resolve; it will be asked for again");
                }
                self.failure = Some(failure);
            }
        }
    }

    fn failure(&self) -> Option<String> {
        let failure = match &self.failure {
            Some(failure) => failure,
            None if self.addresses.is_empty() => "not asked yet",
            None => return None,
        };
        Some(format!("{} cannot be found out: {failure}", self.place.as_ref()?.host))
    }
}
