//! The relay's configuration, certificate and key, which change as a whole and again and again.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;

use super::{RELAY_ADDRESS, STRANGER_TIMEOUT};
use crate::bed::{ANNOUNCED, NODE, REALM, STREAM};
use crate::certs::{Authority, Identity};

/// The ports that Hubs gives coturn: few enough that a leak ends the soak.
const RELAY_PORTS: &str = "49152-51609";

/// So many that nobody is turned away, and no more than a relay may open files for anywhere.
const MOST_SESSIONS: u64 = 4000;

/// What never changes.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) udp: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) database: String,
}

/// A folder as Kubernetes mounts one: each file a link through `..data`, which is swapped.
#[derive(Debug)]
pub(super) struct Files {
    folder: TempDir,
    authority: Authority,
    identity: Identity,
    addresses: Addresses,
    version: u64,
}

impl Files {
    pub(super) fn new(addresses: Addresses) -> Self {
        let folder = TempDir::with_prefix("hubs-soak-").unwrap();
        let authority = Authority::new();
        let identity = authority.issue(STREAM);
        let files = Self { folder, authority, identity, addresses, version: 0 };
        files.publish();
        for file in ["relay.toml", "tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), files.at(file)).unwrap();
        }
        files
    }

    /// Replaces all of them: another certificate, other limits, other peers besides those in use.
    pub(super) fn renew(&mut self) {
        self.version += 1;
        // With the same key: a relay that reads while files are swapped may find a certificate and another one's key.
        self.identity = self.authority.renew(&self.identity, STREAM, self.version);
        self.publish();
        fs::remove_dir_all(self.at(&format!("..{}", self.version - 1))).unwrap();
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.at("relay.toml")
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The certificate that handshakes should see by now.
    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.identity.certificate.as_bytes()).unwrap()
    }

    fn publish(&self) {
        let version = format!("..{}", self.version);
        let folder = self.at(&version);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("relay.toml"), self.text()).unwrap();
        fs::write(folder.join("tls.crt"), &self.identity.certificate).unwrap();
        fs::write(folder.join("tls.key"), &self.identity.key).unwrap();
        symlink(&version, self.at("..new")).unwrap();
        fs::rename(self.at("..new"), self.at("..data")).unwrap();
    }

    fn text(&self) -> String {
        let Addresses { udp, tls, admin, database } = &self.addresses;
        let (certificate, key) = (self.at("tls.crt"), self.at("tls.key"));
        let (odd, timeout) = (self.version % 2, STRANGER_TIMEOUT.as_secs());
        format!(
            "realm = \"{REALM}\"\n\
             listen = [\"udp://{udp}\", \"tls://{tls}\"]\n\
             [tls]\ncertificate = '{}'\nprivate_key = '{}'\n\
             [relay]\naddress = \"{RELAY_ADDRESS}\"\nports = \"{RELAY_PORTS}\"\nworkers = 2\n\
             [auth]\npostgres = \"{database}\"\n\
             [peers]\nallow = [\"{NODE}:1024-65535\", \"127.0.0.99:{}\"]\n\
             map = [{{ announced = \"{ANNOUNCED}\", actual = \"{NODE}\" }}]\n\
             [admin]\naddress = \"{admin}\"\n\
             [limits]\ndrain_deadline = \"0s\"\nhandshake_timeout = \"{timeout}s\"\nstranger_timeout = \"{timeout}s\"\n\
             sessions = {}\nchannels = {}\nqueue = {}\n",
            certificate.display(),
            key.display(),
            1000 + self.version % 1000,
            MOST_SESSIONS + self.version,
            32 + 32 * odd,
            131_072 * (1 + odd),
        )
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
