//! What tests of several modules share: a private authority, small servers on port 0, and a context that leads to them.

pub(crate) mod names;

use std::{
    fs,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};

use futures_util::{SinkExt, StreamExt};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use hubs_relay::wire::Message as StunMessage;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    PublicKeyData,
};
use rustls::{ServerConfig, crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message as WsMessage,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

use crate::{
    check::{Context, Options},
    facts::Facts,
    net::{Net, NetOptions},
    target::Name,
};

pub(crate) const DOMAIN: &str = "hubs.example.test";

/// Root, intermediate and what they sign.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key and whatever is sent behind it.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("Test Intermediate")
    }

    /// One that calls itself so in the certificates that it issues.
    pub(crate) fn named(name: &str) -> Self {
        let ca = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params, KeyPair::generate().unwrap())
        };
        let (params, key) = ca("Test Root");
        let root = CertifiedIssuer::self_signed(params, key).unwrap();
        let (params, key) = ca(name);
        let intermediate = CertifiedIssuer::signed_by(params, key, &root).unwrap();
        Self { root, intermediate }
    }

    pub(crate) fn root_pem(&self) -> Vec<u8> {
        self.root.pem().into_bytes()
    }

    pub(crate) fn root_der(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    /// A certificate for `names`, valid for `valid` days around now, sent with its intermediate.
    pub(crate) fn issue(&self, names: &[&str], valid: std::ops::Range<i64>) -> Identity {
        self.issue_with(names, valid, None)
    }

    /// The same with an extension besides.
    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        valid: std::ops::Range<i64>,
        extension: Option<CustomExtension>,
    ) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = params(names, valid);
        params.custom_extensions.extend(extension);
        let certificate = params.signed_by(&key, &self.intermediate).unwrap();
        Identity { chain: vec![certificate.der().clone(), self.intermediate.der().clone()], key }
    }

    /// The same for somebody else's key.
    pub(crate) fn issue_for_key(
        &self,
        names: &[&str],
        key: &impl PublicKeyData,
    ) -> Vec<CertificateDer<'static>> {
        let certificate = params(names, -1..60).signed_by(key, &self.intermediate).unwrap();
        vec![certificate.der().clone(), self.intermediate.der().clone()]
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: KeyPair::from_pem(&self.key.serialize_pem()).unwrap() }
    }
}

impl Identity {
    /// The same for a TLS server that chooses by itself what to show.
    pub(crate) fn certified_key(&self) -> CertifiedKey {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        CertifiedKey::from_der(self.chain.clone(), key, &ring::default_provider()).unwrap()
    }

    /// Its certificates as a file has them.
    pub(crate) fn chain_pem(&self) -> String {
        let block = |der: &CertificateDer<'_>| {
            let encoded = BASE64_STANDARD.encode(der);
            let lines: Vec<_> = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
        };
        self.chain.iter().map(block).collect()
    }

    /// Its key as a file has it.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Signed by itself, with `common_name` as its subject.
    pub(crate) fn self_signed(common_name: &str, names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(names, -1..365);
        params.distinguished_name.push(DnType::CommonName, common_name);
        Self { chain: vec![params.self_signed(&key).unwrap().der().clone()], key }
    }
}

pub(crate) fn params(names: &[&str], valid: std::ops::Range<i64>) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let now = OffsetDateTime::now_utc();
    params.not_before = now + Duration::days(valid.start);
    params.not_after = now + Duration::days(valid.end);
    params
}

/// A TCP server that hands each connection to `serve`.
pub(crate) async fn tcp_server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A TLS server that shows `identity` and hands each connection to `serve`.
pub(crate) async fn tls_server<F>(
    identity: Identity,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tcp_server(move |stream| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

/// A web server that answers requests for each path with a status, headers and a body. To HEAD it says the same without the
/// body.
pub(crate) async fn web_server(
    identity: Identity,
    answer: impl Fn(&str) -> (u16, String, String) + Clone + Send + Sync + 'static,
) -> SocketAddr {
    tls_server(identity, move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut request = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                request.push(byte);
                if !request.ends_with(b"\r\n\r\n") {
                    continue;
                }
                let text = String::from_utf8(std::mem::take(&mut request)).unwrap();
                let mut words = text.split(' ');
                let (method, path) = (words.next().unwrap(), words.next().unwrap());
                let (status, headers, body) = answer(path);
                let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
                let body = if method == "HEAD" { "" } else { &body };
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                // What does not fit into the socket waits in TLS otherwise, for the next write.
                let _ = stream.flush().await;
            }
        }
    })
    .await
}

/// hubs-relay in this process, reached over TLS.
pub(crate) struct TurnServer {
    pub(crate) address: SocketAddr,
    _relay: hubs_relay::Relay,
}

impl TurnServer {
    /// Starts it with `rules`, which are the tables `[auth]` and `[peers]` of its configuration.
    pub(crate) fn start(identity: &Identity, rules: &str) -> Self {
        Self::start_at("127.0.0.1:0", identity, rules)
    }

    /// The same at an address of choice.
    pub(crate) fn start_at(listen: &str, identity: &Identity, rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let pem = |der: &CertificateDer<'_>| {
            let text = BASE64_STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        };
        fs::write(&certificate, identity.chain.iter().map(pem).collect::<String>()).unwrap();
        fs::write(&key, identity.key.serialize_pem()).unwrap();
        let text = format!(
            "listen = ['tls://{listen}']\n[tls]\ncertificate = '{}'\nprivate_key = '{}'\n\
             [relay]\naddress = '127.0.0.1'\nworkers = 1\n{rules}",
            certificate.display(),
            key.display()
        );
        let config = hubs_relay::Config::from_text(&text, None, []).unwrap();
        let relay = hubs_relay::Relay::start(&config).unwrap();
        Self { address: relay.listeners()[0].address, _relay: relay }
    }
}

/// A dialog that answers each request, of which it is given the id and the method, with these messages.
pub(crate) async fn dialog_server(
    identity: Identity,
    answers: impl Fn(u64, &str) -> Vec<Value> + Clone + Send + Sync + 'static,
) -> SocketAddr {
    tls_server(identity, move |stream| {
        let answers = answers.clone();
        async move {
            let mut socket = accept_hdr_async(stream, accept_protoo).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                let Ok(text) = message.to_text() else { continue };
                let Ok(request) = serde_json::from_str::<Value>(text) else { continue };
                let method = request["method"].as_str().unwrap_or("").to_owned();
                for answer in answers(request["id"].as_u64().unwrap_or(0), &method) {
                    socket.send(WsMessage::text(answer.to_string())).await.unwrap();
                }
            }
        }
    })
    .await
}

#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the callback's type is tungstenite's"
)]
fn accept_protoo(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let query = request.uri().query().unwrap_or_default();
    assert!(query.starts_with("roomId=hubs-probe-") && query.contains("&peerId="), "{query}");
    response.headers_mut().insert("sec-websocket-protocol", "protoo".parse().unwrap());
    Ok(response)
}

/// What dialog answers to `createWebRtcTransport`, with candidates at these places.
pub(crate) fn transport(candidates: &[(&str, u16)]) -> Value {
    let candidates: Vec<_> = candidates
        .iter()
        .map(|(ip, port)| json!({ "foundation": "udpcandidate", "ip": ip, "port": port, "priority": 1_076_276_479, "protocol": "udp", "type": "host" }))
        .collect();
    json!({
        "id": "0f1e",
        "iceParameters": { "usernameFragment": "u".repeat(32), "password": "p".repeat(32), "iceLite": true },
        "iceCandidates": candidates,
        "dtlsParameters": { "role": "auto", "fingerprints": [{ "algorithm": "sha-256", "value": "AB:CD" }] },
    })
}

/// A context for [`DOMAIN`] whose names have addresses, and in which `HOST:PORT` leads to each given server.
pub(crate) fn context(ca_pem: Option<Vec<u8>>, detours: &[(Name, u16, SocketAddr)]) -> Arc<Context> {
    let target: crate::target::Target = DOMAIN.parse().unwrap();
    let connect_to = detours
        .iter()
        .map(|(name, port, to)| format!("{}:{port}:{to}", target.host(*name)).parse().unwrap())
        .collect();
    let facts = Facts::default();
    facts.addresses.learn(Name::ALL.map(|name| (name, vec!["127.0.0.1".parse().unwrap()])).into());
    Arc::new(Context { facts, ..bare_context(NetOptions { ca_pem, connect_to, ..NetOptions::default() }) })
}

/// A context for [`DOMAIN`] in which nothing is known yet.
pub(crate) fn bare_context(options: NetOptions) -> Context {
    // Nobody answers at port 9, so that no test depends on the resolver of the machine.
    let resolver = options.resolver.unwrap_or_else(|| "127.0.0.1:9".parse().unwrap());
    let system_resolvers = options.system_resolvers.or_else(|| Some(Vec::new()));
    let net = Net::new(&NetOptions { resolver: Some(resolver), system_resolvers, ..options }).unwrap();
    Context {
        target: DOMAIN.parse().unwrap(),
        net,
        room: None,
        turn_login: None,
        options: Options::default(),
        facts: Facts::default(),
    }
}

/// A DNS server that answers A queries as `answer` says: with addresses, or with a response code. AAAA gives none.
pub(crate) async fn dns_server(
    answer: impl Fn(&str) -> Result<Vec<Ipv4Addr>, ResponseCode> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let mut response = Message::response(query.metadata.id, query.metadata.op_code);
            response.add_query(question.clone());
            match answer(question.name().to_utf8().trim_end_matches('.')) {
                Ok(addresses) if question.query_type() == RecordType::A => {
                    let record = |a| Record::from_rdata(question.name().clone(), 60, RData::A(A(a)));
                    response.add_answers(addresses.into_iter().map(record));
                }
                Ok(_) => {}
                Err(code) => response.metadata.response_code = code,
            }
            socket.send_to(&response.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

/// A STUN server that answers each request, which came from there, as `answer` says.
pub(crate) async fn stun_server(
    answer: impl FnMut(&StunMessage, SocketAddr) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    stun_server_at(Ipv4Addr::LOCALHOST.into(), answer).await
}

/// The same at this address.
pub(crate) async fn stun_server_at(
    address: IpAddr,
    mut answer: impl FnMut(&StunMessage, SocketAddr) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind((address, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let Ok(request) = StunMessage::parse(&buffer[..length]) else { continue };
            if let Some(answer) = answer(&request, from) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}
