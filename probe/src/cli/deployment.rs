//! Which deployment is examined, and how to get there: the same options for every command that looks at one.

use std::{
    convert::Infallible, fs, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, sync::Arc,
    time::Duration,
};

use clap::Args;
use hubs_relay::sweep::{Token, TokenError};

use super::{azure::Cluster, cluster::ClusterArgs, declared::declared, files, usage::UsageError};
use crate::{
    check::{Context, Options},
    facts::Facts,
    net::{ConnectTo, Family, Net, NetOptions},
    sweep::{AgentAddress, DIALOG_PORTS, SweepOptions},
    target::{RelayAdmin, Room, Target, TurnLogin},
};

/// Which deployment is meant, and how to get there.
#[derive(Debug, Args)]
pub(crate) struct WayArgs {
    /// The domain that people open in their browser.
    domain: Target,
    /// Join the lobby of this room (its URL, or the part after the domain), as a browser does: it tells where dialog and TURN are, and
    /// gives TURN's credentials.
    #[arg(long, value_name = "URL")]
    room: Option<Room>,
    /// Ask this resolver instead of the system's.
    #[arg(long, value_name = "IP:PORT")]
    resolver: Option<SocketAddr>,
    /// Trust the certificates in this PEM file besides Mozilla's roots.
    #[arg(long, value_name = "PEM")]
    ca_file: Option<PathBuf>,
    /// For HOST:PORT connect to ADDRESS:PORT instead; can be given several times.
    #[arg(long, value_name = "HOST:PORT:ADDRESS:PORT")]
    connect_to: Vec<ConnectTo>,
    /// Use IPv4 only.
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only.
    #[arg(short = '6')]
    ipv6: bool,
    /// Open so many of dialog's transports to sample its ports; each has two or three.
    #[arg(long, value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u8).range(1..=32))]
    samples: u8,
    /// Ask hubs-relay's agent which packets arrive; it is open to you with `kubectl port-forward`.
    #[arg(long, value_name = "URL")]
    agent: Option<AgentAddress>,
    /// The agent's token. In the environment nobody sees it who lists processes.
    #[arg(long, value_name = "TOKEN", env = "HUBS_SWEEP_TOKEN", hide_env_values = true)]
    token: Option<GivenToken>,
    /// The file with the agent's token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// End the checks after this time, with what was found by then: 90s, 2m.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
}

/// What is examined of it besides.
#[derive(Debug, Args)]
pub(crate) struct DeploymentArgs {
    #[command(flatten)]
    way: WayArgs,
    /// With --resolver: compare it with this one, which browsers here ask, and not with what the system is set up with.
    #[arg(long, value_name = "IP:PORT", requires = "resolver")]
    system_resolver: Option<SocketAddr>,
    /// Without a room: derive TURN credentials from this secret, as Reticulum does.
    #[arg(
        long,
        value_name = "SECRET",
        env = "HUBS_PROBE_TURN_SECRET",
        hide_env_values = true,
        conflicts_with = "turn_user"
    )]
    turn_secret: Option<String>,
    /// Without a room: a TURN user, with --turn-password.
    #[arg(long, value_name = "USER", requires = "turn_password")]
    turn_user: Option<String>,
    /// The password of --turn-user.
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "HUBS_PROBE_TURN_PASSWORD",
        hide_env_values = true,
        requires = "turn_user"
    )]
    turn_password: Option<String>,
    /// Also ask this STUN server, which is not the deployment's, whether UDP leaves this network; two of them tell.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_stun)]
    stun: Vec<String>,
    /// With a room: do not send sound through dialog and back, which takes five seconds.
    #[arg(long)]
    no_audio: bool,
    /// Also find out whether ways outlive silence: by default 4m15s of it, since Azure's load balancer forgets after 4m. --timeout
    /// does not count it.
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "255s",
        value_parser = parse_silence
    )]
    long: Option<Duration>,
    /// Ask hubs-relay itself at its admin address, which is open to you with `kubectl port-forward`.
    #[arg(long, value_name = "URL")]
    relay_admin: Option<RelayAdmin>,
    /// Hold Azure's rules against what is seen: a file as `hubs-probe nsg` reads it, or `-` for standard input; can be given several times.
    #[arg(long, value_name = "FILE")]
    nsg: Vec<PathBuf>,
    /// The same of this cluster as Azure has it now, asked through the `az` that you are logged in with; it only shows and lists.
    #[arg(long, value_name = "GROUP/CLUSTER")]
    azure: Option<Cluster>,
    /// Look through the manifest, too, from which Hubs was deployed, as `hubs-probe lint` does.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What trying again takes after the silence, at most.
const AFTER_SILENCE: Duration = Duration::from_mins(1);

/// A permission on a TURN server lasts for five minutes (RFC 8656 section 9): what is lost then is nobody's fault on the way.
const LONGEST_SILENCE: Duration = Duration::from_secs(4 * 60 + 45);

/// A token, or why it is none. Of a value that it refuses, clap would print all.
#[derive(Clone, Debug)]
struct GivenToken(Result<Token, String>);

impl FromStr for GivenToken {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.parse().map_err(|error: TokenError| error.to_string())))
    }
}

impl WayArgs {
    /// What the agent is asked with, if there is one.
    pub(super) fn sweep(&self, ports: RangeInclusive<u16>) -> Result<Option<SweepOptions>, UsageError> {
        let Some(agent) = self.agent.clone() else { return Ok(None) };
        let token = match (&self.token_file, &self.token) {
            (Some(path), _) => {
                let failed = |reason: String| UsageError::Token { path: path.clone(), reason };
                let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
                text.parse().map_err(|error: TokenError| failed(error.to_string()))?
            }
            (None, Some(GivenToken(token))) => token.clone().map_err(UsageError::GivenToken)?,
            (None, None) => return Err(UsageError::NoToken),
        };
        Ok(Some(SweepOptions { agent, token, ports }))
    }

    /// A fresh context: nothing is known yet, and nothing is asked for besides. With a resolver given, `system_resolver` is compared with it.
    pub(super) fn context(&self, system_resolver: Option<SocketAddr>) -> Result<Context, UsageError> {
        let ca_pem = match &self.ca_file {
            None => None,
            Some(path) => {
                Some(fs::read(path).map_err(|source| UsageError::CaFile { path: path.clone(), source })?)
            }
        };
        if let Some(room) = self.room.as_ref().and_then(Room::domain).filter(|d| *d != self.domain.domain()) {
            return Err(UsageError::OtherRoom { room: room.to_owned(), target: self.domain.clone() });
        }
        let net = Net::new(&NetOptions {
            resolver: self.resolver,
            system_resolvers: system_resolver.map(|address| vec![address]),
            ca_pem,
            connect_to: self.connect_to.clone(),
            family: match (self.ipv4, self.ipv6) {
                (true, _) => Family::V4,
                (_, true) => Family::V6,
                _ => Family::Any,
            },
        })?;
        Ok(Context {
            target: self.domain.clone(),
            net,
            room: self.room.clone(),
            turn_login: None,
            options: Options {
                samples: self.samples.into(),
                sweep: self.sweep(DIALOG_PORTS)?,
                ..Options::default()
            },
            facts: Facts::default(),
        })
    }
}

impl DeploymentArgs {
    /// The domain that is looked at.
    pub(crate) fn domain(&self) -> &str {
        self.way.domain.domain()
    }

    /// When to end with what was found by then.
    pub(crate) fn time_limit(&self) -> Duration {
        self.way.timeout + self.long.map_or(Duration::ZERO, |silence| silence + AFTER_SILENCE)
    }

    /// A fresh context: nothing is known yet.
    pub(crate) fn context(&self) -> Result<Arc<Context>, UsageError> {
        let cx = self.way.context(self.system_resolver)?;
        let turn_login = match (&self.turn_secret, &self.turn_user, &self.turn_password) {
            (Some(secret), ..) => Some(TurnLogin::Secret(secret.clone())),
            (None, Some(name), Some(password)) => {
                Some(TurnLogin::User { name: name.clone(), password: password.clone() })
            }
            _ => None,
        };
        let options = Options {
            audio: Options::default().audio.filter(|_| !self.no_audio),
            silence: self.long,
            relay_admin: self.relay_admin.clone(),
            nsg: declared(&self.nsg, self.azure.as_ref())?,
            manifest: self.manifest.as_deref().map(files::text).transpose()?.map(Arc::new),
            cluster: self.cluster.fetch()?.map(Arc::new),
            ..cx.options
        };
        Ok(Arc::new(Context { net: cx.net.allowed_to_ask(self.stun.clone()), turn_login, options, ..cx }))
    }
}

/// Reads `stun.example.org` or `stun.example.org:3478`.
fn parse_stun(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "3478"));
    let is_host =
        !host.is_empty() && !host.contains(['/', '@', ' ']) && (!host.contains(':') || host.ends_with(']'));
    match port.parse::<u16>() {
        Ok(1..) if is_host => Ok(text.to_owned()),
        _ => Err("give HOST or HOST:PORT, such as stun.example.org:3478".to_owned()),
    }
}

/// The same, and nothing after which TURN itself would have forgotten.
fn parse_silence(text: &str) -> Result<Duration, String> {
    let silence = parse_duration(text)?;
    if silence > LONGEST_SILENCE {
        return Err("give 285s or less: after five minutes a TURN server forgets by itself".to_owned());
    }
    Ok(silence)
}

/// Reads `90`, `90s` or `2m`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u32 = number.parse().map_err(|_| "give a number of seconds, or 90s, 2m".to_owned())?;
    let seconds = match unit {
        "" | "s" => number,
        "m" => number.saturating_mul(60),
        _ => return Err(format!("{unit:?} is no unit of time here: give 90s or 2m")),
    };
    if seconds == 0 {
        Err("no time at all is too little".to_owned())
    } else {
        Ok(Duration::from_secs(seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stun_server_is_a_host_with_or_without_a_port() {
        for good in ["stun.example.org", "stun.example.org:3478", "192.0.2.7:19302", "[2001:db8::7]:3478"] {
            assert_eq!(parse_stun(good).as_deref(), Ok(good));
        }
        for bad in ["", ":3478", "stun:stun.example.org:3478", "host:0", "host:x", "https://host:1"] {
            assert!(parse_stun(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_is_read_with_and_without_unit() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_mins(2)));
        assert!(
            parse_duration("0").is_err() && parse_duration("5h").is_err() && parse_duration("s").is_err()
        );
    }
}
