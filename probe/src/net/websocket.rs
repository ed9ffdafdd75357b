//! A WebSocket over a connection of our own, so that `--connect-to` and the certificate rules hold here as everywhere.
//! Messages are text, and of a bounded length.

use std::{fmt, io, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as WsError, Message,
        error::ProtocolError,
        handshake::client::generate_key,
        http::{self, HeaderMap, Request, StatusCode, header},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{Net, TlsError, TlsStream, Trust};

/// How long the upgrade may take once the TLS connection stands.
const UPGRADE_LIMIT: Duration = Duration::from_secs(6);

/// How long we wait for the server to say goodbye as well.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The longest message that is read, in bytes. A room's state is some tens of kilobytes.
const LONGEST_MESSAGE: usize = 1 << 20;

/// Where a WebSocket is.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// The host, which the certificate is about.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: &'a str,
    /// The subprotocol that the server must speak, if any.
    pub subprotocol: Option<&'static str>,
}

/// Why there is no WebSocket, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// There was no connection.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server answers HTTP, but does not open a WebSocket.
    #[error("the server answers {status} instead of opening a WebSocket{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Refused {
        /// What it answers.
        status: StatusCode,
        /// What it says about it.
        reason: Option<String>,
    },
    /// What opened speaks another protocol.
    #[error("the server does not speak the WebSocket subprotocol {0}: something else listens there")]
    Subprotocol(&'static str),
    /// Nothing came in time.
    #[error("the server takes what we send and does not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The server ended the connection.
    #[error("the server closes the connection{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Closed {
        /// Why, if it says so.
        reason: Option<String>,
    },
    /// A message is longer than we read.
    #[error("the server sends a message of more than {} KiB", LONGEST_MESSAGE / 1024)]
    TooLong,
    /// What came is no WebSocket, or no text.
    #[error("the server's answer is no WebSocket that we understand: {0}")]
    Malformed(String),
}

/// An open WebSocket. Dropping it ends the TCP connection, which servers take as leaving.
pub struct WebSocket {
    stream: WebSocketStream<TlsStream>,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebSocket")
    }
}

impl Net {
    /// Opens a WebSocket.
    pub async fn websocket(&self, to: Endpoint<'_>, trust: Trust) -> Result<WebSocket, WebSocketError> {
        self.open_websocket(to, None, trust).await
    }

    /// Opens a WebSocket as a page of `host` does, which the server may be particular about.
    pub async fn websocket_from_page(
        &self,
        to: Endpoint<'_>,
        host: &str,
        trust: Trust,
    ) -> Result<WebSocket, WebSocketError> {
        self.open_websocket(to, Some(host), trust).await
    }

    async fn open_websocket(
        &self,
        to: Endpoint<'_>,
        page: Option<&str>,
        trust: Trust,
    ) -> Result<WebSocket, WebSocketError> {
        let (stream, _) = self.tls(to.host, to.port, trust).await?;
        let request = request(to, page).map_err(|e| WebSocketError::Malformed(e.to_string()))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE))
            // Answers to pings wait here while the server sends and does not read.
            .max_write_buffer_size(LONGEST_MESSAGE);
        let opening = client_async_with_config(request, stream, Some(config));
        match timeout(UPGRADE_LIMIT, opening).await {
            Ok(Ok((stream, _))) => Ok(WebSocket { stream }),
            Ok(Err(WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)))) => {
                Err(WebSocketError::Subprotocol(to.subprotocol.unwrap_or("none")))
            }
            Ok(Err(e)) => Err(explain(e)),
            Err(_) => Err(WebSocketError::Silent(UPGRADE_LIMIT)),
        }
    }
}

impl WebSocket {
    /// Sends a message. The caller sets the time limit.
    pub async fn send(&mut self, text: String) -> Result<(), WebSocketError> {
        self.stream.send(Message::text(text)).await.map_err(explain)
    }

    /// The next message. Pings are answered meanwhile; the caller sets the time limit.
    pub async fn receive(&mut self) -> Result<String, WebSocketError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Binary(_))) => {
                    return Err(WebSocketError::Malformed("a binary message".to_owned()));
                }
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.filter(|f| !f.reason.is_empty()).map(|f| f.reason.to_string());
                    return Err(WebSocketError::Closed { reason });
                }
                Some(Err(e)) => return Err(explain(e)),
                None => return Err(WebSocketError::Closed { reason: None }),
            }
        }
    }

    /// Says goodbye and waits a moment for the server to do the same.
    pub async fn close(mut self) {
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let farewell = async {
            if self.stream.close(Some(goodbye)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        };
        // A server that does not say goodbye has its connection dropped a line further on.
        let _ = timeout(CLOSE_LIMIT, farewell).await;
    }
}

fn request(to: Endpoint<'_>, page: Option<&str>) -> Result<Request<()>, http::Error> {
    let authority = if to.port == 443 { to.host.to_owned() } else { format!("{}:{}", to.host, to.port) };
    let mut request = Request::get(format!("wss://{authority}{}", to.path))
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::USER_AGENT, concat!("hubs-probe/", env!("CARGO_PKG_VERSION")));
    if let Some(host) = page {
        request = request.header(header::ORIGIN, format!("https://{host}"));
    }
    if let Some(subprotocol) = to.subprotocol {
        request = request.header(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    request.body(())
}

fn explain(error: WsError) -> WebSocketError {
    match error {
        WsError::Http(answer) => {
            let reason = reject_reason(answer.headers());
            WebSocketError::Refused { status: answer.status(), reason }
        }
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => WebSocketError::Closed { reason: None },
        WsError::Io(e) if ends_connection(e.kind()) => WebSocketError::Closed { reason: None },
        WsError::Capacity(_) => WebSocketError::TooLong,
        other => WebSocketError::Malformed(other.to_string()),
    }
}

/// The header in which protoo says why it refuses.
fn reject_reason(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("x-websocket-reject-reason")?.to_str().ok()?.to_owned())
}

fn ends_connection(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use futures_util::future::pending;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
    use tokio_rustls::server::TlsStream;
    use tokio_tungstenite::{accept_async, tungstenite::Bytes};

    use super::*;
    use crate::{
        check::Context,
        target::{DIALOG, Name},
        testing::{Authority, context, tls_server},
    };

    /// Opens a WebSocket to a server that does `serve` with each connection.
    async fn open<F>(
        subprotocol: Option<&'static str>,
        serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
    ) -> Result<WebSocket, WebSocketError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let authority = Authority::new();
        let host = "stream.hubs.example.test";
        let address = tls_server(authority.issue(&[host], -1..30), serve).await;
        let cx: std::sync::Arc<Context> =
            context(Some(authority.root_pem()), &[(Name::Stream, DIALOG, address)]);
        let to = Endpoint { host, port: DIALOG, path: "/?roomId=a", subprotocol };
        cx.net.websocket(to, Trust::Browser).await
    }

    /// Reads a request and answers it with these bytes.
    async fn answer_with(mut stream: TlsStream<TcpStream>, answer: &'static [u8]) {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
    }

    #[tokio::test]
    async fn a_message_comes_back() {
        let mut socket = open(None, |stream| async {
            let mut socket = accept_async(stream).await.unwrap();
            socket.send(Message::Ping(Bytes::new())).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() {
                    socket.send(message).await.unwrap();
                }
            }
        })
        .await
        .unwrap();
        socket.send("hello".to_owned()).await.unwrap();
        assert_eq!(socket.receive().await.unwrap(), "hello");
        socket.close().await;
    }

    #[tokio::test]
    async fn a_refusal_keeps_status_and_reason() {
        let refused = open(Some("protoo"), |stream| {
            answer_with(
                stream,
                b"HTTP/1.1 403 Forbidden\r\nX-WebSocket-Reject-Reason: not you\r\nContent-Length: 0\r\n\r\n",
            )
        })
        .await
        .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the server answers 403 Forbidden instead of opening a WebSocket: not you"
        );
    }

    #[tokio::test]
    async fn a_server_of_another_protocol_is_told_from_a_broken_one() {
        let other = open(Some("protoo"), |stream| async {
            let _ = accept_async(stream).await.unwrap().next().await;
        })
        .await
        .unwrap_err();
        assert!(matches!(other, WebSocketError::Subprotocol("protoo")), "{other}");
        let broken =
            open(None, |stream| answer_with(stream, b"220 mail.example.org ESMTP\r\n")).await.unwrap_err();
        assert!(matches!(broken, WebSocketError::Malformed(_)), "{broken}");
    }

    #[tokio::test]
    async fn a_connection_that_ends_in_mid_answer_is_closed() {
        let ended = open(None, |stream| answer_with(stream, b"HTTP/1.1 101 Swit")).await.unwrap_err();
        assert!(matches!(ended, WebSocketError::Closed { .. }), "{ended}");

        let mut socket = open(None, |stream| async {
            let mut socket = accept_async(stream).await.unwrap();
            // The beginning of a text message of 100 bytes.
            socket.get_mut().write_all(b"\x81\x64{\"resp").await.unwrap();
            let _ = socket.get_mut().shutdown().await;
        })
        .await
        .unwrap();
        let ended = socket.receive().await.unwrap_err();
        assert!(matches!(ended, WebSocketError::Closed { .. }), "{ended}");
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_ends_it_before_it_is_read() {
        let mut socket = open(None, |stream| async {
            let mut socket = accept_async(stream).await.unwrap();
            // A text message that claims to have 2^40 bytes.
            socket.get_mut().write_all(b"\x81\x7f\0\0\x01\0\0\0\0\0").await.unwrap();
            pending::<()>().await;
        })
        .await
        .unwrap();
        assert!(matches!(socket.receive().await, Err(WebSocketError::TooLong)));
    }

    #[tokio::test]
    async fn pings_from_a_server_that_does_not_read_their_answers_do_not_pile_up() {
        const PINGS: usize = 200_000;
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = std::sync::Arc::new(std::sync::Mutex::new(Some(tell)));
        let mut socket = open(None, move |stream| {
            let tell = std::sync::Arc::clone(&tell);
            async move {
                let stream = accept_async(stream).await.unwrap().into_inner();
                let (mut reader, mut writer) = tokio::io::split(stream);
                // A ping of 125 bytes, many times, and then the text "end".
                let ping = [&[0x89, 125][..], &[b'x'; 125]].concat();
                for _ in 0..PINGS / 1000 {
                    writer.write_all(&ping.repeat(1000)).await.unwrap();
                }
                writer.write_all(b"\x81\x03end").await.unwrap();
                let mut answered = 0;
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = reader.read(&mut buffer).await {
                    answered += read;
                }
                let _ = tell.lock().unwrap().take().unwrap().send(answered);
            }
        })
        .await
        .unwrap();
        assert_eq!(socket.receive().await.unwrap(), "end");
        socket.close().await;
        let answered = told.await.unwrap();
        assert!(answered < PINGS * 125 / 2, "{answered} bytes of answers had been kept");
    }

    #[tokio::test]
    async fn a_server_that_takes_the_upgrade_and_says_nothing_is_silent() {
        let silent = open(None, |mut stream| async move {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            // From here on nothing but the time limit can happen.
            tokio::time::pause();
            pending::<()>().await;
        })
        .await
        .unwrap_err();
        assert!(matches!(silent, WebSocketError::Silent(UPGRADE_LIMIT)), "{silent}");
    }
}
