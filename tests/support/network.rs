//! Networks that a test makes for itself, and what leaves a program on them.
//!
//! Such a network is a namespace of the kernel's without a name: it lasts as long as something is in it or holds it open,
//! so nothing of it outlives the test, however that ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;

use crate::need;

/// A network on which nobody is at first, with its own loopback.
#[derive(Debug)]
pub struct Network {
    namespace: File,
}

/// Where [`Network::count`] counts.
#[derive(Debug, Clone, Copy)]
pub enum Counted {
    /// What this network's programs send, over loopback or away.
    Sent,
    /// What comes to this network from another one.
    Received,
}

impl Network {
    /// Makes one.
    pub fn new() -> Self {
        let network = Self { namespace: fresh().unwrap() };
        network.ip("link set lo up");
        network
    }

    /// Runs something on this network. What it starts and the sockets that it opens are on it as well.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            self.enter();
            inside()
        };
        // A thread that is on another network cannot be trusted with anything else.
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Puts this thread on the network, for good.
    pub(crate) fn enter(&self) {
        setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Does what these lines ask of ip(8).
    pub fn ip(&self, lines: &str) {
        self.feed("ip", &["-batch", "-"], lines);
    }

    /// Lays a cable between an interface of this network and one of another, both of them new and up.
    pub fn connect(&self, interface: &str, other: &Self, others: &str) {
        let namespace = format!("/proc/{}/fd/{}", std::process::id(), other.namespace.as_raw_fd());
        self.ip(&format!("link add {interface} type veth peer name {others} netns {namespace}"));
        self.ip(&format!("link set {interface} up"));
        other.ip(&format!("link set {others} up"));
    }

    /// Begins to count packets of UDP and TCP, from nothing, but for those that `except` describes in the words of nft(8), one
    /// description a line.
    pub fn count(&self, counted: Counted, except: &str) {
        let except: Vec<String> = except.lines().map(|line| format!("{line} accept")).collect();
        let except = except.join("\n");
        let (hook, only) = match counted {
            Counted::Sent => ("output", ""),
            Counted::Received => ("prerouting", "iif lo accept"),
        };
        self.feed(
            "nft",
            &["-f", "-"],
            &format!(
                "table inet count
                delete table inet count
                table inet count {{
                  set v4 {{ type ipv4_addr . inet_service; size 65535; flags dynamic; counter; }}
                  set v6 {{ type ipv6_addr . inet_service; size 65535; flags dynamic; counter; }}
                  chain counted {{
                    type filter hook {hook} priority 0
                    {only}
                    {except}
                    meta l4proto {{ udp, tcp }} add @v4 {{ ip daddr . th dport }}
                    meta l4proto {{ udp, tcp }} add @v6 {{ ip6 daddr . th dport }}
                  }}
                }}"
            ),
        );
    }

    /// How many packets there have been for each destination since the last time.
    pub fn take_counted(&self) -> BTreeMap<SocketAddr, u64> {
        let counted = self.feed("nft", &["-j", "list", "table", "inet", "count"], "");
        self.feed("nft", &["-f", "-"], "flush set inet count v4\nflush set inet count v6");
        let counted: Value = serde_json::from_str(&counted).unwrap();
        let items = counted["nftables"].as_array().unwrap().iter();
        let elements = items.filter_map(|item| item["set"]["elem"].as_array()).flatten();
        elements.map(|element| read_element(&element["elem"])).collect()
    }

    /// What a program prints that gets this to read.
    pub(crate) fn feed(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(need::program(program).unwrap());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.run(|| command.spawn().unwrap());
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        assert!(output.status.success(), "{program} {arguments:?}: {stderr}\n{input}");
        stdout
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this process may make networks.
pub(crate) fn may_make() -> bool {
    fresh().is_ok()
}

/// A namespace, made by a thread that leaves for it and ends.
fn fresh() -> std::io::Result<File> {
    let leave = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    };
    thread::spawn(leave).join().unwrap()
}

/// An element of a set: a destination with its counter.
fn read_element(element: &Value) -> (SocketAddr, u64) {
    let destination = &element["val"]["concat"];
    let ip: IpAddr = destination[0].as_str().unwrap().parse().unwrap();
    let port = destination[1].as_u64().unwrap() as u16;
    (SocketAddr::new(ip, port), element["counter"]["packets"].as_u64().unwrap())
}
