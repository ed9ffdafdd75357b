//! What stands between a browser and a room: the certificates of pages and signalling, and the ports behind them.

use super::{
    rule::Rule,
    seen::{Seen, is_certificate},
};
use crate::{
    codes::Code,
    finding::{Finding, Status},
};

/// Every way in which a place can fail to show a certificate that browsers accept.
pub(super) const CERTIFICATE: &[Code] = &[
    Code::CertificateValid,
    Code::CertificateSelfSigned,
    Code::CertificateDefault,
    Code::CertificateOfCoturn,
    Code::CertificateWrongName,
    Code::CertificateDates,
    Code::CertificateChain,
    Code::CertificateUnknownIssuer,
    Code::TlsAnswers,
];

/// What is behind a port that does not answer.
const BEHIND: &[Code] = &[
    Code::HubsHealthy,
    Code::HubsMeta,
    Code::HubsName,
    Code::DialogBehindIngress,
    Code::RoomJoined,
    Code::SignallingOpens,
];

pub(super) const RULES: &[Rule] = &[Rule::new("entrance.closed", CERTIFICATE, |seen, cause| {
    let place = cause.target.as_deref().unwrap_or(seen.domain);
    match cause.code {
        Code::TlsAnswers => format!("nothing that a browser understands answers at {place}"),
        Code::CertificateChain => format!("browsers do not know who vouches for {place}"),
        _ => format!("browsers refuse the certificate of {place}"),
    }
})
.at(is_entrance)
.means(|_, cause, why| match cause.code {
    // Some browsers know the missing certificate from elsewhere.
    Code::CertificateChain => format!("Not everybody gets into a room: {why}."),
    _ => format!("Nobody gets into a room: {why}."),
})
.note(renewed_elsewhere)
.supports(shows_newer)
.folds(|_, cause, other| {
    cause.code == Code::TlsAnswers && BEHIND.contains(&other.code) && other.host() == cause.host()
})];

fn is_entrance(seen: &Seen<'_>, finding: &Finding) -> bool {
    let Some(target) = finding.target.as_deref() else { return false };
    let page = target.strip_prefix("https://");
    target.starts_with("wss:")
        || page.is_some_and(|page| page == seen.domain || page.strip_prefix("assets.") == Some(seen.domain))
}

/// D10: the certificate was renewed, and one of those who show it was not told.
pub(super) fn renewed_elsewhere(seen: &Seen<'_>, cause: &Finding) -> String {
    let newer = seen.findings.iter().find(|other| shows_newer(seen, cause, other));
    newer.and_then(|newer| newer.target.as_deref()).map_or_else(String::new, |place| {
        format!(" The same name has a certificate that is still valid at {place}: it was renewed, and not loaded everywhere.")
    })
}

/// Whether `other` shows a valid certificate for the name whose certificate has run out elsewhere.
pub(super) fn shows_newer(_: &Seen<'_>, cause: &Finding, other: &Finding) -> bool {
    cause.code == Code::CertificateDates
        && is_certificate(other.code)
        && other.status == Status::Pass
        && other.host().is_some()
        && other.host() == cause.host()
}
