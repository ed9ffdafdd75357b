//! A network of the lab, and a view of its own on the machine's files, so that `/etc/resolv.conf` differs from one to the next.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::{panic, thread};

use nix::sched::{CloneFlags, setns, unshare};

use crate::network::Network;

/// Where a part of the lab runs. Like its [`Network`], it goes with what is in it or holds it open.
#[derive(Debug)]
pub struct Namespace {
    network: Network,
    files: File,
}

impl Namespace {
    /// Makes one in which names are looked up as `resolv_conf` says. It has loopback and nothing else.
    pub fn new(resolv_conf: &Path) -> Self {
        let view = || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            // What is mounted here is nobody else's business.
            run(Command::new("mount").args(["--make-rprivate", "/"]));
            run(Command::new("mount").arg("--bind").arg(resolv_conf).arg("/etc/resolv.conf"));
            File::open("/proc/thread-self/ns/mnt").unwrap()
        };
        let files = thread::scope(|scope| scope.spawn(view).join()).unwrap();
        Self { network: Network::new(), files }
    }

    /// Does `work` inside. Sockets that it opens and programs that it starts are inside from then on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            // A thread that shares its root and working directory with others may not change what they stand in.
            unshare(CloneFlags::CLONE_FS).unwrap();
            self.network.enter();
            setns(&self.files, CloneFlags::CLONE_NEWNS).unwrap();
            work()
        };
        let done = thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Runs `ip` commands, one a line.
    pub fn ip(&self, commands: &str) {
        self.network.ip(commands);
    }

    /// Adds nftables rules.
    pub fn nft(&self, rules: &str) {
        self.network.feed("nft", &["-f", "-"], rules);
    }

    /// Lets it pass on packets that are not for itself.
    pub fn forward(&self) {
        self.run(|| {
            for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
            }
        });
    }

    /// Lays a cable: `here` is its end in this namespace, `there` the one in the other.
    pub fn connect(&self, here: &str, other: &Self, there: &str) {
        self.network.connect(here, &other.network, there);
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
