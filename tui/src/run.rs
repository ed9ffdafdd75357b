//! The loop: whatever happens next, the model takes it in and is drawn again. The only part with a clock.

use std::{io, pin::pin, time::Duration};

use crossterm::event::{Event, EventStream};
use futures_util::{Stream, StreamExt, stream};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    feed::Feed,
    model::Model,
    terminal::{self, Screen},
    theme::Theme,
    update::{Effect, Msg, update},
};

/// How often the picture moves while a run is under way.
const TICK: Duration = Duration::from_millis(125);

/// Most messages taken in before the picture is drawn again.
const BATCH: usize = 256;

/// How the view looks.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the header begins with, such as the name of the program.
    pub title: String,
    /// Colours and glyphs.
    pub theme: Theme,
}

/// What the user asked for that the view cannot do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run all checks again.
    Rerun,
}

/// Why the view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The user asked for it.
    Quit,
    /// Ctrl-C, which in the view is a key, or SIGINT from outside.
    Interrupted,
    /// SIGTERM, or the terminal went away (SIGHUP).
    Terminated,
}

/// Shows the feed on the terminal until the user quits or a signal ends it, and gives the terminal back.
///
/// `actions` is asked at most once for what has not yet been taken from it. An error is the terminal's.
pub async fn run(
    feed: impl Stream<Item = Feed>,
    actions: mpsc::Sender<Action>,
    options: Options,
) -> io::Result<Exit> {
    let signals = signals()?;
    let mut screen = Screen::enter()?;
    let model = Model::new(options.title, options.theme);
    drive(model, EventStream::new(), feed, &actions, signals, |model| screen.draw(model)).await
}

/// The first of the signals that end the view.
fn signals() -> io::Result<impl Future<Output = Exit>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Terminated,
            _ = hang_up.recv() => Exit::Terminated,
        }
    })
}

async fn drive(
    mut model: Model,
    input: impl Stream<Item = io::Result<Event>>,
    feed: impl Stream<Item = Feed>,
    actions: &mpsc::Sender<Action>,
    stop: impl Future<Output = Exit>,
    mut draw: impl FnMut(&Model) -> io::Result<()>,
) -> io::Result<Exit> {
    // What the feed has to say, and once that it has nothing more to say.
    let feed = feed.map(Msg::Feed).chain(stream::iter([Msg::FeedEnded])).chain(stream::pending());
    let (mut input, mut feed, mut stop) = (pin!(input), pin!(feed.ready_chunks(BATCH)), pin!(stop));
    let began = Instant::now();
    draw(&model)?;
    loop {
        // Each branch only waits: what loses the race is asked again in the next round.
        let news = tokio::select! {
            biased;
            exit = &mut stop => return Ok(exit),
            () = terminal::taken() => Vec::new(),
            event = input.next() => match event {
                Some(Ok(Event::Key(key))) => vec![Msg::Key(key)],
                // A new size, or something that the view did not ask for: drawing again is the answer.
                Some(Ok(_)) => Vec::new(),
                Some(Err(error)) => return Err(error),
                // Nobody can press a key any more.
                None => return Ok(Exit::Terminated),
            },
            Some(news) = feed.next() => news,
            () = sleep(TICK), if model.animates() => vec![Msg::Tick],
        };
        for msg in news {
            match update(&mut model, began.elapsed(), msg) {
                Some(Effect::Quit) => return Ok(Exit::Quit),
                Some(Effect::Interrupt) => return Ok(Exit::Interrupted),
                // A full channel holds the same wish already, a closed one has nobody left to grant it.
                Some(Effect::Rerun) => drop(actions.try_send(Action::Rerun)),
                None => {}
            }
        }
        draw(&model)?;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::{feed::Check, testing, view::view};

    type Keys = mpsc::UnboundedSender<io::Result<Event>>;

    fn press(keys: &Keys, c: char) {
        keys.send(Ok(Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)))).unwrap();
    }

    fn stream_of<T>(mut receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
        stream::poll_fn(move |cx| receiver.poll_recv(cx))
    }

    fn text(terminal: &Terminal<TestBackend>) -> String {
        terminal.backend().to_string()
    }

    fn started() -> Feed {
        let check = Check { id: "one".to_owned(), group: "Group".to_owned(), title: "?".to_owned() };
        Feed::RunStarted { target: "example.org".to_owned(), checks: vec![check] }
    }

    /// Drives a view on a screen of its own; returns how it ended and every picture that it drew.
    async fn driven(
        keys: mpsc::UnboundedReceiver<io::Result<Event>>,
        feed: impl Stream<Item = Feed>,
        actions: &mpsc::Sender<Action>,
        stop: impl Future<Output = Exit>,
    ) -> (Exit, Vec<String>) {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let mut pictures = Vec::new();
        let draw = |model: &Model| {
            terminal.draw(|frame| view(model, frame)).unwrap();
            pictures.push(text(&terminal));
            Ok(())
        };
        let exit = drive(testing::model(), stream_of(keys), feed, actions, stop, draw).await.unwrap();
        (exit, pictures)
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_picture_before_there_is_news() {
        let (keys, pressed) = mpsc::unbounded_channel();
        let (actions, _asked) = mpsc::channel(1);
        press(&keys, 'q');
        let (exit, pictures) = driven(pressed, stream::pending(), &actions, pending()).await;
        assert_eq!(exit, Exit::Quit);
        assert_eq!(pictures.len(), 1);
        assert!(pictures[0].contains("starting"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_picture_moves_only_while_a_run_is_under_way() {
        let (_keys, pressed) = mpsc::unbounded_channel();
        let (actions, _asked) = mpsc::channel(1);
        let (tell, told) = mpsc::unbounded_channel();
        let script = async {
            tell.send(started()).unwrap();
            sleep(Duration::from_secs(2)).await;
            tell.send(Feed::RunFinished).unwrap();
            sleep(Duration::from_mins(1)).await;
            Exit::Terminated
        };
        let (exit, pictures) = driven(pressed, stream_of(told), &actions, script).await;
        assert_eq!(exit, Exit::Terminated);
        // The first picture, the start, a tick each 125 ms for two seconds, the end; a minute of nothing.
        assert!((17..=19).contains(&pictures.len()), "{} pictures", pictures.len());
        assert!(pictures[pictures.len() - 2].contains("running 00:01"));
        assert!(pictures.last().unwrap().contains("done in 00:02"));
    }

    #[tokio::test(start_paused = true)]
    async fn much_news_at_once_is_one_picture() {
        let (keys, pressed) = mpsc::unbounded_channel();
        let (actions, _asked) = mpsc::channel(1);
        let (tell, told) = mpsc::unbounded_channel();
        for n in 0..100 {
            tell.send(Feed::Note(n.to_string())).unwrap();
        }
        let script = async {
            sleep(Duration::from_secs(1)).await;
            press(&keys, 'q');
            pending().await
        };
        let (_, pictures) = driven(pressed, stream_of(told), &actions, script).await;
        assert_eq!(pictures.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_for_a_rerun_is_passed_on_once() {
        let (keys, pressed) = mpsc::unbounded_channel();
        let (actions, mut asked) = mpsc::channel(1);
        let news = stream::iter([started(), Feed::RunFinished]).chain(stream::pending());
        let script = async {
            sleep(Duration::from_secs(1)).await;
            "rrq".chars().for_each(|c| press(&keys, c));
            pending().await
        };
        driven(pressed, news, &actions, script).await;
        assert_eq!(asked.try_recv(), Ok(Action::Rerun));
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_ends_leaves_the_picture_until_the_user_quits() {
        let (keys, pressed) = mpsc::unbounded_channel();
        let (actions, _asked) = mpsc::channel(1);
        let script = async {
            sleep(Duration::from_mins(1)).await;
            press(&keys, 'q');
            pending().await
        };
        let (exit, pictures) = driven(pressed, stream::iter([started()]), &actions, script).await;
        assert_eq!(exit, Exit::Quit);
        assert!(pictures.last().unwrap().contains("ended"));
    }

    #[tokio::test]
    async fn an_input_that_ends_ends_the_view() {
        let (actions, _asked) = mpsc::channel(1);
        let (_, pressed) = mpsc::unbounded_channel();
        let (exit, _) = driven(pressed, stream::pending(), &actions, pending()).await;
        assert_eq!(exit, Exit::Terminated);
    }
}
