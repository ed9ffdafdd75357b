//! Network namespaces that leave nothing behind.
//!
//! A namespace is held by files that this process has open and by the programs that run in it. It has no name and no process
//! of its own, so when those end, however they end, the kernel takes it away. Threads enter it; what they open or start
//! there stays there.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{io, panic, process, thread};

use nix::sched::{CloneFlags, setns, unshare};

use crate::need;

const BOTH: CloneFlags = CloneFlags::CLONE_NEWNET.union(CloneFlags::CLONE_NEWNS);

/// A network of its own, and a view of its own on the machine's files, in which `/etc/resolv.conf` can differ.
#[derive(Debug)]
pub struct Namespace {
    network: File,
    files: File,
}

impl Namespace {
    /// Whether this process may make namespaces.
    pub fn allowed() -> bool {
        thread::spawn(|| unshare(BOTH).is_ok()).join().unwrap()
    }

    /// Makes one in which names are looked up as `resolv_conf` says. It has loopback and nothing else.
    pub fn new(resolv_conf: &Path) -> Self {
        let make = || -> io::Result<Self> {
            unshare(BOTH)?;
            // What is mounted here is nobody else's business.
            run(Command::new("mount").args(["--make-rprivate", "/"]));
            run(Command::new("mount").arg("--bind").arg(resolv_conf).arg("/etc/resolv.conf"));
            let open = |kind| File::open(format!("/proc/thread-self/ns/{kind}"));
            Ok(Self { network: open("net")?, files: open("mnt")? })
        };
        let namespace = thread::scope(|scope| scope.spawn(make).join()).unwrap().unwrap();
        namespace.ip("link set lo up");
        namespace
    }

    /// Does `work` inside. Sockets that it opens and programs that it starts are inside from then on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            // A thread that shares its root and working directory with others may not change what they stand in.
            unshare(CloneFlags::CLONE_FS).unwrap();
            setns(&self.network, CloneFlags::CLONE_NEWNET).unwrap();
            setns(&self.files, CloneFlags::CLONE_NEWNS).unwrap();
            work()
        };
        let done = thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Runs `ip` commands, one a line.
    pub fn ip(&self, commands: &str) {
        self.feed("ip", &["-batch", "-"], commands);
    }

    /// Adds nftables rules.
    pub fn nft(&self, rules: &str) {
        self.feed("nft", &["-f", "-"], rules);
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
        let path = format!("/proc/{}/fd/{}", process::id(), other.network.as_raw_fd());
        self.ip(&format!("link add {here} type veth peer name {there} netns {path}"));
    }

    fn feed(&self, program: &str, arguments: &[&str], text: &str) {
        self.run(|| {
            let mut command = Command::new(need::program(program).unwrap());
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program}: {said}\n{text}");
        });
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
