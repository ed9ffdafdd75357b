//! The records that login mail needs where Azure Communication Services sends it: Hubs on AKS has no other way out for mail,
//! since Azure keeps port 25 closed. Where nothing of that service is in the DNS, mail is sent some other way, and that cannot be
//! seen from outside.

mod dkim;
mod dmarc;
mod mx;
mod spf;

use std::sync::Arc;

use futures_util::future::join_all;

use super::dns::zone::{self, ancestors};
use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    finding::Finding,
    net::{AskError, Data, Kind, Mode, Reply},
    random,
};

/// What Azure wants to see at the domain before it believes that it is ours.
const OWNERSHIP: &str = "ms-domain-verification=";

pub(crate) async fn records(cx: Arc<Context>) -> Outcome {
    let domains = ancestors(cx.target.domain());
    let apex = zone::find(&cx).await.map(|zone| zone.apex);
    let looked_at = join_all(domains.iter().map(|domain| Domain::look(&cx, domain, apex.as_deref()))).await;
    if looked_at.iter().all(Option::is_none) {
        return Err(Stop::Unable("the resolver gives no answer about the records of mail".to_owned()));
    }
    // The nearest one: it is what people would take for the sender of a deployment's mail.
    let Some(domain) = looked_at.into_iter().flatten().find(Domain::is_azures) else {
        return Err(Stop::Skip(format!(
            "Azure Communication Services has no record at {}: login mail is sent some other way, which cannot be seen from outside",
            domains.join(" or ")
        )));
    };
    let (spf, dmarc, mx) =
        tokio::join!(spf::judge(&cx, &domain), dmarc::judge(&cx, &domain), mx::judge(&cx, &domain));
    let findings = [vec![judge_ownership(&domain), dkim::judge(&domain)], spf, vec![dmarc, mx]].concat();
    Ok(findings.into_iter().map(|finding| finding.at(&domain.name)).collect())
}

fn judge_ownership(domain: &Domain) -> Finding {
    let name = &domain.name;
    let Some(place) = &domain.misplaced_ownership else {
        let shown = if domain.is_owned() { "shown" } else { "not shown by a TXT record" };
        let summary = format!("Azure Communication Services sends login mail in the name of {name}");
        return Finding::pass(Code::MailOfAzure, summary).seen("ownership", shown);
    };
    Finding::warn(
        Code::MailOfAzure,
        format!("the record that shows Azure to whom {name} belongs was entered with the domain twice"),
    )
    .because("Azure looks for it at the domain itself, and sends in nobody's name before it has found it")
    .seen(MISPLACED, entered_as(place))
    .fix(
        format!(
            "Enter it again with the name as the form wants it, and delete {place}; then this prints it:"
        ),
        [format!("dig +short TXT {name}")],
    )
}

/// Under this label a finding names where a record is that is missing in its place.
const MISPLACED: &str = "misplaced";

fn entered_as(place: &str) -> String {
    format!("it was entered as {place}: the DNS provider's form appends the domain by itself")
}

/// A domain in whose name mail may be sent.
struct Domain {
    name: String,
    /// What forms append to a name: the zone's name, or the domain's.
    suffixes: Vec<String>,
    /// Its text records.
    texts: Vec<String>,
    /// Where the record is that shows whose it is, if it is not there but with the domain twice.
    misplaced_ownership: Option<String>,
    selectors: Vec<dkim::Selector>,
}

impl Domain {
    /// Looks at what would be there if Azure sent mail for it. Nothing if the resolver does not say.
    async fn look(cx: &Context, name: &str, apex: Option<&str>) -> Option<Self> {
        let apex = apex.filter(|apex| name.ends_with(&format!(".{apex}")));
        let suffixes: Vec<_> = apex.into_iter().chain([name]).map(str::to_owned).collect();
        let nobody = format!("hubs-probe-{}._domainkey.{name}", random::name::<10>());
        let (texts, wildcard, selectors) = tokio::join!(
            ask(cx, name, Kind::Txt),
            ask(cx, &nobody, Kind::Cname),
            join_all(
                dkim::SELECTORS.iter().map(|selector| dkim::Selector::look(cx, selector, name, &suffixes))
            ),
        );
        // What a wildcard says of any name it says of these as well.
        let wildcard = wildcard?.answers.first().map(|record| record.data.clone());
        let selectors = selectors.into_iter().collect::<Option<Vec<_>>>()?;
        let selectors = selectors.into_iter().map(|selector| selector.without(wildcard.as_ref())).collect();
        let texts = texts?.texts().map(str::to_owned).collect();
        let domain = Self { name: name.to_owned(), suffixes, texts, misplaced_ownership: None, selectors };
        if domain.is_owned() {
            return Some(domain);
        }
        let misplaced_ownership = domain.doubled(cx, name, |text| text.starts_with(OWNERSHIP)).await;
        Some(Self { misplaced_ownership, ..domain })
    }

    /// Where a text of `host`'s is that has the domain behind it once more. What a wildcard answers was not entered there.
    async fn doubled(&self, cx: &Context, host: &str, is_it: impl Fn(&str) -> bool) -> Option<String> {
        for suffix in &self.suffixes {
            let (place, nobody) =
                (format!("{host}.{suffix}"), format!("hubs-probe-{}.{suffix}", random::name::<10>()));
            let (there, wildcard) = tokio::join!(ask(cx, &place, Kind::Txt), ask(cx, &nobody, Kind::Txt));
            let (Some(there), Some(wildcard)) = (there, wildcard) else { continue };
            let is_wildcards = |text: &str| wildcard.texts().any(|other| other == text);
            if there.texts().any(|text| is_it(text) && !is_wildcards(text)) {
                return Some(place);
            }
        }
        None
    }

    fn is_owned(&self) -> bool {
        self.texts.iter().any(|text| text.starts_with(OWNERSHIP))
    }

    fn is_azures(&self) -> bool {
        self.is_owned()
            || self.misplaced_ownership.is_some()
            || self.selectors.iter().any(dkim::Selector::is_there)
    }
}

/// What the resolver says, if it knows.
async fn ask(cx: &Context, host: &str, kind: Kind) -> Option<Reply> {
    let reply: Result<Reply, AskError> = cx.net.ask_resolver(host, kind, Mode::Recursive).await;
    reply.ok().filter(Reply::is_definite)
}

/// What a name is an alias of, if it is one.
fn alias(reply: &Reply, host: &str) -> Option<Data> {
    reply
        .of(&host.to_ascii_lowercase())
        .map(|record| record.data.clone())
        .find(|d| matches!(d, Data::Alias(_)))
}

/// For the fuzzer: an SPF record.
#[cfg(fuzzing)]
pub(crate) fn fuzz(text: &str) {
    drop(spf::terms(text));
}

#[cfg(test)]
mod tests;
