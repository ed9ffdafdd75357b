//! A program on a terminal of its own: what it shows there, the keys that it is given, and what it leaves behind.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

/// How long anything that is waited for may take. Machines that run tests can be slow.
const LIMIT: Duration = Duration::from_mins(1);

/// A program and its terminal. Dropped, the program is killed.
#[expect(missing_debug_implementations, reason = "the screen has none")]
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// The program's end, open for as long as its modes are of interest.
    line: Option<OwnedFd>,
    modes: Termios,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

/// What a program that ended left.
#[derive(Debug)]
pub struct Left {
    /// Its exit status.
    pub status: i32,
    /// What the terminal shows then.
    pub text: String,
}

impl Terminal {
    /// Starts a program on a terminal of `columns` by `rows`.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        // What the test starts later must not keep this terminal open.
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let modes = tcgetattr(&pty.slave).unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keyboard = File::from(pty.master.try_clone().unwrap());
        let size = |n| NonZeroU16::new(n).unwrap();
        Self {
            child,
            keyboard,
            line: Some(pty.slave),
            modes,
            output: read(File::from(pty.master)),
            screen: vt100::Parser::new(size(rows), size(columns), 0),
        }
    }

    /// Waits until the terminal shows `what`, as `ready` recognises it.
    ///
    /// # Panics
    /// If the program ends before that, or takes too long.
    pub fn wait_for(&mut self, what: &str, ready: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !ready(&self.screen.screen().contents()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.output.recv_timeout(left) else {
                panic!("no {what} on the terminal:\n{}", self.screen.screen().contents());
            };
            self.screen.process(&bytes);
        }
    }

    /// Waits until the terminal shows this text.
    pub fn wait_for_text(&mut self, text: &str) {
        self.wait_for(text, |shown| shown.contains(text));
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end of the program.
    ///
    /// # Panics
    /// If the terminal is not as it was before: its modes, its screen, its cursor.
    pub fn end(mut self) -> Left {
        let status = self.child.wait().unwrap();
        let modes = self.line.take().map(|line| tcgetattr(line).unwrap());
        assert_eq!(modes.as_ref(), Some(&self.modes), "the terminal's modes are not as they were");
        // Now that nobody has the program's end any more, the output ends as well.
        self.output.iter().for_each(|bytes| self.screen.process(&bytes));
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "left on the alternate screen");
        assert!(!screen.hide_cursor(), "left without a cursor");
        let status = status.code().unwrap_or_else(|| panic!("the program was killed: {status}"));
        Left { status, text: screen.contents() }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut terminal: File) -> Receiver<Vec<u8>> {
    let (tell, output) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = terminal.read(&mut buffer) {
            if tell.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    output
}
