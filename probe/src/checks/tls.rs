//! Certificates: would a browser accept what each name shows on each port?

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::{
    check::{Context, Outcome},
    codes::Code,
    facts::{RoomFacts, TurnCertificate},
    finding::{Finding, Status},
    net::{ConnectError, Judgement, Presented, ResolveError, TlsError, Trust},
    target::{DIALOG, HTTPS, Name, TURN, Target},
};

/// Warn when a certificate runs out within this time: Let's Encrypt's are renewed with 30 days left, so somebody forgot.
const RUNS_OUT_SOON: Duration = Duration::from_hours(14 * 24);

/// Clocks that differ by more than this make certificates look run out, or not valid yet, that are good.
const CLOCKS_APART: Duration = Duration::from_hours(24);

pub(crate) async fn certificates(cx: Arc<Context>) -> Outcome {
    let known = cx.facts.addresses.get()?;
    let places = places(&cx.target, known, cx.facts.room.get().ok());
    let judged = join_all(places.iter().map(|place| {
        let cx = Arc::clone(&cx);
        async move {
            let shown =
                cx.net.tls(&place.host, place.port, Trust::Anything).await.map(|(_, presented)| presented);
            let accepted = shown.as_ref().ok().map(|presented| presented.judgement == Judgement::Accepted);
            let now = OffsetDateTime::now_utc();
            let finding = judge(place, cx.target.domain(), shown, now).at(place.to_string());
            if (finding.code, finding.status) != (Code::CertificateDates, Status::Fail) {
                return (place, accepted, finding);
            }
            match clocks_apart(now, time_of_server(&cx).await) {
                Some(apart) => (place, None, apart.at(place.to_string())),
                None => (place, accepted, finding),
            }
        }
    }))
    .await;
    let of_turn = || {
        judged
            .iter()
            .filter(|(place, ..)| place.purpose == Purpose::Turn)
            .filter_map(|(_, accepted, _)| *accepted)
    };
    if of_turn().next().is_some() {
        let accepted = of_turn().all(|accepted| accepted);
        cx.facts.turn_certificate.learn(if accepted {
            TurnCertificate::Accepted
        } else {
            TurnCertificate::Refused
        });
    }
    Ok(judged.into_iter().map(|(.., finding)| finding).collect())
}

/// What time it is where Hubs runs, if it says so.
async fn time_of_server(cx: &Context) -> Option<OffsetDateTime> {
    let host = cx.target.host(Name::Root);
    let answer = cx.net.get(&host, HTTPS, "/health", Trust::Anything).await.ok()?;
    // RFC 9110 section 5.6.7: this form, always in GMT.
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    Some(PrimitiveDateTime::parse(answer.header("date")?, form).ok()?.assume_utc())
}

/// That this machine and the server do not agree on the day, so that nothing can be said about a certificate's dates.
fn clocks_apart(here: OffsetDateTime, there: Option<OffsetDateTime>) -> Option<Finding> {
    let there = there.filter(|there| (here - *there).abs() > CLOCKS_APART)?;
    Some(
        Finding::error(
            Code::CertificateDates,
            format!(
                "it is {} on this machine's clock and {} on the server's, so the dates of certificates cannot be judged",
                date(here),
                date(there)
            ),
        )
        .fix("Set the clock of this machine; if it is right, that of the cluster's nodes:", ["timedatectl", "date -u"]),
    )
}

/// Where browsers meet a certificate: where the room sends them, or else where Hubs has dialog and TURN.
fn places(target: &Target, known: &BTreeMap<Name, Vec<IpAddr>>, room: Option<&RoomFacts>) -> Vec<Place> {
    let place = |purpose, host: String, port| Place { purpose, host, port };
    let mut places: Vec<_> =
        known.keys().map(|name| place(Purpose::Pages, target.host(*name), HTTPS)).collect();
    let stream = known.contains_key(&Name::Stream).then(|| target.host(Name::Stream));
    if let Some(host) = room.map(|r| r.host.clone()).or(stream) {
        places.push(place(Purpose::Dialog, host.clone(), room.map_or(DIALOG, |r| r.port)));
        let ports = room.and_then(|r| r.turn.as_ref()).map_or(&[TURN][..], |turn| &turn.ports);
        places.extend(ports.iter().map(|port| place(Purpose::Turn, host.clone(), *port)));
    }
    places
}

/// Where a certificate was seen.
struct Place {
    purpose: Purpose,
    host: String,
    port: u16,
}

/// What browsers go there for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Pages,
    Dialog,
    Turn,
}

impl fmt::Display for Place {
    /// As the URL that a browser has for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.purpose {
            Purpose::Pages => write!(f, "https://{}", self.host),
            Purpose::Dialog => write!(f, "wss://{}:{}", self.host, self.port),
            Purpose::Turn => write!(f, "turns:{}:{}", self.host, self.port),
        }
    }
}

fn judge(place: &Place, domain: &str, shown: Result<Presented, TlsError>, now: OffsetDateTime) -> Finding {
    match shown {
        Ok(Presented { chain, judgement }) => match Leaf::read(&chain) {
            Some(leaf) => judge_chain(place, domain, &chain, &leaf, judgement, now),
            None => Finding::fail(Code::CertificateValid, "what the server shows is no certificate"),
        },
        Err(
            e @ TlsError::Connect(
                ConnectError::Resolve(ResolveError::Resolver { .. }) | ConnectError::Io { .. },
            ),
        ) => Finding::error(Code::TlsAnswers, e.to_string()),
        Err(e @ (TlsError::Connect(ConnectError::Resolve(_)) | TlsError::Name(_))) => {
            Finding::fail(Code::TlsAnswers, e.to_string())
                .because("the room sends browsers to this host")
                .fix(
                    "Look at default_janus_host in Reticulum's configuration:",
                    ["kubectl get configmap ret-config -n hcce -o yaml"],
                )
        }
        Err(e @ (TlsError::Connect(_) | TlsError::Silent | TlsError::Handshake(_))) => {
            unreachable_port(place, &e)
        }
        Err(e @ TlsError::Certificate(_)) => Finding::error(Code::CertificateValid, e.to_string()),
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
        Purpose::Pages | Purpose::Dialog => {
            ["kubectl get pods -n hcce -l app=haproxy", "kubectl get ingress -n hcce"]
        }
    };
    finding.fix(
        format!("Look at whether the load balancer forwards port {}, and at what is behind it:", place.port),
        ["kubectl get service lb -n hcce -o jsonpath='{.spec.ports[*].port}'"].into_iter().chain(behind),
    )
}

/// What a person wants to know of a certificate.
struct Leaf {
    subject: String,
    common_name: String,
    issuer: String,
    self_signed: bool,
    names: Vec<String>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl Leaf {
    fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
        let names =
            certificate.subject_alternative_name().ok().flatten().map_or_else(Vec::new, |extension| {
                extension
                    .value
                    .general_names
                    .iter()
                    .filter_map(|name| match name {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        _ => None,
                    })
                    .collect()
            });
        Some(Self {
            subject: certificate.subject().to_string(),
            common_name: certificate
                .subject()
                .iter_common_name()
                .next()
                .and_then(|cn| cn.as_str().ok())
                .unwrap_or_default()
                .to_owned(),
            issuer: certificate.issuer().to_string(),
            self_signed: certificate.issuer().as_raw() == certificate.subject().as_raw(),
            names,
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
        })
    }

    /// Each certificate must be followed by its issuer, RFC 5246 section 7.4.2.
    fn in_order(chain: &[CertificateDer<'_>]) -> bool {
        let parsed: Option<Vec<_>> = chain
            .iter()
            .map(|der| X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate))
            .collect();
        parsed.is_some_and(|chain| {
            chain.windows(2).all(|pair| pair[0].issuer().as_raw() == pair[1].subject().as_raw())
        })
    }
}

fn judge_chain(
    place: &Place,
    domain: &str,
    chain: &[CertificateDer<'_>],
    leaf: &Leaf,
    judgement: Judgement,
    now: OffsetDateTime,
) -> Finding {
    let finding = match judgement {
        Judgement::Accepted if !Leaf::in_order(chain) => Finding::warn(
            Code::CertificateChain,
            "the chain is sent out of order: most browsers sort it, some clients refuse it",
        )
        .fix("Put the certificate first and then its issuers, each after what it signed, into the secret's tls.crt", NONE),
        Judgement::Accepted if leaf.not_after - now < RUNS_OUT_SOON => {
            Finding::warn(Code::CertificateDates, format!("accepted, but it runs out on {}", date(leaf.not_after)))
                .because("Hubs' certificates live for 90 days and are not renewed by themselves")
                .fix("Renew it, in the folder from which Hubs was installed:", ["npm run gen-ssl"])
        }
        Judgement::Accepted => {
            return Finding::pass(Code::CertificateValid, format!("accepted, valid until {}", date(leaf.not_after)));
        }
        Judgement::Refused(reason) => refused(place, domain, chain, leaf, &reason),
    };
    finding
        .seen("subject", &leaf.subject)
        .seen("issuer", &leaf.issuer)
        .seen("names", if leaf.names.is_empty() { "none".to_owned() } else { leaf.names.join(", ") })
        .seen("valid", format!("{} to {}", date(leaf.not_before), date(leaf.not_after)))
}

const NONE: [&str; 0] = [];

/// Names the fault. What is special to Hubs comes first, because it has a remedy of its own.
fn refused(
    place: &Place,
    domain: &str,
    chain: &[CertificateDer<'_>],
    leaf: &Leaf,
    reason: &CertificateError,
) -> Finding {
    if leaf.self_signed && place.purpose == Purpose::Turn && leaf.common_name == "dialog" {
        return Finding::fail(Code::CertificateOfCoturn, "TURN shows coturn's built-in certificate, which no browser accepts")
            .because("Hubs' coturn is built with a self-signed certificate for the name \"dialog\", and haproxy passes port 5349 through as it is")
            .fix("Put hubs-relay in coturn's place with the certificate of this name, see deploy/README.md", NONE);
    }
    if leaf.self_signed && leaf.names.is_empty() && leaf.common_name == domain {
        return Finding::fail(Code::CertificateDefault, "haproxy shows Hubs' default certificate, which no browser accepts")
            .because("haproxy is started with --default-ssl-certificate and the self-signed certificate cert-hcce")
            .fix(
                format!(
                    "Create the real certificates, then let the argument --default-ssl-certificate of haproxy name hcce/cert-{domain}, or take it out:"
                ),
                ["npm run gen-ssl", "kubectl edit deployment haproxy -n hcce"],
            );
    }
    if leaf.self_signed {
        return Finding::fail(
            Code::CertificateSelfSigned,
            "the certificate is signed by itself, so no browser accepts it",
        )
        .fix(renewal(place), ["npm run gen-ssl"]);
    }
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Finding::fail(Code::CertificateDates, format!("the certificate ran out on {}", date(leaf.not_after)))
                .because("Hubs' certificates live for 90 days and are not renewed by themselves")
                .fix("Renew it, in the folder from which Hubs was installed:", ["npm run gen-ssl"])
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Finding::fail(Code::CertificateDates, format!("the certificate is not valid before {}", date(leaf.not_before)))
                .fix("Look at the clock of this machine and of the one that issued the certificate", NONE)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Finding::fail(Code::CertificateWrongName, format!("the certificate is not for {}", place.host))
                .fix(renewal(place), ["npm run gen-ssl"])
        }
        CertificateError::UnknownIssuer if chain.len() == 1 => {
            Finding::fail(Code::CertificateChain, "no way from the certificate to a trusted root: only the certificate itself is sent")
                .because("the intermediate certificate is missing, or the issuer is not one that browsers trust")
                .fix("Put the full chain (fullchain.pem) into the secret's tls.crt; for a private authority give --ca-file", NONE)
        }
        // BadSignature: an issuer of a trusted name, but with another key than the trusted one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Finding::fail(Code::CertificateUnknownIssuer, "the issuer is not one that browsers trust")
                .because(format!(
                    "the certificate comes from {}: a private authority, or something in this machine's network that intercepts TLS",
                    leaf.issuer
                ))
                .fix("Issue the certificate with a public authority; for a private one give its certificate with --ca-file", NONE)
        }
        other => Finding::fail(Code::CertificateValid, format!("a browser refuses the certificate: {other}"))
            .fix(renewal(place), ["npm run gen-ssl"]),
    }
}

fn renewal(place: &Place) -> String {
    match place.purpose {
        Purpose::Turn => format!(
            "Give the TURN server the certificate of {}, which Hubs keeps in the secret cert-{}:",
            place.host, place.host
        ),
        Purpose::Pages | Purpose::Dialog => {
            format!("Issue a certificate for {} and keep it in the secret cert-{}:", place.host, place.host)
        }
    }
}

fn date(when: OffsetDateTime) -> String {
    // Formatting with this description cannot fail: every date has a year, a month and a day.
    when.format(format_description!("[year]-[month]-[day]")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::testing::{Authority, DOMAIN, Identity, context, tcp_server, tls_server};

    fn place(host: String, port: u16) -> Place {
        let purpose = match port {
            TURN => Purpose::Turn,
            DIALOG => Purpose::Dialog,
            _ => Purpose::Pages,
        };
        Place { purpose, host, port }
    }

    /// What is said about `identity` when it is shown on `port` of `name`.
    async fn said(authority: &Authority, identity: Identity, name: Name, port: u16) -> Finding {
        let server = tls_server(identity, |_| std::future::ready(())).await;
        let cx = context(Some(authority.root_pem()), &[(name, port, server)]);
        let host = cx.target.host(name);
        let shown = cx.net.tls(&host, port, Trust::Anything).await.map(|(_, presented)| presented);
        judge(&place(host, port), DOMAIN, shown, OffsetDateTime::now_utc())
    }

    #[track_caller]
    fn assert_said(finding: &Finding, code: Code, status: Status) {
        assert_eq!((finding.code, finding.status), (code, status), "{finding:#?}");
        assert_eq!(finding.remedy.is_some(), status != Status::Pass, "{finding:#?}");
    }

    #[tokio::test]
    async fn a_good_certificate_is_accepted() {
        let authority = Authority::new();
        let identity = authority.issue(&[DOMAIN], -1..60);
        assert_said(
            &said(&authority, identity, Name::Root, HTTPS).await,
            Code::CertificateValid,
            Status::Pass,
        );
    }

    #[tokio::test]
    async fn one_that_runs_out_soon_is_a_warning() {
        let authority = Authority::new();
        let identity = authority.issue(&[DOMAIN], -80..5);
        assert_said(
            &said(&authority, identity, Name::Root, HTTPS).await,
            Code::CertificateDates,
            Status::Warn,
        );
    }

    #[tokio::test]
    async fn one_that_ran_out_or_is_not_valid_yet_is_refused_for_its_dates() {
        let authority = Authority::new();
        for valid in [-90..-1, 1..90] {
            let identity = authority.issue(&[DOMAIN], valid);
            assert_said(
                &said(&authority, identity, Name::Root, HTTPS).await,
                Code::CertificateDates,
                Status::Fail,
            );
        }
    }

    #[tokio::test]
    async fn when_the_clocks_disagree_no_certificate_is_blamed_for_its_dates() {
        let authority = Authority::new();
        let found = async |date: &'static str| {
            let identity = authority.issue(&[DOMAIN], -90..-30);
            let server = tls_server(identity, move |mut stream| async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            })
            .await;
            let cx = context(Some(authority.root_pem()), &[(Name::Root, HTTPS, server)]);
            let findings = certificates(cx).await.unwrap();
            let of_root =
                findings.into_iter().find(|f| f.target.as_deref() == Some("https://hubs.example.test"));
            of_root.unwrap()
        };
        assert_said(&found("Sun, 06 Nov 1994 08:49:37 GMT").await, Code::CertificateDates, Status::Error);
        // A server that says nothing sensible has no word in it.
        assert_said(&found("yesterday").await, Code::CertificateDates, Status::Fail);
    }

    #[test]
    fn a_port_that_is_silent_may_be_so_for_this_machines_network_only() {
        let silent = ConnectError::Silent("192.0.2.7:4443".parse().unwrap());
        let place = place("stream.hubs.example.test".to_owned(), DIALOG);
        let finding = judge(&place, DOMAIN, Err(TlsError::Connect(silent)), OffsetDateTime::now_utc());
        assert_said(&finding, Code::TlsAnswers, Status::Fail);
        assert!(finding.cause.unwrap().contains("this machine's network"));
    }

    #[tokio::test]
    async fn one_for_another_name_is_refused_for_its_name() {
        let authority = Authority::new();
        let identity = authority.issue(&[DOMAIN], -1..60);
        assert_said(
            &said(&authority, identity, Name::Stream, HTTPS).await,
            Code::CertificateWrongName,
            Status::Fail,
        );
    }

    #[tokio::test]
    async fn a_missing_intermediate_is_recognised() {
        let authority = Authority::new();
        let mut identity = authority.issue(&[DOMAIN], -1..60);
        identity.chain.truncate(1);
        assert_said(
            &said(&authority, identity, Name::Root, HTTPS).await,
            Code::CertificateChain,
            Status::Fail,
        );
    }

    #[tokio::test]
    async fn a_chain_out_of_order_is_a_warning() {
        let authority = Authority::new();
        let mut identity = authority.issue(&[DOMAIN], -1..60);
        identity.chain.insert(1, authority.root_der());
        assert_said(
            &said(&authority, identity, Name::Root, HTTPS).await,
            Code::CertificateChain,
            Status::Warn,
        );
    }

    #[tokio::test]
    async fn an_unknown_issuer_is_recognised() {
        let identity = Authority::new().issue(&[DOMAIN], -1..60);
        let finding = said(&Authority::new(), identity, Name::Root, HTTPS).await;
        assert_said(&finding, Code::CertificateUnknownIssuer, Status::Fail);
    }

    #[tokio::test]
    async fn a_certificate_signed_by_itself_is_recognised() {
        let identity = Identity::self_signed("whatever", &[DOMAIN]);
        let finding = said(&Authority::new(), identity, Name::Root, HTTPS).await;
        assert_said(&finding, Code::CertificateSelfSigned, Status::Fail);
    }

    #[tokio::test]
    async fn hubs_default_certificate_is_recognised_on_any_name() {
        for name in Name::ALL {
            let finding = said(&Authority::new(), Identity::self_signed(DOMAIN, &[]), name, HTTPS).await;
            assert_said(&finding, Code::CertificateDefault, Status::Fail);
        }
    }

    #[tokio::test]
    async fn coturns_own_certificate_is_recognised_on_turns_port_only() {
        let finding = said(&Authority::new(), Identity::self_signed("dialog", &[]), Name::Stream, TURN).await;
        assert_said(&finding, Code::CertificateOfCoturn, Status::Fail);
        let finding =
            said(&Authority::new(), Identity::self_signed("dialog", &[]), Name::Stream, DIALOG).await;
        assert_said(&finding, Code::CertificateSelfSigned, Status::Fail);
    }

    #[tokio::test]
    async fn a_port_that_speaks_no_tls_is_said_to_speak_none() {
        let server = tcp_server(|stream| async move {
            let _ = stream.writable().await;
            let _ = stream.try_write(b"220 mail.example.test ESMTP\r\n");
            // Reading what the client says keeps the connection from being reset before it has read this.
            let mut hello = [0; 2048];
            let _ = stream.readable().await;
            let _ = stream.try_read(&mut hello);
        })
        .await;
        let cx = context(None, &[(Name::Stream, TURN, server)]);
        let shown = cx.net.tls(&cx.target.host(Name::Stream), TURN, Trust::Anything).await.map(|(_, p)| p);
        assert!(matches!(shown, Err(TlsError::Handshake(_))), "{shown:?}");
        let place = place("stream.hubs.example.test".to_owned(), TURN);
        assert_said(&judge(&place, DOMAIN, shown, OffsetDateTime::now_utc()), Code::TlsAnswers, Status::Fail);
    }

    #[tokio::test]
    async fn a_closed_port_is_said_to_refuse() {
        // Bound and closed again: nobody listens there now.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let cx = context(None, &[(Name::Stream, TURN, closed)]);
        let shown = cx.net.tls(&cx.target.host(Name::Stream), TURN, Trust::Anything).await;
        assert!(matches!(shown, Err(TlsError::Connect(ConnectError::Refused(_)))), "{shown:?}");
    }

    #[tokio::test]
    async fn the_browsers_verdict_on_turns_certificate_becomes_a_fact() {
        let authority = Authority::new();
        for (identity, expected) in [
            (authority.issue(&["stream.hubs.example.test"], -1..60), TurnCertificate::Accepted),
            (Identity::self_signed("dialog", &[]), TurnCertificate::Refused),
        ] {
            let server = tls_server(identity, |_| std::future::ready(())).await;
            let everywhere = Name::ALL.map(|name| (name, HTTPS, server)).into_iter();
            let places: Vec<_> =
                everywhere.chain([(Name::Stream, DIALOG, server), (Name::Stream, TURN, server)]).collect();
            let cx = context(Some(authority.root_pem()), &places);
            certificates(Arc::clone(&cx)).await.unwrap();
            assert_eq!(cx.facts.turn_certificate.get(), Ok(&expected));
        }
    }
}
