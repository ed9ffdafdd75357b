//! `--kube` looks through what a cluster has, as somebody does who has a kubeconfig: `hubs-probe lint --kube`, and `check --kube` beside
//! what packets show. The API server is a stand-in (`support/kubernetes.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hubs_tests::bed::{Bed, DOMAIN, NAMES, ROOM, STREAM};
use hubs_tests::certs::{Authority, Identity};
use hubs_tests::coturn;
use hubs_tests::hostile;
use hubs_tests::kubernetes::{Api, Manner, Objects, TOKEN};
use hubs_tests::need::{self, skip};
use hubs_tests::probe::{self, Checked};
use hubs_tests::relay;
use serde_json::Value;
use tempfile::TempDir;

/// Hosts that show their certificates, and the cluster that has them.
struct Cluster {
    folder: TempDir,
    api: Api,
    kubeconfig: PathBuf,
    /// Where each port of each host is.
    hosts: Vec<(&'static str, u16, SocketAddr)>,
}

impl Cluster {
    /// One in which hubs-relay is in coturn's place and everything is good, changed like that.
    fn start(change: impl FnOnce(Objects, &Authority) -> Objects, manner: Manner) -> Self {
        let authority = Authority::new();
        let identities = NAMES.map(|name| (name, authority.issue(name)));
        let shown = |identity: &Identity| hostile::behind_tls(identity, hostile::says_nothing);
        let ports = |name| if name == STREAM { &[443, 4443, 5349][..] } else { &[443] };
        let hosts = identities.iter().flat_map(|(name, identity)| {
            ports(*name).iter().map(move |port| (*name, *port, shown(identity)))
        });
        let hosts = hosts.collect();
        let objects = identities
            .iter()
            .fold(Objects::with_relay(), |objects, (name, identity)| objects.certificate(name, identity));
        let folder = TempDir::new().unwrap();
        let api = Api::start(change(objects, &authority), manner);
        let kubeconfig = api.kubeconfig(folder.path());
        Self { folder, api, kubeconfig, hosts }
    }

    fn good() -> Self {
        Self::start(|objects, _| objects, Manner::Good)
    }

    /// `hubs-probe lint --kube` with these arguments besides.
    fn lint(&self, arguments: &[&str]) -> Output {
        let mut program = lint(&self.kubeconfig, arguments);
        for (host, port, address) in &self.hosts {
            program.args(["--connect-to", &format!("{host}:{port}:{address}")]);
        }
        finished(&mut program)
    }

    /// What it reports, and its exit status.
    fn linted(&self) -> Checked {
        let output = self.lint(&["--output", "json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        Checked { status: output.status.code().unwrap(), report }
    }
}

/// The program as a person starts it who has this kubeconfig and no other.
fn lint(kubeconfig: &Path, arguments: &[&str]) -> Command {
    let mut program = Command::new(crate::PROBE);
    program.args(["lint", "--kube"]).args(arguments);
    program.env("KUBECONFIG", kubeconfig).env("HOME", "/nonexistent");
    program
}

/// What it printed: never what it logged in with, and nothing of a key.
fn finished(program: &mut Command) -> Output {
    let output = program.output().unwrap();
    for printed in [&output.stdout, &output.stderr] {
        let printed = String::from_utf8_lossy(printed);
        for secret in [TOKEN, "PRIVATE KEY", "guardian", "123456"] {
            assert!(!printed.contains(secret), "{secret}: {printed}");
        }
    }
    output
}

/// It ends with what was wrong in how it was called, and says all of this.
#[track_caller]
fn assert_refuses(output: &Output, says: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(says.iter().all(|it| said.contains(it)), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn with_code<'r>(checked: &'r Checked, code: &str) -> Vec<&'r Value> {
    checked.findings().filter(|finding| finding["code"] == code).collect()
}

#[test]
fn a_cluster_that_is_in_order_is_good_and_is_only_asked() {
    let cluster = Cluster::start(|objects, _| objects.crowded(1_200), Manner::Good);
    let linted = cluster.linted();
    assert_eq!((linted.status, linted.codes("fail")), (0, BTreeSet::new()), "{:#}", linted.report);
    assert_eq!(linted.report["target"]["domain"], "namespace hcce of the context hubs");
    let served = with_code(&linted, "HP0819");
    // Four hosts, and dialog's and TURN's port of one of them.
    assert_eq!((served.len(), linted.codes("pass").contains("HP0819")), (6, true), "{served:#?}");
    let counted = with_code(&linted, "HP0800")[0]["summary"].as_str().unwrap();
    // Eleven objects, five secrets, and the crowd, which came in three pieces.
    assert!(counted.starts_with("1216 objects are in the namespace hcce"), "{counted}");
    let asked = cluster.api.asked();
    assert!(asked.iter().all(|it| it.starts_with("GET /api")), "{asked:#?}");
    let pieces: Vec<_> = asked.iter().filter(|it| it.contains("configmaps")).collect();
    assert_eq!(pieces.len(), 3, "{pieces:#?}");
    let secrets: BTreeSet<_> =
        asked.iter().filter_map(|it| it.split_once("/secrets")).map(|it| it.1).collect();
    assert_eq!(secrets.len(), 5, "{secrets:?}: each by its name, and those alone of which there is talk");
}

#[test]
fn every_form_of_output_is_free_of_what_it_logged_in_with() {
    let cluster = Cluster::good();
    for output in ["human", "json", "jsonl", "junit", "sarif", "markdown", "html", "prometheus"] {
        let said = cluster.lint(&["--output", output]);
        assert_eq!(said.status.code(), Some(0), "{output}: {}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn a_secret_that_a_host_lacks_is_told_with_the_place_that_names_it() {
    let cluster =
        Cluster::start(|objects, _| objects.without("secrets", "cert-cors.hubs.test"), Manner::Good);
    let linted = cluster.linted();
    assert_eq!((linted.status, linted.codes("fail")), (1, ["HP0806"].into()), "{:#}", linted.report);
    let missing = with_code(&linted, "HP0806");
    assert_eq!(missing[0]["summary"], "the secret cert-cors.hubs.test is not in the cluster");
    assert_eq!(missing[0]["location"]["file"], "Ingress/hcce/ret spec.tls[3].secretName");
    let commands = &missing[0]["remedy"]["commands"];
    assert_eq!(commands[0], "kubectl get secret -n hcce cert-cors.hubs.test", "{commands}");
}

#[test]
fn a_host_that_shows_another_certificate_than_its_secret_has_is_told() {
    let renewed =
        |objects: Objects, authority: &Authority| objects.certificate(STREAM, &authority.issue(STREAM));
    let linted = Cluster::start(renewed, Manner::Good).linted();
    assert_eq!((linted.status, linted.codes("fail")), (1, ["HP0819"].into()), "{:#}", linted.report);
    let failing = with_code(&linted, "HP0819").into_iter().filter(|it| it["status"] == "fail");
    let failing: Vec<_> = failing.collect();
    let targets: Vec<_> = failing.iter().filter_map(|it| it["target"].as_str()).collect();
    // On each port, with what has to be restarted there.
    assert_eq!(targets, [STREAM, "wss://stream.hubs.test:4443", "turns:stream.hubs.test:5349"]);
    let restarts = failing.iter().filter_map(|it| it["remedy"]["commands"][0].as_str());
    let expected = ["haproxy", "haproxy", "coturn"];
    let expected = expected.map(|it| format!("kubectl rollout restart deployment/{it} -n hcce"));
    assert_eq!(restarts.collect::<Vec<_>>(), expected, "{failing:#?}");
    let mounted =
        |it: &&Value| it["location"]["file"].as_str().unwrap().starts_with("Deployment/hcce/coturn ");
    assert_eq!(failing.iter().filter(|it| mounted(it)).count(), 1, "{failing:#?}");
}

#[test]
fn a_role_without_secrets_is_told_which_right_it_lacks_and_hears_of_the_rest() {
    let forbids = Manner::Forbids(["secrets"].into());
    let linted = Cluster::start(|_, _| Objects::as_shipped(), forbids.clone()).linted();
    let fail = ["HP0801", "HP0802", "HP0803", "HP0804"].into();
    assert_eq!((linted.status, linted.codes("fail")), (1, fail), "{:#}", linted.report);
    let told = with_code(&linted, "HP0800").into_iter().find(|it| it["status"] == "error").unwrap();
    let summary = told["summary"].as_str().unwrap();
    assert!(summary.starts_with("you may not read secrets in the namespace hcce (403)"), "{told:#}");
    let commands = &told["remedy"]["commands"];
    let role = "kubectl create role hubs-probe -n hcce --verb=get,list --resource=secrets";
    assert_eq!(commands[0], role, "{commands}");
    assert_eq!(
        with_code(&linted, "HP0806"),
        Vec::<&Value>::new(),
        "nothing is called missing that may be there"
    );
    // With nothing wrong in the rest, it is not known whether all is well.
    assert_eq!(Cluster::start(|objects, _| objects, forbids).linted().status, 3);
}

#[test]
fn a_role_with_no_right_at_all_is_told_what_to_let_grant() {
    let all = ["deployments", "statefulsets", "daemonsets", "services", "ingresses", "configmaps"];
    let all = all.into_iter().chain(["persistentvolumeclaims", "secrets"]).collect();
    let cluster = Cluster::start(|objects, _| objects, Manner::Forbids(all));
    assert_refuses(
        &cluster.lint(&[]),
        &["read nothing in the namespace hcce (403)", "kubectl create rolebinding hubs-probe"],
    );
}

#[test]
fn a_namespace_without_hubs_is_undecided_and_says_where_to_look() {
    let cluster = Cluster::good();
    let output = cluster.lint(&["--namespace", "hubs", "--context", "hubs"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let expected = "there is nothing of Hubs in the namespace hubs of the context hubs";
    assert!(said.contains(expected) && said.contains("kubectl --context hubs get deployments -A"), "{said}");
    assert!(said.contains("kubectl config get-contexts"), "{said}");
}

#[test]
fn a_kubeconfig_that_leads_nowhere_is_a_mistake_with_what_to_do_about_it() {
    let cluster = Cluster::good();
    let folder = cluster.folder.path();
    let run = |file: &Path, arguments: &[&str]| finished(&mut lint(file, arguments));
    assert_refuses(&run(&folder.join("none"), &[]), &["az aks get-credentials", "KUBECONFIG", "none"]);
    assert_refuses(
        &run(&cluster.kubeconfig, &["--context", "other"]),
        &["no context \"other\"", "kubectl config get-contexts"],
    );
    let text = fs::read_to_string(&cluster.kubeconfig).unwrap();
    let nameless = folder.join("nameless");
    fs::write(&nameless, text.replace("current-context: hubs", "current-context: ''")).unwrap();
    assert_refuses(&run(&nameless, &[]), &["no current context", "--context"]);
    let broken = folder.join("broken");
    fs::write(&broken, text.replace("users:", "users: [")).unwrap();
    assert_refuses(&run(&broken, &[]), &["no YAML"]);
    assert_eq!(cluster.api.asked(), Vec::<String>::new());
}

#[test]
fn an_api_that_does_not_answer_does_not_know_the_person_or_says_too_much_is_told_from_another() {
    let cluster = Cluster::good();
    let folder = cluster.folder.path();
    let text = fs::read_to_string(&cluster.kubeconfig).unwrap();
    let away = folder.join("away");
    fs::write(&away, text.replace(&cluster.api.address().to_string(), "127.0.0.1:1")).unwrap();
    assert_refuses(
        &finished(&mut lint(&away, &[])),
        &["https://127.0.0.1:1 does not answer", "kubectl get namespaces"],
    );
    let old = folder.join("old");
    fs::write(&old, text.replace(TOKEN, "another")).unwrap();
    assert_refuses(&finished(&mut lint(&old, &[])), &["does not know you (401)", "az login"]);
    let huge = Cluster::start(|objects, _| objects, Manner::Huge);
    assert_refuses(&huge.lint(&[]), &["more than the 32 MiB", "--namespace"]);
    let silent = Cluster::start(|objects, _| objects, Manner::Silent);
    assert_refuses(&silent.lint(&[]), &["did not tell everything within 30 s"]);
}

#[test]
fn a_program_that_the_kubeconfig_names_logs_in_and_what_it_prints_is_never_shown() {
    let cluster = Cluster::good();
    let folder = cluster.folder.path();
    let credential = format!(
        r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{TOKEN}"}}}}"#
    );
    for (prints, exit, status, says) in [
        (&credential, 0, 0, ""),
        (&credential, 1, 2, "exit status: 1: log in again"),
        (&format!("{{ {TOKEN} "), 0, 2, "prints no ExecCredential"),
    ] {
        let program = folder.join("kubelogin");
        let script = format!("#!/bin/sh\necho 'log in again' >&2\necho '{prints}'\nexit {exit}\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let exec = format!(
            "exec: {{ apiVersion: client.authentication.k8s.io/v1, command: {}, interactiveMode: Never }}",
            program.display()
        );
        let kubeconfig = cluster.api.kubeconfig_for(folder, &exec);
        let mut command = lint(&kubeconfig, &[]);
        for (host, port, address) in &cluster.hosts {
            command.args(["--connect-to", &format!("{host}:{port}:{address}")]);
        }
        let output = finished(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

/// `check --kube` on a bed whose cluster has these objects.
fn check(bed: &Bed, objects: Objects) -> Checked {
    let folder = TempDir::new().unwrap();
    let kubeconfig = Api::start(objects, Manner::Good).kubeconfig(folder.path());
    let mut program = probe::prepare(crate::PROBE, bed);
    program.args(["--room", ROOM, "--kube"]).env("KUBECONFIG", kubeconfig);
    let checked = probe::run(&mut program);
    assert!(!checked.report.to_string().contains(TOKEN), "{:#}", checked.report);
    checked
}

/// hubs-relay in coturn's place, with the bed's own certificate for it.
fn relay_with_certificate(bed: &Bed) -> Objects {
    let files = bed.turn_identity();
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let identity = Identity { certificate: read(&files.certificate), key: read(&files.key) };
    Objects::with_relay().with_secret_of_turn("cert-turn").certificate_in("cert-turn", &identity)
}

/// The secrets of what the bed's ingress shows: for the domain it has two, and shows this one.
fn with_certificates(bed: &Bed, objects: Objects) -> Objects {
    NAMES.into_iter().fold(objects, |objects, name| {
        let file = if name == DOMAIN { "default" } else { name };
        let pem = fs::read_to_string(bed.folder().join(format!("ingress/{file}.pem"))).unwrap();
        let at = pem.find("-----BEGIN PRIVATE KEY").unwrap();
        let identity = Identity { certificate: pem[..at].to_owned(), key: pem[at..].to_owned() };
        objects.certificate(name, &identity)
    })
}

#[test]
fn beside_what_packets_show_a_cluster_in_order_changes_nothing_and_another_certificate_is_told() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let _relay = relay::start_for(&bed, crate::RELAY);
    let checked = check(&bed, with_certificates(&bed, relay_with_certificate(&bed)));
    let report = &checked.report;
    assert_eq!((checked.status, &report["verdict"]["outcome"]), (0, &"good".into()), "{report:#}");
    assert_eq!(with_code(&checked, "HP0819").len(), 6, "{report:#}");
    assert!(checked.codes("pass").contains("HP0819"), "{report:#}");
    let renewed = with_certificates(&bed, relay_with_certificate(&bed))
        .certificate(DOMAIN, &bed.authority().issue(DOMAIN));
    let checked = check(&bed, renewed);
    let verdict = &checked.report["verdict"];
    assert_eq!((checked.status, checked.codes("fail")), (1, ["HP0819"].into()), "{verdict:#}");
    let headline = verdict["headline"].as_str().unwrap();
    assert!(
        headline.starts_with("Voice works, but something else is broken: hubs.test shows another"),
        "{headline}"
    );
}

#[test]
fn what_the_cluster_has_is_evidence_for_the_cause_or_says_that_it_is_not_in_force() {
    if skip(&[need::BED, need::COTURN]) {
        return;
    }
    let bed = Bed::start();
    let nowhere = "postgres://postgres:123456@pgbouncer.invalid/retdb";
    let _coturn = coturn::start_as_hubs_does(&bed, nowhere, &bed.shipped_turn_identity());
    for (objects, says) in [
        (
            Objects::as_shipped(),
            "As the cluster has it at Deployment/hcce/coturn spec.template.spec.containers[0].name, ",
        ),
        (Objects::with_relay(), "what reads it was not restarted since"),
    ] {
        let checked = check(&bed, with_certificates(&bed, objects));
        let verdict = &checked.report["verdict"];
        assert_eq!(verdict["explains"][0], "HP0204", "{verdict:#}");
        assert!(verdict["detail"].as_str().unwrap().contains(says), "{verdict:#}");
    }
}
