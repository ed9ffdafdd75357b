//! What a cluster has, in the same form as what a file says, so that the same rules look at it. In place of lines and columns,
//! everything has its path.

use std::{borrow::Cow, fmt};

use serde_json::Value;

use super::{
    certificates::{self, Shown},
    manifest::Manifest,
    yaml::{Kind, Node, Place, Style},
};
use crate::{codes::Code, finding::Finding, nsg::shell_word};

/// The objects of a namespace, as the cluster has them now.
#[derive(PartialEq, Eq)]
pub(crate) struct Live {
    /// In words, such as `namespace hcce of the context hubs`.
    pub(crate) name: String,
    pub(super) documents: Vec<Node<'static>>,
    namespace: String,
    /// The context that was asked for, if it need not be the current one.
    context: Option<String>,
    untold: Vec<Untold>,
    /// The step that leads to each place, and from which one it starts.
    trails: Vec<(usize, Step)>,
}

#[derive(PartialEq, Eq)]
enum Step {
    Object(String),
    Field(String),
    Item(usize),
}

/// What there may be, and the person has no right to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untold {
    pub(crate) kind: &'static str,
    /// One of them; nothing if it is all of them.
    pub(crate) name: Option<String>,
    /// What a role calls them.
    pub(crate) resource: String,
}

/// What is no declaration: the state of things, who wrote what, and a second copy of everything, secrets included.
const UNDECLARED: [&str; 3] = ["status", "managedFields", "kubectl.kubernetes.io/last-applied-configuration"];

impl Live {
    /// From objects, each with its kind: in lists they do not say it themselves.
    pub(crate) fn new(
        name: String,
        namespace: &str,
        objects: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let mut live = Self {
            name,
            documents: Vec::new(),
            namespace: namespace.to_owned(),
            context: None,
            untold: Vec::new(),
            trails: Vec::new(),
        };
        for (kind, mut object) in objects {
            let called = object["metadata"]["name"].as_str().unwrap_or_default();
            let start = live.trail(0, Step::Object(format!("{kind}/{namespace}/{called}")));
            if let Value::Object(fields) = &mut object {
                fields.insert("kind".to_owned(), Value::from(kind));
            }
            let document = live.node(object, start);
            live.documents.extend(document);
        }
        live
    }

    /// The same, of which some is not told.
    pub(crate) fn without(mut self, untold: Vec<Untold>) -> Self {
        self.untold = untold;
        self
    }

    /// The same, for which `kubectl` has to be told the context.
    pub(crate) fn in_context(mut self, context: Option<String>) -> Self {
        self.context = context;
        self
    }

    /// The context that `kubectl` has to be told.
    pub(super) fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Whether it would be here if the cluster had it.
    pub(super) fn tells(&self, kind: &str, name: &str) -> bool {
        let is_untold =
            |it: &Untold| it.kind == kind && it.name.as_deref().is_none_or(|untold| untold == name);
        !self.untold.iter().any(is_untold)
    }

    /// That something of it was not told, and how to come to hear of it.
    pub(super) fn judge_rights(&self) -> Option<Finding> {
        let mut resources: Vec<_> = self.untold.iter().map(|it| it.resource.as_str()).collect();
        resources.dedup();
        if resources.is_empty() {
            return None;
        }
        let names: Vec<_> = self.untold.iter().filter_map(|it| it.name.as_deref()).collect();
        let summary = format!(
            "you may not read {} in the namespace {} (403): what is wrong with them, or missing, is not known",
            resources.join(", "),
            self.namespace
        );
        let mut finding = Finding::error(Code::ManifestRead, summary);
        if !names.is_empty() {
            finding = finding.seen("not told", names.join(", "));
        }
        let text =
            "Who administers the cluster can grant it, to read only; YOU is what `kubectl auth whoami` says:";
        let commands = grants(&self.namespace, &resources.join(","));
        Some(finding.fix(text, commands.map(|it| in_context(it, self.context()))))
    }

    /// Where it is, such as `Deployment/hcce/coturn spec.template.spec.containers[0].image`.
    pub(super) fn path(&self, place: Place) -> String {
        let mut steps = Vec::new();
        let mut at = place.line();
        while let Some((before, step)) = self.trails.get(at) {
            steps.push(step);
            if matches!(step, Step::Object(_)) {
                break;
            }
            at = *before;
        }
        let mut path = String::new();
        for step in steps.iter().rev() {
            match step {
                Step::Object(name) => path += name,
                Step::Field(name) => {
                    path += if path.contains(' ') { "." } else { " " };
                    path += name;
                }
                Step::Item(at) => path.extend(["[", &at.to_string(), "]"]),
            }
        }
        path
    }

    /// The finding with commands for this namespace, in place of the one that Hubs' generator has, and for this context.
    pub(crate) fn named_in(&self, mut finding: Finding) -> Finding {
        let option = format!("-n {}", shell_word(&self.namespace));
        for command in finding.remedy.iter_mut().flat_map(|it| &mut it.commands) {
            *command = in_context(command.replace("-n hcce", &option), self.context());
        }
        finding
    }

    /// Each host of an Ingress with the certificate that is meant for it, and on which ports.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        certificates::shown(&Manifest::new(&self.documents), |place| self.path(place))
    }

    fn trail(&mut self, from: usize, step: Step) -> usize {
        self.trails.push((from, step));
        self.trails.len() - 1
    }

    /// What is null is not there.
    fn node(&mut self, value: Value, at: usize) -> Option<Node<'static>> {
        let kind = match value {
            Value::Null => return None,
            Value::Bool(it) => Kind::Text(Cow::Owned(it.to_string())),
            Value::Number(it) => Kind::Text(Cow::Owned(it.to_string())),
            Value::String(it) => Kind::Text(Cow::Owned(it)),
            Value::Array(items) => {
                let mut nodes = Vec::with_capacity(items.len());
                for (number, item) in items.into_iter().enumerate() {
                    let place = self.trail(at, Step::Item(number));
                    nodes.extend(self.node(item, place));
                }
                Kind::List(nodes)
            }
            Value::Object(fields) => {
                let mut nodes = Vec::with_capacity(fields.len());
                for (name, value) in fields {
                    if UNDECLARED.contains(&name.as_str()) {
                        continue;
                    }
                    let place = self.trail(at, Step::Field(name.clone()));
                    if let Some(value) = self.node(value, place) {
                        nodes.push((placed(Kind::Text(Cow::Owned(name)), place), value));
                    }
                }
                Kind::Map(nodes)
            }
        };
        Some(placed(kind, at))
    }
}

/// The command for a cluster that need not be the current one. What is about the kubeconfig itself is about no cluster.
pub(crate) fn in_context(command: String, context: Option<&str>) -> String {
    match (command.strip_prefix("kubectl "), context) {
        (Some(rest), Some(context)) if !rest.starts_with("config ") => {
            format!("kubectl --context {} {rest}", shell_word(context))
        }
        _ => command,
    }
}

/// How the right to read these is granted.
pub(crate) fn grants(namespace: &str, resources: &str) -> [String; 2] {
    let namespace = shell_word(namespace);
    [
        format!("kubectl create role hubs-probe -n {namespace} --verb=get,list --resource={resources}"),
        format!("kubectl create rolebinding hubs-probe -n {namespace} --role=hubs-probe --user=YOU"),
    ]
}

fn placed(kind: Kind<'static>, at: usize) -> Node<'static> {
    let place = Place::new(at, 1);
    Node { kind, style: Style::Double, start: place, end: place }
}

/// It has secrets in it.
impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("name", &self.name).finish_non_exhaustive()
    }
}
