//! The demo's dialog: protoo signalling without a login, and transports behind it whose announced address leads nowhere.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket},
    sync::Arc,
    time::Instant,
};

use futures_util::{SinkExt, StreamExt};
use hyper::{Request, StatusCode, body::Incoming, header};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, sync::mpsc, task::JoinSet, time::sleep_until};
use tokio_tungstenite::tungstenite::Message;
use url::form_urlencoded;

use super::{
    dtls::{Identity, Role},
    ice_lite::Tuple,
    permission::Key,
    reply::{Reply, Socket},
    rooms::{News, Presence, Rooms},
    srtp,
    transport::Transport,
};
use crate::{protoo::Fingerprint, random};

/// Where dialog's media ports really are.
pub(super) const ACTUAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// dialog's range.
pub(super) const PORTS: std::ops::RangeInclusive<u16> = 40_000..=49_999;

/// mediasoup's number for Opus.
const OPUS: u8 = 100;

/// How often a port is drawn before there is said to be none.
const PORT_ATTEMPTS: usize = 100;

/// More than anybody needs: a browser has two.
const MOST_TRANSPORTS: usize = 16;

/// No datagram that ICE or DTLS send is longer.
const LONGEST_DATAGRAM: usize = 2048;

/// Datagrams that may wait for a session.
const QUEUE: usize = 64;

/// Dialog.
#[derive(Clone)]
pub(super) struct Dialog {
    identity: Arc<Identity>,
    announced: IpAddr,
    permissions: Key,
    rooms: Rooms,
    started: Instant,
}

impl Dialog {
    /// Dialog as it believes to be reachable at `announced`.
    pub(super) fn new(identity: Identity, announced: IpAddr, permissions: Key) -> Self {
        let identity = Arc::new(identity);
        Self { identity, announced, permissions, rooms: Rooms::default(), started: Instant::now() }
    }

    pub(super) fn answer(&self, request: Request<Incoming>) -> Reply {
        let has = |name, value: &str| {
            let texts = request.headers().get_all(name).iter().filter_map(|v| v.to_str().ok());
            texts.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(value))
        };
        if !has(header::UPGRADE, "websocket") {
            return Reply::new(StatusCode::NOT_FOUND, "text/html; charset=utf-8", "<pre>Cannot GET</pre>\n")
                .with("x-powered-by", "Express");
        }
        if !has(header::SEC_WEBSOCKET_PROTOCOL, "protoo") {
            return refuse(StatusCode::FORBIDDEN, "invalid/missing Sec-WebSocket-Protocol");
        }
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let named = |wanted| {
            let mut pairs = form_urlencoded::parse(query);
            pairs
                .find(|(name, value)| name == wanted && !value.is_empty())
                .map(|(_, value)| value.into_owned())
        };
        let (Some(room), Some(peer)) = (named("roomId"), named("peerId")) else {
            return refuse(StatusCode::BAD_REQUEST, "Connection request without roomId and/or peerId");
        };
        let session = Session::new(self.clone(), room, peer);
        Reply::websocket(request, Some("protoo"), |socket| session.serve(socket))
    }
}

fn refuse(status: StatusCode, reason: &'static str) -> Reply {
    Reply::text(status, "").with("x-websocket-reject-reason", reason)
}

/// A client's connection. All that it holds goes when it ends.
struct Session {
    dialog: Dialog,
    room: String,
    peer: String,
    /// Once it has joined.
    presence: Option<Presence>,
    consumers: Vec<Consumer>,
    last_id: u64,
    transports: BTreeMap<String, Held>,
    arrived: mpsc::Receiver<Arrived>,
    arrivals: mpsc::Sender<Arrived>,
}

/// What this client hears of another one.
struct Consumer {
    /// The request by which it was offered; nothing goes over it before that is answered.
    offer: u64,
    accepted: bool,
    speaker: String,
    transport: String,
    ssrc: u32,
}

/// A transport with its sockets.
struct Held {
    consuming: bool,
    transport: Transport,
    sockets: Vec<Arc<UdpSocket>>,
    /// Hand over what arrives on them.
    _receivers: JoinSet<()>,
}

/// A datagram, and the transport that it came to.
struct Arrived {
    transport: String,
    tuple: Tuple,
    bytes: Vec<u8>,
}

impl Session {
    fn new(dialog: Dialog, room: String, peer: String) -> Self {
        let (arrivals, arrived) = mpsc::channel(QUEUE);
        Self {
            dialog,
            room,
            peer,
            presence: None,
            consumers: Vec::new(),
            last_id: 0,
            transports: BTreeMap::new(),
            arrived,
            arrivals,
        }
    }

    async fn serve(mut self, mut socket: Socket) {
        loop {
            let deadline = self.transports.values().filter_map(|held| held.transport.poll_timeout()).min();
            let timeout = async {
                match deadline {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let answer = self.answer(&text);
                        if let Some(answer) = answer && socket.send(Message::text(answer)).await.is_err() {
                            return;
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                news = news(self.presence.as_mut()) => {
                    let offer = self.hear(news);
                    if let Some(offer) = offer && socket.send(Message::text(offer)).await.is_err() {
                        return;
                    }
                }
                Some(Arrived { transport, tuple, bytes }) = self.arrived.recv() => {
                    if let Some(held) = self.transports.get_mut(&transport) {
                        held.transport.handle(Instant::now(), tuple, &bytes);
                        while let Some(packet) = held.transport.poll_heard() {
                            self.presence.iter().for_each(|presence| presence.say(packet.clone()));
                        }
                    }
                }
                () = timeout => {
                    for held in self.transports.values_mut() {
                        held.transport.handle_timeout(Instant::now());
                    }
                }
            }
            self.transports.values_mut().for_each(Held::flush);
        }
    }

    /// The answer to a message, if it is a request of protoo's.
    fn answer(&mut self, text: &str) -> Option<String> {
        let message: Value = serde_json::from_str(text).ok()?;
        if message["ok"] == true {
            let accepted = self.consumers.iter_mut().filter(|c| message["id"] == c.offer);
            accepted.for_each(|consumer| consumer.accepted = true);
            return None;
        }
        let (id, method) = (message["id"].as_u64()?, message["method"].as_str()?);
        let answer = match self.perform(method, &message["data"]) {
            Ok(data) => json!({ "response": true, "id": id, "ok": true, "data": data }),
            Err(reason) => json!({ "response": true, "id": id, "errorCode": 500, "errorReason": reason }),
        };
        Some(answer.to_string())
    }

    fn perform(&mut self, method: &str, data: &Value) -> Result<Value, String> {
        match method {
            "createWebRtcTransport" => self.create(data["consuming"] == true),
            "join" => {
                self.dialog.permissions.verify(data["token"].as_str().unwrap_or_default())?;
                self.presence = Some(self.dialog.rooms.enter(&self.room, &self.peer));
                Ok(json!({ "peers": [] }))
            }
            "produce" => {
                self.held(data)?;
                self.presence.as_ref().ok_or("Peer not yet joined")?.speak();
                Ok(json!({ "id": random::name::<36>() }))
            }
            "connectWebRtcTransport" => {
                let (ours, theirs) = dtls_parameters(&data["dtlsParameters"])?;
                self.held(data)?.transport.connect(Instant::now(), ours, theirs)?;
                Ok(json!({}))
            }
            "getTransportStats" => {
                let uptime = self.dialog.started.elapsed().as_millis() as u64;
                Ok(self.held(data)?.transport.stats(uptime))
            }
            "closeWebRtcTransport" => {
                let id = self.held(data)?.transport.id().to_owned();
                self.transports.remove(&id);
                Ok(json!({}))
            }
            other => Err(format!("unknown request.method \"{other}\"")),
        }
    }

    /// Three ports: one that only dialog's own machine reaches, and twice one that it announces to the world.
    fn create(&mut self, consuming: bool) -> Result<Value, String> {
        if self.transports.len() == MOST_TRANSPORTS {
            return Err(format!("{MOST_TRANSPORTS} transports are enough for a demo"));
        }
        let transport = Transport::new(Arc::clone(&self.dialog.identity));
        let mut receivers = JoinSet::new();
        let (mut sockets, mut candidates) = (Vec::new(), Vec::new());
        for announced in [ACTUAL.into(), self.dialog.announced, self.dialog.announced] {
            let (socket, port) = bind().map_err(|e| {
                format!("no more available ports [transport:udp, ip:'{ACTUAL}', error:'{e}']")
            })?;
            let socket = Arc::new(socket);
            let id = transport.id().to_owned();
            receivers.spawn(receive(Arc::clone(&socket), (ACTUAL, port).into(), id, self.arrivals.clone()));
            candidates.push(SocketAddr::new(announced, port));
            sockets.push(socket);
        }
        let description = transport.describe(&candidates, &self.dialog.identity.fingerprints());
        let id = transport.id().to_owned();
        self.transports.insert(id, Held { consuming, transport, sockets, _receivers: receivers });
        Ok(description)
    }

    /// What there is to tell the client: an offer, if somebody begins to speak and there is a transport for it.
    fn hear(&mut self, news: News) -> Option<String> {
        match news {
            News::Speaks(speaker) => {
                let (transport, _) = self.transports.iter().find(|(_, held)| held.consuming)?;
                self.last_id += 1;
                let (offer, ssrc) = (self.last_id, u32::from_be_bytes(random::bytes()));
                let request = newcomer(offer, &speaker, ssrc);
                let transport = transport.clone();
                self.consumers.push(Consumer { offer, accepted: false, speaker, transport, ssrc });
                Some(request)
            }
            News::Says(speaker, packet) => {
                let consumers = self.consumers.iter().filter(|c| c.accepted && c.speaker == speaker);
                for consumer in consumers {
                    let mut packet = packet.to_vec();
                    srtp::relabel(&mut packet, OPUS, consumer.ssrc);
                    if let Some(held) = self.transports.get_mut(&consumer.transport) {
                        held.transport.say(&packet);
                    }
                }
                None
            }
        }
    }

    fn held(&mut self, data: &Value) -> Result<&mut Held, String> {
        let id = data["transportId"].as_str().unwrap_or("undefined");
        self.transports.get_mut(id).ok_or_else(|| format!("transport with id \"{id}\" not found"))
    }
}

impl Held {
    fn flush(&mut self) {
        while let Some(datagram) = self.transport.poll_transmit() {
            let from = |s: &&Arc<UdpSocket>| s.local_addr().is_ok_and(|at| at == datagram.tuple.local);
            if let Some(socket) = self.sockets.iter().find(from) {
                // What does not fit is lost, as on any network.
                let _ = socket.try_send_to(&datagram.bytes, datagram.tuple.remote);
            }
        }
    }
}

/// What the others in the room have to say, to somebody who has joined.
async fn news(presence: Option<&mut Presence>) -> News {
    match presence {
        Some(presence) => match presence.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// The request by which dialog offers a consumer.
fn newcomer(id: u64, speaker: &str, ssrc: u32) -> String {
    let codec = json!({ "mimeType": "audio/opus", "payloadType": OPUS, "clockRate": 48_000, "channels": 2 });
    let parameters = json!({ "codecs": [codec], "encodings": [{ "ssrc": ssrc }], "mid": "0" });
    let data = json!({ "peerId": speaker, "kind": "audio", "rtpParameters": parameters });
    json!({ "request": true, "id": id, "method": "newConsumer", "data": data }).to_string()
}

/// Our role and their certificate, as mediasoup reads them: of several fingerprints it takes the first.
fn dtls_parameters(parameters: &Value) -> Result<(Role, Fingerprint), String> {
    let ours = match parameters["role"].as_str() {
        Some("client") => Role::Server,
        Some("server" | "auto") | None => Role::Client,
        Some(_) => return Err("invalid dtlsParameters.role value".to_owned()),
    };
    let text = |name: &str| Some(parameters["fingerprints"][0][name].as_str()?.to_owned());
    text("algorithm")
        .zip(text("value"))
        .and_then(|(algorithm, value)| Fingerprint::new(algorithm, value))
        .map(|theirs| (ours, theirs))
        .ok_or_else(|| "missing dtlsParameters.fingerprints".to_owned())
}

/// A socket on a port of dialog's range that is free.
fn bind() -> io::Result<(UdpSocket, u16)> {
    let count = PORTS.end() - PORTS.start() + 1;
    let mut attempts = PORT_ATTEMPTS;
    loop {
        let port = PORTS.start() + u16::from_be_bytes(random::bytes()) % count;
        match StdUdpSocket::bind((ACTUAL, port)) {
            Ok(socket) => {
                socket.set_nonblocking(true)?;
                return Ok((UdpSocket::from_std(socket)?, port));
            }
            Err(e) if attempts == 0 || e.kind() != io::ErrorKind::AddrInUse => return Err(e),
            Err(_) => attempts -= 1,
        }
    }
}

async fn receive(
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    transport: String,
    arrivals: mpsc::Sender<Arrived>,
) {
    let mut buffer = [0; LONGEST_DATAGRAM];
    while let Ok((len, remote)) = socket.recv_from(&mut buffer).await {
        let arrived = Arrived {
            transport: transport.clone(),
            tuple: Tuple { local, remote },
            bytes: buffer[..len].to_vec(),
        };
        if arrivals.send(arrived).await.is_err() {
            return;
        }
    }
}
