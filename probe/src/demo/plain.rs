//! The demo's port 80: as haproxy in Hubs, it knows nothing but the way to HTTPS.

use std::convert::Infallible;

use hyper::{
    Request, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::reply::Reply;

/// Accepts connections. When this is dropped they end.
pub(super) async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve_connection(stream));
            }
            Some(_) = connections.join_next() => {}
            // Out of descriptors, and no connection whose end could give one back.
            else => return,
        }
    }
}

async fn serve_connection(stream: TcpStream) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request).response) });
    // A connection that breaks is its client's loss.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>) -> Reply {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let place = format!("https://{host}{}", request.uri().path());
    let mut reply = Reply::text(StatusCode::FOUND, "");
    if let Ok(place) = HeaderValue::from_str(&place) {
        reply.response.headers_mut().insert(header::LOCATION, place);
    }
    reply
}
