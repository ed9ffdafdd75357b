//! A private authority, and the certificates that Hubs deployments show.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// An authority that only this test trusts.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS #8.
    pub key: String,
}

/// Where an [`Identity`] lies.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes a new one.
    pub fn new() -> Self {
        Self::named("Test authority")
    }

    /// The same, with a name of choice.
    pub fn named(name: &str) -> Self {
        Self::with(authority(name, 1))
    }

    /// The same, of an organisation that others know.
    pub fn of(organisation: &str) -> Self {
        let mut params = authority("Test authority", 1);
        params.distinguished_name.push(DnType::OrganizationName, organisation);
        Self::with(params)
    }

    fn with(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// Its own certificate, as PEM.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A good certificate for one host.
    pub fn issue(&self, host: &str) -> Identity {
        self.issue_for(&[host])
    }

    /// A good certificate for several hosts.
    pub fn issue_for(&self, hosts: &[&str]) -> Identity {
        issue(&server(hosts), &self.issuer)
    }

    /// Another good certificate for a host, with the key that it has.
    pub fn renew(&self, identity: &Identity, host: &str, serial_number: u64) -> Identity {
        let mut params = server(&[host]);
        params.serial_number = Some(serial_number.into());
        sign(&params, &KeyPair::from_pem(&identity.key).unwrap(), &self.issuer)
    }

    /// A certificate that is good from one day until another, as seen from now.
    pub(crate) fn issue_valid(&self, host: &str, days: Range<i64>) -> Identity {
        let mut params = server(&[host]);
        (params.not_before, params.not_after) = (from_now(days.start).into(), from_now(days.end).into());
        issue(&params, &self.issuer)
    }

    /// One by an intermediate authority, without the certificate of that.
    pub(crate) fn issue_incomplete(&self, host: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let intermediate =
            CertifiedIssuer::signed_by(authority("Test intermediate", 0), key, &self.issuer).unwrap();
        issue(&server(&[host]), &intermediate)
    }
}

/// What an authority's own certificate says; `depth` authorities may be below it.
fn authority(name: &str, depth: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server(hosts: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, hosts[0]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn issue(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Identity {
    sign(params, &KeyPair::generate().unwrap(), issuer)
}

fn sign(params: &CertificateParams, key: &KeyPair, issuer: &Issuer<'_, KeyPair>) -> Identity {
    let certificate = params.signed_by(key, issuer).unwrap();
    Identity { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn from_now(days: i64) -> SystemTime {
    let distance = Duration::from_hours(24 * days.unsigned_abs());
    let now = SystemTime::now();
    if days < 0 { now - distance } else { now + distance }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate that vouches for itself, with a common name only: `dialog` is what Hubs' coturn and dialog show,
/// the domain is what its ingress shows by default (serial number 1).
pub fn self_signed(common_name: &str) -> Identity {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(1.into());
    let key = KeyPair::generate().unwrap();
    Identity { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

impl Identity {
    /// Writes both parts to `folder`, as `name.crt` and `name.key`.
    pub fn write(&self, folder: &Path, name: &str) -> IdentityFiles {
        let files = IdentityFiles {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&files.certificate, &self.certificate).unwrap();
        fs::write(&files.key, &self.key).unwrap();
        files
    }
}
