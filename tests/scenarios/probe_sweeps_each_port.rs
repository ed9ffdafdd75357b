//! `hubs-probe sweep` says of each port of the node what is true of it, from a laptop at home, with hubs-relay's agent on the node.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::process::Command;
use std::time::Duration;

use hubs_relay::sweep::channel::{Caller, Request, SEAL, Session, Sighting};
use hubs_relay::sweep::{Kind, Packet};
use hubs_tests::lab::{Lab, NODE, NODE_PUBLIC, Rule, Scenario};
use hubs_tests::need::{self, skip};
use hubs_tests::process::{Finished, Process};
use nix::sys::signal::Signal;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::{PROBE, RELAY};

const AGENT: u16 = 9642;
const TOKEN: &str = "a-token-for-this-test";
/// What Hubs' documentation asks operators to open.
const PORTS: RangeInclusive<u16> = 35_000..=60_000;
/// A sweep and what it hangs on.
const LIMIT: Duration = Duration::from_mins(1);

/// Networks in which the node has a public address, and nothing of Hubs.
fn networks() -> (Lab, Scenario) {
    let scenario = Scenario::read("a_network_with_both_families");
    let lab = Lab::without_hubs(&scenario);
    lab.forward(AGENT);
    (lab, scenario)
}

fn agent(lab: &Lab, arguments: &[&str]) -> Process {
    let mut command = Command::new(RELAY);
    command.arg("agent").args(arguments).env("HUBS_SWEEP_TOKEN", TOKEN).env("RUST_LOG", "debug");
    let agent = lab.on_node(|| Process::start("hubs-relay agent", &mut command));
    agent.wait_for_output("word that it looks", |text| text.contains("looks at this node's packets"));
    agent
}

fn sweep_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROBE);
    command.args(["sweep", "hubs.test", "--agent", "http://127.0.0.1:9642"]).args(arguments);
    command.env("HUBS_SWEEP_TOKEN", TOKEN);
    command
}

/// What a sweep said.
#[derive(Debug)]
struct Swept {
    status: Option<i32>,
    report: Value,
}

impl Swept {
    fn of(finished: &Finished) -> Self {
        let report = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}):\n{}\n{}", finished.stdout, finished.stderr));
        Self { status: finished.status.code(), report }
    }

    fn finding(&self, code: &str) -> &Value {
        let findings = self.report["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|it| it["code"] == code)
            .unwrap_or_else(|| panic!("no {code}: {:#}", self.report))
    }

    /// The intervals of this state.
    fn ports(&self, code: &str, state: &str) -> Vec<RangeInclusive<u16>> {
        let evidence = self.finding(code)["evidence"].as_array().unwrap();
        let of_state = evidence.iter().filter(|it| {
            let label = it["label"].as_str().unwrap();
            label == state || label.strip_prefix(state).is_some_and(|rest| rest.starts_with(" ("))
        });
        let texts = of_state.flat_map(|it| it["value"].as_str().unwrap().split(", "));
        texts.map(interval).collect()
    }
}

fn interval(text: &str) -> RangeInclusive<u16> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    first.parse().unwrap()..=last.parse().unwrap()
}

fn sweep(lab: &Lab, arguments: &[&str]) -> Swept {
    let mut command = sweep_command(arguments);
    let process = lab.on_laptop(|| Process::start("hubs-probe", command.args(["--output", "json"])));
    Swept::of(&process.finish(LIMIT))
}

fn node() -> String {
    NODE_PUBLIC.to_string()
}

fn rule(priority: u16, access: &str, protocol: &str, ports: &[RangeInclusive<u16>]) -> Rule {
    let ranges: Vec<_> = ports.iter().map(|it| format!("{}-{}", it.start(), it.end())).collect();
    let rule = json!({
        "name": format!("rule-{priority}"), "priority": priority, "direction": "Inbound", "access": access,
        "protocol": protocol, "sourceAddressPrefix": "Internet", "sourcePortRange": "*",
        "destinationAddressPrefix": "*", "destinationPortRanges": ranges,
    });
    serde_json::from_value(rule).unwrap()
}

fn admit(ports: RangeInclusive<u16>) -> Rule {
    rule(200, "Allow", "Udp", &[ports])
}

/// A rule as somebody may write it: for one or two ranges of ports.
fn rules() -> impl Strategy<Value = Vec<(u16, &'static str, &'static str, Vec<RangeInclusive<u16>>)>> {
    let access = prop_oneof![3 => Just("Allow"), 2 => Just("Deny")];
    let protocol = prop_oneof![4 => Just("Udp"), 2 => Just("*"), 1 => Just("Tcp")];
    let ends = proptest::collection::btree_set(34_900_u16..60_100, 4);
    let ranges = (ends, any::<bool>()).prop_map(|(ends, has_two)| {
        let ends: Vec<u16> = ends.into_iter().collect();
        let two = [ends[0]..=ends[1], ends[2]..=ends[3]];
        two[..if has_two { 2 } else { 1 }].to_vec()
    });
    let rule = (100_u16..400, access, protocol, ranges);
    proptest::collection::vec(rule, 1..6).prop_map(|mut rules| {
        rules.sort_by_key(|rule| rule.0);
        rules.dedup_by_key(|rule| rule.0);
        rules
    })
}

#[test]
fn the_intervals_are_those_of_the_rules() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, scenario) = networks();
    let _agent = agent(&lab, &[]);
    let mut runner = TestRunner::new(Config {
        cases: 6,
        max_shrink_iters: 8,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&rules(), |rules| {
        lab.replace_rules(
            &scenario,
            rules.iter().map(|(priority, access, protocol, ports)| rule(*priority, access, protocol, ports)),
        );
        let is_admitted = |port: u16| {
            let decides = rules.iter().find(|(_, _, protocol, ports)| {
                *protocol != "Tcp" && ports.iter().any(|it| it.contains(&port))
            });
            decides.is_some_and(|(_, access, ..)| *access == "Allow")
        };
        let swept = sweep(&lab, &["--to", &node(), "--expect", "40000-49999"]);
        for (state, expected) in [("open both ways", true), ("silent", false)] {
            let mut intervals: Vec<RangeInclusive<u16>> = Vec::new();
            for port in PORTS.filter(|port| is_admitted(*port) == expected) {
                match intervals.last_mut() {
                    Some(last) if *last.end() + 1 == port => *last = *last.start()..=port,
                    _ => intervals.push(port..=port),
                }
            }
            prop_assert_eq!(swept.ports("HP0741", state), intervals, "{}: {:#}", state, &swept.report);
        }
        let is_all_open = (40_000..=49_999).all(is_admitted);
        prop_assert_eq!(swept.status, Some(i32::from(!is_all_open)));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn all_ports_are_open_where_nothing_is_in_the_way() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, scenario) = networks();
    lab.replace_rules(&scenario, [admit(PORTS)]);
    let _agent = agent(&lab, &[]);
    let swept = sweep(&lab, &["--to", &node()]);
    assert_eq!(swept.ports("HP0741", "open both ways"), [PORTS], "{:#}", swept.report);
    assert_eq!(swept.status, Some(0));
}

#[test]
fn a_redacted_sweep_tells_no_address_and_a_known_fault_does_not_count() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, scenario) = networks();
    lab.replace_rules(&scenario, [admit(40_000..=40_009)]);
    let _agent = agent(&lab, &[]);
    let known = "HP0741:the firewall is next week's work";
    let swept = sweep(&lab, &["--to", &node(), "--ports", "40000-40019", "--redact", "--suppress", known]);
    assert_eq!(swept.status, Some(0), "{:#}", swept.report);
    assert_eq!(swept.finding("HP0741")["suppressed"]["reason"], "the firewall is next week's work");
    assert_eq!(swept.finding("HP0741")["target"], "udp:[address 1]");
    assert!(!swept.report.to_string().contains(&node()), "{:#}", swept.report);
}

#[test]
fn each_state_of_a_port_is_told_from_the_others() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, scenario) = networks();
    lab.replace_rules(&scenario, [admit(40_000..=40_999)]);
    // Somebody on the way says no, and somebody else lets no answers out.
    lab.change_cloud("insert rule ip azure forward udp dport 40100-40101 reject\ninsert rule ip azure forward udp sport 40200-40299 drop");
    let _taken = lab.on_node(|| [40_300, 40_301].map(|port| UdpSocket::bind((NODE, port)).unwrap()));
    let _agent = agent(&lab, &[]);
    let swept = sweep(&lab, &["--to", &node(), "--ports", "39900-41099", "--expect", "40000-40999"]);
    let states = ["open both ways", "in, and in use on the node", "in only", "refused", "silent"];
    let found = states.map(|state| swept.ports("HP0741", state));
    let expected = [
        vec![40_000..=40_099, 40_102..=40_199, 40_302..=40_999],
        vec![40_300..=40_301],
        vec![40_200..=40_299],
        vec![40_100..=40_101],
        vec![39_900..=39_999, 41_000..=41_099],
    ];
    // What is refused is refused by ICMP, of which the kernel sends so many a second and no more.
    let [open, in_use, one_way, refused, silent] = found;
    assert_eq!([&open, &in_use, &one_way], [&expected[0], &expected[1], &expected[2]], "{:#}", swept.report);
    let closed: Vec<u16> = refused.into_iter().chain(silent).flatten().collect();
    assert_eq!(closed.len(), 202);
    assert_eq!(swept.status, Some(1));
    assert_eq!(swept.finding("HP0742")["status"], "fail");
    assert_eq!(swept.finding("HP0744")["status"], "pass");
}

#[test]
fn ipv6_is_swept_as_ipv4_is() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, _) = networks();
    let node = lab.give_ipv6();
    lab.change_cloud("table ip6 azure {\n chain forward {\n type filter hook forward priority filter\n ip6 daddr 2001:db8:2::/64 udp dport 45000-60000 drop\n }\n}\n");
    let _agent = agent(&lab, &[]);
    let swept = sweep(&lab, &["--to", &node.to_string(), "--ports", "44000-46000"]);
    assert_eq!(swept.ports("HP0741", "open both ways"), [44_000..=44_999], "{:#}", swept.report);
    assert_eq!(swept.ports("HP0741", "silent"), [45_000..=46_000]);
}

#[test]
fn tcp_ports_are_swept_by_the_beginnings_of_connections() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, scenario) = networks();
    lab.replace_rules(&scenario, [rule(200, "Allow", "*", &[40_000..=40_099])]);
    lab.change_cloud("insert rule ip azure forward tcp sport 40050 drop");
    let _listener = lab.on_node(|| TcpListener::bind((NODE, 40_010)).unwrap());
    let _agent = agent(&lab, &[]);
    let swept = sweep(&lab, &["--to", &node(), "--tcp", "--ports", "39990-40109", "--expect", "40010"]);
    assert_eq!(
        swept.ports("HP0743", "open both ways"),
        [40_000..=40_049, 40_051..=40_099],
        "{:#}",
        swept.report
    );
    assert_eq!(swept.ports("HP0743", "in only"), [40_050..=40_050]);
    assert_eq!(swept.ports("HP0743", "silent"), [39_990..=39_999, 40_100..=40_109]);
    assert_eq!(swept.status, Some(0));
}

#[test]
fn without_the_token_nothing_is_told_and_the_agent_ends_by_itself() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, scenario) = networks();
    lab.replace_rules(&scenario, [admit(PORTS)]);
    let agent = agent(&lab, &["--ttl", "10s"]);
    let mut command = sweep_command(&["--to", &node(), "--output", "json"]);
    command.env("HUBS_SWEEP_TOKEN", "another-token-of-16");
    let refused = Swept::of(&lab.on_laptop(|| Process::start("hubs-probe", &mut command)).finish(LIMIT));
    assert_eq!(refused.status, Some(3));
    assert_eq!(refused.finding("HP0740")["status"], "error");
    assert!(refused.finding("HP0740")["summary"].as_str().unwrap().contains("does not know our token"));
    let ended = agent.finish(Duration::from_secs(20));
    assert!(ended.status.success() && ended.stderr.contains("its time is over"), "{}", ended.stderr);
}

#[test]
fn what_was_found_is_told_when_it_is_interrupted() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, scenario) = networks();
    lab.replace_rules(&scenario, [admit(PORTS)]);
    let agent = agent(&lab, &[]);
    let mut command = sweep_command(&["--to", &node(), "--output", "json"]);
    let sweeping = lab.on_laptop(|| Process::start("hubs-probe", &mut command));
    agent.wait_for_output("a session", |text| text.contains("a session was asked for"));
    sweeping.signal(Signal::SIGINT);
    let swept = Swept::of(&sweeping.finish(LIMIT));
    assert_eq!(swept.status, Some(130));
    assert_eq!(swept.report["run"]["end"], "interrupted");
    assert!(!swept.ports("HP0741", "not asked").is_empty(), "{:#}", swept.report);
}

/// Talks to the agent as the probe does, by hand.
struct Hand {
    session: Session,
    socket: UdpSocket,
}

impl Hand {
    fn open(lab: &Lab) -> Self {
        let caller = Caller::new(TOKEN.parse().unwrap(), [7; 16], &PORTS);
        let (seal, body) = lab.on_laptop(|| post(caller.request()));
        let socket = lab.on_laptop(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { session: caller.opened(&seal, body.as_bytes()).unwrap(), socket }
    }

    fn question(&self, port: u16, sequence: u32) -> Vec<u8> {
        let session = self.session.number;
        let packet = Packet { kind: Kind::Question, port, session, sequence, time: 0, mark: 0 };
        packet.to_bytes(&self.session.key).to_vec()
    }

    fn send(&self, port: u16, bytes: &[u8]) {
        self.socket.send_to(bytes, (NODE_PUBLIC, port)).unwrap();
    }

    fn answer(&self) -> Option<(Packet, SocketAddr)> {
        let mut buffer = [0; 100];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        Packet::read(&buffer[..length], &self.session.key).map(|packet| (packet, from))
    }

    fn report(&mut self, lab: &Lab) -> Sighting {
        let request = self.session.ask(None);
        let (seal, body) = lab.on_laptop(|| post(&request));
        self.session.told(&request, &seal, body.as_bytes()).unwrap()
    }
}

fn post(request: &Request) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", AGENT)).unwrap();
    let Request { path, seal, body } = request;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: agent\r\n{SEAL}: {seal}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let seal = head.lines().find_map(|line| line.strip_prefix(&format!("{SEAL}: "))).unwrap_or_default();
    (seal.to_owned(), body.to_owned())
}

#[test]
fn a_packet_that_was_there_before_or_is_not_signed_is_not_answered() {
    if skip(&[need::NETWORKS]) {
        return;
    }
    let (lab, scenario) = networks();
    lab.replace_rules(&scenario, [admit(PORTS)]);
    let _agent = agent(&lab, &[]);
    let mut hand = Hand::open(&lab);
    let question = hand.question(41_000, 1);
    hand.send(41_000, &question);
    let (answer, from) = hand.answer().unwrap();
    assert_eq!((answer.kind, answer.port, from), (Kind::Answer, 41_000, (NODE_PUBLIC, 41_000).into()));
    hand.send(41_000, &question);
    let mut forged = hand.question(41_001, 2);
    forged[30] ^= 1;
    hand.send(41_001, &forged);
    hand.send(41_002, b"SWP1");
    assert!(hand.answer().is_none());
    let sighting = hand.report(&lab);
    assert_eq!(sighting.arrived.iter().collect::<Vec<_>>(), [41_000]);
    assert_eq!(sighting.seen.ignored, 2);
    assert_eq!(sighting.seen.sources, [IpAddr::from([198, 51, 100, 20])]);
}

#[test]
fn a_dialog_that_has_ports_is_swept_undisturbed_and_check_tells_the_same() {
    if skip(&[need::NETWORKS, need::BED]) {
        return;
    }
    let scenario = Scenario::read("a_network_with_both_families");
    let lab = Lab::start(&scenario, RELAY);
    lab.forward(AGENT);
    let _agent = agent(&lab, &[]);
    let arguments = lab.arguments();
    let arguments: Vec<_> = arguments.iter().skip(1).map(String::as_str).collect();
    // dialog's port for signalling is TCP's; these are as mediasoup has its own.
    let taken =
        lab.on_node(|| (0..3).map(|n| UdpSocket::bind(("0.0.0.0", 43_210 + n)).unwrap()).collect::<Vec<_>>());
    let swept = sweep(&lab, &[arguments.as_slice(), &["--ports", "40000-49999"]].concat());
    assert_eq!(swept.ports("HP0741", "in, and in use on the node"), [43_210..=43_212], "{:#}", swept.report);
    assert_eq!(swept.status, Some(0), "{:#}", swept.report);
    drop(taken);

    let mut command = Command::new(PROBE);
    command
        .args(["check", "hubs.test", "--agent", "http://127.0.0.1:9642", "--output", "json"])
        .args(&arguments);
    command.env("HUBS_SWEEP_TOKEN", TOKEN);
    let checked =
        lab.on_laptop(|| Process::start("hubs-probe", &mut command)).finish(Duration::from_secs(90));
    let checked = Swept::of(&checked);
    assert_eq!(checked.status, Some(0), "{:#}", checked.report);
    for code in ["HP0501", "HP0502", "HP0741", "HP0742"] {
        assert_eq!(checked.finding(code)["status"], "pass", "{code}: {:#}", checked.report);
    }

    // Without an agent it is an estimate, and called one.
    let mut command = Command::new(PROBE);
    command.args(["sweep", "hubs.test", "--output", "json"]).args(&arguments);
    let sampled = Swept::of(&lab.on_laptop(|| Process::start("hubs-probe", &mut command)).finish(LIMIT));
    assert_eq!(sampled.finding("HP0502")["status"], "pass");
    assert!(sampled.finding("HP0740")["summary"].as_str().unwrap().contains("an estimate"));
    assert_eq!(sampled.status, Some(0));
}
