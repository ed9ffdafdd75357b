//! TLS as a browser does it, keeping what the server showed, whether it is acceptable or not.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ALL_VERSIONS, CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{ConnectError, Net, NetError};

/// How long a handshake may take once the connection stands.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// More certificates than any honest chain has.
const LONGEST_CHAIN: usize = 10;

/// A TLS connection.
pub type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// Which certificates end the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that a browser refuses.
    Browser,
    /// None: for looking further behind a fault that has been reported.
    Anything,
}

/// What the server showed, and what a browser makes of it.
#[derive(Clone, Debug)]
pub struct Presented {
    /// As sent, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// What a browser makes of it.
    pub judgement: Judgement,
    /// Whether an OCSP response came with it (RFC 6066 section 8).
    pub stapled: bool,
}

/// How a handshake differs from a browser's.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    /// Which server name is asked for.
    pub name: Sni<'a>,
    /// Which versions of TLS are offered.
    pub versions: &'static [&'static SupportedProtocolVersion],
}

/// The server name that a client asks for (RFC 6066 section 3).
#[derive(Clone, Copy, Debug)]
pub enum Sni<'a> {
    /// That of the host to which it connects.
    Host,
    /// That of another host.
    Other(&'a str),
    /// None.
    Unsaid,
}

impl Default for Handshake<'_> {
    fn default() -> Self {
        Self { name: Sni::Host, versions: ALL_VERSIONS }
    }
}

/// What a browser makes of a certificate.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It accepts it.
    Accepted,
    /// It does not, for this reason.
    Refused(CertificateError),
}

/// Why no TLS connection came about.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There was no TCP connection to begin with.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server accepted and then said nothing.
    #[error("the server accepts the connection and then says nothing for {} s", HANDSHAKE_LIMIT.as_secs())]
    Silent,
    /// A browser refuses the certificate.
    #[error("the certificate is refused: {0}")]
    Certificate(CertificateError),
    /// The server does not speak TLS that we understand, or ended the handshake.
    #[error("the TLS handshake fails: {0}")]
    Handshake(String),
    /// The host can't stand in a TLS handshake.
    #[error("{0:?} can't be a server name")]
    Name(String),
}

/// Mozilla's roots and those in `pem`.
pub(super) fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, NetError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = pem {
        let failed = |reason: &dyn fmt::Display| NetError::CaFile(reason.to_string());
        let certificates =
            CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|e| failed(&e))?;
        if certificates.is_empty() {
            return Err(failed(&"there is no BEGIN CERTIFICATE in it"));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|e| failed(&e))?;
        }
    }
    Ok(roots)
}

impl Net {
    /// A TLS connection to `host`, and what the server showed.
    pub async fn tls(&self, host: &str, port: u16, trust: Trust) -> Result<(TlsStream, Presented), TlsError> {
        self.tls_with(host, port, trust, &Handshake::default()).await
    }

    /// The same with a handshake of another form than a browser's.
    pub async fn tls_with(
        &self,
        host: &str,
        port: u16,
        trust: Trust,
        form: &Handshake<'_>,
    ) -> Result<(TlsStream, Presented), TlsError> {
        let asked = match form.name {
            Sni::Other(name) => name,
            Sni::Host | Sni::Unsaid => host,
        };
        let name = ServerName::try_from(asked.to_owned()).map_err(|_| TlsError::Name(asked.to_owned()))?;
        let stream = self.connect(host, port).await?;
        let recorder = Arc::new(Recorder::new(&self.roots, trust)?);
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(form.versions)
            .map_err(|e| TlsError::Handshake(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Recorder>::clone(&recorder))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = !matches!(form.name, Sni::Unsaid);
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = match timeout(HANDSHAKE_LIMIT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(recorder.explain(&e)),
            Err(_) => return Err(TlsError::Silent),
        };
        let presented =
            recorder.presented().ok_or_else(|| TlsError::Handshake("no certificate was shown".to_owned()))?;
        Ok((stream, presented))
    }
}

/// Judges as a browser does and remembers both the chain and the judgement.
#[derive(Debug)]
struct Recorder {
    browser: Arc<WebPkiServerVerifier>,
    provider: CryptoProvider,
    trust: Trust,
    presented: Mutex<Option<Presented>>,
}

impl Recorder {
    fn new(roots: &Arc<RootCertStore>, trust: Trust) -> Result<Self, TlsError> {
        let provider = ring::default_provider();
        let browser =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::new(provider.clone()))
                .build()
                .map_err(|e| TlsError::Handshake(e.to_string()))?;
        Ok(Self { browser, provider, trust, presented: Mutex::new(None) })
    }

    fn presented(&self) -> Option<Presented> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn explain(&self, error: &io::Error) -> TlsError {
        if let (Trust::Browser, Some(Presented { judgement: Judgement::Refused(reason), .. })) =
            (self.trust, self.presented())
        {
            return TlsError::Certificate(reason);
        }
        TlsError::Handshake(match error.kind() {
            io::ErrorKind::UnexpectedEof => "the server closes the connection".to_owned(),
            _ => error.to_string(),
        })
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let verdict =
            self.browser.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let judgement = match &verdict {
            Ok(_) => Judgement::Accepted,
            Err(RustlsError::InvalidCertificate(reason)) => Judgement::Refused(reason.clone()),
            Err(_) => Judgement::Refused(CertificateError::BadEncoding),
        };
        let chain = std::iter::once(end_entity)
            .chain(intermediates)
            .take(LONGEST_CHAIN)
            .map(|c| c.clone().into_owned())
            .collect();
        let stapled = !ocsp_response.is_empty();
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Presented { chain, judgement, stapled });
        match self.trust {
            Trust::Browser => verdict,
            Trust::Anything => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        match self.trust {
            Trust::Browser => self.browser.verify_tls12_signature(message, cert, dss),
            Trust::Anything => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        match self.trust {
            Trust::Browser => self.browser.verify_tls13_signature(message, cert, dss),
            Trust::Anything => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
