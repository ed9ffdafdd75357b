//! The certificate and key of TLS listeners, and what they say about themselves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig, ServerConnection};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::Tls;

/// Ciphertext that may wait in the TLS layer of one connection, besides its queue.
const BUFFER_LIMIT: usize = 16 << 10;

/// Why TLS cannot be served: which file, and what is wrong with it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that is missing or may not be read.
    #[error("cannot read the {what} {}: {source}; set tls.{key} to the file, or mount the certificate's secret there", path.display())]
    Unreadable {
        /// Certificate or key.
        what: &'static str,
        /// The configuration's name for it.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file without what it should hold.
    #[error("there is no {what} in {}: {reason}; tls.{key} has to be in PEM", path.display())]
    Missing {
        /// Certificate or key.
        what: &'static str,
        /// The configuration's name for it.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// A certificate and a key that do not belong together.
    #[error("the key {} does not belong to the certificate {}; both come from one certificate's secret", private_key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
    },
    /// A certificate or key that cannot be used.
    #[error("the certificate {} or its key cannot be used: {source}", certificate.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Not the files' fault.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    key: Arc<CertifiedKey>,
    pub(crate) description: Description,
}

/// What TLS listeners show. Another certificate can take its place: handshakes from then on see that one.
#[derive(Debug)]
pub(crate) struct Shown(RwLock<Arc<CertifiedKey>>);

/// What an operator wants to know about a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// The names that it is good for.
    pub(crate) names: Vec<String>,
    /// The last day that it is valid, and whether that is over.
    pub(crate) not_after: String,
    pub(crate) is_expired: bool,
    /// When it expires, in seconds since 1970; nothing if it cannot be read.
    pub(crate) expires: Option<i64>,
}

impl Identity {
    /// Reads certificate and key, and checks that they belong together.
    pub(crate) fn load(tls: &Tls) -> Result<Self, TlsError> {
        let chain = certificates(&tls.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&tls.private_key)
            .map_err(|error| pem_error("private key", "private_key", &tls.private_key, error))?;
        let unusable = |source| TlsError::Unusable { certificate: tls.certificate.clone(), source };
        let description = Description::of(&chain[0]);
        let certified =
            CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
                    certificate: tls.certificate.clone(),
                    private_key: tls.private_key.clone(),
                },
                error => unusable(error),
            })?;
        Ok(Self { key: Arc::new(certified), description })
    }
}

impl Shown {
    pub(crate) fn new(identity: &Identity) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::clone(&identity.key))))
    }

    /// From now on shows this one.
    pub(crate) fn set(&self, identity: &Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&identity.key);
    }

    /// What accepts connections with it.
    pub(crate) fn acceptor(self: Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(self);
        // Whole rooms come back at once after an interruption; a ticket spares each the signature.
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(TlsError::Setup)?;
        config.send_tls13_tickets = 1;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Bounds what a connection may hold back when its client does not read.
pub(super) fn bound_buffers(connection: &mut ServerConnection) {
    connection.set_buffer_limit(Some(BUFFER_LIMIT));
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |error| pem_error("certificate", "certificate", path, error);
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(error)?.collect::<Result<_, _>>().map_err(error)?;
    if chain.is_empty() { Err(error(pem::Error::NoItemsFound)) } else { Ok(chain) }
}

fn pem_error(what: &'static str, key: &'static str, path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Unreadable { what, key, path, source },
        error => TlsError::Missing { what, key, path, reason: error.to_string() },
    }
}

impl Description {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            let not_after = "an unknown day".to_owned();
            return Self { names: Vec::new(), not_after, is_expired: false, expires: None };
        };
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names =
            alternative.into_iter().flat_map(|it| &it.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            });
        let not_after = certificate.validity().not_after;
        Self {
            names: names.collect(),
            not_after: not_after.to_datetime().date().to_string(),
            is_expired: not_after < x509_parser::time::ASN1Time::now(),
            expires: Some(not_after.timestamp()),
        }
    }
}
