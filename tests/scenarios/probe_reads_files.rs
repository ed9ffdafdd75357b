//! What `hubs-probe` says of files: read from standard input as from the disk, and with the place of each finding in it.

use std::fs::{self, File};
use std::process::{Command, Output, Stdio};

use hubs_tests::need;
use serde_json::Value;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/nsg/aks.json");

fn probe(arguments: &[&str], input: &str) -> Output {
    let input = File::open(input).unwrap();
    Command::new(crate::PROBE).args(arguments).stdin(Stdio::from(input)).output().unwrap()
}

/// The codes of a JSON report, with what became of each.
fn outcomes(output: &Output) -> Vec<(String, String)> {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| (text(finding, "code"), text(finding, "status"))).collect()
}

#[test]
fn rules_and_manifests_from_standard_input_are_what_they_are_in_a_file() {
    let manifest = manifest();
    for (subcommand, file) in [("nsg", RULES), ("lint", &manifest)] {
        let named = probe(&[subcommand, file, "--output", "json"], "/dev/null");
        let piped = probe(&[subcommand, "-", "--output", "json"], file);
        assert_eq!(named.status.code(), piped.status.code(), "{subcommand}");
        let found = outcomes(&piped);
        assert!(found.len() > 5, "{subcommand}: {found:?}");
        assert_eq!(outcomes(&named), found, "{subcommand}");
    }
}

#[test]
fn sarif_leads_to_the_line_and_column_of_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    // A URI holds no blank.
    let file = folder.path().join("my hcce.yaml");
    let text = fs::read_to_string(manifest()).unwrap();
    fs::write(&file, &text).unwrap();
    let output = probe(&["lint", file.to_str().unwrap(), "--output", "sarif"], "/dev/null");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = report["runs"][0]["results"].as_array().unwrap();
    let of_image = results.iter().find(|it| it["ruleId"] == "HP0801").unwrap();
    let place = &of_image["locations"][0]["physicalLocation"];
    let uri = place["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.ends_with("my%20hcce.yaml"), "{uri}");
    let line = text.lines().position(|line| line.contains("mozillareality/coturn")).unwrap();
    let column = text.lines().nth(line).unwrap().find("mozillareality/coturn").unwrap();
    assert_eq!(place["region"]["startLine"], line + 1);
    assert_eq!(place["region"]["startColumn"], column + 1);
}

#[test]
fn what_is_wrong_with_rules_has_its_line_and_column_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nsg.json");
    let rule = "    {\n      \"name\": \"hubs-media\", \"priority\": 200, \"direction\": \"Inbound\", \"access\": \"Allow\",\n      \"protocol\": \"Tcp\", \"sourceAddressPrefix\": \"Internet\", \"sourcePortRange\": \"*\",\n      \"destinationAddressPrefix\": \"*\", \"destinationPortRange\": \"40000-49999\"\n    }";
    let text = format!("[{{\n  \"name\": \"aks\",\n  \"securityRules\": [\n{rule}\n  ]\n}}]\n");
    fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    let output = probe(&["nsg", file, "--flow", "udp/40000-49999", "--output", "sarif"], "/dev/null");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = report["runs"][0]["results"].as_array().unwrap();
    // It is for the wrong protocol, and that is where to put it right.
    let denied = results.iter().find(|it| it["ruleId"] == "HP0707").unwrap_or_else(|| panic!("{results:#?}"));
    let place = &denied["locations"][0]["physicalLocation"];
    assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with("nsg.json"), "{place}");
    assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&4.into(), &5.into()));
    let told = probe(&["nsg", file, "--flow", "udp/40000-49999"], "/dev/null").stdout;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("nsg.json:4:5"), "{told}");
}

/// As Hubs' generator makes it.
fn manifest() -> String {
    need::tests_folder().join("../probe/src/lint/hcce.yaml").display().to_string()
}
