//! The demo's ingress: TLS with a certificate for each name, HTTP, and the host of a request decides who answers it. As with
//! Hubs' haproxy all names are served on each of its ports.

use std::{convert::Infallible, sync::Arc};

use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::server::create_response_with_body,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{dialog::Dialog, reticulum::Reticulum};
use crate::target::{Name, Target};

/// The longest message that dialog and Reticulum read, in bytes.
const LONGEST_MESSAGE: usize = 960_000;

/// A WebSocket of a client.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What somebody behind the ingress answers.
pub(super) struct Reply {
    response: Response<Full<Bytes>>,
    /// What goes on over the connection once the answer has opened a WebSocket.
    session: Option<BoxFuture<'static, ()>>,
}

/// Who is behind the ingress.
pub(super) struct Backends {
    pub(super) target: Target,
    pub(super) reticulum: Reticulum,
    pub(super) dialog: Dialog,
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

impl Backends {
    fn answer(&self, request: Request<Incoming>) -> Reply {
        let host =
            request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match Name::ALL.into_iter().find(|name| self.target.host(*name) == host) {
            Some(Name::Stream) => self.dialog.answer(request),
            Some(Name::Root | Name::Assets | Name::Cors) => self.reticulum.answer(request),
            None => Reply::text(StatusCode::NOT_FOUND, "default backend - 404"),
        }
    }
}

/// Accepts connections. When this is dropped they end.
pub(super) async fn serve(listener: TcpListener, tls: TlsAcceptor, backends: Arc<Backends>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve_connection(stream, tls.clone(), Arc::clone(&backends)));
            }
            Some(_) = connections.join_next() => {}
            // Out of descriptors, and no connection whose end could give one back.
            else => return,
        }
    }
}

async fn serve_connection(stream: TcpStream, tls: TlsAcceptor, backends: Arc<Backends>) {
    // Without Nagle's delay, as the real ones.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = tls.accept(stream).await else { return };
    let (hand_over, mut sessions) = mpsc::unbounded_channel();
    let service = service_fn(|request| {
        let Reply { response, session } = backends.answer(request);
        if let Some(session) = session {
            let _ = hand_over.send(session);
        }
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    if connection.await.is_ok()
        && let Ok(session) = sessions.try_recv()
    {
        session.await;
    }
}
