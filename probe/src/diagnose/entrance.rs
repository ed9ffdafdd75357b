//! What stands between a browser and a room: the certificates of pages and signalling, and the ports behind them.

use super::{
    Confidence,
    rule::Rule,
    seen::{Seen, TOO_OLD, is_certificate, is_turn},
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
    Code::PhoenixSocket,
];

/// What the declared rules, or what should stand behind them, can be blamed for.
pub(super) const DECLARED: &[Code] = &[
    Code::EntranceAdmitted,
    Code::TurnAdmitted,
    Code::AdmittedArrives,
    Code::RuleCopied,
    Code::RuleDestination,
];

/// The rules of Azure's network say why nothing answers, or that it is not they.
const DENIED: Rule = Rule::new("entrance.denied", DECLARED, |_, cause| match cause.code {
    Code::AdmittedArrives => "Azure's network lets people in, and nothing there answers them".to_owned(),
    _ => "a rule of Azure's network drops what people send".to_owned(),
})
.at(|_, finding| finding.target.as_deref().is_some_and(|it| it.starts_with("tcp/") && it != TURN_FLOW))
.when(|seen, _| seen.with(Code::TlsAnswers, Status::Fail).any(|it| is_entrance(seen, it)))
.means(|_, _, why| format!("Nobody gets into a room: {why}."))
.folds(|seen, _, other| {
    other.code == Code::TlsAnswers && is_entrance(seen, other) || BEHIND.contains(&other.code)
});

/// How findings about declared rules call TURN's port.
pub(super) const TURN_FLOW: &str = "tcp/5349";

/// What fails where its connection was lost; the next one may well be taken.
const CONNECTED: &[Code] = &[
    Code::TlsAnswers,
    Code::TlsVersions,
    Code::HubsHealthy,
    Code::HubsMeta,
    Code::HubsName,
    Code::DialogBehindIngress,
    Code::PageReached,
    Code::PlainHttp,
    Code::AssetsThere,
    Code::AssetsShared,
    Code::SpokeAssets,
    Code::CorsProxy,
    Code::Thumbnails,
    Code::PhoenixSocket,
    Code::RoomJoined,
    Code::SignallingOpens,
];

/// Whether it was a connection that was lost, at another port than TURN's, where something else may be in the way for everybody.
fn lost_its_connection(_: &Seen<'_>, _: &Finding, other: &Finding) -> bool {
    let told = other.evidence.iter().map(|it| &it.value).chain([&other.summary]).chain(&other.cause);
    CONNECTED.contains(&other.code)
        && !other.target.as_deref().is_some_and(is_turn)
        && (other.status != Status::Fail || told.into_iter().any(|text| says_no_connection(text)))
}

/// As `ConnectError` words it.
fn says_no_connection(text: &str) -> bool {
    text.contains("does not answer within") || text.contains("refuses the connection")
}

pub(super) const RULES: &[Rule] = &[
    // D12
    Rule::new("entrance.some", &[Code::ConnectionsTaken], |_, _| {
        "some of the connections to the load balancer are lost".to_owned()
    })
    .means(|_, _, why| format!("Some people get into a room and others do not: {why}."))
    .folds(lost_its_connection)
    .confidence(Confidence::Likely),
    DENIED,
    Rule::new("entrance.closed", CERTIFICATE, |seen, cause| {
        let place = cause.target.as_deref().unwrap_or(seen.domain);
        match cause.code {
            Code::TlsAnswers => format!("nothing that a browser understands answers at {place}"),
            Code::CertificateChain => format!("browsers do not know who vouches for {place}"),
            // D17
            Code::CertificateDefault => {
                format!("browsers refuse the certificate of {place}, the one that haproxy falls back on")
            }
            _ => format!("browsers refuse the certificate of {place}"),
        }
    })
    .at(is_entrance)
    .means(|_, cause, why| match cause.code {
        // Some browsers know the missing certificate from elsewhere.
        Code::CertificateChain => format!("Not everybody gets into a room: {why}."),
        _ => format!("Nobody gets into a room: {why}."),
    })
    .note(|seen, cause| format!("{}{}", renewed_elsewhere(seen, cause), perhaps_intercepted(seen, cause)))
    .supports(shows_newer)
    .contradicts(is_trusted_elsewhere)
    .folds(|seen, cause, other| {
        let is_behind = cause.code == Code::TlsAnswers && BEHIND.contains(&other.code);
        (is_behind && other.host() == cause.host()) || says_it_is_old(seen, cause, other)
    }),
    Rule::new("entrance.old", TOO_OLD, |seen, cause| {
        let place = cause.target.as_deref().unwrap_or(seen.domain);
        format!("the encryption that {place} offers is too old for browsers")
    })
    .at(is_entrance)
    .means(|_, _, why| format!("Nobody gets into a room: {why}.")),
    Rule::new("entrance.staple", &[Code::CertificateStapled], |seen, cause| {
        let place = cause.target.as_deref().unwrap_or(seen.domain);
        format!("{place} does not send what its certificate says that it has to send")
    })
    .at(is_entrance)
    .means(|_, _, why| format!("Nobody with Firefox gets into a room: {why}.")),
];

fn is_entrance(seen: &Seen<'_>, finding: &Finding) -> bool {
    let Some(target) = finding.target.as_deref() else { return false };
    let page = target.strip_prefix("https://");
    target.starts_with("wss:")
        || page.is_some_and(|page| page == seen.domain || page.strip_prefix("assets.") == Some(seen.domain))
}

/// Whether `other` says of the certificate that has run out that it is an old one.
pub(super) fn says_it_is_old(_: &Seen<'_>, cause: &Finding, other: &Finding) -> bool {
    cause.code == Code::CertificateDates
        && matches!(other.code, Code::CertificateNewest | Code::CertificatesTogether)
        && other.host().is_some()
        && other.host() == cause.host()
}

/// D14. Whether `other` shows a certificate that browsers accept for the name whose issuer nobody knows here. It comes from another
/// server, for behind one ingress the probe itself notices.
fn is_trusted_elsewhere(_: &Seen<'_>, cause: &Finding, other: &Finding) -> bool {
    cause.code == Code::CertificateUnknownIssuer
        && is_certificate(other.code)
        && other.status == Status::Pass
        && other.host().is_some()
        && (other.host() == cause.host() || other.target.as_deref().is_some_and(is_turn))
}

fn perhaps_intercepted(seen: &Seen<'_>, cause: &Finding) -> String {
    let trusted = seen.findings.iter().find(|other| is_trusted_elsewhere(seen, cause, other));
    trusted.and_then(|trusted| trusted.target.as_deref()).map_or_else(String::new, |place| {
        format!(
            " {place} shows one that browsers accept, so it may be something in this machine's network that shows another in its \
             place: check from another network before anything is changed."
        )
    })
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
