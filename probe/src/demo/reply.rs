//! What somebody behind the demo's ingress answers: a page, or a WebSocket.

use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::server::create_response_with_body,
        protocol::{Role, WebSocketConfig},
    },
};

/// The longest message that dialog and Reticulum read, in bytes.
const LONGEST_MESSAGE: usize = 960_000;

/// A WebSocket of a client.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What somebody behind the ingress answers.
pub(super) struct Reply {
    pub(super) response: Response<Full<Bytes>>,
    /// What goes on over the connection once the answer has opened a WebSocket.
    pub(super) session: Option<BoxFuture<'static, ()>>,
}

impl Reply {
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        Self { response, session: None }.with(header::CONTENT_TYPE.as_str(), content_type)
    }

    pub(super) fn text(status: StatusCode, body: &'static str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// Opens a WebSocket, which `serve` then has to itself.
    pub(super) fn websocket<F>(
        mut request: Request<Incoming>,
        subprotocol: Option<&'static str>,
        serve: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(response) = create_response_with_body(&request, Full::default) else {
            return Self::text(StatusCode::BAD_REQUEST, "this is not how to open a WebSocket");
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let session = async move {
            let Ok(upgraded) = upgrade.await else { return };
            let config = WebSocketConfig::default()
                .max_message_size(Some(LONGEST_MESSAGE))
                .max_frame_size(Some(LONGEST_MESSAGE));
            serve(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await)
                .await;
        };
        let reply = Self { response, session: Some(Box::pin(session)) };
        match subprotocol {
            Some(name) => reply.with(header::SEC_WEBSOCKET_PROTOCOL.as_str(), name),
            None => reply,
        }
    }

    /// The same with a header more.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        let headers = self.response.headers_mut();
        headers.insert(name, header::HeaderValue::from_static(value));
        self
    }
}
