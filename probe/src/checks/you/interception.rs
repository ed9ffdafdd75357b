//! Who stands between this machine and the internet: a login page that answers in everybody's place, or something that opens TLS
//! and closes it again with certificates of its own.

use std::sync::Arc;

use futures_util::future::join_all;
use rustls::CertificateError;
use url::Url;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    check::{Context, Outcome},
    codes::Code,
    finding::Finding,
    net::{Answer, HttpError, Judgement, Presented, TlsError, Trust},
    target::{HTTPS, Name},
};

const HTTP: u16 = 80;

/// By these words the issuers are known with which products that inspect TLS sign.
const INSPECTORS: [&str; 20] = [
    "zscaler",
    "netskope",
    "fortinet",
    "fortigate",
    "palo alto",
    "blue coat",
    "bluecoat",
    "symantec web",
    "cisco umbrella",
    "sophos",
    "barracuda",
    "watchguard",
    "sonicwall",
    "check point",
    "kaspersky",
    "avast",
    "bitdefender",
    "eset ssl",
    "mitmproxy",
    "squid",
];

/// Under this label a finding names the product by whose certificates it is known that TLS is opened on the way.
pub(crate) const PRODUCT: &str = "product";

pub(crate) async fn interception(cx: Arc<Context>) -> Outcome {
    cx.facts.addresses.get()?;
    let root = cx.target.host(Name::Root);
    let hosts: Vec<_> = Name::ALL
        .into_iter()
        .filter(|name| cx.facts.has_address(*name).is_ok())
        .map(|name| cx.target.host(name))
        .collect();
    let (plain, shown) = tokio::join!(
        cx.net.get_plain(&root, HTTP, "/"),
        join_all(hosts.iter().map(|host| cx.net.tls(host, HTTPS, Trust::Anything))),
    );
    let shown: Vec<_> =
        shown.into_iter().map(|shown| Shown::read(shown.map(|(_, presented)| presented))).collect();
    let is_accepted = shown.contains(&Shown::Accepted);
    Ok(vec![
        judge_portal(cx.target.domain(), &plain, is_accepted).at(format!("http://{root}/")),
        judge_inspection(&shown),
    ])
}

/// What a name shows, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    /// A certificate that browsers accept.
    Accepted,
    /// One by somebody whom browsers do not know.
    Unknown { issuer: String },
    /// One that has another fault, or none.
    Other,
}

impl Shown {
    fn read(shown: Result<Presented, TlsError>) -> Self {
        let Ok(Presented { chain, judgement, .. }) = shown else { return Self::Other };
        match judgement {
            Judgement::Accepted => Self::Accepted,
            Judgement::Refused(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
                match leaf {
                    // What is signed by itself was issued by nobody: Hubs' default certificate is.
                    Some((_, leaf)) if leaf.issuer() != leaf.subject() => {
                        Self::Unknown { issuer: leaf.issuer().to_string() }
                    }
                    _ => Self::Other,
                }
            }
            Judgement::Refused(_) => Self::Other,
        }
    }
}

/// `is_accepted` is whether a browser accepts what any of the names shows: then nobody answers in the deployment's place.
fn judge_portal(domain: &str, answer: &Result<Answer, HttpError>, is_accepted: bool) -> Finding {
    let code = Code::NoPortal;
    let answer = match answer {
        _ if is_accepted => return Finding::pass(code, "it is the deployment itself that answers"),
        Ok(answer) => answer,
        Err(_) => return Finding::skip(code, "nothing answers on port 80, where a login page would show"),
    };
    let leads_to = answer
        .header("location")
        .and_then(|to| Url::parse(to).ok())
        .and_then(|to| to.host_str().map(str::to_owned));
    let elsewhere = leads_to.filter(|host| !are_related(host, domain));
    let finding = match elsewhere {
        // RFC 6585 section 6.
        _ if answer.status == 511 => {
            Finding::warn(code, "this network wants a login before it lets anything through")
        }
        Some(host) if answer.status.is_redirection() => {
            Finding::warn(code, format!("what is sent to {domain} ends up at {host}, as behind a login page"))
        }
        _ => return Finding::pass(code, "no login page answers in the deployment's place"),
    };
    finding
        .seen("status", answer.status)
        .because("a captive portal answers for everybody until somebody logs in; nothing below says anything about the server then")
        .advise("Open any page in a browser on this machine, log in, and run the check again")
}

/// Whether one is the other, or below it, or beside it under the same parent.
fn are_related(host: &str, domain: &str) -> bool {
    let parent =
        domain.split_once('.').map(|(_, rest)| rest).filter(|rest| rest.contains('.')).unwrap_or(domain);
    let is_below =
        |above: &str| host == above || host.strip_suffix(above).is_some_and(|rest| rest.ends_with('.'));
    is_below(domain) || is_below(parent)
}

fn judge_inspection(shown: &[Shown]) -> Finding {
    let code = Code::NoInspection;
    if shown.contains(&Shown::Accepted) {
        return Finding::pass(code, "the certificates come from authorities that browsers know");
    }
    let mut issuers = shown.iter().map(|shown| match shown {
        Shown::Unknown { issuer } => Some(issuer.as_str()),
        Shown::Accepted | Shown::Other => None,
    });
    let first = issuers.next().flatten();
    let Some(issuer) = first.filter(|first| shown.len() > 1 && issuers.all(|issuer| issuer == Some(*first)))
    else {
        return Finding::skip(
            code,
            "the certificates tell nothing about who stands in between, see tls.certificates",
        );
    };
    let lower = issuer.to_lowercase();
    let product = INSPECTORS.iter().find(|word| lower.contains(**word));
    let (summary, cause) = if product.is_some() {
        (
            "something in this network opens TLS: all names show certificates of a product that does so",
            "what it does to WebSockets and to TURN is its own; browsers on managed machines trust it and this check does not",
        )
    } else {
        (
            "all names show certificates of one issuer that browsers do not know: a private authority, or something in this network that opens TLS",
            "from one place the two cannot be told apart",
        )
    };
    let finding = Finding::warn(code, summary).seen("issuer", issuer);
    let finding = product.into_iter().fold(finding, |finding, product| finding.seen(PRODUCT, product));
    finding.because(cause).advise("Run the check from another network, such as a phone's, and compare the issuer; if it is your own authority, give its certificate with --ca-file")
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode, body::Bytes, header};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        finding::Status,
        testing::{Authority, DOMAIN, Identity, context, tcp_server, tls_server},
    };

    fn answer(status: u16, location: Option<&str>) -> Answer {
        let headers: HeaderMap =
            location.map(|to| (header::LOCATION, to.parse().unwrap())).into_iter().collect();
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new() }
    }

    #[test]
    fn a_login_page_is_known_by_its_status_or_by_where_it_leads() {
        let judged =
            |status, location| judge_portal("hubs.example.org", &Ok(answer(status, location)), false).status;
        assert_eq!(judged(511, None), Status::Warn);
        assert_eq!(judged(302, Some("http://login.hotel.example/?to=hubs")), Status::Warn);
        for own in [
            "https://hubs.example.org/",
            "https://www.hubs.example.org/",
            "https://www.example.org/",
            "/here",
        ] {
            assert_eq!(judged(302, Some(own)), Status::Pass, "{own}");
        }
        assert_eq!(judged(200, None), Status::Pass);
        assert_eq!(judge_portal(DOMAIN, &Err(HttpError::Silent), false).status, Status::Skip);
    }

    #[test]
    fn a_deployment_whose_certificate_is_good_answers_itself_wherever_it_leads() {
        let elsewhere = Ok(answer(302, Some("https://hubs.example.com/")));
        assert_eq!(judge_portal(DOMAIN, &elsewhere, true).status, Status::Pass);
    }

    #[test]
    fn one_unknown_issuer_of_all_names_may_be_an_inspector() {
        let by = |issuer: &str| Shown::Unknown { issuer: issuer.to_owned() };
        let status = |shown: &[Shown]| judge_inspection(shown).status;
        assert_eq!(status(&[by("CN=Example CA"), by("CN=Example CA")]), Status::Warn);
        assert_eq!(status(&[by("CN=Example CA"), Shown::Accepted]), Status::Pass);
        for shown in
            [vec![by("CN=a"), by("CN=b")], vec![by("CN=a")], vec![Shown::Other, by("CN=a")], Vec::new()]
        {
            assert_eq!(status(&shown), Status::Skip, "{shown:?}");
        }
        let inspector = judge_inspection(&[by("O=Zscaler Inc., CN=x"), by("O=Zscaler Inc., CN=x")]);
        assert!(inspector.summary.starts_with("something in this network"), "{inspector:#?}");
    }

    /// What is found where each name shows such a certificate, and port 80 answers so.
    async fn found(
        identity: impl Fn() -> Identity,
        ca: Option<Vec<u8>>,
        plain: &'static str,
    ) -> Vec<(Code, Status)> {
        let http = tcp_server(move |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(plain.as_bytes()).await;
        })
        .await;
        let mut places = vec![(Name::Root, HTTP, http)];
        for name in Name::ALL {
            places.push((name, HTTPS, tls_server(identity(), |_| std::future::ready(())).await));
        }
        let findings = interception(context(ca, &places)).await.unwrap();
        findings.iter().map(|f| (f.code, f.status)).collect()
    }

    const HERE: &str =
        "HTTP/1.1 302 Found\r\nlocation: https://hubs.example.test/\r\ncontent-length: 0\r\n\r\n";
    const PORTAL: &str =
        "HTTP/1.1 302 Found\r\nlocation: http://login.hotel.example/\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn behind_an_inspector_and_a_portal_both_are_seen_and_without_them_neither() {
        let names = Name::ALL.map(|name| context(None, &[]).target.host(name));
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let authority = Authority::new();
        let good = found(|| authority.issue(&names, -1..60), Some(authority.root_pem()), HERE).await;
        assert_eq!(good, [(Code::NoPortal, Status::Pass), (Code::NoInspection, Status::Pass)]);
        let bad = found(|| authority.issue(&names, -1..60), None, PORTAL).await;
        assert_eq!(bad, [(Code::NoPortal, Status::Warn), (Code::NoInspection, Status::Warn)]);
        // Hubs' own default certificate is a fault of the server.
        let own = found(|| Identity::self_signed(DOMAIN, &[]), None, HERE).await;
        assert_eq!(own, [(Code::NoPortal, Status::Pass), (Code::NoInspection, Status::Skip)]);
    }
}
