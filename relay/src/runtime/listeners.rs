//! The listeners of a relay: each opened for all workers at once, when it starts and when its configuration is read anew.
//!
//! One that the new configuration has as well stays open, and what changed about it counts for the connections to come. One
//! that is gone takes no more of them; those that it brought go on. Datagrams have no connection of their own: the sessions
//! of a UDP listener end with it, because nobody else can answer from its address.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::StartError;
use crate::config::{Listen, Transport};
use crate::net::Entrance;
use crate::net::bind::{self, Listener};
use crate::net::tls::{Identity, Shown, TlsError};

/// All listeners of a relay.
#[derive(Debug)]
pub(super) struct Listeners {
    workers: Vec<mpsc::UnboundedSender<Share>>,
    open: Vec<Open>,
    /// `open`, with the port that was taken for each port 0.
    actual: Vec<Listen>,
    tls: Option<ServedTls>,
}

/// A worker's share of a listener.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) listener: Listener,
    /// How connections come in. Its sender goes when the listener does.
    pub(super) entrance: watch::Receiver<Arc<Entrance>>,
}

#[derive(Debug)]
struct Open {
    configured: Listen,
    actual: Listen,
    entrance: watch::Sender<Arc<Entrance>>,
}

struct ServedTls {
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
}

/// The listeners of a new configuration, all of them open, of which no worker knows yet. Dropped, those that are new are closed.
pub(super) struct Opened(Vec<(Listen, Source)>);

/// Where a listener of a new configuration comes from.
enum Source {
    /// It is open already, by its place.
    Known(usize),
    New(Listen, Vec<Listener>),
}

impl Listeners {
    /// None yet, and where each of so many workers gets its shares of those to come.
    pub(super) fn new(workers: usize) -> (Self, Vec<mpsc::UnboundedReceiver<Share>>) {
        let (workers, shares) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        (Self { workers, open: Vec::new(), actual: Vec::new(), tls: None }, shares)
    }

    /// Opens what of these is not open yet, and changes nothing.
    pub(super) fn open(&self, listeners: &[Listen]) -> Result<Opened, StartError> {
        if listeners.is_empty() {
            return Err(StartError::Nothing("listen"));
        }
        let mut known: Vec<Option<&Open>> = self.open.iter().map(Some).collect();
        let mut opened = Vec::new();
        for (number, listen) in listeners.iter().enumerate() {
            let place = known.iter().position(|open| open.is_some_and(|open| open.can_be(listen)));
            let source = if let Some(place) = place {
                known[place] = None;
                Source::Known(place)
            } else {
                let others = || listeners.iter().enumerate().filter(|(other, _)| *other != number);
                let failed = |source: io::Error| {
                    let is_taken = source.kind() == io::ErrorKind::AddrInUse;
                    let is_other = |other: &&Listen| is_taken && collide(listen, other);
                    let listen = listen.clone();
                    if let Some(other) = others().map(|(_, other)| other).find(is_other) {
                        StartError::Twice { listen, other: Box::new(other.clone()) }
                    } else if let Some(other) = self.actual.iter().find(is_other) {
                        StartError::Own { listen, other: Box::new(other.clone()) }
                    } else {
                        StartError::Listen { listen, source }
                    }
                };
                let sockets =
                    bind::listen(listen.transport, listen.address, self.workers.len()).map_err(failed)?;
                let address =
                    sockets.first().map_or(Ok(listen.address), Listener::local_addr).map_err(failed)?;
                Source::New(Listen { address, ..listen.clone() }, sockets)
            };
            opened.push((listen.clone(), source));
        }
        Ok(Opened(opened))
    }

    /// Makes these the listeners from now on.
    pub(super) fn serve(&mut self, opened: Opened, identity: Option<&Identity>) -> Result<(), TlsError> {
        if let Some(identity) = identity {
            self.show(identity)?;
        }

        let mut old: Vec<Option<Open>> = self.open.drain(..).map(Some).collect();
        for (configured, source) in opened.0 {
            let entrance = Arc::new(Entrance {
                tls: self
                    .tls
                    .as_ref()
                    .filter(|_| configured.transport == Transport::Tls)
                    .map(|it| it.acceptor.clone()),
                proxies: configured.proxy_protocol_from.clone(),
                proxy_protocol: configured.proxy_protocol,
            });
            self.open.extend(match source {
                Source::Known(place) => old[place].take().map(|open| open.with(configured, entrance)),
                Source::New(actual, sockets) => Some(self.share(configured, actual, sockets, entrance)),
            });
        }
        self.actual = self.open.iter().map(|it| it.actual.clone()).collect();
        Ok(())
    }

    /// What the configuration says, with the port that was taken for each port 0.
    pub(super) fn actual(&self) -> &[Listen] {
        &self.actual
    }

    /// Handshakes from now on see this certificate.
    fn show(&mut self, identity: &Identity) -> Result<(), TlsError> {
        if let Some(tls) = &self.tls {
            tls.shown.set(identity);
        } else {
            let shown = Shown::new(identity);
            let acceptor = Arc::clone(&shown).acceptor()?;
            self.tls = Some(ServedTls { shown, acceptor });
        }
        Ok(())
    }

    /// Hands a new listener to the workers.
    fn share(
        &self,
        configured: Listen,
        actual: Listen,
        sockets: Vec<Listener>,
        entrance: Arc<Entrance>,
    ) -> Open {
        let (sender, entrance) = watch::channel(entrance);
        for (worker, listener) in self.workers.iter().zip(sockets) {
            // A worker that has failed ends the relay anyway.
            let _ = worker.send(Share { listener, entrance: entrance.clone() });
        }
        Open { configured, actual, entrance: sender }
    }
}

fn is_datagram(listen: &Listen) -> bool {
    listen.transport == Transport::Udp
}

/// Whether these two cannot be open at a time. All addresses of a machine include each of them.
fn collide(one: &Listen, other: &Listen) -> bool {
    let (ip, of_other) = (one.address.ip(), other.address.ip());
    is_datagram(one) == is_datagram(other)
        && one.address.port() == other.address.port()
        && ip.is_ipv4() == of_other.is_ipv4()
        && (ip == of_other || ip.is_unspecified() || of_other.is_unspecified())
}

impl Open {
    /// Whether its sockets are those that this listener needs; what is spoken on a stream is not the socket's business.
    fn can_be(&self, listen: &Listen) -> bool {
        is_datagram(&self.configured) == is_datagram(listen)
            && (self.configured.address == listen.address || self.actual.address == listen.address)
    }

    /// Takes other settings.
    fn with(self, configured: Listen, entrance: Arc<Entrance>) -> Self {
        self.entrance.send_replace(entrance);
        let actual = Listen { address: self.actual.address, ..configured.clone() };
        Self { configured, actual, ..self }
    }
}

impl std::fmt::Debug for ServedTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServedTls").finish_non_exhaustive()
    }
}
