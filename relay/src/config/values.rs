//! The values of keys, parsed into what they mean.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio_postgres::config::{Host as PostgresHost, SslMode};
use toml::{Table, Value};

use crate::auth::Secret;

/// What clients speak below TURN.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream inside TLS.
    Tls,
}

/// A listener: `{ transport = "tls", address = "0.0.0.0:5349" }` or `tls://0.0.0.0:5349`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    /// What it speaks.
    pub transport: Transport,
    /// Where; port 0 takes any that is free.
    pub address: SocketAddr,
    /// Senders whose PROXY header is believed.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whether those have to send one.
    pub proxy_protocol: ProxyProtocol,
}

/// What becomes of a connection from a trusted proxy that begins without a PROXY header.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Its sender is taken for the client.
    #[default]
    Optional,
    /// It is refused.
    Required,
}

/// Ports from one to another, both included; written `40000-49999`, or `3478` for one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortRange {
    first: NonZeroU16,
    last: NonZeroU16,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object for each line.
    Json,
}

/// A host in a peer rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Host {
    /// One address, or all of a CIDR.
    Network(IpNet),
    /// Whatever addresses the name has at the time.
    Name(String),
}

/// Peers that clients may reach: `host:ports`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Allow {
    /// Where they are.
    pub host: Host,
    /// On which ports.
    pub ports: PortRange,
}

/// One place on the network: `host:port`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// One address, or a name.
    pub host: Host,
    /// On which port.
    pub port: u16,
}

/// Where browsers reach the gateway: a place, or `service:name:port`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// An address, or a name.
    Place(Place),
    /// The address that the cluster's load balancer has given to a Service.
    Service {
        /// Which one.
        service: Service,
        /// On which port.
        port: u16,
    },
}

/// A Service of Kubernetes': `name`, or `namespace/name`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Its namespace, if that is not the relay's own.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// A mapping: `{ announced = "203.0.113.9", actual = "dialog" }` or `203.0.113.9=dialog`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mapping {
    /// What peers announce.
    pub announced: Announced,
    /// Where they are: one address, or a name.
    pub actual: Host,
}

/// How it is known what peers announce.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announced {
    /// The operator says so.
    Fixed(IpAddr),
    /// They are dialogs, which are asked at this port: `auto`.
    Auto {
        /// Where their WebSocket listens.
        signalling_port: u16,
    },
}

/// Whoever is asked more often has other things to do.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// No time that anybody configures is longer, and any clock can be set forward by it.
const LONGEST_DURATION: Duration = Duration::from_hours(24 * 365);

/// Where dialog's WebSocket listens in Hubs.
const SIGNALLING_PORT: u16 = 4443;

impl PortRange {
    /// The ports as a range.
    pub const fn range(self) -> RangeInclusive<u16> {
        self.first.get()..=self.last.get()
    }
}

impl Host {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&String> {
        match self {
            Self::Name(name) => Some(name),
            Self::Network(_) => None,
        }
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            "tls" => Ok(Self::Tls),
            _ => Err(format!("{text:?} is not a transport: udp, tcp or tls")),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, address) = text
            .split_once("://")
            .ok_or_else(|| format!("{text:?} is not a listener; write tls://0.0.0.0:5349"))?;
        Ok(Self {
            transport: transport.parse()?,
            address: parse_address(address)?,
            proxy_protocol_from: Vec::new(),
            proxy_protocol: ProxyProtocol::default(),
        })
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text:?} is no range of ports; write 40000-49999")),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // An IPv6 address stands in brackets where a port follows, a CIDR's before its slash.
        let bare: String = text.chars().filter(|it| !matches!(it, '[' | ']')).collect();
        if let Ok(network) = bare.parse::<IpAddr>().map(IpNet::from).or_else(|_| bare.parse()) {
            return Ok(Self::Network(network));
        }
        let is_label = |label: &str| !label.is_empty() && label.len() <= 63;
        let is_name = text.trim_end_matches('.').split('.').all(is_label)
            && text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_'))
            && text.chars().any(|it| it.is_ascii_alphabetic());
        is_name
            .then(|| Self::Name(text.to_owned()))
            .ok_or_else(|| format!("{text:?} is no host, address or CIDR"))
    }
}

impl FromStr for Allow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, ports) = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.contains(':') || host.contains(']'))
            .ok_or_else(|| format!("{text:?} says no port; write host:40000-49999, and IPv6 in brackets"))?;
        Ok(Self { host: host.parse()?, ports: ports.parse()? })
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if service(text).is_some() {
            return Err(format!(
                "{text:?}: only the load balancer's address is read from a Service, for udp and tcp; write host:port"
            ));
        }
        let Allow { host, ports } = text.parse()?;
        let port = *ports.range().start();
        match &host {
            Host::Network(network) if network.prefix_len() != network.max_prefix_len() => {
                Err(format!("{network} is more than one address"))
            }
            _ if *ports.range().end() != port => Err(format!("{text:?} is more than one port")),
            _ => Ok(Self { host, port }),
        }
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = service(text) else { return text.parse().map(Self::Place) };
        let (service, port) = rest.rsplit_once(':').ok_or_else(|| {
            format!("{text:?} says no port; write service:hubs-media:3478 or service:hcce/hubs-media:3478")
        })?;
        let port = port.parse::<NonZeroU16>().map_err(|_| format!("{text:?}: {port:?} is no port"))?;
        Ok(Self::Service { service: service.parse()?, port: port.get() })
    }
}

/// What follows `service:`. A host may be called "service" as well, and then a port follows.
fn service(text: &str) -> Option<&str> {
    text.strip_prefix("service:").filter(|rest| rest.parse::<u16>().is_err())
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) =
            text.split_once('/').map_or((None, text), |(namespace, name)| (Some(namespace), name));
        // RFC 1123's labels: nothing in them changes the path of a URL.
        let is_label = |label: &&str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
        };
        match namespace.iter().chain([&name]).find(|it| !is_label(it)) {
            None => Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() }),
            Some(wrong) => Err(format!(
                "{wrong:?} is no name of a Service or of a namespace: small letters, digits and dashes, at most 63"
            )),
        }
    }
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (announced, actual) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is no mapping; write 203.0.113.9=dialog"))?;
        Self::new(announced.trim(), actual.trim(), None)
    }
}

impl Mapping {
    fn new(announced: &str, actual: &str, signalling_port: Option<u16>) -> Result<Self, String> {
        let announced = match (announced, signalling_port) {
            ("auto", port) => Announced::Auto { signalling_port: port.unwrap_or(SIGNALLING_PORT) },
            (_, Some(_)) => return Err("signalling_port goes with announced = \"auto\" only".to_owned()),
            (address, None) => Announced::Fixed(address.parse().map_err(|_| {
                format!(
                    "the announced {address:?} is not an IP address; write one, or \"auto\" to ask dialog"
                )
            })?),
        };
        let actual: Host = actual.parse()?;
        match (&actual, announced) {
            (Host::Network(network), _) if network.prefix_len() != network.max_prefix_len() => {
                Err(format!("the actual {network} is more than one address"))
            }
            (Host::Network(network), Announced::Fixed(address))
                if network.addr().is_ipv4() != address.is_ipv4() =>
            {
                Err(format!("{address} and {} are not of one family", network.addr()))
            }
            _ => Ok(Self { announced, actual }),
        }
    }
}

/// A listener as a table of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenTable {
    transport: Transport,
    address: String,
    #[serde(default)]
    proxy_protocol_from: Vec<String>,
    #[serde(default)]
    proxy_protocol: ProxyProtocol,
}

/// A mapping as a table of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingTable {
    announced: String,
    actual: String,
    signalling_port: Option<u16>,
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_table(deserializer, |table: ListenTable| {
            let ListenTable { transport, address, proxy_protocol_from, proxy_protocol } = table;
            if transport == Transport::Udp && !proxy_protocol_from.is_empty() {
                return Err("proxy_protocol_from is for tcp and tls: no proxy sends a header with datagrams"
                    .to_owned());
            }
            let senders = proxy_protocol_from.iter().map(|sender| match sender.parse()? {
                Host::Network(network) => Ok(network),
                Host::Name(name) => {
                    Err(format!("proxy_protocol_from: {name:?} is neither an address nor a CIDR"))
                }
            });
            Ok(Self {
                transport,
                address: parse_address(&address)?,
                proxy_protocol_from: senders.collect::<Result<_, String>>()?,
                proxy_protocol,
            })
        })
    }
}

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_table(deserializer, |table: MappingTable| {
            Self::new(&table.announced, &table.actual, table.signalling_port)
        })
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Text, or a table that says the same in words.
fn text_or_table<'de, D, T, Words>(
    deserializer: D,
    from_table: impl FnOnce(Words) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
    Words: for<'a> Deserialize<'a>,
{
    match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().map_err(D::Error::custom),
        Value::Table(table) => from_table(words::<Words, D>(table)?).map_err(D::Error::custom),
        other => Err(D::Error::custom(format!("{other} is neither text nor a table"))),
    }
}

fn words<'de, T: for<'a> Deserialize<'a>, D: Deserializer<'de>>(table: Table) -> Result<T, D::Error> {
    table.try_into().map_err(D::Error::custom)
}

/// Places or entries: text, comma-separated text or a list.
pub(super) fn places<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    texts(deserializer)?.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// Text, comma-separated text or a list, without what is empty.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut texts: Vec<String> = match Value::deserialize(deserializer)? {
        Value::String(text) => text.split(',').map(|it| it.trim().to_owned()).collect(),
        list => Vec::deserialize(list).map_err(D::Error::custom)?,
    };
    texts.retain(|text| !text.is_empty());
    Ok(texts)
}

/// Addresses: text, comma-separated text or a list, but at most one of each family.
pub(super) fn one_of_each_family<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<IpAddr>, D::Error> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in texts(deserializer)? {
        let address: IpAddr =
            text.parse().map_err(|_| D::Error::custom(format!("{text:?} is not an IP address")))?;
        if addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(D::Error::custom(format!("{address} is the second {family} address")));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Secrets: a list of texts, or one. No error shows what it was about.
pub(super) fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Array(items) => items.into_iter().map(|item| secret(item).map_err(D::Error::custom)).collect(),
        item => secret(item).map(|secret| vec![secret]).map_err(D::Error::custom),
    }
}

/// Users and passwords. No error shows what it was about.
pub(super) fn users<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Secret>, D::Error> {
    let Value::Table(users) = Value::deserialize(deserializer)? else {
        return Err(D::Error::custom("users are a table: { name = \"password\" }"));
    };
    users.into_iter().map(|(name, item)| Ok((name, secret(item).map_err(D::Error::custom)?))).collect()
}

/// A secret, or empty for none. No error shows what it was about.
pub(super) fn optional_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if text.is_empty() => Ok(None),
        item => secret(item).map(Some).map_err(D::Error::custom),
    }
}

fn secret(value: Value) -> Result<Secret, &'static str> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(Secret::from(text)),
        _ => Err("a secret or password is text in quotes, and not empty"),
    }
}

/// A database, or none for an empty text. No error shows what it was about: it has a password in it. Of everything that
/// such a text can hold, only what says where and who counts: pgbouncer refuses start-up parameters.
pub(super) fn postgres<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<tokio_postgres::Config>, D::Error> {
    let wrong = || D::Error::custom("write postgres://user:password@host/database");
    let Value::String(text) = Value::deserialize(deserializer)? else { return Err(wrong()) };
    if text.is_empty() {
        return Ok(None);
    }
    let given: tokio_postgres::Config = text.parse().map_err(|_| wrong())?;
    if given.get_ssl_mode() == SslMode::Require {
        return Err(D::Error::custom(
            "sslmode=require: Hubs' databases speak no TLS inside the cluster; leave it out",
        ));
    }
    let (hosts, ports) = (given.get_hosts(), given.get_ports());
    let ([PostgresHost::Tcp(host)], true) = (hosts, ports.len() < 2) else {
        return Err(D::Error::custom(
            "one host by its name or address, such as postgres://user:password@pgbouncer/retdb",
        ));
    };
    let mut config = tokio_postgres::Config::new();
    config.ssl_mode(SslMode::Disable).host(host);
    ports.first().map(|port| config.port(*port));
    given.get_user().map(|user| config.user(user));
    given.get_password().map(|password| config.password(password));
    given.get_dbname().map(|name| config.dbname(name));
    config.get_user().ok_or_else(wrong)?;
    Ok(Some(config))
}

/// How often something is asked for: not without a pause.
pub(super) fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let interval = duration(deserializer)?;
    let is_pause = interval >= SHORTEST_INTERVAL;
    is_pause.then_some(interval).ok_or_else(|| D::Error::custom("at least 100ms"))
}

/// A duration as text.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A number with a unit: `500ms`, `30s`, `15m`, `2h`, `1d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write 500ms, 30s, 15m, 2h or 1d");
    let digits = text.find(|it: char| !it.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = |unit: u64| number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong);
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => seconds(1)?,
        "m" => seconds(60)?,
        "h" => seconds(60 * 60)?,
        "d" => seconds(24 * 60 * 60)?,
        _ => return Err(wrong()),
    };
    if duration > LONGEST_DURATION { Err(format!("{text:?} is more than a year")) } else { Ok(duration) }
}

/// A listener for signalling, or none for an empty text.
pub(super) fn signalling<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Listen>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if text.is_empty() => Ok(None),
        value => match Listen::deserialize(value).map_err(D::Error::custom)? {
            Listen { transport: Transport::Udp, .. } => {
                Err(D::Error::custom("signalling comes over tls or tcp, not udp"))
            }
            listen => Ok(Some(listen)),
        },
    }
}

/// An address and port, or empty for none.
pub(super) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = (!text.is_empty()).then(|| parse_address(&text));
    address.transpose().map_err(D::Error::custom)
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no address and port; write it like 0.0.0.0:5349 or [::]:5349"))
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport, self.address)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Network(network) => {
                let (open, close) = if network.addr().is_ipv6() { ("[", "]") } else { ("", "") };
                write!(f, "{open}{}{close}", network.addr())?;
                if network.prefix_len() == network.max_prefix_len() {
                    Ok(())
                } else {
                    write!(f, "/{}", network.prefix_len())
                }
            }
        }
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.ports)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Service { service, port } => write!(f, "service:{service}:{port}"),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(address) => address.fmt(f),
            Self::Auto { .. } => f.write_str("auto"),
        }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.announced, self.actual)
    }
}
