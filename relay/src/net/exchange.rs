//! The exchange: a worker's core, and every socket that the core can send through.
//!
//! It takes what tasks read from sockets to the core, and does what the core says. Packets that belong together are
//! collected and leave with [`Exchange::flush`].

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use quinn_udp::UdpSocketState;
use ring::rand::SecureRandom;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::batch::{Destination, Received, Sending, kernel_state};
use super::bind::{PortParity, Ports, RelaySocket};
use super::gate::{self, Gate, OpenUpstream};
use super::totals::{Totals, Traffic};
use super::{datagrams, fragmentation, icmp};
use crate::auth::Credentials;
use crate::config::{Limits, Relaying, Transport};
use crate::gateway::{self, Directory, Gateway, ToBrowser, ToDialog, Upstream};
use crate::turn::{
    self, Client, Command, Ended, Framing, Link, Now, PeerPolicy, RelayId, RelayPort, Server, Settings,
    ToClient, ToPeer,
};
use crate::wire::{Family, Fragmentation, Frame, Icmp, Message, PacketDecoder, ReservationToken};

/// An exchange as its tasks share it.
pub(crate) type Shared = Rc<RefCell<Exchange>>;

/// What a worker's exchange is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) relaying: Relaying,
    /// Those of each address that relay sockets bind to.
    pub(crate) ports: Vec<Arc<Ports>>,
    pub(crate) limits: Limits,
    /// To ask for the secrets to be read anew.
    pub(crate) reread: Arc<Notify>,
    /// Dialog's transports, if there is a gateway to them.
    pub(crate) directory: Option<Arc<Directory>>,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    server: Server,
    gate: Option<Gate>,
    this: Weak<RefCell<Self>>,
    relaying: Relaying,
    ports: Vec<Arc<Ports>>,
    limits: Limits,
    relays: Vec<Option<OpenRelay>>,
    /// Sockets that wait for a client to come back for them.
    reserved: HashMap<ReservationToken, RelaySocket>,
    listeners: Vec<Option<Rc<UdpSocket>>>,
    outboxes: Vec<Option<Outbox>>,
    free_outboxes: Vec<u32>,
    /// How many connections without an allocation each client address has.
    strangers_of: HashMap<IpAddr, usize>,
    totals: Totals,
    reread: Arc<Notify>,
    /// Requests that wait for the secrets to be read anew, with the time since when.
    waiting: Vec<(Instant, Client, Box<Message>)>,
    kernel: UdpSocketState,
    received: Rc<RefCell<Received>>,
    to_peers: Sending,
    to_clients: Sending,
}

/// A relay socket and the task that reads it.
#[derive(Debug)]
struct OpenRelay {
    client: Client,
    transport: Transport,
    socket: Rc<UdpSocket>,
    task: AbortHandle,
    opened: Instant,
    to_peer: Traffic,
    to_client: Traffic,
}

/// What waits to be written to a connection.
#[derive(Debug)]
pub(super) struct Outbox {
    transport: Transport,
    pub(super) bytes: VecDeque<u8>,
    /// The task that writes it, when it sleeps.
    pub(super) waker: Option<Waker>,
}

/// How many requests may wait for the secrets; who comes later is answered with those that are known.
const MOST_WAITING: usize = 256;

/// Bytes that may wait for a client without an allocation, which only ever waits for the answer to a request.
const STRANGER_QUEUE: usize = 4096;

/// Room that an outbox keeps when it is empty.
const RETAINED: usize = 2048;

impl Exchange {
    pub(crate) fn new(plan: Plan) -> io::Result<Shared> {
        let address = *plan.relaying.address.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let received = Rc::new(RefCell::new(Received::new(kernel_state(address)?)));
        let kernel = kernel_state(address)?;
        let gate = match plan.directory {
            Some(directory) => Some(Gate::new(directory, &plan.limits, u64::from_be_bytes(random()?))),
            None => None,
        };
        Ok(Rc::new_cyclic(|this| {
            RefCell::new(Self {
                server: Server::new(plan.settings),
                gate,
                this: this.clone(),
                relaying: plan.relaying,
                ports: plan.ports,
                limits: plan.limits,
                relays: Vec::new(),
                reserved: HashMap::new(),
                listeners: Vec::new(),
                outboxes: Vec::new(),
                free_outboxes: Vec::new(),
                strangers_of: HashMap::new(),
                totals: Totals::default(),
                reread: plan.reread,
                waiting: Vec::new(),
                kernel,
                received,
                to_peers: Sending::default(),
                to_clients: Sending::default(),
            })
        }))
    }

    /// A datagram came to a listener.
    pub(super) fn take_datagram(&mut self, now: Now, client: Client, datagram: &[u8]) {
        if self.gate.is_some() && Gateway::is_for(datagram) {
            self.take_from_browser(now, client, datagram);
        } else if let Some(frame) = Frame::of_datagram(datagram) {
            self.take_frame(now, client, frame);
        }
    }

    /// A packet came in that is for the gateway.
    pub(super) fn take_from_browser(&mut self, now: Now, client: Client, packet: &[u8]) {
        let Some(gate) = &mut self.gate else { return };
        let route = gate.core.handle_browser(now.instant, client, packet);
        self.obey_gateway();
        if let Some(route) = route {
            self.send_to_dialog(route, packet);
            if let Some(gate) = &mut self.gate {
                gate.count_to_dialog(route.way, packet);
            }
        }
    }

    /// A packet came in on a socket towards dialog.
    pub(super) fn take_from_dialog(&mut self, now: Now, upstream: Upstream, from: SocketAddr, packet: &[u8]) {
        let Some(gate) = &mut self.gate else { return };
        let route = gate.core.handle_dialog(now.instant, upstream, from, packet);
        self.obey_gateway();
        let Some(ToBrowser { client, .. }) = route else { return };
        match client.link {
            Link::Datagram(listener) => {
                let destination = to_client(client, listener);
                if !self.to_clients.accepts(destination, packet.len(), &self.kernel) {
                    self.flush_to_clients();
                }
                self.to_clients.push(destination, |bytes| bytes.extend_from_slice(packet));
            }
            Link::Stream(connection) => {
                let limit = self.limits.queue;
                if !self.outbox(connection).is_some_and(|outbox| outbox.push_packet(packet, limit)) {
                    self.totals.limited.queue += 1;
                    return;
                }
            }
        }
        if let (Some(gate), Some(route)) = (&mut self.gate, route) {
            gate.count_to_browser(route, packet);
        }
    }

    /// A client sent a frame.
    pub(super) fn take_frame(&mut self, now: Now, client: Client, frame: Frame<'_>) {
        let to_peer = self.server.handle_client(now, client, frame);
        if let Some(ToPeer { relay, peer, fragmentation, payload }) = to_peer {
            self.totals.to_peers.add(payload);
            if let Some(Some(relay)) = self.relays.get_mut(relay.index()) {
                relay.to_peer.add(payload);
            }
            let destination = Destination { socket: relay.index(), to: peer, from: None, fragmentation };
            if !self.to_peers.accepts(destination, payload.len(), &self.kernel) {
                self.flush_to_peers();
            }
            self.to_peers.push(destination, |bytes| bytes.extend_from_slice(payload));
        }
        self.obey();
    }

    /// A packet came in on a relay socket.
    pub(super) fn take_packet(&mut self, now: Now, relay: RelayId, from: SocketAddr, payload: &[u8]) {
        let Some(ToClient { client, framing }) = self.server.handle_peer(now, relay, from) else { return };
        match client.link {
            Link::Datagram(listener) => {
                let destination = to_client(client, listener);
                let len = framing.header_len() + payload.len() + framing.padding(payload.len(), client.link);
                if !self.to_clients.accepts(destination, len, &self.kernel) {
                    self.flush_to_clients();
                }
                self.to_clients.push(destination, |bytes| write_framed(bytes, framing, payload, client.link));
            }
            Link::Stream(connection) => {
                let limit = self.limits.queue;
                let outbox = self.outbox(connection);
                if !outbox.is_some_and(|outbox| outbox.push_framed(framing, payload, client.link, limit)) {
                    self.totals.limited.queue += 1;
                    return;
                }
            }
        }
        self.totals.to_clients.add(payload);
        if let Some(Some(relay)) = self.relays.get_mut(relay.index()) {
            relay.to_client.add(payload);
        }
    }

    /// The network says that a packet from a relay socket did not get to `to`, or does not fit.
    pub(super) fn take_icmp(&mut self, now: Now, relay: RelayId, to: SocketAddr, icmp: Icmp) {
        self.server.handle_icmp(now, relay, to, icmp);
        self.obey();
        self.flush();
    }

    /// Sends what has been collected.
    pub(super) fn flush(&mut self) {
        self.flush_to_peers();
        self.flush_to_clients();
        if let Some(gate) = &mut self.gate {
            gate.flush(&self.kernel);
        }
    }

    /// Ends what has expired.
    pub(crate) fn tick(&mut self) {
        let now = now();
        if self.server.poll_timeout().is_some_and(|deadline| deadline <= now.instant) {
            self.server.handle_timeout(now);
            self.obey();
        }
        if let Some(gate) = &mut self.gate {
            gate.core.handle_timeout(now.instant);
            self.obey_gateway();
        }
    }

    /// From now on no allocation is made; those that there are go on.
    pub(crate) const fn drain(&mut self) {
        self.server.drain();
        self.totals.is_draining = true;
    }

    /// The relay ends, and all sessions with it.
    pub(crate) fn stop(&mut self) {
        // Taken out, so that the end of its connection is not another one.
        for relay in self.relays.iter_mut().filter_map(Option::take) {
            relay.log_end("the relay stopped");
        }
        if let Some(gate) = &mut self.gate {
            gate.stop();
        }
    }

    /// What has been counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let gateway = self.gate.as_ref().map(Gate::totals);
        Totals { requests: self.server.counts().clone(), gateway, ..self.totals.clone() }
    }

    /// From now on these bounds hold for what is new.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.server.set_limits(session_limits(&limits));
        if let Some(gate) = &mut self.gate {
            gate.set_limits(&limits);
        }
        self.limits = limits;
    }

    /// From now on clients may reach these peers.
    pub(crate) fn set_peers(&mut self, peers: PeerPolicy) {
        self.server.set_peers(peers);
    }

    /// From now on these may allocate. The secrets among them were asked for at `asked`; whoever waited then is answered.
    pub(crate) fn set_credentials(&mut self, credentials: Credentials, asked: Instant) {
        self.server.set_credentials(credentials);
        let now = now();
        for (_, client, request) in self.waiting.extract_if(.., |(since, ..)| *since <= asked) {
            self.server.handle_reread(now, client, &request);
        }
        self.obey();
        self.flush();
    }

    /// Takes a socket to answer datagrams on, and returns its number.
    pub(super) fn add_listener(&mut self, socket: Rc<UdpSocket>) -> u32 {
        let number = self.listeners.iter().position(Option::is_none).unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        self.listeners[number] = Some(socket);
        number as u32
    }

    /// A socket to answer datagrams on is gone, and with it whoever came by it. The next one may get its number.
    pub(super) fn remove_listener(&mut self, number: u32) {
        let link = Link::Datagram(number);
        let clients =
            self.relays.iter().flatten().map(|relay| relay.client).filter(|client| client.link == link);
        for client in clients.collect::<Vec<_>>() {
            self.server.handle_client_closed(client);
        }
        self.waiting.retain(|(_, waits, _)| waits.link != link);
        self.obey();
        if let Some(gate) = &mut self.gate {
            gate.core.handle_link_closed(link);
            self.obey_gateway();
        }
        self.flush_to_clients();
        self.listeners[number as usize] = None;
    }

    /// A connection could not be accepted.
    pub(super) fn count_unaccepted(&mut self, error: &io::Error) {
        self.totals.unaccepted += 1;
        // Without descriptors it goes on ten times a second until somebody leaves: not too many lines then.
        if self.totals.unaccepted.is_power_of_two() {
            warn!(times = self.totals.unaccepted, %error, "a connection could not be accepted");
        }
    }

    /// Counts a connection without an allocation in, if there is room for one more.
    pub(super) const fn admit_stranger(&mut self) -> bool {
        let has_room = self.totals.strangers < self.limits.strangers;
        if has_room {
            self.totals.strangers += 1;
        } else {
            self.totals.limited.strangers += 1;
        }
        has_room
    }

    /// Counts such a connection for its client's address as well, if there is room for one more of that.
    pub(super) fn admit_stranger_of(&mut self, address: IpAddr) -> bool {
        let (network, limit) = (turn::network_of(address), self.limits.strangers_per_address);
        let has_room = limit == 0 || self.strangers_of.get(&network).is_none_or(|count| *count < limit);
        if has_room {
            *self.strangers_of.entry(network).or_default() += 1;
        } else {
            self.totals.limited.strangers_per_address += 1;
        }
        has_room
    }

    /// Counts a connection without an allocation out, because it ended or got one.
    pub(super) fn dismiss_stranger(&mut self, address: Option<IpAddr>) {
        self.totals.strangers = self.totals.strangers.saturating_sub(1);
        if let Some(address) = address
            && let Entry::Occupied(mut count) = self.strangers_of.entry(turn::network_of(address))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Counts a connection in that has lost its allocation. It may stay for as long as a new one.
    pub(super) fn estrange(&mut self, address: Option<IpAddr>) {
        self.totals.strangers += 1;
        if let Some(address) = address {
            *self.strangers_of.entry(turn::network_of(address)).or_default() += 1;
        }
    }

    /// For counting what happens to connections.
    pub(super) const fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }

    /// Opens an outbox for a connection, and returns the connection's number.
    pub(super) fn open_outbox(&mut self, transport: Transport) -> u32 {
        let connection = self.free_outboxes.pop().unwrap_or_else(|| {
            self.outboxes.push(None);
            (self.outboxes.len() - 1) as u32
        });
        self.outboxes[connection as usize] = Some(Outbox { transport, bytes: VecDeque::new(), waker: None });
        connection
    }

    /// A connection has ended.
    pub(super) fn close_connection(&mut self, client: Client) {
        self.server.handle_client_closed(client);
        // The next connection may get its number.
        self.waiting.retain(|(_, waits, _)| *waits != client);
        if let Link::Stream(connection) = client.link
            && self.outboxes[connection as usize].take().is_some()
        {
            self.free_outboxes.push(connection);
        }
        self.obey();
        if let Some(gate) = &mut self.gate {
            gate.core.handle_client_closed(&client);
            self.obey_gateway();
        }
    }

    pub(super) fn outbox(&mut self, connection: u32) -> Option<&mut Outbox> {
        self.outboxes.get_mut(connection as usize)?.as_mut()
    }

    /// Whether a client has an allocation, or a way to dialog.
    pub(super) fn is_allocated(&self, client: &Client) -> bool {
        self.server.is_allocated(client) || self.gate.as_ref().is_some_and(|gate| gate.core.has(client))
    }

    /// Whether there is a gateway.
    pub(super) const fn has_gateway(&self) -> bool {
        self.gate.is_some()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Room to receive datagrams in, for one task at a time.
    pub(super) fn received(&self) -> Rc<RefCell<Received>> {
        Rc::clone(&self.received)
    }

    fn obey(&mut self) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Send { client, bytes } => self.send_message(client, &bytes),
                Command::OpenRelay { relay, family, port, client } => {
                    // What it sent twice is answered. A copy whose turn came later could find the allocation given back,
                    // and open it again for nobody.
                    self.waiting.retain(|(_, waits, _)| *waits != client);
                    let relayed = self.open_relay(relay, family, port, client);
                    let relayed = relayed.inspect_err(|error| self.count_unopened(client, error));
                    self.server.handle_relay_opened(relay, relayed.ok());
                }
                Command::CloseReserved { token } => drop(self.reserved.remove(&token)),
                Command::CloseRelay { relay, ended } => self.close_relay(
                    relay,
                    match ended {
                        Ended::Released => "the client gave it back",
                        Ended::Expired => "the client did not refresh it",
                        Ended::Disconnected => "the client's connection ended",
                    },
                ),
                Command::Reread { client, request } => self.put_off(client, request),
            }
        }
    }

    fn obey_gateway(&mut self) {
        while let Some(gate) = &mut self.gate
            && let Some(command) = gate.core.poll_command()
        {
            let left = match command {
                gateway::Command::Send { route, bytes } => {
                    self.send_to_dialog(route, &bytes);
                    None
                }
                gateway::Command::Opened { way, client } => {
                    gate.opened(way, client);
                    None
                }
                gateway::Command::Moved { way, client } => gate.moved(way, client),
                gateway::Command::Closed { way, ended } => gate.closed(way, ended),
            };
            if let Some(Client { link: Link::Stream(connection), .. }) = left
                && let Some(outbox) = self.outbox(connection)
            {
                // Its task finds out that the client is a stranger again.
                outbox.wake();
            }
        }
    }

    /// Sends a packet to dialog. What has no socket to leave by is lost, as on the internet.
    fn send_to_dialog(&mut self, route: ToDialog, packet: &[u8]) {
        let Some(gate) = &self.gate else { return };
        let opened =
            if gate.has(route.upstream) { Ok(None) } else { self.open_upstream(route.upstream).map(Some) };
        let Some(gate) = &mut self.gate else { return };
        match opened {
            Ok(Some(opened)) => gate.set(route.upstream, opened),
            Ok(None) => {}
            Err(error) => {
                let times = gate.count_unopened();
                if times.is_power_of_two() {
                    warn!(times, %error, "no socket towards dialog");
                }
                return;
            }
        }
        gate.send(route, packet, &self.kernel);
    }

    fn open_upstream(&mut self, upstream: Upstream) -> io::Result<OpenUpstream> {
        let address = self.address_of(upstream.family())?;
        let RelaySocket { socket, port } = self.bind_relay(address, RelayPort::Any)?;
        let bound = socket.local_addr()?;
        let socket = gate::prepare(socket, bound)?;
        let exchange = self.this.upgrade().ok_or_else(|| io::Error::other("the worker is ending"))?;
        let reading = datagrams::serve_upstream(exchange, upstream, Rc::clone(&socket));
        let reading = async move {
            let _port = port;
            reading.await;
        };
        Ok(OpenUpstream { socket, task: tokio::task::spawn_local(reading).abort_handle() })
    }

    /// Keeps a request until the secrets have been read anew; of each client one, so that nobody takes the place of all.
    fn put_off(&mut self, client: Client, request: Box<Message>) {
        match self.waiting.iter().position(|(_, waits, _)| *waits == client) {
            // Nobody answers, so it is sent again.
            Some(known) if self.waiting[known].2.transaction() == request.transaction() => return,
            Some(known) => self.waiting[known] = (Instant::now(), client, request),
            None if self.waiting.len() < MOST_WAITING => {
                self.waiting.push((Instant::now(), client, request));
            }
            None => {
                self.totals.put_off.refused += 1;
                return self.server.handle_reread(now(), client, &request);
            }
        }
        self.totals.put_off.until_read += 1;
        self.reread.notify_one();
    }

    /// An allocation has no relay socket.
    fn count_unopened(&mut self, client: Client, error: &io::Error) {
        let counts = &mut self.totals.unopened_relays;
        let count = match error.kind() {
            io::ErrorKind::AddrInUse => &mut counts.no_port,
            _ => &mut counts.other,
        };
        *count += 1;
        // The next one has none either, and then it is not too many lines.
        if count.is_power_of_two() {
            warn!(client = %client.remote, times = *count, %error, "no relay socket");
        }
    }

    fn send_message(&mut self, client: Client, message: &[u8]) {
        match client.link {
            Link::Datagram(listener) => {
                let destination = to_client(client, listener);
                if !self.to_clients.accepts(destination, message.len(), &self.kernel) {
                    self.flush_to_clients();
                }
                self.to_clients.push(destination, |bytes| bytes.extend_from_slice(message));
            }
            Link::Stream(connection) => {
                let queue = self.limits.queue;
                let limit = if self.is_allocated(&client) { queue } else { queue.min(STRANGER_QUEUE) };
                if !self.outbox(connection).is_some_and(|outbox| outbox.push(message, limit)) {
                    self.totals.limited.queue += 1;
                }
            }
        }
    }

    /// Opens a relay socket and its task, and returns the address that the client is told.
    fn open_relay(
        &mut self,
        relay: RelayId,
        family: Family,
        port: RelayPort,
        client: Client,
    ) -> io::Result<SocketAddr> {
        let is_family = |address: &&IpAddr| Family::of(SocketAddr::new(**address, 0)) == family;
        let address = self.address_of(family)?;
        let RelaySocket { socket, port } = self.bind_relay(address, port)?;
        let bound = socket.local_addr()?;
        fragmentation::allow(&socket, bound)?;
        icmp::listen(&socket, bound)?;
        let socket = Rc::new(UdpSocket::from_std(socket)?);

        let exchange = self.this.upgrade().ok_or_else(|| io::Error::other("the worker is ending"))?;
        let reading = datagrams::serve_relay(exchange, relay, Rc::clone(&socket));
        let reading = async move {
            // Is given back after the socket is closed, of which the task drops the last handle.
            let _port = port;
            reading.await;
        };
        let task = tokio::task::spawn_local(reading).abort_handle();
        if self.relays.len() <= relay.index() {
            self.relays.resize_with(relay.index() + 1, || None);
        }
        let transport = match client.link {
            Link::Datagram(_) => Transport::Udp,
            Link::Stream(connection) => self.outbox(connection).map_or(Transport::Tcp, |it| it.transport),
        };
        *self.totals.sessions.of(transport) += 1;
        *self.totals.allocations.of(transport) += 1;
        self.relays[relay.index()] = Some(OpenRelay {
            client,
            transport,
            socket,
            task,
            opened: Instant::now(),
            to_peer: Traffic::default(),
            to_client: Traffic::default(),
        });

        let advertised = self.relaying.advertise.iter().find(is_family).copied();
        let reached_at = Some(client.local.ip()).filter(|ip| bound.ip().is_unspecified() && is_family(&ip));
        Ok(SocketAddr::new(advertised.or(reached_at).unwrap_or_else(|| bound.ip()), bound.port()))
    }

    /// Where sockets of this family bind.
    fn address_of(&self, family: Family) -> io::Result<IpAddr> {
        let is_family = |address: &&IpAddr| Family::of(SocketAddr::new(**address, 0)) == family;
        self.relaying
            .address
            .iter()
            .find(is_family)
            .copied()
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    fn bind_relay(&mut self, address: IpAddr, port: RelayPort) -> io::Result<RelaySocket> {
        let random = u16::from_be_bytes(random()?);
        let ports = self.ports.iter().find(|it| it.address == address);
        let ports = ports.ok_or(io::ErrorKind::AddrNotAvailable)?;
        match port {
            RelayPort::Any => ports.open(PortParity::Any, random),
            RelayPort::Even => ports.open(PortParity::Even, random),
            RelayPort::EvenAndNext(token) => {
                let (socket, next) = ports.open_two(random)?;
                self.reserved.insert(token, next);
                Ok(socket)
            }
            RelayPort::Reserved(token) => {
                self.reserved.remove(&token).ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }

    fn close_relay(&mut self, relay: RelayId, reason: &'static str) {
        // What was collected may still have to leave through it.
        self.flush_to_peers();
        let Some(closed) = self.relays.get_mut(relay.index()).and_then(Option::take) else { return };
        closed.task.abort();
        *self.totals.sessions.of(closed.transport) -= 1;
        closed.log_end(reason);
        if let Link::Stream(connection) = closed.client.link
            && let Some(outbox) = self.outbox(connection)
        {
            // Its task finds out that the client is a stranger again.
            outbox.wake();
        }
    }

    fn flush_to_peers(&mut self) {
        let Some(destination) = self.to_peers.destination() else { return };
        match self.relays.get(destination.socket) {
            Some(Some(relay)) => self.to_peers.send(&*relay.socket, &self.kernel),
            _ => self.to_peers = Sending::default(),
        }
    }

    fn flush_to_clients(&mut self) {
        let Some(destination) = self.to_clients.destination() else { return };
        match self.listeners.get(destination.socket) {
            Some(Some(listener)) => self.to_clients.send(&**listener, &self.kernel),
            _ => self.to_clients = Sending::default(),
        }
    }
}

impl OpenRelay {
    /// The one line that each session leaves.
    fn log_end(&self, reason: &'static str) {
        info!(
            client = %self.client.remote,
            transport = %self.transport,
            seconds = self.opened.elapsed().as_secs(),
            to_peer_packets = self.to_peer.packets,
            to_peer_bytes = self.to_peer.bytes,
            to_client_packets = self.to_client.packets,
            to_client_bytes = self.to_client.bytes,
            "session over: {reason}"
        );
    }
}

impl Outbox {
    /// Appends a message, or loses it if more than `limit` bytes would wait. Says whether it is there.
    fn push(&mut self, message: &[u8], limit: usize) -> bool {
        let has_room = self.bytes.len() + message.len() <= limit;
        if has_room {
            self.bytes.extend(message);
            self.wake();
        }
        has_room
    }

    /// Appends a payload in its frame, or loses it if more than `limit` bytes would wait. Says whether it is there.
    fn push_framed(&mut self, framing: Framing, payload: &[u8], link: Link, limit: usize) -> bool {
        let mut header = [0; crate::wire::Indication::MAX_HEADER_LEN];
        let padding = framing.padding(payload.len(), link);
        let Some(len) = framing.write_header(payload.len(), &mut header) else { return false };
        let has_room = self.bytes.len() + len + payload.len() + padding <= limit;
        if has_room {
            self.bytes.extend(&header[..len]);
            self.bytes.extend(payload);
            self.bytes.extend(&[0; 3][..padding]);
            self.wake();
        }
        has_room
    }

    /// Appends a packet behind its length, or loses it if more than `limit` bytes would wait. Says whether it is there.
    fn push_packet(&mut self, packet: &[u8], limit: usize) -> bool {
        let Some(header) = PacketDecoder::header(packet) else { return false };
        let has_room = self.bytes.len() + header.len() + packet.len() <= limit;
        if has_room {
            self.bytes.extend(header);
            self.bytes.extend(packet);
            self.wake();
        }
        has_room
    }

    /// Wakes the task that writes, and looks whether its client still has an allocation.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// `count` bytes have been written.
    pub(super) fn consume(&mut self, count: usize) {
        self.bytes.drain(..count);
        if self.bytes.is_empty() {
            self.bytes.shrink_to(RETAINED);
        }
    }
}

/// Appends a payload in its frame. One that is too long for its frame leaves nothing.
fn write_framed(bytes: &mut Vec<u8>, framing: Framing, payload: &[u8], link: Link) {
    let begin = bytes.len();
    bytes.resize(begin + framing.header_len(), 0);
    if framing.write_header(payload.len(), &mut bytes[begin..]).is_some() {
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len() + framing.padding(payload.len(), link), 0);
    } else {
        bytes.truncate(begin);
    }
}

/// The bounds that are the core's to keep.
pub(crate) fn session_limits(limits: &Limits) -> turn::Limits {
    turn::Limits {
        sessions: limits.sessions,
        sessions_per_address: Some(limits.sessions_per_address).filter(|limit| *limit > 0),
        permissions: limits.permissions,
        channels: limits.channels,
        stranger_answers: Some(limits.stranger_answers).filter(|limit| *limit > 0),
        stranger_answers_total: Some(limits.stranger_answers_total).filter(|limit| *limit > 0),
    }
}

fn to_client(client: Client, listener: u32) -> Destination {
    Destination {
        socket: listener as usize,
        to: client.remote,
        from: Some(client.local.ip()),
        fragmentation: Fragmentation::Allowed,
    }
}

fn random<const LEN: usize>() -> io::Result<[u8; LEN]> {
    let mut random = [0; LEN];
    let filled = ring::rand::SystemRandom::new().fill(&mut random);
    filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(random)
}

/// The time, for one batch of packets.
pub(super) fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now { instant: Instant::now(), unix }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;
    use crate::auth::{RestCredential, Secret};
    use crate::config::Config;
    use crate::turn::NonceKey;
    use crate::wire::{Builder, IntegrityKey, Method, PROTOCOL_UDP, TransactionId};

    /// One without listeners, as the defaults have it.
    pub(crate) fn exchange() -> Shared {
        let Config { relay, limits, .. } = Config::default();
        let (settings, reread) = (settings(), Arc::new(Notify::new()));
        let ports = relay.address.iter().map(|address| Ports::new(*address, relay.ports)).collect();
        let plan = Plan { settings, relaying: relay, ports, limits, reread, directory: None };
        Exchange::new(plan).unwrap()
    }

    fn settings() -> Settings {
        let config = Config::default();
        Settings {
            realm: config.realm,
            nonce_key: NonceKey::new(&[7; 32]),
            credentials: Credentials::default(),
            secrets_rotate: false,
            peers: PeerPolicy::default(),
            families: vec![Family::V4],
            limits: session_limits(&config.limits),
            transaction_seed: 1,
        }
    }

    /// A client on TCP whose secret the exchange does not know yet.
    struct Newcomer {
        exchange: Shared,
        client: Client,
        credentials: Credentials,
        allocate: Vec<u8>,
        release: Vec<u8>,
    }

    impl Newcomer {
        fn new() -> Self {
            let shared = exchange();
            let mut exchange = shared.borrow_mut();
            exchange.server = Server::new(Settings { secrets_rotate: true, ..settings() });
            let remote = "127.0.0.1:5000".parse().unwrap();
            let connection = exchange.open_outbox(Transport::Tcp);
            let client = Client { remote, local: remote, link: Link::Stream(connection) };
            let request = |method, id| Builder::request(method, TransactionId([id; 12]));
            exchange.take_frame(now(), client, Frame::Message(&request(Method::Allocate, 1).finish()));
            let challenge = std::mem::take(&mut exchange.outbox(connection).unwrap().bytes);
            let challenge = Message::parse(&Vec::from(challenge)).unwrap();
            let secret = Secret::from("fresh");
            let user = RestCredential::new(&secret, "coturn", u64::from(u32::MAX));
            let key = IntegrityKey::long_term(&user.username, "turkey", user.password.expose());
            let signed = |request: Builder| {
                let request = request.username(&user.username).realm("turkey");
                request.nonce(challenge.nonce().unwrap().unwrap()).integrity(&key).finish()
            };
            drop(exchange);
            Self {
                exchange: shared,
                client,
                credentials: Credentials { secrets: vec![secret], ..Credentials::default() },
                allocate: signed(request(Method::Allocate, 2).requested_transport(PROTOCOL_UDP)),
                release: signed(request(Method::Refresh, 3).lifetime(Duration::ZERO)),
            }
        }

        fn send(&self, message: &[u8]) {
            self.exchange.borrow_mut().take_frame(now(), self.client, Frame::Message(message));
        }

        /// The database was asked then, and its answer is here.
        fn read_secrets(&self, asked: Instant) {
            self.exchange.borrow_mut().set_credentials(self.credentials.clone(), asked);
        }

        fn is_allocated(&self) -> bool {
            self.exchange.borrow().is_allocated(&self.client)
        }

        fn assert_that_nothing_comes_back(&self) {
            assert!(self.is_allocated());
            self.send(&self.release);
            assert!(!self.is_allocated());
            self.read_secrets(Instant::now());
            assert!(!self.is_allocated(), "what it gave back has come back");
        }
    }

    #[tokio::test]
    async fn a_copy_of_a_request_that_waits_for_the_next_reading_opens_nothing_again() {
        let released = async {
            let newcomer = Newcomer::new();
            newcomer.send(&newcomer.allocate);
            let asked = Instant::now();
            newcomer.send(&newcomer.allocate);
            newcomer.read_secrets(asked);
            newcomer.assert_that_nothing_comes_back();
        };
        LocalSet::new().run_until(released).await;
    }

    #[tokio::test]
    async fn a_request_that_waits_after_its_copy_was_granted_opens_nothing_again() {
        let released = async {
            let newcomer = Newcomer::new();
            let asked = Instant::now();
            newcomer.send(&newcomer.allocate);
            newcomer.read_secrets(asked);
            assert!(!newcomer.is_allocated(), "it came after the question");
            newcomer.send(&newcomer.allocate);
            newcomer.assert_that_nothing_comes_back();
        };
        LocalSet::new().run_until(released).await;
    }

    #[test]
    fn a_stranger_who_asks_and_does_not_read_fills_little_memory() {
        let exchange = exchange();
        let mut exchange = exchange.borrow_mut();
        let connection = exchange.open_outbox(Transport::Tcp);
        let remote = "192.0.2.1:5000".parse().unwrap();
        let client = Client { remote, local: remote, link: Link::Stream(connection) };
        let request = Builder::request(Method::Binding, TransactionId([1; 12])).finish();
        for _ in 0..10_000 {
            exchange.take_frame(now(), client, Frame::Message(&request));
        }
        let waiting = exchange.outbox(connection).unwrap().bytes.len();
        assert!((1..=STRANGER_QUEUE).contains(&waiting), "{waiting} bytes");
    }

    #[test]
    fn who_waits_for_the_secrets_has_one_place_however_often_he_asks() {
        let exchange = exchange();
        let mut exchange = exchange.borrow_mut();
        let mut ask = |port, id| {
            let remote = SocketAddr::from(([192, 0, 2, 1], port));
            let request = Builder::request(Method::Allocate, TransactionId([id; 12])).finish();
            let client = Client { remote, local: remote, link: Link::Datagram(0) };
            exchange.put_off(client, Box::new(Message::parse(&request).unwrap()));
            let kept =
                exchange.waiting.iter().map(|(.., request)| request.transaction().0[0]).collect::<Vec<_>>();
            (kept, exchange.totals.put_off)
        };
        for (port, id, waiting, put_off) in
            [(1, 1, vec![1], 1), (1, 1, vec![1], 1), (1, 2, vec![2], 2), (2, 1, vec![2, 1], 3)]
        {
            let (kept, counts) = ask(port, id);
            assert_eq!((kept, counts.until_read), (waiting, put_off));
        }
        let last = (3..=1000).map(|port| ask(port, 1)).last();
        let (kept, counts) = last.unwrap();
        assert_eq!((kept.len(), counts.refused), (MOST_WAITING, 1000 - MOST_WAITING as u64));
    }
}
