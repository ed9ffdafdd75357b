//! DNSSEC: do the signatures hold, where there are any? A resolver that validates says SERVFAIL where they do not (RFC 4035
//! section 5.5), and gives the answer all the same to somebody who wants it unchecked.

use std::sync::Arc;

use futures_util::future::join_all;

use super::zone;
use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::{AskError, Kind, Mode, Reply, ReplyCode},
    target::Name,
};

pub(crate) async fn signatures(cx: Arc<Context>) -> Outcome {
    let hosts = Name::ALL.map(|name| cx.target.host(name));
    let ask = |mode| {
        let cx = &cx;
        join_all(hosts.iter().map(move |host| cx.net.ask_resolver(host, Kind::A, mode)))
    };
    let (checked, unchecked, zone) =
        tokio::join!(ask(Mode::Recursive), ask(Mode::Unchecked), zone::find(&cx));
    let bogus: Vec<_> =
        (0..hosts.len()).filter(|i| is_refused(&checked[*i]) && is_known(&unchecked[*i])).collect();
    if bogus.is_empty() {
        let validated = checked.iter().flatten().any(|reply| reply.authentic);
        return unbroken(&cx, validated, zone).await;
    }
    // A resolver that fails once may be in trouble; twice in the same way it means it.
    let again =
        join_all(bogus.iter().map(|i| cx.net.ask_resolver(&hosts[*i], Kind::A, Mode::Recursive))).await;
    if !again.iter().all(is_refused) {
        return Err(Stop::Unable("the resolver says one thing and then another".to_owned()));
    }
    let names: Vec<_> = bogus.iter().map(|i| hosts[*i].as_str()).collect();
    let apex = zone.map_or_else(|| cx.target.domain().to_owned(), |zone| zone.apex);
    Ok(vec![
        Finding::fail(Code::DnssecValid, format!("resolvers that check signatures refuse {}", names.join(", ")))
            .at(&apex)
            .seen("with checking", "SERVFAIL, twice")
            .seen("without checking", "an answer")
            .because(
                "the zone's DNSSEC signatures have run out, or the DS record at the registrar is of a key that the zone no longer has",
            )
            .fix(
                "Sign the zone anew, or take the DS record out at the registrar until it is; these show both ends:",
                [format!("dig +short DS {apex}"), format!("dig +short DNSKEY {apex} +cd")],
            ),
    ])
}

fn is_refused(reply: &Result<Reply, AskError>) -> bool {
    reply.as_ref().is_ok_and(|reply| reply.code == ReplyCode::Failed)
}

fn is_known(reply: &Result<Reply, AskError>) -> bool {
    reply.as_ref().is_ok_and(|reply| reply.code == ReplyCode::Exists && !reply.answers.is_empty())
}

/// Nothing is wrong that this resolver would see. Whether it looks is another question.
async fn unbroken(cx: &Context, validated: bool, zone: Option<zone::Zone>) -> Outcome {
    let code = Code::DnssecValid;
    if validated {
        return Ok(vec![Finding::pass(
            code,
            "the names are signed, and the resolver found the signatures good",
        )]);
    }
    let Some(zone) = zone else {
        return Err(Stop::Skip("the zone is not known, so whether it is signed is not either".to_owned()));
    };
    let reply = match cx.net.ask_resolver(&zone.apex, Kind::Ds, Mode::Recursive).await {
        Ok(reply) if reply.is_definite() => reply,
        Ok(reply) => {
            return Err(Stop::Unable(format!(
                "the resolver does not say whether the zone is signed ({})",
                reply.code
            )));
        }
        Err(e) => {
            return Err(Stop::Unable(format!("the resolver does not say whether the zone is signed: {e}")));
        }
    };
    Ok(vec![if reply.of(&zone.apex).next().is_none() {
        Finding::pass(code, format!("the zone {} is not signed, so no signature can be wrong", zone.apex))
    } else {
        Finding::skip(
            code,
            format!(
                "the zone {} is signed, and this resolver does not check signatures: --resolver IP:PORT names one that does",
                zone.apex
            ),
        )
    }
    .at(&zone.apex)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        testing::{DOMAIN, names::Zone},
    };

    fn deployment() -> Zone {
        let zone = Zone::default().ns(DOMAIN, "ns.example.test");
        ["", "assets.", "stream.", "cors."]
            .iter()
            .fold(zone, |zone, label| zone.a(&format!("{label}{DOMAIN}"), [192, 0, 2, 7]))
    }

    async fn found(zone: Zone) -> Finding {
        signatures(zone.resolver().await).await.unwrap().remove(0)
    }

    #[tokio::test]
    async fn what_only_unchecked_is_answered_is_bogus() {
        let finding = found(deployment().bogus()).await;
        assert_eq!((finding.status, finding.remedy.is_some()), (Status::Fail, true), "{finding:#?}");
    }

    #[tokio::test]
    async fn a_resolver_that_fails_either_way_says_nothing_of_signatures() {
        let outcome = signatures(deployment().failing("").resolver().await).await;
        assert!(matches!(outcome, Err(Stop::Skip(_) | Stop::Unable(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn signed_and_unsigned_zones_pass_and_one_that_was_not_checked_is_skipped() {
        let signed = found(deployment().ds(DOMAIN).authentic()).await;
        assert_eq!(signed.status, Status::Pass);
        assert!(signed.summary.contains("good"), "{signed:#?}");
        let unsigned = found(deployment()).await;
        assert_eq!(unsigned.status, Status::Pass);
        assert!(unsigned.summary.contains("not signed"), "{unsigned:#?}");
        assert_eq!(found(deployment().ds(DOMAIN)).await.status, Status::Skip);
    }
}
