//! The live cluster, asked as `kubectl` would ask it: with the kubeconfig that the person has, in one of its contexts. It is only ever
//! asked to get and to list, and each answer has a time limit and a largest size.

use std::{
    cell::Cell,
    error::Error,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{Request, StatusCode};
use kube::{
    Client, Config,
    client::{AuthError, Body},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use serde_json::Value;

use crate::{
    finding::printable,
    lint::{Live, Untold, grants},
};

/// Which part of which cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The context of the kubeconfig; nothing for the current one.
    pub(crate) context: Option<String>,
    pub(crate) namespace: String,
}

/// Why the cluster does not tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error(
        "--kube needs a kubeconfig, and there is none ({0}): fetch it with `az aks get-credentials -g GROUP -n CLUSTER`, or name its file in KUBECONFIG"
    )]
    NoKubeconfig(String),
    #[error("the kubeconfig has no context {0:?}: `kubectl config get-contexts` shows those that it has")]
    UnknownContext(String),
    #[error(
        "the kubeconfig has no current context: name one with --context, or set it with `kubectl config use-context`"
    )]
    NoContext,
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    #[error("logging in fails: {0}; see whether `kubectl get namespaces` works from here")]
    Login(String),
    #[error("{server} does not answer: {why}; see whether `kubectl get namespaces` works from here")]
    Unreachable { server: String, why: String },
    #[error(
        "{server} does not know you (401): log in again, for AKS with `az login` and `az aks get-credentials -g GROUP -n CLUSTER`"
    )]
    LoggedOut { server: String },
    #[error(
        "you may read nothing in the namespace {namespace} (403): who administers the cluster can grant it, to read only, with `{}`",
        grants(.namespace, &everything()).join("` and `")
    )]
    Forbidden { namespace: String },
    #[error("{server} answers with more than the {} MiB that are read of a namespace: name the one that Hubs is in with --namespace", LARGEST >> 20)]
    Large { server: String },
    #[error("{server} answers {what} with {status}: {said}")]
    Refused { server: String, what: String, status: StatusCode, said: String },
    #[error("{server} answers {what} with what is no list of objects: {why}")]
    Odd { server: String, what: String, why: String },
    #[error("the cluster did not tell everything within {} s", LIMIT.as_secs())]
    Slow,
}

/// All of it has to be told by then. Programs that a kubeconfig runs to log in are part of it.
const LIMIT: Duration = Duration::from_secs(30);
/// A connection has to stand by then.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);
/// Larger than all objects that Hubs has, many times over.
const LARGEST: usize = 32 << 20;
/// So many objects are asked for at a time, and so often: more is no deployment of Hubs.
const PAGE: usize = 500;
const MOST_PAGES: usize = 20;

/// What the rules look at, and where the API has it.
const KINDS: [(&str, &str, &str); 7] = [
    ("Deployment", "apis/apps/v1", "deployments"),
    ("StatefulSet", "apis/apps/v1", "statefulsets"),
    ("DaemonSet", "apis/apps/v1", "daemonsets"),
    ("Service", "api/v1", "services"),
    ("Ingress", "apis/networking.k8s.io/v1", "ingresses"),
    ("ConfigMap", "api/v1", "configmaps"),
    ("PersistentVolumeClaim", "api/v1", "persistentvolumeclaims"),
];
/// What is asked for by name.
const SECRETS: &str = "secrets";
/// The secret with Hubs' settings.
const SETTINGS: &str = "configs";

/// Everything that the rules look at.
pub(crate) fn fetch(place: &Place) -> Result<Live, ClusterError> {
    fetch_with(Kubeconfig::read, place, LIMIT)
}

/// What logs in may hang without a chance to be interrupted, so all of it happens on a thread that nobody waits for any longer.
fn fetch_with(
    kubeconfig: impl FnOnce() -> Result<Kubeconfig, KubeconfigError> + Send + 'static,
    place: &Place,
    limit: Duration,
) -> Result<Live, ClusterError> {
    let (tell, told) = channel();
    let place = place.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let _ = tell.send(match runtime {
            Ok(runtime) => runtime.block_on(ask(kubeconfig, &place)),
            Err(error) => Err(ClusterError::Kubeconfig(error.to_string())),
        });
    });
    told.recv_timeout(limit).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(ClusterError::Slow),
        RecvTimeoutError::Disconnected => Err(ClusterError::Kubeconfig("it could not be read".to_owned())),
    })
}

async fn ask(
    kubeconfig: impl FnOnce() -> Result<Kubeconfig, KubeconfigError>,
    place: &Place,
) -> Result<Live, ClusterError> {
    let kubeconfig = kubeconfig().map_err(of_kubeconfig)?;
    let context = place.context.clone().or_else(|| kubeconfig.current_context.clone());
    let options = KubeConfigOptions { context: place.context.clone(), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(of_kubeconfig)?;
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(LIMIT);
    config.default_retry = false;
    let server = printable(&config.cluster_url.to_string());
    let client = Client::try_from(config).map_err(|error| {
        login(&error).unwrap_or_else(|| ClusterError::Kubeconfig(printable(&error.to_string())))
    })?;
    let server = server.trim_end_matches('/').to_owned();
    let api = Api { client, server, namespace: &place.namespace, left: Cell::new(LARGEST) };
    let (objects, untold) = api.everything().await?;
    let context = context.unwrap_or_default();
    let name = format!("namespace {} of the context {}", place.namespace, printable(&context));
    Ok(Live::new(name, &place.namespace, objects).without(untold).in_context(place.context.clone()))
}

/// The resource as a role names it.
fn in_role(group: &str, resource: &str) -> String {
    match group.strip_prefix("apis/").and_then(|group| group.split('/').next()) {
        Some(group) => format!("{resource}.{group}"),
        None => resource.to_owned(),
    }
}

/// All that is asked for, as a role names it.
fn everything() -> String {
    let kinds = KINDS.iter().map(|(_, group, resource)| in_role(group, resource));
    kinds.chain([SECRETS.to_owned()]).collect::<Vec<_>>().join(",")
}

/// Of secrets only those are asked for that rules look into.
fn secrets(objects: &[(&str, Value)]) -> Vec<String> {
    let entries = objects
        .iter()
        .filter(|(kind, _)| *kind == "Ingress")
        .flat_map(|(_, object)| object["spec"]["tls"].as_array().into_iter().flatten())
        .filter_map(|entry| entry["secretName"].as_str());
    let volumes = objects
        .iter()
        .flat_map(|(_, object)| {
            object["spec"]["template"]["spec"]["volumes"].as_array().into_iter().flatten()
        })
        .filter_map(|volume| volume["secret"]["secretName"].as_str());
    let mut names: Vec<_> =
        std::iter::once(SETTINGS).chain(entries).chain(volumes).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

struct Api<'p> {
    client: Client,
    server: String,
    namespace: &'p str,
    /// So many bytes may still come.
    left: Cell<usize>,
}

impl Api<'_> {
    /// All objects, and of what none is told. Who may not read one kind is told what is to be said of the others.
    async fn everything(&self) -> Result<(Vec<(&'static str, Value)>, Vec<Untold>), ClusterError> {
        let (mut objects, mut untold) = (Vec::new(), Vec::new());
        for (kind, group, resource) in KINDS {
            match self.list(group, resource).await {
                Err(ClusterError::Forbidden { .. }) if untold.len() + 1 < KINDS.len() => {
                    untold.push(Untold { kind, name: None, resource: in_role(group, resource) });
                }
                listed => objects.extend(listed?.into_iter().map(|object| (kind, object))),
            }
        }
        for name in secrets(&objects) {
            match self.secret(&name).await {
                Err(ClusterError::Forbidden { .. }) => {
                    untold.push(Untold { kind: "Secret", name: Some(name), resource: SECRETS.to_owned() });
                }
                secret => objects.extend(secret?.map(|object| ("Secret", object))),
            }
        }
        Ok((objects, untold))
    }

    async fn list(&self, group: &str, resource: &str) -> Result<Vec<Value>, ClusterError> {
        let mut items = Vec::new();
        let mut next = String::new();
        for _ in 0..MOST_PAGES {
            let path =
                format!("{group}/namespaces/{}/{resource}?limit={PAGE}{next}", escaped(self.namespace));
            let Some(mut list) = self.get(&path, resource).await? else { break };
            match list["items"].take() {
                Value::Array(found) => items.extend(found),
                // Nothing at all is written so by some.
                Value::Null => {}
                _ => return Err(self.odd(resource, "it has no items")),
            }
            match list["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => next = format!("&continue={}", escaped(token)),
                _ => break,
            }
        }
        Ok(items)
    }

    async fn secret(&self, name: &str) -> Result<Option<Value>, ClusterError> {
        let path = format!("api/v1/namespaces/{}/secrets/{}", escaped(self.namespace), escaped(name));
        self.get(&path, SECRETS).await
    }

    /// The answer; nothing if there is no such thing.
    async fn get(&self, path: &str, what: &str) -> Result<Option<Value>, ClusterError> {
        let request = Request::get(format!("/{path}"))
            .header("Accept", "application/json")
            .body(Body::empty())
            .map_err(|error| self.odd(what, &error.to_string()))?;
        let unreachable = |why: &(dyn Error + 'static)| {
            login(why)
                .unwrap_or_else(|| ClusterError::Unreachable { server: self.server.clone(), why: whole(why) })
        };
        let response = self.client.send(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), self.left.get()).collect().await;
        let bytes = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return ClusterError::Large { server: self.server.clone() };
            }
            unreachable(error.as_ref())
        })?;
        let bytes = bytes.to_bytes();
        self.left.set(self.left.get().saturating_sub(bytes.len()));
        let value: Result<Value, _> = serde_json::from_slice(&bytes);
        match status {
            StatusCode::OK => value.map(Some).map_err(|error| self.odd(what, &error.to_string())),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED => Err(ClusterError::LoggedOut { server: self.server.clone() }),
            StatusCode::FORBIDDEN => Err(ClusterError::Forbidden { namespace: printable(self.namespace) }),
            _ => {
                let said =
                    value.ok().and_then(|it| Some(it["message"].as_str()?.to_owned())).unwrap_or_default();
                Err(ClusterError::Refused {
                    server: self.server.clone(),
                    what: what.to_owned(),
                    status,
                    said: printable(&said),
                })
            }
        }
    }

    fn odd(&self, what: &str, why: &str) -> ClusterError {
        ClusterError::Odd { server: self.server.clone(), what: what.to_owned(), why: printable(why) }
    }
}

/// That logging in failed, if that is behind it. Of what a program printed that logs in, only its complaints are told: the rest may be
/// what it logged in with, and what it was called with may be secret as well.
fn login(error: &(dyn Error + 'static)) -> Option<ClusterError> {
    let mut next = Some(error);
    let mut behind = std::iter::from_fn(|| {
        let error = next?;
        next = error.source();
        Some(error)
    });
    let why = match behind.find_map(|error| error.downcast_ref::<AuthError>())? {
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr);
            format!("the program that the kubeconfig names for it ends with {}: {}", out.status, said.trim())
        }
        AuthError::AuthExecParse(_) => {
            "the program that the kubeconfig names for it prints no ExecCredential".to_owned()
        }
        other => other.to_string(),
    };
    Some(ClusterError::Login(printable(&why)))
}

/// The error with what is behind it: the outermost often says no more than that something failed.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = inner.source();
    }
    printable(&text)
}

/// A part of a path or a query.
fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn of_kubeconfig(error: KubeconfigError) -> ClusterError {
    match error {
        KubeconfigError::FindPath => ClusterError::NoKubeconfig("there is no home directory".to_owned()),
        KubeconfigError::ReadConfig(error, path) => {
            ClusterError::NoKubeconfig(printable(&format!("{}: {error}", path.display())))
        }
        // As an empty name is to kubectl.
        KubeconfigError::LoadContext(name) if name.is_empty() => ClusterError::NoContext,
        KubeconfigError::LoadContext(name) => ClusterError::UnknownContext(printable(&name)),
        KubeconfigError::CurrentContextNotSet => ClusterError::NoContext,
        // What it says of others may quote the file, and that has secrets in it.
        KubeconfigError::Parse(_) => {
            ClusterError::Kubeconfig("it is no YAML of the form that kubectl writes".to_owned())
        }
        other => ClusterError::Kubeconfig(printable(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        net::SocketAddr,
        path::PathBuf,
        sync::{Arc, Mutex},
    };

    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::{
        codes::Code,
        finding::{Finding, Status},
        lint::lint_live,
        testing::{Authority, web_server},
    };

    /// What an API server has of Hubs once the manifest that lint's tests read is applied.
    const HUBS: &str = include_str!("cluster/hubs.json");

    /// A cluster whose API answers for each path, and everything else with 404; and the kubeconfig that leads there.
    struct Cluster {
        folder: TempDir,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Cluster {
        async fn start(
            answers: impl Fn(&str) -> Option<(u16, Value)> + Clone + Send + Sync + 'static,
        ) -> Self {
            let authority = Authority::new();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&asked);
            let address = web_server(authority.issue(&["kubernetes"], -1..60), move |path| {
                kept.lock().unwrap().push(path.to_owned());
                let (status, body) = answers(path.split('?').next().unwrap_or(path))
                    .unwrap_or_else(|| (404, json!({ "kind": "Status", "message": "not found" })));
                (status, String::new(), body.to_string())
            })
            .await;
            Self { folder: kubeconfig(address, &authority.root_pem()), asked }
        }

        async fn fetch(&self, context: Option<&str>) -> Result<Live, ClusterError> {
            fetch_from(self.folder.path().join("config"), context, LIMIT).await
        }
    }

    async fn fetch_from(path: PathBuf, context: Option<&str>, limit: Duration) -> Result<Live, ClusterError> {
        let place = Place { context: context.map(str::to_owned), namespace: "hcce".to_owned() };
        let fetched =
            tokio::task::spawn_blocking(move || fetch_with(|| Kubeconfig::read_from(path), &place, limit));
        fetched.await.unwrap()
    }

    fn kubeconfig(address: SocketAddr, root: &[u8]) -> TempDir {
        let folder = TempDir::new().unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: hubs\n\
             clusters: [{{name: c, cluster: {{server: \"https://{address}\", tls-server-name: kubernetes, certificate-authority-data: {}}}}}]\n\
             users: [{{name: u, user: {{token: t0ken}}}}]\n\
             contexts: [{{name: hubs, context: {{cluster: c, user: u}}}}]\n",
            BASE64_STANDARD.encode(root)
        );
        std::fs::write(folder.path().join("config"), text).unwrap();
        folder
    }

    fn recorded(path: &str) -> Option<(u16, Value)> {
        let all: BTreeMap<String, Value> = serde_json::from_str(HUBS).unwrap();
        Some((200, all.get(path)?.clone()))
    }

    fn of(findings: &[Finding], code: Code) -> Vec<&Finding> {
        findings.iter().filter(|it| it.code == code).collect()
    }

    #[tokio::test]
    async fn a_cluster_is_told_what_a_file_is_told_with_paths_in_place_of_lines() {
        let cluster = Cluster::start(recorded).await;
        let live = cluster.fetch(None).await.unwrap();
        assert_eq!(live.name, "namespace hcce of the context hubs");
        let findings = lint_live(&live);
        let of_file = crate::lint::findings("hcce.yaml", include_str!("lint/hcce.yaml"));
        let told = |findings: &[Finding]| {
            let apart = [Code::ManifestRead, Code::HostsHaveSecrets, Code::PermsKeyWritten];
            let mut told: Vec<_> = findings
                .iter()
                .filter(|it| !apart.contains(&it.code))
                .map(|it| (it.code, it.status, it.summary.clone()))
                .collect();
            told.sort();
            told
        };
        assert_eq!(told(&findings), told(&of_file));
        let place = of(&findings, Code::TurnFindsSecrets)[0].location.clone().unwrap();
        assert_eq!(
            (place.file.as_str(), place.line),
            ("Deployment/hcce/coturn spec.template.spec.containers[0].image", None)
        );
        let missing = of(&findings, Code::HostsHaveSecrets);
        assert_eq!((missing.len(), missing[0].status), (4, Status::Fail), "{missing:?}");
        assert!(missing[0].summary.contains("is not in the cluster"), "{missing:?}");
        for secret in ["123456", "guardian", "phoenix", "MTIzNDU2", "t0ken"] {
            assert!(!format!("{findings:?} {live:?}").contains(secret), "{secret}");
        }
    }

    #[tokio::test]
    async fn only_what_rules_look_at_is_asked_for_and_of_secrets_each_by_its_name() {
        let cluster = Cluster::start(recorded).await;
        cluster.fetch(Some("hubs")).await.unwrap();
        let asked = cluster.asked.lock().unwrap().clone();
        let secrets: Vec<_> = asked.iter().filter_map(|it| it.split("/secrets").nth(1)).collect();
        let mut expected = vec!["/configs"];
        expected.extend([
            "/cert-assets.hubs.test",
            "/cert-cors.hubs.test",
            "/cert-hubs.test",
            "/cert-stream.hubs.test",
        ]);
        expected.sort_unstable();
        assert_eq!(secrets, expected);
        assert_eq!(asked.len(), KINDS.len() + expected.len(), "{asked:?}");
    }

    #[tokio::test]
    async fn long_lists_are_read_page_by_page_and_not_for_ever() {
        let cluster = Cluster::start(|path| {
            let item = json!({ "metadata": { "name": "x" } });
            path.contains("configmaps")
                .then(|| (200, json!({ "items": [item], "metadata": { "continue": "a/b=" } })))
        })
        .await;
        cluster.fetch(None).await.unwrap();
        let asked = cluster.asked.lock().unwrap().clone();
        let pages: Vec<_> = asked.iter().filter(|it| it.contains("configmaps")).collect();
        assert_eq!(pages.len(), MOST_PAGES);
        assert!(pages[1].ends_with("&continue=a%2Fb%3D"), "{pages:?}");
    }

    #[tokio::test]
    async fn who_may_not_is_told_what_to_let_grant_and_who_is_unknown_to_log_in() {
        for (status, says) in [
            (
                403,
                [
                    "read nothing in the namespace hcce (403)",
                    "kubectl create role hubs-probe -n hcce --verb=get,list --resource=deployments.apps,",
                ],
            ),
            (401, ["does not know you (401)", "az aks get-credentials"]),
            (500, ["500 Internal Server Error", "etcd\\u{1b} is away"]),
        ] {
            let cluster =
                Cluster::start(move |_| Some((status, json!({ "message": "etcd\u{1b} is away" })))).await;
            let said = cluster.fetch(None).await.unwrap_err().to_string();
            assert!(says.iter().all(|it| said.contains(it)), "{said}");
        }
        let odd = Cluster::start(|_| Some((200, json!({ "items": 7 })))).await;
        assert!(odd.fetch(None).await.unwrap_err().to_string().contains("it has no items"));
    }

    #[tokio::test]
    async fn who_may_not_read_some_of_it_is_told_which_and_nothing_of_that_is_called_missing() {
        let forbidden = ["persistentvolumeclaims", "secrets", "configmaps", "services"];
        let cluster = Cluster::start(move |path| {
            let is_forbidden = forbidden.iter().any(|it| path.split('/').any(|part| part == *it));
            if is_forbidden { Some((403, json!({ "kind": "Status" }))) } else { recorded(path) }
        })
        .await;
        let findings = lint_live(&cluster.fetch(None).await.unwrap());
        let rights: Vec<_> = of(&findings, Code::ManifestRead);
        assert_eq!(rights[1].status, Status::Error, "{rights:?}");
        let said =
            "you may not read services, configmaps, persistentvolumeclaims, secrets in the namespace hcce";
        assert!(rights[1].summary.starts_with(said), "{rights:?}");
        let grant = &rights[1].remedy.as_ref().unwrap().commands[0];
        assert!(grant.ends_with("--resource=services,configmaps,persistentvolumeclaims,secrets"), "{grant}");
        let hidden =
            [Code::HostsHaveSecrets, Code::ClaimsDeclared, Code::EntranceComplete, Code::TurnHasCertificate];
        assert!(findings.iter().all(|it| !hidden.contains(&it.code)), "{findings:#?}");
        // What does not hang on any of that is told as ever.
        assert_eq!(of(&findings, Code::TurnFindsSecrets)[0].status, Status::Fail);
    }

    #[tokio::test]
    async fn more_than_any_deployment_has_is_not_read() {
        let authority = Authority::new();
        let address = web_server(authority.issue(&["kubernetes"], -1..60), |_| {
            (200, String::new(), " ".repeat(LARGEST + 1))
        })
        .await;
        let folder = kubeconfig(address, &authority.root_pem());
        let error = fetch_from(folder.path().join("config"), None, LIMIT).await.unwrap_err();
        assert!(matches!(error, ClusterError::Large { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_context_or_a_kubeconfig_that_is_not_there_is_named_with_what_to_do() {
        let cluster = Cluster::start(recorded).await;
        let said = cluster.fetch(Some("other")).await.unwrap_err().to_string();
        assert!(said.contains("\"other\"") && said.contains("get-contexts"), "{said}");
        let missing = cluster.folder.path().join("missing");
        let said = fetch_from(missing, None, LIMIT).await.unwrap_err().to_string();
        assert!(said.contains("az aks get-credentials") && said.contains("missing"), "{said}");
        let broken = cluster.folder.path().join("broken");
        std::fs::write(&broken, "users: [{name: hunter2").unwrap();
        let said = fetch_from(broken, None, LIMIT).await.unwrap_err().to_string();
        assert!(said.contains("no YAML") && !said.contains("hunter2"), "{said}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_or_not_the_one_of_the_kubeconfig_is_unreachable() {
        let nowhere = kubeconfig(([127, 0, 0, 1], 1).into(), &Authority::new().root_pem());
        let said = fetch_from(nowhere.path().join("config"), None, LIMIT).await.unwrap_err().to_string();
        assert!(said.contains("https://127.0.0.1:1 does not answer") && said.contains("refused"), "{said}");
        let authority = Authority::new();
        let address =
            web_server(authority.issue(&["kubernetes"], -1..60), |_| (200, String::new(), String::new()))
                .await;
        let foreign = kubeconfig(address, &Authority::new().root_pem());
        let said = fetch_from(foreign.path().join("config"), None, LIMIT).await.unwrap_err().to_string();
        assert!(said.contains("certificate"), "{said}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let authority = Authority::new();
        let address = crate::testing::tls_server(authority.issue(&["kubernetes"], -1..60), |stream| async {
            let _open = stream;
            std::future::pending::<()>().await;
        })
        .await;
        let folder = kubeconfig(address, &authority.root_pem());
        let limit = Duration::from_millis(500);
        let error = fetch_from(folder.path().join("config"), None, limit).await.unwrap_err();
        assert!(matches!(error, ClusterError::Slow), "{error}");
    }
}
