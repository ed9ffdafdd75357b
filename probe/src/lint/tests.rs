//! What is said of manifests, whole and changed in one place.

use super::{live::Untold, *};
use crate::finding::Status;

/// As the generator makes it.
const SHIPPED: &str = include_str!("hcce.yaml");

/// Nothing was told.
const NOTHING: [(Status, usize, String); 0] = [];

#[track_caller]
fn changed(from: &str, to: &str) -> String {
    assert!(SHIPPED.contains(from), "{from}");
    SHIPPED.replacen(from, to, 1)
}

fn findings(text: &str) -> Vec<Finding> {
    lint("hcce.yaml", text).findings
}

/// The findings of a code that do not pass, with their lines.
fn told(text: &str, code: Code) -> Vec<(Status, usize, String)> {
    let found = findings(text).into_iter().filter(|it| it.code == code && it.status != Status::Pass);
    found.map(|it| (it.status, it.location.and_then(|it| it.line).unwrap_or_default(), it.summary)).collect()
}

/// The number of the first line that has this in it.
#[track_caller]
fn line(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}")) + 1
}

#[test]
fn what_the_generator_makes_has_the_four_reasons_and_they_have_places() {
    let fails: Vec<_> = findings(SHIPPED).into_iter().filter(|it| it.status == Status::Fail).collect();
    let codes: Vec<_> = fails.iter().map(|it| it.code).collect();
    assert_eq!(
        codes,
        [Code::TurnFindsSecrets, Code::TurnResolvesNames, Code::TurnHasCertificate, Code::TurnReachesDialog]
    );
    let at = |code| fails.iter().find(|it| it.code == code).and_then(|it| it.location.clone()).unwrap();
    let image = line(SHIPPED, "mozillareality/coturn");
    assert_eq!((at(Code::TurnFindsSecrets).line, at(Code::TurnFindsSecrets).column), (Some(image), Some(16)));
    assert!(fails.iter().all(|it| it.remedy.is_some() && it.target.as_deref() == Some("Deployment/coturn")));
    let warns: Vec<_> =
        findings(SHIPPED).into_iter().filter(|it| it.status == Status::Warn).map(|it| it.code).collect();
    for code in [
        Code::PortsShared,
        Code::HostsHaveSecrets,
        Code::NoDefaultCertificate,
        Code::StorageKept,
        Code::ContainersProbed,
        Code::ImagesPinned,
    ] {
        assert!(warns.contains(&code), "{code}: {warns:?}");
    }
    for code in [
        Code::ManifestRead,
        Code::PermsKeyWritten,
        Code::ValuesPutIn,
        Code::EntranceComplete,
        Code::OneDomain,
    ] {
        assert_eq!(told(SHIPPED, code), NOTHING, "{code}");
    }
}

#[test]
fn with_hubs_relay_in_its_place_none_of_the_four_is_left() {
    let relay = "      containers:\n      - name: coturn\n        image: registry.test/hubs-relay:0.1.0\n        volumeMounts:\n        - name: certs\n          mountPath: /certs";
    let text = changed(
        "      hostNetwork: true\n      containers:\n      - name: coturn\n        image: mozillareality/coturn:stable-latest",
        relay,
    );
    for code in [
        Code::TurnFindsSecrets,
        Code::TurnResolvesNames,
        Code::TurnHasCertificate,
        Code::TurnReachesDialog,
        Code::PortsShared,
    ] {
        assert_eq!(told(&text, code), NOTHING, "{code}");
        assert!(findings(&text).iter().any(|it| it.code == code && it.status == Status::Pass), "{code}");
    }
}

#[test]
fn each_of_the_four_goes_by_itself() {
    let policy = changed(
        "      hostNetwork: true\n      containers:\n      - name: coturn",
        "      hostNetwork: true\n      dnsPolicy: ClusterFirstWithHostNet\n      containers:\n      - name: coturn",
    );
    assert_eq!(told(&policy, Code::TurnResolvesNames), NOTHING);
    let listening = changed(
        "        - name: perms_key\n",
        "        - name: MEDIASOUP_LISTEN_IP\n          value: 10.0.0.4\n        - name: perms_key\n",
    );
    assert_eq!(told(&listening, Code::TurnReachesDialog), NOTHING);
    let terminated = changed("hcce/coturn:5349", "hcce/coturn:5349:ssl");
    assert_eq!(told(&terminated, Code::TurnHasCertificate), NOTHING);
}

#[test]
fn ports_that_two_pods_want_are_told() {
    let same = changed(
        "        - hostPort: 5349\n          containerPort: 5349",
        "        - hostPort: 4443\n          containerPort: 5349",
    );
    let at = line(&same, "name: coturn");
    let found = told(&same, Code::PortsShared);
    assert_eq!(
        (found[0].0, found[0].2.as_str()),
        (Status::Fail, "coturn and dialog both want TCP port 4443 of their node")
    );
    assert!(found[0].1 > at);
    let apart = changed(
        "        - name: perms_key\n",
        "        - name: MEDIASOUP_MAX_PORT\n          value: \"49151\"\n        - name: perms_key\n",
    );
    assert_eq!(told(&apart, Code::PortsShared), NOTHING);
    assert!(told(SHIPPED, Code::PortsShared)[0].2.contains("49152-49999"));
}

#[test]
fn hosts_without_a_secret_are_told() {
    let (missing, entry) = (
        "  - hosts:\n    - cors.hubs.test\n    secretName: cert-cors.hubs.test\n",
        "no certificate is named for cors.hubs.test",
    );
    let text = changed(missing, "");
    let found = told(&text, Code::HostsHaveSecrets);
    assert_eq!((found[0].0, found[0].2.as_str()), (Status::Fail, entry));
    assert_eq!(found[0].1, line(&text, "host: cors.hubs.test"));
    // Where some of the secrets are in the file, the one that is not is missing.
    let some = format!("{SHIPPED}---\nkind: Secret\nmetadata: {{name: cert-hubs.test}}\n");
    let found = told(&some, Code::HostsHaveSecrets);
    assert!(found.iter().all(|it| it.0 == Status::Fail) && found.len() == 3, "{found:?}");
    assert_eq!(told(SHIPPED, Code::HostsHaveSecrets).len(), 4, "a warning for each, once");
}

const GOOD_KEY: &str = r"'-----BEGIN RSA PRIVATE KEY-----\\nbm90IGEga2V5\\n-----END RSA PRIVATE KEY-----\\n'";

#[test]
fn both_ways_in_which_the_key_is_written_wrong_are_told_and_mended_and_it_is_never_shown() {
    let base64 = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        GOOD_KEY.trim_matches('\'').replace(r"\\n", r"\n"),
    );
    let single = GOOD_KEY.replace(r"\\n", r"\n");
    let double_quoted = single.replace('\'', "\"").replace(r"\n", r"\\n");
    let real = single.replace('\'', "\"");
    for (key, said) in [
        (single.as_str(), r"has \n between its lines"),
        (double_quoted.as_str(), r"has \n between its lines"),
        (real.as_str(), "has line breaks in it"),
        ("'-----BEGIN RSA PRIVATE KEY-----x-----END RSA PRIVATE KEY-----'", "is a single line"),
        ("'$PERMS_KEY'", "is no private key"),
        ("''", "is no private key"),
    ] {
        let text = changed(GOOD_KEY, key);
        let linted = lint("hcce.yaml", &text);
        let found = told(&text, Code::PermsKeyWritten);
        assert!(found[0].0 == Status::Fail && found[0].2.contains(said), "{key}: {found:?}");
        assert_eq!(found[0].1, line(&text, "PERMS_KEY: "));
        assert!(!format!("{:?}", linted.findings).contains("bm90IGEga2V5"), "the key is shown");
        if said.contains("between") || said.contains("breaks") {
            assert_eq!(
                told(&linted.fixed().text, Code::PermsKeyWritten),
                NOTHING,
                "{key}: {}",
                linted.fixed().text
            );
        }
    }
    let encoded = changed("stringData:", "data:\n  PERMS_KEY: BASE64\n  HUB_DOMAIN: aHVicy50ZXN0\nignored:")
        .replace("BASE64", &base64);
    assert!(told(&encoded, Code::PermsKeyWritten)[0].2.contains(r"has \n"));
    assert_eq!(told(&lint("x", &encoded).fixed().text, Code::PermsKeyWritten), NOTHING);
}

#[test]
fn placeholders_and_empty_settings_are_told_where_they_stand() {
    let text = changed("HUB_DOMAIN: hubs.test", "HUB_DOMAIN: $HUB_DOMAIN");
    assert_eq!(
        told(&text, Code::ValuesPutIn)[0],
        (Status::Fail, line(&text, "$HUB_DOMAIN"), "$HUB_DOMAIN was left in the place of a value".to_owned())
    );
    let empty = changed("PGRST_JWT_SECRET: '{\"kty\":\"RSA\"}'", "PGRST_JWT_SECRET: ''");
    assert_eq!(told(&empty, Code::ValuesPutIn)[0].2, "PGRST_JWT_SECRET is empty");
    // The template of Reticulum's settings has variables of its own.
    assert_eq!(told(SHIPPED, Code::ValuesPutIn), NOTHING);
}

#[test]
fn a_claim_that_is_not_declared_is_told_and_the_one_that_is_meant_is_named() {
    let volume = "        persistentVolumeClaim:\n          claimName: ret-pcv\n";
    let text = changed(
        "        hostPath:\n          path: /tmp/ret_storage_data\n          type: DirectoryOrCreate\n",
        volume,
    );
    let declared = format!("{text}---\nkind: PersistentVolumeClaim\nmetadata:\n  name: ret-pvc\n");
    assert_eq!(told(&text, Code::ClaimsDeclared)[0].0, Status::Fail);
    assert_eq!(told(&text, Code::ClaimsDeclared)[0].1, line(&text, "ret-pcv"));
    let fixed = lint("x", &declared).fixed().text;
    assert!(fixed.contains("claimName: ret-pvc\n"));
    assert_eq!((told(&fixed, Code::ClaimsDeclared), told(&fixed, Code::StorageKept)), (vec![], vec![]));
    assert_eq!(told(SHIPPED, Code::StorageKept)[0].1, line(SHIPPED, "hostPath:"));
}

#[test]
fn ports_that_the_load_balancer_lacks_are_told_and_added() {
    let text = changed("  - name: turn\n    port: 5349\n    protocol: TCP\n    targetPort: 5349\n", "");
    let found = told(&text, Code::EntranceComplete);
    assert!(found[0].0 == Status::Fail && found[0].2.contains("TCP 5349"), "{found:?}");
    let fixed = lint("x", &text).fixed().text;
    assert_eq!(told(&fixed, Code::EntranceComplete), NOTHING, "{fixed}");
    let udp = changed(
        "    port: 5349\n    protocol: TCP\n    targetPort: 5349\n",
        "    port: 5349\n    protocol: TCP\n    targetPort: 5349\n  - port: 40000\n    protocol: UDP\n",
    );
    assert_eq!(told(&udp, Code::EntranceComplete)[0].0, Status::Warn);
    let nowhere = changed("hcce/coturn:5349", "hcce/turn:5349");
    assert!(told(&nowhere, Code::EntranceComplete)[0].2.contains("leads to the Service turn"));
    let unnamed = changed("  \"5349\": hcce/coturn:5349", "  \"5350\": hcce/coturn:5349");
    assert!(told(&unnamed, Code::EntranceComplete)[0].2.contains("does not say what is behind port 5349"));
}

#[test]
fn the_media_gateways_port_is_not_taken_for_the_entrance() {
    // A cluster lists it before Hubs' own: its name comes first.
    let text = format!("{}\n---\n{}", include_str!("../../../deploy/gateway/media.yaml"), changed("", ""));
    assert_eq!(told(&text, Code::EntranceComplete), NOTHING);
}

#[test]
fn a_host_of_another_domain_and_a_missing_one_are_told() {
    let other = changed("  - host: assets.hubs.test", "  - host: assets.hubs.example");
    assert_eq!(told(&other, Code::OneDomain)[0].2, "assets.hubs.example is none of the names of hubs.test");
    assert_eq!(told(&other, Code::OneDomain)[0].1, line(&other, "assets.hubs.example"));
    let missing = changed("  - host: cors.hubs.test\n    http: *ret\n", "");
    assert!(told(&missing, Code::OneDomain)[0].2.contains("cors.hubs.test"));
}

#[test]
fn the_copy_has_everything_mended_that_needs_no_decision_and_nothing_else_changed() {
    let linted = lint("hcce.yaml", SHIPPED);
    let Fixed { text: fixed, changed, left } = linted.fixed();
    assert_eq!((changed.len(), left), (2, vec![]));
    let differences: Vec<_> = fixed.lines().filter(|it| !SHIPPED.lines().any(|own| own == *it)).collect();
    assert_eq!(
        differences,
        ["      dnsPolicy: ClusterFirstWithHostNet", "        # - --default-ssl-certificate=hcce/cert-hcce"]
    );
    assert_eq!(
        (told(&fixed, Code::TurnResolvesNames), told(&fixed, Code::NoDefaultCertificate)),
        (vec![], vec![])
    );
    let again = lint("hcce.yaml", &fixed);
    assert_eq!((again.fixed().text, again.fixed().changed), (fixed, vec![]), "a second time changes nothing");
}

#[test]
fn the_default_certificate_is_found_in_two_items_as_well_and_both_go() {
    let two = ["        - --default-ssl-certificate\n", "        - hcce/cert-hcce\n"].concat();
    let text = changed("        - --default-ssl-certificate=hcce/cert-hcce\n", &two);
    let found = told(&text, Code::NoDefaultCertificate);
    assert_eq!((found.len(), found[0].1), (1, line(&text, "--default-ssl-certificate")));
    let fixed = lint("hcce.yaml", &text).fixed().text;
    assert!(fixed.contains("        # - --default-ssl-certificate\n        # - hcce/cert-hcce\n"), "{fixed}");
    assert_eq!(told(&fixed, Code::NoDefaultCertificate), NOTHING);
    let other = changed("=hcce/cert-hcce", "\n        - hcce/cert-hubs.test");
    assert_eq!(told(&other, Code::NoDefaultCertificate), NOTHING);
}

#[test]
fn an_argument_that_does_not_have_its_line_for_itself_is_left_and_that_is_said() {
    let argument = "        - --default-ssl-certificate=hcce/cert-hcce\n";
    let list = |items: &str| {
        let from = SHIPPED.find("        args:\n").unwrap();
        let until = SHIPPED.find(argument).unwrap() + argument.len();
        format!("{}        args:{items}\n{}", &SHIPPED[..from], &SHIPPED[until..])
    };
    let option = "--default-ssl-certificate=hcce/cert-hcce";
    for text in [
        // Within a text over several lines a number sign begins no comment.
        changed(argument, &format!("        - >-\n          {option}\n")),
        list(&format!(" [{option}, --x]")),
        list(&format!(" [--x,\n          {option}]")),
        list(&format!(" [ {option},\n          --x ]")),
        list(&format!("\n        - {option}")),
    ] {
        let linted = lint("hcce.yaml", &text);
        assert_eq!(told(&text, Code::NoDefaultCertificate).len(), 1, "{text}");
        let fixed = linted.fixed();
        let left: Vec<_> = fixed.left.iter().map(|(it, _)| it.code).collect();
        assert_eq!(left, [Code::NoDefaultCertificate], "{text}");
        assert!(!fixed.text.contains("# -"), "{}", fixed.text);
    }
}

#[test]
fn what_stands_behind_the_key_stays_there() {
    let single = GOOD_KEY.replace(r"\\n", r"\n") + " # from the vault";
    let fixed = lint("hcce.yaml", &changed(GOOD_KEY, &single)).fixed().text;
    assert!(fixed.contains(&format!("{GOOD_KEY} # from the vault\n")), "{fixed}");
    let plain = GOOD_KEY.replace(r"\\n", r"\n").replace('\'', "") + "  # from the vault";
    let fixed = lint("hcce.yaml", &changed(GOOD_KEY, &plain)).fixed().text;
    assert!(fixed.contains("  # from the vault\n"), "{fixed}");
    assert_eq!(told(&fixed, Code::PermsKeyWritten), NOTHING);
}

#[test]
fn a_file_in_which_nothing_is_of_hubs_is_not_called_good() {
    let found = findings("apiVersion: v1\nkind: Foo\nmetadata:\n  name: bar\n");
    assert_eq!((found[0].code, found[0].status), (Code::ManifestRead, Status::Error));
    assert_eq!(found[0].summary, "1 object is declared, and nothing of Hubs among them");
}

#[test]
fn what_kubectl_prints_is_a_list_and_is_read_as_well() {
    let (documents, _) = yaml::read(SHIPPED);
    assert!(documents.len() > 10);
    let items = SHIPPED
        .split("---\n")
        .map(|document| {
            let lines: Vec<_> = document.lines().filter(|it| !it.starts_with('#')).collect();
            let (first, rest) = lines.split_first().unwrap();
            let rest: Vec<_> = rest.iter().map(|line| format!("  {line}\n")).collect();
            format!("- {first}\n{}", rest.concat())
        })
        .collect::<Vec<_>>()
        .concat();
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    let summaries = |text: &str| {
        findings(text).into_iter().map(|it| (it.code, it.status, it.summary)).collect::<Vec<_>>()
    };
    assert_eq!(summaries(&list), summaries(SHIPPED));
}

#[test]
fn a_file_that_breaks_is_shown_where_it_breaks() {
    let text = changed("        args:\n", "        args: [\n");
    let found = findings(&text);
    assert_eq!((found[0].code, found[0].status), (Code::ManifestRead, Status::Fail));
    let at = found[0].location.as_ref().and_then(|it| it.line).unwrap();
    let args = line(&text, "args: [");
    assert!((args..args + 4).contains(&at), "{at} {args}");
    assert!(found.iter().any(|it| it.code == Code::TurnFindsSecrets), "what stands before it is examined");
    assert_eq!(findings("just words")[0].status, Status::Error);
    assert_eq!(findings(" \n")[0].summary, "the file is empty");
    let secret = findings("a: 1\nDB_PASS: [hunter2\nb: 2\n");
    assert!(!format!("{secret:?}").contains("hunter2"), "{secret:?}");
}

#[test]
fn nothing_that_is_shown_is_a_value_of_a_secret() {
    let shown = format!("{:?}", findings(SHIPPED));
    for secret in ["123456", "guardian", "phoenix", "'cookie'", "bm9uZQ"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn any_cut_of_the_file_is_read_without_failing() {
    for end in (0..SHIPPED.len()).step_by(37) {
        let linted = lint("x", &SHIPPED[..end]);
        linted.fixed();
    }
}

/// A manifest with an Ingress for these hosts, whose secret has this certificate and this key, in base64.
fn with_secret(hosts: &str, certificate: &str, key: &str) -> String {
    let encoded = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    format!(
        "kind: Ingress\nmetadata:\n  name: ret\nspec:\n  tls:\n  - hosts: [{hosts}]\n    secretName: cert\n---\n\
         kind: Secret\nmetadata:\n  name: cert\ntype: kubernetes.io/tls\ndata:\n  tls.crt: {}\n  tls.key: {}\n",
        encoded(certificate),
        encoded(key)
    )
}

#[test]
fn a_secret_with_certificate_and_key_is_looked_into_and_its_key_is_never_shown() {
    let authority = crate::testing::Authority::new();
    let issue = |names: &[&str], days| authority.issue(names, days);
    let good = issue(&["hubs.test", "*.hubs.test"], -1..60);
    let pem = good.chain_pem();
    let text = with_secret("hubs.test, stream.hubs.test", &pem, &good.key_pem());
    for code in [Code::SecretsPaired, Code::SecretsCurrent, Code::SecretsNamed] {
        assert_eq!(told(&text, code), NOTHING);
        assert!(findings(&text).iter().any(|it| it.code == code && it.status == Status::Pass), "{code}");
    }
    let place = line(&text, "tls.crt");
    let fails = |text: &str, code, says: &str| {
        let found = told(text, code);
        assert_eq!((found.len(), found[0].0, found[0].1), (1, Status::Fail, place), "{found:?}");
        assert!(found[0].2.contains(says), "{found:?}");
    };
    let other = issue(&["hubs.test"], -1..60).key_pem();
    fails(&with_secret("hubs.test", &pem, &other), Code::SecretsPaired, "does not belong");
    fails(&with_secret("hubs.test", &pem, "none"), Code::SecretsPaired, "missing, or cannot be read");
    fails(
        &with_secret("hubs.test", "none", &other),
        Code::SecretsPaired,
        "the certificate in cert cannot be read",
    );
    let old = issue(&["hubs.test"], -90..-3);
    fails(&with_secret("hubs.test", &old.chain_pem(), &old.key_pem()), Code::SecretsCurrent, "ran out on");
    let early = issue(&["hubs.test"], 3..90);
    fails(
        &with_secret("hubs.test", &early.chain_pem(), &early.key_pem()),
        Code::SecretsCurrent,
        "not valid before",
    );
    let elsewhere = with_secret("hubs.test, a.b.hubs.test, hubs.example", &pem, &good.key_pem());
    fails(&elsewhere, Code::SecretsNamed, "does not name a.b.hubs.test, hubs.example");
    let shown = format!("{:?}", findings(&with_secret("hubs.test", &pem, &other)));
    assert!(!shown.contains(other.lines().nth(1).unwrap()) && !shown.contains("PRIVATE"));
}

#[test]
fn of_a_line_that_breaks_only_what_names_things_is_shown() {
    for (text, secrets) in [
        ("kind: Secret\ndata:\n  .dockerconfigjson: eyJhdXRocyI6eyJy\n bad: [1\n", vec!["eyJhdXRocyI6eyJy"]),
        ("env:\n  - name: POSTGRES_PASSWORD\n    value: hunter2secret\n   - name: X\n", vec!["hunter2"]),
        ("kind: Secret\nstringData:\n  token: eyJhbGciOi.sekret\n bad: x\n", vec!["eyJhbGciOi"]),
        (
            "d:\n  tls.key: |\n    MIIEvQIBADANBgkqhkiG9w0BAQ\n   Qk3xSecretTail==\n    -----END\n",
            vec!["MIIEv", "Qk3x"],
        ),
        ("d:\n  SMTP_USER: apikey-SG.abc\n  PSQL: \"postgres://u:p@h\n  X: 1\n", vec!["apikey-SG", "u:p@h"]),
        ("env:\n- {name: hunter2, value: hunter3}\n name: a # hunter4\n", vec!["hunter"]),
        ("env:\n  name: POSTGRES, value: hunter2}\n name: [hunter3\n", vec!["hunter"]),
        ("# password: hunter2\n hunter3 hunter4: [\n", vec!["hunter"]),
    ] {
        let found = findings(text);
        assert_eq!((found[0].code, found[0].status), (Code::ManifestRead, Status::Fail), "{text}");
        let shown = format!("{found:?}");
        assert!(secrets.iter().all(|it| !shown.contains(it)), "{text}: {found:?}");
    }
    let found = findings("kind: Foo\nenv:\n  - name: POSTGRES_PASSWORD\n    value: hunter2\n   - name: X\n");
    let shown: Vec<_> = found[0].evidence.iter().map(|it| it.value.as_str()).collect();
    assert!(shown.contains(&"   - name: X") && shown.contains(&"    value: ••••"), "{shown:?}");
    assert_eq!(found[0].location.as_ref().and_then(|it| it.line), Some(5));
}

/// What `--fix` makes of it, and the codes of what it leaves.
fn mended(text: &str) -> (String, Vec<Code>) {
    let linted = lint("hcce.yaml", text);
    let fixed = linted.fixed();
    let left = fixed.left.iter().map(|(it, _)| it.code).collect();
    (fixed.text, left)
}

#[test]
fn a_copy_that_could_not_be_read_or_would_be_of_something_else_is_not_made() {
    // What breaks off, breaks off in the copy.
    let text = changed(
        "        - --default-ssl-certificate=hcce/cert-hcce\n",
        "        - --default-ssl-certificate=hcce/cert-hcce\n  - [\n",
    );
    let broken = format!("{SHIPPED}---\na: [\n");
    for text in [text, broken] {
        let linted = lint("hcce.yaml", &text);
        let fixed = linted.fixed();
        assert_eq!((&fixed.text, fixed.changed.len()), (&text, 0));
        assert!(
            !fixed.left.is_empty() && fixed.left.iter().all(|(_, why)| why.contains("copy")),
            "{:?}",
            fixed.left
        );
    }
}

#[test]
fn a_value_with_an_anchor_a_tag_or_an_alias_in_its_place_stays() {
    let with = |policy: &str| {
        let to = format!(
            "      hostNetwork: true\n      dnsPolicy: {policy}\n      containers:\n      - name: coturn"
        );
        changed("      hostNetwork: true\n      containers:\n      - name: coturn", &to)
    };
    for policy in ["&dp ClusterFirst", "!!str ClusterFirst", "!!str 'ClusterFirst'"] {
        let (fixed, left) = mended(&with(policy));
        assert!(fixed.contains(&format!("dnsPolicy: {policy}\n")), "{fixed}");
        assert_eq!(left, [Code::TurnResolvesNames], "{policy}");
    }
    let alias =
        with("*dp").replacen("  name: coturn\n  namespace: hcce", "  name: coturn\n  namespace: &dp hcce", 1);
    let (fixed, left) = mended(&alias);
    assert!(fixed.contains("namespace: &dp hcce\n") && fixed.contains("dnsPolicy: *dp\n"), "{fixed}");
    assert_eq!(left, [Code::TurnResolvesNames]);
}

/// With these in the place of the entrance's ports.
fn with_ports(ports: &str) -> String {
    let (before, _) = SHIPPED.split_once("  ports:\n  - name: http\n    port: 80").unwrap();
    format!("{before}  ports:{ports}")
}

#[test]
fn ports_are_added_where_the_list_has_its_dashes() {
    for (ports, added) in [
        (
            "\n  -   name: http\n      port: 80\n  -   name: https\n      port: 443\n  -   name: dialog\n      port: 4443\n",
            "  - name: turn\n",
        ),
        (
            "\n  -\n    name: http\n    port: 80\n  -\n    name: https\n    port: 443\n  - # rooms\n\n    name: dialog\n    port: 4443\n",
            "  - name: turn\n",
        ),
        (
            "\n  - name: http\n    port: 80\n  - name: https\n    port: 443\n  - &b\n    name: dialog\n    port: 4443\n",
            "  - name: turn\n",
        ),
        (
            "\n      -       name: http\n              port: 80\n      -       name: https\n              port: 443\n      - name: dialog\n        port: 4443",
            "      - name: turn\n",
        ),
    ] {
        let text = with_ports(ports);
        let (fixed, left) = mended(&text);
        assert_eq!((told(&fixed, Code::EntranceComplete), left), (vec![], vec![]), "{fixed}");
        assert!(fixed.contains(&format!("\n{added}")), "{fixed}");
        assert_eq!(yaml::read(&fixed).1, None);
    }
}

#[test]
fn ports_are_not_added_where_that_would_not_be_taken() {
    let http = "\n  - name: http\n    port: 80\n  - name: https\n    port: 443\n";
    for ports in [
        "\n  - name: http\n    port: 80\n  - {name: https, port: 443}\n".to_owned(),
        "\n  - name: http\n    port: 80\n  - &b {name: https, port: 443}\n".to_owned(),
        "\n  - name: http\n    port: 80\n  - {name: https,\n     port: 443\n     }\n".to_owned(),
        format!("{http}  - port: 9000\n    name: |-\n      other\n"),
        // A port with this name, and one without any.
        format!("{http}  - name: dialog\n    port: 4444\n  - name: turn\n    port: 5350\n"),
        "\n  - port: 443\n    targetPort: 4443\n".to_owned(),
        format!("{http}  - *other\n").replacen("name: https", "name: https", 1).replacen(
            "\n  - name: http\n",
            "\n  - &other\n    name: http\n",
            1,
        ),
    ] {
        let text = with_ports(&ports);
        let missing = told(&text, Code::EntranceComplete).len();
        let (fixed, left) = mended(&text);
        let left = left.iter().filter(|it| **it == Code::EntranceComplete).count();
        assert!(missing > 0 && left == missing, "{ports}: {left} of {missing}");
        assert!(fixed.contains(&ports), "{fixed}");
    }
}

#[test]
fn one_claim_is_not_meant_for_two_that_are_missing() {
    let text = changed(
        "        hostPath:\n          path: /tmp/ret_storage_data\n          type: DirectoryOrCreate\n",
        "        persistentVolumeClaim:\n          claimName: ret-data\n      - name: other\n        persistentVolumeClaim:\n          claimName: sql-data\n",
    );
    let claim = |name: &str| format!("---\nkind: PersistentVolumeClaim\nmetadata:\n  name: {name}\n");
    let (fixed, left) = mended(&format!("{text}{}", claim("rql-data")));
    assert!(fixed.contains("claimName: ret-data\n") && fixed.contains("claimName: sql-data\n"), "{fixed}");
    assert_eq!((told(&fixed, Code::ClaimsDeclared).len(), left), (2, vec![]), "somebody has to decide");
    // Two that are as near say no more.
    let (fixed, _) =
        mended(&format!("{text}{}{}{}", claim("sql-data"), claim("rat-data"), claim("rot-data")));
    assert!(fixed.contains("claimName: ret-data\n"), "{fixed}");
}

#[test]
fn another_load_balancer_is_not_taken_for_the_entrance() {
    let other = "---\nkind: Service\nmetadata:\n  name: grafana\nspec:\n  type: LoadBalancer\n  ports:\n  - name: web\n    port: 3000\n  selector:\n    app: grafana\n";
    let text = changed(SHIPPED, &format!("{other}---\n{SHIPPED}"));
    assert_eq!(told(&text, Code::EntranceComplete), NOTHING);
    let renamed = text.replace("  name: lb\n", "  name: entrance\n");
    assert_eq!(told(&renamed, Code::EntranceComplete), NOTHING);
    assert!(findings(&renamed).iter().any(|it| it.target.as_deref() == Some("Service/entrance")));
    let alone = findings(other);
    assert!(alone.iter().all(|it| it.code != Code::EntranceComplete), "{alone:?}");
}

#[test]
fn what_a_deployment_makes_does_not_want_its_ports_once_more() {
    let made = |owner: &str| {
        format!(
            "{SHIPPED}---\nkind: ReplicaSet\nmetadata:\n  name: dialog-6b8f\n{owner}spec:\n  template:\n    spec:\n      hostNetwork: true\n      containers:\n      - name: x\n        ports:\n        - hostPort: 4443\n"
        )
    };
    let fails = |text: &str| told(text, Code::PortsShared).iter().filter(|it| it.0 == Status::Fail).count();
    assert_eq!(fails(&made("  ownerReferences:\n  - kind: Deployment\n    name: dialog\n")), 0);
    assert_eq!(fails(&made("")), 1);
    assert_eq!(
        fails(&made("  ownerReferences:\n  - kind: Hubs\n    name: dialog\n")),
        1,
        "that makes no pods"
    );
}

#[test]
fn only_selectors_that_no_node_meets_together_keep_pods_apart() {
    let with = |text: &str, name: &str, selector: &str| {
        let from = format!("      hostNetwork: true\n      containers:\n      - name: {name}");
        assert!(text.contains(&from));
        text.replacen(&from, &format!("      nodeSelector: {selector}\n{from}"), 1)
    };
    let same_port = changed(
        "        - hostPort: 5349\n          containerPort: 5349",
        "        - hostPort: 4443\n          containerPort: 5349",
    );
    for (dialog, coturn, are_apart) in [
        ("{pool: media}", "{pool: turn}", true),
        ("{pool: media, zone: a}", "{zone: a, pool: turn}", true),
        ("{pool: media}", "{pool: media}", false),
        ("{pool: media}", "{zone: a}", false),
        ("{kubernetes.io/os: linux}", "{}", false),
    ] {
        let text = with(&with(&same_port, "dialog", dialog), "coturn", coturn);
        let found = told(&text, Code::PortsShared);
        let expected = if are_apart { vec![] } else { vec![Status::Fail, Status::Warn] };
        assert_eq!(found.iter().map(|it| it.0).collect::<Vec<_>>(), expected, "{dialog} {coturn}: {found:?}");
    }
}

#[test]
fn a_mount_is_above_a_path_by_whole_names() {
    let with = |path: &str| {
        let from = "              key: PSQL\n";
        assert_eq!(SHIPPED.matches(from).count(), 1);
        changed(
            from,
            &format!("{from}        volumeMounts:\n        - name: c\n          mountPath: {path}\n"),
        )
    };
    for (path, counts) in
        [("/certs", true), ("/certs/", true), ("/", true), ("/c", false), ("/cert", false), ("''", false)]
    {
        assert_eq!(told(&with(path), Code::TurnHasCertificate).is_empty(), counts, "{path}");
    }
}

#[test]
fn fields_that_are_merged_count_and_are_not_edited_where_they_stand() {
    let from = "      hostNetwork: true\n      containers:\n      - name: coturn";
    let rest = "      containers:\n      - name: coturn";
    let own = told(SHIPPED, Code::TurnResolvesNames).len();
    assert_eq!(own, 1);
    for merged in [
        "      <<: {hostNetwork: true}\n",
        "      <<: [{x: y}, {hostNetwork: true}]\n",
        "      <<: &hn\n        hostNetwork: true\n",
    ] {
        let text = changed(from, &format!("{merged}{rest}"));
        assert_eq!(told(&text, Code::TurnResolvesNames).len(), 1, "{merged}");
        let (fixed, left) = mended(&text);
        assert!(fixed.contains(&format!("{merged}{rest}")), "{fixed}");
        assert_eq!(left, [Code::TurnResolvesNames], "{merged}");
    }
    let overridden =
        changed(from, &format!("      <<: {{hostNetwork: true}}\n      hostNetwork: false\n{rest}"));
    assert_eq!(told(&overridden, Code::TurnResolvesNames), NOTHING);
}

#[test]
fn placeholders_in_base64_are_found_as_well_and_no_more_than_their_names_is_shown() {
    let encoded = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let secret = |key: &str, value: &str| {
        format!("{SHIPPED}---\nkind: Secret\nmetadata:\n  name: other\n{key}:\n  a: '{value}'\n")
    };
    for (value, said) in [
        ("$SMTP_SERVER", "$SMTP_SERVER was left in the place of a value"),
        ("changeMe", "\"changeMe\" was left in the place of a value"),
        ("changeMe\n", "\"changeMe\" was left in the place of a value"),
        ("admin@example.com", "\"example.com\" was left in the place of a value"),
        ("x://hunter2:hunter2@example.com", "\"example.com\" was left in the place of a value"),
        ("$hunter2", "what looks like a placeholder was left in the place of a value"),
        ("hunter2-$DB_PASS", "$DB_PASS was left in the place of a value"),
    ] {
        let text = secret("data", &encoded(value));
        let found = told(&text, Code::ValuesPutIn);
        assert_eq!(found, [(Status::Fail, line(&text, &encoded(value)), said.to_owned())], "{value}");
        assert!(!format!("{:?}", findings(&text)).contains("hunter2"), "{value}");
        if !value.contains('\n') {
            assert_eq!(told(&secret("stringData", value), Code::ValuesPutIn)[0].2, said);
        }
    }
    for value in ["hunter2", "$(x)", "none"] {
        assert_eq!(told(&secret("data", &encoded(value)), Code::ValuesPutIn), NOTHING, "{value}");
    }
}

#[test]
fn commands_for_a_cluster_name_its_context_and_its_namespace() {
    let objects = || {
        let claim = serde_json::json!({ "metadata": { "name": "ret" }, "spec": { "template": { "spec": {
            "volumes": [{ "persistentVolumeClaim": { "claimName": "ret" } }] } } } });
        [("Deployment", claim)]
    };
    let untold = || Untold { kind: "Secret", name: None, resource: "secrets".to_owned() };
    let commands = |live: &Live| -> Vec<String> {
        lint_live(live).into_iter().filter_map(|it| it.remedy).flat_map(|it| it.commands).collect()
    };
    let live = Live::new("cluster".to_owned(), "hcce-rooms", objects()).without(vec![untold()]);
    let plain = commands(&live);
    assert!(plain.contains(&"kubectl get pvc -n hcce-rooms".to_owned()), "{plain:?}");
    let told = commands(&live.in_context(Some("my hubs".to_owned())));
    let expected: Vec<_> =
        plain.iter().map(|it| it.replacen("kubectl ", "kubectl --context 'my hubs' ", 1)).collect();
    assert!(told.len() >= 3 && told.iter().all(|it| it.contains("--context 'my hubs' ")), "{told:?}");
    assert_eq!(told, expected);
    let nothing = Live::new("cluster".to_owned(), "hcce", []).in_context(Some("x".to_owned()));
    assert_eq!(commands(&nothing)[0], "kubectl --context x get deployments -A");
}
