//! Edits of a text by lines and columns, so that everything else in it stays as it was written.

use std::collections::HashMap;

use super::yaml::Place;

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

impl Edit {
    fn line(&self) -> usize {
        match self {
            Self::InsertAfter { line, .. } | Self::Comment { line } => *line,
            Self::Replace { from, .. } => from.line(),
        }
    }
}

/// The text with all edits made. Each line is edited in one way at most; more lines can be put behind it besides.
pub(super) fn apply(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut of_lines: HashMap<usize, Vec<&Edit>> = HashMap::new();
    for edit in edits {
        of_lines.entry(edit.line()).or_default().push(edit);
    }
    for (at, whole) in text.split_inclusive('\n').enumerate() {
        let content = whole.trim_end_matches(['\n', '\r']);
        let ending = if whole.len() == content.len() { "\n" } else { &whole[content.len()..] };
        let of_line = of_lines.get(&(at + 1)).map(Vec::as_slice).unwrap_or_default();
        let changed = of_line.iter().find_map(|edit| match edit {
            Edit::Comment { .. } => Some(commented(content)),
            Edit::Replace { from, until, text } => replaced(content, *from, *until, text),
            Edit::InsertAfter { .. } => None,
        });
        out += changed.as_deref().unwrap_or(content);
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
    Some(format!("{}{text}{}", &line[..byte(from.column())?], &line[byte(until.column())?..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_edited_changes() {
        let text = "a:\r\n  - ü: x # y\r\n    - b\r\nend";
        let place = Place::new;
        let edits = [
            Edit::Replace { from: place(2, 8), until: place(2, 9), text: "zz".into() },
            Edit::Comment { line: 3 },
            Edit::InsertAfter { line: 2, indent: 4, text: "new: 1\nnewer: 2".into() },
            Edit::InsertAfter { line: 4, indent: 0, text: "last".into() },
        ];
        assert_eq!(
            apply(text, &edits),
            "a:\r\n  - ü: zz # y\r\n    new: 1\r\n    newer: 2\r\n    # - b\r\nend\nlast\n"
        );
        assert_eq!(apply(text, &[]), text);
        let nowhere = Edit::Replace { from: place(2, 80), until: place(2, 90), text: "q".into() };
        assert_eq!(apply(text, &[nowhere]), text);
    }
}
