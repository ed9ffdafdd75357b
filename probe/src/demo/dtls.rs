//! DTLS as mediasoup does it (RFC 5763): in the role that the client leaves to it, and trusting only the certificate whose
//! fingerprint the client signalled. Without a socket.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;
use ring::digest;
use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::{
    config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig},
    crypto::Certificate,
    endpoint::{Endpoint, EndpointEvent},
    extension::extension_use_srtp::SrtpProtectionProfile,
};
use rtc_shared::TransportProtocol;
use serde::Serialize;

use super::srtp::Srtp;
use crate::protoo::Fingerprint;

/// The association belongs to the transport, whichever path ICE chooses for it: it knows its peer under this name.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1);

/// In mediasoup's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DtlsState {
    /// Not begun.
    New,
    /// In the handshake.
    Connecting,
    /// Keys are agreed on, with the right one.
    Connected,
    /// The handshake broke, or somebody else than announced was at the other end.
    Failed,
    /// The other end has closed it.
    Closed,
}

/// Who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// Dialog's certificate for DTLS.
pub(super) struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
}

/// One association.
pub(super) struct Dtls {
    identity: Arc<Identity>,
    role: Option<Role>,
    endpoint: Option<Endpoint>,
    state: DtlsState,
    /// Whom the client announced.
    announced: Option<Fingerprint>,
    /// Who finished the handshake: a certificate in DER.
    finished: Option<Vec<u8>>,
}

impl Identity {
    /// A fresh self-signed certificate.
    pub(super) fn new() -> Result<Self, String> {
        let provider = rtc_crypto::default_provider().map_err(|e| e.to_string())?;
        let certificate = Certificate::generate_self_signed(["dialog".to_owned()], provider.crypto())
            .map_err(|e| e.to_string())?;
        Ok(Self { provider, certificate })
    }

    /// By which others know it.
    pub(super) fn fingerprints(&self) -> Vec<Fingerprint> {
        let der = self.certificate.certificate.first().map(|c| c.to_vec()).unwrap_or_default();
        // In an order that helps nobody, as mediasoup's.
        ["sha-512", "sha-1", "sha-384", "sha-256"].into_iter().filter_map(|a| fingerprint(a, &der)).collect()
    }

    fn config(&self, role: Role) -> Result<Arc<HandshakeConfig>, rtc_shared::error::Error> {
        ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&self.provider))
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // No authority signs these certificates; the fingerprint is compared when the handshake is done.
            .with_insecure_skip_verify(true)
            .build(role == Role::Client, None)
            .map(Arc::new)
    }
}

impl Dtls {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self { identity, role: None, endpoint: None, state: DtlsState::New, announced: None, finished: None }
    }

    /// Starts in this role, unless it is in it already; as client with a first message to send.
    pub(super) fn run(&mut self, now: Instant, role: Role) {
        if self.role == Some(role) {
            return;
        }
        self.role = Some(role);
        self.state = DtlsState::Connecting;
        let begun = self.identity.config(role).and_then(|config| {
            let server = (role == Role::Server).then(|| Arc::clone(&config));
            let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, server);
            if role == Role::Client {
                endpoint.connect(now, PEER, config, None)?;
            }
            Ok(endpoint)
        });
        match begun {
            Ok(endpoint) => self.endpoint = Some(endpoint),
            Err(_) => self.state = DtlsState::Failed,
        }
    }

    /// Whom to expect at the other end. Who has finished the handshake already is judged now.
    pub(super) fn announce(&mut self, fingerprint: Fingerprint) {
        self.announced = Some(fingerprint);
        self.judge();
    }

    /// Takes a datagram from the other end.
    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) {
        if !matches!(self.state, DtlsState::Connecting | DtlsState::Connected) {
            return;
        }
        let Some(endpoint) = &mut self.endpoint else { return };
        match endpoint.read(now, PEER, None, BytesMut::from(datagram)) {
            Ok(events) => events.iter().for_each(|event| self.take(event)),
            // What breaks into an association that stands is passed over.
            Err(_) if self.state == DtlsState::Connected => {}
            Err(_) => self.state = DtlsState::Failed,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now)
            && let Some(endpoint) = &mut self.endpoint
            && endpoint.handle_timeout(PEER, now).is_err()
        {
            self.state = DtlsState::Failed;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let runs = self.state == DtlsState::Connecting;
        self.endpoint.as_ref().filter(|_| runs).and_then(|endpoint| endpoint.poll_timeout(&PEER))
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.as_mut()?.poll_transmit().map(|transmit| transmit.message)
    }

    pub(super) fn state(&self) -> DtlsState {
        self.state
    }

    /// The keys of the media, once they are agreed on.
    pub(super) fn srtp(&self) -> Option<Srtp> {
        let endpoint = self.endpoint.as_ref().filter(|_| self.state == DtlsState::Connected)?;
        Srtp::new(endpoint.get_connection_state(PEER)?, &*self.identity.provider)
    }

    fn take(&mut self, event: &EndpointEvent) {
        match event {
            EndpointEvent::HandshakeComplete => {
                let state = self.endpoint.as_ref().and_then(|e| e.get_connection_state(PEER));
                self.finished = state.and_then(|s| s.peer_certificates.first().cloned());
                self.judge();
            }
            EndpointEvent::PeerClosed => self.state = DtlsState::Closed,
            _ => {}
        }
    }

    fn judge(&mut self) {
        if self.state == DtlsState::Connecting
            && let (Some(announced), Some(der)) = (&self.announced, &self.finished)
        {
            let is_right = fingerprint(&announced.algorithm, der)
                .is_some_and(|actual| actual.value.eq_ignore_ascii_case(&announced.value));
            self.state = if is_right { DtlsState::Connected } else { DtlsState::Failed };
        }
    }
}

/// The fingerprint of a certificate, with one of the algorithms of RFC 8122 section 5.
fn fingerprint(algorithm: &str, der: &[u8]) -> Option<Fingerprint> {
    let digest = digest::digest(hash(algorithm)?, der);
    let bytes: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Fingerprint::new(algorithm.to_owned(), bytes.join(":"))
}

fn hash(algorithm: &str) -> Option<&'static digest::Algorithm> {
    match algorithm {
        "sha-1" => Some(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        "sha-256" => Some(&digest::SHA256),
        "sha-384" => Some(&digest::SHA384),
        "sha-512" => Some(&digest::SHA512),
        _ => None,
    }
}

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dtls").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Pair {
        client: Dtls,
        server: Dtls,
        now: Instant,
    }

    impl Pair {
        /// Two ends of which each knows the other's certificate.
        fn new() -> Self {
            let mut pair = Self::strangers();
            pair.client.announce(sha256(&pair.server));
            pair.server.announce(sha256(&pair.client));
            pair
        }

        fn strangers() -> Self {
            let end = || Dtls::new(Arc::new(Identity::new().unwrap()));
            let (mut client, mut server, now) = (end(), end(), Instant::now());
            server.run(now, Role::Server);
            client.run(now, Role::Client);
            Self { client, server, now }
        }

        /// Carries datagrams until neither end has any; the first `lost` of them do not arrive.
        fn exchange(&mut self, mut lost: usize) {
            loop {
                let (from_client, from_server) = (drain(&mut self.client), drain(&mut self.server));
                if from_client.is_empty() && from_server.is_empty() {
                    return;
                }
                for (end, datagrams) in [(&mut self.server, from_client), (&mut self.client, from_server)] {
                    for datagram in datagrams {
                        match lost {
                            0 => end.handle(self.now, &datagram),
                            _ => lost -= 1,
                        }
                    }
                }
            }
        }

        fn states(&self) -> (DtlsState, DtlsState) {
            (self.client.state(), self.server.state())
        }
    }

    fn drain(dtls: &mut Dtls) -> Vec<BytesMut> {
        std::iter::from_fn(|| dtls.poll_transmit()).collect()
    }

    fn sha256(dtls: &Dtls) -> Fingerprint {
        dtls.identity.fingerprints().into_iter().find(|f| f.algorithm == "sha-256").unwrap()
    }

    #[test]
    fn two_ends_that_know_each_others_fingerprint_connect() {
        let mut pair = Pair::new();
        pair.exchange(0);
        assert_eq!(pair.states(), (DtlsState::Connected, DtlsState::Connected));
    }

    #[test]
    fn a_lost_datagram_is_sent_again_in_time() {
        let mut pair = Pair::new();
        pair.exchange(1);
        assert_eq!(pair.states(), (DtlsState::Connecting, DtlsState::Connecting));
        pair.now += Duration::from_secs(2);
        for end in [&mut pair.client, &mut pair.server] {
            end.handle_timeout(pair.now);
        }
        pair.exchange(0);
        assert_eq!(pair.states(), (DtlsState::Connected, DtlsState::Connected));
    }

    #[test]
    fn an_end_waits_for_the_fingerprint_of_the_other_one() {
        let mut pair = Pair::strangers();
        pair.exchange(0);
        assert_eq!(pair.server.state(), DtlsState::Connecting);
        pair.server.announce(sha256(&pair.client));
        assert_eq!(pair.server.state(), DtlsState::Connected);
    }

    #[test]
    fn somebody_else_than_announced_is_turned_away() {
        let mut pair = Pair::strangers();
        let stranger = sha256(&Pair::strangers().client);
        pair.server.announce(stranger);
        pair.exchange(0);
        assert_eq!(pair.server.state(), DtlsState::Failed);
    }

    #[test]
    fn noise_ends_no_association_that_stands() {
        let mut pair = Pair::new();
        pair.exchange(0);
        // A record that claims to be longer than its datagram.
        pair.server.handle(pair.now, &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 200, 1]);
        assert_eq!(pair.server.state(), DtlsState::Connected);
    }
}
