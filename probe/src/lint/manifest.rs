//! What a manifest declares, by kind: objects, and the containers of their pods.

use std::{collections::HashMap, path::Path};

use super::yaml::{Node, Place};

/// An object of Kubernetes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'y> {
    pub(crate) kind: &'y str,
    pub(crate) name: &'y str,
    pub(crate) node: &'y Node<'y>,
}

/// What is declared, in the order of the file.
#[derive(Debug)]
pub(crate) struct Manifest<'y> {
    pub(crate) objects: Vec<Object<'y>>,
    /// The first of each kind and name.
    named: HashMap<(&'y str, &'y str), usize>,
    /// All of a kind. Every rule looks for some, and a large file has tens of thousands of objects.
    kinds: HashMap<&'y str, Vec<usize>>,
    pods: Vec<Pod<'y>>,
    containers: Vec<Container<'y>>,
}

/// A pod, as something makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod<'y> {
    pub(crate) object: Object<'y>,
    /// Its specification.
    pub(crate) spec: &'y Node<'y>,
}

/// One of its containers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container<'y> {
    pub(crate) pod: Pod<'y>,
    pub(crate) name: &'y str,
    pub(crate) node: &'y Node<'y>,
}

impl<'y> Manifest<'y> {
    /// What these documents declare. Lists, as `kubectl get -o yaml` prints them, are opened.
    pub(crate) fn new(documents: &'y [Node<'y>]) -> Self {
        let mut objects = Vec::new();
        for document in documents {
            add(document, &mut objects);
        }
        let mut named = HashMap::with_capacity(objects.len());
        let mut kinds: HashMap<_, Vec<_>> = HashMap::new();
        for (at, object) in objects.iter().enumerate() {
            named.entry((object.kind, object.name)).or_insert(at);
            kinds.entry(object.kind).or_default().push(at);
        }
        let pods: Vec<_> = objects.iter().copied().filter_map(Pod::of).collect();
        let containers = pods.iter().copied().flat_map(Pod::containers).collect();
        Self { objects, named, kinds, pods, containers }
    }

    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = Object<'y>> {
        self.kinds.get(kind).into_iter().flatten().filter_map(|at| self.objects.get(*at).copied())
    }

    /// The first object of this kind and name.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<Object<'y>> {
        self.objects.get(*self.named.get(&(kind, name))?).copied()
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = Pod<'y>> {
        self.pods.iter().copied()
    }

    pub(crate) fn containers(&self) -> impl Iterator<Item = Container<'y>> {
        self.containers.iter().copied()
    }

    /// The container of this name, wherever it is.
    pub(crate) fn container(&self, name: &str) -> Option<Container<'y>> {
        self.containers().find(|it| it.name == name || it.pod.object.name == name)
    }

    /// The value of a setting in a Secret, in clear, and where it stands.
    pub(crate) fn setting(&self, secret: &str, key: &str) -> Option<Setting<'y>> {
        let object = self.find("Secret", secret)?;
        if let Some(node) = object.node.at("stringData").and_then(|data| data.get(key)) {
            return Some(Setting { value: node.text()?.to_owned(), node, is_encoded: false });
        }
        let node = object.node.at("data")?.get(key)?;
        let bytes =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, node.text()?.trim()).ok()?;
        Some(Setting { value: String::from_utf8(bytes).ok()?, node, is_encoded: true })
    }
}

/// A value of a Secret. It never prints.
pub(crate) struct Setting<'y> {
    pub(crate) value: String,
    pub(crate) node: &'y Node<'y>,
    /// Whether it is written in base64.
    pub(crate) is_encoded: bool,
}

fn add<'y>(node: &'y Node<'y>, objects: &mut Vec<Object<'y>>) {
    let Some(kind) = node.text_at("kind") else { return };
    if kind.ends_with("List") && node.get("items").is_some() {
        node.items_at("items").iter().for_each(|item| add(item, objects));
        return;
    }
    objects.push(Object { kind, name: node.text_at("metadata.name").unwrap_or_default(), node });
}

impl Object<'_> {
    /// Where it begins.
    pub(crate) fn place(&self) -> Place {
        self.node.field("kind").map_or(self.node.start, |(key, _)| key.start)
    }

    /// Whether something makes it that makes pods, as a Deployment makes sets of replicas, and would be counted twice.
    pub(crate) fn is_made_by_another(&self) -> bool {
        let mut owners = self.node.items_at("metadata.ownerReferences").iter();
        owners.any(|it| it.text_at("kind").is_some_and(|kind| pod_of(kind).is_some()))
    }
}

/// Where such an object says what pods it makes, if it makes any.
fn pod_of(kind: &str) -> Option<&'static str> {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => Some("spec.template.spec"),
        "CronJob" => Some("spec.jobTemplate.spec.template.spec"),
        "Pod" => Some("spec"),
        _ => None,
    }
}

impl<'y> Pod<'y> {
    /// The pod that the object makes, if it makes any.
    fn of(object: Object<'y>) -> Option<Self> {
        Some(Self { object, spec: object.node.at(pod_of(object.kind)?)? })
    }

    pub(crate) fn containers(self) -> impl Iterator<Item = Container<'y>> {
        let pod = self;
        let items = self.spec.items_at("containers").iter();
        items.map(move |node| Container { pod, name: node.text_at("name").unwrap_or_default(), node })
    }

    /// Whether it has no network of its own.
    pub(crate) fn is_on_host(&self) -> bool {
        self.spec.text_at("hostNetwork") == Some("true")
    }
}

/// An option among the arguments of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'y> {
    pub(crate) value: &'y str,
    /// What it is made of: one item, or the name and behind it the value.
    pub(crate) items: &'y [Node<'y>],
}

impl<'y> Container<'y> {
    pub(crate) fn image(&self) -> Option<(&'y Node<'y>, &'y str)> {
        let node = self.node.get("image")?;
        Some((node, node.text()?))
    }

    /// The variable, as it is given: a value, or where it comes from.
    pub(crate) fn variable(&self, name: &str) -> Option<&'y Node<'y>> {
        self.node.items_at("env").iter().find(|it| it.text_at("name") == Some(name))
    }

    /// Each time that an option is given, as `--name=value` or as `--name` and `value`.
    pub(crate) fn options(&self, name: &'static str) -> impl Iterator<Item = Given<'y>> {
        let items = self.node.items_at("args");
        let given = move |at: usize| {
            let rest = items[at].text()?.strip_prefix(name)?;
            let is_apart = rest.is_empty();
            let value = if is_apart { items.get(at + 1)?.text()? } else { rest.strip_prefix('=')? };
            Some(Given { value, items: &items[at..=at + usize::from(is_apart)] })
        };
        (0..items.len()).filter_map(given)
    }

    /// The ports that it takes of the node, with their protocols.
    pub(crate) fn host_ports(&self) -> impl Iterator<Item = (u16, &'y str, &'y Node<'y>)> {
        let is_on_host = self.pod.is_on_host();
        self.node.items_at("ports").iter().filter_map(move |port| {
            let field = if is_on_host { port.get("containerPort") } else { None };
            let node = port.get("hostPort").or(field)?;
            Some((node.text()?.parse().ok()?, port.text_at("protocol").unwrap_or("TCP"), node))
        })
    }

    /// Whether something is mounted there, or above it.
    pub(crate) fn has_mount(&self, path: &str) -> bool {
        let mut mounts = self.node.items_at("volumeMounts").iter().filter_map(|it| it.text_at("mountPath"));
        mounts.any(|at| at.starts_with('/') && Path::new(path).starts_with(at))
    }

    /// Where it begins.
    pub(crate) fn place(&self) -> Place {
        self.node.get("name").map_or(self.node.start, |name| name.start)
    }
}
