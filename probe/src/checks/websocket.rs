//! Why a WebSocket does not open, said the same way for Reticulum's and dialog's.

use crate::{
    codes::Code,
    finding::Finding,
    net::{ConnectError, ResolveError, TlsError, WebSocketError},
};

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

const LB_PORTS: &str = "kubectl get service lb -n hcce -o jsonpath='{.spec.ports[*].port}'";
const HAPROXY: &str = "kubectl get pods -n hcce -l app=haproxy";

/// What became of the attempt to open the WebSocket of `server` on `port`.
pub(super) fn not_opened(code: Code, server: &Server, port: u16, error: &WebSocketError) -> Finding {
    let Server { name, pods, log, ingress } = server;
    let fail = Finding::fail(code, error.to_string());
    match error {
        WebSocketError::Tls(TlsError::Connect(
            ConnectError::Resolve(ResolveError::Resolver { .. }) | ConnectError::Io { .. },
        )) => Finding::error(code, error.to_string()),
        WebSocketError::Tls(TlsError::Connect(ConnectError::Resolve(_)) | TlsError::Name(_)) => {
            fail.because(format!("the room names this host for {name}")).fix(
                "Look at default_janus_host in Reticulum's configuration:",
                ["kubectl get configmap ret-config -n hcce -o yaml"],
            )
        }
        WebSocketError::Tls(TlsError::Connect(ConnectError::Refused(_) | ConnectError::Silent(_))) => fail
            .fix(
                format!("Look at whether the load balancer forwards port {port}, and whether haproxy runs:"),
                [LB_PORTS, HAPROXY],
            ),
        WebSocketError::Tls(TlsError::Silent | TlsError::Handshake(_) | TlsError::Certificate(_)) => {
            fail.because("what answers at this port does not speak TLS, or is not haproxy").fix(
                "Look at what the load balancer's port leads to:",
                ["kubectl get service lb -n hcce -o yaml", HAPROXY],
            )
        }
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
    }
}
