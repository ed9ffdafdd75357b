//! What a browser makes of one certificate, why, and what to do about it.

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use time::{OffsetDateTime, macros::format_description};

use super::{
    Place, Purpose, Seen,
    leaf::{self, Leaf, Weakness},
};
use crate::{
    codes::Code,
    finding::Finding,
    net::{ConnectError, Judgement, Presented, ResolveError, TlsError},
};

pub(super) const RENEW: &str = "npm run gen-ssl";
pub(super) const RESTART_HAPROXY: &str = "kubectl rollout restart deployment haproxy -n hcce";
pub(super) const EDIT_HAPROXY: &str = "kubectl edit deployment haproxy -n hcce";
const LIVE_SHORT: &str = "Hubs' certificates live for 90 days and are not renewed by themselves";

pub(super) fn judge(seen: &Seen, domain: &str, now: OffsetDateTime) -> Finding {
    let place = &seen.place;
    match (&seen.shown, &seen.leaf) {
        (Ok(shown), Some(leaf)) => judge_chain(seen, domain, shown, leaf, now),
        (Ok(_), None) => Finding::fail(Code::CertificateValid, "what the server shows is no certificate"),
        (
            Err(
                e @ TlsError::Connect(
                    ConnectError::Resolve(ResolveError::Resolver { .. }) | ConnectError::Io { .. },
                ),
            ),
            _,
        ) => Finding::error(Code::TlsAnswers, e.to_string()),
        (Err(e @ (TlsError::Connect(ConnectError::Resolve(_)) | TlsError::Name(_))), _) => {
            Finding::fail(Code::TlsAnswers, e.to_string())
                .because("the room sends browsers to this host")
                .fix(
                    "Look at default_janus_host in Reticulum's configuration:",
                    ["kubectl get configmap ret-config -n hcce -o yaml"],
                )
        }
        (Err(e @ (TlsError::Connect(_) | TlsError::Silent | TlsError::Handshake(_))), _) => {
            unreachable_port(place, e)
        }
        (Err(e @ TlsError::Certificate(_)), _) => Finding::error(Code::CertificateValid, e.to_string()),
    }
}

fn unreachable_port(place: &Place, error: &TlsError) -> Finding {
    let fail = Finding::fail(Code::TlsAnswers, error.to_string());
    let finding = match error {
        TlsError::Connect(ConnectError::Silent(_)) => fail.because(
            "the load balancer does not forward the port, or a firewall on the way drops it, perhaps that of this machine's network",
        ),
        _ => fail,
    };
    let behind = match place.purpose {
        Purpose::Turn => [
            "kubectl get configmap haproxy-tcp-config -n hcce -o yaml",
            "kubectl get pods -n hcce -l app=coturn",
        ],
        _ => ["kubectl get pods -n hcce -l app=haproxy", "kubectl get ingress -n hcce"],
    };
    finding.fix(
        format!("Look at whether the load balancer forwards port {}, and at what is behind it:", place.port),
        ["kubectl get service lb -n hcce -o jsonpath='{.spec.ports[*].port}'"].into_iter().chain(behind),
    )
}

fn judge_chain(seen: &Seen, domain: &str, shown: &Presented, leaf: &Leaf, now: OffsetDateTime) -> Finding {
    let finding = match &shown.judgement {
        Judgement::Accepted if !leaf::in_order(&shown.chain) => Finding::warn(
            Code::CertificateChain,
            "the chain is sent out of order: most browsers sort it, some clients refuse it",
        )
        .advise("Put the certificate first and then its issuers, each after what it signed, into the secret's tls.crt"),
        Judgement::Accepted if leaf.runs_out_soon(now) => {
            Finding::warn(Code::CertificateDates, format!("accepted, but it runs out on {}", date(leaf.not_after)))
                .because(LIVE_SHORT)
                .fix("Renew it, in the folder from which Hubs was installed:", [RENEW])
        }
        Judgement::Accepted => {
            return Finding::pass(Code::CertificateValid, format!("accepted, valid until {}", date(leaf.not_after)))
                .seen("issuer", &leaf.issuer)
                .seen("key", &leaf.key);
        }
        Judgement::Refused(reason) => refused(seen, domain, &shown.chain, leaf, reason, now),
    };
    described(finding, leaf)
}

/// With what a person wants to know of the certificate.
pub(super) fn described(finding: Finding, leaf: &Leaf) -> Finding {
    finding
        .seen("subject", &leaf.subject)
        .seen("issuer", &leaf.issuer)
        .seen("names", if leaf.names.is_empty() { "none".to_owned() } else { leaf.names.join(", ") })
        .seen("key", &leaf.key)
        .seen("valid", format!("{} to {}", date(leaf.not_before), date(leaf.not_after)))
}

/// Names the fault. What is special to Hubs comes first, because it has a remedy of its own.
fn refused(
    seen: &Seen,
    domain: &str,
    chain: &[CertificateDer<'_>],
    leaf: &Leaf,
    reason: &CertificateError,
    now: OffsetDateTime,
) -> Finding {
    let place = &seen.place;
    if leaf.self_signed && place.purpose == Purpose::Turn && leaf.common_name == "dialog" {
        return Finding::fail(Code::CertificateOfCoturn, "TURN shows coturn's built-in certificate, which no browser accepts")
            .because("Hubs' coturn is built with a self-signed certificate for the name \"dialog\", and haproxy passes port 5349 through as it is")
            .advise("Put hubs-relay in coturn's place with the certificate of this name, see deploy/README.md");
    }
    if leaf.is_hubs_default(domain) {
        return default_certificate(place, domain);
    }
    if leaf.self_signed {
        return Finding::fail(
            Code::CertificateSelfSigned,
            "the certificate is signed by itself, so no browser accepts it",
        )
        .fix(renewal(seen), [RENEW]);
    }
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } if leaf.ran_out(now) => {
            Finding::fail(Code::CertificateDates, format!("the certificate ran out on {}", date(leaf.not_after)))
                .because(LIVE_SHORT)
                .fix("Renew it, in the folder from which Hubs was installed:", [RENEW])
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let when = leaf::issuer_ran_out(chain, now).map_or_else(String::new, |when| format!(" on {}", date(when)));
            Finding::fail(Code::CertificateChain, format!("the certificate is good, but one of its issuers ran out{when}"))
                .because("the secret holds an old chain: the authority has a newer intermediate certificate")
                .fix(renewal(seen), [RENEW])
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Finding::fail(Code::CertificateDates, format!("the certificate is not valid before {}", date(leaf.not_before)))
                .advise("Look at the clock of this machine and of the one that issued the certificate")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Finding::fail(Code::CertificateWrongName, format!("the certificate is not for {}", place.host))
                .fix(renewal(seen), [RENEW])
        }
        _ if leaf.weakness.is_some_and(|w| matches!(w, Weakness::BrokenHash(_))) => weak(leaf, seen),
        CertificateError::UnknownIssuer | CertificateError::BadSignature if leaf.is_by_interceptor() => {
            intercepted("a filter or a virus scanner shows its own certificate in the place of the server's")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature if leaf.is_by_staging() => {
            Finding::fail(Code::CertificateUnknownIssuer, "the certificate was issued to try out how that is done")
                .because("Let's Encrypt's staging environment issued it, which browsers do not trust")
                .fix(renewal(seen), [RENEW])
        }
        CertificateError::UnknownIssuer if chain.len() == 1 => {
            Finding::fail(Code::CertificateChain, "no way from the certificate to a trusted root: only the certificate itself is sent")
                .because("the intermediate certificate is missing, or the issuer is not one that browsers trust")
                .advise("Put the full chain (fullchain.pem) into the secret's tls.crt; for a private authority give --ca-file")
        }
        // BadSignature: an issuer of a trusted name, but with another key than the trusted one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Finding::fail(Code::CertificateUnknownIssuer, "the issuer is not one that browsers trust")
                .because(format!(
                    "the certificate comes from {}: a private authority, or something in this machine's network that intercepts TLS",
                    leaf.issuer
                ))
                .advise("Issue the certificate with a public authority; for a private one give its certificate with --ca-file")
        }
        other => Finding::fail(Code::CertificateValid, format!("a browser refuses the certificate: {other}"))
            .fix(renewal(seen), [RENEW]),
    }
}

/// That what was shown does not come from the deployment, which then cannot be blamed for it.
pub(super) fn intercepted(summary: impl AsRef<str>) -> Finding {
    Finding::error(Code::CertificateUnknownIssuer, summary)
        .because("something in this machine's network, or on this machine, intercepts TLS")
        .advise("Check from another network, or have the domain excepted where it is intercepted")
}

/// haproxy falls back on its default certificate where it has none for a name, and prefers it for the name that both are for.
fn default_certificate(place: &Place, domain: &str) -> Finding {
    let fail = Finding::fail(
        Code::CertificateDefault,
        "haproxy shows Hubs' default certificate, which no browser accepts",
    );
    if place.host == domain {
        fail.because("haproxy is started with --default-ssl-certificate and the self-signed certificate cert-hcce")
            .fix(
                format!(
                    "Create the real certificates, then let the argument --default-ssl-certificate of haproxy name hcce/cert-{domain}, or take it out:"
                ),
                [RENEW, EDIT_HAPROXY],
            )
    } else {
        let host = &place.host;
        let secret = format!("kubectl get secret cert-{host} -n hcce");
        fail.because(format!(
            "haproxy finds no certificate for this name, which it looks for in the secret cert-{host}, and shows what its argument \
             --default-ssl-certificate=hcce/cert-hcce names"
        ))
        .fix(
            format!(
                "See whether the secret hcce/cert-{host} is there, create the certificates if it is not, and let the argument \
                 --default-ssl-certificate of haproxy name hcce/cert-{domain}, or take it out:"
            ),
            [secret.as_str(), RENEW, EDIT_HAPROXY],
        )
    }
}

fn renewal(seen: &Seen) -> String {
    let host = &seen.place.host;
    if seen.is_by_turn() {
        format!("Give the TURN server the certificate of {host}, which Hubs keeps in the secret cert-{host}:")
    } else {
        format!("Issue a certificate for {host} and keep it in the secret cert-{host}:")
    }
}

/// Keys and hashes: a finding for each place where one is weak, or one that none is. Where a certificate is refused, that is
/// said already.
pub(super) fn strength(all: &[Seen], domain: &str) -> Vec<Finding> {
    let mut examined = all.iter().filter(|s| s.place.purpose.is_browsers() && s.is_accepted()).peekable();
    if examined.peek().is_none() {
        return Vec::new();
    }
    let weak: Vec<_> = examined
        .filter_map(|s| Some((s, s.leaf.as_ref().filter(|leaf| leaf.weakness.is_some())?)))
        .map(|(seen, leaf)| described(weak(leaf, seen), leaf).at(seen.place.to_string()))
        .collect();
    if weak.is_empty() {
        vec![Finding::pass(Code::CertificateStrength, "keys and signatures are strong").at(domain)]
    } else {
        weak
    }
}

fn weak(leaf: &Leaf, seen: &Seen) -> Finding {
    let code = Code::CertificateStrength;
    match leaf.weakness {
        Some(Weakness::BrokenHash(hash)) => {
            Finding::fail(code, format!("the chain has a signature with {hash}, which no browser accepts"))
                .because(format!(
                    "{hash} was broken: anybody could make another certificate with the same signature"
                ))
        }
        Some(Weakness::ShortKey(bits)) => Finding::warn(
            code,
            format!("the chain has an RSA key of {bits} bits, which some browsers refuse"),
        )
        .because("public authorities have not signed keys of fewer than 2048 bits since 2013"),
        None => return Finding::pass(code, "keys and signatures are strong"),
    }
    .fix(renewal(seen), [RENEW])
}

/// Of the certificates that demand an OCSP response beside them, whether they get one. Firefox insists on it.
pub(super) fn staples(all: &[Seen]) -> Vec<Finding> {
    let code = Code::CertificateStapled;
    all.iter()
        .filter(|s| s.place.purpose.is_browsers() && s.is_accepted())
        .filter_map(|s| Some((s, s.leaf.as_ref().filter(|leaf| leaf.must_staple)?)))
        .map(|(seen, leaf)| {
            let finding = if seen.shown.as_ref().is_ok_and(|shown| shown.stapled) {
                Finding::pass(code, "the OCSP response that the certificate demands comes with it")
            } else {
                let fail =
                    Finding::fail(code, "the certificate demands an OCSP response beside it, and none is sent: Firefox refuses it")
                        .because("it was asked for with \"must staple\", and neither haproxy nor coturn staples in Hubs")
                        .fix("Issue the certificate without must-staple:", [RENEW]);
                described(fail, leaf)
            };
            finding.at(seen.place.to_string())
        })
        .collect()
}

/// What clients get that say no name, on each port. It is worth knowing and no fault, because each browser says one.
pub(super) fn without_name(nameless: &[Seen], all: &[Seen], domain: &str) -> Option<Finding> {
    let is_answered = |seen: &&Seen| matches!(seen.shown, Ok(_) | Err(TlsError::Handshake(_)));
    // Of the others the finding on the port itself says what is wrong.
    let answered: Vec<_> = nameless.iter().filter(is_answered).collect();
    let mut shown: Vec<(String, Vec<String>)> = Vec::new();
    for seen in &answered {
        let (what, port) = (what_is_shown(seen, domain), seen.place.port.to_string());
        match shown.iter_mut().find(|(known, _)| *known == what) {
            Some((_, ports)) => ports.push(port),
            None => shown.push((what, vec![port])),
        }
    }
    let what = match shown.as_slice() {
        [] => return None,
        [(what, _)] => what.clone(),
        several => {
            let texts = several.iter().map(|(what, ports)| format!("{what} on {}", ports.join(" and ")));
            texts.collect::<Vec<_>>().join(", ")
        }
    };
    let finding = Finding::pass(
        Code::CertificateWithoutName,
        format!("clients that name no host, which no browser does, get {what}"),
    )
    .at(format!("https://{domain}"));
    let refuses_nameless = |seen: &&&Seen| {
        let named = all.iter().find(|s| s.place.purpose == Purpose::Turn && s.place.port == seen.place.port);
        !seen.is_accepted() && named.is_some_and(Seen::is_accepted)
    };
    let of_turn = answered.iter().filter(|seen| seen.place.purpose == Purpose::Turn);
    let finding = of_turn.filter(refuses_nameless).fold(finding, |finding, seen| {
        finding.seen(
            &seen.place.to_string(),
            "the certificate depends on the name that is said: programs that are no browser and say none are not served there",
        )
    });
    Some(match answered.iter().find_map(|seen| seen.leaf.as_ref()) {
        Some(leaf) => described(finding, leaf),
        None => finding,
    })
}

/// In words, whatever browsers make of it.
pub(super) fn what_is_shown(seen: &Seen, domain: &str) -> String {
    match (&seen.shown, &seen.leaf) {
        (Ok(_), Some(leaf)) if leaf.is_hubs_default(domain) => "Hubs' default certificate".to_owned(),
        (Ok(_), Some(leaf)) => {
            format!("the certificate of {}", leaf.names.first().unwrap_or(&leaf.subject))
        }
        (Ok(_), None) => "something that is no certificate".to_owned(),
        (Err(TlsError::Handshake(_)), _) => "no certificate".to_owned(),
        (Err(_), _) => "no answer".to_owned(),
    }
}

pub(super) fn date(when: OffsetDateTime) -> String {
    // Formatting with this description cannot fail: every date has a year, a month and a day.
    when.format(format_description!("[year]-[month]-[day]")).unwrap_or_default()
}
