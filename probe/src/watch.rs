//! The live view of a deployment: runs the checks, then measures each path to dialog, and shows both until the person quits. Or the
//! same view of a run that was written down.

mod feed;
mod measure;
mod path;
mod relayed;
mod replay;

use std::{io, pin::pin, sync::Arc, time::Duration};

use futures_util::stream;
use hubs_tui::{Action, Exit, Options, Theme, feed::Feed};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use crate::{
    check::Context,
    checks::CHECKS,
    engine,
    event::Sink,
    report::{EXIT_GOOD, EXIT_INTERRUPTED, EXIT_TERMINATED, End, FailOn, Report},
};
use measure::Measurement;
use replay::Moment;
pub(crate) use replay::ReplayError;

/// How many measurements wait for a view that is busy. When it is stuck, measuring pauses.
const MOST_WAITING: usize = 64;

/// What is left when the view is gone.
pub(crate) struct Watched {
    /// What the last complete run found, or else what was found so far.
    pub(crate) report: Report,
    exit: Exit,
}

impl Watched {
    /// The exit status of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        exit_code(self.exit, self.report.exit_code(FailOn::Fail))
    }
}

/// The exit status of a view that ended so; `quit` if the person left it.
fn exit_code(exit: Exit, quit: u8) -> u8 {
    match exit {
        Exit::Quit => quit,
        Exit::Interrupted => EXIT_INTERRUPTED,
        Exit::Terminated => EXIT_TERMINATED,
    }
}

/// A run that was written down.
#[derive(Debug)]
pub(crate) struct Recording(Vec<Moment>);

impl Recording {
    /// Reads the lines of `check --output jsonl`.
    pub(crate) fn read(text: &str) -> Result<Self, ReplayError> {
        replay::read(text).map(Self)
    }
}

/// Shows what was written down as it happened, and again whenever that is asked for, until the person quits; gives the exit status. An
/// error is the terminal's.
pub(crate) async fn replay(recording: Recording, theme: Theme) -> io::Result<u8> {
    let (tell, mut told) = mpsc::channel(MOST_WAITING);
    let (ask, asked) = mpsc::channel(1);
    let playing = tokio::spawn(play(recording, tell, asked));
    let shown = stream::poll_fn(move |cx| told.poll_recv(cx));
    let title = "hubs-probe watch --replay".to_owned();
    let exit = hubs_tui::run(shown, ask, Options { title, theme }).await;
    playing.abort();
    Ok(exit_code(exit?, EXIT_GOOD))
}

/// Tells each moment at its time, until nobody listens any more.
async fn play(recording: Recording, tell: mpsc::Sender<Feed>, mut asked: mpsc::Receiver<Action>) {
    loop {
        let began = Instant::now();
        for (after, news) in &recording.0 {
            sleep_until(began + *after).await;
            if tell.send(news.clone()).await.is_err() {
                return;
            }
        }
        let Some(Action::Rerun) = asked.recv().await else { return };
    }
}

/// Shows the deployment until the person quits. Each run may take `limit`. An error is the terminal's.
pub(crate) async fn watch(cx: Arc<Context>, limit: Duration, theme: Theme) -> io::Result<Watched> {
    let (tell_news, mut news) = mpsc::unbounded_channel();
    let (tell_samples, mut samples) = mpsc::channel(MOST_WAITING);
    let (ask, asked) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel();
    let session = Session { cx, limit, tell_news, tell_samples, asked };
    let session = tokio::spawn(session.run(stopped));

    let shown = stream::select(
        stream::poll_fn(move |cx| news.poll_recv(cx)),
        stream::poll_fn(move |cx| samples.poll_recv(cx)),
    );
    let exit = hubs_tui::run(shown, ask, Options { title: "hubs-probe watch".to_owned(), theme }).await;
    drop(stop);
    let report = session.await?;
    Ok(Watched { report, exit: exit? })
}

struct Session {
    cx: Arc<Context>,
    limit: Duration,
    /// Unbounded, because no news may be lost: a run has only so many, and it is the view that asks for another one.
    tell_news: mpsc::UnboundedSender<Feed>,
    tell_samples: mpsc::Sender<Feed>,
    asked: mpsc::Receiver<Action>,
}

impl Session {
    /// Runs the checks, and again whenever that is asked for. Between runs and during the next one the paths are measured.
    async fn run(mut self, stopped: oneshot::Receiver<()>) -> Report {
        let mut stopped = pin!(async {
            let _ = stopped.await;
            End::Interrupted
        });
        let mut complete = None;
        let mut measurement: Option<Measurement> = None;
        let report = loop {
            let cx = Arc::new(self.cx.anew());
            let report = engine::run(Arc::clone(&cx), CHECKS, self.limit, &self.sink(), &mut stopped).await;
            if report.end == End::Interrupted {
                break complete.unwrap_or(report);
            }
            if let Some(before) = measurement.take() {
                before.end().await;
            }
            measurement = Some(Measurement::start(cx, self.tell_samples.clone()));
            tokio::select! {
                Some(Action::Rerun) = self.asked.recv() => complete = Some(report),
                _ = &mut stopped => break report,
            }
        };
        if let Some(measurement) = measurement {
            measurement.end().await;
        }
        report
    }

    fn sink(&self) -> Sink {
        let tell = self.tell_news.clone();
        Sink::new(move |event| {
            for news in feed::translate(event) {
                // Without a view there is nobody left to tell.
                let _ = tell.send(news);
            }
        })
    }
}
