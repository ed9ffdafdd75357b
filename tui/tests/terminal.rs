//! The terminal after the view, on a pseudo-terminal: whatever ended the view, it is as it was before.
//!
//! Each test runs this very program again, as the process that owns the view: [`view_under_test`].

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    env,
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    task::Poll,
    thread,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use hubs_tui::{Exit, Options, Theme, feed::Feed, run};
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::Pid,
};

const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";
const SCENE: &str = "HUBS_TUI_SCENE";

/// The other process. On its own it is a test of nothing: without a scene there is no view to run.
#[test]
fn view_under_test() {
    let Ok(scene) = env::var(SCENE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exit = runtime.block_on(async {
        let started = Feed::RunStarted { target: "example.org".to_owned(), checks: Vec::new() };
        let then = stream::poll_fn(move |_| match scene.as_str() {
            "the view panics" => panic!("the feed fell over"),
            "another task panics" => {
                // Its failure is the task's own; the view goes on.
                drop(tokio::spawn(async { panic!("a task fell over") }));
                Poll::Ready(None)
            }
            _ => Poll::Pending,
        });
        let (actions, _asked) = tokio::sync::mpsc::channel(1);
        let options = Options { title: "test".to_owned(), theme: Theme { colour: true, ascii: false } };
        run(stream::iter([started]).chain(then), actions, options).await.unwrap()
    });
    assert_eq!(exit, Exit::Quit, "ended by {exit:?}");
}

/// A view in a process of its own, on a terminal of its own.
struct View {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    before: Termios,
    output: Receiver<Vec<u8>>,
    /// All that it wrote, which tells what came before what.
    written: String,
    /// What it shows.
    screen: vt100::Parser,
}

impl View {
    fn start(scene: &str) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "view_under_test", "--nocapture"])
            .env(SCENE, scene)
            .env("RUST_BACKTRACE", "0")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let keyboard = File::from(pty.master.try_clone().unwrap());
        let mut screen = File::from(pty.master);
        let (tell, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                if tell.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keyboard,
            terminal: pty.slave,
            before,
            output,
            written: String::new(),
            screen: vt100::Parser::default(),
        }
    }

    fn wait_for(&mut self, text: &str) {
        // What was on the screen between two pictures is only in what was written.
        let shown = |view: &Self| view.screen.screen().contents().contains(text);
        self.wait_until(text, |view| shown(view) || view.written.contains(text));
    }

    fn wait_until(&mut self, what: &str, ready: impl Fn(&Self) -> bool) {
        while !ready(self) {
            let Ok(bytes) = self.output.recv_timeout(Duration::from_secs(20)) else {
                panic!("no {what:?} on the screen:\n{}", self.screen.screen().contents());
            };
            self.screen.process(&bytes);
            self.written.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    fn press(&mut self, key: &str) {
        self.keyboard.write_all(key.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_flags.contains(LocalFlags::ICANON)
    }

    /// Waits for the end, and sees to it that the terminal is as it was.
    fn end(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        assert_eq!(tcgetattr(&self.terminal).unwrap(), self.before, "the terminal is not as it was");
        self.wait_until("normal screen with a cursor", |view| {
            let screen = view.screen.screen();
            !screen.alternate_screen() && !screen.hide_cursor()
        });
        status
    }
}

#[test]
fn quitting_gives_the_terminal_back() {
    let mut view = View::start("nothing more happens");
    view.wait_for("example.org");
    assert!(view.is_raw());
    view.press("q");
    let status = view.end();
    assert!(status.success());
}

#[test]
fn control_c_gives_the_terminal_back() {
    let mut view = View::start("nothing more happens");
    view.wait_for("example.org");
    view.press("\x03");
    view.wait_for("ended by Interrupted");
    view.end();
}

#[test]
fn a_signal_gives_the_terminal_back() {
    for (signal, exit) in
        [(Signal::SIGTERM, "Terminated"), (Signal::SIGINT, "Interrupted"), (Signal::SIGHUP, "Terminated")]
    {
        let mut view = View::start("nothing more happens");
        view.wait_for("example.org");
        view.signal(signal);
        view.wait_for(&format!("ended by {exit}"));
        view.end();
    }
}

#[test]
fn a_panic_in_the_view_gives_the_terminal_back_before_its_message() {
    let mut view = View::start("the view panics");
    view.wait_for("the feed fell over");
    assert!(view.written.find("the feed fell over") > view.written.find(LEFT));
    assert!(view.written.contains(LEFT));
    assert!(!view.end().success());
}

#[test]
fn a_panic_elsewhere_is_told_on_the_normal_screen_and_the_view_goes_on() {
    let mut view = View::start("another task panics");
    view.wait_for("a task fell over");
    view.press("?");
    view.wait_for("show or hide this page");
    assert!(view.is_raw());
    view.press("q");
    let told = view.written.find("a task fell over").unwrap();
    let before = &view.written[..told];
    assert!(before.rfind(LEFT) > before.rfind(ENTERED), "told on the alternate screen");
    assert_eq!(view.written.matches(ENTERED).count(), 2);
    assert!(view.end().success());
}
