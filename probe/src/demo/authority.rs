//! The demo's certificates: those of a private authority in Let's Encrypt's place, and the one that coturn's image is built
//! with.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, Error, IsCa, KeyPair,
};
use rustls::{crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

/// Signs what browsers are to accept.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(super) struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(super) fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Authority of hubs-probe's demo");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate()?).map(Self)
    }

    /// What `--ca-file` takes.
    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `host`, for as long as Let's Encrypt gives them.
    pub(super) fn issue(&self, host: &str) -> Result<Identity, Error> {
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name = common_name(host);
        set_lifetime(&mut params, Duration::days(90));
        let key = KeyPair::generate()?;
        Ok(Identity { certificate: params.signed_by(&key, &self.0)?, key })
    }
}

impl Identity {
    /// The certificate that every Hubs deployment's TURN shows: signed by itself, for the name `dialog`.
    pub(super) fn of_coturns_image() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("dialog");
        set_lifetime(&mut params, Duration::days(365));
        let key = KeyPair::generate()?;
        Ok(Self { certificate: params.self_signed(&key)?, key })
    }

    pub(super) fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The same for a TLS server in this process.
    pub(super) fn certified_key(&self) -> Result<CertifiedKey, rustls::Error> {
        let chain: Vec<CertificateDer<'static>> = vec![self.certificate.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        CertifiedKey::from_der(chain, key, &ring::default_provider())
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Beginning a little earlier than now, for clocks that do not agree.
fn set_lifetime(params: &mut CertificateParams, lifetime: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + lifetime;
}
