//! ARM templates, as the portal exports them: parameters and variables with values in the file are put in, and what is an expression
//! after that stays one.
//!
//! What a deployment within a template declares is read with it, as far as its own template is in the file.
//!
//! Resources of a template have no identifiers. They are given those that `resourceId` makes of their types and names, without the
//! subscription and the group, which nobody knows before they are deployed.

use std::{cell::Cell, collections::BTreeMap, fmt::Write as _};

use super::{
    GroupKey, Reader,
    json::{Value, get, text},
    last_part, place_of,
    rule::{self, Dialect},
    ways::unknown_rule,
};
use crate::nsg::{ranges::Ports, rules::PortOperand};

pub(super) fn read(reader: &mut Reader, document: &Value<'_>, path: &str) {
    let left = Cell::new(MOST_BROUGHT_IN);
    let template = Template { document, given: None, scope: String::new(), left: &left };
    template.read(reader, document, "", path);
}

impl<'t> Template<'_, 't> {
    /// Everything that `of` declares, with identifiers in this scope.
    fn read(&self, reader: &mut Reader, of: &Value<'t>, scope: &str, path: &str) {
        for (path, resource) in resources(reader, of, path) {
            let is_deployment = text(resource, "type").is_some_and(|it| it.eq_ignore_ascii_case(DEPLOYMENT));
            if !is_deployment {
                self.visit(reader, resource, None, scope, &path);
                continue;
            }
            match Deployed::of(resource) {
                Deployed::Surely => self.deployment(reader, resource, scope, &path),
                Deployed::Not => {}
                Deployed::Elsewhere => reader.note(&path, [ELSEWHERE.to_owned()]),
                Deployed::Perhaps(why) => {
                    reader.unsure(why, &path, |reader| self.deployment(reader, resource, scope, &path));
                }
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

    /// A resource, and those within it. These have conditions of their own, and yet nothing is sure of them if nothing is of it.
    fn visit(
        &self,
        reader: &mut Reader,
        resource: &Value<'t>,
        parent: Option<Called<'_>>,
        scope: &str,
        path: &str,
    ) {
        let resolved = match resource.fields() {
            // Those are resolved by themselves.
            Some(fields) => {
                let own = fields.iter().filter(|(name, _)| name != "resources");
                Value::Map(own.map(|(name, value)| (name.clone(), self.resolve(value, 0))).collect())
            }
            None => self.resolve(resource, 0),
        };
        let kind = text(&resolved, "type").unwrap_or_default();
        let name = text(&resolved, "name").unwrap_or_default();
        // Within another resource both begin where the other one's end.
        let (kind, name) = match parent {
            Some((outer, of)) if !kind.contains('.') => (format!("{outer}/{kind}"), format!("{of}/{name}")),
            _ => (kind.to_owned(), name.to_owned()),
        };
        let within = |reader: &mut Reader| {
            for (path, inner) in resources(reader, resource, path) {
                self.visit(reader, inner, Some((&kind, &name)), scope, &path);
            }
        };
        match Deployed::of(resource) {
            Deployed::Surely => {
                declare(reader, resolved, (&kind, &name), scope, path);
                within(reader);
            }
            Deployed::Not if resource.get("resources").is_none() => {}
            Deployed::Not => reader.unsure(WITHIN, path, within),
            Deployed::Elsewhere => {
                reader.note(path, [ELSEWHERE.to_owned()]);
                within(reader);
            }
            Deployed::Perhaps(why) => reader.unsure(why, path, |reader| {
                declare(reader, resolved, (&kind, &name), scope, path);
                within(reader);
            }),
        }
    }
}

const DEPLOYMENT: &str = "Microsoft.Resources/deployments";
const ELSEWHERE: &str = "this is there already, and what it declares is in no file";
const WITHIN: &str = "it stands within a resource that is not deployed, and is unknown";

/// Whether a resource comes to be there.
enum Deployed {
    Surely,
    Not,
    /// It is only referred to.
    Elsewhere,
    /// Nobody knows before, and why that is.
    Perhaps(&'static str),
}

impl Deployed {
    /// By what is written there. Values that a template gives to parameters of conditions are there to be replaced.
    fn of(resource: &Value<'_>) -> Self {
        let condition = resource.get("condition").filter(|it| **it != Value::Null);
        // Of a resource, or of one of its properties.
        let is_copied = get(resource, "copy").is_some();
        match (condition, resource.get("existing")) {
            (Some(Value::Bool(false)), _) => Self::Not,
            (_, Some(Value::Bool(true))) => Self::Elsewhere,
            (None | Some(Value::Bool(true)), _) if is_copied => {
                Self::Perhaps("it is copied, so that what it declares is unknown")
            }
            (None | Some(Value::Bool(true)), _) => Self::Surely,
            (Some(_), _) => {
                Self::Perhaps("whether it is deployed hangs on a condition, so that it is unknown")
            }
        }
    }
}

/// The resources of a template, or of a resource, and where each stands: they are in a list, or have symbolic names.
fn resources<'v, 't>(reader: &mut Reader, of: &'v Value<'t>, path: &str) -> Vec<(String, &'v Value<'t>)> {
    match of.get("resources") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(items)) => {
            let items = items.iter().enumerate();
            items.map(|(at, resource)| (format!("{path}.resources[{at}]"), resource)).collect()
        }
        Some(Value::Map(fields)) => {
            let fields = fields.iter();
            fields.map(|(name, resource)| (format!("{path}.resources.{name}"), resource)).collect()
        }
        Some(_) => {
            let what = "these are no resources, in a list or by their names".to_owned();
            reader.note(&format!("{path}.resources"), [what]);
            Vec::new()
        }
    }
}

/// A resource's type and name.
type Called<'c> = (&'c str, &'c str);

fn declare(reader: &mut Reader, mut resource: Value<'_>, (kind, name): Called<'_>, scope: &str, path: &str) {
    if let (Value::Map(fields), Some(id)) = (&mut resource, identifier(kind, name.split('/'))) {
        fields.push(("id".into(), Value::Text(format!("{scope}{id}").into())));
    }
    match kind.to_ascii_lowercase().as_str() {
        "microsoft.network/networksecuritygroups" => reader.group(&resource, path),
        "microsoft.network/networksecuritygroups/securityrules" => {
            let group = name.split('/').next().unwrap_or_default();
            let resource_group = text(&resource, "id").and_then(super::resource_group);
            add_rule(reader, &resource, GroupKey::new(Some(group), resource_group), path);
        }
        "microsoft.resources/deployments" => {
            reader.note(path, ["what a deployment within a resource declares is not read".to_owned()]);
        }
        _ => reader.visit(&resource, path),
    }
}

impl Reader {
    /// Reads what may not be there, or otherwise: nothing of it is sure.
    fn unsure(&mut self, why: &str, path: &str, read: impl FnOnce(&mut Self)) {
        self.note(path, [why.to_owned()]);
        let (groups, admin, networks) = (self.groups.len(), self.admin.len(), self.networks.len());
        let loose: BTreeMap<_, _> =
            self.loose.iter().map(|(group, rules)| (group.clone(), rules.len())).collect();
        read(self);
        for group in self.groups.iter_mut().skip(groups) {
            group.rules.push(unknown_rule(why, path));
        }
        let rules = self
            .loose
            .iter_mut()
            .flat_map(|(group, rules)| rules.iter_mut().skip(loose.get(group).copied().unwrap_or_default()));
        for rule in rules.chain(self.admin.iter_mut().skip(admin)) {
            // Of packets from any port it surely matches none.
            rule.source_ports = PortOperand { known: Ports::default(), unclear: Some(why.to_owned()) };
        }
        self.is_network_unclear |= self.networks.len() > networks;
    }
}

/// A rule that is a resource of its own.
fn add_rule(reader: &mut Reader, resource: &Value<'_>, group: GroupKey, path: &str) {
    if text(resource, "access").is_none() {
        return;
    }
    let mut odd = Vec::new();
    let mut rule = rule::read(resource, path.to_owned(), Dialect::Declared, &mut odd);
    rule.name = last_part(&rule.name).into();
    let name = rule.name.clone();
    // One that its group has as well is the same one, and what is odd about it was told.
    let at = reader.group_called(&group);
    if at.is_some_and(|at| reader.groups[at].rules.iter().any(|it| it.name == name)) {
        return;
    }
    reader.note(path, odd.into_iter().map(|what| format!("{name}: {what}")));
    reader.loose.entry(group).or_default().push(rule);
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
                // What is an expression of the outer template still, means nothing in this one.
                if let Some(given) = self.given.and_then(|it| it.get(literal(&arguments)?)) {
                    let given = given.get("value")?;
                    self.spend_on(given);
                    return (self.left.get() > 0).then(|| given.clone());
                }
                self.named("parameters", &arguments)?.get("defaultValue")?
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

    /// What a value and all within it cost.
    fn spend_on(&self, value: &Value<'_>) {
        self.spend(value.text().map_or(0, str::len));
        for item in value.items().unwrap_or_default() {
            self.spend_on(item);
        }
        for (_, field) in value.fields().unwrap_or_default() {
            self.spend_on(field);
        }
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
