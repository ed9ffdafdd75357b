//! Asks dialog which addresses it announces, as a browser in the lobby would: its WebSocket wants no login, and a
//! transport's candidates say it. Dialog forgets us and the transport when the connection ends.

use std::net::{IpAddr, SocketAddr};
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
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

/// Dialog is in the same cluster; who takes longer is not well.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Its answers have about 2 KiB.
const LONGEST_MESSAGE: usize = 64 << 10;

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
    #[error(
        "it announces no address of the family of {0}, or none but its own; is MEDIASOUP_ANNOUNCED_IP set?"
    )]
    Nothing(IpAddr),
    #[error("the system gives no random numbers")]
    Randomness,
}

/// The addresses that the dialog whose WebSocket is at `dialog` announces besides its own.
pub(super) async fn announced(dialog: SocketAddr) -> Result<Vec<IpAddr>, AskError> {
    let transport = timeout(TIMEOUT, create_transport(dialog)).await.map_err(|_| AskError::Silent)??;
    let announced = announced_in(&transport, dialog.ip());
    if announced.is_empty() { Err(AskError::Nothing(dialog.ip())) } else { Ok(announced) }
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
}

async fn create_transport(dialog: SocketAddr) -> Result<Transport, AskError> {
    let stream = TcpStream::connect(dialog).await?;
    let stream = connector().connect(ServerName::from(dialog.ip()), stream).await?;
    let mut random = [0; 8];
    ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| AskError::Randomness)?;
    let name = u64::from_be_bytes(random);
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
            return data.ok_or(AskError::Refused);
        }
    }
    Err(tungstenite::Error::ConnectionClosed.into())
}

/// Of the candidates' addresses, those under which nobody would find dialog by itself.
fn announced_in(transport: &Transport, own: IpAddr) -> Vec<IpAddr> {
    let addresses = transport.ice_candidates.iter().filter_map(|it| it.ip.parse::<IpAddr>().ok());
    let mut announced: Vec<IpAddr> = addresses
        .filter(|it| !it.is_loopback() && !it.is_unspecified() && *it != own && it.is_ipv4() == own.is_ipv4())
        .collect();
    announced.sort_unstable();
    announced.dedup();
    announced
}

fn connector() -> TlsConnector {
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
    fn what_dialog_announces_is_neither_loopback_nor_its_own_address_nor_of_another_family() {
        let candidates =
            ["127.0.0.1", "203.0.113.9", "203.0.113.9", "10.0.0.5", "2001:db8::1", "0.0.0.0", "", "x"];
        let candidates = candidates.map(|ip| Candidate { ip: ip.to_owned() }).into_iter().collect();
        let announced = announced_in(&Transport { ice_candidates: candidates }, "10.0.0.5".parse().unwrap());
        assert_eq!(announced, ["203.0.113.9".parse::<IpAddr>().unwrap()]);
    }
}
