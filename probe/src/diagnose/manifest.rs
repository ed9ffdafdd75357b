//! What is declared beside what was observed. A fault that stands in the manifest, or in the cluster, speaks for the cause that shows it;
//! where the manifest is in order and what is served is not, it was not applied, or nobody restarted what reads it.

use super::seen::is_turn;
use crate::{
    codes::Code,
    finding::{Finding, Remedy, Status},
    lint::{CONTEXT, HOST, PORT, in_context},
    nsg::shell_word,
};

/// What one rule of the manifest has to do with what is seen.
struct Row {
    declared: Code,
    /// What fails because of the fault.
    shows_as: &'static [Code],
    /// Whether that is so at this place.
    fits: fn(&Finding, &Finding) -> bool,
    /// What cannot fail where the manifest is in order and in force.
    belied_by: &'static [Code],
}

/// Each way to show a certificate that is none of the secrets'.
const OTHER_CERTIFICATE: &[Code] =
    &[Code::CertificateDefault, Code::CertificateSelfSigned, Code::CertificateWrongName];

const ROWS: &[Row] = &[
    Row::new(Code::TurnFindsSecrets, &[Code::TurnAllocates]),
    Row::new(Code::TurnResolvesNames, &[Code::TurnAllocates]),
    Row::new(
        Code::TurnHasCertificate,
        &[
            Code::CertificateOfCoturn,
            Code::CertificateSelfSigned,
            Code::CertificateWrongName,
            Code::CertificateUnknownIssuer,
        ],
    )
    .at(|_, observed| observed.target.as_deref().is_some_and(is_turn))
    .belied_by(&[Code::CertificateOfCoturn]),
    Row::new(Code::TurnReachesDialog, &[Code::RelayedPath, Code::RelayedDtls]),
    Row::new(Code::HostsHaveSecrets, OTHER_CERTIFICATE).at(same_host),
    // It is for the domain itself, and for whoever has no other one.
    Row::new(Code::NoDefaultCertificate, &[Code::CertificateDefault]).belied_by(&[Code::CertificateDefault]),
    Row::new(Code::PermsKeyWritten, &[Code::PermissionKey, Code::PermissionSignature])
        .belied_by(&[Code::PermissionKey, Code::PermissionSignature]),
    Row::new(Code::EntranceComplete, &[Code::TlsAnswers, Code::SignallingOpens, Code::TurnChallenges])
        .at(|declared, observed| port(observed).is_some_and(|port| names(declared, PORT, port))),
    Row::new(Code::SecretsPaired, OTHER_CERTIFICATE).at(same_host),
    Row::new(Code::SecretsCurrent, &[Code::CertificateDates])
        .at(same_host)
        .belied_by(&[Code::CertificateDates]),
    Row::new(Code::SecretsNamed, &[Code::CertificateWrongName]).at(same_host),
];

impl Row {
    const fn new(declared: Code, shows_as: &'static [Code]) -> Self {
        Self { declared, shows_as, fits: |_, _| true, belied_by: &[] }
    }

    const fn at(mut self, fits: fn(&Finding, &Finding) -> bool) -> Self {
        self.fits = fits;
        self
    }

    const fn belied_by(mut self, belied_by: &'static [Code]) -> Self {
        self.belied_by = belied_by;
        self
    }
}

/// Whether the fault that `observed` is stands in the manifest as `declared`.
pub(super) fn declares(declared: &Finding, observed: &Finding) -> bool {
    matches!(declared.status, Status::Warn | Status::Fail)
        && rows(declared, observed).any(|row| row.shows_as.contains(&observed.code))
}

/// Whether `declared` says that what `observed` shows cannot be.
fn is_belied(declared: &Finding, observed: &Finding) -> bool {
    declared.status == Status::Pass
        && rows(declared, observed).any(|row| row.belied_by.contains(&observed.code))
}

/// Whether `other` says no more than that what a host shows is not what the cluster has for it: of a certificate that is wrong in itself
/// that is the other half.
pub(super) fn is_unlike_its_secret(cause: &Finding, other: &Finding) -> bool {
    other.code == Code::SecretsServed
        && super::seen::is_certificate(cause.code)
        && cause.target.as_deref().is_some_and(is_turn) == other.target.as_deref().is_some_and(is_turn)
        && cause.host().is_some()
        && cause.host() == other.host()
}

/// Where the manifest has the fault that these show, or that it does not have it: sentences, each with a space before it.
pub(super) fn note(findings: &[Finding], observed: &[&Finding]) -> String {
    let so = of(findings, observed, declares)
        .map(|declared| format!(" As {}, {} ({}).", has_it(declared), declared.summary, declared.code));
    let belied = belied(findings, observed).map(|declared| {
        let (where_it_is, why) = if is_of_cluster(declared) {
            ("What the cluster declares", "what reads it was not restarted since it was changed")
        } else {
            ("The manifest", "it was not applied, or what reads it was not restarted since")
        };
        format!(" {where_it_is} is in order there ({}), and what is served is not: {why}.", place(declared))
    });
    let unlike = |other: &&Finding| {
        other.status == Status::Fail && observed.iter().any(|it| is_unlike_its_secret(it, other))
    };
    let unlike = findings.iter().find(unlike);
    let unlike = unlike.map(|it| format!(" The cluster has another one: {} ({}).", it.summary, place(it)));
    so.chain(belied).chain(unlike).collect()
}

/// What to do where the manifest is right already, in the place of what would put it right.
pub(super) fn remedy(findings: &[Finding], observed: &[&Finding]) -> Option<Remedy> {
    let declared = belied(findings, observed)?;
    let namespace = namespace(declared).unwrap_or("hcce");
    let context = findings.iter().filter(|it| it.code == Code::ManifestRead);
    let context = context.flat_map(|it| &it.evidence).find(|it| it.label == CONTEXT);
    let here = |command| in_context(command, context.map(|it| it.value.as_str()));
    let restart = here(format!("kubectl rollout restart deployment -n {}", shell_word(namespace)));
    if is_of_cluster(declared) {
        let text = "Let everything read again what the cluster has:".to_owned();
        return Some(Remedy { text, commands: vec![restart] });
    }
    let file = declared.location.as_ref().map_or("hcce.yaml", |it| it.file.as_str());
    Some(Remedy {
        text: "Apply the manifest, and let everything read it again:".to_owned(),
        commands: vec![here(format!("kubectl apply -f {}", shell_word(file))), restart],
    })
}

fn rows<'r>(declared: &'r Finding, observed: &'r Finding) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.declared == declared.code && (row.fits)(declared, observed))
}

/// Those of the findings that stand in such a relation to one of the observed.
fn of<'f>(
    findings: &'f [Finding],
    observed: &[&Finding],
    relation: fn(&Finding, &Finding) -> bool,
) -> impl Iterator<Item = &'f Finding> {
    findings.iter().filter(move |declared| observed.iter().any(|it| relation(declared, it)))
}

/// A rule that the manifest keeps, although what was observed says otherwise. Where the same manifest has another fault that shows so, it
/// is that.
fn belied<'f>(findings: &'f [Finding], observed: &[&Finding]) -> Option<&'f Finding> {
    let is_explained = |by: &Finding| {
        of(findings, observed, declares).any(|declared| is_of_cluster(declared) == is_of_cluster(by))
    };
    of(findings, observed, is_belied).find(|belied| !is_explained(belied))
}

/// A cluster has no lines.
fn is_of_cluster(declared: &Finding) -> bool {
    declared.location.as_ref().is_some_and(|it| it.line.is_none())
}

/// Of `Deployment/hcce/coturn spec`, the second part.
fn namespace(declared: &Finding) -> Option<&str> {
    let place = declared.location.as_ref().filter(|_| is_of_cluster(declared))?;
    place.file.split('/').nth(1)
}

fn has_it(declared: &Finding) -> String {
    let what = if is_of_cluster(declared) { "the cluster has it" } else { "the manifest has it" };
    declared.location.as_ref().map_or_else(|| what.to_owned(), |place| format!("{what} at {place}"))
}

fn place(declared: &Finding) -> String {
    match &declared.location {
        Some(location) => format!("{} at {location}", declared.code),
        None => declared.code.to_string(),
    }
}

fn same_host(declared: &Finding, observed: &Finding) -> bool {
    observed.host().is_some_and(|host| names(declared, HOST, host))
}

fn names(declared: &Finding, label: &str, value: &str) -> bool {
    declared.evidence.iter().any(|it| it.label == label && it.value == value)
}

/// The port of `wss://host:4443`; that of pages, where none is named.
fn port(observed: &Finding) -> Option<&str> {
    let target = observed.target.as_deref()?;
    let place = target.split_once("://").map_or(target, |(_, rest)| rest);
    let place = place.split('/').next().unwrap_or(place);
    match place.rsplit_once(':') {
        Some((_, port)) => Some(port),
        None if target.starts_with("https:") => Some("443"),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Diagnosed, End, Whose, diagnose,
            tests::{TURN, fail, pass, run, turn_broken_at},
        },
        *,
    };

    const HUBS: &str = "https://example.org";

    fn declared(code: Code) -> Finding {
        Finding::warn(code, "it is so declared").located("hcce.yaml", 7, 9)
    }

    fn said(with: impl IntoIterator<Item = Finding>) -> (Vec<Finding>, Diagnosed) {
        let findings = run(with);
        let diagnosed = diagnose("example.org", &findings, End::Complete);
        (findings, diagnosed)
    }

    #[track_caller]
    fn assert_cites(with: Vec<Finding>, cause: Code, declared: Code) {
        let (findings, Diagnosed { diagnoses, verdict }) = said(with);
        assert_eq!(verdict.explains[0], cause, "{verdict:#?}");
        let place = format!("As the manifest has it at hcce.yaml:7:9, it is so declared ({declared}).");
        assert!(verdict.detail.contains(&place), "{verdict:#?}");
        assert!(diagnoses[0].supports.iter().any(|at| findings[*at].code == declared), "{diagnoses:#?}");
    }

    #[test]
    fn a_fault_that_the_manifest_has_is_evidence_for_what_shows_it_with_its_place() {
        for (observed, code) in [
            (Code::CertificateOfCoturn, Code::TurnHasCertificate),
            (Code::TurnAllocates, Code::TurnFindsSecrets),
            (Code::TurnAllocates, Code::TurnResolvesNames),
            (Code::RelayedPath, Code::TurnReachesDialog),
        ] {
            assert_cites([turn_broken_at(observed), vec![declared(code)]].concat(), observed, code);
        }
        for (observed, code) in [
            (fail(Code::CertificateDefault).at(HUBS), declared(Code::NoDefaultCertificate)),
            (
                fail(Code::CertificateDefault).at(HUBS),
                declared(Code::HostsHaveSecrets).seen(HOST, "example.org"),
            ),
            (fail(Code::CertificateDates).at(HUBS), declared(Code::SecretsCurrent).seen(HOST, "example.org")),
            (fail(Code::PermissionKey), declared(Code::PermsKeyWritten)),
            (
                fail(Code::TlsAnswers).at("wss://stream.example.org:4443"),
                declared(Code::EntranceComplete).seen(PORT, 4443),
            ),
            (fail(Code::TlsAnswers).at(HUBS), declared(Code::EntranceComplete).seen(PORT, 443)),
        ] {
            let codes = (observed.code, code.code);
            assert_cites(vec![observed, code], codes.0, codes.1);
        }
    }

    #[test]
    fn what_is_declared_of_another_host_port_or_stretch_is_no_evidence() {
        for with in [
            vec![
                fail(Code::CertificateDefault).at(HUBS),
                declared(Code::HostsHaveSecrets).seen(HOST, "cors.example.org"),
            ],
            // That a secret is not in a file says nothing of the cluster.
            vec![fail(Code::CertificateDefault).at(HUBS), declared(Code::HostsHaveSecrets)],
            vec![fail(Code::TlsAnswers).at(TURN), declared(Code::EntranceComplete).seen(PORT, 4443)],
            [turn_broken_at(Code::TurnAllocates), vec![declared(Code::TurnHasCertificate)]].concat(),
            vec![fail(Code::CertificateSelfSigned).at(HUBS), declared(Code::TurnHasCertificate)],
        ] {
            let (_, Diagnosed { verdict, .. }) = said(with);
            assert!(!verdict.detail.contains("hcce.yaml"), "{verdict:#?}");
        }
    }

    #[test]
    fn a_manifest_that_is_in_order_where_what_is_served_is_not_was_not_applied() {
        let in_order = |code| pass(code).located("my hubs.yaml", 7, 9);
        let served = || turn_broken_at(Code::CertificateOfCoturn);
        let (_, Diagnosed { diagnoses, verdict }) =
            said([served(), vec![in_order(Code::TurnHasCertificate)]].concat());
        assert_eq!(verdict.explains[0], Code::CertificateOfCoturn);
        let note = "The manifest is in order there (HP0803 at my hubs.yaml:7:9), and what is served is not: it was not applied";
        assert!(verdict.detail.contains(note), "{verdict:#?}");
        let remedy = verdict.remedy.unwrap();
        assert_eq!(
            remedy.commands,
            ["kubectl apply -f 'my hubs.yaml'", "kubectl rollout restart deployment -n hcce"]
        );
        assert!(diagnoses[0].contradicts.is_empty(), "what was seen is no less certain");
        // A cluster was told already.
        let of_cluster = pass(Code::TurnHasCertificate).located_in("Deployment/hcce/coturn spec");
        let (_, Diagnosed { verdict, .. }) = said([served(), vec![of_cluster]].concat());
        assert!(verdict.detail.contains("what reads it was not restarted"), "{verdict:#?}");
        assert_eq!(verdict.remedy.unwrap().commands, ["kubectl rollout restart deployment -n hcce"]);
        // In the namespace and the context that were looked at.
        let of_rooms = pass(Code::TurnHasCertificate).located_in("Deployment/my-rooms/coturn spec");
        let read = pass(Code::ManifestRead).seen(CONTEXT, "my hubs");
        let (_, Diagnosed { verdict, .. }) = said([served(), vec![read, of_rooms]].concat());
        assert_eq!(
            verdict.remedy.unwrap().commands,
            ["kubectl --context 'my hubs' rollout restart deployment -n my-rooms"]
        );
        // A server that refuses logins may have many reasons, and so may a port that does not answer.
        for (observed, code) in
            [(Code::TurnAllocates, Code::TurnFindsSecrets), (Code::RelayedPath, Code::TurnReachesDialog)]
        {
            let (_, Diagnosed { verdict, .. }) =
                said([turn_broken_at(observed), vec![in_order(code)]].concat());
            assert!(!verdict.detail.contains("in order"), "{verdict:#?}");
        }
    }

    #[test]
    fn a_manifest_that_has_another_fault_which_shows_so_is_not_said_to_be_in_order() {
        let with = [
            fail(Code::CertificateDefault).at(HUBS),
            declared(Code::HostsHaveSecrets).seen(HOST, "example.org"),
            pass(Code::NoDefaultCertificate).located("hcce.yaml", 1, 1),
        ];
        let (_, Diagnosed { verdict, .. }) = said(with.clone());
        assert!(!verdict.detail.contains("in order"), "{verdict:#?}");
        // The file may be right, and the cluster as it was before.
        let [observed, of_cluster, of_file] = with;
        let of_cluster = of_cluster.located_in("Ingress/hcce/ret spec.tls[0]");
        let (_, Diagnosed { verdict, .. }) = said([observed, of_cluster, of_file]);
        assert!(
            verdict.detail.contains(
                "As the cluster has it at Ingress/hcce/ret spec.tls[0], it is so declared (HP0806)."
            ),
            "{verdict:#?}"
        );
        assert!(verdict.detail.contains("The manifest is in order there"), "{verdict:#?}");
    }

    #[test]
    fn a_certificate_that_is_wrong_and_not_its_secrets_is_one_fault() {
        let unlike =
            || fail(Code::SecretsServed).at("example.org").located_in("Ingress/hcce/ret spec.tls[0]");
        let (findings, Diagnosed { diagnoses, verdict }) =
            said([fail(Code::CertificateDates).at(HUBS), unlike()]);
        assert_eq!((diagnoses.len(), verdict.explains[0]), (1, Code::CertificateDates), "{diagnoses:#?}");
        assert!(diagnoses[0].explains.iter().any(|at| findings[*at].code == Code::SecretsServed));
        assert!(verdict.detail.contains("The cluster has another one"), "{verdict:#?}");
        // Whoever opens connections on the way shows certificates of their own.
        let inspected = Finding::warn(Code::NoInspection, "Zscaler")
            .seen(crate::checks::you::interception::PRODUCT, "Zscaler");
        let (_, Diagnosed { diagnoses, .. }) =
            said([inspected, fail(Code::CertificateUnknownIssuer).at(HUBS), unlike()]);
        assert!(diagnoses.iter().all(|it| it.whose == Whose::Person), "{diagnoses:#?}");
    }
}
