//! Why a WebSocket does not open, said the same way for Reticulum's and dialog's.

use crate::{check::Stop, checks::no_connection, codes::Code, finding::Finding, net::WebSocketError};

/// Who should answer, and where to look when nobody does.
pub(super) struct Server {
    /// What to call it.
    pub(super) name: &'static str,
    /// Shows its pod.
    pub(super) pods: &'static str,
    /// Shows its log.
    pub(super) log: &'static str,
    /// Shows who sends its name there.
    pub(super) ingress: &'static str,
}

/// Why the WebSocket of `server` does not open. That its port does not even speak TLS is a finding of `tls.certificates`.
pub(super) fn not_opened(code: Code, server: &Server, error: &WebSocketError) -> Result<Finding, Stop> {
    let Server { name, pods, log, ingress } = server;
    let fail = Finding::fail(code, error.to_string());
    Ok(match error {
        WebSocketError::Tls(e) => return Err(no_connection(e)),
        WebSocketError::Refused { status, .. } if status.as_u16() == 503 => {
            Finding::fail(code, format!("haproxy answers, but {name} is not behind it (503)"))
                .because(format!("{name}'s pod does not run or is not ready"))
                .fix("Look at its pod and its log:", [*pods, *log])
        }
        WebSocketError::Refused { status, .. } if matches!(status.as_u16(), 502 | 504) => fail
            .because(format!("haproxy reaches {name}'s pod and gets no sensible answer"))
            .fix("Look at its pod and its log:", [*pods, *log]),
        WebSocketError::Refused { .. } | WebSocketError::Subprotocol(_) | WebSocketError::Malformed(_) => {
            fail.because(format!("something else than {name} answers here"))
                .fix("Look at where the ingress sends this name:", [*ingress])
        }
        WebSocketError::Silent(_) | WebSocketError::Closed { .. } | WebSocketError::TooLong => fail
            .because(format!("{name} hangs or crashes, or something between it and haproxy breaks"))
            .fix("Look at its pod and its log; restart it if it says nothing:", [*pods, *log]),
    })
}
