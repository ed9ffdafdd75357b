//! Takes out of findings what says who and where people are, so that a report can be shown to anybody: addresses, rooms, user
//! names. The deployment's own names stay, or the report would say nothing.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use crate::{check::Context, finding::Finding, target::TurnLogin};

/// What was taken out so far. The same address has the same number throughout a report, so that it can still be seen whether
/// two are the same.
#[derive(Debug, Default)]
pub(crate) struct Redaction {
    secrets: BTreeMap<String, &'static str>,
    addresses: BTreeMap<IpAddr, usize>,
}

const USER: &str = "[user]";
const ROOM: &str = "[room]";

/// What stands in a text that was redacted.
pub(crate) const PLACEHOLDERS: [&str; 3] = [USER, ROOM, "[address "];

impl Redaction {
    /// Learns which names to take out: those that were given, and those that a room has told since.
    pub(crate) fn learn(&mut self, cx: &Context) {
        let room = cx.room.iter().map(|room| (room.sid().to_owned(), ROOM));
        let given = match &cx.turn_login {
            Some(TurnLogin::User { name, .. }) => Some((name.clone(), USER)),
            Some(TurnLogin::Secret(_)) | None => None,
        };
        let told = cx.facts.room.get().ok().and_then(|room| room.turn.as_ref());
        let told = told.map(|turn| (turn.username.clone(), USER));
        self.secrets.extend(room.chain(given).chain(told).filter(|(secret, _)| !secret.is_empty()));
    }

    /// Takes it out of every text of the finding.
    pub(crate) fn apply(&mut self, finding: &mut Finding) {
        let images = finding.evidence.iter().filter(|it| it.label == "image");
        let images: Vec<_> =
            images.filter_map(|it| Some((it.value.clone(), without_owner(&it.value)?))).collect();
        let texts = [&mut finding.summary].into_iter().chain(&mut finding.target).chain(&mut finding.cause);
        let evidence = finding.evidence.iter_mut().flat_map(|it| [&mut it.label, &mut it.value]);
        let remedy =
            finding.remedy.iter_mut().flat_map(|it| [&mut it.text].into_iter().chain(&mut it.commands));
        let suppressed =
            finding.suppressed.iter_mut().flat_map(|it| [&mut it.by].into_iter().chain(&mut it.reason));
        for text in texts.chain(evidence).chain(remedy).chain(suppressed).chain(&mut finding.left_out) {
            for (image, nobodys) in &images {
                *text = text.replace(image, nobodys);
            }
            *text = self.text(text);
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (secret, placeholder) in self.secrets.iter().rev() {
            text = replace_words(&text, secret, placeholder);
        }
        self.without_addresses(&without_users(&text))
    }

    fn without_addresses(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = None;
        while let Some(c) = rest.chars().next() {
            let run = rest.find(|c| !is_of_address(c)).unwrap_or(rest.len());
            if run == 0 || before.is_some_and(char::is_alphanumeric) {
                out.push(c);
                before = Some(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let (word, after) = rest.split_at(run);
            let is_cut = after.starts_with(char::is_alphanumeric);
            match address_at_start(word).filter(|_| !is_cut) {
                Some((address, length)) => {
                    let next = self.addresses.len() + 1;
                    let number = *self.addresses.entry(address.to_canonical()).or_insert(next);
                    let _ = write!(out, "[address {number}]{}", &word[length..]);
                }
                None => out += word,
            }
            before = word.chars().last();
            rest = after;
        }
        out
    }
}

fn is_of_address(c: char) -> bool {
    c.is_ascii_hexdigit() || c == '.' || c == ':'
}

/// The address with which `word` begins, before a port or the end of a sentence, and its length.
fn address_at_start(word: &str) -> Option<(IpAddr, usize)> {
    let ends = (word.len().saturating_sub(7)..=word.len()).rev().filter(|end| word.is_char_boundary(*end));
    ends.filter(|end| *end == word.len() || word[*end..].starts_with(['.', ':']))
        .find_map(|end| Some((word[..end].parse().ok()?, end)))
}

/// Who publishes images for everybody. Any other name before that of an image is somebody's.
const PUBLISHERS: [&str; 5] = ["mozillareality", "hubsfoundation", "haproxytech", "postgrest", "library"];

/// The image without the user in whose name it lies, if there is one: `registry/USER/name:tag`.
fn without_owner(image: &str) -> Option<String> {
    let (path, name) = image.rsplit_once('/')?;
    let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let (registry, owner) = match path.split_once('/') {
        Some((first, rest)) if is_registry(first) => (format!("{first}/"), rest),
        None if is_registry(path) => return None,
        _ => (String::new(), path),
    };
    (!PUBLISHERS.contains(&owner)).then(|| format!("{registry}{USER}/{name}"))
}

/// Reticulum's user names of TURN: the second at which they run out, and a word.
fn without_users(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        out += before;
        let digits = from.bytes().take_while(u8::is_ascii_digit).count();
        let name = from[digits..].strip_prefix(':').unwrap_or_default();
        let letters =
            name.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_').count();
        let is_user = digits >= 9 && name.starts_with(|c: char| c.is_ascii_alphabetic());
        let length = if is_user { digits + 1 + letters } else { digits };
        out += if is_user { USER } else { &from[..digits] };
        rest = &from[length..];
    }
    out + rest
}

/// `text` with `placeholder` wherever `word` stands by itself.
fn replace_words(text: &str, word: &str, placeholder: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut last = 0;
    for (at, _) in text.match_indices(word) {
        let end = at + word.len();
        if text[..at].ends_with(is_part) || text[end..].starts_with(is_part) || at < last {
            continue;
        }
        out += &text[last..at];
        out += placeholder;
        last = end;
    }
    out + &text[last..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{codes::Code, finding::Suppressed};

    fn redaction() -> Redaction {
        let mut redaction = Redaction::default();
        redaction.secrets.extend([("k7Xq2Zd".to_owned(), ROOM), ("ada".to_owned(), USER)]);
        redaction
    }

    #[test]
    fn addresses_are_numbered_and_ports_stay() {
        let mut redaction = redaction();
        for (text, redacted) in [
            ("dialog announces 203.0.113.9", "dialog announces [address 1]"),
            ("203.0.113.9:40001, 192.0.2.7.", "[address 1]:40001, [address 2]."),
            ("[2001:db8::1]:443 and 2001:db8::1", "[[address 3]]:443 and [address 3]"),
            ("::ffff:203.0.113.9 is the same", "[address 1] is the same"),
            ("a check from 192.0.2.7:9: none", "a check from [address 2]:9: none"),
        ] {
            assert_eq!(redaction.text(text), redacted);
        }
    }

    #[test]
    fn what_is_no_address_stays() {
        for text in [
            "hubs.example.org is well, 12:30:05, 1.2.3, version 2.1.0 of feed.beef",
            "std::fmt dead:beef HP0204 40000-49999",
            "turns:stream.example.org:5349",
            "",
            "Zürich: 5",
        ] {
            assert_eq!(redaction().text(text), text);
        }
    }

    #[test]
    fn rooms_and_users_are_taken_out_where_they_stand_by_themselves() {
        let mut redaction = redaction();
        assert_eq!(redaction.text("https://hubs.example.org/k7Xq2Zd/x"), "https://hubs.example.org/[room]/x");
        assert_eq!(redaction.text("ada of canada, 1700000000:coturn."), "[user] of canada, [user].");
        assert_eq!(redaction.text("1700000000: late"), "1700000000: late");
    }

    #[test]
    fn every_text_of_a_finding_is_looked_through() {
        let a = "192.0.2.1";
        let mut finding =
            Finding::fail(Code::NameResolves, a).at(a).seen(a, a).because(a).fix(a, [a]).left_out(a);
        finding.suppressed = Some(Suppressed { by: a.to_owned(), reason: Some(a.to_owned()) });
        redaction().apply(&mut finding);
        let text = format!("{finding:?}");
        assert!(!text.contains(a), "{text}");
        assert_eq!(text.matches("[address 1]").count(), 10, "{text}");
    }

    #[test]
    fn in_whose_name_an_image_lies_is_taken_out() {
        for (image, redacted) in [
            ("registry.example/ada/dialog:1.2", "registry.example/[user]/dialog:1.2"),
            ("localhost/team/ada/dialog", "localhost/[user]/dialog"),
            ("ada/dialog", "[user]/dialog"),
            ("mozillareality/coturn:stable-latest", "mozillareality/coturn:stable-latest"),
            ("registry.example:5000/dialog@sha256:0", "registry.example:5000/dialog@sha256:0"),
            ("postgres:15.4", "postgres:15.4"),
        ] {
            let mut finding =
                Finding::warn(Code::ImagesPinned, format!("dialog runs whatever {image} is today"));
            finding = finding.seen("image", image);
            redaction().apply(&mut finding);
            assert_eq!(finding.evidence[0].value, redacted);
            assert_eq!(finding.summary, format!("dialog runs whatever {redacted} is today"));
        }
    }

    proptest! {
        #[test]
        fn no_address_survives_in_any_text(before in "[ a-z:.]{0,8} ", ip in any::<IpAddr>(), after in "( |, |:9 |\\))[ a-z:.]{0,8}") {
            let text = redaction().text(&format!("{before}{ip}{after}"));
            prop_assert!(!text.contains(&ip.to_string()), "{}", text);
        }

        #[test]
        fn any_text_can_be_looked_through(text in "\\PC*") {
            redaction().text(&text);
        }
    }
}
