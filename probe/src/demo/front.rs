//! The demo's ingress: TLS with a certificate for each name, HTTP, and the host of a request decides who answers it. As with
//! Hubs' haproxy all names are served on each of its ports.

use std::{convert::Infallible, sync::Arc};

use hyper::{Request, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{dialog::Dialog, reply::Reply, reticulum::Reticulum, web::Web};
use crate::target::{Name, Target};

/// Who is behind the ingress.
pub(super) struct Backends {
    pub(super) target: Target,
    pub(super) web: Web,
    pub(super) reticulum: Reticulum,
    pub(super) dialog: Dialog,
}

impl Backends {
    fn answer(&self, request: Request<Incoming>) -> Reply {
        let host =
            request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match Name::ALL.into_iter().find(|name| self.target.host(*name) == host) {
            Some(Name::Stream) => self.dialog.answer(request),
            Some(name) => self.web.answer(name, &request).unwrap_or_else(|| self.reticulum.answer(request)),
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
