//! Asks dialog which addresses it announces, as a browser in the lobby would: its WebSocket wants no login, and a
//! transport's candidates say it. The transport also shows from which address dialog answers. Dialog forgets us and the
//! transport when the connection ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use ring::rand::SecureRandom as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring as provider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;
use thiserror::Error;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::wire::{Builder, Message as StunMessage, Method, TransactionId};

/// Dialog is in the same cluster; who takes longer is not well.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Its answers have about 2 KiB.
const LONGEST_MESSAGE: usize = 64 << 10;
/// How often it is asked over UDP, and how long for each answer.
const ATTEMPTS: usize = 3;
const PATIENCE: Duration = Duration::from_millis(300);

const REQUEST: &str =
    r#"{"request":true,"id":1,"method":"createWebRtcTransport","data":{"producing":false,"consuming":true}}"#;

/// Why dialog did not say what it announces.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Silent,
    #[error(transparent)]
    Connection(#[from] std::io::Error),
    #[error("no WebSocket of dialog's: {0}")]
    WebSocket(#[from] tungstenite::Error),
    #[error("it refuses to create a transport")]
    Refused,
    #[error("it announces no address of the family of {0}; is MEDIASOUP_ANNOUNCED_IP set?")]
    Nothing(IpAddr),
    #[error("the system gives no random numbers")]
    Randomness,
}

/// What a dialog says of itself.
pub(super) struct Told {
    /// The addresses that browsers are to send media to; its own may be among them.
    pub(super) announced: Vec<IpAddr>,
    /// The address from which its media comes back to us, if any does. It listens on all that its node has, and the kernel
    /// picks the one that lies towards us: that of a bridge, where our pod is on the same node.
    pub(super) answers_from: Option<IpAddr>,
}

/// What the dialog whose WebSocket is at `dialog` says of itself.
pub(super) async fn ask(dialog: SocketAddr) -> Result<Told, AskError> {
    timeout(TIMEOUT, create_transport(dialog)).await.map_err(|_| AskError::Silent)?
}

/// What dialog answers to a request.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    response: bool,
    data: Option<Transport>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transport {
    ice_candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    ip: String,
    #[serde(default)]
    port: u16,
}

async fn create_transport(dialog: SocketAddr) -> Result<Told, AskError> {
    let stream = TcpStream::connect(dialog).await?;
    let stream = connector().connect(ServerName::from(dialog.ip()), stream).await?;
    let name = u64::from_be_bytes(random()?);
    let url = format!("wss://{dialog}/?roomId=hubs-relay-{name:x}&peerId=hubs-relay-{name:x}");
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("protoo"));
    let config = WebSocketConfig::default()
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE));
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    socket.send(Message::text(REQUEST)).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        // Notifications may come before the answer.
        if let Ok(Answer { response: true, data }) = serde_json::from_str(text.as_str()) {
            let candidates = reachable(&data.ok_or(AskError::Refused)?, dialog.ip());
            let port = candidates.first().ok_or(AskError::Nothing(dialog.ip()))?.port();
            let from = answers_from(SocketAddr::new(dialog.ip(), port)).await?;
            let mut announced: Vec<IpAddr> = candidates.iter().map(SocketAddr::ip).collect();
            announced.sort_unstable();
            announced.dedup();
            return Ok(Told { announced, answers_from: from });
        }
    }
    Err(tungstenite::Error::ConnectionClosed.into())
}

/// Of the candidates, those that a browser elsewhere could mean.
fn reachable(transport: &Transport, own: IpAddr) -> Vec<SocketAddr> {
    let address = |it: &Candidate| Some(SocketAddr::new(it.ip.parse().ok()?, it.port));
    let candidates = transport.ice_candidates.iter().filter_map(address);
    let is_meant = |ip: IpAddr| !ip.is_loopback() && !ip.is_unspecified() && ip.is_ipv4() == own.is_ipv4();
    candidates.filter(|it| is_meant(it.ip())).collect()
}

/// The address from which the transport at this place answers a Binding; a refusal is an answer as well. Nothing if it is
/// silent, which others have to judge.
async fn answers_from(transport: SocketAddr) -> Result<Option<IpAddr>, AskError> {
    let any: IpAddr =
        if transport.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    let id = TransactionId(random()?);
    let request = Builder::request(Method::Binding, id).finish();
    let mut bytes = [0; 1500];
    for _ in 0..ATTEMPTS {
        socket.send_to(&request, transport).await?;
        while let Ok(received) = timeout(PATIENCE, socket.recv_from(&mut bytes)).await {
            let (len, from) = received?;
            let answer = StunMessage::parse(&bytes[..len]);
            if from.port() == transport.port() && answer.is_ok_and(|it| it.transaction() == id) {
                return Ok(Some(from.ip()));
            }
        }
    }
    Ok(None)
}

fn random<const LEN: usize>() -> Result<[u8; LEN], AskError> {
    let mut random = [0; LEN];
    ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| AskError::Randomness)?;
    Ok(random)
}

/// Speaks TLS with dialog.
pub(super) fn connector() -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has all of rustls' versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnything))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Dialog's certificate is one that it made itself, and haproxy does not look at it either. Whoever answers in its place
/// can only give more names to the address that he already answers at.
#[derive(Debug)]
struct TrustAnything;

type Signed = Result<HandshakeSignatureValid, rustls::Error>;

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Signed {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Signed {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dialog_announces_is_neither_loopback_nor_of_another_family() {
        let candidates =
            ["127.0.0.1", "203.0.113.9", "203.0.113.9", "10.0.0.5", "2001:db8::1", "0.0.0.0", "", "x"];
        let candidates =
            candidates.map(|ip| Candidate { ip: ip.to_owned(), port: 40000 }).into_iter().collect();
        let reachable = reachable(&Transport { ice_candidates: candidates }, "10.0.0.5".parse().unwrap());
        let reachable: Vec<String> = reachable.iter().map(ToString::to_string).collect();
        assert_eq!(reachable, ["203.0.113.9:40000", "203.0.113.9:40000", "10.0.0.5:40000"]);
    }

    /// A transport that answers from this address, whichever it was asked at.
    async fn transport(answering: &str) -> SocketAddr {
        let asked = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = asked.local_addr().unwrap();
        let answering = UdpSocket::bind((answering, address.port())).await;
        tokio::spawn(async move {
            let mut bytes = [0; 1500];
            while let Ok((len, from)) = asked.recv_from(&mut bytes).await {
                let request = StunMessage::parse(&bytes[..len]).unwrap();
                let answer = Builder::error(&request, crate::wire::ErrorCode::BAD_REQUEST).finish();
                answering.as_ref().unwrap_or(&asked).send_to(&answer, from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn the_address_that_dialogs_media_comes_from_is_the_one_that_answers() {
        for answering in ["127.0.0.1", "127.0.0.77"] {
            let from = answers_from(transport(answering).await).await.unwrap();
            assert_eq!(from, Some(answering.parse().unwrap()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_transport_that_is_silent_answers_from_nowhere() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(answers_from(silent.local_addr().unwrap()).await.unwrap(), None);
    }
}
