//! SRTP as mediasoup does it (RFC 5764): what a client says is decrypted with its keys, and encrypted anew for who is to hear it.
//! Without a socket.

use std::fmt;

use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::{extension::extension_use_srtp::SrtpProtectionProfile, state::State};
use rtc_srtp::{
    config::{Config, LABEL_EXTRACTOR_DTLS_SRTP},
    context::Context,
    protection_profile::ProtectionProfile,
};

/// A packet of RTCP has such a second byte (RFC 5761 section 4).
const RTCP: std::ops::RangeInclusive<u8> = 192..=223;

/// The bytes of RTP's header that come before what an extension adds.
const HEADER_LEN: usize = 12;

/// The keys of one transport.
pub(super) struct Srtp {
    outgoing: Context,
    incoming: Context,
}

impl Srtp {
    /// The keys that a handshake has agreed on.
    pub(super) fn new(state: &State, provider: &dyn RTCCryptoProvider) -> Option<Self> {
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            _ => return None,
        };
        let mut config = Config { profile, ..Config::default() };
        let len = config.keying_material_len();
        let material = state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], len).ok()?;
        config.set_session_keys_from_keying_material(material.as_ref(), state.is_client()).ok()?;
        let keys = &config.keys;
        let context = |key, salt| Context::new(key, salt, profile, None, None, provider.crypto()).ok();
        Some(Self {
            outgoing: context(&keys.local_master_key, &keys.local_master_salt)?,
            incoming: context(&keys.remote_master_key, &keys.remote_master_salt)?,
        })
    }

    /// What a datagram says, unless it is RTCP or not from the one with the keys.
    pub(super) fn decrypt(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let is_rtp = datagram.len() > HEADER_LEN && !RTCP.contains(&datagram[1]);
        is_rtp.then(|| self.incoming.decrypt_rtp(datagram).ok())?.map(|packet| packet.to_vec())
    }

    /// The datagram that says it.
    pub(super) fn encrypt(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.outgoing.encrypt_rtp(packet).ok().map(|datagram| datagram.to_vec())
    }
}

/// Labels a packet as one of another stream: the marker, the number and the time stay.
pub(super) fn relabel(packet: &mut [u8], payload_type: u8, ssrc: u32) {
    if packet.len() >= HEADER_LEN {
        packet[1] = packet[1] & 0x80 | payload_type;
        packet[8..HEADER_LEN].copy_from_slice(&ssrc.to_be_bytes());
    }
}

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srtp").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_keeps_all_but_its_labels() {
        let mut packet = [0x80, 0x80 | 0x6f, 1, 2, 3, 4, 5, 6, 0, 0, 0, 7, b'x'];
        relabel(&mut packet, 100, 0x0102_0304);
        assert_eq!(packet, [0x80, 0x80 | 0x64, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, b'x']);
        relabel(&mut [0x80; 4], 100, 1);
    }
}
