//! Certificates: would a browser accept what each name shows on each port, and for how long?

mod compare;
mod judge;
mod leaf;
#[cfg(test)]
mod tests;
pub(super) mod versions;

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use futures_util::future::join_all;
use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use self::{judge::date, leaf::Leaf};
use crate::{
    check::{Context, Outcome},
    checks::clock,
    codes::Code,
    facts::{Issuer, Reached, RoomFacts, TurnCertificate},
    finding::{Finding, Status},
    net::{ConnectError, Handshake, Judgement, Presented, Sni, TlsError, Trust},
    target::{DIALOG, HTTPS, Name, TURN, Target},
};

/// Clocks that differ by more than this make certificates look run out, or not valid yet, that are good.
const CLOCKS_APART: time::Duration = time::Duration::DAY;

pub(crate) async fn certificates(cx: Arc<Context>) -> Outcome {
    let known = cx.facts.addresses.get()?;
    let places = places(&cx.target, known, cx.facts.room.get().ok());
    let nameless: Vec<_> =
        places.iter().filter(|place| place.stands_for_its_port(&cx.target)).cloned().collect();
    let (mut seen, nameless) = tokio::join!(
        join_all(places.into_iter().map(|place| look(&cx, place))),
        join_all(nameless.into_iter().map(|place| look_without_name(&cx, place))),
    );
    compare::tell_choosers(&mut seen, cx.target.domain());
    let now = OffsetDateTime::now_utc();
    let of_browsers = || seen.iter().filter(|s| s.place.purpose.is_browsers());
    let mut judged: Vec<_> = of_browsers().map(|s| (s, judge(&cx, s, &seen, now))).collect();

    let blames_dates = |f: &Finding| (f.code, f.status) == (Code::CertificateDates, Status::Fail);
    let apart = if judged.iter().any(|(_, finding)| blames_dates(finding)) {
        clocks_apart(now, clock::of_server(&cx).await)
    } else {
        None
    };
    let mut of_turn = Vec::new();
    for (seen, finding) in &mut judged {
        let unclear = apart.as_ref().filter(|_| blames_dates(finding));
        if let Some(apart) = unclear {
            *finding = apart.clone().at(seen.place.to_string());
        } else if let (Purpose::Turn, Ok(shown)) = (seen.place.purpose, &seen.shown) {
            of_turn.push(shown.judgement == Judgement::Accepted);
        }
    }
    if !of_turn.is_empty() {
        let accepted = of_turn.iter().all(|accepted| *accepted);
        cx.facts.turn_certificate.learn(if accepted {
            TurnCertificate::Accepted
        } else {
            TurnCertificate::Refused
        });
    }
    let reached = of_browsers().filter_map(|s| Some((s.place.port, reached_by(s.shown.as_ref().err())?)));
    cx.facts.entrances.learn(reached.collect());
    cx.facts.issuers.learn(seen.iter().filter_map(Seen::issuer).collect());

    let mut findings: Vec<_> = judged.into_iter().map(|(_, finding)| finding).collect();
    findings.extend(compare::newest_everywhere(&seen, cx.target.domain()));
    if apart.is_none() {
        findings.extend(compare::renewed_together(&seen, cx.target.domain(), now));
    }
    findings.extend(judge::strength(&seen, cx.target.domain()));
    findings.extend(judge::staples(&seen));
    findings.extend(judge::without_name(&nameless, &seen, cx.target.domain()));
    Ok(findings)
}

/// What became of the connection; nothing if this machine could not try.
fn reached_by(error: Option<&TlsError>) -> Option<Reached> {
    match error {
        Some(TlsError::Connect(ConnectError::Refused(_))) => Some(Reached::Refused),
        Some(TlsError::Connect(ConnectError::Silent(_))) => Some(Reached::Silent),
        Some(TlsError::Connect(ConnectError::Resolve(_) | ConnectError::Io { .. }) | TlsError::Name(_)) => {
            None
        }
        None | Some(_) => Some(Reached::Answered),
    }
}

fn judge(cx: &Context, seen: &Seen, all: &[Seen], now: OffsetDateTime) -> Finding {
    let finding = judge::judge(seen, cx.target.domain(), now);
    let finding = match compare::newer_elsewhere(seen, all) {
        Some(newer) if finding.code == Code::CertificateDates => {
            compare::not_read_again(finding, seen, newer)
        }
        _ => finding,
    };
    let finding = match compare::trusted_beside(seen, all) {
        Some(other) if is_foreign(&finding) => compare::shown_on_the_way(&finding, seen, other),
        Some(other) if finding.code == Code::CertificateDefault => {
            compare::not_read_here(finding, seen, other)
        }
        _ => finding,
    };
    let finding = match compare::to_other_names(seen, all, cx.target.domain()) {
        Some(shown) => finding.seen("to other names", shown),
        None => finding,
    };
    finding.at(seen.place.to_string())
}

/// Whether the finding says that browsers do not know where the certificate comes from.
fn is_foreign(finding: &Finding) -> bool {
    finding.status == Status::Fail
        && matches!(
            finding.code,
            Code::CertificateUnknownIssuer | Code::CertificateSelfSigned | Code::CertificateChain
        )
}

async fn look(cx: &Context, place: Place) -> Seen {
    let form = Handshake { name: Sni::Other(&place.host), ..Handshake::default() };
    let shown = cx.net.tls_with(&place.via, place.port, Trust::Anything, &form).await;
    Seen::new(place, shown.map(|(_, presented)| presented))
}

/// What is shown there to a client that says no name; every browser of today says one.
async fn look_without_name(cx: &Context, place: Place) -> Seen {
    let form = Handshake { name: Sni::Unsaid, ..Handshake::default() };
    let shown = cx.net.tls_with(&place.via, place.port, Trust::Anything, &form).await;
    Seen::new(place, shown.map(|(_, presented)| presented))
}

/// That this machine and the server do not agree on the day, so that nothing can be said about a certificate's dates.
fn clocks_apart(here: OffsetDateTime, there: Option<OffsetDateTime>) -> Option<Finding> {
    let there = there.filter(|there| (here - *there).abs() > CLOCKS_APART)?;
    Some(
        Finding::error(
            Code::CertificateDates,
            format!(
                "it is {} on this machine's clock and {} on the server's, so the dates of certificates cannot be judged",
                date(here),
                date(there)
            ),
        )
        .fix("Set the clock of this machine; if it is right, that of the cluster's nodes:", ["timedatectl", "date -u"]),
    )
}

/// Where browsers meet a certificate: where the room sends them, or else where Hubs has dialog and TURN. Behind dialog's port is the
/// same ingress as behind that of the pages, so it should have the other names' certificates as well; TURN needs one, and shows others
/// if an ingress does TLS for it.
fn places(target: &Target, known: &BTreeMap<Name, Vec<IpAddr>>, room: Option<&RoomFacts>) -> Vec<Place> {
    let place = |purpose, host: String, port| Place { purpose, via: host.clone(), host, port };
    let mut places: Vec<_> =
        known.keys().map(|name| place(Purpose::Pages, target.host(*name), HTTPS)).collect();
    let stream = known.contains_key(&Name::Stream).then(|| target.host(Name::Stream));
    let Some(host) = room.map(|r| r.host.clone()).or(stream) else { return places };
    let turn = room.and_then(|r| r.turn.as_ref()).map_or(&[TURN][..], |turn| &turn.ports);
    let turn = turn.iter().map(|port| (Purpose::Turn, Purpose::BesideTurn, *port));
    let dialog = (Purpose::Dialog, Purpose::BesideDialog, room.map_or(DIALOG, |r| r.port));
    for (purpose, beside, port) in std::iter::once(dialog).chain(turn) {
        places.push(place(purpose, host.clone(), port));
        let others = known.keys().map(|name| target.host(*name)).filter(|other| *other != host);
        places.extend(others.map(|other| Place { via: host.clone(), ..place(beside, other, port) }));
    }
    places
}

/// Where a certificate was looked for.
#[derive(Clone)]
struct Place {
    purpose: Purpose,
    /// The host that the certificate is to be for.
    host: String,
    /// The host to connect to, which is the same one where browsers go.
    via: String,
    port: u16,
}

impl Place {
    /// Whether it is the one of its port whose answer to clients that say no name is worth knowing.
    fn stands_for_its_port(&self, target: &Target) -> bool {
        match self.purpose {
            Purpose::Pages => self.host == target.domain(),
            purpose => purpose.is_browsers(),
        }
    }

    /// Whether both are at the same port of the same host.
    fn shares_port_with(&self, other: &Self) -> bool {
        (&self.via, self.port, self.purpose.is_turns()) == (&other.via, other.port, other.purpose.is_turns())
    }
}

/// What browsers go there for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Pages,
    Dialog,
    Turn,
    /// They do not, but it shows whether dialog's port knows the newest certificate of another name.
    BesideDialog,
    /// The same of TURN's. There it also shows who does TLS: TURN itself has one certificate, an ingress before it one for each name.
    BesideTurn,
}

impl Purpose {
    fn is_browsers(self) -> bool {
        matches!(self, Self::Pages | Self::Dialog | Self::Turn)
    }

    fn is_turns(self) -> bool {
        matches!(self, Self::Turn | Self::BesideTurn)
    }
}

impl fmt::Display for Place {
    /// As the URL that a browser has for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.purpose {
            Purpose::Pages => write!(f, "https://{}", self.host),
            Purpose::Dialog => write!(f, "wss://{}:{}", self.host, self.port),
            Purpose::Turn | Purpose::BesideTurn => write!(f, "turns:{}:{}", self.host, self.port),
            Purpose::BesideDialog => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

/// What a place showed.
struct Seen {
    place: Place,
    shown: Result<Presented, TlsError>,
    /// The server's own certificate, if one was shown that can be read.
    leaf: Option<Leaf>,
    /// Who chose it, as far as the other names of the port tell.
    shown_by: ShownBy,
}

/// Who does TLS at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShownBy {
    /// What stands there in Hubs: haproxy, and at TURN's port the TURN server.
    Usual,
    /// At TURN's port somebody who has a certificate for each name, as haproxy if its TCP service ends in `:ssl`.
    Ingress,
}

impl Seen {
    fn new(place: Place, shown: Result<Presented, TlsError>) -> Self {
        let leaf = shown.as_ref().ok().and_then(|presented| Leaf::read(&presented.chain));
        Self { place, shown, leaf, shown_by: ShownBy::Usual }
    }

    /// The server's own certificate as it was sent.
    fn first(&self) -> Option<&CertificateDer<'static>> {
        self.shown.as_ref().ok()?.chain.first()
    }

    /// Whether TURN itself does TLS there.
    fn is_by_turn(&self) -> bool {
        self.place.purpose.is_turns() && self.shown_by == ShownBy::Usual
    }

    fn is_accepted(&self) -> bool {
        self.shown.as_ref().is_ok_and(|shown| shown.judgement == Judgement::Accepted)
    }

    /// The certificate, if an authority that browsers trust issued it for this host. It may have run out since.
    fn issued(&self) -> Option<&Leaf> {
        let is_trusted = match &self.shown.as_ref().ok()?.judgement {
            Judgement::Accepted => true,
            Judgement::Refused(reason) => {
                matches!(reason, CertificateError::Expired | CertificateError::ExpiredContext { .. })
            }
        };
        self.leaf.as_ref().filter(|leaf| is_trusted && leaf.is_for(&self.place.host))
    }

    fn issuer(&self) -> Option<Issuer> {
        let leaf = self.leaf.as_ref().filter(|leaf| !leaf.self_signed)?;
        Some(Issuer {
            host: self.place.host.clone(),
            port: self.place.port,
            organisation: leaf.issuer_organisation.clone(),
            common_name: leaf.issuer_common_name.clone(),
            accepted: self.is_accepted(),
        })
    }
}

/// For the fuzzer: a certificate, as a server might send it.
#[cfg(fuzzing)]
pub(crate) fn fuzz(der: &[u8]) {
    let chain = [CertificateDer::from(der)];
    if let Some(leaf) = Leaf::read(&chain) {
        let _ = (leaf.is_by_interceptor(), leaf.is_for("hubs.example.org"), leaf::in_order(&chain));
    }
}
