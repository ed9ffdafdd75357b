//! Several requests at once: all are sent before the first is answered, so that many take no longer than one.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ANSWER_LIMIT, CREATE, Dialog, Frame, ProtooError, Purpose, Transport, described};

/// More transports than anybody needs for a sample; each takes up to three of dialog's ports for a moment.
const MOST_AT_ONCE: usize = 64;

impl Dialog {
    /// Asks for `count` transports, and returns those that dialog made. If it makes none at all, the first refusal is the error.
    pub async fn create_transports(&mut self, count: usize) -> Result<Vec<Transport>, ProtooError> {
        let asked = vec![Purpose::Produce.data(); count.min(MOST_AT_ONCE)];
        let mut transports = Vec::new();
        let mut refusal = None;
        for answer in self.request_all(CREATE, &asked).await? {
            match answer.and_then(described) {
                Ok(transport) => transports.push(transport),
                Err(e) => {
                    refusal.get_or_insert(e);
                }
            }
        }
        match refusal {
            Some(e) if transports.is_empty() => Err(e),
            _ => Ok(transports),
        }
    }

    /// Gives them all back.
    pub async fn close_transports(&mut self, transports: &[Transport]) -> Result<(), ProtooError> {
        let closed: Vec<_> = transports.iter().map(|t| json!({ "transportId": t.id })).collect();
        self.request_all("closeWebRtcTransport", &closed).await.map(drop)
    }

    /// The first answer to each request, in the order of the requests.
    async fn request_all(
        &mut self,
        method: &'static str,
        data: &[Value],
    ) -> Result<Vec<Result<Value, ProtooError>>, ProtooError> {
        let exchange = async {
            let mut answers: Vec<(u64, Option<Result<Value, ProtooError>>)> = Vec::new();
            for data in data {
                answers.push((self.send_request(method, data).await?, None));
            }
            while answers.iter().any(|(_, answer)| answer.is_none()) {
                match Frame::read(&self.socket.receive().await?)? {
                    Frame::Response { id, outcome } => {
                        let open =
                            answers.iter_mut().find(|(asked, answer)| *asked == id && answer.is_none());
                        if let Some((_, answer)) = open {
                            *answer = Some(outcome.map_err(|(code, reason)| ProtooError::Refused {
                                method,
                                code,
                                reason,
                            }));
                        }
                    }
                    Frame::Request { id, method, data } => self.take_request(id, &method, &data).await?,
                    Frame::Notification => {}
                }
            }
            Ok(answers.into_iter().filter_map(|(_, answer)| answer).collect())
        };
        timeout(ANSWER_LIMIT, exchange).await.map_err(|_| ProtooError::Silent { method })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::Trust,
        target::{DIALOG, Name},
        testing::{self, Authority, context, dialog_server},
    };

    async fn dialog(answers: impl Fn(u64, &str) -> Vec<Value> + Clone + Send + Sync + 'static) -> Dialog {
        let authority = Authority::new();
        let host = "stream.hubs.example.test";
        let address = dialog_server(authority.issue(&[host], -1..30), answers).await;
        let cx = context(Some(authority.root_pem()), &[(Name::Stream, DIALOG, address)]);
        Dialog::open(&cx.net, host, DIALOG, Trust::Browser).await.unwrap()
    }

    fn refused(id: u64) -> Value {
        json!({ "response": true, "id": id, "errorCode": 500, "errorReason": "no more available ports" })
    }

    #[tokio::test]
    async fn those_that_dialog_makes_are_kept_though_it_refuses_others() {
        let mut dialog = dialog(|id, _| match id {
            2 => vec![refused(id)],
            _ => vec![
                json!({ "response": true, "id": id, "ok": true, "data": testing::transport(&[("203.0.113.9", 40_000)]) }),
                refused(id),
            ],
        })
        .await;
        let made = dialog.create_transports(3).await.unwrap();
        assert_eq!(made.len(), 2);
        dialog.close_transports(&made).await.unwrap();
    }

    #[tokio::test]
    async fn if_there_is_none_at_all_the_refusal_is_told() {
        let error = dialog(|id, _| vec![refused(id)]).await.create_transports(3).await.unwrap_err();
        assert!(error.to_string().contains("no more available ports"), "{error}");
    }
}
