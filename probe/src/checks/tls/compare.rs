//! Certificates beside each other: one that was renewed and not read again on another port, and one that was left out when
//! the others were renewed.

use time::{Duration, OffsetDateTime};

use super::{
    Place, Purpose, Seen,
    judge::{RENEW, date, described, intercepted},
    leaf::Leaf,
};
use crate::{codes::Code, finding::Finding};

/// Certificates of the same day were issued together.
const TOGETHER: Duration = Duration::DAY;

/// Where the same host shows a certificate of the same authority that was issued later.
pub(super) fn newer_elsewhere<'a>(seen: &Seen, all: &'a [Seen]) -> Option<&'a Seen> {
    let old = seen.issued()?;
    let newer = all.iter().filter(|s| s.place.host == seen.place.host && s.is_accepted());
    newer
        .filter_map(|s| Some((s, s.issued()?)))
        .filter(|(_, new)| new.not_before - old.not_before > TOGETHER && new.has_issuer_of(old))
        .max_by_key(|(_, new)| new.not_before)
        .map(|(s, _)| s)
}

/// Where the same ingress shows for the same host a certificate that browsers accept, though browsers do not know who issued this one.
/// The ingress shows one for each host, so this one comes from something on the way.
pub(super) fn trusted_beside<'a>(seen: &Seen, all: &'a [Seen]) -> Option<&'a Seen> {
    let is_of_ingress = |place: &Place| place.purpose != Purpose::Turn;
    let beside = |other: &&Seen| {
        other.place.host == seen.place.host && other.place.port != seen.place.port && other.is_accepted()
    };
    all.iter().filter(|s| is_of_ingress(&s.place) && is_of_ingress(&seen.place)).find(beside)
}

/// A finding on dates, once it is known that the certificate has been renewed.
pub(super) fn not_read_again(finding: Finding, seen: &Seen, newer: &Seen) -> Finding {
    let renewed =
        newer.leaf.as_ref().map_or_else(String::new, |leaf| format!(" on {}", date(leaf.not_before)));
    finding
        .because(format!(
            "the certificate was renewed{renewed}, see {}, and not read again here",
            newer.place
        ))
        .fix(format!("Restart what serves port {}:", seen.place.port), [restart(seen)])
}

/// A finding on an issuer whom nobody knows, once it is known that the ingress shows another certificate.
pub(super) fn shown_on_the_way(finding: &Finding, seen: &Seen, other: &Seen) -> Finding {
    let shown = intercepted(format!(
        "something on the way intercepts TLS: {} shows the true certificate",
        other.place
    ))
    .seen("said of it", &finding.summary);
    match &seen.leaf {
        Some(leaf) => described(shown, leaf),
        None => shown,
    }
}

/// Whether each port has the newest certificate of its name.
pub(super) fn newest_everywhere(all: &[Seen], domain: &str) -> Vec<Finding> {
    let code = Code::CertificateNewest;
    let old: Vec<_> = all
        .iter()
        .filter_map(|seen| {
            let (leaf, newer) = (seen.issued()?, newer_elsewhere(seen, all)?);
            let finding = Finding::warn(
                code,
                format!("an old certificate is shown here: {} shows a newer one", newer.place),
            )
            .at(seen.place.to_string());
            Some(described(not_read_again(finding, seen, newer), leaf))
        })
        .collect();
    let is_comparable = |seen: &Seen| {
        let same_host = all.iter().filter(|s| s.place.host == seen.place.host && s.issued().is_some());
        same_host.count() > 1
    };
    if old.is_empty() && all.iter().any(is_comparable) {
        return vec![Finding::pass(code, "each port shows the newest certificate of its name").at(domain)];
    }
    old
}

fn restart(seen: &Seen) -> &'static str {
    match seen.place.purpose {
        Purpose::Turn => "kubectl rollout restart deployment coturn -n hcce",
        Purpose::Pages | Purpose::Dialog | Purpose::Elsewhere => {
            "kubectl rollout restart deployment haproxy -n hcce"
        }
    }
}

/// Whether a name was left out when others were renewed.
pub(super) fn renewed_together(all: &[Seen], domain: &str, now: OffsetDateTime) -> Vec<Finding> {
    let code = Code::CertificatesTogether;
    let pages: Vec<(&Seen, &Leaf)> = all
        .iter()
        .filter(|s| s.place.purpose == Purpose::Pages)
        .filter_map(|s| Some((s, s.issued()?)))
        .collect();
    let left_out: Vec<_> = pages
        .iter()
        .filter(|(_, leaf)| leaf.runs_out_soon(now))
        .filter_map(|(seen, leaf)| {
            let (renewed, newer) = pages.iter().find(|(_, other)| {
                other.not_before - leaf.not_before > TOGETHER
                    && other.has_issuer_of(leaf)
                    && !other.runs_out_soon(now)
            })?;
            let host = &seen.place.host;
            let summary = format!(
                "{host} was left out when {} was renewed on {}",
                renewed.place.host,
                date(newer.not_before)
            );
            let finding = if leaf.ran_out(now) { Finding::fail(code, summary) } else { Finding::warn(code, summary) };
            let finding = finding
                .because("each name's certificate is issued by itself, and the authority could not reach this one's name at that time")
                .fix(
                    format!("See that {host} leads to the load balancer, and that port 80 of it is open; then issue again:"),
                    ["kubectl get service lb -n hcce -o jsonpath='{.status.loadBalancer.ingress[*].ip}'", RENEW],
                )
                .at(seen.place.to_string());
            Some(described(finding, leaf))
        })
        .collect();
    if left_out.is_empty() && pages.len() > 1 {
        return vec![Finding::pass(code, "no name was left out when the others were renewed").at(domain)];
    }
    left_out
}
