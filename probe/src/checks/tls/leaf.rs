//! What a person wants to know of a certificate, and what browsers want to know of a chain.

use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, public_key::PublicKey,
    x509::X509Name,
};

/// Warn when a certificate runs out within this time: Hubs' are renewed with up to 45 days left, so somebody forgot.
const RUNS_OUT_SOON: Duration = Duration::days(21);

/// Browsers and authorities refuse RSA keys that are shorter.
const SHORTEST_RSA: usize = 2048;

/// What the issuers call themselves that stand between people and servers: filters of companies and of virus scanners, and tools for
/// looking into connections. In lower case.
const INTERCEPTORS: [&str; 22] = [
    "zscaler",
    "fortinet",
    "fortigate",
    "sophos",
    "cisco umbrella",
    "goskope",
    "netskope",
    "blue coat",
    "forcepoint",
    "websense",
    "watchguard",
    "check point",
    "palo alto",
    "barracuda",
    "kaspersky",
    "avast",
    "avg web",
    "eset ssl",
    "bitdefender",
    "mitmproxy",
    "fiddlerroot",
    "portswigger",
];

/// The extension by which a certificate demands an OCSP response (RFC 7633), with that as its only content.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
const STATUS_REQUEST: [u8; 5] = [0x30, 3, 2, 1, 5];

/// The server's own certificate.
pub(super) struct Leaf {
    pub(super) subject: String,
    pub(super) common_name: String,
    pub(super) issuer: String,
    pub(super) issuer_organisation: Option<String>,
    pub(super) issuer_common_name: Option<String>,
    pub(super) self_signed: bool,
    pub(super) names: Vec<String>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// Its kind of key, and how long it is.
    pub(super) key: String,
    /// What is wrong with its key or with a signature of the chain.
    pub(super) weakness: Option<Weakness>,
    /// Whether it demands an OCSP response beside it.
    pub(super) must_staple: bool,
}

/// Why browsers do not rely on a key or a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weakness {
    /// An RSA key of so many bits.
    ShortKey(usize),
    /// A signature with a hash that was broken.
    BrokenHash(&'static str),
}

impl Leaf {
    pub(super) fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
        let names =
            certificate.subject_alternative_name().ok().flatten().map_or_else(Vec::new, |extension| {
                extension
                    .value
                    .general_names
                    .iter()
                    .filter_map(|name| match name {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        _ => None,
                    })
                    .collect()
            });
        Some(Self {
            subject: certificate.subject().to_string(),
            common_name: common_name(certificate.subject()).unwrap_or_default(),
            issuer: certificate.issuer().to_string(),
            issuer_organisation: organisation(certificate.issuer()),
            issuer_common_name: common_name(certificate.issuer()),
            self_signed: certificate.issuer().as_raw() == certificate.subject().as_raw(),
            names,
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            key: kind_of_key(&certificate),
            weakness: weakness(chain),
            must_staple: certificate
                .extensions()
                .iter()
                .any(|e| e.oid.to_id_string() == TLS_FEATURE && e.value == STATUS_REQUEST),
        })
    }

    /// Whether it is Hubs' own: the generator makes one for the domain that names no host.
    pub(super) fn is_hubs_default(&self, domain: &str) -> bool {
        self.self_signed && self.names.is_empty() && self.common_name == domain
    }

    /// Whether its issuer is known to show certificates of its own in the place of servers'.
    pub(super) fn is_by_interceptor(&self) -> bool {
        let issuer = self.issuer.to_lowercase();
        INTERCEPTORS.iter().any(|name| issuer.contains(name))
    }

    /// Whether it is one to try out how certificates are issued.
    pub(super) fn is_by_staging(&self) -> bool {
        self.issuer.contains("(STAGING)") || self.issuer.contains("Fake LE")
    }

    /// Whether it names the host (RFC 6125 section 6.4.3).
    pub(super) fn is_for(&self, host: &str) -> bool {
        let parent = host.split_once('.').map_or("", |(_, parent)| parent);
        self.names.iter().any(|name| {
            name.eq_ignore_ascii_case(host)
                || name.strip_prefix("*.").is_some_and(|name| name.eq_ignore_ascii_case(parent))
        })
    }

    pub(super) fn ran_out(&self, now: OffsetDateTime) -> bool {
        self.not_after < now
    }

    /// Whether it should have been renewed by now. Those that live for a few days only are renewed later.
    pub(super) fn runs_out_soon(&self, now: OffsetDateTime) -> bool {
        let lifetime = self.not_after - self.not_before;
        self.not_after - now < RUNS_OUT_SOON.min(lifetime / 3)
    }

    /// Whether the same authority issued both.
    pub(super) fn has_issuer_of(&self, other: &Self) -> bool {
        match (&self.issuer_organisation, &other.issuer_organisation) {
            (Some(a), Some(b)) => a == b,
            // An authority's intermediates change with their common names.
            _ => self.issuer == other.issuer,
        }
    }
}

/// Each certificate must be followed by its issuer, RFC 5246 section 7.4.2.
pub(super) fn in_order(chain: &[CertificateDer<'_>]) -> bool {
    let parsed: Option<Vec<_>> = chain
        .iter()
        .map(|der| X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate))
        .collect();
    parsed.is_some_and(|chain| {
        chain.windows(2).all(|pair| pair[0].issuer().as_raw() == pair[1].subject().as_raw())
    })
}

/// When the first of the issuers that are sent along ran out, if one did.
pub(super) fn issuer_ran_out(chain: &[CertificateDer<'_>], now: OffsetDateTime) -> Option<OffsetDateTime> {
    chain
        .iter()
        .skip(1)
        .filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1.validity().not_after.to_datetime()))
        .filter(|not_after| *not_after < now)
        .min()
}

/// What is weak in the chain. Nobody relies on the signature of a certificate that signed itself.
fn weakness(chain: &[CertificateDer<'_>]) -> Option<Weakness> {
    chain.iter().filter_map(|der| X509Certificate::from_der(der).ok()).find_map(|(_, certificate)| {
        let hash = broken_hash(&certificate.signature_algorithm.algorithm.to_id_string());
        let relied_on = certificate.issuer().as_raw() != certificate.subject().as_raw();
        if let Some(hash) = hash.filter(|_| relied_on) {
            return Some(Weakness::BrokenHash(hash));
        }
        match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) if key.key_size() < SHORTEST_RSA => {
                Some(Weakness::ShortKey(key.key_size()))
            }
            _ => None,
        }
    })
}

fn kind_of_key(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA, {} bits", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("elliptic curve, {} bits", point.key_size()),
        Ok(_) | Err(_) => format!("algorithm {}", certificate.public_key().algorithm.algorithm),
    }
}

/// The hash of a signature algorithm, if nobody relies on it any more.
fn broken_hash(algorithm: &str) -> Option<&'static str> {
    match algorithm {
        // RSA, ECDSA and DSA (RFC 3279 section 2.2).
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" => Some("SHA-1"),
        "1.2.840.113549.1.1.2" => Some("MD2"),
        "1.2.840.113549.1.1.4" => Some("MD5"),
        _ => None,
    }
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next().and_then(|cn| cn.as_str().ok()).map(str::to_owned)
}

fn organisation(name: &X509Name<'_>) -> Option<String> {
    name.iter_organization().next().and_then(|o| o.as_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Authority, DOMAIN};

    fn read_all(chain: &[CertificateDer<'_>]) {
        let now = OffsetDateTime::now_utc();
        in_order(chain);
        issuer_ran_out(chain, now);
        if let Some(leaf) = Leaf::read(chain) {
            leaf.is_for(DOMAIN);
            leaf.runs_out_soon(now);
            leaf.is_by_interceptor();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read_all(&[bytes.into()]);
        }

        #[test]
        fn no_damage_to_a_certificate_makes_the_reader_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            length in any::<prop::sample::Index>(),
        ) {
            let identity = Authority::new().issue(&[DOMAIN, "*.hubs.example.test"], -1..60);
            let mut bytes = identity.chain[0].to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            read_all(&[bytes.clone().into(), identity.chain[1].clone()]);
            bytes.truncate(length.index(bytes.len()));
            read_all(&[bytes.into()]);
        }
    }

    #[test]
    fn a_name_with_a_star_is_for_one_label_more() {
        let identity = Authority::new().issue(&["*.hubs.example.test"], -1..60);
        let leaf = Leaf::read(&identity.chain).unwrap();
        assert!(leaf.is_for("stream.hubs.example.test"));
        assert!(!leaf.is_for(DOMAIN) && !leaf.is_for("a.b.hubs.example.test"));
        assert_eq!(leaf.key, "elliptic curve, 256 bits");
    }
}
