//! DKIM (RFC 6376) as Azure Communication Services has it: two names, each an alias of the same name at Azure, which holds the
//! keys and changes them.

use futures_util::future::join_all;

use super::{alias, ask};
use crate::{
    check::Context,
    codes::Code,
    finding::Finding,
    net::{Data, Kind, Reply},
};

pub(super) const SELECTORS: [&str; 2] = ["selector1-azurecomm-prod-net", "selector2-azurecomm-prod-net"];

/// A selector, and what is in the DNS in its place and in the places where people put it by mistake.
pub(super) struct Selector {
    name: &'static str,
    host: String,
    alias: Option<Data>,
    /// Whether a key comes of asking for it.
    has_key: bool,
    /// Where it was put instead.
    misplaced: Vec<(String, &'static str)>,
}

impl Selector {
    /// Looks at all of those places. Nothing if the resolver does not say what is in the right one.
    pub(super) async fn look(
        cx: &Context,
        name: &'static str,
        domain: &str,
        suffixes: &[String],
    ) -> Option<Self> {
        let host = format!("{name}._domainkey.{domain}");
        let reversed = format!("_domainkey.{name}.{domain}");
        let appended = "the DNS provider's form appends the domain by itself";
        let doubled = suffixes.iter().map(|suffix| (format!("{host}.{suffix}"), appended));
        let wrong: Vec<_> =
            [(reversed, "the selector comes first, then _domainkey")].into_iter().chain(doubled).collect();
        let (at_alias, key, at_wrong) = tokio::join!(
            ask(cx, &host, Kind::Cname),
            ask(cx, &host, Kind::Txt),
            join_all(wrong.iter().map(|(place, _)| ask(cx, place, Kind::Cname))),
        );
        let is_there = |place: &str, reply: Option<Reply>| {
            reply.as_ref().and_then(|reply| alias(reply, place)) == Some(right(name))
        };
        let misplaced = wrong
            .into_iter()
            .zip(at_wrong)
            .filter_map(|(wrong, reply)| is_there(&wrong.0, reply).then_some(wrong));
        let misplaced = misplaced.collect();
        let has_key = key.is_some_and(|reply| reply.texts().any(|text| text.contains("p=")));
        Some(Self { name, alias: alias(&at_alias?, &host), has_key, misplaced, host })
    }

    /// The same without what a wildcard says of every name.
    pub(super) fn without(mut self, wildcard: Option<&Data>) -> Self {
        if wildcard.is_some() && self.alias.as_ref() == wildcard {
            self.alias = None;
            self.has_key = false;
        }
        self
    }

    /// Whether somebody meant Azure to sign mail.
    pub(super) fn is_there(&self) -> bool {
        self.alias.is_some() || self.has_key || !self.misplaced.is_empty()
    }

    /// What is wrong with it, if anything is.
    fn fault(&self) -> Option<String> {
        let right = right(self.name);
        match &self.alias {
            Some(alias) if *alias == right && self.has_key => None,
            Some(alias) if *alias == right => {
                Some("Azure has no key there, or the resolver does not see it".to_owned())
            }
            Some(Data::Alias(elsewhere)) => Some(format!("leads to {elsewhere}")),
            Some(_) | None if self.has_key => {
                Some("is a key of its own and no CNAME, so Azure cannot change it".to_owned())
            }
            Some(_) | None => Some(match self.misplaced.first() {
                Some((place, rule)) => format!("is missing; it was entered as {place}, but {rule}"),
                None => "is missing".to_owned(),
            }),
        }
    }
}

/// What the selector has to be an alias of.
fn right(selector: &str) -> Data {
    Data::Alias(format!("{selector}._domainkey.azurecomm.net"))
}

pub(super) fn judge(domain: &super::Domain) -> Finding {
    let code = Code::DkimSelectors;
    let faults: Vec<_> = domain.selectors.iter().filter_map(|s| Some((s, s.fault()?))).collect();
    if faults.is_empty() {
        return Finding::pass(code, "Azure's signatures on login mail can be checked");
    }
    let lines = faults.iter().map(|(s, _)| format!("{}. CNAME {}._domainkey.azurecomm.net.", s.host, s.name));
    let lines: Vec<_> = lines.collect();
    let finding = Finding::warn(code, "Azure's signatures on login mail cannot be checked, so it ends up as spam or is refused")
        .because("both selectors have to be CNAMEs (not proxied, not flattened) that lead to the same name at azurecomm.net")
        .advise(format!("Enter, as lines of the zone file: {}", lines.join(" and ")));
    faults.iter().fold(finding, |finding, (selector, fault)| finding.seen(&selector.host, fault))
}
