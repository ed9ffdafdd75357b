//! The certificate and key of both servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256,
};
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::error::LoadError;

/// The host that it is for.
pub(crate) const HOST: &str = "localhost";

/// The kind of key: signing with it is a good part of what a join costs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeyKind {
    /// ECDSA on P-256.
    Ec,
    /// RSA with 2048 bits.
    Rsa,
}

/// Files of a certificate that vouches for itself, and a client that trusts it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
    pub(crate) client: Arc<ClientConfig>,
}

impl Identity {
    /// Makes both files in a folder.
    pub(crate) fn make(kind: KeyKind, folder: &Path) -> Result<Self, LoadError> {
        let (certificate, private_key) = (folder.join("tls.crt"), folder.join("tls.key"));
        let key: &[&str] = match kind {
            KeyKind::Ec => &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            KeyKind::Rsa => &["rsa:2048"],
        };
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", &format!("/CN={HOST}")])
            .args(["-addext", &format!("subjectAltName=DNS:{HOST}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&private_key)
            .arg("-out")
            .arg(&certificate)
            .arg("-newkey")
            .args(key)
            .output()
            .map_err(|error| LoadError::Certificate(error.to_string()))?;
        if !made.status.success() {
            return Err(LoadError::Certificate(String::from_utf8_lossy(&made.stderr).trim().to_owned()));
        }
        let client = client(&certificate).map_err(|error| LoadError::Certificate(error.to_string()))?;
        Ok(Self { certificate, private_key, client: Arc::new(client) })
    }
}

/// Offers what browsers prefer, TLS 1.3 and 1.2 with AES-128-GCM, and no tickets: each join shakes hands in full.
fn client(certificate: &Path) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let mut provider = default_provider();
    provider.cipher_suites = vec![
        TLS13_AES_128_GCM_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}
