//! YAML with the place of everything in it. Aliases stand for a copy of what they name, as long as the whole stays bounded.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// A place in the text: line and column from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    line: u32,
    column: u32,
}

impl Place {
    /// No file that anybody reads has more lines than fit.
    pub(crate) fn new(line: usize, column: usize) -> Self {
        let fitting = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: fitting(line), column: fitting(column) }
    }

    pub(crate) fn line(self) -> usize {
        self.line as usize
    }

    pub(crate) fn column(self) -> usize {
        self.column as usize
    }
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'t> {
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    /// In the order of the text.
    Map(Vec<(Node<'t>, Node<'t>)>),
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Single,
    Double,
    Block,
}

/// A value and where it stands. A file has a million of them, so none is larger than it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node<'t> {
    pub(crate) kind: Kind<'t>,
    pub(crate) style: Style,
    pub(crate) start: Place,
    pub(crate) end: Place,
}

/// Where the text is no YAML, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) place: Place,
    pub(crate) why: String,
}

/// As many values aliases may stand for: people's files have a few, and aliases of aliases soon have any number.
const MOST_ALIASED: usize = 200_000;
/// Deeper than anything that Kubernetes takes.
const DEEPEST: usize = 128;

/// Every document of the text; of one that breaks, those before it and where it does.
pub(crate) fn read(text: &str) -> (Vec<Node<'_>>, Option<Broken>) {
    let mut loader = Loader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let place = Place::new(error.marker().line(), error.marker().col() + 1);
                return (loader.documents, Some(Broken { place, why: error.info().to_owned() }));
            }
        };
        if let Err(why) = loader.take(event, span) {
            return (loader.documents, Some(Broken { place: start(span), why: why.to_owned() }));
        }
    }
    (loader.documents, None)
}

fn start(span: Span) -> Place {
    Place::new(span.start.line(), span.start.col() + 1)
}

fn end(span: Span) -> Place {
    Place::new(span.end.line(), span.end.col() + 1)
}

#[derive(Default)]
struct Loader<'t> {
    documents: Vec<Node<'t>>,
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, (Node<'t>, usize)>,
    nodes: usize,
    /// How many of them aliases stand for.
    aliased: usize,
}

/// A list or a map that has not ended yet.
struct Open<'t> {
    node: Node<'t>,
    key: Option<Node<'t>>,
    anchor: usize,
    before: usize,
}

impl<'t> Loader<'t> {
    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), &'static str> {
        let node = |kind, style| Node { kind, style, start: start(span), end: end(span) };
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::Single,
                    ScalarStyle::DoubleQuoted => Style::Double,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let node = node(Kind::Text(text), style);
                self.nodes += 1;
                self.remember(anchor, &node, 1);
                self.add(node)
            }
            Event::SequenceStart(anchor, _) => self.enter(node(Kind::List(Vec::new()), Style::Plain), anchor),
            Event::MappingStart(anchor, _) => self.enter(node(Kind::Map(Vec::new()), Style::Plain), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { mut node, anchor, before, .. }) = self.open.pop() else { return Ok(()) };
                node.end = end(span);
                self.remember(anchor, &node, self.nodes - before);
                self.add(node)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err("an alias that names nothing");
                };
                let (node, size) = (node.clone(), *size);
                self.nodes += size;
                self.aliased += size;
                if self.aliased > MOST_ALIASED {
                    return Err("its aliases stand for more than fits anywhere");
                }
                self.add(node)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn enter(&mut self, node: Node<'t>, anchor: usize) -> Result<(), &'static str> {
        if self.open.len() == DEEPEST {
            return Err("it is nested too deeply");
        }
        let before = self.nodes;
        self.nodes += 1;
        self.open.push(Open { node, key: None, anchor, before });
        Ok(())
    }

    /// An anchor is a number from 1; without one it is 0.
    fn remember(&mut self, anchor: usize, node: &Node<'t>, size: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    fn add(&mut self, node: Node<'t>) -> Result<(), &'static str> {
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match (&mut open.node.kind, open.key.take()) {
            (Kind::List(items), _) => items.push(node),
            (Kind::Map(fields), Some(key)) => fields.push((key, node)),
            (Kind::Map(_), None) => open.key = Some(node),
            (Kind::Text(_), _) => return Err("a value within a text"),
        }
        Ok(())
    }
}

impl Node<'_> {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The items; of what is no list, none.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Text(_) | Kind::Map(_) => &[],
        }
    }

    /// The fields; of what is no map, none.
    pub(crate) fn fields(&self) -> &[(Self, Self)] {
        match &self.kind {
            Kind::Map(fields) => fields,
            Kind::Text(_) | Kind::List(_) => &[],
        }
    }

    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        Some(&self.field(name)?.1)
    }

    /// A field with its key: one of its own, or one of those that `<<` merges into it.
    pub(crate) fn field(&self, name: &str) -> Option<&(Self, Self)> {
        let merged = || {
            let (_, merged) = self.own_field("<<")?;
            merged.field(name).or_else(|| merged.items().iter().find_map(|it| it.field(name)))
        };
        self.own_field(name).or_else(merged)
    }

    /// A field with its key, if it stands there itself.
    pub(crate) fn own_field(&self, name: &str) -> Option<&(Self, Self)> {
        self.fields().iter().find(|(key, _)| key.text() == Some(name))
    }

    /// A field of a field, and so on: `spec.template.spec`.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| node.get(name))
    }

    /// The text at the end of such a path.
    pub(crate) fn text_at(&self, path: &str) -> Option<&str> {
        self.at(path)?.text()
    }

    /// The items at the end of such a path.
    pub(crate) fn items_at(&self, path: &str) -> &[Self] {
        self.at(path).map(Self::items).unwrap_or_default()
    }

    /// Every text within, but no keys.
    pub(crate) fn each_text<'n>(&'n self, tell: &mut impl FnMut(&'n Self, &'n str)) {
        match &self.kind {
            Kind::Text(text) => tell(self, text),
            Kind::List(items) => items.iter().for_each(|item| item.each_text(tell)),
            Kind::Map(fields) => fields.iter().for_each(|(_, value)| value.each_text(tell)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_place() {
        let (documents, broken) = read("a: 1\n---\n# ü\nkey:\n  - 'x y'\n  - {b: \"c\"}\n");
        assert_eq!((documents.len(), broken), (2, None));
        let list = documents[1].get("key").unwrap();
        assert_eq!(list.items()[0].text(), Some("x y"));
        assert_eq!((list.items()[0].start, list.items()[0].style), (Place::new(5, 5), Style::Single));
        assert_eq!(list.items()[1].get("b").unwrap().start, Place::new(6, 9));
    }

    #[test]
    fn what_breaks_is_shown_where_it_breaks_and_the_rest_before_it_is_there() {
        let (documents, broken) = read("a: 1\n---\nb: [1, 2\nc: 3\n");
        assert_eq!(documents.len(), 1);
        assert!((3..=5).contains(&broken.unwrap().place.line()));
    }

    #[test]
    fn an_alias_stands_for_what_it_names_and_a_bomb_is_refused() {
        let (documents, _) = read("a: &x {b: 1}\nc: *x\n");
        assert_eq!(documents[0].text_at("c.b"), Some("1"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let items = vec![before; 10].join(", ");
            bomb.extend([format!("a{level}: &a{level} [{items}]\n")]);
        }
        let (_, broken) = read(&bomb);
        assert!(broken.unwrap().why.contains("aliases"));
        for nested in ["[", "{a: ", "- "] {
            assert!(read(&nested.repeat(100_000)).1.is_some(), "{nested}");
        }
    }
}
