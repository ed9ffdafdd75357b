//! What `hubs-probe` has found reaches whoever asked, or they hear that it does not; and nothing on the way is damaged.

use std::fs::{self, File};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

fn nsg() -> Command {
    let mut command = Command::new(crate::PROBE);
    command.args(["nsg", concat!(env!("CARGO_MANIFEST_DIR"), "/lab/nsg/aks.json")]);
    command
}

#[test]
fn output_for_which_there_is_no_room_is_no_success() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = nsg().args(["--output", "json"]).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("standard output cannot be written"), "{said}");
}

#[test]
fn what_is_no_regular_file_is_never_replaced_by_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.json");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let output = nsg().arg("--report").arg(&pipe).arg("--overwrite").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no regular file"), "{said}");
    assert!(!fs::metadata(&pipe).unwrap().is_file());
}

#[test]
fn what_a_file_is_called_does_not_reach_the_terminal_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules\u{1b}[31m\n.json");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/lab/nsg/aks.json"), &file).unwrap();
    for form in ["human", "markdown", "html", "prometheus"] {
        let output =
            Command::new(crate::PROBE).arg("nsg").arg(&file).args(["--output", form]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("rules") && !text.contains("\u{1b}[31m"), "{form}: {text}");
    }
    let output =
        Command::new(crate::PROBE).arg("nsg").arg(folder.path().join("not\u{1b}[31m")).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains('\u{1b}'));
}

#[test]
fn a_token_that_is_refused_is_not_shown() {
    let mut command = Command::new(crate::PROBE);
    command
        .args(["sweep", "hubs.example.test", "--agent", "http://127.0.0.1:9"])
        .env("HUBS_SWEEP_TOKEN", "tooshort");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("HUBS_SWEEP_TOKEN") && !said.contains("tooshort"), "{said}");
}
