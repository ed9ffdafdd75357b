//! The cluster's API as a server of the test's own, which says what it is told to.

use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A cluster of one API server, and an account in it.
pub(crate) struct Api {
    pub(crate) cluster: Cluster,
    account: TempDir,
    answer: Arc<Mutex<(StatusCode, String)>>,
    /// What was asked, and as whom.
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Api {
    /// Starts one on the tasks of this thread.
    pub(crate) async fn start() -> Self {
        let (authority, acceptor) = identity();
        let account = TempDir::new().unwrap();
        fs::write(account.path().join("ca.crt"), authority).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let api = Self {
            cluster: Cluster { api: Some(("127.0.0.1".to_owned(), port)), account: account.path().into() },
            account,
            answer: Arc::new(Mutex::new((StatusCode::OK, String::new()))),
            asked: Arc::default(),
        };
        api.put("token", "ey1first\n");
        api.put("namespace", "hcce");
        let (answer, asked) = (Arc::clone(&api.answer), Arc::clone(&api.asked));
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let answer = service_fn(|request: Request<Incoming>| {
                    let account = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
                    asked.lock().unwrap().push((request.uri().path().to_owned(), account));
                    let (status, body) = answer.lock().unwrap().clone();
                    let response = Response::builder().status(status).body(Full::new(Bytes::from(body)));
                    async move { Ok::<_, Infallible>(response.unwrap()) }
                });
                // Who asks leaves before the answer is over where that is too long.
                let _ = server::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            }
        });
        api
    }

    /// From now on it gives this Service to whoever asks.
    pub(crate) fn describe(&self, service: &Value) {
        self.say(StatusCode::OK, &service.to_string());
    }

    pub(crate) fn say(&self, status: StatusCode, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.account.path().join(file), text).unwrap();
    }

    async fn failure(&self) -> String {
        self.cluster.reached(&service("hubs-media")).await.unwrap_err().to_string()
    }
}

/// A load balancer's Service with these addresses, as the API describes it.
pub(crate) fn load_balancer(ingress: &Value) -> Value {
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "hubs-media", "namespace": "hcce", "resourceVersion": "7"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 3478, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": ingress}},
    })
}

/// An authority as PEM, and what serves with a certificate of it.
fn identity() -> (String, TlsAcceptor) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

fn service(text: &str) -> Service {
    text.parse().unwrap()
}

/// Runs on a thread with tasks of its own, as the relay does it.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_service_is_asked_for_with_the_token_of_the_moment_and_has_the_addresses_of_the_moment() {
    run(async {
        let api = Api::start().await;
        api.describe(&load_balancer(
            &json!([{"ip": "203.0.113.10", "ipMode": "VIP"}, {"ip": "2001:db8::1"}]),
        ));
        let found = api.cluster.reached(&service("hubs-media")).await.unwrap().addresses;
        assert_eq!(found, ["203.0.113.10", "2001:db8::1"].map(|it| it.parse::<IpAddr>().unwrap()));
        api.put("token", "ey2second");
        api.describe(&load_balancer(&json!([{"ip": "203.0.113.20"}])));
        let found = api.cluster.reached(&service("elsewhere/lb")).await.unwrap().addresses;
        assert_eq!(found, ["203.0.113.20".parse::<IpAddr>().unwrap()]);
        let asked = [
            ("/api/v1/namespaces/hcce/services/hubs-media", "Bearer ey1first"),
            ("/api/v1/namespaces/elsewhere/services/lb", "Bearer ey2second"),
        ];
        assert_eq!(*api.asked.lock().unwrap(), asked.map(|(path, account)| (path.into(), account.into())));
    });
}

#[test]
fn a_load_balancer_that_has_a_name_is_where_its_name_leads() {
    run(async {
        let api = Api::start().await;
        api.describe(&load_balancer(&json!([{"hostname": "localhost"}])));
        let found = api.cluster.reached(&service("hubs-media")).await.unwrap().addresses;
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
        api.describe(&load_balancer(&json!([{"hostname": "no\nname"}])));
        let failure = api.failure().await;
        assert!(failure.contains(r#""no\nname" does not resolve"#), "{failure}");
    });
}

#[test]
fn each_answer_that_gives_no_address_says_what_to_do() {
    run(async {
        let api = Api::start().await;
        let none = load_balancer(&json!([])).to_string();
        let inside = json!({"spec": {"type": "ClusterIP"}, "status": {"loadBalancer": {}}}).to_string();
        let long = format!("{{\"spec\": {{}}, \"metadata\": \"{}\"}}", "x".repeat(LONGEST_ANSWER));
        for (status, body, hint) in [
            (401, "", "does not know the pod's service account (401)"),
            (403, "", "a Role that allows get of services/hubs-media in namespace hcce"),
            (404, "", "there is no Service hubs-media in namespace hcce"),
            (503, "", "503"),
            (302, "", "302"),
            (200, "", "no Service"),
            (200, "{}", "no Service"),
            (200, r#"{"spec": {"type": 5}}"#, "no Service"),
            (200, r#"{"spec": {}, "status": {"loadBalancer": {"ingress": [{"ip": "x"}]}}}"#, "no Service"),
            (200, &long, "too long"),
            (200, &inside, "of type \"ClusterIP\""),
            (200, r#"{"spec": {}}"#, "only a LoadBalancer"),
            (200, &none, "no address yet"),
        ] {
            api.say(StatusCode::from_u16(status).unwrap(), body);
            let failure = api.failure().await;
            assert!(failure.contains(hint), "{status}: {failure}");
            assert!(!failure.contains("ey1first"), "the token shows: {failure}");
        }
    });
}

#[test]
fn a_pod_without_its_account_hears_what_it_needs() {
    run(async {
        let api = Api::start().await;
        let mut cluster = api.cluster.clone();
        cluster.api = None;
        let failure = cluster.reached(&service("x")).await.unwrap_err().to_string();
        assert!(failure.contains("KUBERNETES_SERVICE_HOST"), "{failure}");
        for (file, bad) in
            [("token", "t\u{0}ken"), ("ca.crt", "no certificate"), ("namespace", "../kube-system")]
        {
            let path = api.account.path().join(file);
            let before = fs::read_to_string(&path).unwrap();
            api.put(file, bad);
            let failure = api.failure().await;
            assert!(failure.contains(file) && failure.contains("nothing that can be used"), "{failure}");
            fs::remove_file(&path).unwrap();
            let failure = api.failure().await;
            assert!(failure.contains(file) && failure.contains("automountServiceAccountToken"), "{failure}");
            api.put(file, &before);
        }
        assert!(api.asked.lock().unwrap().is_empty());
    });
}

#[test]
fn who_is_not_of_the_clusters_authority_is_not_shown_the_token() {
    run(async {
        let api = Api::start().await;
        api.put("ca.crt", &identity().0);
        let failure = api.failure().await;
        assert!(failure.contains("cannot be asked") && failure.contains("certificate"), "{failure}");
        assert!(api.asked.lock().unwrap().is_empty());
    });
}

#[test]
fn an_api_that_says_nothing_is_given_up() {
    run(async {
        let api = Api::start().await;
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let cluster = Cluster { api: Some(("127.0.0.1".to_owned(), port)), ..api.cluster.clone() };
        tokio::time::pause();
        let failure = cluster.reached(&service("hubs-media")).await.unwrap_err();
        assert!(matches!(failure, ClusterError::Silent), "{failure}");
    });
}
