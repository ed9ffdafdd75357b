//! ARM templates, as the portal exports them: parameters and variables with values in the file are put in, and what is an expression
//! after that stays one.
//!
//! What a deployment within a template declares is read with it, as far as its own template is in the file.
//!
//! Resources of a template have no identifiers. They are given those that `resourceId` makes of their types and names, without the
//! subscription and the group, which nobody knows before they are deployed.

use std::{cell::Cell, fmt::Write as _};

use super::{
    Reader,
    json::{Value, array, get, list, text},
    last_part, place_of,
    rule::{self, Dialect},
};

pub(super) fn read(reader: &mut Reader, document: &Value<'_>, path: &str) {
    let left = Cell::new(MOST_BROUGHT_IN);
    let template = Template { document, given: None, scope: String::new(), left: &left };
    template.read(reader, document, "", path);
}

impl<'t> Template<'_, 't> {
    /// Everything that `of` declares, with identifiers in this scope.
    fn read(&self, reader: &mut Reader, of: &Value<'t>, scope: &str, path: &str) {
        for (at, resource) in of.get("resources").map(array).unwrap_or_default().iter().enumerate() {
            let path = format!("{path}.resources[{at}]");
            if text(resource, "type").is_some_and(|it| it.eq_ignore_ascii_case(DEPLOYMENT)) {
                self.deployment(reader, resource, scope, &path);
            } else {
                visit(reader, self.resolve(resource, 0), None, scope, &path);
            }
        }
    }

    /// A template within the template. Its expressions are those of the outer one, unless it says that they are its own.
    fn deployment(&self, reader: &mut Reader, resource: &Value<'t>, scope: &str, path: &str) {
        let Some(inner) = get(resource, "template").filter(|it| it.is_map()) else {
            reader.note(path, ["the template that is deployed here is in no file".to_owned()]);
            return;
        };
        let path = place_of(resource, "template", path);
        let scope = match resource.get("resourceGroup").map(|it| self.resolve(it, 0)) {
            Some(Value::Text(group)) if !is_own(&group) => format!("/resourceGroups/{group}"),
            _ => scope.to_owned(),
        };
        let options = get(resource, "expressionEvaluationOptions");
        let is_inner =
            options.and_then(|it| text(it, "scope")).is_some_and(|it| it.eq_ignore_ascii_case("inner"));
        if !is_inner {
            return self.read(reader, inner, &scope, &path);
        }
        let given = get(resource, "parameters").map(|it| self.resolve(it, 0));
        let template =
            Template { document: inner, given: given.as_ref(), scope: scope.clone(), left: self.left };
        template.read(reader, inner, &scope, &path);
    }
}

const DEPLOYMENT: &str = "Microsoft.Resources/deployments";

/// A resource's type and name.
type Called<'c> = (&'c str, &'c str);

fn visit(reader: &mut Reader, mut resource: Value<'_>, parent: Option<Called<'_>>, scope: &str, path: &str) {
    let kind = text(&resource, "type").unwrap_or_default();
    let name = text(&resource, "name").unwrap_or_default();
    // Within another resource both begin where the other one's end.
    let (kind, name) = match parent {
        Some((outer, of)) if !kind.contains('.') => (format!("{outer}/{kind}"), format!("{of}/{name}")),
        _ => (kind.to_owned(), name.to_owned()),
    };
    if let (Value::Map(fields), Some(id)) = (&mut resource, identifier(&kind, name.split('/'))) {
        fields.push(("id".into(), Value::Text(format!("{scope}{id}").into())));
    }
    match kind.to_ascii_lowercase().as_str() {
        "microsoft.network/networksecuritygroups" => reader.group(&resource, path),
        "microsoft.network/networksecuritygroups/securityrules" => {
            let group = name.split('/').next().unwrap_or_default();
            add_rule(reader, &resource, group, path);
        }
        "microsoft.resources/deployments" => {
            reader.note(path, ["what a deployment within a resource declares is not read".to_owned()]);
        }
        _ => reader.visit(&resource, path),
    }
    for (at, inner) in list(&resource, "resources").iter().enumerate() {
        visit(reader, inner.clone(), Some((&kind, &name)), scope, &format!("{path}.resources[{at}]"));
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

/// What `resourceId` makes of a type and as many names as it has parts.
fn identifier<'n>(kind: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let (provider, kinds) = kind.split_once('/')?;
    let mut id = format!("/providers/{provider}");
    let mut kinds = kinds.split('/');
    for name in names {
        write!(id, "/{}/{name}", kinds.next()?).ok()?;
    }
    kinds.next().is_none().then_some(id)
}

/// How deep expressions and what they stand for may be nested.
const DEEPEST: usize = 16;
/// How many bytes all expressions of a template may have and bring in. Without that a few lines could stand for terabytes.
const MOST_BROUGHT_IN: usize = 1 << 26;

/// A template, of which expressions are resolved.
struct Template<'v, 't> {
    document: &'v Value<'t>,
    /// What the deployment that it is in gives for its parameters.
    given: Option<&'v Value<'t>>,
    /// With what identifiers begin here: nothing, or the resource group of such a deployment.
    scope: String,
    /// How much all of them may still bring in.
    left: &'v Cell<usize>,
}

impl<'t> Template<'_, 't> {
    fn resolve(&self, value: &Value<'t>, depth: usize) -> Value<'t> {
        if depth > 0 {
            self.spend(value.text().map_or(0, str::len));
        }
        match value {
            Value::Text(text) => expression(text)
                .and_then(|expression| self.evaluate(expression, depth))
                .unwrap_or_else(|| value.clone()),
            Value::List(items) => Value::List(items.iter().map(|it| self.resolve(it, depth)).collect()),
            Value::Map(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.clone(), self.resolve(value, depth)));
                Value::Map(fields.collect())
            }
            other => other.clone(),
        }
    }

    /// What an expression stands for, if the file says.
    fn evaluate(&self, expression: &str, depth: usize) -> Option<Value<'t>> {
        self.spend(expression.len());
        if depth == DEEPEST || self.left.get() == 0 {
            return None;
        }
        if let Some(literal) = expression.strip_prefix('\'') {
            let literal = literal.strip_suffix('\'')?.replace("''", "'");
            return Some(self.brought_in(literal));
        }
        let (function, arguments) = call(expression)?;
        let found = match function.to_ascii_lowercase().as_str() {
            "parameters" => {
                let given = self.given.and_then(|it| it.get(literal(&arguments)?)?.get("value"));
                given.or_else(|| self.named("parameters", &arguments)?.get("defaultValue"))?
            }
            "variables" => self.named("variables", &arguments)?,
            "concat" => return Some(self.brought_in(self.words(&arguments, depth)?.concat())),
            "format" => return Some(self.brought_in(formatted(&self.words(&arguments, depth)?)?)),
            "resourceid" => {
                let id = resource_id(&self.words(&arguments, depth)?, &self.scope)?;
                return Some(self.brought_in(id));
            }
            _ => return None,
        };
        Some(self.resolve(found, depth + 1))
    }

    fn named(&self, section: &str, arguments: &[&str]) -> Option<&Value<'t>> {
        self.document.get(section)?.get(literal(arguments)?)
    }

    /// Arguments as texts. One that cannot be resolved stays what it is: the same words stand for the same thing elsewhere.
    fn words(&self, arguments: &[&str], depth: usize) -> Option<Vec<String>> {
        let word = |argument: &&str| match self.evaluate(argument, depth + 1) {
            Some(Value::Text(text)) => Some(text.into_owned()),
            Some(Value::Count(number)) => Some(number.to_string()),
            Some(_) => None,
            None => Some(format!("[{argument}]")),
        };
        arguments.iter().map(word).collect()
    }

    fn brought_in(&self, text: String) -> Value<'t> {
        self.spend(text.len());
        Value::Text(text.into())
    }

    /// Each value costs something, of whatever length its text is.
    fn spend(&self, length: usize) {
        self.left.set(self.left.get().saturating_sub(length + size_of::<Value<'_>>()));
    }
}

/// The only argument, if it is a text.
fn literal<'a>(arguments: &[&'a str]) -> Option<&'a str> {
    let [name] = arguments else { return None };
    name.strip_prefix('\'')?.strip_suffix('\'')
}

/// Whether it stands for the resource group, or the subscription, to which the template is deployed.
fn is_own(word: &str) -> bool {
    word == "[resourceGroup().name]" || word == "[subscription().subscriptionId]"
}

/// What stands between the brackets.
fn expression(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

/// A function and its arguments, if the expression is nothing but that.
fn call(expression: &str) -> Option<(&str, Vec<&str>)> {
    let (function, inner) = expression.split_once('(')?;
    let inner = inner.strip_suffix(')')?;
    let (mut arguments, mut start, mut nested, mut is_quoted) = (Vec::new(), 0, 0_usize, false);
    for (at, c) in inner.char_indices() {
        match c {
            // A quote within a literal is written twice.
            '\'' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' | '[' => nested += 1,
            ')' | ']' => nested = nested.checked_sub(1)?,
            ',' if nested == 0 => {
                arguments.push(inner[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(inner[start..].trim());
    (nested == 0 && !is_quoted).then_some((function.trim(), arguments))
}

/// `format('{0}/{1}', …)`, which is how Bicep puts names together.
fn formatted(words: &[String]) -> Option<String> {
    let (pattern, words) = words.split_first()?;
    let (mut out, mut rest) = (String::new(), pattern.as_str());
    while let Some((before, behind)) = rest.split_once('{') {
        let (index, behind) = behind.split_once('}')?;
        out += before;
        out += words.get(index.parse::<usize>().ok()?)?;
        rest = behind;
    }
    Some(out + rest)
}

/// `resourceId`: perhaps a subscription and a resource group, the type, the names.
fn resource_id(words: &[String], scope: &str) -> Option<String> {
    let kind = words.iter().position(|it| it.contains('/') && !it.starts_with('['))?;
    let id = identifier(&words[kind], words[kind + 1..].iter().map(String::as_str))?;
    let elsewhere: Vec<_> = words[..kind].iter().filter(|it| !is_own(it.as_str())).collect();
    match elsewhere.as_slice() {
        [] => Some(format!("{scope}{id}")),
        [group] => Some(format!("/resourceGroups/{group}{id}")),
        [subscription, group] => Some(format!("/subscriptions/{subscription}/resourceGroups/{group}{id}")),
        _ => None,
    }
}
