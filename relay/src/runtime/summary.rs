//! What a configuration amounts to, in a few lines for the log and for `check-config`.

use crate::config::{Announced, Config, Listen, ProxyProtocol, Transport};
use crate::net::tls::Description;

/// A line about a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Line {
    /// How it is.
    Fact(String),
    /// How it is, and hardly as it was meant.
    Warning(String),
}

/// What this configuration amounts to; fails on a certificate or key that cannot be used.
pub fn summary(config: &Config) -> Result<Vec<Line>, super::TlsError> {
    let identity = super::identity(config)?;
    let mut lines = Vec::new();
    for listen in &config.listen {
        let certificate = identity.as_ref().filter(|_| listen.transport == Transport::Tls);
        let certificate =
            certificate.map(|it| format!(" with {}", describe(&it.description))).unwrap_or_default();
        lines.push(Line::Fact(format!("listens on {listen}{certificate}{}", proxies(listen))));
    }
    if let Some(expired) = identity.map(|it| it.description).filter(|it| it.is_expired) {
        lines.push(Line::Warning(format!(
            "the certificate expired on {}: browsers refuse it",
            expired.not_after
        )));
    }
    lines.push(users(config));
    lines.push(Line::Fact(format!(
        "relays from {} on ports {}{}",
        list(&config.relay.address),
        config.relay.ports,
        if config.relay.advertise.is_empty() {
            String::new()
        } else {
            format!(", which it calls {}", list(&config.relay.advertise))
        },
    )));
    if config.peers.allow.is_empty() {
        let hint = "set peers.allow, for Hubs to dialog.<namespace>:40000-49999";
        lines.push(Line::Warning(format!("clients can reach nobody: {hint}")));
    } else {
        lines.push(Line::Fact(format!("clients can reach {} and nobody else", list(&config.peers.allow))));
    }
    for mapping in &config.peers.map {
        let actual = &mapping.actual;
        lines.push(Line::Fact(match mapping.announced {
            Announced::Fixed(announced) => {
                format!("{announced} is a name for {actual}: packets go there, to the same port")
            }
            Announced::Auto { signalling_port } => format!(
                "asks {actual} on port {signalling_port} what it announces: packets to that go there, to the same port"
            ),
        }));
    }
    lines.extend(gateway(config));
    if let Some(address) = config.admin.address {
        lines.push(Line::Fact(format!("answers /livez, /readyz, /peers and /metrics on http://{address}")));
    }
    Ok(lines)
}

/// What the gateway is, if there is one, and whether browsers can reach it.
fn gateway(config: &Config) -> Vec<Line> {
    let crate::config::Gateway { listen, dialog, udp, tcp, keep_dialogs } = &config.gateway;
    let Some(listen) = listen else { return Vec::new() };
    let mut lines = vec![Line::Fact(format!(
        "stands in front of dialog's signalling: {listen}{} goes to {}{}",
        proxies(listen),
        list(dialog),
        if *keep_dialogs { "" } else { "; browsers hear of no candidate of dialog's" },
    ))];
    let is_datagram = |it: &Listen| it.transport == Transport::Udp;
    for (name, places, is_served) in [
        ("udp", udp, config.listen.iter().any(is_datagram)),
        ("tcp", tcp, config.listen.iter().any(|it| !is_datagram(it))),
    ] {
        match places.as_slice() {
            [] => {}
            places if is_served => {
                lines.push(Line::Fact(format!(
                    "browsers are told to send media over {name} to {}",
                    list(places)
                )));
            }
            _ => lines.push(Line::Warning(format!(
                "gateway.{name} is set, and no listener takes it: add one to listen"
            ))),
        }
    }
    if udp.is_empty() && tcp.is_empty() {
        lines.push(Line::Warning(
            "browsers are told of no gateway: set gateway.udp to where they reach a udp listener".to_owned(),
        ));
    }
    lines
}

/// Who may speak for clients.
fn proxies(listen: &Listen) -> String {
    let required = match listen.proxy_protocol {
        ProxyProtocol::Optional => "",
        ProxyProtocol::Required => ", which they have to send",
    };
    match listen.proxy_protocol_from.as_slice() {
        [] => String::new(),
        senders => format!("; believes PROXY headers from {}{required}", list(senders)),
    }
}

fn describe(certificate: &Description) -> String {
    let names = certificate.names.join(", ");
    format!("a certificate for {:?}, valid until {}", names, certificate.not_after)
}

fn users(config: &Config) -> Line {
    let (users, secrets) = (config.auth.users.len(), config.auth.secrets.len());
    let line = format!(
        "realm {:?}: {users} static user{}, {secrets} secret{} for REST credentials with {}s of grace",
        config.realm,
        plural(users),
        plural(secrets),
        config.auth.expiry_grace.as_secs()
    );
    if let Some(config) = &config.auth.postgres {
        return Line::Fact(format!("{line}, and those of {}", super::database::place(config)));
    }
    if users + secrets == 0 {
        Line::Warning(format!(
            "{line}: nobody can allocate; set auth.postgres (Hubs: PSQL), auth.secrets or auth.users"
        ))
    } else {
        Line::Fact(line)
    }
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
