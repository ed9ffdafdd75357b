//! Hubs in the cluster: its parts on their addresses and ports, each broken as the scenario has it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use super::Namespace;
use super::network::{
    DIALOG_SERVICE, FRONTEND, GATEWAY_PORT, HAPROXY, NODE, Network, OTHER_NODE, OTHER_RELAY, PGBOUNCER,
    RELAY, RETICULUM,
};
use super::scenario::{Certificate, CoturnNode, Database, Gateway, Scenario, Server, State, Turn};
use crate::bed::{self, DOMAIN, Ingress, NAMES, REALM, ROOM, STREAM, TURN_SECRET};
use crate::certs::{self, Authority, Identity, IdentityFiles};
use crate::clock::Clock;
use crate::pgbouncer::{AuthType, PgBouncer};
use crate::postgres::{EARLIER_SEARCH_PATH, Postgres, SEARCH_PATH};
use crate::process::Process;
use crate::{coturn, need};

const DIALOG_PORT: u16 = 4443;
const RETICULUM_PORT: u16 = 4001;
const TURN_PORT: u16 = 5349;
const PGBOUNCER_PORT: u16 = 5432;
const RELAY_ADMIN: u16 = 9641;

/// The running parts.
#[derive(Debug)]
pub(super) struct Deployment {
    _parts: Vec<Process>,
    _database: Option<(PgBouncer, Postgres)>,
}

impl Deployment {
    /// Starts everything; `relay` is the program of hubs-relay. `folder` gets `ca.pem` and keeps what they read.
    pub(super) fn start(folder: &Path, network: &Network, scenario: &Scenario, relay: &str) -> Self {
        let authority = scenario.ingress.organisation.as_deref().map_or_else(Authority::new, Authority::of);
        fs::write(folder.join("ca.pem"), authority.certificate()).unwrap();
        let perms_key = folder.join("perms.pem");
        bed::generate_rsa_key(&perms_key);
        let external = network.egress();

        let (node, pods) = (&network.node, &network.pods);
        let shop = Shop { folder, authority: &authority, perms_key: &perms_key, external, scenario };
        // Most of the time that they take to start they wait.
        thread::scope(|scope| {
            let dialog = scope.spawn(|| shop.start_dialog(node));
            let reticulum = scope.spawn(|| shop.start_reticulum(pods));
            let ingress = scope.spawn(|| shop.start_ingress(network));
            let database = shop.start_database(pods);
            let dialog = dialog.join().unwrap();
            let turn = shop.start_turn(network, relay);
            let others = [reticulum.join().unwrap(), ingress.join().unwrap()];
            let parts = [dialog].into_iter().chain(others).flatten().chain(turn).collect();
            Self { _parts: parts, _database: database }
        })
    }
}

/// All that the parts are made from.
struct Shop<'a> {
    folder: &'a Path,
    authority: &'a Authority,
    perms_key: &'a Path,
    external: IpAddr,
    scenario: &'a Scenario,
}

impl Shop<'_> {
    fn start_dialog(&self, node: &Namespace) -> Option<Process> {
        let address = (NODE, DIALOG_PORT).into();
        let tls = certs::self_signed("dialog").write(self.folder, "dialog");
        let mut command = Command::new("node");
        command
            .arg(need::bed_folder().join("dialog.js"))
            .env("MEDIASOUP_WORKER_BIN", need::mediasoup_worker().unwrap())
            .env("MEDIASOUP_ANNOUNCED_IP", self.external.to_string())
            .env("LISTEN_IP", "0.0.0.0")
            .env("PROTOO_LISTEN_PORT", DIALOG_PORT.to_string())
            .env("AUTH_KEY", bed::write_dialog_key(self.folder, self.perms_key, self.scenario.dialog_key))
            .env("HTTPS_CERT_FULLCHAIN", tls.certificate)
            .env("HTTPS_CERT_PRIVKEY", tls.key)
            .envs(&self.scenario.dialog.environment);
        if let Some(clock) = &self.scenario.dialog.clock {
            Clock::shift(&mut command, clock);
        }
        start(self.scenario.dialog.state, node, address, || bed::start_node(&mut command, "dialog").0)
    }

    fn start_reticulum(&self, pods: &Namespace) -> Option<Process> {
        let address = (RETICULUM, RETICULUM_PORT).into();
        let mut command = Command::new("node");
        command
            .arg(need::bed_folder().join("reticulum.js"))
            .env("HUB_DOMAIN", DOMAIN)
            .env("LISTEN_IP", RETICULUM.to_string())
            .env("PORT", RETICULUM_PORT.to_string())
            .env("PERMS_KEY", self.perms_key)
            .env("TURN_SECRET", TURN_SECRET)
            .env("TURN_PORTS", TURN_PORT.to_string())
            .env("ROOMS", format!(r#"{{"{ROOM}":"open"}}"#))
            .envs(&self.scenario.reticulum.environment);
        if let Some(clock) = &self.scenario.reticulum.clock {
            Clock::shift(&mut command, clock);
        }
        start(self.scenario.reticulum.state, pods, address, || bed::start_node(&mut command, "reticulum").0)
    }

    fn start_ingress(&self, network: &Network) -> Option<Process> {
        let Self { folder, scenario, .. } = self;
        let write = |folder: &Path, file: &str, name: &str, certificate| {
            let Some(identity) = self.identity(certificate, name) else { return };
            let file = folder.join(format!("{file}.pem"));
            fs::write(file, identity.certificate + &identity.key).unwrap();
        };
        let of_dialog = scenario.ingress.certificates_of_dialog.as_ref();
        let folders = [(bed::OF_ALL, Some(&scenario.ingress.certificates)), (bed::OF_DIALOG, of_dialog)];
        for (name, certificates) in folders {
            let (folder, Some(certificates)) = (folder.join(name), certificates) else { continue };
            fs::create_dir(&folder).unwrap();
            for name in NAMES {
                write(&folder, name, name, certificates.get(name).copied().unwrap_or_default());
            }
            write(&folder, "default", DOMAIN, scenario.ingress.default);
        }
        let turn = match scenario.turn.server {
            Server::Coturn => coturn_node(network, scenario).1,
            Server::HubsRelay | Server::Stopped | Server::Mute => RELAY,
        };
        let ingress = Ingress {
            http: Some((HAPROXY, 8080).into()),
            https: vec![(HAPROXY, 4443).into()],
            dialog: of_dialog.map(|_| (HAPROXY, 4444).into()),
            turn: (HAPROXY, TURN_PORT).into(),
            reticulum_backend: (RETICULUM, RETICULUM_PORT).into(),
            dialog_backends: match scenario.gateway {
                Gateway::Off => vec![(NODE, DIALOG_PORT).into()],
                _ => vec![(RELAY, DIALOG_PORT).into()],
            },
            turn_backend: (turn, TURN_PORT).into(),
        };
        start(scenario.ingress.state, &network.pods, (HAPROXY, 4443).into(), || ingress.start(folder))
    }

    /// The database with pgbouncer before it, where somebody asks it.
    fn start_database(&self, pods: &Namespace) -> Option<(PgBouncer, Postgres)> {
        let Turn { server, database, .. } = self.scenario.turn;
        let search_path = match database {
            Database::Spared | Database::NameUnknown => return None,
            Database::AsShipped => SEARCH_PATH,
            Database::SchemaOnPath => EARLIER_SEARCH_PATH,
        };
        matches!(server, Server::HubsRelay | Server::Coturn).then(|| {
            pods.run(|| {
                let database = Postgres::start(search_path);
                let address = (PGBOUNCER, PGBOUNCER_PORT).into();
                (PgBouncer::start(address, &database, AuthType::Md5), database)
            })
        })
    }

    /// What is in coturn's place, and another replica of it if there is one.
    fn start_turn(&self, network: &Network, relay: &str) -> Vec<Process> {
        let Turn { server, certificate, database, .. } = &self.scenario.turn;
        let pods = &network.pods;
        let identity = || self.identity(*certificate, STREAM).unwrap().write(self.folder, "turn");
        match server {
            Server::Stopped => Vec::new(),
            Server::Mute => {
                stay_mute(pods, (RELAY, TURN_PORT).into());
                Vec::new()
            }
            Server::Coturn => {
                // On the node's network the name is not known, which the image leaves it with.
                let host = match database {
                    Database::Spared | Database::NameUnknown => "pgbouncer".to_owned(),
                    Database::AsShipped | Database::SchemaOnPath => PGBOUNCER.to_string(),
                };
                let url = database_url(&host);
                let (node, address) = coturn_node(network, self.scenario);
                let address = (address, TURN_PORT).into();
                let start =
                    || coturn::start_as_shipped(self.folder, address, self.external, &url, &identity());
                vec![node.run(start)]
            }
            Server::HubsRelay => {
                let identity = identity();
                let is_doubled = self.scenario.gateway == Gateway::TwoBehindOneService;
                let pods = [Some(RELAY), is_doubled.then_some(OTHER_RELAY)].into_iter().flatten();
                pods.map(|pod| self.start_relay(network, relay, pod, &identity)).collect()
            }
        }
    }

    /// hubs-relay at this address.
    fn start_relay(
        &self,
        network: &Network,
        relay: &str,
        pod: Ipv4Addr,
        identity: &IdentityFiles,
    ) -> Process {
        let Turn { database, environment, .. } = &self.scenario.turn;
        let gateway = self.scenario.gateway;
        let admin = SocketAddr::from((pod, RELAY_ADMIN));
        let mut command = Command::new(relay);
        command
            // As deploy/kustomize sets it; the rest is what it takes beside Hubs by itself.
            .env("REALM", REALM)
            .env("HUBS_RELAY_ADMIN__ADDRESS", admin.to_string())
            // What a container has in its own file system and on its own address.
            .env("HUBS_RELAY_TLS__CERTIFICATE", &identity.certificate)
            .env("HUBS_RELAY_TLS__PRIVATE_KEY", &identity.key)
            .env("HUBS_RELAY_LISTEN", format!("tls://{pod}:{TURN_PORT}"))
            .env("HUBS_RELAY_RELAY__ADDRESS", pod.to_string())
            .env("HUBS_RELAY_LIMITS__DRAIN_DEADLINE", "0s")
            .env("RUST_LOG", "hubs_relay=debug");
        match database {
            Database::Spared => command.env("HUBS_RELAY_AUTH__SECRETS", TURN_SECRET),
            _ => command.env("PSQL", database_url("pgbouncer")),
        };
        if gateway != Gateway::Off {
            command
                .env("HUBS_RELAY_LISTEN", format!("udp://{pod}:{GATEWAY_PORT},tls://{pod}:{TURN_PORT}"))
                .env("HUBS_RELAY_GATEWAY__LISTEN", format!("tls://{pod}:{DIALOG_PORT}"))
                .env("HUBS_RELAY_GATEWAY__UDP", format!("{FRONTEND}:{GATEWAY_PORT}"))
                .env("HUBS_RELAY_GATEWAY__TCP", format!("{FRONTEND}:{TURN_PORT}"));
        }
        if gateway == Gateway::DialogBehindAnAddress {
            command.env("HUBS_RELAY_GATEWAY__DIALOG", format!("{DIALOG_SERVICE}:{DIALOG_PORT}"));
        }
        command.envs(environment);
        network.pods.run(|| {
            let mut relay = Process::start("hubs-relay", &mut command);
            relay.wait_until_accepting((pod, TURN_PORT).into());
            // Otherwise it waits for dialog to announce something.
            if self.scenario.dialog.is_good() {
                relay.wait_until("readiness", || is_relay_ready(admin));
            }
            relay
        })
    }

    fn identity(&self, certificate: Certificate, host: &str) -> Option<Identity> {
        let valid = |days| self.authority.issue_valid(host, days);
        Some(match certificate {
            Certificate::Good => valid(-1..60),
            Certificate::Generated => certs::self_signed(DOMAIN),
            Certificate::Shipped => certs::self_signed("dialog"),
            Certificate::Expired => valid(-90..-2),
            Certificate::NotYetValid => valid(2..90),
            Certificate::RunsOutSoon => valid(-80..5),
            Certificate::OtherName => self.authority.issue(&format!("old-{host}")),
            Certificate::OtherAuthority => Authority::new().issue(host),
            Certificate::Inspected => Authority::named("Zscaler Intermediate Root CA").issue(host),
            Certificate::Incomplete => self.authority.issue_incomplete(host),
            Certificate::Missing => return None,
        })
    }
}

/// The node on whose network coturn is, and its address.
fn coturn_node<'a>(network: &'a Network, scenario: &Scenario) -> (&'a Namespace, Ipv4Addr) {
    match scenario.turn.node {
        CoturnNode::Dialogs => (&network.node, NODE),
        CoturnNode::Other => (&network.other_node, OTHER_NODE),
    }
}

/// Starts what belongs at `address`, or what is there instead.
fn start(
    state: State,
    namespace: &Namespace,
    address: SocketAddr,
    start: impl FnOnce() -> Process + Send,
) -> Option<Process> {
    match state {
        State::Runs => Some(namespace.run(start)),
        State::Stopped => None,
        State::Mute => {
            stay_mute(namespace, address);
            None
        }
    }
}

/// Accepts connections and keeps them, until the test's process ends.
fn stay_mute(namespace: &Namespace, address: SocketAddr) {
    let listener = namespace.run(|| TcpListener::bind(address).unwrap());
    thread::spawn(move || {
        let mut connections = Vec::new();
        while let Ok(connection) = listener.accept() {
            connections.push(connection);
        }
    });
}

fn database_url(host: &str) -> String {
    format!("postgres://postgres:{}@{host}/retdb", crate::postgres::PASSWORD)
}

/// As the kubelet finds it out.
fn is_relay_ready(admin: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(admin)?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"))
}
