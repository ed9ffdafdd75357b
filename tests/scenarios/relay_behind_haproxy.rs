//! haproxy before the relay, in each way in which an ingress can be set up: the client's address is its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hubs_relay::wire::{Builder, Message, Method, TransactionId};
use hubs_relay::{Config, Relay};
use hubs_tests::bed::{STREAM, loopback};
use hubs_tests::certs::{Authority, Identity};
use hubs_tests::need::{self, Need, skip};
use hubs_tests::port;
use hubs_tests::process::Process;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;

const HAPROXY: &[Need] = &[Need::Program("haproxy")];

#[test]
fn with_send_proxy_the_client_is_the_client() {
    let Some(Seen { client, relay_saw }) = bind_through_haproxy("tls", "", "send-proxy") else { return };
    assert_eq!(relay_saw, client);
}

#[test]
fn with_send_proxy_v2_the_client_is_the_client() {
    let Some(Seen { client, relay_saw }) = bind_through_haproxy("tls", "", "send-proxy-v2") else { return };
    assert_eq!(relay_saw, client);
}

#[test]
fn with_what_haproxy_adds_about_tls_the_client_is_the_client() {
    let options = "send-proxy-v2-ssl-cn proxy-v2-options unique-id,crc32c";
    let Some(Seen { client, relay_saw }) = bind_through_haproxy("tcp", "ssl", options) else { return };
    assert_eq!(relay_saw, client);
}

#[test]
fn without_a_header_the_client_is_haproxy() {
    let Some(Seen { client, relay_saw }) = bind_through_haproxy("tls", "", "") else { return };
    assert_eq!(relay_saw.ip(), client.ip());
    assert_ne!(relay_saw.port(), client.port());
}

#[test]
fn where_haproxy_terminates_tls_the_relay_serves_plain_tcp() {
    let Some(Seen { client, relay_saw }) = bind_through_haproxy("tcp", "ssl", "") else { return };
    assert_ne!(relay_saw.port(), client.port());
}

struct Seen {
    /// The client's address as the client knows it.
    client: SocketAddr,
    /// The same as XOR-MAPPED-ADDRESS has it.
    relay_saw: SocketAddr,
}

/// Makes a Binding over TLS to haproxy, which forwards to a relay on this transport. `front` is "ssl" where haproxy ends
/// the TLS; `options` are those of its line `server`.
fn bind_through_haproxy(transport: &str, front: &str, options: &str) -> Option<Seen> {
    if skip(&[HAPROXY]) {
        return None;
    }
    let folder = TempDir::with_prefix("hubs-haproxy-").unwrap();
    let authority = Authority::new();
    let identity = authority.issue(STREAM);
    let relay = relay(&folder, transport, &identity);
    let front = if front.is_empty() {
        String::new()
    } else {
        let pem = folder.path().join("front.pem");
        fs::write(&pem, identity.certificate.clone() + &identity.key).unwrap();
        format!("ssl crt {}", pem.display())
    };
    let (_haproxy, address) = haproxy(&folder, &front, relay.listeners()[0].address, options);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let client = stream.local_addr().unwrap();
    let mut tls = StreamOwned::new(tls_client(&authority), stream);
    tls.write_all(&Builder::request(Method::Binding, TransactionId([7; 12])).finish()).unwrap();
    let mut answer = [0; 512];
    let len = tls.read(&mut answer).unwrap();
    let relay_saw = Message::parse(&answer[..len]).unwrap().xor_mapped_address().unwrap().unwrap();
    Some(Seen { client, relay_saw })
}

fn relay(folder: &TempDir, transport: &str, identity: &Identity) -> Relay {
    let files = identity.write(folder.path(), "relay");
    let text = format!(
        "[[listen]]\ntransport = '{transport}'\naddress = '127.0.0.1:0'\nproxy_protocol_from = ['127.0.0.1']\n\
         [tls]\ncertificate = '{}'\nprivate_key = '{}'\n[relay]\naddress = '127.0.0.1'\n",
        files.certificate.display(),
        files.key.display()
    );
    Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap()
}

fn haproxy(folder: &TempDir, front: &str, relay: SocketAddr, options: &str) -> (Process, SocketAddr) {
    let (file, address) = (folder.path().join("haproxy.cfg"), loopback(port::free()));
    let configuration = format!(
        "defaults\n  mode tcp\n  timeout connect 3s\n  timeout client 30m\n  timeout server 30m\n\
         frontend tcp-5349\n  bind {address} {front}\n  default_backend coturn\n\
         backend coturn\n  server coturn {relay} {options}\n"
    );
    fs::write(&file, configuration).unwrap();
    let program = need::program("haproxy").unwrap();
    let mut haproxy = Process::start("haproxy", Command::new(program).arg("-db").arg("-f").arg(&file));
    haproxy.wait_until_accepting(address);
    (haproxy, address)
}

fn tls_client(authority: &Authority) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), STREAM.try_into().unwrap()).unwrap()
}
