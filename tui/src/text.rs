//! Text that fits a number of columns, and how figures are written.
//!
//! A column is a cell of the terminal: wide characters take two, control characters none.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text`, or as much of it as fits `columns` with `ellipsis` behind it.
pub(crate) fn cut(text: &str, columns: usize, ellipsis: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(width(ellipsis));
    let (head, _) = split(text, room);
    if width(ellipsis) <= columns { format!("{head}{ellipsis}") } else { head.to_owned() }
}

/// `text` cut to `columns` and filled up with spaces to them.
pub(crate) fn cell(text: &str, columns: usize, ellipsis: &str) -> String {
    let text = cut(text, columns, ellipsis);
    let fill = columns.saturating_sub(width(&text));
    format!("{text}{:fill$}", "")
}

/// `text` in lines of at most `columns`, broken between words where that is possible.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    if columns == 0 {
        return Vec::new();
    }
    text.lines().flat_map(|line| wrap_line(line, columns)).collect()
}

/// The first `lines` lines of the wrapped text, the last of them marked if more would follow.
pub(crate) fn wrap_to(text: &str, columns: usize, lines: usize, ellipsis: &str) -> Vec<String> {
    let mut wrapped = wrap(text, columns);
    if wrapped.len() > lines {
        wrapped.truncate(lines);
        if let Some(last) = wrapped.last_mut() {
            *last = format!("{}{ellipsis}", cut(last, columns.saturating_sub(width(ellipsis)), ""));
        }
    }
    wrapped
}

fn wrap_line(line: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for mut word in line.split_whitespace() {
        let used = lines.last().map_or(0, |l| width(l));
        let gap = usize::from(used > 0);
        if used + gap + width(word) > columns && used > 0 {
            lines.push(String::new());
        }
        while width(word) > columns {
            let (head, rest) = split(word, columns);
            if head.is_empty() {
                break; // one character wider than the whole column
            }
            append(&mut lines, head);
            lines.push(String::new());
            word = rest;
        }
        append(&mut lines, word);
    }
    lines
}

fn append(lines: &mut [String], word: &str) {
    if let Some(line) = lines.last_mut() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
}

/// `text` split behind as many characters as fit `columns`.
fn split(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    let end = text
        .char_indices()
        .find(|(_, c)| {
            used += c.width().unwrap_or(0);
            used > columns
        })
        .map_or(text.len(), |(at, _)| at);
    text.split_at(end)
}

/// Milliseconds, with a decimal where there is but one digit before it.
pub(crate) fn millis(value: Duration) -> String {
    let ms = value.as_secs_f64() * 1000.0;
    if ms < 9.95 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// A time on a stop-watch.
pub(crate) fn clock(value: Duration) -> String {
    let seconds = value.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m:02}:{s:02}") }
}

/// A share of one as a percentage; not 0 % while something was lost.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_never_exceeds_its_columns() {
        assert_eq!(cut("silence", 7, "…"), "silence");
        assert_eq!(cut("silences", 7, "…"), "silenc…");
        assert_eq!(cut("silences", 7, "..."), "sile...");
        assert_eq!(cut("日本語", 5, "…"), "日本…");
        assert_eq!(cut("日本語", 4, "…"), "日…");
        assert_eq!(cut("abc", 2, "..."), "");
        assert_eq!(cut("abc", 0, "…"), "");
    }

    #[test]
    fn a_cell_is_exactly_as_wide_as_asked() {
        for text in ["", "ab", "日本語日本語", "a long text"] {
            assert_eq!(width(&cell(text, 6, "…")), 6, "{text}");
        }
    }

    #[test]
    fn lines_break_between_words_and_inside_those_that_are_too_long() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("az--network-nsg", 6), ["az--ne", "twork-", "nsg"]);
        assert_eq!(wrap("a 日本語日本語 b", 6), ["a", "日本語", "日本語", "b"]);
        assert_eq!(wrap("one\ntwo", 20), ["one", "two"]);
        assert_eq!(wrap("日本", 1), ["日本"]);
        assert!(wrap("x", 0).is_empty());
    }

    #[test]
    fn a_text_that_needs_more_lines_says_so() {
        assert_eq!(wrap_to("one two three", 7, 2, "…"), ["one two", "three"]);
        assert_eq!(wrap_to("one two three", 7, 1, "…"), ["one tw…"]);
        assert_eq!(wrap_to("one three", 7, 1, "…"), ["one…"]);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(millis(Duration::from_micros(420)), "0.4");
        assert_eq!(millis(Duration::from_micros(9_960)), "10");
        assert_eq!(millis(Duration::from_secs(12)), "12000");
        assert_eq!(clock(Duration::from_secs(59)), "00:59");
        assert_eq!(clock(Duration::from_secs(3_725)), "1:02:05");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.0034), "0.3 %");
        assert_eq!(percent(0.99), "99 %");
    }
}
