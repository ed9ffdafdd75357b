//! hubs-relay, as its operators see it: is it ready, does it know dialog and the secrets, how long does its certificate live?
//!
//! It is asked where it answers them, `/readyz`, `/peers` and `/metrics`, which nobody outside of the cluster reaches.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use hubs_relay::turn::{AllowedPeers, MappedAddress, PeerPolicy};

use crate::{
    check::{Context, Outcome, Stop},
    checks::commands::LOG,
    codes::Code,
    finding::{Finding, Status},
    net::{Answer, HttpError, TlsError},
};

/// A certificate that lives no longer than this should have been renewed.
const RENEWED_BY: i64 = 14;

const DAY: i64 = 24 * 60 * 60;

const FORWARD: &str = "kubectl port-forward -n hcce deployment/coturn 9641";
const DIALOG: &str = "kubectl get endpoints dialog -n hcce";
const PEERS: &str = "kubectl exec -n hcce deployment/coturn -- /hubs-relay check-config";
const DATABASE: &str = "kubectl get pods -n hcce -l app=pgbouncer";
const CERTIFICATE: &str =
    "kubectl get secret cert-stream.DOMAIN -n hcce -o jsonpath='{.metadata.managedFields[*].time}'";

/// Those that are read, of all that it counts.
#[derive(Clone, Debug, Default, PartialEq)]
struct Metrics {
    version: Option<String>,
    certificate_expires: Option<i64>,
    secrets: Option<u64>,
    /// Whether each need of the relay's is met.
    needs: Vec<(String, bool)>,
}

/// Whom it lets clients reach, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Peers {
    policy: PeerPolicy,
    /// Whether there are more than were read.
    is_cut: bool,
}

impl Peers {
    /// Reads what the relay says a line each. What is not understood is passed over.
    fn read(text: &str) -> Self {
        let mut peers = Self { is_cut: text.lines().nth(MOST_PEERS).is_some(), ..Self::default() };
        for line in text.lines().take(MOST_PEERS) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["map", announced, actual] => {
                    let addresses = announced.parse().ok().zip(actual.parse().ok());
                    peers
                        .policy
                        .map
                        .extend(addresses.map(|(announced, actual)| MappedAddress { announced, actual }));
                }
                ["allow", network, ports] => {
                    let ports = ports.split_once('-');
                    let ports =
                        ports.and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
                    let allowed = network.parse().ok().zip(ports);
                    peers
                        .policy
                        .allow
                        .extend(allowed.map(|(network, ports)| AllowedPeers { network, ports }));
                }
                _ => {}
            }
        }
        peers
    }

    /// Holds it against what dialog told browsers: from these addresses all media has to find to dialog. One of them is enough.
    fn held_against(&self, announced: &[SocketAddr], finding: Finding) -> Finding {
        let is_allowed = |address: &SocketAddr| self.policy.decide(*address).is_some();
        let is_lost = !self.is_cut && !announced.is_empty() && !announced.iter().any(is_allowed);
        let finding = if is_lost && finding.status == Status::Pass {
            Finding::fail(Code::RelayPeers, "hubs-relay lets nobody reach the address that dialog tells browsers")
                .because("its map does not have that address, and no peer rule allows it: dialog announces another one than when the rules were written, or the rules are about another dialog")
                .fix("Let the relay find out what dialog announces (peers.map with announced = \"auto\"), and look at what it has:", [PEERS, DIALOG])
        } else {
            finding
        };
        if announced.is_empty() {
            return self.policy.map.iter().fold(finding, |finding, it| {
                finding.seen("its map", format!("{} stands for {}", it.announced, it.actual))
            });
        }
        announced.iter().fold(finding, |finding, announced| {
            let verdict = if is_allowed(announced) { "is allowed" } else { "is not allowed" };
            let actual = self.policy.actual(announced.ip());
            finding.seen(&announced.to_string(), format!("leads to {actual}, which {verdict}"))
        })
    }
}

/// As many lines of `/peers` as are read.
const MOST_PEERS: usize = 1024;

pub(crate) async fn relay(cx: Arc<Context>) -> Outcome {
    let Some(admin) = &cx.options.relay_admin else {
        return Err(Stop::Skip(format!(
            "hubs-relay was not asked: after {FORWARD:?} give --relay-admin http://127.0.0.1:9641"
        )));
    };
    let get = |path| cx.net.get_plain(&admin.host, admin.port, path);
    let (ready, metrics, peers) = tokio::join!(get("/readyz"), get("/metrics"), get("/peers"));
    let ready = match ready {
        Ok(ready) => ready,
        Err(HttpError::Tls(TlsError::Connect(e))) => {
            return Err(Stop::Unable(format!("{e}: does {FORWARD:?} still run?")));
        }
        Err(e) => return Err(Stop::Unable(e.to_string())),
    };
    let metrics = metrics.ok().filter(|answer| answer.status.is_success()).map(|answer| read(&answer.text()));
    let peers =
        peers.ok().filter(|answer| answer.status.is_success()).map(|answer| Peers::read(&answer.text()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs().cast_signed());
    let mut findings = judge(&ready, metrics.as_ref(), now);
    if let Some(peers) = peers
        && let Some(finding) = findings.iter_mut().find(|f| f.code == Code::RelayPeers)
    {
        let announced = cx.facts.announced.get().map_or(&[][..], Vec::as_slice);
        *finding = peers.held_against(announced, finding.clone());
    }
    Ok(findings.into_iter().map(|finding| finding.at(admin.to_string())).collect())
}

fn judge(ready: &Answer, metrics: Option<&Metrics>, now: i64) -> Vec<Finding> {
    let text = ready.text();
    let mut lines = text.lines();
    let is_relays =
        matches!((ready.status.as_u16(), lines.next()), (200, Some("ready")) | (503, Some("not ready")));
    if !is_relays {
        return vec![
            Finding::error(
                Code::RelayReady,
                format!("what answers {} to /readyz is not hubs-relay", ready.status),
            )
            .fix("Give the address on which hubs-relay answers its operators:", [FORWARD]),
        ];
    }
    let reasons: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let mut findings = vec![judge_ready(ready, &text)];
    let Some(metrics) = metrics else {
        let told = |code| Finding::error(code, "hubs-relay does not tell its metrics");
        findings.extend(
            [Code::RelayPeers, Code::RelayDatabase, Code::RelayCertificate, Code::RelayVersion].map(told),
        );
        return findings;
    };
    findings.push(judge_need(Code::RelayPeers, metrics, &reasons));
    findings.push(judge_need(Code::RelayDatabase, metrics, &reasons));
    findings.push(judge_certificate(metrics.certificate_expires, now));
    findings.push(judge_version(metrics.version.as_deref()));
    findings
}

fn judge_ready(ready: &Answer, text: &str) -> Finding {
    let code = Code::RelayReady;
    let is_draining = text.lines().any(|line| line.starts_with("draining"));
    let reasons: Vec<_> = text.lines().skip(1).collect();
    let finding = match (ready.status.is_success(), is_draining) {
        (false, _) => Finding::fail(code, "hubs-relay says that it is not ready: nobody can use it")
            .because("something that it needs was never there since it started")
            .fix("What it needs is told below; its log says more:", [LOG]),
        (true, true) => {
            Finding::warn(code, "hubs-relay drains: those who are connected stay, and nobody new gets in")
                .because("somebody told it to end, as a new version does when it comes")
                .fix("Wait until its successor is ready:", ["kubectl get pods -n hcce -l app=coturn"])
        }
        (true, false) if reasons.is_empty() => Finding::pass(code, "hubs-relay says that it is ready"),
        (true, false) => Finding::warn(
            code,
            "hubs-relay is ready and goes on with what it learned before, because it learns nothing new",
        )
        .because("something that it needs does not answer any more")
        .fix("What it needs is told below; its log says more:", [LOG]),
    };
    match reasons.as_slice() {
        [] => finding,
        reasons => finding.seen("it says", reasons.join("; ")),
    }
}

/// What the relay needs from others: its name for it, and how to call it.
fn judge_need(code: Code, metrics: &Metrics, reasons: &[(&str, &str)]) -> Finding {
    let is_peers = code == Code::RelayPeers;
    let name = if is_peers { "peers" } else { "database" };
    let is_met = metrics.needs.iter().find(|(need, _)| need == name).map(|(_, is_met)| *is_met);
    let finding = match (is_met, metrics.secrets) {
        (None, _) if is_peers => Finding::pass(code, "hubs-relay reaches dialog at addresses that are written down, and asks nobody"),
        (None, _) => Finding::pass(code, "hubs-relay has its secrets from its configuration, and asks no database"),
        (Some(true), _) if is_peers => Finding::pass(code, "hubs-relay knows where dialog is"),
        (Some(true), Some(0)) => {
            // Reticulum makes one when somebody comes.
            Finding::pass(code, "hubs-relay reads Reticulum's database, in which there is no secret yet: nobody was in a room for a while")
        }
        (Some(true), Some(secrets)) => Finding::pass(code, "hubs-relay has Reticulum's secrets").seen("secrets", secrets),
        (Some(true), None) => Finding::pass(code, "hubs-relay reads Reticulum's database"),
        (Some(false), _) if is_peers => Finding::fail(code, "hubs-relay does not know where dialog is")
            .because("the name of dialog's service does not resolve, or dialog does not say what it announces, so what is sent to dialog leads nowhere")
            .fix("Look at whether dialog runs, and at the relay's [peers]:", [DIALOG, PEERS]),
        (Some(false), _) => Finding::fail(code, "hubs-relay cannot read Reticulum's secrets")
            .because("the database does not answer it, so each new secret of Reticulum's is unknown to it, and everybody is turned away (401) when the old ones have gone")
            .fix("Look at whether the database runs, and at the relay's auth.postgres:", [DATABASE, PEERS]),
    };
    match reasons.iter().find(|(need, _)| *need == name) {
        Some((_, reason)) => finding.seen("it says", reason),
        None => finding,
    }
}

fn judge_certificate(expires: Option<i64>, now: i64) -> Finding {
    let code = Code::RelayCertificate;
    let Some(expires) = expires else {
        return Finding::pass(code, "hubs-relay has no certificate: TLS ends in front of it");
    };
    let days = expires.saturating_sub(now).div_euclid(DAY);
    let renew = |finding: Finding| {
        finding
            .because("the secret with the certificate was not renewed, or the pod has not seen that it was")
            .fix("Look at when the secret was written, and at the relay's log:", [CERTIFICATE, LOG])
    };
    match days {
        ..0 => renew(Finding::fail(code, "hubs-relay's certificate has run out")),
        0..=RENEWED_BY => {
            renew(Finding::warn(code, format!("hubs-relay's certificate runs out in {days} days")))
        }
        _ => Finding::pass(code, format!("hubs-relay's certificate lives for {days} more days")),
    }
}

fn judge_version(version: Option<&str>) -> Finding {
    let code = Code::RelayVersion;
    let ours = env!("CARGO_PKG_VERSION");
    match version {
        Some(version) if version == ours => {
            Finding::pass(code, format!("hubs-relay is version {version}, as this probe"))
        }
        Some(version) => Finding::warn(
            code,
            format!("hubs-relay is version {version} and this probe is {ours}"),
        )
        .because("one of them was left behind; what the newer one mends may be missing from the other")
        .fix(
            "Use the same version of both",
            ["kubectl get deployment coturn -n hcce -o jsonpath='{.spec.template.spec.containers[0].image}'"],
        ),
        None => Finding::error(code, "hubs-relay does not say its version"),
    }
}

/// Reads what matters of an OpenMetrics text. What is not understood is passed over.
fn read(text: &str) -> Metrics {
    let mut metrics = Metrics::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (name, label) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.split('"').nth(1)),
            None => (series, None),
        };
        let number = value.parse::<f64>().ok().filter(|n| n.is_finite());
        match (name, label, number) {
            ("hubs_relay_build_info", Some(version), _) => metrics.version = Some(version.to_owned()),
            ("hubs_relay_certificate_expiry_timestamp_seconds", _, Some(n)) => {
                metrics.certificate_expires = Some(n as i64);
            }
            ("hubs_relay_database_secrets", _, Some(n)) => metrics.secrets = Some(n as u64),
            ("hubs_relay_need_met", Some(need), Some(n)) if metrics.needs.len() < MOST_NEEDS => {
                metrics.needs.push((need.to_owned(), n > 0.0));
            }
            _ => {}
        }
    }
    metrics
}

/// More than it has.
const MOST_NEEDS: usize = 8;

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode, body::Bytes};
    use proptest::prelude::*;

    use super::*;
    use crate::{check::Options, net::NetOptions, testing::bare_context};

    const NOW: i64 = 1_800_000_000;

    fn ready(status: StatusCode, text: &'static str) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: Bytes::from_static(text.as_bytes()) }
    }

    fn metrics(peers: u8, database: u8, secrets: u8, days: i64) -> Metrics {
        read(&format!(
            "# HELP hubs_relay_need_met so\nhubs_relay_need_met{{need=\"peers\"}} {peers}\n\
             hubs_relay_need_met{{need=\"database\"}} {database}\nhubs_relay_database_secrets {secrets}\n\
             hubs_relay_certificate_expiry_timestamp_seconds {}\nhubs_relay_build_info{{version=\"{}\"}} 1\n# EOF\n",
            NOW + days * DAY + 1,
            env!("CARGO_PKG_VERSION")
        ))
    }

    fn statuses(ready: &Answer, metrics: Option<&Metrics>) -> Vec<(Code, Status)> {
        judge(ready, metrics, NOW).iter().map(|f| (f.code, f.status)).collect()
    }

    const CODES: [Code; 5] =
        [Code::RelayReady, Code::RelayPeers, Code::RelayDatabase, Code::RelayCertificate, Code::RelayVersion];

    #[test]
    fn a_relay_that_has_all_that_it_needs_passes() {
        let found = statuses(&ready(StatusCode::OK, "ready\n"), Some(&metrics(1, 1, 3, 60)));
        assert_eq!(found, CODES.map(|code| (code, Status::Pass)));
    }

    #[test]
    fn each_need_that_is_not_met_is_a_fault_with_the_relays_own_reason() {
        let text = "not ready\npeers: dialog does not resolve\ndatabase: no answer\n";
        let findings = judge(&ready(StatusCode::SERVICE_UNAVAILABLE, text), Some(&metrics(0, 0, 0, 60)), NOW);
        for (finding, reason) in findings[1..3].iter().zip(["dialog does not resolve", "no answer"]) {
            assert_eq!(finding.status, Status::Fail);
            assert!(finding.evidence.iter().any(|e| e.value == reason), "{finding:#?}");
            assert!(finding.remedy.is_some());
        }
        assert_eq!(findings[0].status, Status::Fail);
    }

    #[test]
    fn a_relay_that_drains_or_goes_on_with_what_it_knows_is_warned_of() {
        for text in
            ["ready\ndraining: allocations are refused\n", "ready\npeers: no; going on with what is known\n"]
        {
            let findings = judge(&ready(StatusCode::OK, text), Some(&metrics(1, 1, 1, 60)), NOW);
            assert_eq!(findings[0].status, Status::Warn, "{findings:#?}");
        }
    }

    #[test]
    fn a_certificate_is_warned_of_ahead_of_its_end() {
        let days = |days| judge_certificate(metrics(1, 1, 1, days).certificate_expires, NOW).status;
        assert_eq!((days(60), days(10), days(-1)), (Status::Pass, Status::Warn, Status::Fail));
        assert_eq!(judge_certificate(None, NOW).status, Status::Pass);
        assert_eq!(judge_certificate(Some(i64::MIN), NOW).status, Status::Fail);
    }

    #[test]
    fn another_version_is_warned_of() {
        assert_eq!(judge_version(Some("0.0.1")).status, Status::Warn);
        assert_eq!(judge_version(None).status, Status::Error);
    }

    #[test]
    fn what_the_relay_does_not_need_is_not_missing() {
        let found = statuses(&ready(StatusCode::OK, "ready\n"), Some(&Metrics::default()));
        assert!(found[1..3].iter().all(|(_, status)| *status == Status::Pass), "{found:?}");
    }

    #[test]
    fn somebody_else_is_not_judged_as_the_relay() {
        for (status, text) in
            [(StatusCode::NOT_FOUND, "nothing here"), (StatusCode::OK, "<html>"), (StatusCode::OK, "")]
        {
            assert_eq!(statuses(&ready(status, text), None), [(Code::RelayReady, Status::Error)]);
        }
        let silent = statuses(&ready(StatusCode::OK, "ready\n"), None);
        assert!(silent[1..].iter().all(|(_, status)| *status == Status::Error), "{silent:?}");
    }

    #[test]
    fn an_address_that_dialog_tells_browsers_has_to_lead_to_an_allowed_one() {
        let text =
            "map 203.0.113.9 10.224.0.4\nallow 10.224.0.4/32 40000-49999\nnonsense\nmap x y\nallow 1-2 z";
        let peers = Peers::read(text);
        assert_eq!((peers.policy.map.len(), peers.policy.allow.len()), (1, 1));
        let judged = |announced: &[&str]| {
            let announced: Vec<_> = announced.iter().map(|it| it.parse().unwrap()).collect();
            peers.held_against(&announced, Finding::pass(Code::RelayPeers, "so")).status
        };
        assert_eq!(judged(&[]), Status::Pass);
        assert_eq!(judged(&["203.0.113.9:40001"]), Status::Pass);
        assert_eq!(judged(&["10.224.0.4:40001"]), Status::Pass);
        assert_eq!(judged(&["[::ffff:203.0.113.9]:40001"]), Status::Pass);
        assert_eq!(judged(&["203.0.113.9:35000"]), Status::Fail);
        assert_eq!(judged(&["203.0.113.8:40001"]), Status::Fail);
        assert_eq!(judged(&["203.0.113.8:40001", "203.0.113.9:40001"]), Status::Pass);
        // Of what was not read nothing is said.
        let many = format!("{}allow 203.0.113.0/24 1-65535\n", "allow 10.0.0.1/32 1-2\n".repeat(MOST_PEERS));
        let finding = Peers::read(&many)
            .held_against(&["203.0.113.9:40001".parse().unwrap()], Finding::pass(Code::RelayPeers, "so"));
        assert_eq!(finding.status, Status::Pass);
        // What it says of itself comes first.
        let unmet = Finding::fail(Code::RelayPeers, "it does not know");
        let finding = peers.held_against(&["203.0.113.8:40001".parse().unwrap()], unmet);
        assert_eq!(finding.summary, "it does not know");
    }

    #[tokio::test]
    async fn the_real_relay_is_understood() {
        let text = "listen = ['udp://127.0.0.1:0']\n[admin]\naddress = '127.0.0.1:0'\n[relay]\naddress = '127.0.0.1'\nworkers = 1\n\
                    [auth]\nusers = { ann = 'correct horse' }\n[peers]\nallow = ['127.0.0.1:40000-49999']\n";
        let config = hubs_relay::Config::from_text(text, None, []).unwrap();
        let mut relay = hubs_relay::Relay::start(&config).unwrap();
        let address = relay.serve_admin("127.0.0.1:0".parse().unwrap()).unwrap();
        let cx = bare_context(NetOptions::default());
        let relay_admin = Some(format!("http://{address}").parse().unwrap());
        let cx = Arc::new(Context { options: Options { relay_admin, ..Options::default() }, ..cx });
        cx.facts.announced.learn(vec!["127.0.0.1:40001".parse().unwrap()]);
        let findings = super::relay(Arc::clone(&cx)).await.unwrap();
        let outcomes: Vec<_> = findings.iter().map(|f| (f.code, f.status)).collect();
        assert_eq!(outcomes, CODES.map(|code| (code, Status::Pass)), "{findings:#?}");
        let said = findings[1].evidence.iter().map(|e| format!("{} {}", e.label, e.value));
        let said: Vec<_> = said.collect();
        assert_eq!(said, ["127.0.0.1:40001 leads to 127.0.0.1, which is allowed"]);
    }

    #[tokio::test]
    async fn a_relay_that_does_not_answer_is_no_finding_about_it() {
        let cx = bare_context(NetOptions::default());
        let Err(Stop::Skip(reason)) = relay(Arc::new(cx)).await else { panic!("no skip") };
        assert!(reason.contains("--relay-admin"), "{reason}");
        let relay_admin = Some("http://127.0.0.1:9".parse().unwrap());
        let cx = bare_context(NetOptions::default());
        let cx = Context { options: Options { relay_admin, ..Options::default() }, ..cx };
        assert!(matches!(relay(Arc::new(cx)).await, Err(Stop::Unable(_))));
    }

    proptest! {
        #[test]
        fn no_metrics_make_the_reader_panic(text in "(hubs_relay_[a-z_]{0,30}(\\{[a-z=\"]{0,20}\\}?)? .{0,20}\n?){0,10}") {
            let _ = read(&text);
        }
    }
}
