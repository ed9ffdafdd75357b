//! Which versions of TLS each port speaks.

use std::sync::Arc;

use futures_util::future::join_all;
use rustls::{ProtocolVersion, SupportedProtocolVersion, version::TLS12};

use super::{Place, Purpose, places};
use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::{Handshake, OldTls, TlsError, Trust},
};

static ONLY_TLS_1_2: &[&SupportedProtocolVersion] = &[&TLS12];

pub(crate) async fn versions(cx: Arc<Context>) -> Outcome {
    let known = cx.facts.addresses.get()?;
    // One of the names stands for all that the ingress serves on its port.
    let mut pages = 0;
    let mut places = places(&cx.target, known, cx.facts.room.get().ok());
    places.retain(|place| match place.purpose {
        Purpose::Pages => {
            pages += 1;
            pages == 1
        }
        Purpose::Dialog | Purpose::Turn => true,
        Purpose::BesideDialog | Purpose::BesideTurn => false,
    });
    let findings: Vec<_> =
        join_all(places.iter().map(|place| look(&cx, place))).await.into_iter().flatten().collect();
    if findings.is_empty() {
        return Err(Stop::Skip("no port speaks TLS, see tls.certificates".to_owned()));
    }
    Ok(findings)
}

/// What a port speaks; nothing if it does not even answer, which `tls.certificates` says.
async fn look(cx: &Context, place: &Place) -> Option<Finding> {
    let only_12 = Handshake { versions: ONLY_TLS_1_2, ..Handshake::default() };
    let (newest, tls12, old) = tokio::join!(
        cx.net.tls(&place.host, place.port, Trust::Anything),
        cx.net.tls_with(&place.host, place.port, Trust::Anything, &only_12),
        cx.net.old_tls(&place.host, place.port),
    );
    let speaks_13 = match newest {
        Ok((stream, _)) => Some(stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3)),
        Err(TlsError::Handshake(_)) => None,
        Err(_) => return None,
    };
    let spoken = Spoken { tls13: speaks_13.unwrap_or(false), tls12: tls12.is_ok(), old: old.ok()? };
    Some(judge(place, &spoken)?.at(place.to_string()))
}

struct Spoken {
    tls13: bool,
    tls12: bool,
    old: OldTls,
}

fn judge(place: &Place, spoken: &Spoken) -> Option<Finding> {
    let code = Code::TlsVersions;
    let today = match (spoken.tls13, spoken.tls12) {
        (true, true) => "TLS 1.3 and 1.2",
        (true, false) => "TLS 1.3 only",
        (false, true) => "TLS 1.2 only",
        // It is no TLS, unless it is an old one.
        (false, false) => {
            let OldTls::Spoken(version) = spoken.old else { return None };
            let fail = Finding::fail(
                code,
                format!("nothing newer than {version} is spoken, which no browser does any more"),
            );
            return Some(remedied(fail, place));
        }
    };
    Some(match spoken.old {
        OldTls::Spoken(version) => {
            let warn = Finding::warn(
                code,
                format!("{version} is still spoken, which nobody needs and auditors complain about"),
            );
            remedied(warn.seen("besides", today), place)
        }
        OldTls::Refused | OldTls::Unclear => Finding::pass(code, today),
    })
}

fn remedied(finding: Finding, place: &Place) -> Finding {
    match place.purpose {
        Purpose::Turn => finding.fix(
            "Put hubs-relay in coturn's place, see deploy/README.md, or give coturn the lines no-tlsv1 and no-tlsv1_1:",
            ["kubectl exec -n hcce deploy/coturn -- grep -i tls /etc/turnserver.conf"],
        ),
        _ => finding.fix(
            "Give haproxy's configuration the key global-config-snippet with the line ssl-default-bind-options ssl-min-ver TLSv1.2:",
            ["kubectl edit configmap haproxy-config -n hcce"],
        ),
    }
}
