//! The checks, a module for each group, and the table of them. Each function reads facts, does one thing and returns
//! findings.

mod clock;
pub(crate) mod dialog;
pub(crate) mod dns;
pub(crate) mod http;
pub(crate) mod ice;
pub(crate) mod mail;
pub(crate) mod media;
pub(crate) mod room;
pub(crate) mod tls;
pub(crate) mod turn;
mod websocket;
pub(crate) mod you;

use std::time::Duration;

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
        after: &[],
        timeout: SECOND.saturating_mul(5),
        run: |cx| Box::pin(you::proxy::environment(cx)),
    },
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
        id: "dns.authority",
        group: Group::Dns,
        question: "do the zone's own servers answer, and say the same?",
        code: Code::AuthorityAgrees,
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dns::authority::authority(cx)),
    },
    Check {
        id: "dns.aliases",
        group: Group::Dns,
        question: "do aliases end at an address?",
        code: Code::AliasesEnd,
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dns::aliases::aliases(cx)),
    },
    Check {
        id: "dns.missing",
        group: Group::Dns,
        question: "is a name missing without looking so?",
        code: Code::NoWildcard,
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dns::missing::missing(cx)),
    },
    Check {
        id: "dns.dnssec",
        group: Group::Dns,
        question: "do the zone's signatures hold?",
        code: Code::DnssecValid,
        after: &[],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dns::dnssec::signatures(cx)),
    },
    Check {
        id: "dns.ipv6",
        group: Group::Dns,
        question: "does anybody listen at the published IPv6 addresses?",
        code: Code::AaaaReached,
        after: &["dns.authority"],
        timeout: SECOND.saturating_mul(20),
        run: |cx| Box::pin(dns::ipv6::published(cx)),
    },
    Check {
        id: "you.clock",
        group: Group::Vantage,
        question: "does this machine's clock agree with the server's?",
        code: Code::ClockAgrees,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(you::clock::agrees(cx)),
    },
    Check {
        id: "you.interception",
        group: Group::Vantage,
        question: "does anybody answer in the deployment's place?",
        code: Code::NoInspection,
        after: &["dns.addresses"],
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(you::interception::interception(cx)),
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
        timeout: SECOND.saturating_mul(15),
        run: |cx| Box::pin(tls::certificates(cx)),
    },
    Check {
        id: "dns.caa",
        group: Group::Dns,
        question: "may the authority in use issue the next certificates?",
        code: Code::CaaPermits,
        after: &["tls.certificates"],
        timeout: SECOND.saturating_mul(20),
        run: |cx| Box::pin(dns::caa::caa(cx)),
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
        id: "dialog.candidates",
        group: Group::Signalling,
        question: "does dialog open a transport, and at which addresses?",
        code: Code::SignallingOpens,
        after: &["dns.addresses", "room.join"],
        timeout: SECOND.saturating_mul(25),
        run: |cx| Box::pin(dialog::candidates(cx)),
    },
    Check {
        id: "you.udp",
        group: Group::Vantage,
        question: "does UDP leave this network, and how long may packets be?",
        code: Code::UdpLeaves,
        after: &["dns.addresses", "dns.authority", "room.join", "dialog.candidates"],
        timeout: SECOND.saturating_mul(30),
        run: |cx| Box::pin(you::udp::udp(cx)),
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
    Check {
        id: "mail.records",
        group: Group::Mail,
        question: "does Azure have the records that it needs to send login mail?",
        code: Code::MailOfAzure,
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
