//! SPF (RFC 7208): may Azure send in the name of the domain, and is the record one that receivers evaluate?

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::{Domain, MISPLACED, ask, entered_as};
use crate::{
    check::Context,
    codes::Code,
    finding::Finding,
    net::{Kind, Reply},
};

/// What lets Azure send.
const AZURE: &str = "spf.protection.outlook.com";

/// A receiver gives up beyond these (RFC 7208 section 4.6.4).
const MOST_LOOKUPS: usize = 10;

/// How deep records are followed into each other.
const MOST_LEVELS: usize = 10;

pub(super) async fn judge(cx: &Context, domain: &Domain) -> Vec<Finding> {
    let records: Vec<_> = domain.texts.iter().filter(|text| is_spf(text)).collect();
    let [record] = records.as_slice() else {
        let finding = not_one(domain, &records);
        let misplaced =
            if records.is_empty() { domain.doubled(cx, &domain.name, is_spf).await } else { None };
        return vec![match misplaced {
            Some(place) => finding.seen(MISPLACED, entered_as(&place)),
            None => finding,
        }];
    };
    let followed = follow(cx, record).await;
    let mut findings = vec![judge_record(record, &followed)];
    findings.push(judge_lookups(&followed));
    findings
}

fn is_spf(text: &str) -> bool {
    text.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}

fn line(domain: &Domain) -> String {
    format!("{}. TXT \"v=spf1 include:{AZURE} -all\"", domain.name)
}

fn not_one(domain: &Domain, records: &[&String]) -> Finding {
    let code = Code::SpfRecord;
    if records.is_empty() {
        return Finding::warn(code, "no SPF record lets Azure send mail in the name of this domain")
            .because(
                "receivers do not know that Azure may do so, and Azure does not take the domain for verified",
            )
            .advise(format!("Enter, as a line of the zone file: {}", line(domain)));
    }
    let finding =
        Finding::warn(code, format!("there are {} SPF records, which is as good as none", records.len()))
            .because(
                "a domain has one; receivers that find more evaluate none of them (RFC 7208 section 4.5)",
            )
            .advise("Put what they say into one record, and delete the others");
    records.iter().fold(finding, |finding, record| finding.seen("record", record))
}

/// What comes of evaluating a record, and those that it includes.
#[derive(Default)]
struct Followed {
    /// How often the DNS is asked for it, the first record aside.
    lookups: usize,
    /// Whose records were included.
    included: BTreeSet<String>,
    /// Whether some of it could not be had.
    incomplete: bool,
}

async fn follow(cx: &Context, record: &str) -> Followed {
    let mut followed = Followed::default();
    let mut level = vec![record.to_owned()];
    for _ in 0..MOST_LEVELS {
        let terms: Vec<_> = level.iter().flat_map(|record| terms(record)).collect();
        followed.lookups += terms.len();
        let next: Vec<_> =
            terms.into_iter().flatten().filter(|host| followed.included.insert(host.clone())).collect();
        if next.is_empty() || followed.lookups > 2 * MOST_LOOKUPS {
            return followed;
        }
        let replies = join_all(next.iter().map(|host| ask(cx, host, Kind::Txt))).await;
        followed.incomplete |= replies.iter().any(Option::is_none);
        let texts = replies.iter().flatten().flat_map(Reply::texts);
        level = texts.filter(|text| is_spf(text)).map(str::to_owned).collect();
    }
    followed
}

/// The terms of a record for which the DNS is asked; those that include another record with its name.
pub(super) fn terms(record: &str) -> Vec<Option<String>> {
    let lower = record.to_ascii_lowercase();
    lower
        .split_ascii_whitespace()
        .filter_map(|term| {
            let term = term.trim_start_matches(['+', '-', '~', '?']);
            let (name, value) = term.split_once([':', '=']).unwrap_or((term, ""));
            match name.split('/').next().unwrap_or_default() {
                // A name that depends on the sender is not followed.
                "include" | "redirect" => {
                    Some(Some(value.trim_end_matches('.').to_owned()).filter(|v| !v.contains('%')))
                }
                "a" | "mx" | "ptr" | "exists" => Some(None),
                _ => None,
            }
        })
        .collect()
}

fn judge_record(record: &str, followed: &Followed) -> Finding {
    let code = Code::SpfRecord;
    let finding = if !followed.included.contains(AZURE) {
        if followed.incomplete {
            return Finding::error(code, "the resolver does not give all that the SPF record includes")
                .seen("record", record);
        }
        Finding::warn(code, "the SPF record does not let Azure send mail in the name of this domain")
            .advise(format!("Put include:{AZURE} into it, before its \"all\""))
    } else if record.to_ascii_lowercase().split_ascii_whitespace().any(|term| term == "-all")
        || record.to_ascii_lowercase().contains("redirect=")
    {
        Finding::pass(code, "the SPF record lets Azure send mail in the name of this domain")
    } else {
        Finding::warn(
            code,
            "the SPF record does not end in -all, and Azure does not take the domain for verified without",
        )
        .advise("End it with -all, once everybody who sends in this name is in it")
    };
    finding.seen("record", record)
}

fn judge_lookups(followed: &Followed) -> Finding {
    let code = Code::SpfLookups;
    let count = followed.lookups;
    if count > MOST_LOOKUPS {
        return Finding::warn(code, format!("the SPF record takes more than {MOST_LOOKUPS} lookups, so receivers give up on it"))
            .seen("lookups", count)
            .because("each include, a, mx, ptr, exists and redirect is one, and those of included records count as well")
            .advise("Take out of it who no longer sends mail in this name");
    }
    let at_least = if followed.incomplete { "at least " } else { "" };
    let finding =
        Finding::pass(code, format!("the SPF record takes {at_least}{count} of {MOST_LOOKUPS} lookups"));
    if followed.incomplete {
        finding.seen("incomplete", "the resolver did not give all that it includes")
    } else {
        finding
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_record_has_more_terms_than_words(record in ".{0,400}", words in prop::collection::vec("[a-z:=/%{}. ]{0,12}", 0..40)) {
            for record in [record, format!("v=spf1 {}", words.join(" "))] {
                prop_assert!(terms(&record).len() <= record.split_ascii_whitespace().count());
                let named = terms(&record).into_iter().flatten();
                prop_assert!(named.clone().all(|host| !host.contains([' ', '%'])), "{:?}", terms(&record));
            }
        }
    }

    #[test]
    fn only_what_asks_the_dns_is_counted() {
        let record = "v=spf1 a mx:mail.example.org a/24 ip4:192.0.2.0/24 ?include:Spf.Example.org. exists:%{i}.x.org -all";
        let expected = [None, None, None, Some("spf.example.org".to_owned()), None];
        assert_eq!(terms(record), expected);
        assert!(is_spf("v=spf1") && is_spf("V=SPF1 -all") && !is_spf("v=spf10 -all"));
    }
}
