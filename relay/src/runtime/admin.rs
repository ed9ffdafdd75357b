//! What an operator and Kubernetes ask, on an address of its own: is it alive, is it ready, what has it counted.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::metrics;
use super::status::{Condition, Status};
use crate::turn::PeerPolicy;

/// Connections at a time. For one more the oldest is closed: who asks is answered at once, so that one is idle.
const CONNECTIONS: usize = 64;
/// How long one may take, whatever it does.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when the system has no more descriptors. Clients are not given the last ones.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers for as long as its thread runs, on the tasks of that thread.
pub(super) async fn serve(listener: TcpListener, status: Arc<Status>) {
    let mut open = VecDeque::<AbortHandle>::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection to the admin address could not be accepted");
                if let Some(oldest) = open.pop_front() {
                    oldest.abort();
                }
                sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() == CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(spawn_local(serve_connection(stream, Arc::clone(&status))).abort_handle());
    }
}

async fn serve_connection(stream: TcpStream, status: Arc<Status>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &status);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    // Whoever asks again connects again, so that a connection without a question has nothing to wait for.
    http.timer(TokioTimer::new()).keep_alive(false);
    if let Ok(Err(error)) = timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), answer)).await {
        debug!(%error, "a connection to the admin address failed");
    }
}

fn respond(method: &Method, path: &str, status: &Arc<Status>) -> Response<Full<Bytes>> {
    let (code, content_type, body) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/livez") => liveness(status, Instant::now()),
        (&Method::GET | &Method::HEAD, "/readyz") => readiness(status),
        (&Method::GET | &Method::HEAD, "/peers") => (StatusCode::OK, TEXT, peers(&status.peers())),
        (&Method::GET | &Method::HEAD, "/metrics") => match metrics::render(status) {
            Ok(document) => (StatusCode::OK, OPEN_METRICS, document),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, TEXT, "there are /livez, /readyz, /peers and /metrics\n".to_owned())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD only\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

type Answer = (StatusCode, &'static str, String);

fn liveness(status: &Status, now: Instant) -> Answer {
    let stuck = status.stuck(now);
    let code = if stuck.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let lines = stuck.iter().fold(String::new(), |mut lines, (worker, silence)| {
        let _ = writeln!(lines, "worker {worker} has not moved for {} s", silence.as_secs());
        lines
    });
    (code, TEXT, if stuck.is_empty() { "alive\n".to_owned() } else { lines })
}

/// A relay that draws on what it learned before is ready, and says what is wrong. One that drains is ready as well: a
/// Service that forgot it would cut its clients off.
fn readiness(status: &Status) -> Answer {
    let needs = status.needs();
    let is_ready = !needs.values().any(|condition| matches!(condition, Condition::Unmet(_)));
    let mut lines = String::from(if is_ready { "ready\n" } else { "not ready\n" });
    if status.totals().iter().any(|it| it.is_draining) {
        lines.push_str("draining: allocations are refused, those that there are go on\n");
    }
    for (need, condition) in &needs {
        let _ = match condition {
            Condition::Met => Ok(()),
            Condition::Stale(reason) => {
                writeln!(lines, "{}: {reason}; going on with what is known", need.name())
            }
            Condition::Unmet(reason) => writeln!(lines, "{}: {reason}", need.name()),
        };
    }
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, TEXT, lines)
}

/// Whom clients may reach, a line each: `map ANNOUNCED ACTUAL`, then `allow NETWORK FIRST-LAST` on the actual address.
fn peers(policy: &PeerPolicy) -> String {
    let mut lines = String::new();
    for it in &policy.map {
        let _ = writeln!(lines, "map {} {}", it.announced, it.actual);
    }
    for it in &policy.allow {
        let _ = writeln!(lines, "allow {} {}-{}", it.network, it.ports.start(), it.ports.end());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::status::Need;
    use super::*;

    #[test]
    fn it_is_ready_unless_something_that_it_needs_was_never_there() {
        let status = Status::new(1);
        assert_eq!(readiness(&status), (StatusCode::OK, TEXT, "ready\n".to_owned()));
        status.set(Need::Peers, Condition::Stale("dialog does not resolve".to_owned()));
        status.set(Need::Database, Condition::Met);
        let said = "ready\npeers: dialog does not resolve; going on with what is known\n";
        assert_eq!(readiness(&status), (StatusCode::OK, TEXT, said.to_owned()));
        status.set(Need::Database, Condition::Unmet("no answer".to_owned()));
        let (code, _, said) = readiness(&status);
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert!(said.starts_with("not ready\npeers: ") && said.ends_with("database: no answer\n"), "{said}");
    }

    #[test]
    fn it_is_alive_until_a_worker_is_stuck() {
        let (status, now) = (Status::new(2), Instant::now());
        assert_eq!(liveness(&status, now).0, StatusCode::OK);
        let (code, _, said) = liveness(&status, now + Duration::from_secs(100));
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert!(said.starts_with("worker 0 has not moved for "), "{said}");
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let status = Arc::new(Status::new(1));
        assert_eq!(respond(&Method::GET, "/", &status).status(), StatusCode::NOT_FOUND);
        assert_eq!(respond(&Method::POST, "/metrics", &status).status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
