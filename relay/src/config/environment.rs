//! Keys from environment variables. What type a variable has is told by the default of its key.

use toml::{Table, Value};

use super::{ConfigError, nearest};

/// What our variables begin with.
pub(super) const PREFIX: &str = "HUBS_RELAY_";
const ORIGIN: &str = "the environment";

/// What Hubs' own coturn is given: the realm and the database.
pub(super) fn hubs_own(environment: &[(String, String)]) -> Table {
    let mut table = Table::new();
    for (name, value) in environment.iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "REALM" => insert(&mut table, &["realm"], value.as_str().into()),
            "PSQL" => insert(&mut table, &["auth", "postgres"], value.as_str().into()),
            _ => {}
        }
    }
    table
}

/// Our variables as a configuration.
pub(super) fn to_table(environment: &[(String, String)], defaults: &Table) -> Result<Table, ConfigError> {
    let keys = keys(defaults, "");
    let mut table = Table::new();
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        match keys.iter().find(|key| key.variable == *name) {
            Some(key) => insert(&mut table, &key.path, key.parse(value)?),
            None if is_kubernetes_service(name, value) => {}
            None => {
                let variables: Vec<String> = keys.into_iter().map(|key| key.variable).collect();
                let suggestion = nearest(name, variables.iter()).map(str::to_owned);
                return Err(ConfigError::UnknownKey {
                    key: name.clone(),
                    origin: ORIGIN.to_owned(),
                    suggestion,
                });
            }
        }
    }
    Ok(table)
}

/// A key that can be set, and what it is by default.
struct Key<'a> {
    variable: String,
    path: Vec<&'a str>,
    default: &'a Value,
}

fn keys<'a>(defaults: &'a Table, prefix: &str) -> Vec<Key<'a>> {
    let mut keys = Vec::new();
    for (name, default) in defaults {
        let variable = format!("{prefix}{}", name.to_uppercase());
        match default {
            Value::Table(table) if !table.is_empty() => {
                let inner = self::keys(table, &format!("{variable}__"));
                keys.extend(inner.into_iter().map(|mut key| {
                    key.path.insert(0, name);
                    key
                }));
            }
            default => keys.push(Key { variable, path: vec![name], default }),
        }
    }
    if prefix.is_empty() {
        for key in &mut keys {
            key.variable.insert_str(0, PREFIX);
        }
    }
    keys
}

impl Key<'_> {
    fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
        match self.default {
            Value::Array(_) | Value::Table(_) if looks_like_toml(text) => self.parse_toml(text),
            Value::Integer(_) => match text.trim().parse::<i64>() {
                Ok(number) => Ok(Value::Integer(number)),
                Err(_) => Err(self.wrong(&format!("{text:?} is not a whole number"))),
            },
            Value::Boolean(_) => match text.trim().parse::<bool>() {
                Ok(choice) => Ok(Value::Boolean(choice)),
                Err(_) => Err(self.wrong(&format!("{text:?} is neither true nor false"))),
            },
            // `relay.advertise` and the like are text or a list, and read both.
            Value::Array(_) => Ok(items().map(Value::from).collect::<Vec<_>>().into()),
            Value::Table(_) => {
                // The message must not show the value: it has passwords in it.
                let pair = |item: &str| match item.split_once('=') {
                    Some((name, value)) => Ok((name.trim().to_owned(), Value::from(value))),
                    None => Err(self.wrong("write name=password, separated by commas")),
                };
                Ok(Value::Table(items().map(pair).collect::<Result<Table, _>>()?))
            }
            _ => Ok(Value::from(text)),
        }
    }

    /// A list or table as it stands in a file.
    fn parse_toml(&self, text: &str) -> Result<Value, ConfigError> {
        let table: Result<Table, _> = toml::from_str(&format!("value = {}", text.trim()));
        let value = table.ok().and_then(|mut table| table.remove("value"));
        // The message must not show the value: it may have passwords in it.
        value.ok_or_else(|| self.wrong("begins like TOML and is none; write [\"one\", \"two\"], or one,two"))
    }

    fn wrong(&self, message: &str) -> ConfigError {
        ConfigError::Value { origin: ORIGIN.to_owned(), message: format!("{}: {message}", self.variable) }
    }
}

/// A bracket alone may also begin an IPv6 address.
fn looks_like_toml(text: &str) -> bool {
    let text = text.trim_start();
    let item = text.strip_prefix('[').map_or("", str::trim_start);
    text.starts_with('{') || item.starts_with(['"', '\'', '{', ']'])
}

fn insert(table: &mut Table, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => drop(table.insert((*name).to_owned(), value)),
        [name, rest @ ..] => {
            let inner = table.entry(*name).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Kubernetes gives every pod variables for each Service, in Docker's manner, and a Service may well be called
/// `hubs-relay`: `HUBS_RELAY_SERVICE_HOST`, `HUBS_RELAY_PORT=tcp://…`, `HUBS_RELAY_PORT_5349_TCP_ADDR`.
fn is_kubernetes_service(name: &str, value: &str) -> bool {
    let has_port = |protocol: &str| name.contains("_PORT_") && name.contains(protocol);
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && value.contains("://")
        || has_port("_TCP")
        || has_port("_UDP")
}
