//! What a check reports: one assertion about one target, whether it holds, and what to do if not.
//!
//! Whatever a server said becomes printable here, once, so that no renderer has to think of it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use crate::codes::Code;

/// Longest text kept of anything that a server controls, in characters.
const LONGEST_TEXT: usize = 600;

/// How an assertion turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Pass,
    /// It was not examined; the summary says why.
    Skip,
    /// It holds in part, or will soon no longer hold.
    Warn,
    /// We could not tell: the fault is on our side.
    Error,
    /// It does not hold.
    Fail,
}

impl Status {
    /// The word that stands for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Something observed that speaks for the finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is, such as `issuer`.
    pub label: String,
    /// What was seen.
    pub value: String,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// One sentence.
    pub text: String,
    /// Commands that can be pasted, in order.
    pub commands: Vec<String>,
}

/// Where in a file something stands, or in a cluster, for findings about what is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The file, as the person named it, or the object and the path within it.
    pub file: String,
    /// The line, from 1; nothing if it is about the file as a whole, or about a cluster.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
}

/// A fault that the person knows of and that is not to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suppressed {
    /// The option that says so.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// One assertion about one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which assertion.
    pub code: Code,
    /// The check that made it, filled in by the engine.
    pub check: &'static str,
    /// How it turned out.
    pub status: Status,
    /// What it is about, such as `stream.example.org:5349`.
    pub target: Option<String>,
    /// Where it stands, if it is about a file.
    pub location: Option<Location>,
    /// One line.
    pub summary: String,
    /// The check whose findings this one waited for in vain, filled in by the engine.
    pub needs: Option<&'static str>,
    /// The option by which it was left out.
    pub left_out: Option<String>,
    /// Whether it is known, so that it does not count.
    pub suppressed: Option<Suppressed>,
    /// What was observed.
    pub evidence: Vec<Evidence>,
    /// Why it is so, where that is known.
    pub cause: Option<String>,
    /// What to do.
    pub remedy: Option<Remedy>,
    /// How long the check took, filled in by the engine.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
}

impl Finding {
    /// A finding; the check and the duration are the engine's to fill in.
    pub fn new(code: Code, status: Status, summary: impl AsRef<str>) -> Self {
        Self {
            code,
            check: "",
            status,
            target: None,
            location: None,
            summary: printable(summary.as_ref()),
            needs: None,
            left_out: None,
            suppressed: None,
            evidence: Vec::new(),
            cause: None,
            remedy: None,
            duration: Duration::ZERO,
        }
    }

    /// The assertion holds.
    pub fn pass(code: Code, summary: impl AsRef<str>) -> Self {
        Self::new(code, Status::Pass, summary)
    }

    /// The assertion holds in part.
    pub fn warn(code: Code, summary: impl AsRef<str>) -> Self {
        Self::new(code, Status::Warn, summary)
    }

    /// The assertion does not hold.
    pub fn fail(code: Code, summary: impl AsRef<str>) -> Self {
        Self::new(code, Status::Fail, summary)
    }

    /// The assertion was not examined.
    pub fn skip(code: Code, reason: impl AsRef<str>) -> Self {
        Self::new(code, Status::Skip, reason)
    }

    /// We could not tell.
    pub fn error(code: Code, reason: impl AsRef<str>) -> Self {
        Self::new(code, Status::Error, reason)
    }

    /// Says that this was not examined because the person did not want it.
    #[must_use]
    pub(crate) fn left_out(mut self, by: impl Into<String>) -> Self {
        self.left_out = Some(by.into());
        self
    }

    /// The host in `https://host/path`, `turns:host:port` or plain `host`, if the finding is about one.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host_and_port()?.split(':').next().filter(|host| !host.is_empty())
    }

    /// The same with the port, where there is one.
    pub(crate) fn host_and_port(&self) -> Option<&str> {
        let target = self.target.as_deref()?;
        let rest = match target.split_once("://") {
            Some((_, rest)) => rest,
            None => target.strip_prefix("turns:").unwrap_or(target),
        };
        rest.split('/').next()
    }

    /// Names what the finding is about.
    #[must_use]
    pub fn at(mut self, target: impl AsRef<str>) -> Self {
        self.target = Some(printable(target.as_ref()));
        self
    }

    /// Says where in a file it stands.
    #[must_use]
    pub fn located(mut self, file: &str, line: usize, column: usize) -> Self {
        self.location = Some(Location { file: printable(file), line: Some(line), column: Some(column) });
        self
    }

    /// Says where it is in what has no lines.
    #[must_use]
    pub fn located_in(mut self, place: &str) -> Self {
        self.location = Some(Location { file: printable(place), line: None, column: None });
        self
    }

    /// Adds an observation.
    #[must_use]
    pub fn seen(mut self, label: &str, value: impl fmt::Display) -> Self {
        self.evidence.push(Evidence { label: printable(label), value: printable(&value.to_string()) });
        self
    }

    /// Says why it is so.
    #[must_use]
    pub fn because(mut self, cause: impl AsRef<str>) -> Self {
        self.cause = Some(printable(cause.as_ref()));
        self
    }

    /// Says what to do, and with which commands.
    #[must_use]
    pub fn fix<C: AsRef<str>>(
        mut self,
        text: impl AsRef<str>,
        commands: impl IntoIterator<Item = C>,
    ) -> Self {
        self.remedy = Some(Remedy {
            text: printable(text.as_ref()),
            commands: commands.into_iter().map(|c| printable(c.as_ref())).collect(),
        });
        self
    }

    /// Says what to do where no command does it.
    #[must_use]
    pub fn advise(self, text: impl AsRef<str>) -> Self {
        self.fix(text, [""; 0])
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_millis() as u64)
}

/// `text` without anything that a terminal or a log would obey, and of a bounded length.
///
/// Control characters and those that reorder or hide text become their Rust escapes.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST_TEXT));
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST_TEXT {
            out.push('…');
            break;
        }
        if c.is_control() || is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that show nothing themselves and change or carry what is not seen: Unicode's format characters, tags, and the two
/// code points that no XML may contain.
const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_from_a_server_do_not_survive() {
        let finding = Finding::fail(Code::NameResolves, "\x1b[31mred\x07").seen("said", "a\r\nb\u{202e}c");
        assert_eq!(finding.summary, "\\u{1b}[31mred\\u{7}");
        assert_eq!(finding.evidence[0].value, "a\\r\\nb\\u{202e}c");
    }

    #[test]
    fn what_reorders_or_hides_text_is_shown() {
        for hidden in
            ['\u{ad}', '\u{61c}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{ffff}', '\u{e0041}']
        {
            assert_eq!(printable(&hidden.to_string()), hidden.escape_default().to_string());
        }
        assert_eq!(printable("Zürich – 東京"), "Zürich – 東京");
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = printable(&"ä".repeat(10_000));
        assert_eq!(text.chars().count(), LONGEST_TEXT + 1);
        assert!(text.ends_with('…'));
    }
}
