//! Takes connections in: who their client is, TLS, and how many may be without an allocation.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::exchange::Shared;
use super::presence::Presence;
use super::proxy_protocol::{self, BadHeader, Named};
use super::stream::{End, Spoken, serve_frames};
use super::tls;
use crate::config::{ProxyProtocol, Transport};
use crate::descriptors::for_client;
use crate::wire::Opening;

/// How long to wait when the system has no more descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How connections come in.
pub(crate) struct Entrance {
    pub(crate) tls: Option<TlsAcceptor>,
    /// Senders whose PROXY header is believed.
    pub(crate) proxies: Vec<IpNet>,
    /// Whether they have to send one.
    pub(crate) proxy_protocol: ProxyProtocol,
}

/// Who is at the other end of a connection.
pub(super) enum Identified {
    /// Its sender.
    Itself(SocketAddr),
    /// Whom a trusted proxy named.
    ByProxy(SocketAddr),
}

impl Identified {
    /// Its address.
    pub(super) const fn client(&self) -> SocketAddr {
        match self {
            Self::Itself(client) | Self::ByProxy(client) => *client,
        }
    }
}

/// Why nobody can tell.
#[derive(Debug, Error)]
pub(super) enum Unidentified {
    #[error("it is closed")]
    Closed,
    #[error("it begins with a PROXY header, and its sender is not in the listener's proxy_protocol_from")]
    Untrusted,
    #[error("it begins without a PROXY header, which the listener requires")]
    Missing,
    #[error(transparent)]
    Malformed(#[from] BadHeader),
}

/// A connection that fails before its first byte is none.
impl From<io::Error> for Unidentified {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Serves the clients of a TCP listener, or with `tls` of a TLS listener, for as long as it is there.
pub(crate) async fn serve_connections(
    exchange: Shared,
    listener: std::net::TcpListener,
    entrances: watch::Receiver<Arc<Entrance>>,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let accepted = listener.accept().await.and_then(|(stream, sender)| Ok((for_client(stream)?, sender)));
        let entrance = Arc::clone(&entrances.borrow());
        match accepted {
            Ok((stream, sender)) => {
                if let Some(presence) = Presence::admit(&exchange, &entrance, sender) {
                    tokio::task::spawn_local(serve(presence, stream, sender, entrance));
                } else {
                    debug!(client = %sender, "refused: too many connections without an allocation");
                }
            }
            Err(error) => {
                exchange.borrow_mut().count_unaccepted(&error);
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn serve(mut presence: Presence, mut stream: TcpStream, sender: SocketAddr, entrance: Arc<Entrance>) {
    // Media must not wait for more media.
    let local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(local) => local,
        Err(error) => return debug!(client = %sender, %error, "connection lost"),
    };
    let limit = presence.exchange.borrow().limits().handshake_timeout;
    let Ok(identified) = timeout(limit, entrance.identify(&mut stream, sender)).await else {
        return presence.count_silent(sender, limit);
    };
    let Some(remote) = presence.count_identified(sender, identified) else { return };
    if !presence.is_of(remote) {
        return debug!(client = %remote, "refused: too many connections of its address without an allocation");
    }
    let plain = (Transport::Tcp, presence.spoken_in_the_clear());
    let acceptor = match &entrance.tls {
        Some(acceptor) if plain.1 == Spoken::TurnOrPackets => {
            let Ok(begins_tls) = timeout(limit, begins_tls(&stream)).await else {
                return presence.count_silent(remote, limit);
            };
            begins_tls.then_some(acceptor)
        }
        acceptor => acceptor.as_ref(),
    };
    let end = match acceptor {
        None => serve_frames(&mut presence, stream, plain, remote, local).await,
        Some(acceptor) => {
            // In boxes, so that a connection does not carry its handshake, and its stream but once, for as long as it idles.
            let handshake = Box::pin(acceptor.accept_with(stream, tls::bound_buffers));
            let shaken = timeout(limit, handshake).await;
            match presence.count_handshake(shaken).map(Box::new) {
                Ok(stream) => {
                    serve_frames(&mut presence, stream, (Transport::Tls, Spoken::Turn), remote, local).await
                }
                Err(error) => return debug!(client = %remote, %error, "TLS handshake failed"),
            }
        }
    };
    presence.count_end(&end);
    debug!(client = %remote, %end, "connection over");
}

/// Whether a connection begins a TLS handshake. With a gateway the same port takes what browsers send in the clear.
async fn begins_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    // A connection that fails is found out by whoever reads on.
    let len = stream.peek(&mut first).await.unwrap_or(0);
    Opening::tell(&first[..len]) == Some(Opening::Tls)
}

impl Entrance {
    /// Whether a sender may say for whom it speaks.
    fn trusts(&self, sender: SocketAddr) -> bool {
        let address = sender.ip().to_canonical();
        self.proxies.iter().any(|proxies| proxies.contains(&address))
    }

    /// The client behind a connection: the sender itself, or whom a trusted sender names.
    pub(super) async fn identify(
        &self,
        stream: &mut TcpStream,
        sender: SocketAddr,
    ) -> Result<Identified, Unidentified> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(Unidentified::Closed);
        }
        let is_trusted = self.trusts(sender);
        if proxy_protocol::begins_header(first[0]) {
            if !is_trusted {
                return Err(Unidentified::Untrusted);
            }
            return Ok(Identified::ByProxy(match proxy_protocol::read_header(stream).await? {
                Named::Client(client) => client,
                Named::Nobody => sender,
            }));
        }
        if is_trusted && self.proxy_protocol == ProxyProtocol::Required {
            return Err(Unidentified::Missing);
        }
        Ok(Identified::Itself(sender))
    }
}

impl std::fmt::Debug for Entrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entrance").finish_non_exhaustive()
    }
}

impl Presence {
    /// A new connection, if there is room for it. Of a proxy's nobody knows yet whose it is.
    fn admit(exchange: &Shared, entrance: &Entrance, sender: SocketAddr) -> Option<Self> {
        let mut presence = Self::stranger(exchange)?;
        (entrance.trusts(sender) || presence.is_of(sender)).then_some(presence)
    }

    /// What may come without TLS.
    fn spoken_in_the_clear(&self) -> Spoken {
        if self.exchange.borrow().has_gateway() { Spoken::TurnOrPackets } else { Spoken::Turn }
    }

    /// Counts a connection that says nothing.
    fn count_silent(&self, client: SocketAddr, limit: Duration) {
        self.exchange.borrow_mut().totals_mut().limited.handshake_timeout += 1;
        debug!(%client, "connection over: nothing came for {}s", limit.as_secs());
    }

    /// Counts an end that is a bound of ours.
    fn count_end(&self, end: &End) {
        let mut exchange = self.exchange.borrow_mut();
        let limited = &mut exchange.totals_mut().limited;
        match end {
            End::Stranger(_) => limited.stranger_timeout += 1,
            End::Unfinished(_) => limited.unfinished_frame += 1,
            End::Closed | End::Io(_) | End::NotTurn(_) | End::PacketTooLong(_) | End::Junk => {}
        }
    }

    /// Counts how a connection's client was told, and says who it is, if it was.
    fn count_identified(
        &self,
        sender: SocketAddr,
        identified: Result<Identified, Unidentified>,
    ) -> Option<SocketAddr> {
        let mut exchange = self.exchange.borrow_mut();
        let counts = &mut exchange.totals_mut().proxy_headers;
        let (count, reason) = match identified {
            Ok(Identified::Itself(client)) => return Some(client),
            Ok(Identified::ByProxy(client)) => {
                counts.believed += 1;
                return Some(client);
            }
            Err(Unidentified::Closed) => return None,
            Err(reason @ Unidentified::Untrusted) => (&mut counts.untrusted, reason),
            Err(reason @ Unidentified::Missing) => (&mut counts.missing, reason),
            Err(reason @ Unidentified::Malformed(_)) => (&mut counts.malformed, reason),
        };
        *count += 1;
        // Somebody configured one end and not the other, and nobody gets in. Or somebody tries: not too many lines then.
        if count.is_power_of_two() {
            warn!(%sender, times = *count, "connection refused: {reason}");
        }
        None
    }

    /// Counts how a handshake ended.
    fn count_handshake<T>(&self, shaken: Result<io::Result<T>, Elapsed>) -> io::Result<T> {
        let mut exchange = self.exchange.borrow_mut();
        let counts = &mut exchange.totals_mut().handshakes;
        match &shaken {
            Ok(Ok(_)) => counts.completed += 1,
            Ok(Err(_)) => counts.failed += 1,
            Err(_) => counts.timed_out += 1,
        }
        shaken?
    }
}
