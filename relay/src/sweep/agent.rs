//! The agent: sees what arrives, answers where it can, and tells who has the token. It lives for minutes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::rand::{SecureRandom as _, SystemRandom};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::tap::{Reader, Tap};
use super::{Answer, Observer, Token, arrival, channel};

/// Connections at a time. For one more the oldest is closed.
const CONNECTIONS: usize = 16;
/// How long one may take, whatever it does.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Where it is asked.
    pub listen: SocketAddr,
    /// What those know who may ask.
    pub token: Token,
    /// When it ends by itself.
    pub ttl: Duration,
}

/// Why there is no agent.
#[derive(Debug, Error)]
pub enum AgentError {
    /// Nobody could ask it.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It would see nothing.
    #[error(
        "cannot look at the node's packets: {0}; it takes the capability NET_RAW, and the root user in a container"
    )]
    Tap(#[source] io::Error),
}

/// An agent that looks already.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    ends: Instant,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    observer: Mutex<Observer>,
    tap: Tap,
}

impl Agent {
    /// Begins to look and to listen, within a runtime.
    pub async fn start(options: AgentOptions) -> Result<Self, AgentError> {
        let AgentOptions { listen: address, token, ttl } = options;
        let listener =
            TcpListener::bind(address).await.map_err(|source| AgentError::Listen { address, source })?;
        let tap = Tap::open().map_err(AgentError::Tap)?;
        let readers = tap.readers().map_err(AgentError::Tap)?;
        let now = Instant::now();
        let observer = Mutex::new(Observer::new(token, now, now + ttl));
        let shared = Arc::new(Shared { observer, tap });
        for reader in readers {
            let shared = Arc::downgrade(&shared);
            thread::Builder::new()
                .name("tap".to_owned())
                .spawn(move || look(reader, &shared))
                .map_err(AgentError::Tap)?;
        }
        Ok(Self { listener, ends: now + ttl, shared })
    }

    /// Where it is asked.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until its time is over.
    pub async fn run(self) {
        let Self { listener, ends, shared } = self;
        tokio::select! {
            () = serve(&listener, &shared) => {}
            () = sleep(ends.saturating_duration_since(Instant::now())) => {}
        }
    }
}

impl Shared {
    fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for as long as the agent is there.
fn look(mut reader: Reader, shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let packet = match reader.next() {
            Ok(packet) => packet,
            Err(error) => {
                warn!(%error, "the node's packets cannot be seen at the moment");
                thread::sleep(PAUSE);
                continue;
            }
        };
        let Some(arrival) = packet.and_then(arrival::read) else { continue };
        let answer = shared.observer().handle_arrival(Instant::now(), arrival);
        if let Some(answer) = answer.filter(|it| send(it).is_ok()) {
            shared.observer().handle_answered(&answer);
        }
    }
}

/// From the port that the question came to, unless somebody has it. It is given back at once, so that dialog finds it free.
fn send(answer: &Answer) -> io::Result<()> {
    let socket = UdpSocket::bind(answer.from)?;
    socket.set_nonblocking(true)?;
    socket.send_to(&answer.bytes, answer.to).map(drop)
}

async fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    let (mut connections, mut open) = (JoinSet::new(), VecDeque::<AbortHandle>::new());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        open.retain(|it| !it.is_finished());
        if open.len() == CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(connections.spawn(serve_connection(stream, Arc::clone(shared))));
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(request, &shared).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).keep_alive(false);
    if let Ok(Err(error)) = timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), answer)).await {
        debug!(%error, "a connection failed");
    }
}

async fn respond(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "POST only\n");
    }
    let path = request.uri().path().to_owned();
    let seal = request.headers().get(channel::SEAL).and_then(|it| it.to_str().ok());
    let seal = seal.unwrap_or_default().to_owned();
    let Ok(body) = Limited::new(request.into_body(), channel::LONGEST_REQUEST).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "too long\n");
    };
    let (mut random, missed) = ([0; 8], shared.tap.missed());
    if SystemRandom::new().fill(&mut random).is_err() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "no randomness\n");
    }
    let (answer, probers) = {
        let mut observer = shared.observer();
        observer.handle_missed(missed);
        let (before, now, random) = (observer.probers(), Instant::now(), u64::from_be_bytes(random));
        let answer = observer.handle_request(now, &path, &seal, &body.to_bytes(), random);
        let probers = observer.probers();
        (answer, (probers != before).then_some(probers))
    };
    if answer.status == 401 {
        debug!("a request without the token");
    } else if path == channel::OPEN {
        info!(status = answer.status, "a session was asked for by who has the token");
    }
    if let Some(probers) = probers
        && let Err(error) = shared.tap.watch(&probers)
    {
        warn!(%error, "TCP connections cannot be seen");
    }
    let mut response = plain(StatusCode::from_u16(answer.status).unwrap_or_default(), answer.body);
    if let Some(seal) = answer.seal.and_then(|it| HeaderValue::from_str(&it).ok()) {
        response.headers_mut().insert(channel::SEAL, seal);
    }
    response
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
