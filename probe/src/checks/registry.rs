//! What has to hold of the table of checks and of the registry of codes, so that help, reports and documentation can follow
//! from them. Two codes of one number, and a code without a page, do not compile.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::*;

/// Everything that is wrong with a table.
fn faults(checks: &[Check]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut owners: BTreeMap<Code, &str> = BTreeMap::new();
    for (row, check) in checks.iter().enumerate() {
        if checks[..row].iter().any(|c| c.id == check.id) {
            faults.push(format!("{} stands twice", check.id));
        }
        for id in check.after {
            if !checks.iter().any(|c| c.id == *id) {
                faults.push(format!("{} comes after {id}, which is no check", check.id));
            } else if !checks[..row].iter().any(|c| c.id == *id) {
                faults.push(format!("{} comes after {id}, which no earlier row is", check.id));
            }
        }
        if comes_after_itself(check, checks) {
            faults.push(format!("{} waits for itself", check.id));
        }
        for code in check.codes() {
            if let Some(other) = owners.insert(code, check.id) {
                faults.push(format!("{code} is reported by {other} and by {}", check.id));
            }
        }
    }
    faults
}

fn comes_after_itself(check: &Check, checks: &[Check]) -> bool {
    let (mut before, mut due) = (BTreeSet::new(), check.after.to_vec());
    while let Some(id) = due.pop() {
        if before.insert(id) {
            due.extend(checks.iter().filter(|c| c.id == id).flat_map(|c| c.after));
        }
    }
    before.contains(check.id)
}

#[test]
fn the_table_has_no_faults() {
    assert_eq!(faults(CHECKS), [""; 0]);
}

#[test]
fn each_fault_of_a_table_is_found() {
    let row = |id, after| Check { id, after, ..CHECKS[0] };
    let other = |code| Check { code, also: &[], ..row("b.b", &[]) };
    let found = |checks: &[Check]| faults(checks).join("; ");
    assert!(found(&[CHECKS[0], row(CHECKS[0].id, &[])]).contains("stands twice"));
    assert!(found(&[row("a.a", &["gone"])]).contains("comes after gone, which is no check"));
    assert!(found(&[row("a.a", &["b.b"]), row("b.b", &["a.a"])]).contains("a.a waits for itself"));
    assert!(found(&[row("a.a", &["b.b"]), row("b.b", &[])]).contains("which no earlier row is"));
    assert!(found(&[CHECKS[0], other(CHECKS[0].code)]).contains("is reported by"));
    assert_eq!(found(&[row("a.a", &[])]), "");
}

#[test]
fn each_code_is_reported_by_a_check() {
    let reported: BTreeSet<_> = CHECKS.iter().flat_map(Check::codes).collect();
    let orphans: Vec<_> = Code::ALL.iter().filter(|code| !reported.contains(code)).collect();
    assert!(orphans.is_empty(), "add to the row of the check that reports it: {orphans:?}");
}

/// Tests of checks, of the demo and of whole programs name the codes that they make appear. Tests of what is done with findings
/// do not count: those make findings up.
#[test]
fn each_code_is_made_to_appear_by_a_test() {
    let probe = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of_checks =
        files(&probe.join("src/checks"), "rs").into_iter().filter(|p| !p.ends_with("registry.rs"));
    let of_checks = of_checks.filter_map(|path| {
        let text = read(&path);
        if path.iter().any(|part| ["tests", "tests.rs", "hostile.rs"].iter().any(|name| part == *name)) {
            return Some(text);
        }
        // What stands above is the check itself, and the table.
        text.split_once("#[cfg(test)]\nmod tests {").map(|(_, tests)| tests.to_owned())
    });
    let of_files = ["src/nsg/tests.rs", "src/lint/tests.rs"].map(|path| read(&probe.join(path)));
    let of_demo = read(&probe.join("src/demo/tests.rs"));
    let of_programs =
        ["rs", "toml"].into_iter().flat_map(|extension| files(&probe.join("../tests"), extension));
    let of_programs = of_programs.map(|path| read(&path));
    let tests: String = of_checks.chain(of_files).chain([of_demo]).chain(of_programs).collect();
    let is_named = |code: &&Code| {
        tests.contains(&code.to_string()) || tests.split("Code::").any(|rest| starts_with_name(rest, **code))
    };
    let unreached: Vec<_> = Code::ALL.iter().filter(|code| !is_named(code)).collect();
    assert!(unreached.is_empty(), "no test makes these appear: {unreached:?}");
}

fn starts_with_name(text: &str, code: Code) -> bool {
    let name = format!("{code:?}");
    text.strip_prefix(&name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "node_modules" && name != "target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
