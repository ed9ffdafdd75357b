//! A program under a test's control: its output is kept, and it ends with its owner.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a part may take until it is ready. Machines that run tests can be slow; nothing waits this long on success.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// A running program. Dropped, it is asked to end and then made to; its output is printed if the test is failing.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// What a program that ended left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

#[derive(Debug, Default)]
struct Output {
    text: Mutex<Text>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Text {
    stdout: String,
    stderr: String,
    streams_ended: u8,
}

impl Process {
    /// Starts a program; `name` is how failures call it.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{name} did not start: {error} ({command:?})"));
        let output = Arc::new(Output::default());
        output.clone().collect(child.stdout.take().unwrap(), |text| &mut text.stdout);
        output.clone().collect(child.stderr.take().unwrap(), |text| &mut text.stderr);
        Self { name: name.to_owned(), child, output }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line, of either stream, from which `read` makes something.
    ///
    /// # Panics
    /// If the program ends without such a line or takes too long over it.
    pub fn wait_for_line<T>(&self, what: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let found = self.output.wait(READY_LIMIT, |text| {
            let found = text.stdout.lines().chain(text.stderr.lines()).find_map(&read);
            found.map(Some).or((text.streams_ended == 2).then_some(None))
        });
        found
            .flatten()
            .unwrap_or_else(|| panic!("{}: no {what} in its output:\n{}", self.name, self.output()))
    }

    /// Waits until its output is as `is_so` wants it.
    ///
    /// # Panics
    /// If the program ends before that, or takes too long.
    pub fn wait_for_output(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let found = self.output.wait(READY_LIMIT, |text| {
            let is_so = is_so(&text.stdout) || is_so(&text.stderr);
            (is_so || text.streams_ended == 2).then_some(is_so)
        });
        assert!(found == Some(true), "{}: no {what} in its output:\n{}", self.name, self.output());
    }

    /// Waits until a TCP connection to the address is accepted.
    ///
    /// # Panics
    /// If the program ends before that, or takes too long.
    pub fn wait_until_accepting(&mut self, address: SocketAddr) {
        self.wait_until(&format!("listener at {address}"), || TcpStream::connect(address).is_ok());
    }

    /// Waits until `ready` answers yes, asking again and again.
    ///
    /// # Panics
    /// If the program ends before that, or takes too long.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + READY_LIMIT;
        while !ready() {
            let ended = self.child.try_wait().unwrap();
            let in_time = ended.is_none() && Instant::now() < deadline;
            assert!(in_time, "{}: no {what} ({ended:?}):\n{}", self.name, self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it printed so far, standard output first.
    pub fn output(&self) -> String {
        let text = self.output.lock();
        format!("{}{}", text.stdout, text.stderr)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // A process that has ended already is as good as one that got the signal.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Waits until the program ends by itself.
    ///
    /// # Panics
    /// If it does not within `limit`.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let status = self.wait(limit);
        let status =
            status.unwrap_or_else(|| panic!("{} still runs after {limit:?}:\n{}", self.name, self.output()));
        let text = self.output.lock();
        Finished { status, stdout: text.stdout.clone(), stderr: text.stderr.clone() }
    }

    /// Both streams end when the program does; after that its status is there at once.
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.output.wait(limit, |text| (text.streams_ended == 2).then_some(()))?;
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended_before = self.child.try_wait().ok().flatten();
        if ended_before.is_none() {
            self.signal(Signal::SIGTERM);
            if self.wait(Duration::from_secs(5)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        if thread::panicking() {
            eprintln!("--- {} ({}):\n{}", self.name, ended(ended_before), self.output());
        }
    }
}

fn ended(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "ran until the end of the test".into(), |status| status.to_string())
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(self: Arc<Self>, stream: impl Read + Send + 'static, part: fn(&mut Text) -> &mut String) {
        thread::spawn(move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                part(&mut self.lock()).push_str(&String::from_utf8_lossy(&line));
                self.changed.notify_all();
                line.clear();
            }
            self.lock().streams_ended += 1;
            self.changed.notify_all();
        });
    }

    fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&Text) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut text = self.lock();
        loop {
            if let Some(found) = look(&text) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            text = self.changed.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
