//! What stands in dialog's place behind a gateway: signalling that makes a transport for each session, and a port for the
//! media of each.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hubs_relay::wire::{Builder, IntegrityKey, Method};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::identity::Identity;
use crate::link::id;

const PASSWORD: &str = "the password of all transports";
const PATIENCE: Duration = Duration::from_secs(5);

/// Signalling that names these ports, one after the other, and says where it listens. It ends with its one connection.
pub(crate) fn serve(identity: &Identity, ports: Vec<u16>) -> io::Result<SocketAddr> {
    let chain = vec![CertificateDer::from_pem_file(&identity.certificate).map_err(io::Error::other)?];
    let key = PrivateKeyDer::from_pem_file(&identity.private_key).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_no_client_auth().with_single_cert(chain, key);
    let config = Arc::new(config.map_err(io::Error::other)?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    // Its end is the browser's to notice.
    thread::spawn(move || answer(&listener, config, &ports));
    Ok(address)
}

fn answer(listener: &TcpListener, config: Arc<ServerConfig>, ports: &[u16]) -> io::Result<()> {
    let (stream, _) = listener.accept()?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    read_head(&mut stream)?;
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    )?;
    for port in ports {
        let request = read_frame(&mut stream)?;
        let data = json!({
            "id": name(*port),
            "iceParameters": {"usernameFragment": name(*port), "password": PASSWORD},
            "iceCandidates": [{"ip": "192.0.2.1", "port": port, "protocol": "udp", "type": "host"}],
        });
        let answer = json!({"response": true, "id": request["id"], "ok": true, "data": data}).to_string();
        stream.write_all(&frame(0, answer.as_bytes()))?;
    }
    // Until the browser leaves.
    read_frame(&mut stream).map(drop)
}

/// A browser's signalling, in the name of all sessions.
#[derive(Debug)]
pub(crate) struct Signalling(TcpStream);

impl Signalling {
    pub(crate) fn connect(gateway: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(gateway)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        stream.write_all(
            b"GET /?roomId=load&peerId=load HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        )?;
        let head = read_head(&mut stream)?;
        if head.starts_with("HTTP/1.1 101") { Ok(Self(stream)) } else { Err(io::Error::other(head)) }
    }

    /// Has the next transport made.
    pub(crate) fn create(&mut self) -> io::Result<()> {
        let request = json!({"request": true, "id": 1, "method": "createWebRtcTransport", "data": {}});
        // A mask of zeros leaves the text as it is.
        self.0.write_all(&frame(0x80, request.to_string().as_bytes()))?;
        read_frame(&mut self.0).map(drop)
    }
}

/// The check that opens a way to this port.
pub(crate) fn check(port: u16) -> Vec<u8> {
    let check = Builder::request(Method::Binding, id()).username(&format!("{}:browser", name(port)));
    check.priority(1).integrity(&IntegrityKey::short_term(PASSWORD)).fingerprint().finish()
}

fn name(port: u16) -> String {
    format!("transport at {port}")
}

fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A text message of medium length (RFC 6455 section 5.2).
fn frame(mask_bit: u8, text: &[u8]) -> Vec<u8> {
    let [high, low] = (text.len() as u16).to_be_bytes();
    let mask: &[u8] = if mask_bit == 0 { &[] } else { &[0; 4] };
    [&[0x81, mask_bit | 0x7e, high, low], mask, text].concat()
}

/// What such a message says, whatever its length.
fn read_frame(stream: &mut impl Read) -> io::Result<Value> {
    let mut header = [0; 2];
    stream.read_exact(&mut header)?;
    let len = if header[1] & 0x7f == 126 {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        u16::from_be_bytes(len)
    } else {
        u16::from(header[1] & 0x7f)
    };
    let mask_len = if header[1] & 0x80 == 0 { 0 } else { 4 };
    let mut rest = vec![0; usize::from(len) + mask_len];
    stream.read_exact(&mut rest)?;
    serde_json::from_slice(&rest[mask_len..]).map_err(io::Error::other)
}
