//! A client of dialog's WebSocket: the protoo protocol, and the few methods that serve a probe. None of them needs a login.
//!
//! Dialog drops a peer's transports when its connection ends, so whatever happens to us, nothing stays behind there.

mod audio;
mod many;

use std::{collections::VecDeque, convert::Infallible, fmt, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    candidate::{Candidate, Protocol},
    facts::PermsToken,
    ice::Credentials,
    net::{Endpoint, Net, Trust, WebSocket, WebSocketError},
    random,
};

pub use self::audio::Offer;

/// How long dialog may take to answer a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Asks for a transport.
const CREATE: &str = "createWebRtcTransport";

/// Offers that wait; those that come while so many do are declined.
const MOST_OFFERS: usize = 4;

/// More candidates than any honest transport has; those beyond are not looked at.
const MOST_CANDIDATES: usize = 16;

/// Why dialog did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProtooError {
    /// The WebSocket does not open, or ended.
    #[error(transparent)]
    Socket(#[from] WebSocketError),
    /// No answer came in time.
    #[error("dialog does not answer {method} within {} s", ANSWER_LIMIT.as_secs())]
    Silent {
        /// What it was asked.
        method: &'static str,
    },
    /// Dialog says no.
    #[error("dialog refuses {method}: {code} {reason}")]
    Refused {
        /// What it was asked.
        method: &'static str,
        /// Its error code.
        code: u64,
        /// What it says about it.
        reason: String,
    },
    /// It does not ask for what it should ask for.
    #[error("dialog does not send {method} within {} s", ANSWER_LIMIT.as_secs())]
    NotOffered {
        /// What it should have asked.
        method: &'static str,
    },
    /// What came is not what dialog would say.
    #[error("{what}, so this is not dialog, or not one that we know")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
}

/// A connection to dialog, in a room of its own.
#[derive(Debug)]
pub struct Dialog {
    socket: WebSocket,
    last_id: u64,
    /// Consumers that dialog offered and that nobody has looked at yet; nothing if we do not consume.
    offers: Option<VecDeque<Offer>>,
}

/// One media connection that dialog waits for.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Dialog's name for it.
    pub id: String,
    /// What an ICE check towards it needs.
    pub ice: Credentials,
    /// Where it waits.
    pub candidates: Vec<Candidate>,
    /// By which it proves in DTLS who it is.
    pub fingerprints: Vec<Fingerprint>,
}

/// The hash of a certificate (RFC 8122 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Such as `sha-256`.
    pub algorithm: String,
    /// Hexadecimal, with colons.
    pub value: String,
}

impl Fingerprint {
    /// A fingerprint, unless one of the texts is none.
    pub fn new(algorithm: String, value: String) -> Option<Self> {
        let is_name =
            !algorithm.is_empty() && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let is_hash =
            value.split(':').all(|byte| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit()));
        (is_name && is_hash && value.len() <= 191).then_some(Self { algorithm, value })
    }
}

/// What dialog knows of a transport: the witness of the other end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransportStats {
    /// Whether ICE checks arrived.
    pub ice_state: IceState,
    /// From where to where.
    pub ice_selected_tuple: Option<Tuple>,
    /// How far DTLS is.
    pub dtls_state: DtlsState,
    /// Bytes that arrived, ICE and DTLS included.
    #[serde(default)]
    pub bytes_received: u64,
    /// Bytes that dialog sent.
    #[serde(default)]
    pub bytes_sent: u64,
}

/// ICE, as dialog sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IceState {
    /// Nothing that authenticates itself has arrived.
    New,
    /// Checks arrived.
    Connected,
    /// Checks arrived, and the client has chosen this path.
    Completed,
    /// There was a path, and there is none any more.
    Disconnected,
    /// The transport is closed.
    Closed,
    /// Another word.
    #[serde(other)]
    Unknown,
}

impl IceState {
    /// Whether a check of ours has reached dialog.
    pub const fn heard_us(self) -> bool {
        matches!(self, Self::Connected | Self::Completed | Self::Disconnected)
    }
}

impl fmt::Display for IceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Connected => "connected",
            Self::Completed => "completed",
            Self::Disconnected => "disconnected",
            Self::Closed => "closed",
            Self::Unknown => "unknown",
        })
    }
}

/// DTLS, as dialog sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtlsState {
    /// Not begun.
    New,
    /// In the handshake.
    Connecting,
    /// The keys of the media are agreed on.
    Connected,
    /// The handshake failed.
    Failed,
    /// It was ended.
    Closed,
    /// Another word.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for DtlsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Failed => "failed",
            Self::Closed => "closed",
            Self::Unknown => "unknown",
        })
    }
}

/// The path that dialog uses for a transport.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tuple {
    /// Where dialog received.
    pub local_port: u16,
    /// From which address.
    pub remote_ip: String,
    /// From which port.
    pub remote_port: u16,
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {} → port {}", self.remote_ip, self.remote_port, self.local_port)
    }
}

impl Dialog {
    /// Opens dialog's WebSocket, in a room that nobody else is in.
    pub async fn open(net: &Net, host: &str, port: u16, trust: Trust) -> Result<Self, ProtooError> {
        Self::open_in(net, host, port, trust, &own_room()).await
    }

    /// The same, in this room.
    pub async fn open_in(
        net: &Net,
        host: &str,
        port: u16,
        trust: Trust,
        room: &str,
    ) -> Result<Self, ProtooError> {
        let path = format!("/?roomId={room}&peerId={}", random::name::<20>());
        let endpoint = Endpoint { host, port, path: &path, subprotocol: Some("protoo") };
        Ok(Self { socket: net.websocket(endpoint, trust).await?, last_id: 0, offers: None })
    }

    /// Asks for a transport: two or three ports that wait for media until it is closed.
    pub async fn create_transport(&mut self) -> Result<Transport, ProtooError> {
        self.create(Purpose::Produce).await
    }

    async fn create(&mut self, purpose: Purpose) -> Result<Transport, ProtooError> {
        described(self.request(CREATE, purpose.data()).await?)
    }

    /// Shows dialog a permission, as people do who enter, and hears what it makes of it.
    ///
    /// Dialog looks at who signed it and not at the room that it is for, so nobody but us is in the room that we then enter.
    pub async fn show_permission(&mut self, permission: &PermsToken) -> Result<(), ProtooError> {
        let capabilities = json!({ "codecs": [], "headerExtensions": [] });
        let data = json!({
            "displayName": "hubs-probe",
            "device": {},
            "rtpCapabilities": capabilities,
            "token": permission.expose(),
        });
        self.request("join", data).await.map(drop)
    }

    /// Tells dialog who will begin DTLS on the transport: we do, with this certificate.
    pub async fn connect_transport(
        &mut self,
        transport: &str,
        ours: &Fingerprint,
    ) -> Result<(), ProtooError> {
        let fingerprints = json!([{ "algorithm": ours.algorithm, "value": ours.value }]);
        let dtls = json!({ "role": "client", "fingerprints": fingerprints });
        let data = json!({ "transportId": transport, "dtlsParameters": dtls });
        self.request("connectWebRtcTransport", data).await.map(drop)
    }

    /// What dialog saw on the transport so far.
    pub async fn transport_stats(&mut self, transport: &str) -> Result<TransportStats, ProtooError> {
        let method = "getTransportStats";
        let mut answer = self.request(method, json!({ "transportId": transport })).await?;
        let stats = answer.get_mut(0).map(Value::take).unwrap_or_default();
        serde_json::from_value(stats).map_err(|e| ProtooError::Malformed {
            what: format!("the answer to {method} holds no statistics ({e})"),
        })
    }

    /// Gives the transport back.
    pub async fn close_transport(&mut self, transport: &str) -> Result<(), ProtooError> {
        self.request("closeWebRtcTransport", json!({ "transportId": transport })).await.map(drop)
    }

    /// Listens until the connection ends, and says why it did. Dropping the future loses nothing.
    pub async fn ended(&mut self) -> ProtooError {
        let Err(error) = self.listen().await;
        error
    }

    async fn listen(&mut self) -> Result<Infallible, ProtooError> {
        loop {
            if let Frame::Request { id, method, data } = Frame::read(&self.socket.receive().await?)? {
                self.take_request(id, &method, &data).await?;
            }
        }
    }

    /// Leaves. Dialog then closes all transports that we still have.
    pub async fn close(self) {
        self.socket.close().await;
    }

    /// Asks, and returns the first answer: to a refused `join` dialog sends a second one that contradicts it.
    async fn request(&mut self, method: &'static str, data: Value) -> Result<Value, ProtooError> {
        let exchange = async {
            let id = self.send_request(method, &data).await?;
            loop {
                match Frame::read(&self.socket.receive().await?)? {
                    Frame::Response { id: answered, outcome } if answered == id => {
                        return outcome.map_err(|(code, reason)| ProtooError::Refused {
                            method,
                            code,
                            reason,
                        });
                    }
                    Frame::Request { id, method, data } => self.take_request(id, &method, &data).await?,
                    Frame::Response { .. } | Frame::Notification => {}
                }
            }
        };
        timeout(ANSWER_LIMIT, exchange).await.map_err(|_| ProtooError::Silent { method })?
    }

    async fn send_request(&mut self, method: &'static str, data: &Value) -> Result<u64, ProtooError> {
        self.last_id += 1;
        let request = json!({ "request": true, "id": self.last_id, "method": method, "data": data });
        self.socket.send(request.to_string()).await?;
        Ok(self.last_id)
    }

    /// What dialog asks of its clients is about consuming. Offers wait for somebody who wants them, all else is declined.
    async fn take_request(&mut self, id: u64, method: &str, data: &Value) -> Result<(), ProtooError> {
        let wanted = self.offers.as_mut().filter(|offers| offers.len() < MOST_OFFERS);
        match (wanted, Offer::read(id, method, data)) {
            (Some(offers), Some(offer)) => offers.push_back(offer),
            _ => self.socket.send(decline(id)).await?,
        }
        Ok(())
    }
}

/// A room that nobody else is in.
pub(crate) fn own_room() -> String {
    format!("hubs-probe-{}", random::name::<10>())
}

/// What a transport is for.
#[derive(Clone, Copy)]
enum Purpose {
    Produce,
    Consume,
}

impl Purpose {
    fn data(self) -> Value {
        let is_to_produce = matches!(self, Self::Produce);
        json!({ "producing": is_to_produce, "consuming": !is_to_produce })
    }
}

fn described(answer: Value) -> Result<Transport, ProtooError> {
    read_transport(answer).ok_or_else(|| ProtooError::Malformed {
        what: format!("the answer to {CREATE} describes no transport"),
    })
}

fn decline(id: u64) -> String {
    json!({ "response": true, "id": id, "errorCode": 501, "errorReason": "hubs-probe does not do that" })
        .to_string()
}

/// A message of the protoo protocol, as far as it matters to us.
#[derive(Debug, PartialEq)]
enum Frame {
    Response { id: u64, outcome: Result<Value, (u64, String)> },
    Request { id: u64, method: String, data: Value },
    Notification,
}

impl Frame {
    fn read(text: &str) -> Result<Self, ProtooError> {
        let malformed = |what: &str| ProtooError::Malformed { what: what.to_owned() };
        let mut message: Value =
            serde_json::from_str(text).map_err(|_| malformed("a message on the WebSocket is no JSON"))?;
        let is = |kind: &str| message.get(kind).and_then(Value::as_bool).unwrap_or(false);
        let id = message.get("id").and_then(Value::as_u64);
        match (is("response"), is("request"), is("notification"), id) {
            (true, _, _, Some(id)) if is("ok") => {
                let data = message.get_mut("data").map(Value::take).unwrap_or_default();
                Ok(Self::Response { id, outcome: Ok(data) })
            }
            (true, _, _, Some(id)) => {
                let code = message.get("errorCode").and_then(Value::as_u64).unwrap_or_default();
                let reason = message.get("errorReason").and_then(Value::as_str).unwrap_or("no reason given");
                Ok(Self::Response { id, outcome: Err((code, reason.to_owned())) })
            }
            (_, true, _, Some(id)) => {
                let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
                let data = message.get_mut("data").map(Value::take).unwrap_or_default();
                Ok(Self::Request { id, method, data })
            }
            (_, _, true, _) => Ok(Self::Notification),
            _ => Err(malformed("a message on the WebSocket is not of the protoo protocol")),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTransport {
    id: String,
    ice_parameters: RawIceParameters,
    ice_candidates: Vec<RawCandidate>,
    dtls_parameters: RawDtlsParameters,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIceParameters {
    username_fragment: String,
    password: String,
}

#[derive(Deserialize)]
struct RawCandidate {
    #[serde(default)]
    foundation: String,
    ip: String,
    port: u16,
    protocol: String,
    priority: u32,
}

#[derive(Deserialize)]
struct RawDtlsParameters {
    fingerprints: Vec<RawFingerprint>,
}

#[derive(Deserialize)]
struct RawFingerprint {
    algorithm: String,
    value: String,
}

/// Everything in a [`Transport`] is fit to stand in SDP and STUN; what is not makes it none.
fn read_transport(answer: Value) -> Option<Transport> {
    let raw: RawTransport = serde_json::from_value(answer).ok()?;
    let candidates = raw.ice_candidates.into_iter().take(MOST_CANDIDATES).map(|c| {
        let protocol = if c.protocol.eq_ignore_ascii_case("tcp") { Protocol::Tcp } else { Protocol::Udp };
        Candidate::new(c.ip, c.port, protocol, c.priority).of_foundation(&c.foundation)
    });
    let fingerprints =
        raw.dtls_parameters.fingerprints.into_iter().filter_map(|f| Fingerprint::new(f.algorithm, f.value));
    Some(Transport {
        id: raw.id,
        ice: Credentials::new(raw.ice_parameters.username_fragment, raw.ice_parameters.password)?,
        candidates: candidates.collect(),
        fingerprints: fingerprints.collect(),
    })
}

/// For the fuzzer: a message, and what it says of a transport.
#[cfg(fuzzing)]
pub(crate) fn fuzz(text: &str) {
    match Frame::read(text) {
        Ok(Frame::Response { outcome: Ok(answer), .. }) => drop(read_transport(answer)),
        Ok(Frame::Request { id, method, data }) => drop(Offer::read(id, &method, &data)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        candidate::{Kind, Whose},
        target::{DIALOG, Name},
        testing::{self, Authority, context, dialog_server},
    };

    fn transport() -> Value {
        testing::transport(&[("127.0.0.1", 40_001), ("203.0.113.9", 40_002), ("Rate limit exceeded", 40_003)])
    }

    #[test]
    fn a_transport_is_read_with_each_candidate_for_what_it_is() {
        let transport = read_transport(transport()).unwrap();
        let kinds: Vec<_> = transport.candidates.iter().map(|c| c.kind).collect();
        assert_eq!(kinds, [Kind::Loopback, Kind::Public("203.0.113.9".parse().unwrap()), Kind::Unusable]);
        assert_eq!(
            transport.fingerprints,
            [Fingerprint { algorithm: "sha-256".into(), value: "AB:CD".into() }]
        );
    }

    #[test]
    fn whose_a_candidate_is_stands_in_its_foundation() {
        let mut transport = transport();
        transport["iceCandidates"][1]["foundation"] = json!("gatewaytcp0");
        transport["iceCandidates"][1]["protocol"] = json!("tcp");
        transport["iceCandidates"][0].as_object_mut().unwrap().remove("foundation");
        let candidates = read_transport(transport).unwrap().candidates;
        let whose: Vec<_> = candidates.iter().map(|c| c.whose).collect();
        assert_eq!(whose, [Whose::Dialogs, Whose::Gateways, Whose::Dialogs]);
        assert_eq!(candidates[1].gateway(), Some("203.0.113.9:40002".parse().unwrap()));
    }

    #[test]
    fn what_could_break_out_of_its_line_in_sdp_is_no_transport() {
        let mut hostile = transport();
        hostile["iceParameters"]["usernameFragment"] = json!("u\r\na=candidate:1");
        assert!(read_transport(hostile).is_none());
        let mut hostile = transport();
        hostile["dtlsParameters"]["fingerprints"][0]["value"] = json!("AB\r\na=setup:active");
        assert!(read_transport(hostile).unwrap().fingerprints.is_empty());
    }

    #[test]
    fn only_so_many_candidates_are_looked_at() {
        let mut many = transport();
        many["iceCandidates"] = Value::Array(vec![many["iceCandidates"][0].clone(); 10_000]);
        assert_eq!(read_transport(many).unwrap().candidates.len(), MOST_CANDIDATES);
    }

    #[test]
    fn statistics_are_read_before_and_after_a_check_arrived() {
        let before = json!({ "iceRole": "controlled", "iceState": "new", "dtlsState": "new", "bytesReceived": 0, "bytesSent": 0 });
        let before: TransportStats = serde_json::from_value(before).unwrap();
        assert!(!before.ice_state.heard_us());
        assert_eq!(before.ice_selected_tuple, None);
        let tuple = json!({ "localIp": "0.0.0.0", "localPort": 40002, "protocol": "udp", "remoteIp": "10.0.0.5", "remotePort": 50000 });
        let after = json!({ "iceState": "completed", "dtlsState": "connected", "iceSelectedTuple": tuple, "bytesReceived": 100 });
        let after: TransportStats = serde_json::from_value(after).unwrap();
        assert!(after.ice_state.heard_us());
        assert_eq!(after.ice_selected_tuple.unwrap().to_string(), "10.0.0.5 port 50000 → port 40002");
    }

    #[test]
    fn a_state_that_nobody_has_heard_of_does_not_make_statistics_unreadable() {
        let stats = json!({ "iceState": "frozen", "dtlsState": 7 });
        assert!(serde_json::from_value::<TransportStats>(stats).is_err());
        let stats = json!({ "iceState": "frozen", "dtlsState": "thawing" });
        let stats: TransportStats = serde_json::from_value(stats).unwrap();
        assert_eq!((stats.ice_state, stats.dtls_state), (IceState::Unknown, DtlsState::Unknown));
    }

    #[test]
    fn a_refusal_keeps_code_and_reason() {
        let refused = r#"{"response":true,"id":3,"errorCode":500,"errorReason":"no more available ports"}"#;
        let outcome = Err((500, "no more available ports".to_owned()));
        assert_eq!(Frame::read(refused).unwrap(), Frame::Response { id: 3, outcome });
    }

    #[test]
    fn what_is_not_protoo_is_called_malformed() {
        for text in ["", "{", "[]", "null", "7", r#"{"response":true}"#, r#"{"request":true,"id":-1}"#] {
            assert!(matches!(Frame::read(text), Err(ProtooError::Malformed { .. })), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(Frame::read(&deep).is_err());
    }

    /// Connects to a dialog that answers each request with these messages, made of its id.
    async fn dialog(answers: impl Fn(u64, &str) -> Vec<Value> + Clone + Send + Sync + 'static) -> Dialog {
        let authority = Authority::new();
        let host = "stream.hubs.example.test";
        let address = dialog_server(authority.issue(&[host], -1..30), answers).await;
        let cx = context(Some(authority.root_pem()), &[(Name::Stream, DIALOG, address)]);
        Dialog::open(&cx.net, host, DIALOG, Trust::Browser).await.unwrap()
    }

    #[tokio::test]
    async fn a_transport_is_made_though_dialog_talks_of_other_things_meanwhile() {
        let mut dialog = dialog(|id, method| match method {
            "createWebRtcTransport" => vec![
                json!({ "notification": true, "method": "activeSpeaker", "data": {} }),
                json!({ "request": true, "id": 77, "method": "newConsumer", "data": {} }),
                json!({ "response": true, "id": id + 1000, "ok": true, "data": {} }),
                json!({ "response": true, "id": id, "ok": true, "data": transport() }),
            ],
            // Our answer to its request; only if it came does the transport close.
            "" if id == 77 => vec![],
            _ => vec![json!({ "response": true, "id": id, "ok": true, "data": {} })],
        })
        .await;
        let transport = dialog.create_transport().await.unwrap();
        assert_eq!(transport.id, "0f1e");
        dialog.close_transport(&transport.id).await.unwrap();
        dialog.close().await;
    }

    #[tokio::test]
    async fn of_two_answers_the_first_counts() {
        let mut dialog = dialog(|id, _| {
            vec![
                json!({ "response": true, "id": id, "errorCode": 500, "errorReason": "jwt malformed" }),
                json!({ "response": true, "id": id, "ok": true, "data": transport() }),
            ]
        })
        .await;
        for _ in 0..2 {
            let refused = dialog.create_transport().await.unwrap_err();
            assert!(matches!(refused, ProtooError::Refused { code: 500, .. }), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_dialog_that_says_everything_but_the_answer_is_silent() {
        let mut dialog = dialog(|id, _| vec![json!({ "response": true, "id": id + 1, "ok": true })]).await;
        tokio::time::pause();
        let silent = dialog.create_transport().await.unwrap_err();
        assert!(matches!(silent, ProtooError::Silent { method: "createWebRtcTransport" }), "{silent}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        let keys = prop_oneof![
            Just("id".to_owned()),
            Just("ok".to_owned()),
            Just("data".to_owned()),
            Just("response".to_owned()),
            Just("request".to_owned()),
            Just("notification".to_owned()),
            Just("errorCode".to_owned()),
            Just("iceParameters".to_owned()),
            Just("iceCandidates".to_owned()),
            Just("dtlsParameters".to_owned()),
            Just("port".to_owned()),
            Just("ip".to_owned()),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(keys.clone(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in any_json()) {
            let _ = Frame::read(&message.to_string());
            let _ = serde_json::from_value::<TransportStats>(message.clone());
            let _ = read_transport(message);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = Frame::read(&text);
        }
    }
}
