//! The registry of outcomes: a stable code, the assertion behind it, and the page that `explain` prints.
//!
//! A code, once published, keeps its meaning; a retired one is never given out again.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $number:literal $name:ident $title:literal;)*) => {
        /// An outcome that a check can report, written `HP0101`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        #[allow(clippy::zero_prefixed_literal, reason = "the zeros belong to the name of the page's file")]
        pub enum Code {
            $(#[doc = $title] $name = $number,)*
        }

        impl Code {
            /// Every code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The assertion, as a sentence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The page about it: what it means, how it is found out, what to do.
            pub fn page(self) -> &'static str {
                match self { $(Self::$name => include_str!(concat!("codes/HP", stringify!($number), ".md")),)* }
            }
        }
    };
}

codes! {
    0001 UdpLeaves "UDP leaves this network and comes back";
    0002 NatMapping "the NAT shows this machine under one address";
    0003 PathMtu "packets of the usual length get through in one piece";
    0004 NoPortal "no login page answers in the deployment's place";
    0005 NoInspection "nobody on the way opens TLS";
    0006 NoProxy "browsers here go the way that this check goes";
    0007 ClockAgrees "this machine's clock agrees with the server's";

    0101 NameResolves "each name of the deployment has an address";
    0102 NamesAgree "the names lead to the same address";
    0103 AuthorityAgrees "the zone's own servers and the resolver say the same";
    0104 AuthorityAnswers "every server of the zone answers";
    0105 AliasesEnd "each chain of aliases ends at an address";
    0106 NoWildcard "no wildcard stands in for a missing name";
    0107 NoDoubledName "no name was entered with the domain twice";
    0108 AaaaReached "what a name has in IPv6 answers there";
    0109 CaaPermits "the CAA records permit the next certificates";
    0110 DnssecValid "the zone's signatures hold";

    0130 MailOfAzure "Azure sends login mail";
    0131 SpfRecord "one SPF record lets Azure send mail";
    0132 SpfLookups "the SPF record takes no more than ten lookups";
    0133 DkimSelectors "both DKIM selectors lead to Azure's keys";
    0134 DmarcPolicy "one DMARC record says what becomes of forged mail";

    0201 CertificateValid "a browser accepts the certificate";
    0202 CertificateSelfSigned "the certificate is signed by itself";
    0203 CertificateDefault "haproxy shows Hubs' default certificate";
    0204 CertificateOfCoturn "TURN shows the certificate that coturn's image is built with";
    0205 CertificateWrongName "the certificate is for another name";
    0206 CertificateDates "the certificate is valid now";
    0207 CertificateChain "the server sends the whole chain, in order";
    0208 CertificateUnknownIssuer "the issuer is one that browsers trust";
    0209 TlsAnswers "the port answers and speaks TLS";

    0301 HubsHealthy "Hubs says that it is healthy";
    0302 HubsMeta "Reticulum says which version it runs";
    0303 HubsName "the page is a Hubs page";
    0304 DialogBehindIngress "the ingress leads to dialog";

    0401 RoomJoined "a room lets us in and gives TURN credentials";
    0402 SignallingOpens "dialog's WebSocket opens";
    0403 TransportCreated "dialog creates a transport";
    0404 CandidatesUsable "dialog offers an address that a browser can use";
    0405 CandidateText "each address that dialog offers is an address";

    0501 DirectPath "dialog answers ICE at its announced address";

    0601 TurnChallenges "TURN answers, and asks for credentials";
    0602 TurnAllocates "TURN accepts the credentials and allocates";
    0603 TurnPermits "TURN lets clients reach dialog";
    0604 RelayedPath "dialog answers ICE through TURN";
    0605 RelayedDtls "dialog completes DTLS through TURN";
}

impl Code {
    /// The number in `HP0101`.
    pub fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("HP{:04}", self.number()))
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text names no code.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no code of hubs-probe: `hubs-probe list` shows them all")]
pub struct UnknownCode(String);

impl FromStr for Code {
    type Err = UnknownCode;

    /// Reads `HP0101`, in any case, or `101`.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let digits = text.trim_start_matches(['H', 'h', 'P', 'p']);
        let number: u16 = digits.parse().map_err(|_| UnknownCode(text.to_owned()))?;
        Self::ALL.iter().copied().find(|c| c.number() == number).ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_each_page_is_about_its_code() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        for code in Code::ALL {
            let heading = format!("# {code}: ");
            assert!(code.page().starts_with(&heading), "the page of {code} does not start with {heading:?}");
            for section in ["## What it means", "## How it is found out", "## What to do"] {
                assert!(code.page().contains(section), "the page of {code} lacks {section:?}");
            }
            let is_command = |line: &&str| ["kubectl ", "az ", "npm "].iter().any(|c| line.starts_with(c));
            assert_eq!(
                code.page().lines().find(is_command),
                None,
                "a command of {code} stands apart from its text"
            );
        }
    }

    #[test]
    fn a_code_is_read_as_people_write_it() {
        for text in ["HP0101", "hp0101", "101", "0101"] {
            assert_eq!(text.parse(), Ok(Code::NameResolves));
        }
        assert!("HP9999".parse::<Code>().is_err());
    }
}
