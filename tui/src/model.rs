//! All that the view shows, and what the feed makes of it. Bounded in every direction that the feed can push.

use std::{collections::VecDeque, time::Duration};

use crate::{
    feed::{Check, Feed, Finding, Path, Status, Verdict},
    history::History,
    theme::Theme,
};

/// Most paths shown: the far end decides how many addresses it names.
pub(crate) const MOST_PATHS: usize = 12;

/// Most lines kept of the log.
const MOST_EVENTS: usize = 200;

/// The state of the view. Times are since the view began.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// What the header begins with.
    pub(crate) title: String,
    pub(crate) theme: Theme,
    /// What the feed said so far.
    live: Picture,
    /// The picture that the user holds on to.
    frozen: Option<Picture>,
    /// The check that the user selected; until then the selection follows the news.
    selected: Option<usize>,
    pub(crate) page: Page,
    /// Entries of the details that are scrolled out of sight.
    scroll: usize,
}

/// What the middle of the screen shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Overview,
    Details,
    Help,
}

/// What the feed said so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    /// When the view last heard anything, ticks included.
    pub(crate) now: Duration,
    pub(crate) run: Run,
    pub(crate) target: String,
    pub(crate) checks: Vec<CheckRow>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) paths: Vec<PathRow>,
    /// When, and what; the latest last.
    pub(crate) events: VecDeque<(Duration, String)>,
}

/// How far the run over all checks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// No run was announced yet.
    Waiting,
    Running {
        since: Duration,
    },
    Done {
        took: Duration,
    },
    /// The feed is over: there will be no news.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckRow {
    pub(crate) check: Check,
    pub(crate) progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    Running,
    Finished(Vec<Finding>),
}

impl CheckRow {
    /// The status of its gravest finding, once it is finished.
    pub(crate) fn status(&self) -> Option<Status> {
        match &self.progress {
            Progress::Waiting | Progress::Running => None,
            Progress::Finished(findings) => {
                Some(findings.iter().map(|f| f.status).max().unwrap_or(Status::Pass))
            }
        }
    }

    /// The findings, the gravest first, otherwise in their order.
    pub(crate) fn findings(&self) -> Vec<&Finding> {
        let Progress::Finished(findings) = &self.progress else { return Vec::new() };
        let mut findings: Vec<_> = findings.iter().collect();
        findings.sort_by_key(|f| std::cmp::Reverse(f.status));
        findings
    }

    /// How many summaries and notes the findings have together.
    fn entries(&self) -> usize {
        self.findings().iter().map(|f| 1 + f.notes.len()).sum()
    }

    /// One line: what the gravest finding says.
    pub(crate) fn summary(&self) -> &str {
        self.findings().first().map_or("", |f| f.summary.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathRow {
    pub(crate) path: Path,
    pub(crate) history: History,
    /// Why the latest sample had no answer.
    pub(crate) obstacle: Option<String>,
}

impl Model {
    pub(crate) fn new(title: String, theme: Theme) -> Self {
        let live = Picture {
            now: Duration::ZERO,
            run: Run::Waiting,
            target: String::new(),
            checks: Vec::new(),
            verdict: None,
            paths: Vec::new(),
            events: VecDeque::new(),
        };
        Self { title, theme, live, frozen: None, selected: None, page: Page::Overview, scroll: 0 }
    }

    /// What is to be seen.
    pub(crate) fn picture(&self) -> &Picture {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Whether anything on the screen changes with time alone.
    pub(crate) fn animates(&self) -> bool {
        !self.is_frozen() && matches!(self.live.run, Run::Running { .. })
    }

    /// Whether a run can begin.
    pub(crate) fn can_rerun(&self) -> bool {
        matches!(self.live.run, Run::Done { .. })
    }

    /// Which check is selected: the user's choice, or the first of the gravest ones, or the first.
    pub(crate) fn selected(&self) -> usize {
        let checks = &self.picture().checks;
        let gravest = checks.iter().filter_map(CheckRow::status).max().filter(|&s| s >= Status::Warn);
        let follow = || checks.iter().position(|c| gravest.is_some() && c.status() == gravest).unwrap_or(0);
        self.selected.unwrap_or_else(follow).min(checks.len().saturating_sub(1))
    }

    pub(crate) fn select(&mut self, index: usize) {
        self.selected = Some(index.min(self.picture().checks.len().saturating_sub(1)));
        self.scroll = 0;
    }

    /// The selected check, once there are any.
    pub(crate) fn selected_check(&self) -> Option<&CheckRow> {
        self.picture().checks.get(self.selected())
    }

    pub(crate) fn scroll(&self) -> usize {
        let entries = self.selected_check().map_or(0, CheckRow::entries);
        self.scroll.min(entries.saturating_sub(1))
    }

    pub(crate) fn scroll_down(&mut self) {
        self.scroll = self.scroll() + 1;
    }

    pub(crate) fn scroll_up(&mut self) {
        self.scroll = self.scroll().saturating_sub(1);
    }

    pub(crate) fn toggle_page(&mut self, page: Page) {
        self.page = if self.page == page { Page::Overview } else { page };
        self.scroll = 0;
    }

    pub(crate) fn toggle_freeze(&mut self) {
        self.frozen = if self.is_frozen() { None } else { Some(self.live.clone()) };
    }

    pub(crate) fn set_now(&mut self, now: Duration) {
        self.live.now = now;
    }

    pub(crate) fn apply(&mut self, feed: Feed) {
        if matches!(feed, Feed::RunStarted { .. }) {
            self.scroll = 0;
        }
        self.live.apply(feed);
    }

    pub(crate) fn feed_ended(&mut self) {
        self.live.run = Run::Ended;
        self.live.log("the feed ended: nothing is measured any more".to_owned());
    }
}

impl Picture {
    /// How many checks ended with each status, the gravest first.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Status, usize)> {
        let count = |status| self.checks.iter().filter(|c| c.status() == Some(status)).count();
        Status::ALL.into_iter().map(move |status| (status, count(status)))
    }

    fn apply(&mut self, feed: Feed) {
        match feed {
            Feed::RunStarted { target, checks } => {
                self.log(format!("checking {target}"));
                self.run = Run::Running { since: self.now };
                self.target = target;
                self.checks =
                    checks.into_iter().map(|check| CheckRow { check, progress: Progress::Waiting }).collect();
                self.verdict = None;
            }
            Feed::CheckStarted { check } => self.progress(&check, Progress::Running),
            Feed::CheckFinished { check, findings } => {
                for f in findings.iter().filter(|f| f.status >= Status::Warn) {
                    self.log(format!("{check} {}: {}", f.status, f.summary));
                }
                self.progress(&check, Progress::Finished(findings));
            }
            Feed::Verdict(verdict) => self.verdict = Some(verdict),
            Feed::RunFinished => {
                if let Run::Running { since } = self.run {
                    self.run = Run::Done { took: self.now.saturating_sub(since) };
                    self.log("checks done".to_owned());
                }
            }
            Feed::Paths(paths) => self.set_paths(paths),
            Feed::Sample { path, outcome } => self.sample(&path, outcome),
            Feed::Note(text) => self.log(text),
        }
    }

    fn progress(&mut self, id: &str, progress: Progress) {
        match self.checks.iter_mut().find(|row| row.check.id == id) {
            Some(row) => row.progress = progress,
            None => self.log(format!("news of {id}, which is no check of this run")),
        }
    }

    fn set_paths(&mut self, paths: Vec<Path>) {
        let mut known = std::mem::take(&mut self.paths);
        let row = |path: Path| match known.iter().position(|row| row.path.name == path.name) {
            Some(at) => PathRow { path, ..known.swap_remove(at) },
            None => PathRow { path, history: History::default(), obstacle: None },
        };
        self.paths = paths.into_iter().take(MOST_PATHS).map(row).collect();
    }

    fn sample(&mut self, name: &str, outcome: Result<Duration, String>) {
        // A sample of a path that was just withdrawn may still be under way.
        let Some(row) = self.paths.iter_mut().find(|row| row.path.name == name) else { return };
        let before = row.history.reach();
        row.history.push(outcome.as_ref().ok().copied());
        row.obstacle = outcome.err();
        let after = row.history.reach();
        if before != after {
            let why = row.obstacle.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            self.log(format!("{name} is {}{why}", after.word()));
        }
    }

    fn log(&mut self, text: String) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back((self.now, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_check_is_as_bad_as_its_gravest_finding() {
        let mut model = testing::model();
        testing::all_pass(&mut model);
        let finding =
            |status, summary: &str| Finding { status, summary: summary.to_owned(), notes: Vec::new() };
        let check = "dns.addresses".to_owned();
        model.apply(Feed::CheckFinished {
            check,
            findings: vec![
                finding(Status::Pass, "fine"),
                finding(Status::Fail, "bad"),
                finding(Status::Warn, "so so"),
            ],
        });
        let row = &model.picture().checks[0];
        assert_eq!((row.status(), row.summary()), (Some(Status::Fail), "bad"));
    }

    #[test]
    fn a_path_that_keeps_its_name_keeps_its_history() {
        let mut model = testing::model();
        let path = |name: &str, route: &str| Path { name: name.to_owned(), route: route.to_owned() };
        model.apply(Feed::Paths(vec![path("direct", "old"), path("gone", "")]));
        model.apply(Feed::Sample { path: "direct".to_owned(), outcome: Ok(Duration::from_millis(3)) });
        model.apply(Feed::Paths(vec![path("through TURN", ""), path("direct", "new")]));
        let rows = &model.picture().paths;
        assert_eq!(rows.iter().map(|r| r.path.name.as_str()).collect::<Vec<_>>(), ["through TURN", "direct"]);
        assert_eq!(rows[1].path.route, "new");
        assert_eq!(rows[1].history.latest_first().count(), 1);
        assert_eq!(rows[0].history.figures(), None);
    }

    #[test]
    fn the_feed_cannot_make_the_model_grow_without_end() {
        let mut model = testing::model();
        let path = |n: usize| Path { name: n.to_string(), route: String::new() };
        model.apply(Feed::Paths((0..1000).map(path).collect()));
        for n in 0..1000 {
            model.apply(Feed::Note(n.to_string()));
            model.apply(Feed::Sample { path: "0".to_owned(), outcome: Err("silence".to_owned()) });
        }
        assert_eq!(model.picture().paths.len(), MOST_PATHS);
        assert_eq!(model.picture().events.len(), MOST_EVENTS);
        assert_eq!(model.picture().events.back().unwrap().1, "999");
        assert_eq!(model.picture().paths[0].history.latest_first().count(), crate::history::WINDOW);
    }

    #[test]
    fn the_log_tells_when_a_path_goes_down_and_comes_back() {
        let mut model = testing::model();
        model.apply(Feed::Paths(vec![Path { name: "direct".to_owned(), route: String::new() }]));
        let sample = |outcome| Feed::Sample { path: "direct".to_owned(), outcome };
        for _ in 0..5 {
            model.apply(sample(Err("no answer".to_owned())));
        }
        model.apply(sample(Ok(Duration::from_millis(20))));
        let log: Vec<_> = model.picture().events.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(log, ["direct is down: no answer", "direct is up"]);
    }
}
