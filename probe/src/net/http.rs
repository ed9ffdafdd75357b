//! One HTTP request over one connection of our own, so that `--connect-to` and the certificate rules hold here as everywhere.
//! Redirects are not followed: what a server answers is a fact about it.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Request, StatusCode, body::Bytes, client::conn::http1, header, http::request};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{Net, TlsError, Trust};

/// How long an answer may take once the connection stands.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 1 << 20;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; an answer with more than 1 MiB of it is none.
    pub body: Bytes,
}

impl Answer {
    /// A header as text, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// There was no connection.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The connection stands, but no whole answer came.
    #[error("the server takes the request and does not answer within {} s", ANSWER_LIMIT.as_secs())]
    Silent,
    /// What came is no HTTP, or too much of it.
    #[error("the server's answer is no HTTP that we understand: {0}")]
    Malformed(String),
}

impl Net {
    /// `GET https://host:port path`.
    pub async fn get(&self, host: &str, port: u16, path: &str, trust: Trust) -> Result<Answer, HttpError> {
        let (stream, _) = self.tls(host, port, trust).await?;
        let authority = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        // Those who ask hold it beside much else.
        Box::pin(exchange(stream, &authority, Request::get(path), String::new())).await
    }

    /// `GET http://host:port path`: what only answers operators is not encrypted.
    pub async fn get_plain(&self, host: &str, port: u16, path: &str) -> Result<Answer, HttpError> {
        self.plain(host, port, Request::get(path), String::new()).await
    }

    /// `POST http://host:port path` with one header more.
    pub async fn post_plain(
        &self,
        host: &str,
        port: u16,
        path: &str,
        header: (&str, &str),
        body: String,
    ) -> Result<Answer, HttpError> {
        self.plain(host, port, Request::post(path).header(header.0, header.1), body).await
    }

    async fn plain(
        &self,
        host: &str,
        port: u16,
        request: request::Builder,
        body: String,
    ) -> Result<Answer, HttpError> {
        let stream = self.connect(host, port).await.map_err(TlsError::Connect)?;
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        exchange(stream, &authority, request, body).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    authority: &str,
    request: request::Builder,
    body: String,
) -> Result<Answer, HttpError> {
    let malformed = |e: &dyn std::fmt::Display| HttpError::Malformed(e.to_string());
    let exchange = async {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| malformed(&e))?;
        let request = request
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("hubs-probe/", env!("CARGO_PKG_VERSION")))
            .body(Full::<Bytes>::from(body))
            .map_err(|e| malformed(&e))?;
        let answer = async {
            let (head, body) = sender.send_request(request).await.map_err(|e| malformed(&e))?.into_parts();
            let body =
                Limited::new(body, LONGEST_BODY).collect().await.map_err(|e| malformed(&e))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        // The connection only makes progress while it is polled; its own end is no news once the answer is there.
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    };
    timeout(ANSWER_LIMIT, exchange).await.map_err(|_| HttpError::Silent)?
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::sleep,
    };
    use tokio_rustls::server::TlsStream;

    use super::*;
    use crate::{
        target::{HTTPS, Name},
        testing::{Authority, DOMAIN, context, tls_server},
    };

    /// What becomes of a server that answers with `bytes` and closes, or stays silent.
    async fn got(bytes: Option<Vec<u8>>) -> Result<Answer, HttpError> {
        got_from(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                match bytes {
                    Some(bytes) => {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.shutdown().await;
                    }
                    None => pending().await,
                }
            }
        })
        .await
    }

    /// What becomes of a server that answers so.
    async fn got_from<F>(
        answer: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
    ) -> Result<Answer, HttpError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let authority = Authority::new();
        let server = tls_server(authority.issue(&[DOMAIN], -1..60), move |mut stream| {
            let answer = answer.clone();
            async move {
                let _ = stream.read(&mut [0; 4096]).await;
                answer(stream).await;
            }
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Root, HTTPS, server)]);
        cx.net.get(DOMAIN, HTTPS, "/", Trust::Browser).await
    }

    #[tokio::test]
    async fn an_answer_is_read_whole() {
        let answer =
            got(Some(b"HTTP/1.1 200 OK\r\nhub-name: My Hub\r\ncontent-length: 2\r\n\r\nok".to_vec()))
                .await
                .unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.header("hub-name"), answer.text().as_str()),
            (200, Some("My Hub"), "ok")
        );
    }

    #[tokio::test]
    async fn what_is_no_http_is_said_to_be_none() {
        assert!(matches!(got(Some(b"\0\0\0 not http".to_vec())).await, Err(HttpError::Malformed(_))));
    }

    #[tokio::test]
    async fn a_body_without_end_is_not_read_to_its_end() {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.resize(LONGEST_BODY + 100_000, b'x');
        assert!(matches!(got(Some(bytes)).await, Err(HttpError::Malformed(_))));
    }

    #[tokio::test]
    async fn headers_without_end_are_not_read_to_their_end() {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        for n in 0..20_000 {
            bytes.extend(format!("x-{n}: {n}\r\n").bytes());
        }
        assert!(matches!(got(Some(bytes)).await, Err(HttpError::Malformed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_the_request_and_says_nothing_is_called_silent() {
        assert!(matches!(got(None).await, Err(HttpError::Silent)));
    }

    #[tokio::test(start_paused = true)]
    async fn headers_and_bodies_that_drip_are_waited_for_so_long_only() {
        for begins in ["HTTP/1.1 200 OK\r\nx-more: ", "HTTP/1.1 200 OK\r\n\r\n"] {
            let dripping = move |mut stream: TlsStream<TcpStream>| async move {
                let _ = stream.write_all(begins.as_bytes()).await;
                while stream.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            };
            assert!(matches!(got_from(dripping).await, Err(HttpError::Silent)), "{begins:?}");
        }
    }
}
