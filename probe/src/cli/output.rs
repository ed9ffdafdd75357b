//! Where a report goes, and in which form: to standard output, or to a file besides what is on the terminal.

use std::{
    ffi::OsStr,
    fs, io,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use tempfile::Builder;
use time::OffsetDateTime;

use super::{
    terminal::{can_show_progress, print, style},
    usage::UsageError,
};
use crate::{
    check::Check,
    choice::{Choice, Suppression},
    diagnose::Subject,
    event::{Event, Sink},
    finding::Finding,
    redact::Redaction,
    report::{FailOn, Report, html, human, human::Style, json, jsonl, junit, markdown, prometheus, sarif},
};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Human,
    /// One JSON document.
    Json,
    /// A JSON document for each event, on a line of its own, as it happens.
    Jsonl,
    /// XML as JUnit writes it, for CI.
    Junit,
    /// SARIF 2.1.0.
    Sarif,
    /// Markdown, for an issue or a chat.
    Markdown,
    /// One HTML file that needs nothing else.
    Html,
    /// Metrics for Prometheus, to be collected from a text file.
    Prometheus,
}

impl Output {
    /// The form that the name of a file asks for.
    fn of_file(path: &Path) -> Option<Self> {
        Some(match path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase().as_str() {
            "txt" => Self::Human,
            "json" => Self::Json,
            "jsonl" | "ndjson" => Self::Jsonl,
            "xml" => Self::Junit,
            "sarif" => Self::Sarif,
            "md" => Self::Markdown,
            "html" | "htm" => Self::Html,
            "prom" => Self::Prometheus,
            _ => return None,
        })
    }

    /// The report in this form. Of a run as it happened, `lines` are what was recorded.
    fn render(self, report: &Report, style: Style, lines: &Lines) -> String {
        match self {
            Self::Human => human::render(report, style),
            Self::Json => json::render(report),
            Self::Jsonl => lines.text(),
            Self::Junit => junit::render(report),
            Self::Sarif => sarif::render(report),
            Self::Markdown => markdown::render(report),
            Self::Html => html::render(report),
            Self::Prometheus => prometheus::render(report),
        }
    }
}

/// How a report is told: the same options for every command that makes one.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The form of the report [default: human].
    #[arg(long, value_enum)]
    output: Option<Output>,
    /// Write the report to this file, in the form of --output or of the file's name (.json .jsonl .xml .sarif .md .html .prom
    /// .txt), besides the one for people on the terminal.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write over the file of --report if it is there.
    #[arg(long, requires = "report")]
    overwrite: bool,
    /// Take addresses, rooms and user names out of everything that is told of the run.
    #[arg(long)]
    pub(super) redact: bool,
    /// Show no progress, and for people the verdict only.
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Which findings make the exit status 1.
    #[arg(long, value_enum, default_value_t)]
    pub(super) fail_on: FailOn,
    /// Do not count this known fault, everywhere or at one place, for a reason: HP0206=assets.example.org:renewed on Monday.
    #[arg(long, value_name = "CODE[=PLACE][:REASON]")]
    pub(super) suppress: Vec<Suppression>,
}

impl ReportArgs {
    /// Prepares to tell of a run: what is returned hears of everything that happens.
    pub(super) fn begin(&self) -> Result<(Telling<'_>, Vec<Sink>), UsageError> {
        let telling =
            Telling { args: self, destination: self.destination()?, lines: Lines::default(), stream: None };
        Ok(telling.listen())
    }

    /// Whether somebody watches who wants to see progress.
    pub(super) fn shows_progress(&self) -> bool {
        self.shown() == Output::Human && !self.quiet && can_show_progress()
    }

    /// The file that the report goes to, if it goes to one.
    pub(super) fn destination(&self) -> Result<Option<Destination>, UsageError> {
        let existing = if self.overwrite { Existing::Overwritten } else { Existing::Kept };
        let new = |path: &PathBuf| Destination::new(path.clone(), self.output, existing);
        self.report.as_ref().map(new).transpose()
    }

    /// What is printed. A report that goes to a file leaves the terminal to the person.
    fn shown(&self) -> Output {
        if self.report.is_some() { Output::Human } else { self.output.unwrap_or(Output::Human) }
    }

    /// Prints it.
    fn print(&self, report: &Report) {
        if self.shown() == Output::Human && self.quiet {
            print(&human::verdict(report, style()));
        } else {
            print_report(report, self.shown(), style());
        }
    }

    /// Says which known faults were not there: a place that is misspelt would never be noticed otherwise.
    fn tell_unmet(&self) {
        for known in self.suppress.iter().filter(|it| !it.has_met()) {
            let _ = writeln!(
                io::stderr(),
                "hubs-probe: --suppress {known} suppressed nothing: no fault of this code was found there"
            );
        }
    }

    /// Tells of findings about files, which took no time: as `check` tells of its own, and as if the checks had run.
    pub(super) fn tell(
        &self,
        subject: Subject,
        target: String,
        checks: Vec<(&'static Check, Vec<Finding>)>,
    ) -> Result<u8, UsageError> {
        let destination = self.destination()?;
        let choice = Choice { suppress: self.suppress.clone(), ..Choice::default() };
        let mut redaction = Redaction::default();
        let when = OffsetDateTime::now_utc();
        let mut findings = Vec::new();
        let mut events = vec![Event::RunStarted {
            target: target.clone(),
            checks: checks.iter().map(|(check, _)| *check).collect(),
        }];
        for (check, mut found) in checks {
            choice.judge(&mut found);
            for finding in &mut found {
                finding.check = check.id;
                if self.redact {
                    redaction.apply(finding);
                }
            }
            events.push(Event::CheckStarted { check: check.id });
            events.push(Event::CheckFinished {
                check: check.id,
                findings: found.clone(),
                duration: Duration::ZERO,
            });
            findings.extend(found);
        }
        let report = Report::of_files(subject, target, when, findings);
        events.push(Event::RunFinished(report.clone()));
        let lines = Lines::default();
        let sink = lines.sink();
        for event in events {
            sink.emit(event);
        }
        if self.shown() == Output::Jsonl {
            print(&lines.text());
        }
        self.print(&report);
        self.tell_unmet();
        if let Some(destination) = destination {
            destination.write(&report, &lines)?;
        }
        Ok(report.exit_code(self.fail_on))
    }
}

/// A run that is being told.
pub(super) struct Telling<'a> {
    args: &'a ReportArgs,
    destination: Option<Destination>,
    lines: Lines,
    stream: Option<Stream>,
}

impl Telling<'_> {
    fn listen(mut self) -> (Self, Vec<Sink>) {
        let mut sinks = Vec::new();
        if self.destination.as_ref().is_some_and(|it| it.format() == Output::Jsonl) {
            sinks.push(self.lines.sink());
        }
        if self.args.shown() == Output::Jsonl {
            let (stream, sink) = Stream::start();
            self.stream = Some(stream);
            sinks.push(sink);
        }
        (self, sinks)
    }

    /// Tells how the run ended, once all of its sinks are gone, and returns the exit status.
    pub(super) fn finish(self, report: &Report) -> Result<u8, UsageError> {
        if let Some(stream) = self.stream {
            stream.finish();
        }
        self.args.print(report);
        self.args.tell_unmet();
        if let Some(destination) = self.destination {
            destination.write(report, &self.lines)?;
        }
        Ok(report.exit_code(self.args.fail_on))
    }
}

/// The lines of a run, as they were told.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<String>>);

impl Lines {
    /// Records every event.
    fn sink(&self) -> Sink {
        let (lines, begun) = (Arc::clone(&self.0), Instant::now());
        Sink::new(move |event| {
            let line = jsonl::line(&event, begun.elapsed());
            *lines.lock().unwrap_or_else(PoisonError::into_inner) += &line;
        })
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Lines that go to standard output while they are told. A reader who is slow holds nobody up but the writer.
struct Stream {
    writer: JoinHandle<()>,
}

impl Stream {
    /// Starts it. It ends when its sink is gone.
    fn start() -> (Self, Sink) {
        let (tell, told) = mpsc::channel::<String>();
        let writer = thread::spawn(move || told.iter().for_each(|line| print(&line)));
        let begun = Instant::now();
        let sink = Sink::new(move |event| {
            // Without a writer there is nobody left to tell.
            let _ = tell.send(jsonl::line(&event, begun.elapsed()));
        });
        (Self { writer }, sink)
    }

    /// Waits until everything is written.
    fn finish(self) {
        let _ = self.writer.join();
    }
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    /// It stays, and nothing is written.
    Kept,
    /// The report takes its place.
    Overwritten,
}

/// A file that a report goes to.
#[derive(Debug)]
pub(super) struct Destination {
    path: PathBuf,
    format: Output,
    existing: Existing,
}

impl Destination {
    /// A file of this form, or else of the one that its name asks for. Whatever can be known to be wrong with it is said before
    /// a check is run for it.
    fn new(path: PathBuf, format: Option<Output>, existing: Existing) -> Result<Self, UsageError> {
        let Some(format) = format.or_else(|| Output::of_file(&path)) else {
            return Err(UsageError::NoFormat(path));
        };
        let refused = |path, source| Err(UsageError::Report { path, source });
        // A link that leads nowhere is there as well, and so is the folder in which nothing is called so.
        let is_there = fs::symlink_metadata(&path).is_ok();
        let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if is_folder || (is_there && !path.is_file()) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
            return refused(path, source);
        }
        if is_there && existing == Existing::Kept {
            return Err(UsageError::ReportExists(path));
        }
        if !folder(&path).is_dir() {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no such folder");
            return refused(path, source);
        }
        // Whether anything can be written there is not known before it is tried.
        if let Err(source) = Builder::new().prefix(".hubs-probe-").tempfile_in(folder(&path)) {
            return refused(path, source);
        }
        Ok(Self { path, format, existing })
    }

    /// The form of it.
    fn format(&self) -> Output {
        self.format
    }

    /// Writes the report: all of it, or nothing.
    fn write(&self, report: &Report, lines: &Lines) -> Result<(), UsageError> {
        let text = self.format.render(report, Style { ascii: false, ..Style::default() }, lines);
        self.replace(&text).map_err(|source| UsageError::Report { path: self.path.clone(), source })
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut file = Builder::new()
            .prefix(".hubs-probe-")
            // As a file that is created the usual way, for others to read; the umask says the rest.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder(&self.path))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        match self.existing {
            Existing::Overwritten => file.persist(&self.path)?,
            Existing::Kept => file.persist_noclobber(&self.path)?,
        };
        Ok(())
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Prints the report to standard output in a form of its own.
pub(super) fn print_report(report: &Report, format: Output, style: Style) {
    match format {
        // It was printed while it happened.
        Output::Jsonl => {}
        format => print(&format.render(report, style, &Lines::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Event, report::tests::sample};

    fn written(name: &str, format: Option<Output>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let lines = Lines::default();
        lines.sink().emit(Event::RunFinished(sample()));
        Destination::new(path.clone(), format, Existing::Kept).unwrap().write(&sample(), &lines).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left beside it");
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_written_in_the_form_that_its_name_asks_for() {
        for (name, beginning) in [
            ("a.txt", "Names"),
            ("a.json", "{\n  \"schema_version\""),
            ("a.jsonl", "{\"event\":"),
            ("a.xml", "<?xml"),
            ("a.sarif", "{\n  \"$schema\""),
            ("a.md", "## hubs-probe"),
            ("A.HTML", "<!DOCTYPE html>"),
            ("a.prom", "# HELP hubs_probe_"),
        ] {
            let text = written(name, None);
            assert!(text.starts_with(beginning) && text.ends_with('\n'), "{name}: {text}");
        }
        assert!(written("a.json", Some(Output::Markdown)).starts_with("## "));
    }

    #[test]
    fn what_is_there_stays_unless_it_is_to_be_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        fs::write(&path, "mine").unwrap();
        let refused = Destination::new(path.clone(), None, Existing::Kept).unwrap_err();
        assert!(refused.to_string().contains("--overwrite"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        Destination::new(path.clone(), None, Existing::Overwritten)
            .unwrap()
            .write(&sample(), &Lines::default())
            .unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("## "));
    }

    #[test]
    fn what_came_while_the_checks_ran_stays_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        let destination = Destination::new(path.clone(), None, Existing::Kept).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(destination.write(&sample(), &Lines::default()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "half a report is left");
    }

    #[test]
    fn a_name_that_asks_for_no_form_and_a_folder_that_is_not_there_are_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            Destination::new(folder.path().join(name), None, Existing::Kept).unwrap_err().to_string()
        };
        assert!(at("report").contains("--output"), "{}", at("report"));
        assert!(at("gone/a.md").contains("no such folder"), "{}", at("gone/a.md"));
        assert!(
            Destination::new("a.md".into(), None, Existing::Overwritten).is_ok(),
            "the working folder is one"
        );
    }

    #[test]
    fn what_is_no_file_is_noticed_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let (link, inner) = (folder.path().join("a.md"), folder.path().join("b.md"));
        std::os::unix::fs::symlink(folder.path().join("gone"), &link).unwrap();
        fs::create_dir(&inner).unwrap();
        let new = folder.path().join("c.md/");
        for existing in [Existing::Kept, Existing::Overwritten] {
            for path in [&link, &inner, &new] {
                let refused = Destination::new(path.clone(), None, existing).unwrap_err().to_string();
                assert!(refused.contains("no regular file"), "{refused}");
            }
        }
    }

    #[test]
    fn others_can_read_the_file_as_if_it_were_created_the_usual_way() {
        let folder = tempfile::tempdir().unwrap();
        let (usual, ours) = (folder.path().join("usual"), folder.path().join("a.prom"));
        fs::write(&usual, "").unwrap();
        Destination::new(ours.clone(), None, Existing::Kept)
            .unwrap()
            .write(&sample(), &Lines::default())
            .unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(usual));
    }
}
