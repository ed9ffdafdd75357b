//! Certificates beside each other: one that was renewed and not read again on another port, one that was left out when the others
//! were renewed, and what a port shows to the names for which no browser comes there.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::{
    Place, Purpose, Seen, ShownBy,
    judge::{EDIT_HAPROXY, RENEW, RESTART_HAPROXY, date, described, intercepted, what_is_shown},
    leaf::Leaf,
};
use crate::{codes::Code, finding::Finding};

/// Certificates of the same day were issued together.
const TOGETHER: Duration = Duration::DAY;

/// Finds out at which of TURN's ports the certificate depends on the name that a client says. If it is another one for TURN's own name,
/// it does not: then there are several servers, of which some have a new one.
pub(super) fn tell_choosers(all: &mut [Seen], domain: &str) {
    let is_of_another_name = |turn: &Seen, seen: &Seen| {
        // Of several TURN servers behind one port one may not have its certificate yet: that is not chosen by the name.
        let is_for_name = seen.leaf.as_ref().is_some_and(|leaf| {
            !leaf.is_for(&turn.place.host) && (leaf.is_for(&seen.place.host) || leaf.is_hubs_default(domain))
        });
        seen.first() != turn.first() && is_for_name
    };
    let chooses = |turn: &&Seen| {
        let mut beside = all.iter().filter(|s| s.place.shares_port_with(&turn.place));
        turn.first().is_some() && beside.any(|seen| is_of_another_name(turn, seen))
    };
    let turn = all.iter().filter(|s| s.place.purpose == Purpose::Turn);
    let choosing: Vec<_> = turn.filter(chooses).map(|turn| turn.place.clone()).collect();
    for seen in all {
        if choosing.iter().any(|turn| turn.shares_port_with(&seen.place)) {
            seen.shown_by = ShownBy::Ingress;
        }
    }
}

/// What the port shows to the names for which no browser comes there. Nothing if it was asked for no other, or answers nobody.
pub(super) fn to_other_names(seen: &Seen, all: &[Seen], domain: &str) -> Option<String> {
    seen.shown.as_ref().ok()?;
    let others =
        all.iter().filter(|s| !s.place.purpose.is_browsers() && s.place.shares_port_with(&seen.place));
    let mut hosts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for other in others {
        let shown = if other.first().is_some() && other.first() == seen.first() {
            "the same certificate".to_owned()
        } else if other.is_accepted() {
            "a certificate of its own".to_owned()
        } else {
            what_is_shown(other, domain)
        };
        hosts.entry(shown).or_default().push(&other.place.host);
    }
    let texts: Vec<_> =
        hosts.iter().map(|(shown, hosts)| format!("{shown} ({})", hosts.join(", "))).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Whether a name for which nobody comes to TURN is shown what everybody is shown there. A certificate for several names then says
/// nothing of the name's own.
fn is_turns_only(seen: &Seen) -> bool {
    seen.place.purpose == Purpose::BesideTurn && seen.is_by_turn()
}

/// Where the same host shows a certificate of the same authority that was issued later.
pub(super) fn newer_elsewhere<'a>(seen: &Seen, all: &'a [Seen]) -> Option<&'a Seen> {
    let old = seen.issued().filter(|_| !is_turns_only(seen))?;
    let newer = all.iter().filter(|s| s.place.host == seen.place.host && s.is_accepted());
    newer
        .filter(|s| !is_turns_only(s))
        .filter_map(|s| Some((s, s.issued()?)))
        .filter(|(_, new)| new.not_before - old.not_before > TOGETHER && new.has_issuer_of(old))
        .max_by_key(|(_, new)| new.not_before)
        .map(|(s, _)| s)
}

/// Where the same ingress shows for the same host a certificate that browsers accept, though browsers do not know who issued this one.
/// The ingress shows one for each host, so this one comes from something on the way.
pub(super) fn trusted_beside<'a>(seen: &Seen, all: &'a [Seen]) -> Option<&'a Seen> {
    let is_of_ingress = |place: &Place| !place.purpose.is_turns();
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

/// A finding on the default certificate, once it is known that the name's own is there.
pub(super) fn not_read_here(finding: Finding, seen: &Seen, other: &Seen) -> Finding {
    let (host, port) = (&seen.place.host, seen.place.port);
    finding
        .because(format!(
            "{} shows the real one, so the secret cert-{host} is there: what serves port {port} did not read it, and shows what its \
             argument --default-ssl-certificate names",
            other.place
        ))
        .fix(
            format!(
                "See what serves port {port}, and let it read the secret cert-{host} again; if it goes on, let its argument \
                 --default-ssl-certificate name hcce/cert-{host}, or take it out:"
            ),
            ["kubectl get service lb -n hcce -o jsonpath='{.spec.ports}'", RESTART_HAPROXY, EDIT_HAPROXY],
        )
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

/// Whether each port has the newest certificate of its name. A port that lacks it for several names is told once, where browsers come
/// to it if that is among them.
pub(super) fn newest_everywhere(all: &[Seen], domain: &str) -> Vec<Finding> {
    let code = Code::CertificateNewest;
    let old: Vec<_> =
        all.iter().filter_map(|seen| Some((seen, seen.issued()?, newer_elsewhere(seen, all)?))).collect();
    let is_told_with = |told: &Seen, seen: &Seen| {
        told.place.host != seen.place.host && told.place.shares_port_with(&seen.place)
    };
    let mut findings = Vec::new();
    for (at, (seen, leaf, newer)) in old.iter().enumerate() {
        if old[..at].iter().any(|(before, ..)| is_told_with(before, seen)) {
            continue;
        }
        let finding = Finding::warn(
            code,
            format!("an old certificate is shown here: {} shows a newer one", newer.place),
        )
        .at(seen.place.to_string());
        let mut finding = described(not_read_again(finding, seen, newer), leaf);
        let besides = old[at..].iter().filter(|(other, ..)| is_told_with(seen, other));
        let besides: Vec<_> = besides.map(|(other, ..)| other.place.host.as_str()).collect();
        if !besides.is_empty() {
            finding = finding.seen("old as well", besides.join(", "));
        }
        findings.push(finding);
    }
    let is_comparable = |seen: &Seen| {
        let same_host = all.iter().filter(|s| s.place.host == seen.place.host && s.issued().is_some());
        same_host.count() > 1
    };
    if findings.is_empty() && all.iter().any(is_comparable) {
        return vec![Finding::pass(code, "each port shows the newest certificate of its name").at(domain)];
    }
    findings
}

fn restart(seen: &Seen) -> &'static str {
    if seen.is_by_turn() { "kubectl rollout restart deployment coturn -n hcce" } else { RESTART_HAPROXY }
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
