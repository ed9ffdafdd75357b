//! The checks, a module for each group, and the table of them. Each function reads facts, does one thing and returns
//! findings.

pub(crate) mod addresses;
pub(crate) mod assets;
pub(crate) mod audio;
mod clock;
pub(crate) mod dialog;
pub(crate) mod dns;
#[cfg(test)]
mod hostile;
pub(crate) mod http;
pub(crate) mod ice;
pub(crate) mod idle;
mod legs;
pub(crate) mod mail;
pub(crate) mod media;
pub(crate) mod neighbour;
pub(crate) mod pages;
pub(crate) mod permission;
pub(crate) mod ports;
pub(crate) mod proxies;
pub(crate) mod redirects;
mod refusals;
#[cfg(test)]
mod registry;
pub(crate) mod room;
pub(crate) mod socket;
pub(crate) mod steps;
pub(crate) mod tls;
pub(crate) mod turn;
mod websocket;
pub(crate) mod you;

use std::{future::ready, time::Duration};

use crate::{
    check::{Check, Group, Stop},
    codes::Code,
    net::{ConnectError, ResolveError, TlsError},
};

/// No commands.
const NONE: [&str; 0] = [];

const SECOND: Duration = Duration::from_secs(1);

/// Every check. Reports, help and documentation follow from this table.
pub(crate) static CHECKS: &[Check] = &[
    Check {
        id: "you.proxy",
        group: Group::Vantage,
        question: "do browsers here go another way than this check?",
        code: Code::NoProxy,
        also: &[],
        contacts: "nobody",
        after: &[],
        timeout: SECOND.saturating_mul(5),
        run: |cx| Box::pin(ready(Ok(you::proxy::environment(&cx)))),
    },
    Check {
        id: "dns.addresses",
        group: Group::Dns,
        question: "do the four names have addresses, and the same ones?",
        code: Code::NameResolves,
        also: &[Code::NamesAgree],
        contacts: "the DNS resolver",
        after: &[],
        timeout: SECOND.saturating_mul(12),
        run: |cx| Box::pin(dns::addresses(cx)),
    },
    Check {
        id: "dns.authority",
        group: Group::Dns,
        question: "do the zone's own servers answer, and say the same?",
        code: Code::AuthorityAgrees,
        also: &[Code::AuthorityAnswers],
        contacts: "the DNS servers of the domain's own zone",
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dns::authority::authority(cx)),
    },
    Check {
        id: "dns.aliases",
        group: Group::Dns,
        question: "do aliases end at an address?",
        code: Code::AliasesEnd,
        also: &[],
        contacts: "the DNS resolver",
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dns::aliases::aliases(cx)),
    },
    Check {
        id: "dns.missing",
        group: Group::Dns,
        question: "is a name missing without looking so?",
        code: Code::NoWildcard,
        also: &[Code::NoDoubledName],
        contacts: "the DNS resolver",
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dns::missing::missing(cx)),
    },
    Check {
        id: "dns.dnssec",
        group: Group::Dns,
        question: "do the zone's signatures hold?",
        code: Code::DnssecValid,
        also: &[],
        contacts: "the DNS resolver",
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dns::dnssec::signatures(cx)),
    },
    Check {
        id: "dns.aaaa",
        group: Group::Dns,
        question: "does anybody listen at the published IPv6 addresses?",
        code: Code::AaaaReached,
        also: &[],
        contacts: "the IPv6 addresses of the names, on 443, 4443 and 5349",
        after: &["dns.authority"],
        timeout: SECOND.saturating_mul(20),
        run: |cx| Box::pin(dns::ipv6::published(cx)),
    },
    Check {
        id: "you.clock",
        group: Group::Vantage,
        question: "does this machine's clock agree with the server's?",
        code: Code::ClockAgrees,
        also: &[],
        contacts: "the deployment, over HTTPS",
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(you::clock::agrees(cx)),
    },
    Check {
        id: "you.interception",
        group: Group::Vantage,
        question: "does anybody answer in the deployment's place?",
        code: Code::NoPortal,
        also: &[Code::NoInspection],
        contacts: "the deployment, on 80 and 443",
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(you::interception::interception(cx)),
    },
    Check {
        id: "room.join",
        group: Group::Signalling,
        question: "does the room let us in, and where does it send media?",
        code: Code::RoomJoined,
        also: &[Code::CredentialDates],
        contacts: "Reticulum, as a browser that joins the room",
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(room::join(cx)),
    },
    Check {
        id: "tls.certificates",
        group: Group::Certificates,
        question: "would a browser accept the certificate of each name on each port?",
        code: Code::CertificateValid,
        also: &[
            Code::CertificateSelfSigned,
            Code::CertificateDefault,
            Code::CertificateOfCoturn,
            Code::CertificateWrongName,
            Code::CertificateDates,
            Code::CertificateChain,
            Code::CertificateUnknownIssuer,
            Code::TlsAnswers,
            Code::CertificateNewest,
            Code::CertificatesTogether,
            Code::CertificateStrength,
            Code::CertificateStapled,
            Code::CertificateWithoutName,
        ],
        contacts: "each name of the deployment, on 443, 4443 and 5349",
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(tls::certificates(cx)),
    },
    Check {
        id: "dns.caa",
        group: Group::Dns,
        question: "may the authority in use issue the next certificates?",
        code: Code::CaaPermits,
        also: &[],
        contacts: "the DNS resolver",
        after: &["tls.certificates"],
        timeout: SECOND.saturating_mul(20),
        run: |cx| Box::pin(dns::caa::caa(cx)),
    },
    Check {
        id: "tls.versions",
        group: Group::Certificates,
        question: "does each port speak the TLS of today, and nothing older?",
        code: Code::TlsVersions,
        also: &[],
        contacts: "stream. and the room's TURN server and one more name, on their ports",
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(tls::versions::versions(cx)),
    },
    Check {
        id: "http.hubs",
        group: Group::Http,
        question: "does Hubs answer, and does it call itself well?",
        code: Code::HubsHealthy,
        also: &[Code::HubsMeta, Code::HubsName],
        contacts: "the deployment, over HTTPS",
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(http::hubs(cx)),
    },
    Check {
        id: "http.dialog",
        group: Group::Http,
        question: "does the ingress lead to dialog?",
        code: Code::DialogBehindIngress,
        also: &[],
        contacts: "dialog, over HTTPS",
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(http::dialog(cx)),
    },
    Check {
        id: "http.redirects",
        group: Group::Http,
        question: "does http:// lead to https://, and the domain to its own page?",
        code: Code::PageReached,
        also: &[Code::PlainHttp],
        contacts: "the deployment, over HTTP and HTTPS",
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(redirects::followed(cx)),
    },
    Check {
        id: "http.pages",
        group: Group::Http,
        question: "do the pages name the right hosts, and let browsers reach them?",
        code: Code::PageHosts,
        also: &[Code::PagePolicy],
        contacts: "the deployment, over HTTPS",
        after: &["dns.addresses", "http.hubs"],
        timeout: SECOND.saturating_mul(40),
        run: |cx| Box::pin(pages::pages(cx)),
    },
    Check {
        id: "http.assets",
        group: Group::Http,
        question: "are the files there that the pages load?",
        code: Code::AssetsThere,
        also: &[Code::AssetsShared, Code::SpokeAssets],
        contacts: "assets. and where else the pages load files from, within the deployment",
        after: &["http.pages"],
        timeout: SECOND.saturating_mul(40),
        run: |cx| Box::pin(assets::assets(cx)),
    },
    Check {
        id: "http.proxies",
        group: Group::Http,
        question: "do the CORS proxy and the maker of thumbnails do their work?",
        code: Code::CorsProxy,
        also: &[Code::Thumbnails],
        contacts: "cors., which fetches from the deployment itself",
        after: &["dns.addresses", "http.hubs", "http.assets"],
        timeout: SECOND.saturating_mul(20),
        run: |cx| Box::pin(proxies::proxies(cx)),
    },
    Check {
        id: "http.socket",
        group: Group::Http,
        question: "does Reticulum's socket open and answer?",
        code: Code::PhoenixSocket,
        also: &[],
        contacts: "Reticulum, as a browser that joins no room",
        after: &["dns.addresses", "http.hubs"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(socket::heartbeat(cx)),
    },
    Check {
        id: "dialog.candidates",
        group: Group::Signalling,
        question: "does dialog open a transport, and at which addresses?",
        code: Code::SignallingOpens,
        also: &[Code::TransportCreated, Code::CandidatesUsable, Code::CandidateText],
        contacts: "dialog, as a browser without a token",
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dialog::candidates(cx)),
    },
    Check {
        id: "you.families",
        group: Group::Vantage,
        question: "does this machine speak the IP version that the deployment speaks?",
        code: Code::FamilyShared,
        also: &[],
        contacts: "nobody",
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(5),
        run: |cx| Box::pin(ready(you::families::shared(&cx))),
    },
    Check {
        id: "you.ports",
        group: Group::Vantage,
        question: "does this network let out more than web pages?",
        code: Code::PortsLeave,
        also: &[],
        contacts: "the deployment, on the TCP ports that a browser uses",
        after: &["dns.addresses", "dns.authority", "room.join"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(you::ports::leave(cx)),
    },
    Check {
        id: "you.udp",
        group: Group::Vantage,
        question: "does UDP leave this network, and how long may packets be?",
        code: Code::UdpLeaves,
        also: &[Code::NatMapping, Code::PathMtu],
        contacts: "dialog, TURN and the zone's DNS servers, over UDP",
        after: &["dns.addresses", "dns.authority", "room.join", "dialog.candidates"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(you::udp::udp(cx)),
    },
    Check {
        id: "room.permission",
        group: Group::Signalling,
        question: "does dialog believe what Reticulum signs?",
        code: Code::PermissionAccepted,
        also: &[Code::PermissionSignature, Code::PermissionKey, Code::PermissionDates],
        contacts: "dialog, in a room of the probe's own, with the room's token",
        after: &["room.join", "dialog.candidates"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(permission::accepted(cx)),
    },
    Check {
        id: "ice.direct",
        group: Group::Direct,
        question: "does media reach dialog directly?",
        code: Code::DirectPath,
        also: &[],
        contacts: "dialog, and over UDP the addresses that it announces",
        after: &["dialog.candidates"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(ice::direct(cx)),
    },
    Check {
        id: "ice.ports",
        group: Group::Direct,
        question: "how many of dialog's ports are open?",
        code: Code::PortsOpen,
        also: &[],
        contacts: "dialog, and over UDP the addresses that it announces",
        after: &["dialog.candidates"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(ports::sample(cx)),
    },
    Check {
        id: "dialog.addresses",
        group: Group::Signalling,
        question: "whose are the addresses and ports that dialog announces?",
        code: Code::AnnouncedApart,
        also: &[Code::OneDialog, Code::MediaPorts],
        contacts: "nobody",
        after: &["dialog.candidates", "ice.direct", "ice.ports"],
        timeout: SECOND.saturating_mul(5),
        run: |cx| Box::pin(async move { addresses::addresses(&cx) }),
    },
    Check {
        id: "dialog.admin",
        group: Group::Signalling,
        question: "are dialog's reports closed to the world?",
        code: Code::AdminClosed,
        also: &[],
        contacts: "the addresses that dialog announces, and stream., on TCP 7000",
        after: &["dialog.candidates"],
        timeout: SECOND.saturating_mul(10),
        run: |cx| Box::pin(addresses::admin(cx)),
    },
    Check {
        id: "turn.allocate",
        group: Group::Turn,
        question: "does TURN answer, and does it accept credentials?",
        code: Code::TurnAllocates,
        also: &[Code::TurnChallenges],
        contacts: "the TURN server that the room names",
        after: &["room.join", "tls.certificates"],
        timeout: SECOND.saturating_mul(40),
        run: |cx| Box::pin(turn::allocate(cx)),
    },
    Check {
        id: "turn.media",
        group: Group::Turn,
        question: "does media reach dialog through TURN?",
        code: Code::RelayedDtls,
        also: &[Code::TurnPermits, Code::RelayedPath, Code::TurnIndications, Code::TurnChannels],
        contacts: "the TURN server that the room names, and dialog through it",
        after: &["turn.allocate", "dialog.candidates"],
        timeout: SECOND.saturating_mul(50),
        run: |cx| Box::pin(media::relayed(cx)),
    },
    Check {
        id: "turn.steps",
        group: Group::Turn,
        question: "does TURN keep its promises, and where else does it lead?",
        code: Code::TurnRefreshes,
        also: &[Code::TurnConnects, Code::TurnReleases, Code::TurnRelayRange, Code::TurnForeignPeers],
        contacts: "the TURN server that the room names",
        after: &["turn.allocate"],
        timeout: SECOND.saturating_mul(40),
        run: |cx| Box::pin(steps::steps(cx)),
    },
    Check {
        id: "dialog.ranges",
        group: Group::Signalling,
        question: "do dialog and TURN keep out of each other's ports?",
        code: Code::RangesApart,
        also: &[],
        contacts: "nobody",
        after: &["dialog.candidates", "turn.steps"],
        timeout: SECOND.saturating_mul(5),
        run: |cx| Box::pin(async move { addresses::ranges(&cx) }),
    },
    Check {
        id: "relay.admin",
        group: Group::Relay,
        question: "does hubs-relay itself say that it is well?",
        code: Code::RelayReady,
        also: &[Code::RelayPeers, Code::RelayDatabase, Code::RelayCertificate, Code::RelayVersion],
        contacts: "the address of --relay-admin",
        after: &[],
        timeout: SECOND.saturating_mul(20),
        run: |cx| Box::pin(neighbour::relay(cx)),
    },
    Check {
        id: "path.idle",
        group: Group::Turn,
        question: "does a path outlive four silent minutes?",
        code: Code::TurnIdle,
        also: &[Code::DirectIdle],
        contacts: "the TURN server and dialog, with --long only",
        after: &["ice.direct", "turn.media"],
        timeout: SECOND.saturating_mul(330),
        run: |cx| Box::pin(idle::silence(cx)),
    },
    Check {
        id: "audio.room",
        group: Group::Audio,
        question: "does what one person says come back to another one?",
        code: Code::AudioTurnTls,
        also: &[Code::AudioDirect, Code::AudioTurnUdp],
        contacts: "dialog, in a room of the probe's own, with the room's token",
        after: &["room.join", "ice.direct", "ice.ports", "turn.media", "turn.steps"],
        timeout: SECOND.saturating_mul(60),
        run: |cx| Box::pin(audio::room(cx)),
    },
    Check {
        id: "mail.records",
        group: Group::Mail,
        question: "does Azure have the records that it needs to send login mail?",
        code: Code::MailOfAzure,
        also: &[
            Code::SpfRecord,
            Code::SpfLookups,
            Code::DkimSelectors,
            Code::DmarcPolicy,
            Code::MailExchanger,
        ],
        contacts: "the DNS resolver",
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(mail::records(cx)),
    },
];

/// Why a check that needs a connection stops without one. `tls.certificates` tries each port and says what is wrong with it.
fn no_connection(error: &TlsError) -> Stop {
    match error {
        TlsError::Connect(ConnectError::Resolve(ResolveError::Resolver { .. }) | ConnectError::Io { .. }) => {
            Stop::Unable(error.to_string())
        }
        TlsError::Connect(_)
        | TlsError::Silent
        | TlsError::Certificate(_)
        | TlsError::Handshake(_)
        | TlsError::Name(_) => Stop::Skip(format!("{error}, see tls.certificates")),
    }
}
