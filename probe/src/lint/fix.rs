//! Edits of a text by lines and columns, so that everything else in it stays as it was written.

use std::{borrow::Cow, cmp::Reverse, collections::HashMap};

use super::yaml::{Node, Place, Style};

/// A change of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// New lines behind this one, so many columns from the left.
    InsertAfter { line: usize, indent: usize, text: String },
    /// The line becomes a comment.
    Comment { line: usize },
    /// From one column up to another one there is other text.
    Replace { from: Place, until: Place, text: String },
}

/// What is to be done about something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mend {
    /// Somebody has to decide.
    Decision,
    /// These edits, and nobody has to decide.
    Edits(Vec<Edit>),
    /// It needs no decision, and is written in a way that is not edited; why.
    Unable(&'static str),
}

impl Mend {
    /// By this edit, unless there is none.
    pub(super) fn by(edit: Option<Edit>, or_why: &'static str) -> Self {
        edit.map_or(Self::Unable(or_why), |edit| Self::Edits(vec![edit]))
    }
}

/// Why a value is not replaced.
pub(super) const SPREAD: &str = "the value goes on over several lines";

/// The value becomes another one, quoted as it was. One that goes on over several lines stays as it is.
pub(super) fn replacing(node: &Node<'_>, text: &str) -> Option<Edit> {
    let text = match node.style {
        Style::Plain => text.to_owned(),
        Style::Single | Style::Double => format!("\"{text}\""),
        Style::Block => return None,
    };
    let is_on_one_line = node.start.line() == node.end.line();
    is_on_one_line.then_some(Edit::Replace { from: node.start, until: node.end, text })
}

impl Edit {
    fn line(&self) -> usize {
        match self {
            Self::InsertAfter { line, .. } | Self::Comment { line } => *line,
            Self::Replace { from, .. } => from.line(),
        }
    }

    /// Whether what it replaces begins with an anchor, an alias or a tag: others may mean the same place, which would go with it.
    pub(super) fn touches_marks(&self, lines: &[&str]) -> bool {
        let Self::Replace { from, .. } = self else { return false };
        begins(lines, *from).is_some_and(|rest| rest.starts_with(['&', '*', '!']))
    }
}

/// The rest of the line from a place on.
pub(super) fn begins<'l>(lines: &[&'l str], place: Place) -> Option<&'l str> {
    let line = lines.get(place.line().checked_sub(1)?)?;
    let (at, _) = line.char_indices().nth(place.column().checked_sub(1)?)?;
    line.get(at..)
}

/// How far from the left the dash stands of an item that is a map in lines of its own; nothing if it is written in another way.
pub(super) fn dash(lines: &[&str], item: Place) -> Option<usize> {
    let is_mark = |it: &str| it.starts_with(['&', '!']);
    let mut words = begins(lines, item)?.split_whitespace().skip_while(|it| is_mark(it));
    if words.next().is_some_and(|it| it.starts_with(['{', '*'])) {
        return None;
    }
    // The dash may stand on a line before, with a comment, an anchor or nothing behind it.
    let own = lines[item.line() - 1].chars().take(item.column() - 1).collect::<String>();
    let above = lines[..item.line() - 1].iter().rev().copied();
    let line = std::iter::once(own.as_str()).chain(above).find(|line| {
        let content = line.trim_start();
        !content.is_empty() && !content.starts_with('#')
    })?;
    let indent = line.len() - line.trim_start().len();
    let behind = line[indent..].strip_prefix('-')?.trim();
    let is_dash = behind.is_empty() || behind.starts_with('#') || behind.split_whitespace().all(is_mark);
    is_dash.then_some(indent)
}

/// The text with all edits made. A line that becomes a comment is not edited in any other way; what comes twice, since aliases stand
/// for one place, is done once.
pub(super) fn apply<'e>(text: &str, edits: impl IntoIterator<Item = &'e Edit>) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut of_lines: HashMap<usize, Vec<&Edit>> = HashMap::new();
    for edit in edits {
        let of_line = of_lines.entry(edit.line()).or_default();
        if !of_line.contains(&edit) {
            of_line.push(edit);
        }
    }
    // From the right to the left, so that what is still to be replaced stays where it is.
    let from = |edit: &&Edit| match edit {
        Edit::Replace { from, .. } => Some(Reverse(*from)),
        Edit::InsertAfter { .. } | Edit::Comment { .. } => None,
    };
    for of_line in of_lines.values_mut() {
        of_line.sort_by_key(from);
    }
    for (at, whole) in text.split_inclusive('\n').enumerate() {
        let content = whole.trim_end_matches(['\n', '\r']);
        let ending = if whole.len() == content.len() { "\n" } else { &whole[content.len()..] };
        let of_line = of_lines.get(&(at + 1)).map(Vec::as_slice).unwrap_or_default();
        let is_comment = of_line.iter().any(|edit| matches!(edit, Edit::Comment { .. }));
        let changed = of_line.iter().fold(Cow::Borrowed(content), |line, edit| match edit {
            Edit::Replace { from, until, text } if !is_comment => {
                replaced(&line, *from, *until, text).map_or(line, Cow::Owned)
            }
            _ => line,
        });
        out += &if is_comment { commented(content).into() } else { changed };
        out += if whole.len() == content.len() { "" } else { ending };
        for edit in of_line {
            let Edit::InsertAfter { indent, text, .. } = edit else { continue };
            if !out.ends_with('\n') {
                out += ending;
            }
            let indent = " ".repeat(*indent);
            for line in text.lines() {
                out.extend([&indent, line, ending]);
            }
        }
    }
    out
}

fn commented(line: &str) -> String {
    let spaces = line.len() - line.trim_start().len();
    format!("{}# {}", &line[..spaces], &line[spaces..])
}

/// Nothing if the place is not within the line.
fn replaced(line: &str, from: Place, until: Place, text: &str) -> Option<String> {
    let byte = |column: usize| {
        let mut starts = line.char_indices().map(|(at, _)| at).chain([line.len()]);
        starts.nth(column.checked_sub(1)?)
    };
    if from.line() != until.line() {
        return None;
    }
    let (before, rest) = line.split_at(byte(from.column())?);
    let value = rest.get(..byte(until.column())?.checked_sub(before.len())?)?;
    Some(format!("{before}{text}{}", &rest[without_comment(value).len()..]))
}

/// The parser lets a value end where the next one begins, behind a comment.
fn without_comment(value: &str) -> &str {
    let bytes = value.as_bytes();
    let Some(quote) = bytes.first().filter(|it| matches!(it, b'\'' | b'"')) else {
        return value.find(" #").map_or(value, |at| value[..at].trim_end());
    };
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        match byte {
            b'\\' if *quote == b'"' => at += 2,
            b'\'' if byte == quote && next == Some(quote) => at += 2,
            _ if byte == quote => return &value[..=at],
            _ => at += 1,
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_edited_changes() {
        let text = "a:\r\n  - ü: x # y\r\n    - b\r\nend";
        let place = Place::new;
        let edits = [
            Edit::Replace { from: place(2, 5), until: place(2, 6), text: "long".into() },
            Edit::Replace { from: place(2, 8), until: place(2, 9), text: "zz".into() },
            Edit::Replace { from: place(2, 8), until: place(2, 9), text: "zz".into() },
            Edit::Comment { line: 3 },
            Edit::InsertAfter { line: 2, indent: 4, text: "new: 1\nnewer: 2".into() },
            Edit::InsertAfter { line: 4, indent: 0, text: "last".into() },
        ];
        assert_eq!(
            apply(text, &edits),
            "a:\r\n  - long: zz # y\r\n    new: 1\r\n    newer: 2\r\n    # - b\r\nend\nlast\n"
        );
        assert_eq!(apply(text, &[]), text);
        let nowhere = Edit::Replace { from: place(2, 80), until: place(2, 90), text: "q".into() };
        assert_eq!(apply(text, &[nowhere]), text);
    }

    #[test]
    fn a_value_ends_before_its_comment() {
        for (value, is) in [
            ("'a # ''b' # c'", "'a # ''b'"),
            (r#""a \" # b"  # "c""#, r#""a \" # b""#),
            ("a#b 'c'  # d", "a#b 'c'"),
            ("'open", "'open"),
            ("", ""),
        ] {
            assert_eq!(without_comment(value), is);
        }
    }
}
