//! Whoever interrupts `hubs-probe check` gets what was found so far, whole and in the form that was asked for.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hubs_tests::process::{Finished, Process};
use nix::sys::signal::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn in_every_form_on_standard_output() {
    for (form, beginning, end) in [
        ("human", "You", ""),
        ("json", "{", "}"),
        ("jsonl", "{\"event\":\"run_started\"", "}"),
        ("junit", "<?xml", "</testsuites>"),
        ("sarif", "{", "}"),
        ("markdown", "## hubs-probe", "."),
        ("html", "<!DOCTYPE html>", "</html>"),
        ("prometheus", "# HELP", "# EOF"),
    ] {
        let finished = interrupted(Signal::SIGINT, &["--output", form]);
        assert_eq!(finished.status.code(), Some(130), "{form}: {}", finished.stderr);
        let text = finished.stdout.trim_end();
        assert!(text.starts_with(beginning) && text.ends_with(end), "{form}:\n{text}");
        if ["json", "sarif"].contains(&form) {
            serde_json::from_str::<Value>(text).unwrap();
        }
    }
}

#[test]
fn as_lines_of_which_each_is_whole_and_the_last_one_is_the_report() {
    let finished = interrupted(Signal::SIGTERM, &["--output", "jsonl"]);
    assert_eq!(finished.status.code(), Some(143));
    let lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["event"], &last["report"]["run"]["end"]),
        (&"run_finished".into(), &"terminated".into())
    );
}

#[test]
fn in_a_file_and_to_the_person_at_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let finished = interrupted(Signal::SIGINT, &["--report", text(&file)]);
    let report: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(report["run"]["complete"], false);
    assert!(finished.stdout.contains("The run was interrupted"), "{}", finished.stdout);
    // The next one does not write over it, and says so before it begins.
    let refused =
        Process::start("hubs-probe", check("127.0.0.1:9").args(["--report", text(&file)])).finish(LIMIT);
    assert_eq!((refused.status.code(), refused.stdout.as_str()), (Some(2), ""));
    assert!(refused.stderr.contains("--overwrite"), "{}", refused.stderr);
}

/// Interrupts a check while it waits for the answer of its resolver.
fn interrupted(signal: Signal, arguments: &[&str]) -> Finished {
    let resolver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = check(&resolver.local_addr().unwrap().to_string());
    let probe = Process::start("hubs-probe", command.args(arguments));
    resolver.set_read_timeout(Some(LIMIT)).unwrap();
    resolver.recv_from(&mut [0; 1500]).expect("the probe asks its resolver");
    probe.signal(signal);
    probe.finish(LIMIT)
}

fn check(resolver: &str) -> Command {
    let mut command = Command::new(crate::PROBE);
    command.args(["check", "hubs.example.test", "--resolver", resolver]);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
