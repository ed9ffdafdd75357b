//! The program: its start, its end, its exit codes.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::admin::{get, wait_for_some};
use crate::client::{self, Client, Connection, code};

fn hubs_relay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubs-relay"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The relay as a program, on a UDP port of its own unless told otherwise.
pub(crate) struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    /// The lines of its log that have been read.
    pub(crate) said: String,
}

impl Running {
    pub(crate) fn start(variables: &[(&str, &str)]) -> (Self, SocketAddr) {
        Self::start_with("/dev/null", variables)
    }

    pub(crate) fn start_with(file: &str, variables: &[(&str, &str)]) -> (Self, SocketAddr) {
        Self::spawn(hubs_relay(), file, variables)
    }

    fn spawn(mut command: Command, file: &str, variables: &[(&str, &str)]) -> (Self, SocketAddr) {
        let child = command
            .args(["--config", file])
            .env("HUBS_RELAY_LISTEN", "udp://127.0.0.1:0")
            .env("HUBS_RELAY_ADMIN__ADDRESS", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Self { child, log, said: String::new() };
        // As text, and as JSON.
        running.line(|line| line.ends_with(" ready\n") || line.contains("\"ready\""));
        let listens = running.said.lines().find(|line| line.contains("listens on ")).unwrap();
        // More may stand behind it.
        let address = listens.split("://").nth(1).unwrap().split(['"', ' ']).next().unwrap();
        let address = address.parse().unwrap();
        (running, address)
    }

    pub(crate) fn line_with(&mut self, text: &str) -> String {
        self.line(|line| line.contains(text))
    }

    /// Waits for a line of the log.
    fn line(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        let mut line = String::new();
        while !is_it(&line) {
            line.clear();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "not said: {}", self.said);
            self.said.push_str(&line);
        }
        line
    }

    /// The address that its log names behind this text.
    pub(crate) fn address_behind(&self, text: &str) -> SocketAddr {
        let rest = self.said.split(text).nth(1).unwrap();
        rest.split(char::is_whitespace).next().unwrap().parse().unwrap()
    }

    /// The lines of its log that have been read.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// Memory that it occupies, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn it_serves_until_sigterm_or_sigint_and_exits_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut relay, address) = Running::start(&[]);
        Client::new(client::udp(address)).binding();
        relay.signal(signal);
        relay.line_with("stopped");
        assert_eq!(relay.exit_code(), Some(0));
        UdpSocket::bind(address).unwrap();
    }
}

#[test]
fn it_exits_with_2_and_one_line_when_it_cannot_start() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = format!("udp://{}", taken.local_addr().unwrap());
    for (variable, value, expected) in [
        ("HUBS_RELAY_LISTEN", listen.as_str(), "hubs-relay: cannot listen on udp://127.0.0.1:"),
        (
            "HUBS_RELAY_LISTEN",
            "tls://127.0.0.1:0",
            "hubs-relay: cannot read the certificate /certs/tls.crt: ",
        ),
        (
            "HUBS_RELAY_PEERS__ALOW",
            "x:1",
            "hubs-relay: unknown key HUBS_RELAY_PEERS__ALOW in the environment; ",
        ),
        ("HUBS_RELAY_RELAY__PORTS", "9-1", "hubs-relay: the configuration and the environment: "),
    ] {
        let output = hubs_relay().env(variable, value).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(expected) && said.lines().count() == 1, "{said}");
    }
    let output = hubs_relay().args(["--config", "/nowhere.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("hubs-relay: cannot read the configuration /nowhere.toml: "));
}

#[test]
fn check_config_says_what_a_configuration_amounts_to_and_opens_nothing() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = format!("udp://{}", taken.local_addr().unwrap());
    let output = hubs_relay().arg("check-config").env("HUBS_RELAY_LISTEN", &listen).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("listens on {listen}\n")) && said.contains("\nwarning: "), "{said}");
    let output = hubs_relay().args(["check-config", "--config", "/nowhere.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn print_config_prints_a_file_that_changes_nothing() {
    let printed = hubs_relay().arg("print-config").output().unwrap().stdout;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    std::fs::write(&file, printed).unwrap();
    let check = |arguments: &[&str]| {
        let listen = ("HUBS_RELAY_LISTEN", "udp://127.0.0.1:0");
        hubs_relay().arg("check-config").args(arguments).envs([listen]).output().unwrap().stdout
    };
    assert_eq!(check(&["--config", file.to_str().unwrap()]), check(&["--config", "/dev/null"]));
}

#[test]
fn credential_makes_what_the_relay_accepts() {
    let output = hubs_relay().args(["credential", "--secret", "shared"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut values = said.lines().map(|line| line.split_once('=').unwrap().1);
    let (username, password) = (values.next().unwrap(), values.next().unwrap());
    let (_relay, address) = Running::start(&[("HUBS_RELAY_AUTH__SECRETS", "other,shared")]);
    Client::named(client::udp(address), username, password).allocate();
}

#[test]
fn it_takes_as_many_files_as_the_system_grants_and_says_if_they_are_too_few() {
    let users = format!("{}={}", client::USER.0, client::USER.1);
    let variables = [
        ("HUBS_RELAY_LISTEN", "tcp://127.0.0.1:0"),
        ("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1"),
        ("HUBS_RELAY_AUTH__USERS", &users),
    ];
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"ulimit -Sn 64; ulimit -Hn 1000; exec "$0" "$@""#,
        env!("CARGO_BIN_EXE_hubs-relay"),
    ]);
    command.env_clear().stdin(Stdio::null());
    let (relay, address) = Running::spawn(command, "/dev/null", &variables);
    let warning =
        "this process may have 1000 files open, enough for 450 sessions, and limits.sessions is 20000: ";
    assert!(relay.said.contains(warning), "{}", relay.said);
    let mut clients: Vec<_> = (0..60).map(|_| Client::new(Connection::new(client::tcp(address)))).collect();
    for client in &mut clients {
        client.allocate();
    }
}

/// A relay that may have 64 files open, and where it answers operators.
fn with_few_files(variables: &[(&str, &str)]) -> (Running, SocketAddr, SocketAddr) {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 64; exec "$0" "$@""#, env!("CARGO_BIN_EXE_hubs-relay")]);
    command.env_clear().stdin(Stdio::null());
    let (relay, address) = Running::spawn(command, "/dev/null", variables);
    let admin = relay.address_behind("on http://");
    (relay, address, admin)
}

fn assert_alive(admin: SocketAddr) {
    for _ in 0..100 {
        assert_eq!(get(admin, "/livez").0, "HTTP/1.1 200 OK");
    }
}

#[test]
fn when_connections_have_taken_all_files_it_still_says_that_it_is_alive() {
    let (mut relay, address, admin) = with_few_files(&[
        ("HUBS_RELAY_LISTEN", "tcp://127.0.0.1:0"),
        ("HUBS_RELAY_RELAY__WORKERS", "1"),
        ("HUBS_RELAY_LIMITS__HANDSHAKE_TIMEOUT", "10m"),
    ]);
    let _clients: Vec<_> = (0..64).map(|_| client::tcp(address)).collect();
    relay.line_with("a connection could not be accepted");
    assert_alive(admin);
    wait_for_some(admin, "hubs_relay_unaccepted_connections_total");
}

#[test]
fn when_allocations_have_taken_all_files_it_still_says_that_it_is_alive() {
    let users = format!("{}={}", client::USER.0, client::USER.1);
    let (mut relay, address, admin) = with_few_files(&[
        ("HUBS_RELAY_LISTEN", "udp://127.0.0.1:0"),
        ("HUBS_RELAY_RELAY__ADDRESS", "127.0.0.1"),
        ("HUBS_RELAY_AUTH__USERS", &users),
    ]);
    let mut clients: Vec<_> = (0..64).map(|_| Client::new(client::udp(address))).collect();
    let codes = clients.iter_mut().map(|client| code(&client.try_allocate()));
    assert_eq!(codes.filter(|code| *code != 0).collect::<BTreeSet<_>>(), [508].into());
    relay.line_with("no relay socket");
    assert_alive(admin);
}
