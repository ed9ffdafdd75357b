//! Stands between browsers and dialog's WebSocket: HTTP in, HTTP over TLS out, and bytes both ways once it is a WebSocket.
//!
//! Each direction is read only after what was read before has been written, so that who reads slowly is waited for as if
//! there were nobody between.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{Either as Ended, select};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::header::{HeaderName, SEC_WEBSOCKET_EXTENSIONS};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;
use tracing::{debug, warn};

use super::connections::Entrance;
use super::dialog;
use crate::descriptors::for_client;
use crate::gateway::Directory;
use crate::gateway::signalling::{Offer, Signalling};

/// How long dialog may take to accept a connection and its TLS. It is in the same cluster.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a dialog that refuses connections is tried anew, and after how long, as haproxy does it (`retries`): a browser tries
/// three times within 3 seconds and then gives up for good, and dialog may be about to come back.
const RETRIES: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a side may go on after the other has ended.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How much is read at once: most messages are shorter, and there may be thousands of connections.
const READ_SIZE: usize = 4 << 10;
/// The longest head of a request, as dialog's server has it.
const LONGEST_HEAD: usize = 16 << 10;
/// Why somebody is not let in.
const DRAINS: &str = "the relay drains";

/// What signalling goes by: changes while it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The WebSockets of dialogs.
    pub(crate) dialogs: Vec<SocketAddr>,
    /// What browsers are told.
    pub(crate) offer: Arc<Offer>,
    /// Connections at a time.
    pub(crate) connections: u64,
    /// Transports at a time: of all, and of one connection.
    pub(crate) transports: (usize, usize),
    /// How long a browser may take for TLS and its request.
    pub(crate) handshake_timeout: Duration,
}

/// What has happened, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Connections at the moment.
    pub(crate) connections: AtomicU64,
    /// WebSockets that dialog has accepted so far.
    pub(crate) accepted: AtomicU64,
    /// Requests that dialog refused.
    pub(crate) refused: AtomicU64,
    /// Requests that did not reach a dialog.
    pub(crate) unreachable: AtomicU64,
    /// Answers with candidates of ours.
    pub(crate) rewritten: AtomicU64,
    /// Connections closed at once, and transports left to themselves, because there were too many.
    pub(crate) limited_connections: AtomicU64,
    pub(crate) limited_transports: AtomicU64,
    pub(crate) limited_transports_of_one: AtomicU64,
    /// Connections given up because neither TLS nor a request came in time.
    pub(crate) limited_handshakes: AtomicU64,
}

/// Whether who comes now is let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    Open,
    /// It stays so. Who is in already goes on.
    Closed,
}

/// What all connections share.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) directory: Arc<Directory>,
    pub(crate) settings: watch::Receiver<Settings>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) door: watch::Receiver<Door>,
}

/// Why a request does not get to dialog.
#[derive(Debug, Error)]
enum Unreachable {
    #[error("gateway.dialog has no address")]
    Nowhere,
    #[error("dialog at {dialog}: {source}")]
    Connection { dialog: SocketAddr, source: io::Error },
    #[error("dialog at {dialog} speaks no HTTP: {source}")]
    Http { dialog: SocketAddr, source: hyper::Error },
}

type Body = Either<Incoming, Full<Bytes>>;

/// Serves browsers for as long as the listener is there, and lets them in until the door is closed. Then the listener goes:
/// haproxy tries a refused connection again by itself, and elsewhere if it may, but hands an answer on to the browser, which has three
/// attempts in all.
pub(crate) async fn serve_signalling(
    proxy: Proxy,
    listener: std::net::TcpListener,
    entrances: watch::Receiver<Arc<Entrance>>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.and_then(|(stream, sender)| Ok((for_client(stream)?, sender))),
            () = proxy.closed() => return Ok(()),
        };
        match accepted {
            Ok((stream, sender)) => {
                let Some(counted) = proxy.admit() else {
                    debug!(client = %sender, "refused: too many connections for signalling");
                    continue;
                };
                let (proxy, entrance) = (proxy.clone(), Arc::clone(&entrances.borrow()));
                spawn_local(async move {
                    let _counted = counted;
                    proxy.serve(stream, sender, &entrance).await;
                });
            }
            Err(error) => {
                warn!(%error, "a connection for signalling could not be accepted");
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// A connection that is counted for as long as this is there.
struct Counted(Arc<Tally>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Proxy {
    fn admit(&self) -> Option<Counted> {
        if self.tally.connections.load(Ordering::Relaxed) >= self.settings.borrow().connections {
            add(&self.tally.limited_connections, 1);
            return None;
        }
        add(&self.tally.connections, 1);
        Some(Counted(Arc::clone(&self.tally)))
    }

    /// Waits until nobody is let in any more.
    async fn closed(&self) {
        let mut door = self.door.clone();
        // Without anybody who could open or close it the relay ends.
        let _ = door.wait_for(|it| *it == Door::Closed).await;
    }

    async fn serve(&self, mut stream: TcpStream, sender: SocketAddr, entrance: &Entrance) {
        // Requests are short, and their answers are waited for.
        let _ = stream.set_nodelay(true);
        let client = match self.in_time(entrance.identify(&mut stream, sender)).await {
            Ok(Ok(identified)) => identified.client(),
            Ok(Err(error)) => return debug!(client = %sender, %error, "signalling refused"),
            Err(why) => return debug!(client = %sender, "signalling refused: {why}"),
        };
        match &entrance.tls {
            None => self.serve_http(stream, client).await,
            Some(acceptor) => match self.in_time(Box::pin(acceptor.accept(stream))).await {
                Ok(Ok(stream)) => self.serve_http(stream, client).await,
                Ok(Err(error)) => debug!(%client, %error, "TLS handshake for signalling failed"),
                Err(why) => debug!(%client, "TLS handshake for signalling not finished: {why}"),
            },
        }
    }

    /// What comes before a request, unless it takes too long or nobody is let in any more.
    async fn in_time<T>(&self, opening: impl Future<Output = T>) -> Result<T, &'static str> {
        let limit = self.settings.borrow().handshake_timeout;
        tokio::select! {
            opened = opening => Ok(opened),
            () = sleep(limit) => {
                add(&self.tally.limited_handshakes, 1);
                Err("nothing came in time")
            }
            () = self.closed() => Err(DRAINS),
        }
    }

    /// Answers requests until one becomes a WebSocket, and serves that until it is over.
    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        client: SocketAddr,
    ) {
        let (socket, has_asked) = (Rc::new(RefCell::new(None)), Cell::new(false));
        let answer = service_fn(|request| {
            has_asked.set(true);
            let socket = Rc::clone(&socket);
            async move {
                let (response, upgraded) = self.forward(request, client).await;
                *socket.borrow_mut() = upgraded;
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = server::Builder::new();
        let limit = self.settings.borrow().handshake_timeout;
        http.timer(TokioTimer::new()).header_read_timeout(limit).preserve_header_case(true);
        http.max_buf_size(LONGEST_HEAD);
        let mut serving = pin!(http.serve_connection(TokioIo::new(stream), answer).with_upgrades());
        let served = tokio::select! {
            served = &mut serving => served,
            () = self.closed() => {
                // Who has asked gets his answer. Who has not, or waits to ask once more, had better ask elsewhere.
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            if error.is_timeout() && !has_asked.get() {
                add(&self.tally.limited_handshakes, 1);
            }
            return debug!(%client, %error, "signalling failed");
        }
        let Some(sockets) = socket.take() else { return };
        sockets.relay(self, client).await;
    }

    /// Passes a request on to dialog, and its answer back. With the sockets of both sides, if dialog has made a WebSocket
    /// of it.
    async fn forward(
        &self,
        mut request: Request<Incoming>,
        client: SocketAddr,
    ) -> (Response<Body>, Option<Sockets>) {
        if *self.door.borrow() == Door::Closed {
            debug!(%client, "signalling refused: {DRAINS}");
            return (unavailable(), None);
        }
        // Nobody here could read what is compressed. Dialog's server does not offer it either.
        request.headers_mut().remove(SEC_WEBSOCKET_EXTENSIONS);
        let is_socket = request.headers().contains_key(UPGRADE);
        let browser = is_socket.then(|| hyper::upgrade::on(&mut request));
        let room = room(request.uri().query().unwrap_or_default()).to_owned();
        match self.ask(request, &room).await {
            Ok((dialog, mut response)) => {
                let sockets = match browser {
                    Some(browser) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                        add(&self.tally.accepted, 1);
                        Some(Sockets { dialog, browser, dialogs: hyper::upgrade::on(&mut response) })
                    }
                    _ => {
                        add(&self.tally.refused, 1);
                        None
                    }
                };
                (response.map(Either::Left), sockets)
            }
            Err(error) => {
                let times = add(&self.tally.unreachable, 1);
                if times.is_power_of_two() {
                    warn!(%client, times, "signalling does not reach dialog: {error}");
                }
                (unavailable(), None)
            }
        }
    }

    /// Asks the room's dialog.
    async fn ask(
        &self,
        request: Request<Incoming>,
        room: &str,
    ) -> Result<(SocketAddr, Response<Incoming>), Unreachable> {
        let mut retries = RETRIES;
        let (dialog, stream) = loop {
            match self.connect(room).await {
                Err(Unreachable::Connection { source, .. })
                    if retries > 0 && source.kind() == io::ErrorKind::ConnectionRefused =>
                {
                    retries -= 1;
                    sleep(RETRY_PAUSE).await;
                }
                connected => break connected?,
            }
        };
        let unspoken = |source| Unreachable::Http { dialog, source };
        let mut http = client::Builder::new();
        http.preserve_header_case(true);
        let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(unspoken)?;
        spawn_local(connection.with_upgrades());
        Ok((dialog, sender.send_request(request).await.map_err(unspoken)?))
    }

    /// Opens a connection to the room's dialog.
    async fn connect(&self, room: &str) -> Result<(SocketAddr, TlsStream<TcpStream>), Unreachable> {
        let mut settings = self.settings.clone();
        // After a start names may still be looked up, while browsers are back already.
        let known = timeout(PATIENCE, settings.wait_for(|it| !it.dialogs.is_empty())).await;
        let known = known.ok().and_then(Result::ok).ok_or(Unreachable::Nowhere)?;
        let dialog = dialog_of(room, &known.dialogs).ok_or(Unreachable::Nowhere)?;
        drop(known);
        let connecting = async {
            let stream = for_client(TcpStream::connect(dialog).await?)?;
            stream.set_nodelay(true)?;
            dialog::connector().connect(ServerName::from(dialog.ip()), stream).await
        };
        let connected =
            timeout(PATIENCE, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        Ok((dialog, connected.map_err(|source| Unreachable::Connection { dialog, source })?))
    }
}

const UPGRADE: HeaderName = hyper::header::UPGRADE;

/// What haproxy says of a server that is away.
fn unavailable() -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::default()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Both ends of a WebSocket, as soon as they are free of HTTP.
struct Sockets {
    dialog: SocketAddr,
    browser: hyper::upgrade::OnUpgrade,
    dialogs: hyper::upgrade::OnUpgrade,
}

impl Sockets {
    /// Passes bytes both ways until both sides have ended.
    async fn relay(self, proxy: &Proxy, client: SocketAddr) {
        let (browser, dialogs) = match futures_util::try_join!(self.browser, self.dialogs) {
            Ok(sockets) => sockets,
            Err(error) => return debug!(%client, %error, "signalling failed"),
        };
        debug!(%client, dialog = %self.dialog, "signalling begins");
        let transports = proxy.settings.borrow().transports;
        let signalling = Signalling::new(Arc::clone(&proxy.directory), self.dialog.ip(), transports);
        let signalling = RefCell::new(signalling);
        let (browser_in, browser_out) = tokio::io::split(TokioIo::new(browser));
        let (dialog_in, dialog_out) = tokio::io::split(TokioIo::new(dialogs));
        let up = pass(browser_in, dialog_out, |bytes, out| {
            signalling.borrow_mut().handle_browser(bytes);
            out.extend_from_slice(bytes);
        });
        let down = pass(dialog_in, browser_out, |bytes, out| {
            let offer = Arc::clone(&proxy.settings.borrow().offer);
            let mut signalling = signalling.borrow_mut();
            signalling.handle_dialog(Instant::now(), bytes, &offer, out);
            proxy.count(signalling.take_counts());
        });
        let ended = match select(pin!(up), pin!(down)).await {
            Ended::Left((Ok(()), other)) => finish(other).await,
            Ended::Right((Ok(()), other)) => finish(other).await,
            Ended::Left((error, _)) | Ended::Right((error, _)) => error,
        };
        match ended {
            Ok(()) => debug!(%client, "signalling over"),
            Err(error) => debug!(%client, %error, "signalling over"),
        }
    }
}

impl Proxy {
    fn count(&self, counts: crate::gateway::signalling::Counts) {
        add(&self.tally.rewritten, counts.rewritten);
        add(&self.tally.limited_transports, counts.limited);
        add(&self.tally.limited_transports_of_one, counts.limited_of_one);
    }
}

/// One side has ended; the other may finish what it says.
async fn finish(other: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(FAREWELL, other).await.unwrap_or(Ok(()))
}

/// Passes what comes on, as `change` has it.
async fn pass(
    mut from: tokio::io::ReadHalf<TokioIo<Upgraded>>,
    mut to: tokio::io::WriteHalf<TokioIo<Upgraded>>,
    mut change: impl FnMut(&[u8], &mut Vec<u8>),
) -> io::Result<()> {
    let (mut read, mut out) = (vec![0; READ_SIZE], Vec::new());
    loop {
        let len = from.read(&mut read).await?;
        if len == 0 {
            return to.shutdown().await;
        }
        change(&read[..len], &mut out);
        to.write_all(&out).await?;
        to.flush().await?;
        out.clear();
        out.shrink_to(READ_SIZE);
    }
}

/// The dialog that has a room: the same one for everybody, whichever replica of ours they come to. When one goes, only
/// its rooms go elsewhere.
fn dialog_of(room: &str, dialogs: &[SocketAddr]) -> Option<SocketAddr> {
    let weight = |dialog: &&SocketAddr| {
        let mut hasher = DefaultHasher::new();
        (room, dialog).hash(&mut hasher);
        hasher.finish()
    };
    dialogs.iter().max_by_key(weight).copied()
}

/// The room that a query names.
fn room(query: &str) -> &str {
    query.split('&').find_map(|pair| pair.strip_prefix("roomId=")).unwrap_or_default()
}

/// Counts, and returns how many there are now.
fn add(count: &AtomicU64, more: u64) -> u64 {
    count.fetch_add(more, Ordering::Relaxed) + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_in_a_room_has_one_dialog_and_rooms_are_spread_over_all() {
        let dialogs: Vec<SocketAddr> =
            (1..=3).map(|host| SocketAddr::from(([10, 0, 0, host], 4443))).collect();
        let mut reversed = dialogs.clone();
        reversed.reverse();
        let rooms: Vec<String> = (0..300).map(|room| format!("room{room}")).collect();
        for room in &rooms {
            assert_eq!(dialog_of(room, &dialogs), dialog_of(room, &reversed));
        }
        for dialog in &dialogs {
            let its = rooms.iter().filter(|room| dialog_of(room, &dialogs) == Some(*dialog)).count();
            assert!((50..150).contains(&its), "{its} rooms");
        }
        let stays = |room: &&String| dialog_of(room, &dialogs) == dialog_of(room, &dialogs[..2]);
        let its = rooms.iter().filter(|room| dialog_of(room, &dialogs) != Some(dialogs[2]));
        assert!(its.clone().count() > 0 && its.into_iter().all(|room| stays(&room)));
        assert_eq!(dialog_of("room", &[]), None);
    }

    #[test]
    fn the_room_is_what_the_query_says() {
        assert_eq!(room("roomId=abc&peerId=d"), "abc");
        assert_eq!(room("peerId=d&roomId=abc"), "abc");
        assert_eq!(room("peerId=d"), "");
    }
}
