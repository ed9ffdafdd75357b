//! ARM templates, as the portal exports them: parameters and variables with values in the file are put in, and what is an expression
//! after that stays one.

use std::borrow::Cow;

use super::{
    Reader,
    json::{Value, array, list, text},
    last_part,
    rule::{self, Dialect},
};

pub(super) fn read(reader: &mut Reader, template: &Value<'_>, path: &str) {
    let resources = template.get("resources").map(array).unwrap_or_default();
    for (at, resource) in resources.iter().enumerate() {
        let resolved = resolve(resource, template, 0);
        visit(reader, &resolved, &format!("{path}.resources[{at}]"));
    }
}

fn visit(reader: &mut Reader, resource: &Value<'_>, path: &str) {
    let kind = text(resource, "type").unwrap_or_default().to_ascii_lowercase();
    let name = text(resource, "name").unwrap_or_default();
    match kind.as_str() {
        "microsoft.network/networksecuritygroups" => {
            reader.group(resource, path);
            for (at, inner) in list(resource, "resources").iter().enumerate() {
                let path = format!("{path}.resources[{at}]");
                add_rule(reader, inner, name, &path);
            }
        }
        "microsoft.network/networksecuritygroups/securityrules" => {
            let group = name.split('/').next().unwrap_or_default().to_owned();
            add_rule(reader, resource, &group, path);
        }
        _ => reader.visit(resource, path),
    }
}

/// A rule that is a resource of its own. One that its group has as well is the same one.
fn add_rule(reader: &mut Reader, resource: &Value<'_>, group: &str, path: &str) {
    if text(resource, "access").is_none() {
        return;
    }
    let mut odd = Vec::new();
    let mut rule = rule::read(resource, path.to_owned(), Dialect::Declared, &mut odd);
    rule.name = last_part(&rule.name).into();
    let name = rule.name.clone();
    let is_known =
        reader.groups.iter().any(|it| it.name == group && it.rules.iter().any(|it| it.name == name));
    if !is_known {
        reader.note(path, odd.into_iter().map(|what| format!("{name}: {what}")));
        reader.loose.entry(group.to_owned()).or_default().push(rule);
    }
}

/// How often a parameter may stand for another one.
const DEEPEST: usize = 8;

fn resolve<'t>(value: &Value<'t>, template: &Value<'t>, depth: usize) -> Value<'t> {
    match value {
        Value::Text(text) if depth < DEEPEST => match lookup(text, template) {
            Some(found) => resolve(found, template, depth + 1),
            None => Value::Text(concatenated(text, template, depth).map_or_else(|| text.clone(), Cow::Owned)),
        },
        Value::List(items) => Value::List(items.iter().map(|item| resolve(item, template, depth)).collect()),
        Value::Map(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), resolve(value, template, depth)));
            Value::Map(fields.collect())
        }
        other => other.clone(),
    }
}

/// What `[parameters('x')]` and `[variables('x')]` stand for, if the file says.
fn lookup<'v, 't>(text: &str, template: &'v Value<'t>) -> Option<&'v Value<'t>> {
    let expression = text.strip_prefix('[')?.strip_suffix(']')?.trim();
    let name = |function: &str| expression.strip_prefix(function)?.strip_prefix("('")?.strip_suffix("')");
    if let Some(name) = name("parameters") {
        return template.get("parameters")?.get(name)?.get("defaultValue");
    }
    template.get("variables")?.get(name("variables")?)
}

/// `[concat(parameters('x'), '/y')]`, which is how the portal names rules.
fn concatenated(text: &str, template: &Value<'_>, depth: usize) -> Option<String> {
    let inner = text.strip_prefix("[concat(")?.strip_suffix(")]")?;
    let mut out = String::new();
    for part in inner.split(',').map(str::trim) {
        match part.strip_prefix('\'').and_then(|part| part.strip_suffix('\'')) {
            Some(literal) => out += literal,
            None => match resolve(&Value::Text(format!("[{part}]").into()), template, depth + 1) {
                Value::Text(text) if !text.starts_with('[') => out += &text,
                _ => return None,
            },
        }
    }
    Some(out)
}
