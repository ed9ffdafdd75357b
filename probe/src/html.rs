//! What a page tells browsers: which hosts to use, in its `meta` elements, and which files to load.
//!
//! Read with a tokenizer as browsers have it. Nothing of what a page names grows without a bound.

use std::collections::{BTreeMap, BTreeSet};

use html5gum::{DefaultEmitter, HtmlString, StartTag, Token, Tokenizer};
use url::Url;

/// More settings than any page of Hubs has.
const MOST_SETTINGS: usize = 64;

/// More files than any page of Hubs names. Those beyond are not looked at.
const MOST_FILES: usize = 96;

/// Longer than any sensible URL or setting, in bytes.
const LONGEST_VALUE: usize = 4096;

/// How the images of Hubs and Spoke are built, for their pods to replace it at their start.
const PLACEHOLDER: &str = "-base-assets-path}}";

/// What a page says.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The named `meta` elements, such as `env:base_assets_path`.
    pub settings: BTreeMap<String, String>,
    /// The files that it loads, each once, in its order.
    pub files: Vec<File>,
    /// A URL in which the path of the assets was never filled in.
    pub placeholder: Option<String>,
}

/// A file that a page loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub url: Url,
    /// What the page wants it for.
    pub kind: Kind,
}

/// What a page wants a file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program: without it the page stays empty.
    Script,
    /// How it looks.
    Style,
    /// Icons and pictures, without which a page does what it should.
    Picture,
    /// Whatever else.
    Other,
}

impl Page {
    /// Reads the HTML of the page at `url`.
    pub fn read(html: &str, url: &Url) -> Self {
        let mut emitter = DefaultEmitter::default();
        // So that nothing inside of a script is taken for an element.
        emitter.naively_switch_states(true);
        let mut page = Self::default();
        let mut base = url.clone();
        let mut seen = BTreeSet::new();
        for token in Tokenizer::new_with_emitter(html, emitter) {
            // What is no HTML is passed over, as browsers do it.
            let Ok(Token::StartTag(tag)) = token else { continue };
            match &**tag.name {
                b"base" => {
                    if let Some(href) = value(&tag, b"href").and_then(|href| url.join(&href).ok()) {
                        base = href;
                    }
                }
                b"meta" => page.note_setting(&tag),
                _ => {
                    for (text, kind) in loaded(&tag) {
                        page.note_file(&text, kind, &base, &mut seen);
                    }
                }
            }
        }
        page
    }

    /// Whether something was named that was not looked at.
    pub fn is_cut_short(&self) -> bool {
        self.files.len() == MOST_FILES
    }

    fn note_setting(&mut self, tag: &StartTag<()>) {
        // Reticulum's own have a value where others have a content.
        let content = value(tag, b"content").or_else(|| value(tag, b"value"));
        if let (Some(name), Some(content)) = (value(tag, b"name"), content)
            && self.settings.len() < MOST_SETTINGS
        {
            self.settings.entry(name).or_insert(content);
        }
    }

    fn note_file(&mut self, text: &str, kind: Kind, base: &Url, seen: &mut BTreeSet<Url>) {
        if text.contains(PLACEHOLDER) {
            self.placeholder.get_or_insert_with(|| text.to_owned());
            return;
        }
        let Ok(mut url) = base.join(text) else { return };
        url.set_fragment(None);
        if matches!(url.scheme(), "http" | "https")
            && self.files.len() < MOST_FILES
            && seen.insert(url.clone())
        {
            self.files.push(File { url, kind });
        }
    }
}

/// What the element makes a browser load.
fn loaded(tag: &StartTag<()>) -> Vec<(String, Kind)> {
    let with = |attribute: &[u8], kind| value(tag, attribute).map(|text| (text, kind)).into_iter().collect();
    match &**tag.name {
        b"script" => with(b"src", Kind::Script),
        b"img" | b"image" | b"input" => with(b"src", Kind::Picture),
        b"a-asset-item" | b"audio" | b"source" | b"track" | b"iframe" | b"embed" => with(b"src", Kind::Other),
        b"video" => [(b"src" as &[u8], Kind::Other), (b"poster", Kind::Picture)]
            .iter()
            .flat_map(|(a, k)| with(a, *k))
            .collect(),
        b"link" => {
            let relation = value(tag, b"rel").unwrap_or_default().to_ascii_lowercase();
            let has = |word| relation.split_ascii_whitespace().any(|w| w == word);
            if has("stylesheet") {
                with(b"href", Kind::Style)
            } else if has("modulepreload") {
                with(b"href", Kind::Script)
            } else if has("icon") || has("apple-touch-icon") {
                with(b"href", Kind::Picture)
            } else if has("manifest") || has("preload") {
                with(b"href", Kind::Other)
            } else {
                Vec::new()
            }
        }
        _ => Vec::new(),
    }
}

/// An attribute, unless it is empty or of unreasonable length.
fn value(tag: &StartTag<()>, name: &[u8]) -> Option<String> {
    let value: &HtmlString = tag.attributes.get(name)?;
    let text = std::str::from_utf8(value).ok()?.trim();
    (!text.is_empty() && text.len() <= LONGEST_VALUE).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(html: &str) -> Page {
        Page::read(html, &"https://hubs.example.org/k7Xq2Zd".parse().unwrap())
    }

    fn urls(page: &Page) -> Vec<(&str, Kind)> {
        page.files.iter().map(|f| (f.url.as_str(), f.kind)).collect()
    }

    #[test]
    fn a_page_names_its_settings_and_its_files() {
        let page = read(
            r#"<!DOCTYPE html><html><head>
            <meta name="env:base_assets_path" content="https://assets.hubs.example.org/hubs/"/>
            <meta name="ret:phx_host" value="hubs.example.org"><meta property="og:type" content="website">
            <link rel="icon" sizes="16x16" href="/favicon.ico"><link rel="preconnect" href="https://fonts.gstatic.com">
            <link href="//fonts.googleapis.com/css2?family=Inter&amp;display=swap" rel="STYLESHEET">
            <script>"<script src='/no.js'>"; document.write("<img src=/no.png>")</script>
            <SCRIPT defer src=https://assets.hubs.example.org/hubs/assets/js/hub-1f.js></SCRIPT>
            <!-- <script src="/commented.js"></script> -->
            <a-asset-item src="./assets/models/pen.glb#x"></a-asset-item><script src="/twice.js"></script><script src="/twice.js">"#,
        );
        assert_eq!(
            page.settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(),
            [
                ("env:base_assets_path", "https://assets.hubs.example.org/hubs/"),
                ("ret:phx_host", "hubs.example.org"),
            ]
        );
        assert_eq!(
            urls(&page),
            [
                ("https://hubs.example.org/favicon.ico", Kind::Picture),
                ("https://fonts.googleapis.com/css2?family=Inter&display=swap", Kind::Style),
                ("https://assets.hubs.example.org/hubs/assets/js/hub-1f.js", Kind::Script),
                ("https://hubs.example.org/assets/models/pen.glb", Kind::Other),
                ("https://hubs.example.org/twice.js", Kind::Script),
            ]
        );
        assert_eq!(page.placeholder, None);
    }

    #[test]
    fn a_base_moves_what_is_relative_to_it() {
        let page = read(r#"<base href="/spoke/"><script src="a.js"></script>"#);
        assert_eq!(urls(&page), [("https://hubs.example.org/spoke/a.js", Kind::Script)]);
    }

    #[test]
    fn a_path_that_was_never_filled_in_is_told_apart_from_a_file() {
        let page = read(r#"<script src="{{rawspoke-base-assets-path}}/assets/js/index.js"></script>"#);
        assert_eq!(page.placeholder.as_deref(), Some("{{rawspoke-base-assets-path}}/assets/js/index.js"));
        assert_eq!(page.files, []);
    }

    #[test]
    fn what_a_browser_loads_in_other_ways_is_no_file() {
        let page = read(
            r#"<img src="data:image/png;base64,AA=="><script src=""></script><a href="/x"></a><img src="http://[">"#,
        );
        assert_eq!(page.files, []);
    }

    #[test]
    fn a_page_without_end_is_not_kept_whole() {
        let html: Vec<_> =
            (0..5000).map(|n| format!("<meta name=m{n} content=1><script src=/{n}.js></script>")).collect();
        let page = read(&html.concat());
        assert_eq!((page.files.len(), page.settings.len()), (MOST_FILES, MOST_SETTINGS));
        assert!(page.is_cut_short());
        let long = format!("<script src=/{}></script>", "x".repeat(LONGEST_VALUE));
        assert_eq!(read(&long).files, []);
    }

    proptest! {
        #[test]
        fn no_page_makes_the_reader_panic(html in "[<>/a-z=\"'&;! \\-{}\\x00-\\x1f]{0,300}", any in ".{0,300}") {
            read(&html);
            read(&any);
            read(&format!("<meta name=\"{any}\" content='{html}'><script src='{any}'></script><base href={html}>"));
        }
    }
}
