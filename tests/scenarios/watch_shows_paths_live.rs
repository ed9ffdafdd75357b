//! `hubs-probe watch` on a real terminal: verdict and paths as they are, what is mended while somebody looks on, and a terminal
//! that is as it was before.

use std::fs;
use std::process::{Command, Stdio};

use hubs_tests::bed::{Bed, ROOM};
use hubs_tests::need::{self, skip};
use hubs_tests::terminal::Terminal;
use hubs_tests::{dns, probe, relay};
use nix::sys::signal::Signal;

#[test]
fn a_path_comes_up_when_the_relay_does_and_a_rerun_says_so() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let mut command = probe::watch(crate::PROBE, &bed);
    command.args(["--room", ROOM]);
    let mut terminal = Terminal::start(command, 120, 40);
    terminal.wait_for_text("BROKEN");
    terminal.wait_for_text("× down direct 1");
    terminal.wait_for("loss through TURN", |shown| figures(shown, "through TURN").contains("loss 100 %"));

    let relay = relay::start_for(&bed, crate::RELAY);
    terminal.wait_for_text("√ up   through TURN");
    terminal.wait_for("round trip through TURN", |shown| figures(shown, "through TURN").contains(" ms "));

    terminal.press("?");
    terminal.wait_for_text("show or hide this page");
    terminal.press("?");
    terminal.wait_for_text("through TURN");
    terminal.press("r");
    terminal.wait_for_text("GOOD");
    terminal.press("q");
    let left = terminal.end();
    assert!(left.text.contains("\nGOOD  "), "{}", left.text);
    assert_eq!(left.status, probe::check(crate::PROBE, &bed, &["--room", ROOM]).status);
    let log = relay.output();
    assert!(log.contains("the client gave it back") && !log.contains("connection ended"), "{log}");
}

/// The line beneath the path's name.
fn figures<'a>(shown: &'a str, path: &str) -> &'a str {
    shown.lines().skip_while(|line| !line.contains(path)).nth(1).unwrap_or_default()
}

#[test]
fn whatever_ends_it_the_terminal_is_as_it_was_and_the_status_says_what_it_was() {
    assert_ends(|terminal| terminal.press("q"), 1);
    assert_ends(|terminal| terminal.press("\x03"), 130);
    assert_ends(|terminal| terminal.signal(Signal::SIGINT), 130);
    assert_ends(|terminal| terminal.signal(Signal::SIGTERM), 143);
}

fn assert_ends(end: impl FnOnce(&mut Terminal), status: i32) {
    let mut command = Command::new(crate::PROBE);
    command.args(["watch", "nowhere.test", "--resolver", &dns::start().to_string()]);
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.wait_for_text("BROKEN");
    end(&mut terminal);
    let left = terminal.end();
    assert_eq!(left.status, status, "{}", left.text);
    assert!(left.text.contains("\nBROKEN  "), "{}", left.text);
}

#[test]
fn a_run_that_was_written_down_is_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.jsonl");
    let resolver = dns::start().to_string();
    let arguments = ["check", "nowhere.test", "--resolver", &resolver, "--output", "jsonl"];
    let written = Command::new(crate::PROBE).args(arguments).output().unwrap();
    fs::write(&file, written.stdout).unwrap();
    let replay = || {
        let mut command = Command::new(crate::PROBE);
        command.args(["watch", "--replay"]).arg(&file);
        Terminal::start(command, 80, 24)
    };
    let mut terminal = replay();
    terminal.wait_for_text("BROKEN");
    terminal.press("q");
    assert_eq!(terminal.end().status, 0);

    fs::write(&file, "no run\n").unwrap();
    let left = replay().end();
    assert_eq!(left.status, 2, "{}", left.text);
    assert!(left.text.contains("line 1 is no event of a run"), "{}", left.text);
}

#[test]
fn without_a_terminal_it_says_what_to_run_instead() {
    let output =
        Command::new(crate::PROBE).args(["watch", "nowhere.test"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is none: run `hubs-probe check` instead"), "{said}");
}
