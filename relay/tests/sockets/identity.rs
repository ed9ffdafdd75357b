//! A private authority and a certificate of it, as the files that a relay reads.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

pub(crate) struct Identity {
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) name: &'static str,
    folder: TempDir,
}

impl Identity {
    pub(crate) fn new(name: &'static str) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("tls.crt"), certificate.pem()).unwrap();
        fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
        Self { authority: authority.der().clone(), name, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder().join("tls.crt")
    }

    pub(crate) fn private_key(&self) -> PathBuf {
        self.folder().join("tls.key")
    }

    /// The configuration's `[tls]`.
    pub(crate) fn config(&self) -> String {
        let (certificate, private_key) = (self.certificate(), self.private_key());
        format!(
            "[tls]\ncertificate = '{}'\nprivate_key = '{}'\n",
            certificate.display(),
            private_key.display()
        )
    }
}
