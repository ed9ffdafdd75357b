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
    0008 PortsLeave "this network lets out more than web pages";
    0009 FamilyShared "this machine speaks the IP version that the deployment speaks";

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
    0111 ResolversAgree "the given resolver and this machine's own say the same";

    0130 MailOfAzure "Azure sends login mail";
    0131 SpfRecord "one SPF record lets Azure send mail";
    0132 SpfLookups "the SPF record takes no more than ten lookups";
    0133 DkimSelectors "both DKIM selectors lead to Azure's keys";
    0134 DmarcPolicy "one DMARC record says what becomes of forged mail";
    0135 MailExchanger "answers to login mail arrive somewhere";

    0201 CertificateValid "a browser accepts the certificate";
    0202 CertificateSelfSigned "the certificate is signed by itself";
    0203 CertificateDefault "haproxy shows Hubs' default certificate";
    0204 CertificateOfCoturn "TURN shows the certificate that coturn's image is built with";
    0205 CertificateWrongName "the certificate is for another name";
    0206 CertificateDates "the certificate is valid now";
    0207 CertificateChain "the server sends the whole chain, in order";
    0208 CertificateUnknownIssuer "the issuer is one that browsers trust";
    0209 TlsAnswers "the port answers and speaks TLS";
    0210 CertificateNewest "each port shows the newest certificate of its name";
    0211 CertificatesTogether "no name was left out when certificates were renewed";
    0212 CertificateStrength "keys and signatures are strong enough for browsers";
    0213 CertificateStapled "a certificate that demands an OCSP response comes with one";
    0214 TlsVersions "the port speaks TLS 1.2 or 1.3, and nothing older";
    0215 CertificateWithoutName "what clients get that name no host";

    0301 HubsHealthy "Hubs says that it is healthy";
    0302 HubsMeta "Reticulum says which version it runs";
    0303 HubsName "the page is a Hubs page";
    0304 DialogBehindIngress "the ingress leads to dialog";
    0305 PlainHttp "http:// leads to https://";
    0306 PageReached "the domain leads to its page and to no other place";
    0307 PageHosts "the pages name the right hosts";
    0308 PagePolicy "the pages let browsers reach what they need";
    0309 AssetsShared "scripts of the pages may read the assets";
    0310 AssetsThere "the files that the pages load are there";
    0311 SpokeAssets "the files that Spoke's page loads are there";
    0312 CorsProxy "the CORS proxy fetches what it is asked for";
    0313 Thumbnails "thumbnails are made";
    0314 PhoenixSocket "Reticulum's socket opens and answers";
    0315 ConnectionsTaken "every connection to the entrance is taken";

    0401 RoomJoined "a room lets us in and gives TURN credentials";
    0402 SignallingOpens "dialog's WebSocket opens";
    0403 TransportCreated "dialog creates a transport";
    0404 CandidatesUsable "dialog offers an address that a browser can use";
    0405 CandidateText "each address that dialog offers is an address";
    0406 PermissionAccepted "dialog accepts the permission that Reticulum gives";
    0407 PermissionSignature "dialog and Reticulum hold the same key";
    0408 PermissionKey "dialog can read its key";
    0409 PermissionDates "dialog's clock agrees with Reticulum's";
    0410 CredentialDates "the TURN credentials of a room are not run out when they are given";
    0420 AnnouncedApart "dialog announces an address of its own, and not the load balancer's";
    0421 OneDialog "every room is sent to the same dialog";
    0422 MediaPorts "dialog's ports are where Hubs has them";
    0423 RangesApart "the ports of dialog and those of TURN do not overlap";
    0424 AdminClosed "dialog's admin port is closed to the world";

    0501 DirectPath "dialog answers ICE at its announced address";
    0502 PortsOpen "dialog's ports are open all over their range";

    0601 TurnChallenges "TURN answers, and asks for credentials";
    0602 TurnAllocates "TURN accepts the credentials and allocates";
    0603 TurnPermits "TURN lets clients reach dialog";
    0604 RelayedPath "dialog answers ICE through TURN";
    0605 RelayedDtls "dialog completes DTLS through TURN";
    0606 TurnConnects "TURN takes a connection in good time";
    0608 TurnIndications "TURN carries media in indications, as Firefox sends it";
    0609 TurnChannels "TURN carries media on channels, as Chromium sends it";
    0610 TurnRefreshes "TURN keeps an allocation for those who ask for it";
    0611 TurnReleases "TURN takes an allocation back";
    0612 TurnRelayRange "UDP from outside reaches the relayed address";
    0613 TurnForeignPeers "TURN leads to dialog, and nowhere else in its network";

    0640 AudioDirect "sound comes back over the direct path";
    0641 AudioTurnTls "sound comes back through TURN over TLS";
    0642 AudioTurnUdp "sound comes back through TURN over UDP";
    0643 AudioGateway "sound comes back through the gateway over UDP";

    0660 TurnIdle "a connection to TURN outlives four silent minutes";
    0661 DirectIdle "the direct path outlives four silent minutes";
    0662 GatewayIdle "the way through the gateway outlives four silent minutes";

    0680 RelayReady "hubs-relay says that it is ready";
    0681 RelayPeers "hubs-relay knows where dialog is";
    0682 RelayDatabase "hubs-relay has Reticulum's secrets";
    0683 RelayCertificate "hubs-relay's certificate lives for a while";
    0684 RelayVersion "hubs-relay is of this probe's version";

    0690 GatewayUdp "media reaches dialog through the gateway over UDP";
    0691 GatewayTcp "media reaches dialog through the gateway over TCP";

    0700 RulesRead "each rule of the given files can be read";
    0701 EntranceAdmitted "the rules let people in at the load balancer";
    0702 TurnAdmitted "the rules let TURN in at the load balancer";
    0703 MediaAdmitted "the rules let media in to dialog's node";
    0704 InsideAdmitted "the rules let the parts of Hubs reach each other";
    0705 ProbesAdmitted "the rules let the load balancer find out which nodes are well";
    0706 OutAdmitted "the rules let nodes out";
    0707 FlowAdmitted "the rules let in what was asked for";
    0708 AdminDenied "the rules keep dialog's admin port closed";
    0709 GatewayAdmitted "the rules let media in at the gateway's port";
    0710 RuleDecides "each rule has something to decide";
    0711 RuleNarrow "no rule lets in more than Hubs needs";
    0720 AdmittedArrives "what the rules let in arrives";
    0721 DeniedIsClosed "what the rules deny is closed";
    0722 RuleCopied "the subnet lets in what its network interfaces let in";
    0723 RuleDestination "rules name the destination that packets have";

    0740 SweepAgent "the agent tells what arrives";
    0741 SweepArrives "each of dialog's ports lets packets in";
    0742 SweepReturns "answers come back from the ports that let packets in";
    0743 SweepTcp "TCP ports let connections in";
    0744 SweepLoss "the way to the ports loses nothing";

    0800 ManifestRead "the manifest can be read";
    0801 TurnFindsSecrets "the TURN server finds Reticulum's secrets";
    0802 TurnResolvesNames "the TURN server's pod resolves the cluster's names";
    0803 TurnHasCertificate "the TURN server is given a certificate";
    0804 TurnReachesDialog "what comes through the TURN server has a way to dialog";
    0805 PortsShared "no two pods want the same ports of a node";
    0806 HostsHaveSecrets "each host of an Ingress has its certificate's secret";
    0807 NoDefaultCertificate "haproxy has no self-signed certificate to show";
    0808 PermsKeyWritten "the key of permissions is written as dialog and Reticulum read it";
    0809 ValuesPutIn "no placeholder is left";
    0810 ClaimsDeclared "each claim that a pod mounts is declared";
    0811 StorageKept "what people store outlives its node";
    0812 EntranceComplete "the load balancer forwards what browsers open";
    0813 ContainersProbed "each container says whether it is well";
    0814 ImagesPinned "each image is pinned";
    0815 OneDomain "every host is of one domain";
    0816 SecretsPaired "each secret's key belongs to its certificate";
    0817 SecretsCurrent "each secret's certificate is in force";
    0818 SecretsNamed "each secret's certificate names its hosts";
    0819 SecretsServed "each host shows the certificate of its secret";
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
