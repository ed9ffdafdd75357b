//! Fields of documents that are written in different ways: in camel or in snake case, flat or below `properties`.

use serde_json::{Map, Value};

/// The field, wherever it is. What is null is not there.
pub(super) fn get<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    let properties = object.get("properties").and_then(Value::as_object);
    let found = of(object, name).or_else(|| of(properties?, name));
    found.or_else(|| {
        let name = snake_case(name);
        of(object, &name).or_else(|| of(properties?, &name))
    })
}

fn of<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The field, if it is a text.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    get(value, name)?.as_str()
}

/// The identifier of a resource that is referred to, as `{"id": …}` or as a text.
pub(super) fn reference<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    let field = get(value, name)?;
    field.as_str().or_else(|| field.get("id")?.as_str()).filter(|id| !id.is_empty())
}

/// The elements of a list; of anything else, none.
pub(super) fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The field's elements, if it is a list.
pub(super) fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    get(value, name).map(array).unwrap_or_default()
}

/// A text, or a list of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// What Azure writes where there is nothing.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
