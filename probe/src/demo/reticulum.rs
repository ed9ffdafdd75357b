//! The demo's Reticulum: what it says about itself, and a room that anybody may join, which is where browsers get their TURN
//! credentials and their permission to enter.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::{SinkExt, StreamExt};
use hubs_relay::auth::{RestCredential, Secret};
use hyper::{Request, StatusCode, body::Incoming};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    permission::Key,
    reply::{Reply, Socket},
};
use crate::{
    random,
    target::{DIALOG, Name, Room, TURN, Target},
};

/// For how long Reticulum's TURN credentials are good.
const CREDENTIAL_SECONDS: u64 = 120;

/// Reticulum, with one room.
#[derive(Clone, Debug)]
pub(super) struct Reticulum(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    target: Target,
    room: Room,
    turn_secret: Secret,
    permissions: Key,
}

impl Reticulum {
    pub(super) fn new(target: Target, room: Room, turn_secret: Secret, permissions: Key) -> Self {
        Self(Arc::new(Inner { target, room, turn_secret, permissions }))
    }

    pub(super) fn answer(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        if path == "/socket/websocket" {
            let reticulum = self.clone();
            return Reply::websocket(request, None, |socket| reticulum.serve(socket));
        }
        match path.as_str() {
            "/health" => Reply::text(StatusCode::OK, "ok"),
            "/api/v1/meta" => meta(&self.0.target),
            _ => Reply::text(StatusCode::NOT_FOUND, "Invalid URL."),
        }
    }

    /// Phoenix' socket: each message is an array of join reference, reference, topic, event and payload.
    async fn serve(self, mut socket: Socket) {
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            // Phoenix crashes over what is no message of its protocol.
            let Ok([join_reference, reference, topic, event, payload]) =
                serde_json::from_str::<[Value; 5]>(&text)
            else {
                return;
            };
            let outcome =
                self.reply(topic.as_str().unwrap_or_default(), event.as_str().unwrap_or_default(), &payload);
            let (status, response) = match outcome {
                Ok(response) => ("ok", response),
                Err(reason) => ("error", json!({ "reason": reason })),
            };
            let payload = json!({ "status": status, "response": response });
            let reply = json!([join_reference, reference, topic, "phx_reply", payload]).to_string();
            if socket.send(Message::text(reply)).await.is_err() {
                return;
            }
        }
    }

    fn reply(&self, topic: &str, event: &str, payload: &Value) -> Result<Value, &'static str> {
        match (topic.strip_prefix("hub:"), event) {
            (None, "heartbeat") if topic == "phoenix" => Ok(json!({})),
            (None, _) => Err("unmatched topic"),
            (Some(sid), "phx_join") if sid != self.0.room.sid() => Err("not_found"),
            (Some(_), "phx_join") if payload["profile"].is_object() && payload["context"].is_object() => {
                Ok(self.room())
            }
            (Some(_), "phx_join") => Err("join crashed"),
            (Some(_), _) => Ok(json!({})),
        }
    }

    /// What somebody who joins learns: above all where dialog is, and how to use TURN.
    fn room(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let credential = RestCredential::new(&self.0.turn_secret, "coturn", now + CREDENTIAL_SECONDS);
        json!({
            "session_id": random::name::<36>(),
            "perms_token": self.0.permissions.sign(self.0.room.sid()),
            "hub_requires_oauth": false,
            "hubs": [{
                "hub_id": self.0.room.sid(),
                "name": "The demo's room",
                "entry_mode": "allow",
                "host": self.0.target.host(Name::Stream),
                "port": DIALOG,
                "turn": {
                    "enabled": true,
                    "username": credential.username,
                    "credential": credential.password.expose(),
                    "transports": [{ "port": TURN }],
                },
            }],
        })
    }
}

/// What it says about itself.
pub(super) fn meta(target: &Target) -> Reply {
    Reply::new(
        StatusCode::OK,
        "application/json; charset=utf-8",
        json!({ "version": "demo", "phx_host": target.domain(), "phx_port": "443", "pool": "demo" })
            .to_string(),
    )
}
