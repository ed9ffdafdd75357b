//! Which line and column of a document a JSON path leads to. Asked for the few places that findings name, when they are known: the
//! documents are gone through once more for all of them together, and what none of the paths leads through is skipped.

use std::{borrow::Cow, collections::BTreeMap};

/// Line and column, both from 1, the column in characters.
pub(in crate::nsg) type Place = (usize, usize);

/// Where the values stand to which these paths lead, each as `$[0].securityRules[3]`. A path that goes further than the document leads to
/// where it ends there. The text is known to be JSON.
pub(in crate::nsg) fn of<'p>(
    text: &str,
    paths: impl IntoIterator<Item = &'p str>,
) -> BTreeMap<&'p str, Place> {
    let wanted: Vec<_> =
        paths.into_iter().filter_map(|path| Some(Wanted { path, rest: path.strip_prefix('$')? })).collect();
    let mut scan = Scan { text, at: 0, found: BTreeMap::new() };
    scan.value(&wanted);
    let mut offsets: Vec<_> = scan.found.into_iter().collect();
    offsets.sort_unstable_by_key(|(_, offset)| *offset);
    let (mut line, mut begins, mut counted) = (1, 0, 0);
    let place = |(path, offset): (&'p str, usize)| {
        for (at, _) in text.get(counted..offset).unwrap_or_default().match_indices('\n') {
            line += 1;
            begins = counted + at + 1;
        }
        counted = offset;
        (path, (line, text.get(begins..offset).unwrap_or_default().chars().count() + 1))
    };
    offsets.into_iter().map(place).collect()
}

/// A path, and what of it lies below the value at which the scan is.
#[derive(Clone, Copy)]
struct Wanted<'p> {
    path: &'p str,
    rest: &'p str,
}

impl Wanted<'_> {
    /// The same below a field or an item, if it leads there.
    fn below(self, step: &str) -> Option<Self> {
        let rest = self.rest.strip_prefix(step)?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some(Self { rest, ..self })
    }
}

struct Scan<'t, 'p> {
    text: &'t str,
    at: usize,
    /// By the path, the offset.
    found: BTreeMap<&'p str, usize>,
}

impl<'p> Scan<'_, 'p> {
    /// Goes through a value. It is nested no deeper than what was read before, which has a bound.
    fn value(&mut self, wanted: &[Wanted<'p>]) {
        self.skip_blanks();
        // What stands further down writes over it; so does a field that has the name of one before.
        self.found.extend(wanted.iter().map(|it| (it.path, self.at)));
        let is_leaf = wanted.iter().all(|it| it.rest.is_empty());
        match self.peek() {
            Some(b'{') if !is_leaf => self.fields(wanted),
            Some(b'[') if !is_leaf => self.items(wanted),
            _ => self.skip_value(),
        }
    }

    fn fields(&mut self, wanted: &[Wanted<'p>]) {
        self.at += 1;
        while self.is_more() {
            let name = self.text();
            let step = format!(".{name}");
            self.skip_blanks();
            self.at += 1;
            self.inner(wanted, &step);
        }
    }

    fn items(&mut self, wanted: &[Wanted<'p>]) {
        self.at += 1;
        let mut number = 0;
        while self.is_more() {
            self.inner(wanted, &format!("[{number}]"));
            number += 1;
        }
    }

    fn inner(&mut self, wanted: &[Wanted<'p>], step: &str) {
        let below: Vec<_> = wanted.iter().filter_map(|it| it.below(step)).collect();
        if below.is_empty() { self.skip_value() } else { self.value(&below) }
    }

    /// Whether another field or item follows, at which the scan then is.
    fn is_more(&mut self) -> bool {
        self.skip_blanks();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.skip_blanks();
        }
        let is_end = self.peek().is_none_or(|byte| byte == b'}' || byte == b']');
        self.at += usize::from(is_end);
        !is_end
    }

    /// A text, as it reads.
    fn text(&mut self) -> Cow<'_, str> {
        let begin = self.at;
        self.skip_text();
        let quoted = self.text.get(begin..self.at).unwrap_or_default();
        if quoted.contains('\\') {
            return Cow::Owned(serde_json::from_str(quoted).unwrap_or_default());
        }
        Cow::Borrowed(quoted.trim_matches('"'))
    }

    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.skip_text(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    fn skip_text(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_leads_to_where_its_value_begins() {
        let text = "[\n  {\"a\": 1, \"ü\": {\"b.c\": [10,\n    {\"d\": \"x, ]}\\\"\"}]}},\n \"last\"]";
        for (path, place) in [
            ("$", (1, 1)),
            ("$[0]", (2, 3)),
            ("$[0].a", (2, 9)),
            ("$[0].ü.b.c[0]", (2, 26)),
            ("$[0].ü.b.c[1].d", (3, 11)),
            ("$[1]", (4, 2)),
            // What is not there is where it would be.
            ("$[0].ü.missing[7]", (2, 17)),
            ("$[9].x", (1, 1)),
        ] {
            assert_eq!(of(text, [path])[path], place, "{path}");
        }
        let all = of(text, ["$[1]", "$[0].a", "no path"]);
        assert_eq!(all, BTreeMap::from([("$[1]", (4, 2)), ("$[0].a", (2, 9))]));
    }

    #[test]
    fn of_two_fields_with_one_name_it_is_the_last_one() {
        assert_eq!(of(r#"{"a": 1, "\u0061": 22}"#, ["$.a"])["$.a"], (1, 20));
    }

    proptest! {
        #[test]
        fn any_text_has_an_end(text in "[\\[\\]{}\":, a1\\\\\n]{0,60}", path in "\\$[.a\\[\\]0]{0,9}") {
            of(&text, [path.as_str()]);
        }
    }
}
