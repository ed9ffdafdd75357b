//! The configuration: defaults, then Hubs' own variables, then a TOML file, then the environment.
//!
//! `default.toml` is the one place that knows every key, its default and what it does. It is what `print-config`
//! prints, and a key that is not in it does not exist.

mod environment;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Deserialize;
use thiserror::Error;
use toml::{Table, Value};

use crate::auth::{Credentials, Secret};

pub use values::{
    Allow, Announced, Entry, Host, Listen, LogFormat, Mapping, Place, PortRange, ProxyProtocol, Service,
    Transport, parse_duration,
};

/// Every key with its default and its explanation, as a file that can be used.
pub const DEFAULTS: &str = include_str!("default.toml");

/// Everything that the operator decides. `print-config` explains each field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Config {
    pub realm: String,
    pub listen: Vec<Listen>,
    pub tls: Tls,
    pub relay: Relaying,
    pub auth: Auth,
    pub peers: Peers,
    pub gateway: Gateway,
    pub admin: Admin,
    pub log: Log,
    pub limits: Limits,
}

/// `[tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Tls {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// `[relay]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Relaying {
    #[serde(deserialize_with = "values::one_of_each_family")]
    pub address: Vec<IpAddr>,
    #[serde(deserialize_with = "values::one_of_each_family")]
    pub advertise: Vec<IpAddr>,
    pub ports: PortRange,
    pub workers: usize,
}

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Auth {
    #[serde(deserialize_with = "values::users")]
    pub users: BTreeMap<String, Secret>,
    #[serde(deserialize_with = "values::secrets")]
    pub secrets: Vec<Secret>,
    #[serde(deserialize_with = "values::postgres")]
    pub postgres: Option<tokio_postgres::Config>,
    #[serde(deserialize_with = "values::interval")]
    pub postgres_every: Duration,
    #[serde(deserialize_with = "values::optional_secret")]
    pub nonce_secret: Option<Secret>,
    #[serde(deserialize_with = "values::duration")]
    pub expiry_grace: Duration,
}

impl Auth {
    /// Those that are written down.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            users: self.users.clone(),
            secrets: self.secrets.clone(),
            expiry_grace: self.expiry_grace,
        }
    }
}

/// `[peers]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Peers {
    pub allow: Vec<Allow>,
    pub map: Vec<Mapping>,
    #[serde(deserialize_with = "values::interval")]
    pub resolve_every: Duration,
}

/// `[gateway]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Gateway {
    #[serde(deserialize_with = "values::signalling")]
    pub listen: Option<Listen>,
    #[serde(deserialize_with = "values::places")]
    pub dialog: Vec<Place>,
    #[serde(deserialize_with = "values::places")]
    pub udp: Vec<Entry>,
    #[serde(deserialize_with = "values::places")]
    pub tcp: Vec<Entry>,
    pub keep_dialogs: bool,
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Admin {
    #[serde(deserialize_with = "values::optional_address")]
    pub address: Option<SocketAddr>,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Log {
    pub format: LogFormat,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "default.toml documents each of them, once")]
pub struct Limits {
    pub sessions: usize,
    pub sessions_per_address: usize,
    pub permissions: usize,
    pub channels: usize,
    pub stranger_answers: u32,
    pub stranger_answers_total: u32,
    pub checks: u32,
    pub checks_total: u32,
    pub transports: usize,
    pub transports_per_connection: usize,
    pub signalling: usize,
    pub strangers: usize,
    pub strangers_per_address: usize,
    #[serde(deserialize_with = "values::duration")]
    pub handshake_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub stranger_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub drain_deadline: Duration,
    pub queue: usize,
}

/// Why there is no configuration. Each message says what is wrong, where, and what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file that was asked for cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML.
    #[error("{origin} is not TOML: {message}")]
    Syntax {
        /// The file.
        origin: String,
        /// Where and why.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown key {key} in {origin}{}; `hubs-relay print-config` lists every key", did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// The key, or the variable.
        key: String,
        /// The file or the environment.
        origin: String,
        /// The key that it resembles.
        suggestion: Option<String>,
    },
    /// A key with a value that makes no sense.
    #[error("{origin}: {message}")]
    Value {
        /// The file and the environment, as far as they took part.
        origin: String,
        /// Which key, and what it should be.
        message: String,
    },
}

/// What stands in for a file beside Hubs.
const HUBS: &str = include_str!("hubs.toml");

impl Config {
    /// The configuration of a file, or what suits Hubs if there is none, and of these environment variables.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = file.map(|path| {
            let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
            fs::read_to_string(path).map_err(unreadable)
        });
        let text = text.transpose()?;
        let origin = file.map(|path| path.display().to_string());
        Self::from_text(text.as_deref().unwrap_or(HUBS), origin.as_deref(), environment)
    }

    /// The configuration of a TOML text; the name of its origin appears in errors.
    pub fn from_text(
        text: &str,
        origin: Option<&str>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let defaults = defaults();
        let environment: Vec<_> = environment.into_iter().collect();
        let origin = origin.unwrap_or("the configuration");

        let file: Table = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            origin: origin.to_owned(),
            message: explain(&error, text),
        })?;
        check_keys(&file, &defaults, "", origin)?;
        let variables = environment::to_table(&environment, &defaults)?;

        let mut merged = defaults;
        merge(&mut merged, environment::hubs_own(&environment));
        merge(&mut merged, file);
        merge(&mut merged, variables);
        let from_environment = environment.iter().any(|(name, _)| name.starts_with(environment::PREFIX));
        let with_environment = if from_environment { " and the environment" } else { "" };
        Self::deserialize(Value::Table(merged)).map_err(|error| ConfigError::Value {
            origin: format!("{origin}{with_environment}"),
            message: error.to_string().trim_end().replace('\n', " "),
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from_text("", None, []).expect("default.toml is a configuration; a test reads it")
    }
}

fn defaults() -> Table {
    toml::from_str(DEFAULTS).expect("default.toml is TOML; a test reads it")
}

/// Where the text is not TOML, and why; without the line itself, which may hold a password.
fn explain(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|it| *it != '\n').count() + 1);
    format!("line {line}, column {column}: {}", error.message())
}

/// Finds keys that do not exist. A table that is empty by default has keys of the operator's own.
fn check_keys(table: &Table, known: &Table, prefix: &str, origin: &str) -> Result<(), ConfigError> {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match (known.get(key), value) {
            (Some(Value::Table(known)), Value::Table(value)) if !known.is_empty() => {
                check_keys(value, known, &format!("{path}."), origin)?;
            }
            (Some(_), _) => {}
            (None, _) => {
                let suggestion = nearest(key, known.keys()).map(|key| format!("{prefix}{key}"));
                return Err(ConfigError::UnknownKey { key: path, origin: origin.to_owned(), suggestion });
            }
        }
    }
    Ok(())
}

/// Puts what `above` says over `below`: table by table, everything else as a whole.
fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let distance = |candidate: &&String| strsim::damerau_levenshtein(key, candidate);
    known.min_by_key(distance).filter(|it| distance(it) <= 1 + key.len() / 3).map(String::as_str)
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::from_text(text, Some("relay.toml"), []).map_err(|error| error.to_string())
    }

    fn with_variables(variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_text("", None, variables).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_hubs_own() {
        let config = Config::default();
        assert_eq!(config.realm, "turkey");
        assert_eq!(config.listen, ["tls://0.0.0.0:5349".parse().unwrap()]);
        assert_eq!(config.tls.certificate, Path::new("/certs/tls.crt"));
        assert_eq!(config.relay.ports, "49152-65535".parse().unwrap());
        assert_eq!(config.auth.expiry_grace, Duration::from_mins(15));
        assert!(config.peers.allow.is_empty() && config.auth.secrets.is_empty());
    }

    #[test]
    fn a_file_says_everything_that_the_design_promises() {
        let config = parse(
            r#"
            realm = "hubs"
            [[listen]]
            transport = "tls"
            address = "0.0.0.0:5349"
            [[listen]]
            transport = "udp"
            address = "[::]:3478"
            [tls]
            certificate = "/a.crt"
            private_key = "/a.key"
            [relay]
            address = ["10.0.0.1", "2001:db8::1"]
            advertise = "203.0.113.7"
            ports = "50000-50010"
            workers = 2
            [auth]
            users = { name = "password" }
            secrets = ["one", "two"]
            expiry_grace = "90s"
            [peers]
            allow = ["dialog.hcce.svc:40000-49999", "10.0.0.0/8:5000", "[2001:db8::]/32:1-2", "192.0.2.1:7"]
            map = [{ announced = "203.0.113.9", actual = "dialog.hcce.svc" }]
            "#,
        )
        .unwrap();
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.listen[1], "udp://[::]:3478".parse().unwrap());
        assert_eq!(config.relay.address.len(), 2);
        assert_eq!(config.auth.users["name"].expose(), "password");
        assert_eq!(config.auth.expiry_grace, Duration::from_secs(90));
        let allowed: Vec<String> = config.peers.allow.iter().map(ToString::to_string).collect();
        assert_eq!(
            allowed,
            ["dialog.hcce.svc:40000-49999", "10.0.0.0/8:5000", "[2001:db8::]/32:1-2", "192.0.2.1:7"]
        );
        assert_eq!(config.peers.map[0].to_string(), "203.0.113.9=dialog.hcce.svc");
    }

    #[test]
    fn a_gateway_is_there_where_it_listens() {
        assert_eq!(parse("").unwrap().gateway.listen, None);
        let gateway = parse(
            "[gateway]\nlisten = { transport = 'tcp', address = '[::]:4443', proxy_protocol_from = ['10.0.0.0/8'] }\n\
             udp = ['203.0.113.10:3478', '[2001:db8::1]:3478']\ntcp = 'lb.example.org:5349'",
        );
        let gateway = gateway.unwrap().gateway;
        assert_eq!(gateway.listen.unwrap().to_string(), "tcp://[::]:4443");
        let places = |places: &[Entry]| places.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(gateway.dialog, ["dialog:4443".parse().unwrap()]);
        assert_eq!(places(&gateway.udp), ["203.0.113.10:3478", "[2001:db8::1]:3478"]);
        assert_eq!(places(&gateway.tcp), ["lb.example.org:5349"]);
        let variables = [
            ("HUBS_RELAY_GATEWAY__LISTEN", "tls://0.0.0.0:4443"),
            ("HUBS_RELAY_GATEWAY__UDP", "service:hubs-media:3478,service:hcce/lb:2,service:7"),
            ("HUBS_RELAY_GATEWAY__KEEP_DIALOGS", "false"),
        ];
        let gateway = with_variables(&variables).unwrap().gateway;
        assert_eq!(places(&gateway.udp), ["service:hubs-media:3478", "service:hcce/lb:2", "service:7"]);
        let are_services = gateway.udp.iter().map(|it| matches!(it, Entry::Service { .. }));
        assert_eq!(are_services.collect::<Vec<_>>(), [true, true, false]);
        assert!(!gateway.keep_dialogs);
    }

    #[test]
    fn every_key_can_be_given_in_the_environment() {
        let config = with_variables(&[
            ("HUBS_RELAY_REALM", "hubs"),
            ("HUBS_RELAY_LISTEN", "tls://0.0.0.0:5349, udp://[::1]:3478"),
            ("HUBS_RELAY_RELAY__WORKERS", "3"),
            ("HUBS_RELAY_RELAY__ADDRESS", "10.0.0.1,2001:db8::1"),
            ("HUBS_RELAY_AUTH__USERS", "alice=wonder=land,bob=builder"),
            ("HUBS_RELAY_AUTH__SECRETS", "12345,67890"),
            ("HUBS_RELAY_PEERS__ALLOW", "dialog:40000-49999"),
            ("HUBS_RELAY_PEERS__MAP", "203.0.113.9=dialog"),
            ("HUBS_RELAY_LIMITS__QUEUE", "1000"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!((config.realm.as_str(), config.relay.workers, config.limits.queue), ("hubs", 3, 1000));
        assert_eq!(config.listen[1], "udp://[::1]:3478".parse().unwrap());
        assert_eq!(config.relay.address.len(), 2);
        assert_eq!(config.auth.users["alice"].expose(), "wonder=land");
        assert_eq!(config.auth.secrets[0].expose(), "12345");
        assert_eq!(config.peers.allow[0].to_string(), "dialog:40000-49999");
        assert_eq!(config.peers.map[0].to_string(), "203.0.113.9=dialog");
    }

    #[test]
    fn a_list_in_the_environment_may_stand_as_in_a_file() {
        let config = with_variables(&[
            ("HUBS_RELAY_AUTH__SECRETS", r#"["one, and more", 'two']"#),
            ("HUBS_RELAY_AUTH__USERS", r#"{ alice = "a,b" }"#),
            ("HUBS_RELAY_PEERS__ALLOW", "[2001:db8::]/32:1-2,[::1]:3"),
            ("HUBS_RELAY_PEERS__MAP", r#"[{ announced = "203.0.113.9", actual = "dialog" }]"#),
        ])
        .unwrap();
        let secrets: Vec<_> = config.auth.secrets.iter().map(Secret::expose).collect();
        assert_eq!(secrets, ["one, and more", "two"]);
        assert_eq!(config.auth.users["alice"].expose(), "a,b");
        assert_eq!(config.peers.allow[1].to_string(), "[::1]:3");
        assert_eq!(config.peers.map[0].to_string(), "203.0.113.9=dialog");
        let error = with_variables(&[("HUBS_RELAY_AUTH__SECRETS", "['hunter2\"]")]).unwrap_err();
        assert!(error.contains("HUBS_RELAY_AUTH__SECRETS") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_hubs_realm() {
        let realm = |text: &str, variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Config::from_text(text, None, variables).unwrap().realm
        };
        let hubs = ("REALM", "from Hubs");
        assert_eq!(realm("", &[hubs]), "from Hubs");
        assert_eq!(realm("realm = 'from the file'", &[hubs]), "from the file");
        assert_eq!(realm("realm = 'from the file'", &[hubs, ("HUBS_RELAY_REALM", "ours")]), "ours");
    }

    #[test]
    fn the_database_comes_from_hubs_own_variable_without_what_pgbouncer_refuses() {
        let psql = "postgres://postgres:12%2F34@pgbouncer/retdb?options=-c%20search_path%3Dcoturn&application_name=x";
        let config = with_variables(&[("PSQL", psql)]).unwrap().auth.postgres.unwrap();
        assert_eq!(config.get_hosts(), [tokio_postgres::config::Host::Tcp("pgbouncer".to_owned())]);
        assert_eq!(
            (config.get_user(), config.get_password(), config.get_dbname()),
            (Some("postgres"), Some(&b"12/34"[..]), Some("retdb"))
        );
        assert_eq!((config.get_options(), config.get_application_name()), (None, None));
        let keywords =
            with_variables(&[("PSQL", "host=pgbouncer port=6432 user=postgres password=x dbname=retdb")]);
        assert_eq!(keywords.unwrap().auth.postgres.unwrap().get_ports(), [6432]);
        assert!(parse("").unwrap().auth.postgres.is_none());
    }

    #[test]
    fn a_database_that_makes_no_sense_is_named_without_its_password() {
        for text in ["hunter2", "postgres://u:hunter2@", "postgres:hunter2", "host=x password=hunter2 prot=1"]
        {
            let error = parse(&format!("auth.postgres = '{text}'")).unwrap_err();
            assert!(error.contains("auth.postgres") && error.contains("postgres://user:"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = parse("auth.postgres = 'postgres://u:hunter2@h/d?sslmode=require'").unwrap_err();
        assert!(error.contains("sslmode") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_it_resembles() {
        for (text, expected) in [
            ("relam = 'x'", "unknown key relam in relay.toml; did you mean realm?"),
            ("[relay]\nprots = '1-2'", "unknown key relay.prots in relay.toml; did you mean relay.ports?"),
            ("[getaway]\nlisten = 'x'", "unknown key getaway in relay.toml; did you mean gateway?"),
            ("[dashboard]\naddress = 'x'", "unknown key dashboard in relay.toml; `hubs-relay"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = parse("[[listen]]\ntransport = 'udp'\nadress = '0.0.0.0:1'").unwrap_err();
        assert!(error.contains("listen") && error.contains("adress") && error.contains("address"), "{error}");
        let error = parse("peers.map = [{ anounced = '1.2.3.4', actual = 'x' }]").unwrap_err();
        assert!(error.contains("anounced") && error.contains("announced"), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_named_too_but_not_what_kubernetes_makes_of_a_service() {
        let error = with_variables(&[("HUBS_RELAY_PEERS__ALOW", "x:1")]).unwrap_err();
        let expected =
            "unknown key HUBS_RELAY_PEERS__ALOW in the environment; did you mean HUBS_RELAY_PEERS__ALLOW?";
        assert!(error.starts_with(expected), "{error}");
        with_variables(&[
            ("HUBS_RELAY_SERVICE_HOST", "10.0.0.1"),
            ("HUBS_RELAY_SERVICE_PORT_TLS", "5349"),
            ("HUBS_RELAY_PORT", "tcp://10.0.0.1:5349"),
            ("HUBS_RELAY_PORT_5349_TCP_ADDR", "10.0.0.1"),
        ])
        .unwrap();
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named_with_its_key() {
        for (text, key, hint) in [
            ("relay.ports = '9-3'", "relay.ports", "9-3"),
            ("relay.workers = 'two'", "relay.workers", "two"),
            ("relay.address = '10.0.0.256'", "relay.address", "10.0.0.256"),
            ("relay.address = ['10.0.0.1', '10.0.0.2']", "relay.address", "IPv4"),
            ("auth.expiry_grace = 'soon'", "auth.expiry_grace", "soon"),
            ("limits.stranger_timeout = '999999999999d'", "limits.stranger_timeout", "999999999999d"),
            ("limits.stranger_timeout = '400d'", "limits.stranger_timeout", "more than a year"),
            ("peers.resolve_every = '0s'", "peers.resolve_every", "at least 100ms"),
            ("peers.allow = ['dialog']", "peers.allow", "dialog"),
            ("peers.allow = ['10.0.0.0/33:1']", "peers.allow", "10.0.0.0/33"),
            ("peers.map = ['dialog=10.0.0.1']", "peers.map", "dialog"),
            ("listen = ['http://0.0.0.0:80']", "listen", "http"),
            ("listen = ['udp://localhost:80']", "listen", "localhost"),
            ("gateway.listen = 'udp://0.0.0.0:4443'", "gateway.listen", "udp"),
            ("gateway.dialog = 'dialog'", "gateway.dialog", "dialog"),
            ("gateway.udp = ['10.0.0.0/8:3478']", "gateway.udp", "10.0.0.0/8"),
            ("gateway.tcp = ['lb:1-2']", "gateway.tcp", "1-2"),
            ("gateway.udp = ['service:hubs-media']", "gateway.udp", "service:hcce/hubs-media:3478"),
            ("gateway.udp = ['service:hubs-media:0']", "gateway.udp", "\"0\" is no port"),
            ("gateway.udp = ['service:Hubs:1']", "gateway.udp", "\"Hubs\" is no name of a Service"),
            ("gateway.udp = ['service:a/../b:1']", "gateway.udp", "\"../b\" is no name"),
            ("gateway.udp = ['service:/b:1']", "gateway.udp", "\"\" is no name"),
            ("gateway.dialog = ['service:dialog:4443']", "gateway.dialog", "write host:port"),
            ("admin.address = '9641'", "admin.address", "9641"),
            ("log.format = 'xml'", "log.format", "xml"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(key) && error.contains(hint) && error.starts_with("relay.toml"),
                "{error}"
            );
        }
        let error = with_variables(&[("HUBS_RELAY_LIMITS__SESSIONS", "many")]).unwrap_err();
        assert!(error.contains("HUBS_RELAY_LIMITS__SESSIONS") && error.contains("many"), "{error}");
        let error = with_variables(&[("HUBS_RELAY_AUTH__USERS", "alice")]).unwrap_err();
        assert!(error.contains("HUBS_RELAY_AUTH__USERS") && !error.contains("alice"), "{error}");
    }

    #[test]
    fn what_is_not_toml_is_named_with_its_place() {
        let error = parse("realm = \"x\"\n[relay\n").unwrap_err();
        assert!(error.contains("relay.toml is not TOML") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn without_a_file_clients_reach_hubs_dialog_and_nobody_else() {
        let config = Config::load(None, []).unwrap();
        assert_eq!(config.peers.allow, ["dialog:40000-49999".parse().unwrap()]);
        assert_eq!(config.peers.map, ["auto=dialog".parse().unwrap()]);
        assert_eq!(config.peers.map[0].announced, Announced::Auto { signalling_port: 4443 });
        let variable = ("HUBS_RELAY_PEERS__ALLOW".to_owned(), "10.0.0.1:5".to_owned());
        assert_eq!(Config::load(None, [variable]).unwrap().peers.allow.len(), 1);
    }

    #[test]
    fn a_mapping_that_asks_dialog_may_say_at_which_port() {
        let map = |text: &str| parse(&format!("peers.map = [{text}]")).map(|config| config.peers.map);
        let automatic = map("{ announced = 'auto', actual = 'dialog', signalling_port = 14443 }").unwrap();
        assert_eq!(automatic[0].announced, Announced::Auto { signalling_port: 14443 });
        let error =
            map("{ announced = '203.0.113.9', actual = 'dialog', signalling_port = 14443 }").unwrap_err();
        assert!(error.contains("peers.map") && error.contains("signalling_port"), "{error}");
        assert!(map("'automatic=dialog'").unwrap_err().contains("\"auto\""));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Some(Path::new("/nowhere/relay.toml")), []).unwrap_err().to_string();
        assert!(error.contains("/nowhere/relay.toml"), "{error}");
    }

    #[test]
    fn no_secret_prints_with_the_configuration() {
        let config = parse("[auth]\nsecrets = ['hunter2']\nusers = { alice = 'hunter2' }").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn no_secret_prints_with_an_error_about_it() {
        for text in [
            "auth.users = { alice = 471147 }",
            "auth.users = ['471147']",
            "auth.secrets = 471147",
            "auth.secrets = [471147]",
            "auth.secrets = ['471147",
            "auth.secrets = { a = '471147' }",
            "auth.nonce_secret = 471147",
            "auth.nonce_secret = ['471147']",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("471147"), "{error}");
        }
        assert_eq!(parse("auth.secrets = 'just one'").unwrap().auth.secrets[0].expose(), "just one");
    }
}
