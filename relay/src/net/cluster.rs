//! Asks the cluster which addresses its load balancer has given to a Service, as the service account of the relay's pod
//! (<https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>).
//!
//! The account's token is read for each question, because the kubelet replaces it, and so is the authority that vouches for
//! the API. Nothing is asked of whom that authority does not know.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1 as client;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring as provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::resolve::lookup;
use crate::config::{Host, Service};

/// How long an answer may take, from the first packet to its last.
const PATIENCE: Duration = Duration::from_secs(5);
/// No object of Kubernetes' is longer (etcd takes 1.5 MiB).
const LONGEST_ANSWER: usize = 2 << 20;
/// A token has one or two KiB, and an authority hardly more.
const LONGEST_FILE: u64 = 256 << 10;
/// Where the kubelet puts what a pod needs to know of its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The cluster in which the relay runs, if it runs in one.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// Host and port of its API.
    api: Option<(String, u16)>,
    /// The folder with the account's token, the API's authority and the pod's namespace.
    account: PathBuf,
}

/// Why the address of a Service is not known. Each message says what to do.
#[derive(Debug, Error)]
pub(crate) enum ClusterError {
    #[error(
        "the cluster's API is not known: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, as they are in a pod"
    )]
    NoCluster,
    #[error("{}: {source}; the pod needs automountServiceAccountToken: true", path.display())]
    Account { path: PathBuf, source: io::Error },
    #[error("{} holds nothing that can be used", path.display())]
    Unusable { path: PathBuf },
    #[error("the cluster's API at {api} does not resolve: {failure}")]
    Name { api: String, failure: String },
    #[error("the cluster's API at {api} cannot be asked: {source}")]
    Connection { api: SocketAddr, source: io::Error },
    #[error("the cluster's API speaks no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the cluster's API gave no answer within {} s", PATIENCE.as_secs())]
    Silent,
    #[error(
        "the cluster's API does not know the pod's service account (401); was it made anew since the pod began?"
    )]
    Unknown,
    #[error(
        "the cluster's API refuses (403): the pod's service account needs a Role that allows get of services/{name} in namespace {namespace}"
    )]
    Forbidden { namespace: String, name: String },
    #[error("there is no Service {name} in namespace {namespace} (404)")]
    NoService { namespace: String, name: String },
    #[error("the cluster's API answers {0}")]
    Status(StatusCode),
    #[error("the cluster's API gives an answer that is no Service, or too long a one")]
    Nonsense,
    #[error("it is of type {0:?}, and only a LoadBalancer has an address for browsers")]
    NoLoadBalancer(String),
    #[error(
        "the load balancer has given it no address yet (status.loadBalancer.ingress); `kubectl describe service` says why"
    )]
    NoAddress,
    #[error("the load balancer's name {name:?} does not resolve: {failure}")]
    Hostname { name: String, failure: String },
}

/// What of a Service counts here.
#[derive(Deserialize)]
struct Described {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    ports: Vec<Port>,
}

/// A port of a Service, as others reach it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Port {
    port: u16,
    #[serde(default = "tcp")]
    protocol: String,
}

/// What browsers reach of a Service.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ports: Vec<Port>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
struct LoadBalancer {
    #[serde(default)]
    ingress: Vec<Ingress>,
}

/// Clouds give one or the other.
#[derive(Deserialize)]
struct Ingress {
    ip: Option<IpAddr>,
    hostname: Option<String>,
}

impl Cluster {
    /// The one around this process, as the kubelet describes it to pods.
    pub(crate) fn around() -> Self {
        let variable = |name| std::env::var(name).ok();
        let host = variable("KUBERNETES_SERVICE_HOST");
        let port = variable("KUBERNETES_SERVICE_PORT").and_then(|it| it.parse().ok());
        Self { api: host.zip(port), account: ACCOUNT.into() }
    }

    /// The addresses of the load balancer for this Service, as of now, and its ports there.
    pub(crate) async fn reached(&self, service: &Service) -> Result<Reached, ClusterError> {
        timeout(PATIENCE, self.ask(service)).await.map_err(|_| ClusterError::Silent)?
    }

    async fn ask(&self, service: &Service) -> Result<Reached, ClusterError> {
        let (host, port) = self.api.as_ref().ok_or(ClusterError::NoCluster)?;
        let namespace = match &service.namespace {
            Some(namespace) => namespace.clone(),
            None => self.own_namespace()?,
        };
        let token = self.token()?;
        let connector = self.connector()?;
        let unnamed = |failure| ClusterError::Name { api: host.clone(), failure };
        let name = ServerName::try_from(host.clone()).map_err(|error| unnamed(error.to_string()))?;
        let address = *lookup(host).await.map_err(unnamed)?.first().ok_or(ClusterError::NoCluster)?;
        let api = SocketAddr::new(address, *port);

        let failed = |source| ClusterError::Connection { api, source };
        let stream = TcpStream::connect(api).await.map_err(failed)?;
        let stream = connector.connect(name, stream).await.map_err(failed)?;
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        spawn_local(connection);
        let path = format!("/api/v1/namespaces/{namespace}/services/{}", service.name);
        let request = Request::get(path)
            .header(HOST, api.to_string())
            .header(AUTHORIZATION, token)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "hubs-relay")
            .body(Empty::<Bytes>::new())
            .map_err(|_| ClusterError::Nonsense)?;
        let response = sender.send_request(request).await?;
        let name = || service.name.clone();
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(ClusterError::Unknown),
            StatusCode::FORBIDDEN => return Err(ClusterError::Forbidden { namespace, name: name() }),
            StatusCode::NOT_FOUND => return Err(ClusterError::NoService { namespace, name: name() }),
            other => return Err(ClusterError::Status(other)),
        }
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|_| ClusterError::Nonsense)?.to_bytes();
        let described: Described = serde_json::from_slice(&body).map_err(|_| ClusterError::Nonsense)?;
        described.reached().await
    }

    /// The namespace of the relay's pod.
    fn own_namespace(&self) -> Result<String, ClusterError> {
        let path = self.account.join("namespace");
        let text = read(&path)?;
        // A name of the same kind, because it becomes a part of the path.
        let service: Result<Service, _> = text.trim().parse();
        let service = service.ok().filter(|it| it.namespace.is_none());
        service.map(|it| it.name).ok_or(ClusterError::Unusable { path })
    }

    fn token(&self) -> Result<HeaderValue, ClusterError> {
        let path = self.account.join("token");
        let text = read(&path)?;
        let bearer = Zeroizing::new(format!("Bearer {}", text.trim()));
        let mut value = HeaderValue::from_str(&bearer).map_err(|_| ClusterError::Unusable { path })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Speaks TLS with whom the account's authority vouches for, and nobody else.
    fn connector(&self) -> Result<TlsConnector, ClusterError> {
        let path = self.account.join("ca.crt");
        let text = read(&path)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let added = certificate.ok().and_then(|it| roots.add(it).ok());
            added.ok_or_else(|| ClusterError::Unusable { path: path.clone() })?;
        }
        if roots.is_empty() {
            return Err(ClusterError::Unusable { path });
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has all of rustls' versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

impl Described {
    async fn reached(self) -> Result<Reached, ClusterError> {
        let mut addresses = Vec::new();
        for ingress in self.status.load_balancer.ingress {
            match ingress {
                Ingress { ip: Some(ip), .. } => addresses.push(ip),
                Ingress { hostname: Some(name), .. } => {
                    let failed = |failure| ClusterError::Hostname { name: shown(&name), failure };
                    let host: Host = name.parse().map_err(|_| failed("no host name".to_owned()))?;
                    addresses.extend(lookup(&host.to_string()).await.map_err(failed)?);
                }
                Ingress { ip: None, hostname: None } => {}
            }
        }
        match addresses.as_slice() {
            [] if self.spec.kind != "LoadBalancer" => {
                Err(ClusterError::NoLoadBalancer(shown(&self.spec.kind)))
            }
            [] => Err(ClusterError::NoAddress),
            _ => Ok(Reached { addresses, ports: self.spec.ports }),
        }
    }
}

impl Port {
    /// Whether it is this one. Protocols are written in capitals.
    pub(crate) fn is(&self, protocol: &str, port: u16) -> bool {
        self.protocol == protocol && self.port == port
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", shown(&self.protocol).escape_debug(), self.port)
    }
}

/// What a port is of that does not say it.
fn tcp() -> String {
    "TCP".to_owned()
}

/// As much of a text as a message bears. No name is longer.
fn shown(text: &str) -> String {
    text.chars().take(253).collect()
}

/// A file of the account's.
fn read(path: &Path) -> Result<Zeroizing<String>, ClusterError> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text));
    read.map_err(|source| ClusterError::Account { path: path.to_owned(), source })?;
    Ok(text)
}

#[cfg(test)]
pub(crate) mod tests;
