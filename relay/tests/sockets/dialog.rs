//! A dialog of which a test holds both ends: its WebSockets behind TLS, and one port for media that answers as mediasoup does.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use hubs_relay::wire::{Builder, IntegrityKey, Message as Stun, attribute};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::client::LIMIT;
use crate::identity::Identity;

pub(crate) const PASSWORD: &str = "passwordofdialogstransport123456";

/// A running dialog. Its threads end with the test.
pub(crate) struct Dialog {
    /// Where its WebSocket is.
    pub(crate) address: SocketAddr,
    /// Where its media is.
    pub(crate) media: SocketAddr,
    /// Who has checked, from the first on.
    pub(crate) tuples: Arc<Mutex<Vec<SocketAddr>>>,
    peers: Receiver<Peer>,
    waiting: RefCell<Option<Peer>>,
}

/// Somebody who has connected, as dialog sees it.
pub(crate) struct Peer {
    pub(crate) socket: WebSocket<StreamOwned<ServerConnection, TcpStream>>,
    /// What was asked for, and with which headers.
    pub(crate) request: Request,
}

impl Dialog {
    /// Starts one on this address of loopback.
    pub(crate) fn start(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let media = UdpSocket::bind((ip, 0)).unwrap();
        let (address, media_address) = (listener.local_addr().unwrap(), media.local_addr().unwrap());
        let identity = Identity::new("dialog");
        let chain = vec![CertificateDer::from_pem_file(identity.certificate()).unwrap()];
        let key = PrivateKeyDer::from_pem_file(identity.private_key()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let (sender, peers) = mpsc::channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                let (config, sender) = (Arc::clone(&config), sender.clone());
                thread::spawn(move || {
                    let stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    if let Some(peer) = Peer::accept(stream) {
                        let _ = sender.send(peer);
                    }
                });
            }
        });
        let tuples = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let checked = Arc::clone(&tuples);
        thread::spawn(move || answer(&media, &checked));
        Self { address, media: media_address, tuples, peers, waiting: RefCell::default() }
    }

    /// The next one who has connected.
    pub(crate) fn peer(&self) -> Peer {
        let waiting = self.waiting.take();
        waiting.unwrap_or_else(|| self.peers.recv_timeout(LIMIT).expect("nobody has come to dialog"))
    }

    /// Whether somebody has come.
    pub(crate) fn has_peer(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        *waiting = waiting.take().or_else(|| self.peers.try_recv().ok());
        waiting.is_some()
    }
}

impl Peer {
    fn accept(stream: StreamOwned<ServerConnection, TcpStream>) -> Option<Self> {
        let mut request = None;
        #[expect(clippy::result_large_err, reason = "the library wants it so")]
        let look = |asked: &Request, mut response: Response| {
            if !asked.uri().query().unwrap_or_default().contains("roomId=") {
                let mut refusal = ErrorResponse::new(Some("no room".to_owned()));
                *refusal.status_mut() = tungstenite::http::StatusCode::BAD_REQUEST;
                refusal.headers_mut().insert("Content-Length", HeaderValue::from_static("7"));
                refusal
                    .headers_mut()
                    .insert("X-WebSocket-Reject-Reason", HeaderValue::from_static("no roomId"));
                return Err(refusal);
            }
            response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("protoo"));
            request = Some(asked.clone());
            Ok(response)
        };
        // dialog takes no longer ones.
        let config = WebSocketConfig::default().max_frame_size(Some(960_000)).max_message_size(Some(960_000));
        let socket = tungstenite::accept_hdr_with_config(stream, look, Some(config)).ok()?;
        Some(Self { socket, request: request? })
    }

    /// Answers the browser's next request, which makes a transport, as dialog does.
    pub(crate) fn create(&mut self, dialog: &Dialog, name: &str) {
        let request = heard(&mut self.socket);
        assert_eq!(request["method"], "createWebRtcTransport");
        let candidate = |ip: &str, port: u16| json!({"foundation": "udpcandidate", "priority": 1, "ip": ip, "protocol": "udp", "port": port, "type": "host"});
        let data = json!({
            "id": name,
            "iceParameters": {"usernameFragment": name, "password": PASSWORD, "iceLite": true},
            "iceCandidates": [candidate("127.0.0.1", 9), candidate("203.0.113.9", dialog.media.port())],
            "dtlsParameters": {},
        });
        say(&mut self.socket, &json!({"response": true, "id": request["id"], "ok": true, "data": data}));
    }
}

/// The next message, as JSON.
pub(crate) fn heard<S: Read + Write>(socket: &mut WebSocket<S>) -> Value {
    serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
}

/// Sends a message.
pub(crate) fn say<S: Read + Write>(socket: &mut WebSocket<S>, message: &Value) {
    socket.send(Message::text(message.to_string())).unwrap();
}

/// Answers checks, and sends media back to whoever has checked.
fn answer(media: &UdpSocket, tuples: &Mutex<Vec<SocketAddr>>) {
    let key = IntegrityKey::short_term(PASSWORD);
    let mut bytes = [0; 2048];
    while let Ok((len, from)) = media.recv_from(&mut bytes) {
        let packet = &bytes[..len];
        let mut tuples = tuples.lock().unwrap();
        match Stun::parse(packet) {
            Ok(check) if check.verify(&key) => {
                if !tuples.contains(&from) {
                    tuples.push(from);
                }
                assert!(check.attribute(attribute::PRIORITY).is_some());
                let answer = Builder::success(&check).xor_mapped_address(from).integrity(&key).fingerprint();
                media.send_to(&answer.finish(), from).unwrap();
            }
            _ if tuples.contains(&from) => drop(media.send_to(packet, from)),
            _ => {}
        }
    }
}
