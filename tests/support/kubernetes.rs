//! A stand-in for a cluster's API server, as far as `--kube` asks one: lists and objects at the paths where the real one has them and in
//! the forms in which it gives them (<https://kubernetes.io/docs/reference/using-api/api-concepts/>). Lists have the kind `SecretList`
//! and items without kinds, come in pieces with `metadata.continue`, and a refusal is a `Status`. It checks the token first, then the
//! role, then whether there is such a thing, as the real one does.
//!
//! It holds what somebody knew of an API server when they wrote it: that a real one says nothing else, it does not prove.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::certs::{Authority, Identity};
use crate::hostile::{self, Tls};

/// The namespace that Hubs is in.
pub const NAMESPACE: &str = "hcce";
/// With which the kubeconfig logs in. It never shows anywhere.
pub const TOKEN: &str = "0123token4567of890the1234cluster";
/// Who that is, by the API's word.
const USER: &str = "clusterUser_hubs_hubs";
/// When the objects were as they are.
const VERSION: &str = "81234";

/// Where resources are, as paths and lists name them.
const RESOURCES: [(&str, &str, &str); 8] = [
    ("apis/apps/v1", "deployments", "Deployment"),
    ("apis/apps/v1", "statefulsets", "StatefulSet"),
    ("apis/apps/v1", "daemonsets", "DaemonSet"),
    ("apis/networking.k8s.io/v1", "ingresses", "Ingress"),
    ("api/v1", "services", "Service"),
    ("api/v1", "configmaps", "ConfigMap"),
    ("api/v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    ("api/v1", "secrets", "Secret"),
];

/// What the cluster has, by resource and name.
#[derive(Debug, Clone, Default)]
pub struct Objects(BTreeMap<String, BTreeMap<String, Value>>);

impl Objects {
    /// Hubs, as its generator makes it. The certificates' secrets come into a cluster by themselves, and are not there yet.
    pub fn as_shipped() -> Self {
        let recorded: BTreeMap<String, Value> =
            serde_json::from_str(include_str!("../../probe/src/cluster/hubs.json")).unwrap();
        let mut objects = Self::default();
        for (path, value) in recorded {
            let resource = path.split('/').skip_while(|part| *part != NAMESPACE).nth(1).unwrap();
            let items = value["items"].as_array().cloned().unwrap_or_else(|| vec![value]);
            for item in items {
                objects.put(resource, item);
            }
        }
        objects
    }

    /// The same with hubs-relay in coturn's place, and without the certificate that haproxy shows in place of a missing one.
    pub fn with_relay() -> Self {
        let mut objects = Self::as_shipped();
        let pod = &mut objects.get("deployments", "coturn")["spec"]["template"]["spec"];
        pod["hostNetwork"] = json!(false);
        pod["volumes"] = json!([{ "name": "certs", "secret": { "secretName": "cert-stream.hubs.test" } }]);
        let container = &mut pod["containers"][0];
        container["image"] = json!("registry.test/hubs-relay:0.1.0");
        container["volumeMounts"] = json!([{ "name": "certs", "mountPath": "/certs" }]);
        container["ports"][0].as_object_mut().unwrap().remove("hostPort");
        let haproxy = &mut objects.get("deployments", "haproxy")["spec"]["template"]["spec"]["containers"][0];
        haproxy["args"].as_array_mut().unwrap().retain(|it| !it.as_str().unwrap().contains("default-ssl"));
        objects
    }

    /// Lets the pod in coturn's place take its certificate from another secret.
    #[must_use]
    pub fn with_secret_of_turn(mut self, name: &str) -> Self {
        let pod = &mut self.get("deployments", "coturn")["spec"]["template"]["spec"];
        pod["volumes"][0]["secret"]["secretName"] = json!(name);
        self
    }

    /// Adds the secret of a host's certificate, or puts this one in the place of another.
    #[must_use]
    pub fn certificate(self, host: &str, identity: &Identity) -> Self {
        self.certificate_in(&format!("cert-{host}"), identity)
    }

    /// The same for a secret of any name.
    #[must_use]
    pub fn certificate_in(mut self, name: &str, identity: &Identity) -> Self {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        self.put(
            "secrets",
            json!({
                "metadata": { "name": name, "namespace": NAMESPACE, "resourceVersion": VERSION },
                "type": "kubernetes.io/tls",
                "data": { "tls.crt": encoded(&identity.certificate), "tls.key": encoded(&identity.key) },
            }),
        );
        self
    }

    /// Takes something away.
    #[must_use]
    pub fn without(mut self, resource: &str, name: &str) -> Self {
        assert!(self.0.get_mut(resource).and_then(|them| them.remove(name)).is_some(), "{resource}/{name}");
        self
    }

    /// Adds so many maps of somebody else's.
    #[must_use]
    pub fn crowded(mut self, count: usize) -> Self {
        for number in 0..count {
            let metadata = json!({ "name": format!("crowd-{number:04}"), "namespace": NAMESPACE });
            self.put("configmaps", json!({ "metadata": metadata, "data": { "number": number.to_string() } }));
        }
        self
    }

    fn get(&mut self, resource: &str, name: &str) -> &mut Value {
        self.0.get_mut(resource).and_then(|them| them.get_mut(name)).unwrap()
    }

    /// Lists have no kinds in their items, so nothing here has.
    fn put(&mut self, resource: &str, mut object: Value) {
        let fields = object.as_object_mut().unwrap();
        fields.remove("kind");
        fields.remove("apiVersion");
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.0.entry(resource.to_owned()).or_default().insert(name, object);
    }
}

/// How the API behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    #[default]
    Good,
    /// The role lacks the rights to these resources.
    Forbids(BTreeSet<&'static str>),
    /// It takes questions, and says nothing.
    Silent,
    /// Its lists are longer than anybody reads.
    Huge,
}

/// A running API server, until the test's process ends.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    authority: Authority,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    objects: Objects,
    manner: Manner,
    /// Methods and paths, as they were asked for.
    asked: Mutex<Vec<String>>,
}

impl Api {
    /// Starts one.
    pub fn start(objects: Objects, manner: Manner) -> Self {
        let authority = Authority::named("kubernetes");
        let state = Arc::new(State { objects, manner, asked: Mutex::default() });
        let of_server = Arc::clone(&state);
        let address =
            hostile::behind_tls_with(&authority.issue("kubernetes"), move |stream| of_server.serve(stream));
        Self { address, authority, state }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked for so far: methods and paths.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a kubeconfig as `az aks get-credentials` does it, whose current context `hubs` leads here with a token.
    pub fn kubeconfig(&self, folder: &Path) -> PathBuf {
        self.kubeconfig_for(folder, &format!("token: {TOKEN}"))
    }

    /// The same for somebody who logs in like that.
    pub fn kubeconfig_for(&self, folder: &Path, user: &str) -> PathBuf {
        let root = BASE64_STANDARD.encode(self.authority.certificate());
        let text = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {root}\n    server: https://{}\n    \
             tls-server-name: kubernetes\n  name: hubs\ncontexts:\n- context:\n    cluster: hubs\n    user: {USER}\n  name: hubs\n\
             current-context: hubs\nkind: Config\npreferences: {{}}\nusers:\n- name: {USER}\n  user:\n    {user}\n",
            self.address
        );
        let file = folder.join("kubeconfig");
        fs::write(&file, text).unwrap();
        file
    }
}

impl State {
    /// One connection, and everything that is asked on it.
    fn serve(&self, stream: &mut Tls) -> io::Result<()> {
        loop {
            let head = read_head(stream)?;
            let mut lines = head.lines();
            let mut words = lines.next().unwrap_or_default().split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{method} {path}"));
            let token = lines.find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("authorization").then_some(value)
            });
            if self.manner == Manner::Silent {
                return hostile::says_nothing(stream);
            }
            let (status, body) = self.answer(method, path, token);
            let mut body = body.to_string();
            if self.manner == Manner::Huge {
                body += &" ".repeat(33 << 20);
            }
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            )?;
            stream.flush()?;
        }
    }

    fn answer(&self, method: &str, path: &str, token: Option<&str>) -> (u16, Value) {
        if token != Some(&format!("Bearer {TOKEN}")) {
            return refusal(401, "Unauthorized", "Unauthorized", &Value::Null);
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let found = RESOURCES.iter().find_map(|(group, resource, kind)| {
            let rest = path.strip_prefix(&format!("/{group}/namespaces/"))?;
            let (namespace, rest) = rest.split_once('/')?;
            let name = rest.strip_prefix(resource)?;
            Some((*group, *resource, *kind, namespace, name.strip_prefix('/')))
        });
        let Some((group, resource, kind, namespace, name)) = found else {
            let message = "the server could not find the requested resource";
            return refusal(404, "NotFound", message, &json!({}));
        };
        let details = json!({ "name": name, "kind": resource });
        let subject = name.map_or_else(|| resource.to_owned(), |name| format!("{resource} {name:?}"));
        let forbidden = matches!(&self.manner, Manner::Forbids(them) if them.contains(resource));
        if forbidden || method != "GET" {
            let verb = if name.is_some() { "get" } else { "list" };
            let of_group = group.split('/').nth(1).filter(|it| *it != "v1").unwrap_or_default();
            let message = format!(
                "{subject} is forbidden: User {USER:?} cannot {verb} resource {resource:?} in API group {of_group:?} in the namespace {namespace:?}"
            );
            return refusal(403, "Forbidden", &message, &details);
        }
        // Of a namespace that is not there, lists are empty.
        let none = BTreeMap::new();
        let there = self.objects.0.get(resource).filter(|_| namespace == NAMESPACE).unwrap_or(&none);
        let version = group.split_once('/').map_or(group, |(_, version)| version);
        let Some(name) = name else {
            return (200, list(there, &format!("{kind}List"), version, query));
        };
        match there.get(name) {
            Some(object) => {
                let mut object = object.clone();
                object["kind"] = json!(kind);
                object["apiVersion"] = json!(version);
                (200, object)
            }
            None => refusal(404, "NotFound", &format!("{subject} not found"), &details),
        }
    }
}

/// So many as are wanted, from where the last piece ended, and where this one ends.
fn list(there: &BTreeMap<String, Value>, kind: &str, version: &str, query: &str) -> Value {
    let value = |name: &str| query.split('&').find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
    let limit = value("limit").and_then(|it| it.parse().ok()).unwrap_or(usize::MAX);
    let after = value("continue").map(|token| {
        let bytes = BASE64_STANDARD.decode(token.replace("%3D", "=").replace("%2B", "+").replace("%2F", "/"));
        String::from_utf8(bytes.unwrap()).unwrap()
    });
    let rest: Vec<_> =
        there.iter().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after)).collect();
    let mut metadata = json!({ "resourceVersion": VERSION });
    if let Some((last, _)) = rest.get(limit.saturating_sub(1)).filter(|_| rest.len() > limit) {
        metadata["continue"] = json!(BASE64_STANDARD.encode(last));
        metadata["remainingItemCount"] = json!(rest.len() - limit);
    }
    let items: Vec<_> = rest.into_iter().take(limit).map(|(_, object)| object).collect();
    json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items })
}

fn refusal(code: u16, reason: &str, message: &str, details: &Value) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details, "code": code,
    });
    (code, status)
}

fn read_head(stream: &mut Tls) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).map_err(io::Error::other)
}
