//! All that is found of a deployment's certificates together, and keys and versions that our own TLS library does not have.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer as Signer, KeyPair,
    PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm as RcgenAlgorithm, SigningKey as RcgenKey,
};
use rustls::{
    ServerConfig, SignatureAlgorithm, SignatureScheme,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert, ResolvesServerCertUsingSni},
    sign::{CertifiedKey, Signer as HandshakeSigner, SigningKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::testing::params;

const STREAM: &str = "stream.hubs.example.test";

/// A TLS server that shows what this says.
async fn server_of(certificates: Arc<dyn ResolvesServerCert>) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tcp_server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            // Until the client has enough of it.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 1]).await;
            }
        }
    })
    .await
}

/// Always the same certificate.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn always(key: CertifiedKey) -> Arc<dyn ResolvesServerCert> {
    Arc::new(Always(Arc::new(key)))
}

/// A certificate for each name, which are given with the days for which each is valid.
fn by_name(authority: &Authority, days: [std::ops::Range<i64>; 4]) -> Arc<dyn ResolvesServerCert> {
    let target: Target = DOMAIN.parse().unwrap();
    let mut certificates = ResolvesServerCertUsingSni::new();
    for (name, days) in Name::ALL.into_iter().zip(days) {
        let host = target.host(name);
        certificates.add(&host, authority.issue(&[&host], days).certified_key()).unwrap();
    }
    Arc::new(certificates)
}

/// All that is found where the ingress shows the one and TURN the other.
async fn found(
    authority: &Authority,
    ingress: Arc<dyn ResolvesServerCert>,
    turn: Arc<dyn ResolvesServerCert>,
) -> (Arc<Context>, Vec<Finding>) {
    let (ingress, turn) = (server_of(ingress).await, server_of(turn).await);
    let cx = context(Some(authority.root_pem()), &everywhere(ingress, turn));
    let findings = certificates(Arc::clone(&cx)).await.unwrap();
    (cx, findings)
}

/// The one finding with this code.
#[track_caller]
fn the(findings: &[Finding], code: Code) -> &Finding {
    let mut with_code = findings.iter().filter(|f| f.code == code);
    let found = with_code.next().unwrap_or_else(|| panic!("no {code}: {findings:#?}"));
    assert!(with_code.next().is_none(), "several {code}: {findings:#?}");
    found
}

#[tokio::test]
async fn a_deployment_whose_certificates_are_of_one_day_is_all_well() {
    let authority = Authority::new();
    let all = || by_name(&authority, [-1..60, -1..60, -1..60, -1..60]);
    let (cx, findings) = found(&authority, all(), all()).await;
    assert!(findings.iter().all(|f| f.status == Status::Pass), "{findings:#?}");
    assert_said(the(&findings, Code::CertificateNewest), Code::CertificateNewest, Status::Pass);
    assert_said(the(&findings, Code::CertificatesTogether), Code::CertificatesTogether, Status::Pass);
    assert_said(the(&findings, Code::CertificateStrength), Code::CertificateStrength, Status::Pass);
    // Four names on each port.
    let issuers = cx.facts.issuers.get().unwrap();
    assert_eq!(issuers.len(), 12, "{issuers:#?}");
    assert!(issuers.iter().all(|i| i.accepted && i.common_name.as_deref() == Some("Test Intermediate")));
}

#[tokio::test]
async fn a_certificate_that_was_renewed_and_not_read_again_names_what_to_restart() {
    let authority = Authority::new();
    let new = || by_name(&authority, [-5..85, -5..85, -5..85, -5..85]);
    for (old, dates) in [(-70..20, Status::Warn), (-95..-5, Status::Fail)] {
        let turn = always(authority.issue(&[STREAM], old).certified_key());
        let (_, findings) = found(&authority, new(), turn).await;
        let finding = the(&findings, Code::CertificateNewest);
        assert_said(finding, Code::CertificateNewest, Status::Warn);
        assert_eq!(finding.target.as_deref(), Some("turns:stream.hubs.example.test:5349"));
        let of_dates = the(&findings, Code::CertificateDates);
        assert_said(of_dates, Code::CertificateDates, dates);
        for finding in [finding, of_dates] {
            let commands = &finding.remedy.as_ref().unwrap().commands;
            assert_eq!(commands, &["kubectl rollout restart deployment coturn -n hcce"], "{finding:#?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_only_bears_the_same_name_is_no_old_one() {
    let authority = Authority::new();
    let new = by_name(&authority, [-5..85, -5..85, -5..85, -5..85]);
    let other = always(Authority::new().issue(&[STREAM], -70..20).certified_key());
    let (_, findings) = found(&authority, new, other).await;
    assert_said(the(&findings, Code::CertificateNewest), Code::CertificateNewest, Status::Pass);
}

#[tokio::test]
async fn a_name_that_was_left_out_when_the_others_were_renewed_is_named() {
    let authority = Authority::new();
    for (old, status) in [(-80..10, Status::Warn), (-100..-10, Status::Fail)] {
        let all = || by_name(&authority, [-3..87, -3..87, -3..87, old.clone()]);
        let (_, findings) = found(&authority, all(), all()).await;
        let finding = the(&findings, Code::CertificatesTogether);
        assert_said(finding, Code::CertificatesTogether, status);
        assert!(finding.summary.starts_with("cors.hubs.example.test was left out"), "{finding:#?}");
    }
}

#[tokio::test]
async fn a_certificate_that_lives_for_days_only_is_not_called_old_from_its_first_day_on() {
    let authority = Authority::new();
    for (valid, status) in
        [(-3..4, Status::Pass), (-6..1, Status::Warn), (-70..20, Status::Warn), (-60..30, Status::Pass)]
    {
        let finding = said(&authority, authority.issue(&[DOMAIN], valid.clone()), Name::Root, HTTPS).await;
        assert_eq!(finding.status, status, "{valid:?}: {finding:#?}");
    }
}

#[tokio::test]
async fn the_default_certificate_on_another_name_means_that_its_secret_is_missing() {
    let finding = said(&Authority::new(), Identity::self_signed(DOMAIN, &[]), Name::Cors, HTTPS).await;
    assert_said(&finding, Code::CertificateDefault, Status::Fail);
    let remedy = finding.remedy.unwrap();
    assert_eq!(remedy.commands[0], "kubectl get secret cert-cors.hubs.example.test -n hcce");
    assert!(
        remedy.text.contains("--default-ssl-certificate of haproxy name hcce/cert-hubs.example.test"),
        "{remedy:?}"
    );
    let finding = said(&Authority::new(), Identity::self_signed(DOMAIN, &[]), Name::Root, HTTPS).await;
    assert!(finding.remedy.unwrap().text.contains("hcce/cert-hubs.example.test"));
}

#[tokio::test]
async fn an_issuer_that_ran_out_is_not_taken_for_the_certificate() {
    let root = KeyPair::generate().unwrap();
    let ca = |name: &str, valid| {
        let mut params = params(&[], valid);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let root_certificate = ca("Root", -900..900).self_signed(&root).unwrap();
    let root = Signer::new(ca("Root", -900..900), root);
    let key = KeyPair::generate().unwrap();
    let intermediate = ca("Old", -900..-10).signed_by(&key, &root).unwrap();
    let own = KeyPair::generate().unwrap();
    let leaf = params(&[DOMAIN], -1..60).signed_by(&own, &Signer::new(ca("Old", -900..-10), key)).unwrap();
    let shown = shown_by(vec![leaf.der().clone(), intermediate.der().clone()], &own);

    let server = server_of(always(shown)).await;
    let cx = context(Some(root_certificate.pem().into_bytes()), &[(Name::Root, HTTPS, server)]);
    let shown = cx.net.tls(DOMAIN, HTTPS, Trust::Anything).await.map(|(_, presented)| presented);
    let seen = Seen::new(place(DOMAIN.to_owned(), HTTPS), shown);
    let finding = judge::judge(&seen, DOMAIN, OffsetDateTime::now_utc());
    assert_said(&finding, Code::CertificateChain, Status::Fail);
    assert!(finding.summary.contains("one of its issuers ran out on"), "{finding:#?}");
}

/// What a server shows that has this chain and the key of its first certificate.
fn shown_by(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> CertifiedKey {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    CertifiedKey::from_der(chain, key, &ring::default_provider()).unwrap()
}

/// An RSA key of so many bits that signs nothing that anybody could verify.
#[derive(Debug)]
struct FakeRsa(Vec<u8>);

impl FakeRsa {
    fn new(bits: usize) -> Self {
        let mut modulus = vec![0];
        modulus.resize(1 + bits / 8, 0xc5);
        let integer = |bytes: &[u8]| [&[2][..], &length(bytes.len()), bytes].concat();
        let content = [integer(&modulus), integer(&[1, 0, 1])].concat();
        Self([&[0x30][..], &length(content.len()), &content].concat())
    }
}

/// A length in DER, for contents of 128 to 65535 octets or of fewer.
fn length(octets: usize) -> Vec<u8> {
    match octets {
        0..128 => vec![octets as u8],
        128..256 => vec![0x81, octets as u8],
        _ => vec![0x82, (octets >> 8) as u8, octets as u8],
    }
}

impl PublicKeyData for FakeRsa {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static RcgenAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl RcgenKey for FakeRsa {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(vec![0x5a; 256])
    }
}

impl SigningKey for FakeRsa {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn HandshakeSigner>> {
        Some(Box::new(Self(self.0.clone())))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl HandshakeSigner for FakeRsa {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![0x5a; 128])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PSS_SHA256
    }
}

#[tokio::test]
async fn a_short_key_is_a_warning_and_a_long_one_is_none() {
    let authority = Authority::new();
    for (bits, status) in [(1024, Status::Warn), (2048, Status::Pass)] {
        let key = FakeRsa::new(bits);
        let chain = authority.issue_for_key(&[DOMAIN, "*.hubs.example.test"], &key);
        let shown = || always(CertifiedKey::new(chain.clone(), Arc::new(FakeRsa::new(bits))));
        let (_, findings) = found(&authority, shown(), shown()).await;
        let of_strength: Vec<_> = findings.iter().filter(|f| f.code == Code::CertificateStrength).collect();
        assert!(of_strength.iter().all(|f| f.status == status), "{bits}: {findings:#?}");
        assert_eq!(of_strength.len(), if bits == 1024 { 6 } else { 1 });
    }
}

#[tokio::test]
async fn a_signature_with_a_broken_hash_is_refused_for_that() {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Old Intermediate");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut root = ca.clone();
    root.distinguished_name.push(DnType::CommonName, "Old Root");
    let key = KeyPair::generate().unwrap();
    let intermediate = ca.signed_by(&key, &Signer::new(root, FakeRsa::new(2048))).unwrap().der().to_vec();
    // From sha256WithRSAEncryption to sha1WithRSAEncryption, which nobody makes any more.
    let hex = |last| [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last];
    let mut old = intermediate.clone();
    for at in 0..old.len() - 9 {
        if old[at..at + 9] == hex(11) {
            old[at + 8] = 5;
        }
    }
    assert_ne!(old, intermediate);
    let own = KeyPair::generate().unwrap();
    let leaf = params(&[DOMAIN], -1..60).signed_by(&own, &Signer::new(ca, key)).unwrap();
    let server = server_of(always(shown_by(vec![leaf.der().clone(), old.into()], &own))).await;
    let cx = context(None, &[(Name::Root, HTTPS, server)]);
    let shown = cx.net.tls(DOMAIN, HTTPS, Trust::Anything).await.map(|(_, presented)| presented);
    let seen = Seen::new(place(DOMAIN.to_owned(), HTTPS), shown);
    let finding = judge::judge(&seen, DOMAIN, OffsetDateTime::now_utc());
    assert_said(&finding, Code::CertificateStrength, Status::Fail);
    assert!(finding.summary.contains("SHA-1"), "{finding:#?}");
}

#[tokio::test]
async fn a_certificate_that_demands_a_staple_wants_one() {
    let authority = Authority::new();
    let must_staple =
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
    let identity = authority.issue_with(&[DOMAIN, "*.hubs.example.test"], -1..60, Some(must_staple));
    for (staple, status) in [(None, Status::Fail), (Some(vec![0x30, 0]), Status::Pass)] {
        let mut key = identity.certified_key();
        key.ocsp = staple;
        let (_, findings) = found(&authority, always(key.clone()), always(key)).await;
        let of_staple: Vec<_> = findings.iter().filter(|f| f.code == Code::CertificateStapled).collect();
        assert_eq!(of_staple.len(), 6, "{findings:#?}");
        for finding in of_staple {
            assert_said(finding, Code::CertificateStapled, status);
        }
    }
}

#[tokio::test]
async fn what_is_shown_without_a_name_is_told_for_each_port_and_never_a_fault() {
    let authority = Authority::new();
    let all = || by_name(&authority, [-1..60, -1..60, -1..60, -1..60]);
    let (_, findings) = found(&authority, all(), all()).await;
    let finding = the(&findings, Code::CertificateWithoutName);
    assert_said(finding, Code::CertificateWithoutName, Status::Pass);
    assert!(finding.summary.ends_with("get no certificate"), "{finding:#?}");

    let default = Identity::self_signed(DOMAIN, &[]).certified_key();
    let turn = always(authority.issue(&[STREAM], -1..60).certified_key());
    let (_, findings) = found(&authority, always(default), turn).await;
    let finding = the(&findings, Code::CertificateWithoutName);
    assert_said(finding, Code::CertificateWithoutName, Status::Pass);
    let expected =
        "get Hubs' default certificate on 443 and 4443, the certificate of stream.hubs.example.test on 5349";
    assert!(finding.summary.ends_with(expected), "{finding:#?}");
    assert_eq!(evidence(finding, TURNS), None, "{finding:#?}");
}

const TURNS: &str = "turns:stream.hubs.example.test:5349";
const DIALOGS: &str = "wss://stream.hubs.example.test:4443";

/// What the finding says under this label.
fn evidence<'f>(finding: &'f Finding, label: &str) -> Option<&'f str> {
    finding.evidence.iter().find(|e| e.label == label).map(|e| e.value.as_str())
}

/// The finding with this code about this place.
#[track_caller]
fn at<'f>(findings: &'f [Finding], code: Code, place: &str) -> &'f Finding {
    let found = findings.iter().find(|f| f.code == code && f.target.as_deref() == Some(place));
    found.unwrap_or_else(|| panic!("no {code} at {place}: {findings:#?}"))
}

/// As haproxy does it: a certificate for each name, and a default one for all others.
#[derive(Debug)]
struct OrDefault(Arc<dyn ResolvesServerCert>, Arc<CertifiedKey>);

impl ResolvesServerCert for OrDefault {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.resolve(hello).or_else(|| Some(Arc::clone(&self.1)))
    }
}

fn or_default(named: Arc<dyn ResolvesServerCert>) -> Arc<dyn ResolvesServerCert> {
    Arc::new(OrDefault(named, Arc::new(Identity::self_signed(DOMAIN, &[]).certified_key())))
}

#[tokio::test]
async fn a_turn_server_with_one_certificate_is_asked_for_the_other_names_and_not_blamed() {
    let authority = Authority::new();
    let ingress = or_default(by_name(&authority, [-1..60, -1..60, -1..60, -1..60]));
    // It is for two names, and older than what the ingress has: what is on 443 counts for the second one.
    let turn = always(authority.issue(&[STREAM, DOMAIN], -1..60).certified_key());
    let (_, findings) = found(&authority, ingress, turn).await;
    assert!(findings.iter().all(|f| f.status == Status::Pass), "{findings:#?}");
    let turn = at(&findings, Code::CertificateValid, TURNS);
    let names = "the same certificate (hubs.example.test, assets.hubs.example.test, cors.hubs.example.test)";
    assert_eq!(evidence(turn, "to other names"), Some(names), "{findings:#?}");
    let dialog = at(&findings, Code::CertificateValid, DIALOGS);
    let names =
        "a certificate of its own (hubs.example.test, assets.hubs.example.test, cors.hubs.example.test)";
    assert_eq!(evidence(dialog, "to other names"), Some(names), "{findings:#?}");
}

#[tokio::test]
async fn a_certificate_of_turn_for_several_names_is_held_against_that_of_its_own_name_only() {
    let authority = Authority::new();
    let ingress = by_name(&authority, [-1..60, -1..60, -1..60, -1..60]);
    let turn = always(authority.issue(&[STREAM, DOMAIN], -30..40).certified_key());
    let (_, findings) = found(&authority, ingress, turn).await;
    let finding = the(&findings, Code::CertificateNewest);
    assert_eq!(finding.target.as_deref(), Some(TURNS), "{finding:#?}");
    assert_eq!(evidence(finding, "old as well"), None, "{finding:#?}");
}

#[tokio::test]
async fn a_port_of_turn_whose_certificate_depends_on_the_name_is_an_ingress() {
    let authority = Authority::new();
    let ingress = || or_default(by_name(&authority, [-1..60, -1..60, -1..60, -1..60]));
    let (_, findings) = found(&authority, ingress(), ingress()).await;
    assert!(findings.iter().all(|f| f.status == Status::Pass), "{findings:#?}");
    let nameless = the(&findings, Code::CertificateWithoutName);
    assert!(nameless.summary.ends_with("get Hubs' default certificate"), "{nameless:#?}");
    let said = evidence(nameless, TURNS).unwrap_or_default();
    assert!(said.contains("programs that are no browser"), "{nameless:#?}");

    // What has to read it again is then haproxy, for all names at once.
    let old = by_name(&authority, [-70..20, -70..20, -70..20, -70..20]);
    let (_, findings) = found(&authority, ingress(), old).await;
    let finding = the(&findings, Code::CertificateNewest);
    assert_eq!(finding.target.as_deref(), Some(TURNS), "{finding:#?}");
    let names = "hubs.example.test, assets.hubs.example.test, cors.hubs.example.test";
    assert_eq!(evidence(finding, "old as well"), Some(names), "{finding:#?}");
    let commands = &finding.remedy.as_ref().unwrap().commands;
    assert_eq!(commands, &["kubectl rollout restart deployment haproxy -n hcce"], "{finding:#?}");
}

#[tokio::test]
async fn servers_of_turn_of_which_some_have_a_new_certificate_are_no_ingress() {
    let authority = Authority::new();
    let ingress = by_name(&authority, [-1..60, -1..60, -1..60, -1..60]);
    let [old, new] = [-70..20, -1..60].map(|days| authority.issue(&[STREAM], days).certified_key());
    let mut named = ResolvesServerCertUsingSni::new();
    named.add(STREAM, old).unwrap();
    let turn = Arc::new(OrDefault(Arc::new(named), Arc::new(new)));
    let (_, findings) = found(&authority, ingress, turn).await;
    let finding = the(&findings, Code::CertificateNewest);
    assert_eq!(finding.target.as_deref(), Some(TURNS), "{finding:#?}");
    let commands = &finding.remedy.as_ref().unwrap().commands;
    assert_eq!(commands, &["kubectl rollout restart deployment coturn -n hcce"], "{finding:#?}");
}

#[tokio::test]
async fn servers_of_turn_of_which_one_shows_coturns_certificate_are_no_ingress() {
    let authority = Authority::new();
    let ingress = by_name(&authority, [-1..60, -1..60, -1..60, -1..60]);
    let mut named = ResolvesServerCertUsingSni::new();
    named.add(STREAM, authority.issue(&[STREAM], -70..20).certified_key()).unwrap();
    let coturns = Identity::self_signed("dialog", &[]).certified_key();
    let turn = Arc::new(OrDefault(Arc::new(named), Arc::new(coturns)));
    let (_, findings) = found(&authority, ingress, turn).await;
    let finding = the(&findings, Code::CertificateNewest);
    assert_eq!(finding.target.as_deref(), Some(TURNS), "{finding:#?}");
    let commands = &finding.remedy.as_ref().unwrap().commands;
    assert_eq!(commands, &["kubectl rollout restart deployment coturn -n hcce"], "{finding:#?}");
}

/// All that is found where dialog's port is not served by what serves the pages.
async fn found_with_dialog(
    authority: &Authority,
    ingress: Arc<dyn ResolvesServerCert>,
    dialog: Arc<dyn ResolvesServerCert>,
) -> Vec<Finding> {
    let turn = always(authority.issue(&[STREAM], -1..60).certified_key());
    let (ingress, dialog, turn) = (server_of(ingress).await, server_of(dialog).await, server_of(turn).await);
    let mut detours: Vec<_> = Name::ALL.map(|name| (name, HTTPS, ingress)).into();
    detours.extend([(Name::Stream, DIALOG, dialog), (Name::Stream, TURN, turn)]);
    certificates(context(Some(authority.root_pem()), &detours)).await.unwrap()
}

#[tokio::test]
async fn a_port_that_lacks_the_newest_certificate_of_several_names_is_told_once_where_browsers_come() {
    let authority = Authority::new();
    let all =
        |days: std::ops::Range<i64>| by_name(&authority, [days.clone(), days.clone(), days.clone(), days]);
    let findings = found_with_dialog(&authority, all(-1..60), all(-70..20)).await;
    let finding = the(&findings, Code::CertificateNewest);
    assert_said(finding, Code::CertificateNewest, Status::Warn);
    assert_eq!(finding.target.as_deref(), Some(DIALOGS), "{finding:#?}");
    let names = "hubs.example.test, assets.hubs.example.test, cors.hubs.example.test";
    assert_eq!(evidence(finding, "old as well"), Some(names), "{finding:#?}");
    let commands = &finding.remedy.as_ref().unwrap().commands;
    assert_eq!(commands, &["kubectl rollout restart deployment haproxy -n hcce"], "{finding:#?}");
}

#[tokio::test]
async fn the_default_certificate_on_dialogs_port_alone_names_the_secret_and_the_argument() {
    let authority = Authority::new();
    let all = by_name(&authority, [-1..60, -1..60, -1..60, -1..60]);
    let default = always(Identity::self_signed(DOMAIN, &[]).certified_key());
    let findings = found_with_dialog(&authority, all, default).await;
    let faults: Vec<_> = findings.iter().filter(|f| f.status != Status::Pass).collect();
    let [finding] = faults.as_slice() else { panic!("{faults:#?}") };
    assert_said(finding, Code::CertificateDefault, Status::Fail);
    assert_eq!(finding.target.as_deref(), Some(DIALOGS));
    let cause = finding.cause.as_deref().unwrap();
    assert!(cause.starts_with("https://stream.hubs.example.test shows the real one"), "{finding:#?}");
    let remedy = finding.remedy.as_ref().unwrap();
    let argument = "argument --default-ssl-certificate name hcce/cert-stream.hubs.example.test";
    assert!(remedy.text.contains(argument), "{finding:#?}");
}

/// What is said of the versions of a port at which `serve` answers those who offer TLS 1.1 and nothing newer.
async fn versions_said(old: &'static [u8], today: bool) -> Outcome {
    let authority = Authority::new();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(always(authority.issue(&[DOMAIN], -1..60).certified_key()));
    config.send_tls13_tickets = 0;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tcp_server(move |mut stream| {
        let acceptor = acceptor.clone();
        async move {
            // The version stands behind the headers of the record and of the message.
            let mut beginning = [0; 11];
            while stream.peek(&mut beginning).await.is_ok_and(|read| (1..11).contains(&read)) {
                tokio::task::yield_now().await;
            }
            if beginning[9..] == [3, 2] || !today {
                let _ = stream.read(&mut [0; 2048]).await;
                let _ = stream
                    .write_all(if beginning[9..] == [3, 2] { old } else { &[21, 3, 3, 0, 2, 2, 70] })
                    .await;
            } else if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 1]).await;
            }
        }
    })
    .await;
    let cx = context(Some(authority.root_pem()), &everywhere(server, server));
    versions::versions(cx).await
}

#[tokio::test]
async fn versions_of_today_pass_and_old_ones_are_a_warning_beside_them() {
    const OLD: &[u8] = &[22, 3, 1, 0, 80, 2, 0, 0, 76, 3, 1, 0, 0];
    const ALERT: &[u8] = &[21, 3, 1, 0, 2, 2, 70];
    for (old, today, status, text) in [
        (ALERT, true, Status::Pass, "TLS 1.3 and 1.2"),
        (OLD, true, Status::Warn, "TLS 1.0 is still spoken"),
        (OLD, false, Status::Fail, "nothing newer than TLS 1.0"),
    ] {
        let findings = versions_said(old, today).await.unwrap();
        // The pages, dialog and TURN.
        assert_eq!(findings.len(), 3, "{findings:#?}");
        for finding in &findings {
            assert_said(finding, Code::TlsVersions, status);
            assert!(finding.summary.contains(text), "{finding:#?}");
        }
    }
    let Err(crate::check::Stop::Skip(reason)) = versions_said(ALERT, false).await else { panic!("no skip") };
    assert!(reason.contains("tls.certificates"), "{reason}");
}

#[tokio::test]
async fn what_another_port_of_the_same_ingress_contradicts_was_shown_by_something_on_the_way() {
    let authority = Authority::new();
    let all = |authority: &Authority| by_name(authority, [-1..60, -1..60, -1..60, -1..60]);
    let (own, filter) = (server_of(all(&authority)).await, server_of(all(&Authority::new())).await);
    let mut detours: Vec<_> = Name::ALL.map(|name| (name, HTTPS, filter)).into();
    detours.extend([(Name::Stream, DIALOG, own), (Name::Stream, TURN, own)]);
    let findings = certificates(context(Some(authority.root_pem()), &detours)).await.unwrap();
    let foreign: Vec<_> = findings.iter().filter(|f| f.code == Code::CertificateUnknownIssuer).collect();
    assert_eq!(foreign.len(), 4, "{findings:#?}");
    for finding in foreign {
        assert_said(finding, Code::CertificateUnknownIssuer, Status::Error);
        assert!(finding.summary.contains(":4443 shows the true certificate"), "{finding:#?}");
    }
    // A server of TURN's own may have another authority, and says nothing of the ingress.
    let (_, findings) = found(&authority, all(&Authority::new()), all(&authority)).await;
    let unknown = findings.iter().filter(|f| f.code == Code::CertificateUnknownIssuer);
    assert!(
        unknown.clone().count() == 5 && unknown.clone().all(|f| f.status == Status::Fail),
        "{findings:#?}"
    );
}

#[tokio::test]
async fn who_is_known_to_intercept_and_what_is_known_to_be_a_trial_are_told_apart() {
    for (issuer, status) in [
        ("Zscaler Intermediate Root CA (zscaler.net)", Status::Error),
        ("DO_NOT_TRUST_FiddlerRoot", Status::Error),
        ("(STAGING) Let's Encrypt", Status::Fail),
        ("Example Corporation CA", Status::Fail),
    ] {
        let authority = Authority::named(issuer);
        let identity = authority.issue(&[DOMAIN], -1..60);
        let finding = said(&Authority::new(), identity, Name::Root, HTTPS).await;
        assert_said(&finding, Code::CertificateUnknownIssuer, status);
        let is_trial = finding.summary.contains("try out");
        assert_eq!(is_trial, issuer.contains("STAGING"), "{finding:#?}");
    }
}
