//! A client of Reticulum's Phoenix socket, as far as joining a room takes it: what a browser gets there is where dialog is,
//! and the credentials for TURN.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    facts::{PermsToken, RoomFacts, RoomTurn},
    net::{Endpoint, Net, Trust, WebSocket, WebSocketError},
    target::{DIALOG, Room},
};

/// How long Reticulum may take to let us in.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// The reference under which the channel is joined; all that follows on it carries it.
const JOIN: &str = "1";

/// More ports than any room names.
const MOST_PORTS: usize = 4;

/// No honest permission token is longer.
const LONGEST_TOKEN: usize = 4096;

/// Why a room did not let us in.
#[derive(Debug, thiserror::Error)]
pub enum PhoenixError {
    /// The WebSocket does not open, or ended.
    #[error(transparent)]
    Socket(#[from] WebSocketError),
    /// No answer came in time.
    #[error("Reticulum does not answer within {} s", ANSWER_LIMIT.as_secs())]
    Silent,
    /// The room says no.
    #[error("the room refuses: {0}")]
    Refused(Refusal),
    /// What came is not what Reticulum would say.
    #[error("{what}, so this is not Reticulum, or not one that we know")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
}

/// Why a room says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such room.
    #[error("there is no such room")]
    NotFound,
    /// The room was closed for good.
    #[error("the room is closed")]
    Closed,
    /// Only people with an account, or with an invitation, get in.
    #[error("it lets in only people with an account or an invitation")]
    JoinDenied,
    /// One has to sign in with another service first.
    #[error("it wants people to sign in with another service first")]
    OauthRequired,
    /// Another reason.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    fn new(reason: &str) -> Self {
        match reason {
            "not_found" => Self::NotFound,
            "closed" => Self::Closed,
            "join_denied" => Self::JoinDenied,
            "oauth_required" => Self::OauthRequired,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Joins `room` as somebody who looks in from the lobby, takes what it says, and leaves again.
pub async fn join(
    net: &Net,
    host: &str,
    port: u16,
    room: &Room,
    trust: Trust,
) -> Result<RoomFacts, PhoenixError> {
    let mut socket = net.websocket(endpoint(host, port), trust).await?;
    let topic = format!("hub:{}", room.sid());
    let joined = timeout(ANSWER_LIMIT, ask(&mut socket, &topic)).await;
    if let Ok(Ok(_)) = joined {
        // Whether it arrives or not: the end of the connection takes us out of the room as well.
        let _ = timeout(ANSWER_LIMIT, socket.send(frame("2", &topic, "phx_leave", &json!({})))).await;
    }
    socket.close().await;
    read_room(joined.map_err(|_| PhoenixError::Silent)??)
}

/// Opens the socket as a page of the deployment does, and asks whether anybody is there.
pub async fn heartbeat(net: &Net, host: &str, port: u16, trust: Trust) -> Result<(), PhoenixError> {
    let mut socket = net.websocket_from_page(endpoint(host, port), host, trust).await?;
    let answered = timeout(ANSWER_LIMIT, async {
        socket.send(json!([null, JOIN, "phoenix", "heartbeat", {}]).to_string()).await?;
        loop {
            if let Some(reply) = Reply::read(&socket.receive().await?)? {
                return reply.outcome.map(drop).map_err(PhoenixError::Refused);
            }
        }
    })
    .await;
    socket.close().await;
    answered.map_err(|_| PhoenixError::Silent)?
}

fn endpoint(host: &str, port: u16) -> Endpoint<'_> {
    Endpoint { host, port, path: "/socket/websocket?vsn=2.0.0", subprotocol: None }
}

async fn ask(socket: &mut WebSocket, topic: &str) -> Result<Value, PhoenixError> {
    let who = json!({ "profile": {}, "context": {} });
    socket.send(frame(JOIN, topic, "phx_join", &who)).await?;
    loop {
        if let Some(reply) = Reply::read(&socket.receive().await?)? {
            return reply.outcome.map_err(PhoenixError::Refused);
        }
    }
}

/// A message of Phoenix' protocol, version 2: an array of join reference, reference, topic, event and payload.
fn frame(reference: &str, topic: &str, event: &str, payload: &Value) -> String {
    json!([JOIN, reference, topic, event, payload]).to_string()
}

/// The answer to our joining.
#[derive(Debug, PartialEq)]
struct Reply {
    outcome: Result<Value, Refusal>,
}

impl Reply {
    /// Reads a message; nothing if it is one of the others that a channel carries.
    fn read(text: &str) -> Result<Option<Self>, PhoenixError> {
        let malformed = |what: &str| PhoenixError::Malformed { what: what.to_owned() };
        let message: Value =
            serde_json::from_str(text).map_err(|_| malformed("a message on the WebSocket is no JSON"))?;
        let Some([_, reference, _, event, payload]) = message.as_array().map(Vec::as_slice) else {
            return Err(malformed("a message on the WebSocket is not of Phoenix' protocol"));
        };
        let outcome = match (event.as_str(), reference.as_str()) {
            (Some("phx_reply"), Some(JOIN)) => {
                let response = payload.get("response").cloned().unwrap_or_default();
                match payload.get("status").and_then(Value::as_str) {
                    Some("ok") => Ok(response),
                    Some("error") => Err(refusal(&response)),
                    _ => return Err(malformed("the answer to joining says neither yes nor no")),
                }
            }
            // The channel's process crashed while it was letting us in.
            (Some("phx_error"), _) => Err(Refusal::Other("Reticulum crashed over it".to_owned())),
            (Some("phx_close"), _) => Err(Refusal::Closed),
            _ => return Ok(None),
        };
        Ok(Some(Self { outcome }))
    }
}

fn refusal(response: &Value) -> Refusal {
    let text = |name: &str| response.get(name).and_then(Value::as_str);
    Refusal::new(text("reason").or_else(|| text("message")).unwrap_or("it gives no reason"))
}

#[derive(Deserialize)]
struct RawHub {
    host: String,
    port: Option<RawPort>,
    turn: Option<RawTurn>,
}

#[derive(Deserialize)]
struct RawTurn {
    #[serde(default)]
    enabled: bool,
    username: Option<String>,
    credential: Option<String>,
    #[serde(default)]
    transports: Vec<RawTransport>,
}

#[derive(Deserialize)]
struct RawTransport {
    port: RawPort,
}

/// Reticulum's settings keep ports as numbers or as text, and so does what it says.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Value")]
struct RawPort(u16);

impl TryFrom<Value> for RawPort {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|n| u16::try_from(n).ok()),
        };
        number.filter(|n| *n != 0).map(Self).ok_or("no port")
    }
}

fn read_room(mut response: Value) -> Result<RoomFacts, PhoenixError> {
    let hub = response.pointer_mut("/hubs/0").map(Value::take).unwrap_or_default();
    let raw: RawHub = serde_json::from_value(hub).map_err(|e| PhoenixError::Malformed {
        what: format!("the answer to joining describes no room ({e})"),
    })?;
    let token = response.get("perms_token").and_then(Value::as_str).filter(|t| t.len() <= LONGEST_TOKEN);
    Ok(RoomFacts {
        host: raw.host,
        port: raw.port.map_or(DIALOG, |p| p.0),
        turn: raw.turn.and_then(read_turn),
        perms_token: token.map(|t| PermsToken::new(t.to_owned())),
    })
}

fn read_turn(raw: RawTurn) -> Option<RoomTurn> {
    let ports = raw.transports.iter().map(|t| t.port.0).take(MOST_PORTS).collect();
    raw.enabled.then_some(RoomTurn { username: raw.username?, credential: raw.credential?, ports })
}

/// For the fuzzer: a message, and what it says of a room.
#[cfg(fuzzing)]
pub(crate) fn fuzz(text: &str) {
    if let Ok(Some(Reply { outcome: Ok(response) })) = Reply::read(text) {
        let _ = read_room(response);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use proptest::prelude::*;
    use tokio::sync::mpsc;
    use tokio_tungstenite::{accept_async, tungstenite::Message};

    use super::*;
    use crate::{
        target::{HTTPS, Name},
        testing::{Authority, DOMAIN, context, tls_server},
    };

    fn reply(status: &str, response: &Value) -> String {
        json!([JOIN, JOIN, "hub:abc", "phx_reply", { "status": status, "response": response }]).to_string()
    }

    fn hub(turn: &Value) -> Value {
        json!({ "session_id": "s", "hubs": [{ "hub_id": "abc", "host": "stream.example.org", "port": 4443, "turn": turn }] })
    }

    #[test]
    fn a_room_says_where_dialog_is_and_how_to_use_turn() {
        let turn = json!({ "enabled": true, "username": "1700000120:coturn", "credential": "c2VjcmV0", "transports": [{ "port": 5349 }] });
        let reply = Reply::read(&reply("ok", &hub(&turn))).unwrap().unwrap();
        let room = read_room(reply.outcome.unwrap()).unwrap();
        assert_eq!((room.host.as_str(), room.port), ("stream.example.org", 4443));
        let turn = room.turn.unwrap();
        assert_eq!((turn.username.as_str(), turn.ports.as_slice()), ("1700000120:coturn", &[5349][..]));
    }

    #[test]
    fn a_port_may_be_text() {
        let turn = json!({ "enabled": true, "username": "u", "credential": "c", "transports": [{ "port": "5349" }] });
        assert_eq!(read_room(hub(&turn)).unwrap().turn.unwrap().ports, [5349]);
    }

    #[test]
    fn a_room_without_turn_is_a_room() {
        assert!(read_room(hub(&json!({ "enabled": false }))).unwrap().turn.is_none());
        assert!(read_room(hub(&Value::Null)).unwrap().turn.is_none());
    }

    #[test]
    fn each_refusal_is_told_from_the_others() {
        for (reason, refusal) in [
            ("not_found", Refusal::NotFound),
            ("closed", Refusal::Closed),
            ("join_denied", Refusal::JoinDenied),
            ("oauth_required", Refusal::OauthRequired),
            ("full moon", Refusal::Other("full moon".to_owned())),
        ] {
            let read = Reply::read(&reply("error", &json!({ "reason": reason }))).unwrap().unwrap();
            assert_eq!(read.outcome, Err(refusal));
        }
    }

    #[test]
    fn what_else_a_channel_carries_is_passed_over() {
        let presence = json!([JOIN, null, "hub:abc", "presence_state", {}]).to_string();
        assert_eq!(Reply::read(&presence).unwrap(), None);
        let other_reply =
            json!([null, "2", "phoenix", "phx_reply", { "status": "ok", "response": {} }]).to_string();
        assert_eq!(Reply::read(&other_reply).unwrap(), None);
    }

    #[test]
    fn what_is_not_phoenix_is_called_malformed() {
        for text in ["", "{}", "[]", "[1,2,3,4]", "\"phx_reply\"", r#"["1","1","t","phx_reply",{}]"#] {
            assert!(matches!(Reply::read(text), Err(PhoenixError::Malformed { .. })), "{text}");
        }
        assert!(matches!(read_room(json!({ "hubs": [] })), Err(PhoenixError::Malformed { .. })));
    }

    /// Joins a room of a Reticulum that answers each message with this reply, and tells what it was sent.
    async fn join_room(
        status: &'static str,
        response: Value,
    ) -> (Result<RoomFacts, PhoenixError>, Vec<Value>) {
        let authority = Authority::new();
        let (heard, mut messages) = mpsc::unbounded_channel();
        let address = tls_server(authority.issue(&[DOMAIN], -1..30), move |stream| {
            let (heard, response) = (heard.clone(), response.clone());
            async move {
                let mut socket = accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(text) = message {
                        heard.send(serde_json::from_str(&text).unwrap()).unwrap();
                        socket.send(Message::text(reply(status, &response))).await.unwrap();
                    }
                }
            }
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Root, HTTPS, address)]);
        let room = join(&cx.net, DOMAIN, HTTPS, &"abc".parse().unwrap(), Trust::Browser).await;
        let mut heard = Vec::new();
        while let Ok(message) = messages.try_recv() {
            heard.push(message);
        }
        (room, heard)
    }

    #[tokio::test]
    async fn a_room_is_joined_without_an_account_and_left_again() {
        let (room, heard) = join_room("ok", hub(&json!({ "enabled": false }))).await;
        assert_eq!(room.unwrap().host, "stream.example.org");
        let who = json!({ "profile": {}, "context": {} });
        assert_eq!(
            heard,
            [json!(["1", "1", "hub:abc", "phx_join", who]), json!(["1", "2", "hub:abc", "phx_leave", {}])]
        );
    }

    #[test]
    fn a_room_gives_a_permission_that_does_not_print() {
        let mut response = hub(&Value::Null);
        assert!(read_room(response.clone()).unwrap().perms_token.is_none());
        response["perms_token"] = json!("e30.e30.c2ln");
        let permission = read_room(response.clone()).unwrap().perms_token.unwrap();
        assert_eq!((permission.expose(), format!("{permission:?}").contains("e30")), ("e30.e30.c2ln", false));
        response["perms_token"] = json!("x".repeat(LONGEST_TOKEN + 1));
        assert!(read_room(response).unwrap().perms_token.is_none());
    }

    #[tokio::test]
    async fn a_room_that_refuses_is_not_left() {
        let (room, heard) = join_room("error", json!({ "reason": "join_denied" })).await;
        assert!(matches!(room, Err(PhoenixError::Refused(Refusal::JoinDenied))));
        assert_eq!(heard.len(), 1);
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(text in ".{0,200}", reason in ".{0,50}", port: i64) {
            let _ = Reply::read(&text);
            let _ = Reply::read(&reply("error", &json!({ "reason": reason })));
            let _ = read_room(hub(&json!({ "enabled": true, "transports": [{ "port": port }], "username": text })));
        }
    }
}
