//! The gateway's part of a worker: its ways, and the sockets on which it speaks to dialog.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use quinn_udp::UdpSocketState;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tracing::info;

use super::batch::{Destination, Sending};
use super::totals::{Traffic, Ways};
use crate::config::{Limits, Transport};
use crate::gateway::{Directory, Ended, Gateway, Settings, ToBrowser, ToDialog, Upstream, WayId};
use crate::turn::{Client, Link};
use crate::wire::Fragmentation;

/// A worker's gateway with everything that it needs.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) core: Gateway,
    upstreams: Vec<Option<OpenUpstream>>,
    ways: Vec<Option<OpenWay>>,
    to_dialog: Sending,
    totals: Ways,
}

/// A socket towards dialog and the task that reads it.
#[derive(Debug)]
pub(super) struct OpenUpstream {
    pub(super) socket: Rc<UdpSocket>,
    pub(super) task: AbortHandle,
}

#[derive(Debug)]
struct OpenWay {
    client: Client,
    transport: Transport,
    opened: Instant,
    to_dialog: Traffic,
    to_browser: Traffic,
}

impl Gate {
    pub(super) fn new(directory: Arc<Directory>, limits: &Limits, seed: u64) -> Self {
        let (checks, checks_total) = check_rates(limits);
        Self {
            core: Gateway::new(Settings { checks, checks_total, seed }, directory),
            upstreams: std::iter::repeat_with(|| None).take(Upstream::COUNT).collect(),
            ways: Vec::new(),
            to_dialog: Sending::default(),
            totals: Ways::default(),
        }
    }

    pub(super) fn set_limits(&mut self, limits: &Limits) {
        let (checks, checks_total) = check_rates(limits);
        self.core.set_limits(checks, checks_total);
    }

    /// What has been counted so far.
    pub(super) fn totals(&self) -> Ways {
        Ways { counts: *self.core.counts(), ..self.totals }
    }

    /// Whether a packet could leave now through this socket, or it has to be opened before.
    pub(super) fn has(&self, upstream: Upstream) -> bool {
        self.upstreams[upstream.index()].is_some()
    }

    pub(super) fn set(&mut self, upstream: Upstream, open: OpenUpstream) {
        self.upstreams[upstream.index()] = Some(open);
    }

    /// A socket could not be opened. Returns how often that has happened.
    pub(super) const fn count_unopened(&mut self) -> u64 {
        self.totals.unopened_upstreams += 1;
        self.totals.unopened_upstreams
    }

    /// A packet leaves for dialog, with the next flush at the latest.
    pub(super) fn send(&mut self, route: ToDialog, payload: &[u8], kernel: &UdpSocketState) {
        let destination = Destination {
            socket: route.upstream.index(),
            to: route.to,
            from: None,
            fragmentation: Fragmentation::Allowed,
        };
        if !self.to_dialog.accepts(destination, payload.len(), kernel) {
            self.flush(kernel);
        }
        self.to_dialog.push(destination, |bytes| bytes.extend_from_slice(payload));
    }

    /// Counts a browser's packet that goes on.
    pub(super) fn count_to_dialog(&mut self, way: WayId, payload: &[u8]) {
        if let Some(Some(way)) = self.ways.get_mut(way.index()) {
            way.to_dialog.add(payload);
            self.totals.to_dialog.of(way.transport).add(payload);
        }
    }

    /// Counts dialog's packet that goes on.
    pub(super) fn count_to_browser(&mut self, route: ToBrowser, payload: &[u8]) {
        if let Some(Some(way)) = self.ways.get_mut(route.way.index()) {
            way.to_browser.add(payload);
            self.totals.to_browsers.of(way.transport).add(payload);
        }
    }

    /// Sends what has been collected.
    pub(super) fn flush(&mut self, kernel: &UdpSocketState) {
        let Some(destination) = self.to_dialog.destination() else { return };
        match &self.upstreams[destination.socket] {
            Some(upstream) => self.to_dialog.send(&*upstream.socket, kernel),
            None => self.to_dialog = Sending::default(),
        }
    }

    pub(super) fn opened(&mut self, way: WayId, client: Client) {
        if self.ways.len() <= way.index() {
            self.ways.resize_with(way.index() + 1, || None);
        }
        let transport = transport(client);
        *self.totals.open.of(transport) += 1;
        *self.totals.opened.of(transport) += 1;
        self.ways[way.index()] = Some(OpenWay {
            client,
            transport,
            opened: Instant::now(),
            to_dialog: Traffic::default(),
            to_browser: Traffic::default(),
        });
    }

    /// A way is another client's from now on. Returns whose it was.
    pub(super) fn moved(&mut self, way: WayId, client: Client) -> Option<Client> {
        let way = self.ways.get_mut(way.index())?.as_mut()?;
        info!(client = %client.remote, before = %way.client.remote, "way taken over: the browser has come from another address");
        Some(std::mem::replace(&mut way.client, client))
    }

    /// A way is over. Returns whose it was.
    pub(super) fn closed(&mut self, way: WayId, ended: Ended) -> Option<Client> {
        let way = self.ways.get_mut(way.index()).and_then(Option::take)?;
        *self.totals.open.of(way.transport) -= 1;
        way.log_end(ended.reason());
        Some(way.client)
    }

    /// The relay ends, and all ways with it.
    pub(super) fn stop(&mut self) {
        for way in self.ways.iter_mut().filter_map(Option::take) {
            way.log_end("the relay stopped");
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        for upstream in self.upstreams.iter().flatten() {
            upstream.task.abort();
        }
    }
}

impl OpenWay {
    /// The one line that each way leaves.
    fn log_end(&self, reason: &'static str) {
        info!(
            client = %self.client.remote,
            transport = %self.transport,
            seconds = self.opened.elapsed().as_secs(),
            to_dialog_packets = self.to_dialog.packets,
            to_dialog_bytes = self.to_dialog.bytes,
            to_browser_packets = self.to_browser.packets,
            to_browser_bytes = self.to_browser.bytes,
            "way over: {reason}"
        );
    }
}

const fn transport(client: Client) -> Transport {
    match client.link {
        Link::Datagram(_) => Transport::Udp,
        Link::Stream(_) => Transport::Tcp,
    }
}

fn check_rates(limits: &Limits) -> (Option<u32>, Option<u32>) {
    (Some(limits.checks).filter(|it| *it > 0), Some(limits.checks_total).filter(|it| *it > 0))
}

/// Makes a socket ready to speak to dialog.
pub(super) fn prepare(socket: std::net::UdpSocket, bound: SocketAddr) -> io::Result<Rc<UdpSocket>> {
    super::fragmentation::allow(&socket, bound)?;
    super::bind::merge_received(&socket);
    Ok(Rc::new(UdpSocket::from_std(socket)?))
}
