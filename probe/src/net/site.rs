//! A web site: as many requests as one likes, one after the other, over a connection of our own with TLS or without. Redirects
//! are not followed: what a server answers is a fact about it.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::timeout,
};

use super::{Answer, HttpError, Net, TlsError, Trust};

/// How long an answer may take once the connection stands.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 1 << 20;

/// With TLS or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without.
    Http,
    /// With.
    Https,
}

impl Scheme {
    /// The port of URLs that name none.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host and port that are asked for pages.
#[derive(Debug)]
pub struct Site<'a> {
    net: &'a Net,
    scheme: Scheme,
    host: String,
    port: u16,
    trust: Trust,
    /// The page that a browser would say it comes from.
    origin: Option<String>,
    connection: Option<Connection>,
}

/// An open connection; dropping it ends it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<()>,
}

impl Net {
    /// A site to ask. Nothing is connected before the first request.
    pub fn site(&self, scheme: Scheme, host: &str, port: u16, trust: Trust) -> Site<'_> {
        Site { net: self, scheme, host: host.to_owned(), port, trust, origin: None, connection: None }
    }
}

impl Site<'_> {
    /// The same, asked as by a script of a page of `host`.
    #[must_use]
    pub fn from_page_of(mut self, host: &str) -> Self {
        self.origin = Some(format!("https://{host}"));
        self
    }

    /// `GET path`.
    pub async fn get(&mut self, path: &str) -> Result<Answer, HttpError> {
        self.ask(&Method::GET, path).await
    }

    /// `HEAD path`: all but the body.
    pub async fn head(&mut self, path: &str) -> Result<Answer, HttpError> {
        self.ask(&Method::HEAD, path).await
    }

    async fn ask(&mut self, method: &Method, path: &str) -> Result<Answer, HttpError> {
        if let Some(connection) = self.connection.take()
            && let Ok(answer) = self.exchange(connection, method, path).await
        {
            return Ok(answer);
        }
        // The first request, or the server had enough of the connection, as it may at any time.
        let connection = self.connect().await?;
        self.exchange(connection, method, path).await
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        match self.scheme {
            Scheme::Http => {
                let stream = self.net.connect(&self.host, self.port).await.map_err(TlsError::Connect)?;
                begin(stream).await
            }
            Scheme::Https => begin(self.net.tls(&self.host, self.port, self.trust).await?.0).await,
        }
    }

    /// One request over this connection, which is kept if it served.
    async fn exchange(
        &mut self,
        mut connection: Connection,
        method: &Method,
        path: &str,
    ) -> Result<Answer, HttpError> {
        let authority = if self.port == self.scheme.port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("hubs-probe/", env!("CARGO_PKG_VERSION")));
        if let Some(origin) = &self.origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request.body(Empty::new()).map_err(malformed)?;
        let answering = async {
            let (head, body) = connection.sender.send_request(request).await.map_err(malformed)?.into_parts();
            let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(malformed)?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        let answer = timeout(ANSWER_LIMIT, answering).await.map_err(|_| HttpError::Silent)?;
        if answer.is_ok() {
            self.connection = Some(connection);
        }
        answer
    }
}

async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Connection, HttpError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(malformed)?;
    let mut driver = JoinSet::new();
    // Its end is no news: the request that it cuts short says so.
    driver.spawn(async { drop(connection.await) });
    Ok(Connection { sender, _driver: driver })
}

fn malformed(error: impl std::fmt::Display) -> HttpError {
    HttpError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        target::{HTTPS, Name},
        testing::{Authority, DOMAIN, context, tcp_server, tls_server},
    };

    async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            request.push(char::from(stream.read_u8().await.ok()?));
        }
        Some(request)
    }

    #[tokio::test]
    async fn requests_follow_each_other_over_one_connection_until_the_server_ends_it() {
        let connections = Arc::new(AtomicUsize::new(0));
        let authority = Authority::new();
        let server = tls_server(authority.issue(&[DOMAIN], -1..60), {
            let connections = Arc::clone(&connections);
            move |mut stream| {
                connections.fetch_add(1, Ordering::Relaxed);
                async move {
                    for _ in 0..2 {
                        let Some(request) = read_request(&mut stream).await else { return };
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.len());
                        let body = if request.starts_with("HEAD") { "" } else { &request };
                        let _ = stream.write_all(format!("{answer}{body}").as_bytes()).await;
                    }
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await;
        let cx = context(Some(authority.root_pem()), &[(Name::Root, HTTPS, server)]);
        let mut site =
            cx.net.site(Scheme::Https, DOMAIN, HTTPS, Trust::Browser).from_page_of("a.example.test");
        let text = site.get("/a?b").await.unwrap().text();
        assert!(text.starts_with("GET /a?b HTTP/1.1\r\nhost: hubs.example.test\r\n"), "{text}");
        assert!(text.contains("origin: https://a.example.test\r\n"), "{text}");
        assert!(site.head("/").await.unwrap().body.is_empty());
        assert_eq!(connections.load(Ordering::Relaxed), 1);
        site.get("/").await.unwrap();
        assert_eq!(connections.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_site_without_tls_is_asked_without() {
        let server = tcp_server(|mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream
                .write_all(b"HTTP/1.1 302 Found\r\nlocation: https://x/\r\ncontent-length: 0\r\n\r\n")
                .await;
        })
        .await;
        let cx = context(None, &[(Name::Root, 80, server)]);
        let answer = cx.net.site(Scheme::Http, DOMAIN, 80, Trust::Browser).get("/").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("https://x/")));
    }

    #[tokio::test]
    async fn a_body_without_end_is_not_read_to_its_end() {
        let server = tcp_server(|mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let more = vec![b'x'; 1 << 16];
            while stream.write_all(&more).await.is_ok() {}
        })
        .await;
        let cx = context(None, &[(Name::Root, 80, server)]);
        let mut site = cx.net.site(Scheme::Http, DOMAIN, 80, Trust::Browser);
        assert!(matches!(site.get("/").await, Err(HttpError::Malformed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn headers_that_come_one_byte_at_a_time_do_not_hold_us() {
        let server = tcp_server(|mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
        let cx = context(None, &[(Name::Root, 80, server)]);
        let mut site = cx.net.site(Scheme::Http, DOMAIN, 80, Trust::Browser);
        assert!(matches!(site.get("/").await, Err(HttpError::Silent)));
    }
}
