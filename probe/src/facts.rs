//! What checks learned: the only way that they speak to each other.
//!
//! Each fact is written once, by one check. A check that needs a fact that is not there skips with the fact's own reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

use url::Url;

use crate::{
    candidate::{Candidate, Kind, Protocol},
    html::Page,
    target::{DIALOG, Name, Target},
    turn::Login,
};

/// A fact that was not found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs {what}, see {from}")]
pub struct Missing {
    /// What is missing, such as "dialog's candidates".
    pub what: &'static str,
    /// The check that would have found it.
    pub from: &'static str,
}

/// A fact that one check writes once.
pub struct Fact<T> {
    value: OnceLock<T>,
    missing: Missing,
}

impl<T> Fact<T> {
    const fn new(what: &'static str, from: &'static str) -> Self {
        Self { value: OnceLock::new(), missing: Missing { what, from } }
    }

    /// Writes it. A second value is dropped: the first one is what other checks may already have read.
    pub fn learn(&self, value: T) {
        let _ = self.value.set(value);
    }

    /// What was learned, or what is missing.
    pub fn get(&self) -> Result<&T, Missing> {
        self.value.get().ok_or(self.missing)
    }
}

impl<T: Clone> Fact<T> {
    /// The same fact, unless one of `checks` is to find it out again.
    fn without(&self, checks: &BTreeSet<&str>) -> Self {
        let value = if checks.contains(self.missing.from) { OnceLock::new() } else { self.value.clone() };
        Self { value, missing: self.missing }
    }
}

impl<T: fmt::Debug> fmt::Debug for Fact<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.get().fmt(f)
    }
}

/// Everything that was learned in one run.
#[derive(Debug)]
pub struct Facts {
    /// The addresses of each name that has any.
    pub addresses: Fact<BTreeMap<Name, Vec<IpAddr>>>,
    /// How the zone's own servers answered.
    pub name_servers: Fact<NameServers>,
    /// Whether a browser accepts the certificate of TURN.
    pub turn_certificate: Fact<TurnCertificate>,
    /// Who issued the certificates, place by place; those that nobody issued are not among them.
    pub issuers: Fact<Vec<Issuer>>,
    /// That Reticulum answers, well or not; whoever asks it for more need not find out again that it does not.
    pub reticulum: Fact<()>,
    /// What the pages tell browsers.
    pub pages: Fact<Vec<PageFacts>>,
    /// A picture of the deployment's own that was fetched and is one.
    pub picture: Fact<Url>,
    /// Where media is to go, and with which credentials, as a joined room says.
    pub room: Fact<RoomFacts>,
    /// Where dialog's WebSocket opens.
    pub dialog: Fact<DialogFacts>,
    /// Where dialog told clients to send media: the candidates that lead anywhere, never none. The ports were those of a
    /// transport that is closed again.
    pub announced: Fact<Vec<SocketAddr>>,
    /// A TURN server that accepted the credentials.
    pub turn: Fact<TurnFacts>,
    /// Everything that dialog offers for a transport, each candidate for what it is.
    pub candidates: Fact<Vec<Candidate>>,
    /// The candidates of several transports, of which each was closed again.
    pub sampled: Fact<Vec<Vec<Candidate>>>,
    /// Each port of dialog's that was asked for an answer, and whether it came.
    pub asked_ports: Fact<Vec<(SocketAddr, bool)>>,
    /// What became of connections to the ports of the entrance.
    pub entrances: Fact<Vec<(u16, Reached)>>,
    /// Where dialog answered ICE, straight from here; never none.
    pub answering: Fact<Vec<SocketAddr>>,
    /// Over what dialog answered ICE through the media gateway; never none.
    pub gateway: Fact<Vec<Protocol>>,
    /// Each UDP port at which the media gateway waits, and whether dialog answered through it.
    pub gateway_ports: Fact<Vec<(SocketAddr, bool)>>,
    /// The address at which dialog answers ICE through the TURN server.
    pub relayed: Fact<IpAddr>,
    /// The relayed addresses that the TURN server gave out so far.
    pub relayed_addresses: Fact<Vec<SocketAddr>>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            addresses: Fact::new("the addresses of the names", "dns.addresses"),
            name_servers: Fact::new("the zone's own servers", "dns.authority"),
            turn_certificate: Fact::new("what certificate TURN shows", "tls.certificates"),
            issuers: Fact::new("who issued the certificates", "tls.certificates"),
            reticulum: Fact::new("an answer from Reticulum", "http.hubs"),
            pages: Fact::new("the pages of Hubs", "http.pages"),
            picture: Fact::new("a picture of the deployment's own", "http.assets"),
            room: Fact::new("a joined room", "room.join"),
            dialog: Fact::new("dialog's WebSocket", "dialog.candidates"),
            announced: Fact::new("an address that dialog announces", "dialog.candidates"),
            turn: Fact::new("an allocation on the TURN server", "turn.allocate"),
            candidates: Fact::new("dialog's candidates", "dialog.candidates"),
            sampled: Fact::new("a sample of dialog's ports", "ice.ports"),
            asked_ports: Fact::new("a sample of dialog's ports", "ice.ports"),
            entrances: Fact::new("what became of connections", "tls.certificates"),
            answering: Fact::new("an address at which dialog answers", "ice.direct"),
            gateway: Fact::new("an answer of dialog's through the gateway", "gateway.paths"),
            gateway_ports: Fact::new("where the media gateway waits", "gateway.paths"),
            relayed: Fact::new("an answer of dialog's through TURN", "turn.media"),
            relayed_addresses: Fact::new("a relayed address", "turn.steps"),
        }
    }
}

impl Facts {
    /// What was learned, except for what `checks` are to find out again.
    pub(crate) fn without(&self, checks: &BTreeSet<&str>) -> Self {
        Self {
            addresses: self.addresses.without(checks),
            name_servers: self.name_servers.without(checks),
            turn_certificate: self.turn_certificate.without(checks),
            issuers: self.issuers.without(checks),
            reticulum: self.reticulum.without(checks),
            pages: self.pages.without(checks),
            picture: self.picture.without(checks),
            room: self.room.without(checks),
            dialog: self.dialog.without(checks),
            announced: self.announced.without(checks),
            turn: self.turn.without(checks),
            candidates: self.candidates.without(checks),
            sampled: self.sampled.without(checks),
            asked_ports: self.asked_ports.without(checks),
            entrances: self.entrances.without(checks),
            answering: self.answering.without(checks),
            gateway: self.gateway.without(checks),
            gateway_ports: self.gateway_ports.without(checks),
            relayed: self.relayed.without(checks),
            relayed_addresses: self.relayed_addresses.without(checks),
        }
    }

    /// That `name` has an address.
    pub fn has_address(&self, name: Name) -> Result<(), Missing> {
        let known = self.addresses.get()?;
        known.contains_key(&name).then_some(()).ok_or(self.addresses.missing)
    }

    /// Whether the deployment is there for its own network only: the name that browsers need for media leads to private
    /// addresses.
    pub fn is_internal(&self) -> bool {
        let addresses = self.addresses.get().ok().and_then(|known| known.get(&Name::Stream));
        addresses.is_some_and(|a| a.iter().all(|ip| !matches!(Kind::of_address(*ip), Kind::Public(_))))
    }

    /// Where a browser opens dialog's WebSocket: where the room says, else where Hubs has it.
    pub fn signalling(&self, target: &Target) -> DialogFacts {
        match self.room.get() {
            Ok(room) => DialogFacts { host: room.host.clone(), port: room.port },
            Err(_) => DialogFacts { host: target.host(Name::Stream), port: DIALOG },
        }
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Somebody took it.
    Answered,
    /// Somebody refused it.
    Refused,
    /// Nobody answered.
    Silent,
}

/// What a browser makes of TURN's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnCertificate {
    /// It accepts it.
    Accepted,
    /// It refuses it, so nothing that follows is open to a browser.
    Refused,
}

/// Who issued a certificate that was shown somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The name that was asked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The organisation, such as `Let's Encrypt`.
    pub organisation: Option<String>,
    /// Which of its certificates signed.
    pub common_name: Option<String>,
    /// Whether a browser accepts what it issued here.
    pub accepted: bool,
}

/// How the zone's own servers answered, which says something about this machine's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServers {
    /// How many did over UDP.
    pub over_udp: usize,
    /// How many did over TCP, and were silent over UDP.
    pub over_tcp_only: usize,
    /// Whether one did over IPv6.
    pub over_ipv6: bool,
    /// How many were silent altogether over IPv4.
    pub silent: usize,
}

/// A page that answered as one of Hubs.
#[derive(Clone, Debug)]
pub struct PageFacts {
    /// Whose page it is.
    pub entity: Entity,
    /// Where it is.
    pub url: Url,
    /// What it says.
    pub page: Page,
}

/// Whose page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entity {
    /// The one that the domain begins with.
    Home,
    /// A room's.
    Room,
    /// Spoke, the editor of scenes.
    Spoke,
}

/// Where dialog's WebSocket is. What a browser makes of its certificate is a finding of `tls.certificates`; whoever looks
/// further opens it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogFacts {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What a room told us when we joined.
#[derive(Clone)]
pub struct RoomFacts {
    /// The host on which the room expects dialog and TURN.
    pub host: String,
    /// Dialog's port on that host.
    pub port: u16,
    /// TURN, if the room offers it.
    pub turn: Option<RoomTurn>,
    /// With which one joins on dialog, if the room gave it.
    pub perms_token: Option<PermsToken>,
}

impl fmt::Debug for RoomFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomFacts")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// What dialog lets people in with: a JSON Web Token of Reticulum's, which is a secret while it lives.
#[derive(Clone, PartialEq, Eq)]
pub struct PermsToken(String);

impl PermsToken {
    /// Takes it as it came.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// To be sent to dialog.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PermsToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PermsToken(••••)")
    }
}

/// The TURN server of a room.
#[derive(Clone)]
pub struct RoomTurn {
    /// The user name: when it runs out, then `:coturn`.
    pub username: String,
    /// The password.
    pub credential: String,
    /// The ports of `turns:`.
    pub ports: Vec<u16>,
}

impl RoomTurn {
    /// What to log in with.
    pub fn login(&self) -> Login {
        Login::new(&self.username, &self.credential)
    }
}

impl fmt::Debug for RoomTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomTurn").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// A TURN server that accepted the credentials.
#[derive(Clone, Debug)]
pub struct TurnFacts {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The credentials.
    pub login: Login,
    /// The relayed address that it gave out.
    pub relayed: SocketAddr,
}
