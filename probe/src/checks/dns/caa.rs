//! CAA (RFC 8659): do the records permit the authority whose certificates are in use to issue the next ones?

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;

use crate::{
    check::{Context, Outcome, Stop},
    codes::Code,
    facts::Issuer,
    finding::Finding,
    net::{Data, Kind, Mode, Record, Reply},
    target::HTTPS,
};

/// Under which names authorities look for themselves in CAA records, by the beginning of the organisation in their
/// certificates.
const AUTHORITIES: &[(&str, &[&str])] = &[
    ("Let's Encrypt", &["letsencrypt.org"]),
    ("ZeroSSL", &["sectigo.com", "zerossl.com", "comodoca.com", "usertrust.com", "trust-provider.com"]),
    ("Sectigo", &["sectigo.com", "comodoca.com", "usertrust.com", "trust-provider.com"]),
    ("Google Trust Services", &["pki.goog"]),
    ("DigiCert", &["digicert.com", "geotrust.com", "rapidssl.com", "thawte.com", "symantec.com"]),
    ("Microsoft", &["microsoft.com", "digicert.com"]),
    ("Amazon", &["amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"]),
    ("GlobalSign", &["globalsign.com"]),
    ("GoDaddy", &["godaddy.com", "starfieldtech.com"]),
    ("Starfield", &["starfieldtech.com", "godaddy.com"]),
    ("Buypass", &["buypass.com", "buypass.no"]),
    ("SSL Corp", &["ssl.com"]),
    ("Entrust", &["entrust.net", "entrust.com", "sectigo.com"]),
    ("Actalis", &["actalis.it"]),
    ("Certainly", &["certainly.com"]),
];

/// The tags that every authority knows (RFC 8659 section 4, RFC 9495).
const KNOWN_TAGS: [&str; 6] = ["issue", "issuewild", "iodef", "issuemail", "contactemail", "contactphone"];

/// How certbotbot, with which Hubs comes, shows that the name is its own.
const METHOD: &str = "http-01";

/// More labels than a host of a deployment has.
const MOST_LABELS: usize = 8;

pub(crate) async fn caa(cx: Arc<Context>) -> Outcome {
    let issuers = cx.facts.issuers.get()?;
    let in_use: Vec<_> = issuers.iter().filter(|i| i.port == HTTPS && i.accepted).collect();
    if in_use.is_empty() {
        return Err(Stop::Skip(
            "no certificate is in use that a browser accepts, see tls.certificates".to_owned(),
        ));
    }
    let judged =
        join_all(in_use.into_iter().map(|issuer| async { judge(issuer, policy(&cx, &issuer.host).await) }))
            .await;
    let mut findings: Vec<Finding> = Vec::new();
    for finding in judged {
        let is_said = findings.iter().any(|f| (f.status, &f.summary) == (finding.status, &finding.summary));
        if !is_said {
            findings.push(finding);
        }
    }
    Ok(findings)
}

/// Where the policy for a name stands, and what it says.
struct Policy {
    /// Whose it is; nobody's if there are no records all the way up.
    owner: Option<String>,
    records: Vec<Record>,
}

/// The records of `host`, or of the nearest name above that has any (RFC 8659 section 3). Nothing if the resolver leaves one
/// of them open.
async fn policy(cx: &Context, host: &str) -> Option<Policy> {
    let names: Vec<_> =
        std::iter::successors(Some(host), |name| Some(name.split_once('.')?.1)).take(MOST_LABELS).collect();
    let replies =
        join_all(names.iter().map(|name| cx.net.ask_resolver(name, Kind::Caa, Mode::Recursive))).await;
    for (name, reply) in names.iter().zip(replies) {
        let reply = reply.ok().filter(Reply::is_definite)?;
        // At the end of an alias they count as well.
        let records: Vec<_> =
            reply.answers.into_iter().filter(|r| matches!(r.data, Data::Authority { .. })).collect();
        if !records.is_empty() {
            return Some(Policy { owner: Some((*name).to_owned()), records });
        }
    }
    Some(Policy { owner: None, records: Vec::new() })
}

fn judge(issuer: &Issuer, policy: Option<Policy>) -> Finding {
    let code = Code::CaaPermits;
    let Some(policy) = policy else {
        return Finding::error(code, format!("the resolver does not say who may issue for {}", issuer.host));
    };
    let Some(owner) = policy.owner else {
        return Finding::pass(code, "there are no CAA records, so every authority may issue");
    };
    let organisation = issuer.organisation.as_deref().unwrap_or_default();
    let names =
        AUTHORITIES.iter().find(|(start, _)| organisation.starts_with(start)).map(|(_, names)| *names);
    let said = policy.records.iter().filter_map(|record| match &record.data {
        Data::Authority { critical, tag, value } => Some((*critical, tag.as_str(), value.as_str())),
        _ => None,
    });
    let said: Vec<_> = said.collect();
    let with_records = |finding: Finding| {
        let texts = said.iter().map(|(_, tag, value)| format!("{tag} \"{value}\""));
        finding.at(&owner).seen("records", texts.collect::<Vec<_>>().join(", ")).seen("issuer", organisation)
    };
    let permit = |value: &str| {
        format!(
            "Add the authority to the records of {owner}, or take the others out; as a line of the zone file: {owner}. CAA 0 issue \"{value}\""
        )
    };
    if let Some((_, tag, _)) = said.iter().find(|(critical, tag, _)| *critical && !KNOWN_TAGS.contains(tag)) {
        return with_records(
            Finding::warn(code, format!("the CAA records of {owner} demand {tag:?}, which authorities do not know"))
                .because("a critical record that an authority does not understand forbids it to issue (RFC 8659 section 4.5)")
                .advise(format!("Take that record out of the zone of {owner}")),
        );
    }
    let issue: Vec<_> =
        said.iter().filter(|(_, tag, _)| *tag == "issue").map(|(.., value)| Issue::read(value)).collect();
    if issue.is_empty() {
        return with_records(Finding::pass(code, "the CAA records forbid nobody to issue for these names"));
    }
    let Some(names) = names else {
        return with_records(Finding::skip(
            code,
            format!("under which name {organisation:?} looks for itself in CAA records is not known here"),
        ));
    };
    let ours: Vec<_> = issue.iter().filter(|issue| names.contains(&issue.authority.as_str())).collect();
    if ours.iter().any(|issue| issue.methods.is_empty() || issue.methods.contains(METHOD)) {
        return with_records(Finding::pass(code, format!("the CAA records permit {organisation} to issue")));
    }
    with_records(if ours.is_empty() {
        Finding::warn(
            code,
            format!("the CAA records of {owner} forbid {organisation} to renew the certificates"),
        )
        .because("the certificates in use were issued before the records were there, or under other ones")
        .advise(permit(names.first().copied().unwrap_or_default()))
    } else {
        Finding::warn(
            code,
            format!("the CAA records of {owner} forbid {organisation} the method by which Hubs renews"),
        )
        .because(format!(
            "Hubs' certbotbot answers on port 80 ({METHOD}), and validationmethods names others only"
        ))
        .advise(permit(names.first().copied().unwrap_or_default()))
    })
}

/// The value of a record `issue`: who may, and how.
struct Issue {
    authority: String,
    methods: BTreeSet<String>,
}

impl Issue {
    fn read(value: &str) -> Self {
        let mut parts = value.split(';').map(str::trim);
        let authority = parts.next().unwrap_or_default().to_ascii_lowercase();
        let methods = parts
            .filter_map(|part| part.split_once('='))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("validationmethods"))
            .flat_map(|(_, methods)| methods.split(','))
            .map(|method| method.trim().to_ascii_lowercase())
            .collect();
        Self { authority, methods }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        finding::Status,
        testing::{DOMAIN, names::Zone},
    };

    fn issuer(organisation: &str) -> Issuer {
        Issuer {
            host: format!("stream.{DOMAIN}"),
            port: HTTPS,
            organisation: Some(organisation.to_owned()),
            common_name: None,
            accepted: true,
        }
    }

    async fn found(zone: Zone, organisation: &str) -> Finding {
        let cx = zone.a(DOMAIN, [192, 0, 2, 7]).resolver().await;
        cx.facts.issuers.learn(vec![issuer(organisation)]);
        caa(cx).await.unwrap().remove(0)
    }

    async fn status(records: &[(&str, &str, &str)]) -> Status {
        let zone =
            records.iter().fold(Zone::default(), |zone, (owner, tag, value)| zone.caa(owner, tag, value));
        let finding = found(zone, "Let's Encrypt").await;
        assert_eq!(finding.remedy.is_some(), finding.status == Status::Warn, "{finding:#?}");
        finding.status
    }

    #[tokio::test]
    async fn the_nearest_records_up_the_tree_decide() {
        assert_eq!(status(&[]).await, Status::Pass);
        assert_eq!(status(&[(DOMAIN, "issue", "letsencrypt.org")]).await, Status::Pass);
        assert_eq!(status(&[("example.test", "issue", "digicert.com")]).await, Status::Warn);
        let both = [(DOMAIN, "issue", "letsencrypt.org"), ("example.test", "issue", "digicert.com")];
        assert_eq!(status(&both).await, Status::Pass);
    }

    #[tokio::test]
    async fn a_record_may_forbid_everybody_or_the_method() {
        assert_eq!(status(&[(DOMAIN, "issue", ";")]).await, Status::Warn);
        for (methods, expected) in [("dns-01", Status::Warn), ("dns-01, http-01", Status::Pass)] {
            let value = format!("letsencrypt.org; validationmethods={methods}");
            assert_eq!(status(&[(DOMAIN, "issue", &value)]).await, expected);
        }
    }

    #[tokio::test]
    async fn records_about_wildcards_and_mail_do_not_concern_these_names() {
        assert_eq!(
            status(&[(DOMAIN, "issuewild", ";"), (DOMAIN, "iodef", "mailto:a@example.test")]).await,
            Status::Pass
        );
        assert_eq!(status(&[(DOMAIN, "!surprise", "x")]).await, Status::Warn);
    }

    #[tokio::test]
    async fn an_authority_that_is_not_known_here_is_not_judged() {
        let zone = Zone::default().caa(DOMAIN, "issue", "ca.example.test");
        assert_eq!(found(zone, "Example Authority").await.status, Status::Skip);
    }

    #[tokio::test]
    async fn without_a_certificate_in_use_there_is_nothing_to_renew() {
        let outcome = caa(Zone::default().resolver().await).await;
        assert!(matches!(outcome, Err(Stop::Skip(reason)) if reason.contains("tls.certificates")));
        let cx = Zone::default().resolver().await;
        cx.facts.issuers.learn(vec![Issuer { accepted: false, ..issuer("Let's Encrypt") }]);
        assert!(matches!(caa(cx).await, Err(Stop::Skip(_))));
    }
}
