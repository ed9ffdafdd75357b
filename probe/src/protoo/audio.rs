//! What of dialog's methods it takes to be heard in a room: joining, producing, and consuming what dialog offers.
//!
//! There is no method to ask for a consumer: dialog offers one for each producer in the room as soon as there is a transport for
//! it, and sends nothing over it before the offer is accepted.

use std::collections::VecDeque;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ANSWER_LIMIT, Dialog, Frame, ProtooError, Purpose, Transport};
use crate::{audio::Opus, facts::PermsToken};

/// A consumer that dialog offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    id: u64,
    /// How its packets are labelled.
    pub opus: Opus,
}

impl Offer {
    /// Reads a request of dialog's; nothing if it is no offer of audio that makes sense.
    pub(super) fn read(id: u64, method: &str, data: &Value) -> Option<Self> {
        let is_audio = method == "newConsumer" && data["kind"] == "audio";
        let parameters = Some(&data["rtpParameters"]).filter(|_| is_audio)?;
        let number = |pointer| parameters.pointer(pointer).and_then(Value::as_u64);
        let payload_type = u8::try_from(number("/codecs/0/payloadType")?).ok().filter(|n| *n < 128)?;
        let ssrc = u32::try_from(number("/encodings/0/ssrc")?).ok()?;
        Some(Self { id, opus: Opus { ssrc, payload_type } })
    }
}

impl Dialog {
    /// Joins the room, so that we may produce; who consumes besides is offered what others produce.
    pub async fn enter(&mut self, token: &PermsToken) -> Result<(), ProtooError> {
        let data = json!({
            "displayName": "hubs-probe",
            "device": { "name": "hubs-probe" },
            "rtpCapabilities": capabilities(),
            "token": token.expose(),
        });
        self.request("join", data).await.map(drop)
    }

    /// Asks for a transport over which dialog sends what others produce.
    pub async fn create_consuming_transport(&mut self) -> Result<Transport, ProtooError> {
        self.offers.get_or_insert_default();
        self.create(Purpose::Consume).await
    }

    /// Announces that Opus will come over the transport.
    pub async fn produce(&mut self, transport: &str, opus: Opus) -> Result<(), ProtooError> {
        let codec = json!({
            "mimeType": "audio/opus",
            "payloadType": opus.payload_type,
            "clockRate": 48_000,
            "channels": 2,
            "parameters": {},
            "rtcpFeedback": [],
        });
        let data = json!({
            "transportId": transport,
            "kind": "audio",
            "rtpParameters": {
                "mid": "0",
                "codecs": [codec],
                "headerExtensions": [],
                "encodings": [{ "ssrc": opus.ssrc }],
                "rtcp": { "cname": "hubs-probe", "reducedSize": true },
            },
            "appData": {},
        });
        self.request("produce", data).await.map(drop)
    }

    /// The next consumer that dialog offers, if it does so in time.
    pub async fn offered(&mut self) -> Result<Offer, ProtooError> {
        let method = "newConsumer";
        let wait = async {
            loop {
                if let Some(offer) = self.offers.as_mut().and_then(VecDeque::pop_front) {
                    return Ok(offer);
                }
                if let Frame::Request { id, method, data } = Frame::read(&self.socket.receive().await?)? {
                    self.take_request(id, &method, &data).await?;
                }
            }
        };
        timeout(ANSWER_LIMIT, wait).await.map_err(|_| ProtooError::NotOffered { method })?
    }

    /// Lets dialog begin to send.
    pub async fn accept(&mut self, offer: &Offer) -> Result<(), ProtooError> {
        let answer = json!({ "response": true, "id": offer.id, "ok": true, "data": {} });
        Ok(self.socket.send(answer.to_string()).await?)
    }
}

/// What we can hear, as a browser says it: dialog offers nothing else.
fn capabilities() -> Value {
    json!({
        "codecs": [{
            "kind": "audio",
            "mimeType": "audio/opus",
            "preferredPayloadType": 100,
            "clockRate": 48_000,
            "channels": 2,
            "parameters": {},
            "rtcpFeedback": [],
        }],
        "headerExtensions": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(payload_type: &Value, ssrc: &Value) -> Value {
        json!({ "kind": "audio", "rtpParameters": { "codecs": [{ "payloadType": payload_type }], "encodings": [{ "ssrc": ssrc }] } })
    }

    #[test]
    fn an_offer_of_audio_is_read() {
        let read = Offer::read(7, "newConsumer", &offer(&json!(100), &json!(u32::MAX)));
        assert_eq!(read, Some(Offer { id: 7, opus: Opus { ssrc: u32::MAX, payload_type: 100 } }));
    }

    #[test]
    fn what_makes_no_sense_is_no_offer() {
        let good = offer(&json!(100), &json!(1));
        let mut video = good.clone();
        video["kind"] = json!("video");
        assert_eq!(Offer::read(7, "newConsumer", &video), None);
        assert_eq!(Offer::read(7, "newDataConsumer", &good), None);
        for (payload_type, ssrc) in [
            (json!(128), json!(1)),
            (json!("100"), json!(1)),
            (json!(100), json!(-1)),
            (json!(100), json!(null)),
        ] {
            assert_eq!(Offer::read(7, "newConsumer", &offer(&payload_type, &ssrc)), None);
        }
    }
}
