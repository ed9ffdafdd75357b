//! Servers that do not do what they should. Each serves until the test's process ends.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use hubs_relay::wire::{Builder, Class, ErrorCode, MESSAGE_HEADER_LEN, Message, Method, TransactionId};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_tungstenite::tungstenite;
use tungstenite::handshake::server::{Request, Response};

use crate::certs::Identity;

/// A connection with its TLS handshake still to come, which the first byte brings about.
pub type Tls = StreamOwned<ServerConnection, TcpStream>;

/// What would clear a terminal and then forge a line, if it came there as it is.
pub const ESCAPES: &str = "\u{1b}[2J\u{1b}[31mforged\r\nforged \u{202e}\u{9b}2J";

/// Accepts connections, and says nothing to anybody.
pub fn silent() -> SocketAddr {
    let mut held = Vec::new();
    serve(move |connection| held.push(connection))
}

/// Accepts connections over TLS, and does with each what `converse` says, until that ends it.
pub fn behind_tls(identity: &Identity, converse: fn(&mut Tls) -> io::Result<()>) -> SocketAddr {
    behind_tls_with(identity, converse)
}

/// The same for what has something of its own.
pub fn behind_tls_with(
    identity: &Identity,
    converse: impl Fn(&mut Tls) -> io::Result<()> + Clone + Send + 'static,
) -> SocketAddr {
    let config = Arc::new(tls_config(identity));
    serve(move |connection| {
        let tls = ServerConnection::new(config.clone()).unwrap();
        let converse = converse.clone();
        // What goes wrong here is the client's to find.
        thread::spawn(move || converse(&mut StreamOwned::new(tls, connection)));
    })
}

/// Says nothing once the TLS handshake is done.
pub fn says_nothing(stream: &mut Tls) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

/// Sends whoever asks for a page to another one of its own.
pub fn redirects(stream: &mut Tls) -> io::Result<()> {
    let request = read_until(stream, b"\r\n\r\n")?;
    let path = request.split(|byte| *byte == b' ').nth(1).unwrap_or(b"/");
    stream.write_all(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: ")?;
    stream.write_all(path)?;
    stream.write_all(b"/again\r\n\r\n")?;
    redirects(stream)
}

/// Answers with headers, and with no end to them.
pub fn sends_headers_for_ever(stream: &mut Tls) -> io::Result<()> {
    read_until(stream, b"\r\n\r\n")?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
    loop {
        stream.write_all(b"x-more: and more\r\n")?;
    }
}

/// Answers with one header that is too long for anybody.
pub fn sends_a_long_header(stream: &mut Tls) -> io::Result<()> {
    read_until(stream, b"\r\n\r\n")?;
    let value = "x".repeat(4 << 20);
    write!(stream, "HTTP/1.1 200 OK\r\nhub-name: {value}\r\ncontent-length: 0\r\n\r\n")?;
    says_nothing(stream)
}

/// Opens a WebSocket as asked, and closes the connection in the middle of its answer to the first request.
pub fn closes_in_mid_answer(stream: &mut Tls) -> io::Result<()> {
    #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let as_asked = |request: &Request, mut response: Response| {
        let protocol = "Sec-WebSocket-Protocol";
        if let Some(asked) = request.headers().get(protocol) {
            response.headers_mut().insert(protocol, asked.clone());
        }
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, as_asked) else { return Ok(()) };
    socket.read().map_err(io::Error::other)?;
    // A final text frame of 100 octets (RFC 6455 section 5.2), of which 20 come.
    let stream = socket.get_mut();
    stream.write_all(&[0x81, 100])?;
    stream.write_all(br#"{"response":true,"i"#)?;
    stream.flush()
}

/// Begins to answer a TURN request, and closes the connection.
pub fn answers_half_and_closes(stream: &mut Tls) -> io::Result<()> {
    let challenge = challenge(&read_message(stream)?);
    stream.write_all(&challenge[..challenge.len() / 2])?;
    stream.flush()
}

/// Begins to answer a TURN request, and leaves it at that.
pub fn answers_half_and_waits(stream: &mut Tls) -> io::Result<()> {
    answers_half_and_closes(stream)?;
    says_nothing(stream)
}

/// Asks for credentials as it should, and then answers half.
pub fn answers_half_to_credentials(stream: &mut Tls) -> io::Result<()> {
    let challenge = challenge(&read_message(stream)?);
    stream.write_all(&challenge)?;
    answers_half_and_closes(stream)
}

/// Announces more than a TURN answer can be, and sends all of that.
pub fn answers_too_much(stream: &mut Tls) -> io::Result<()> {
    let request = read_message(stream)?;
    let mut answer = challenge(&request);
    answer[2..4].copy_from_slice(&0xfffc_u16.to_be_bytes());
    answer.resize(MESSAGE_HEADER_LEN + 0xfffc, 0);
    stream.write_all(&answer)?;
    says_nothing(stream)
}

/// Answers without end what nobody asked.
pub fn answers_other_questions(stream: &mut Tls) -> io::Result<()> {
    read_message(stream)?;
    let answer =
        Builder::new(Class::Success, Method::Binding, TransactionId([0; 12])).software("other").finish();
    loop {
        stream.write_all(&answer)?;
    }
}

/// Refuses, with a reason that is meant for the terminal.
pub fn refuses_with_escapes(stream: &mut Tls) -> io::Result<()> {
    let request = read_message(stream)?;
    let code = ErrorCode::FORBIDDEN;
    let answer = Builder::new(Class::Error, request.method(), request.transaction());
    stream.write_all(&answer.error_code(code, ESCAPES).software(ESCAPES).finish())?;
    says_nothing(stream)
}

/// A 401 with what a client needs to go on.
fn challenge(request: &Message) -> Vec<u8> {
    let answer = Builder::new(Class::Error, request.method(), request.transaction());
    answer.error_code(ErrorCode::UNAUTHENTICATED, "").realm("turkey").nonce("nonce").finish()
}

fn read_message(stream: &mut Tls) -> io::Result<Message> {
    let mut bytes = vec![0; MESSAGE_HEADER_LEN];
    stream.read_exact(&mut bytes)?;
    bytes.resize(MESSAGE_HEADER_LEN + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 0);
    stream.read_exact(&mut bytes[MESSAGE_HEADER_LEN..])?;
    Message::parse(&bytes).map_err(io::Error::other)
}

fn read_until(stream: &mut Tls, end: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    Ok(bytes)
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
