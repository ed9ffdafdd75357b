//! The checks, a module for each group, and the table of them. Each function reads facts, does one thing and returns
//! findings.

pub(crate) mod assets;
mod clock;
pub(crate) mod dialog;
pub(crate) mod dns;
pub(crate) mod http;
pub(crate) mod ice;
pub(crate) mod media;
pub(crate) mod pages;
pub(crate) mod permission;
pub(crate) mod proxies;
pub(crate) mod redirects;
pub(crate) mod room;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod turn;
mod websocket;

use std::time::Duration;

use crate::{
    check::{Check, Group, Stop},
    codes::Code,
    net::{ConnectError, ResolveError, TlsError},
};

const SECOND: Duration = Duration::from_secs(1);

/// Every check. Reports, help and documentation follow from this table.
pub(crate) static CHECKS: &[Check] = &[
    Check {
        id: "dns.addresses",
        group: Group::Dns,
        question: "do the four names have addresses, and the same ones?",
        code: Code::NameResolves,
        after: &[],
        timeout: SECOND.saturating_mul(12),
        run: |cx| Box::pin(dns::addresses(cx)),
    },
    Check {
        id: "room.join",
        group: Group::Signalling,
        question: "does the room let us in, and where does it send media?",
        code: Code::RoomJoined,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(room::join(cx)),
    },
    Check {
        id: "tls.certificates",
        group: Group::Certificates,
        question: "would a browser accept the certificate of each name on each port?",
        code: Code::CertificateValid,
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(tls::certificates(cx)),
    },
    Check {
        id: "tls.versions",
        group: Group::Certificates,
        question: "does each port speak the TLS of today, and nothing older?",
        code: Code::TlsVersions,
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(tls::versions::versions(cx)),
    },
    Check {
        id: "http.hubs",
        group: Group::Http,
        question: "does Hubs answer, and does it call itself well?",
        code: Code::HubsHealthy,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(http::hubs(cx)),
    },
    Check {
        id: "http.dialog",
        group: Group::Http,
        question: "does the ingress lead to dialog?",
        code: Code::DialogBehindIngress,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(http::dialog(cx)),
    },
    Check {
        id: "http.redirects",
        group: Group::Http,
        question: "does http:// lead to https://, and the domain to its own page?",
        code: Code::PageReached,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(redirects::followed(cx)),
    },
    Check {
        id: "http.pages",
        group: Group::Http,
        question: "do the pages name the right hosts, and let browsers reach them?",
        code: Code::PageHosts,
        after: &["dns.addresses", "http.hubs"],
        timeout: SECOND.saturating_mul(40),
        run: |cx| Box::pin(pages::pages(cx)),
    },
    Check {
        id: "http.assets",
        group: Group::Http,
        question: "are the files there that the pages load?",
        code: Code::AssetsThere,
        after: &["http.pages"],
        timeout: SECOND.saturating_mul(40),
        run: |cx| Box::pin(assets::assets(cx)),
    },
    Check {
        id: "http.proxies",
        group: Group::Http,
        question: "do the CORS proxy and the maker of thumbnails do their work?",
        code: Code::CorsProxy,
        after: &["dns.addresses", "http.hubs", "http.assets"],
        timeout: SECOND.saturating_mul(20),
        run: |cx| Box::pin(proxies::proxies(cx)),
    },
    Check {
        id: "http.socket",
        group: Group::Http,
        question: "does Reticulum's socket open and answer?",
        code: Code::PhoenixSocket,
        after: &["dns.addresses", "http.hubs"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(socket::heartbeat(cx)),
    },
    Check {
        id: "dialog.candidates",
        group: Group::Signalling,
        question: "does dialog open a transport, and at which addresses?",
        code: Code::SignallingOpens,
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dialog::candidates(cx)),
    },
    Check {
        id: "room.permission",
        group: Group::Signalling,
        question: "does dialog believe what Reticulum signs?",
        code: Code::PermissionAccepted,
        after: &["room.join", "dialog.candidates"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(permission::accepted(cx)),
    },
    Check {
        id: "ice.direct",
        group: Group::Direct,
        question: "does media reach dialog directly?",
        code: Code::DirectPath,
        after: &["dialog.candidates"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(ice::direct(cx)),
    },
    Check {
        id: "turn.allocate",
        group: Group::Turn,
        question: "does TURN answer, and does it accept credentials?",
        code: Code::TurnAllocates,
        after: &["room.join", "tls.certificates"],
        timeout: SECOND.saturating_mul(40),
        run: |cx| Box::pin(turn::allocate(cx)),
    },
    Check {
        id: "turn.media",
        group: Group::Turn,
        question: "does media reach dialog through TURN?",
        code: Code::RelayedDtls,
        after: &["turn.allocate", "dialog.candidates"],
        timeout: SECOND.saturating_mul(50),
        run: |cx| Box::pin(media::relayed(cx)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_a_name_of_its_own_and_runs_after_earlier_rows_only() {
        for (row, check) in CHECKS.iter().enumerate() {
            let earlier = &CHECKS[..row];
            assert!(earlier.iter().all(|c| c.id != check.id), "{} stands twice", check.id);
            for id in check.after {
                assert!(
                    earlier.iter().any(|c| c.id == *id),
                    "{} comes after {id}, which no earlier row is",
                    check.id
                );
            }
        }
    }
}
