//! JSON as it stands in the text, of which nothing is copied that need not be, and fields that are written in different ways: in
//! camel or in snake case, flat or below `properties`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A value. A document has tens of thousands of them, and each is looked at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'t> {
    Null,
    Bool(bool),
    /// A number that is one of something.
    Count(u64),
    /// Any other number.
    Number,
    Text(Cow<'t, str>),
    List(Vec<Self>),
    /// In the order of the text. Of two fields with one name the last one counts.
    Map(Vec<(Cow<'t, str>, Self)>),
}

impl<'t> Value<'t> {
    /// Reads a document.
    pub(super) fn read(text: &'t str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The field of exactly this name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        find(self.fields()?, |field| field == name).map(|(_, value)| value)
    }

    /// The fields, if it has such.
    pub(super) fn fields(&self) -> Option<&[(Cow<'t, str>, Self)]> {
        match self {
            Self::Map(fields) => Some(fields),
            _ => None,
        }
    }

    pub(super) fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Self::Count(count) => Some(*count),
            _ => None,
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self {
            Self::Bool(bool) => Some(*bool),
            _ => None,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }
}

fn find<'v, 't>(
    fields: &'v [(Cow<'t, str>, Value<'t>)],
    is_meant: impl Fn(&str) -> bool,
) -> Option<(&'v str, &'v Value<'t>)> {
    fields.iter().rev().find(|(name, _)| is_meant(name)).map(|(name, value)| (name.as_ref(), value))
}

/// The field, wherever it is. What is null is not there.
pub(super) fn get<'v, 't>(value: &'v Value<'t>, name: &str) -> Option<&'v Value<'t>> {
    written(value, name).map(|it| it.value)
}

/// Where the field is, below the value: `.name`, `.properties.name`, or either in snake case.
pub(super) fn path_of(value: &Value<'_>, name: &str) -> Option<String> {
    let Written { is_below, field, .. } = written(value, name)?;
    Some(format!("{}.{field}", if is_below { ".properties" } else { "" }))
}

/// A field, as it is written.
struct Written<'v, 't> {
    /// Whether it is below `properties`.
    is_below: bool,
    field: &'v str,
    value: &'v Value<'t>,
}

fn written<'v, 't>(value: &'v Value<'t>, name: &str) -> Option<Written<'v, 't>> {
    let fields = value.fields()?;
    let properties = find(fields, |field| field == "properties").and_then(|(_, it)| it.fields());
    let of = |fields, is_below, is_meant: fn(&str, &str) -> bool| {
        let (field, value) = find(fields, |field| is_meant(field, name))?;
        (*value != Value::Null).then_some(Written { is_below, field, value })
    };
    let written = |is_meant| of(fields, false, is_meant).or_else(|| of(properties?, true, is_meant));
    written(|field, name| field == name).or_else(|| written(is_snake_case))
}

/// Whether it is the name in snake case, where that makes a difference.
fn is_snake_case(field: &str, name: &str) -> bool {
    let mut rest = field.bytes();
    field.len() > name.len()
        && name.bytes().all(|c| {
            (!c.is_ascii_uppercase() || rest.next() == Some(b'_'))
                && rest.next() == Some(c.to_ascii_lowercase())
        })
        && rest.next().is_none()
}

/// The field, if it is a text.
pub(super) fn text<'v>(value: &'v Value<'_>, name: &str) -> Option<&'v str> {
    get(value, name)?.text()
}

/// The identifier of a resource that is referred to, as `{"id": …}` or as a text.
pub(super) fn reference<'v>(value: &'v Value<'_>, name: &str) -> Option<&'v str> {
    let field = get(value, name)?;
    field.text().or_else(|| field.get("id")?.text()).filter(|id| !id.is_empty())
}

/// The elements of a list; of anything else, none.
pub(super) fn array<'v, 't>(value: &'v Value<'t>) -> &'v [Value<'t>] {
    value.items().unwrap_or_default()
}

/// The field's elements, if it is a list.
pub(super) fn list<'v, 't>(value: &'v Value<'t>, name: &str) -> &'v [Value<'t>] {
    get(value, name).map(array).unwrap_or_default()
}

/// A text, or a list of texts.
pub(super) fn texts<'v>(value: &'v Value<'_>) -> Option<Vec<&'v str>> {
    match value {
        Value::Text(text) => Some(vec![text]),
        Value::List(items) => items.iter().map(Value::text).collect(),
        _ => None,
    }
}

/// What Azure writes where there is nothing.
pub(super) fn is_nothing(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(it))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value<'de>, E> {
        Ok(Value::Count(it))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number)
    }

    fn visit_borrowed_str<E>(self, it: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(it)))
    }

    fn visit_str<E>(self, it: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(it.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((Name(name), value)) = from.next_entry()? {
            fields.push((name, value));
        }
        Ok(Value::Map(fields))
    }
}

/// A field's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_however_they_are_written() {
        let value = Value::read(
            r#"{"a": 1, "a": 2, "source_port_range": "x", "n": null, "properties": {"sourceAddressPrefix": "y", "n": "z", "\u0061b": "q\n"}}"#,
        )
        .unwrap();
        assert_eq!(get(&value, "a").and_then(Value::count), Some(2));
        assert_eq!(text(&value, "sourcePortRange"), Some("x"));
        assert_eq!(text(&value, "sourceAddressPrefix"), Some("y"));
        assert_eq!(text(&value, "n"), Some("z"));
        assert_eq!(text(&value, "ab"), Some("q\n"));
        assert_eq!(get(&value, "sourcePortRanges"), None);
        for (field, name, is_one) in [
            ("a_b", "aB", true),
            ("ab", "aB", false),
            ("a_b", "a_b", false),
            ("a_bc", "aB", false),
            ("public_i_p", "publicIP", true),
        ] {
            assert_eq!(is_snake_case(field, name), is_one, "{field} {name}");
        }
    }
}
