//! Servers that do not do what they should. Each serves until the test's process ends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_tungstenite::tungstenite;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;

use crate::certs::Identity;

/// Accepts connections, and says nothing to anybody.
pub fn silent() -> SocketAddr {
    let mut held = Vec::new();
    serve(move |connection| held.push(connection))
}

/// Opens a WebSocket as dialog does, and closes the connection in the middle of its answer to the first request.
pub fn dialog_that_closes_in_mid_answer(identity: &Identity) -> SocketAddr {
    let tls = Arc::new(tls_config(identity));
    serve(move |connection| {
        let tls = tls.clone();
        // What goes wrong here is the client's to find.
        thread::spawn(move || answer_half(StreamOwned::new(ServerConnection::new(tls).unwrap(), connection)));
    })
}

fn answer_half(stream: impl Read + Write) -> Result<(), tungstenite::Error> {
    #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let protoo = |_: &Request, mut response: Response| {
        response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("protoo"));
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, protoo) else { return Ok(()) };
    socket.read()?;
    // A final text frame of 100 octets (RFC 6455 section 5.2), of which 20 come.
    let stream = socket.get_mut();
    stream.write_all(&[0x81, 100])?;
    stream.write_all(br#"{"response":true,"i"#)?;
    stream.flush()?;
    Ok(())
}

fn serve(mut handle: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(&mut handle));
    address
}

fn tls_config(identity: &Identity) -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
}
