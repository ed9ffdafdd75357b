//! The command line.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use crate::auth::{RestCredential, Secret};
use crate::config::{self, Config, ConfigError, LogFormat};
use crate::sweep::{Agent, AgentError, AgentOptions, Token, TokenError};
use crate::watch::Watch;
use crate::{Line, Relay, StartError, TlsError, descriptors, summary};

/// How soon a changed file is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// It ran and failed.
const FAILURE: u8 = 1;
/// It could not run: usage, configuration, certificate, port.
const CANNOT_START: u8 = 2;

/// A STUN and TURN server for Hubs: forwards browsers' media to dialog, and to nobody else.
#[derive(Debug, Parser)]
#[command(name = "hubs-relay", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM, which lets calls go on for a while, or SIGINT; what happens without a command, too.
    Run(Source),
    /// Read the configuration, the certificate and the key, and say what they amount to.
    CheckConfig(Source),
    /// Print every key with its default and what it does, as a file to begin with.
    PrintConfig,
    /// See for some minutes which ports of this node packets from outside reach, for `hubs-probe sweep`.
    ///
    /// It disturbs nobody, not even who has the ports, answers only who has the token, and ends by itself. It takes the
    /// right to open raw sockets.
    Agent(AgentArgs),
    /// Make a user name and password as Reticulum does.
    Credential {
        /// The secret that the relay knows.
        #[arg(long)]
        secret: String,
        /// How long it is good for.
        #[arg(long, default_value = "2m", value_parser = config::parse_duration)]
        ttl: Duration,
        /// What follows the expiry in the user name.
        #[arg(long, default_value = "coturn")]
        name: String,
    },
}

#[derive(Args, Debug)]
struct Source {
    /// A TOML file; without one, the environment and what suits Hubs count.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct AgentArgs {
    /// Where it is asked. Nobody needs to reach this from outside: kubectl port-forward does.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9642")]
    listen: SocketAddr,
    /// After what time it ends by itself.
    #[arg(long, default_value = "15m", value_parser = config::parse_duration)]
    ttl: Duration,
    /// The file with the token, of 16 characters or more; without one, that in the environment counts (see README).
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The token, where there is no file with it.
const TOKEN: &str = "HUBS_SWEEP_TOKEN";
/// The longest that an agent may stay: one that is forgotten must not.
const LONGEST_TTL: Duration = Duration::from_hours(1);

#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("a worker failed: {0}")]
    Worker(io::Error),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("{from}: {source}")]
    Token { from: String, source: TokenFault },
    #[error("--ttl {}s: an hour is the longest", .0.as_secs())]
    Ttl(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug, Error)]
enum TokenFault {
    #[error("it is not set: give a token there, or a file with one as --token-file")]
    Missing,
    #[error(transparent)]
    File(io::Error),
    #[error(transparent)]
    Text(#[from] TokenError),
}

/// Runs the program with its arguments and environment.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Run(cli.source)) {
        Command::Run(source) => run(&source),
        Command::CheckConfig(source) => check_config(&source),
        Command::PrintConfig => io::stdout().write_all(config::DEFAULTS.as_bytes()).map_err(Failure::from),
        Command::Agent(args) => agent(&args),
        Command::Credential { secret, ttl, name } => credential(&Secret::from(secret), ttl, &name),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `hubs-relay print-config | head` is no failure.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "hubs-relay: {failure}");
            match failure {
                Failure::Config(_)
                | Failure::Tls(_)
                | Failure::Start(_)
                | Failure::Agent(_)
                | Failure::Token { .. }
                | Failure::Ttl(_) => ExitCode::from(CANNOT_START),
                Failure::Worker(_) | Failure::Io(_) => ExitCode::from(FAILURE),
            }
        }
    }
}

fn load(source: &Source) -> Result<Config, Failure> {
    Ok(read(source)?)
}

fn read(source: &Source) -> Result<Config, ConfigError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(source.config.as_deref(), environment)
}

fn run(source: &Source) -> Result<(), Failure> {
    let mut config = load(source)?;
    begin_log(config.log.format);
    let files = descriptors::raise();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _guard = runtime.enter();
        // Before anything can take long, so that no signal gets lost.
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    // Before they are read, so that no change gets lost.
    let mut watch = Watch::new(watched(source, &config));
    let mut relay = Relay::start(&config)?;
    if let Some(address) = &mut config.admin.address {
        *address = relay.serve_admin(*address)?;
    }
    config.listen = relay.listeners().to_vec();
    config.gateway.listen = relay.signalling().cloned();
    for line in summary(&config)? {
        match line {
            Line::Fact(fact) => info!("{fact}"),
            Line::Warning(warning) => warn!("{warning}"),
        }
    }
    if let Some(files) = files
        && descriptors::enough_for(files) < config.limits.sessions as u64
    {
        warn!(
            "this process may have {files} files open, enough for {} sessions, and limits.sessions is {}: raise its hard \
             limit (ulimit -Hn, systemd's LimitNOFILE), or lower limits.sessions",
            descriptors::enough_for(files),
            config.limits.sessions
        );
    }
    info!("ready");
    let (mut terminate, mut interrupt, mut hangup) = signals;
    let failure = runtime.block_on(async {
        let mut looks = interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => return None,
                _ = hangup.recv() => reload(&mut relay, source, &mut watch),
                _ = looks.tick() => if watch.has_changed() { reload(&mut relay, source, &mut watch) },
                failure = relay.failure() => return Some(failure),
            }
        }
        relay.drain();
        let began = Instant::now();
        info!(
            sessions = relay.sessions(),
            gateway_calls = relay.gateway_calls(),
            "draining: refuses allocations and signalling, and ends when the last session and the last call through the \
             gateway are over, after {}s, or on a second SIGTERM",
            relay.drain_deadline().as_secs()
        );
        let mut drained = pin!(relay.drained());
        loop {
            let rest = relay.drain_deadline().saturating_sub(began.elapsed());
            tokio::select! {
                () = &mut drained => return None,
                () = sleep(rest) => {
                    match (relay.sessions(), relay.gateway_calls()) {
                        (0, None | Some(0)) => {}
                        (sessions, gateway_calls) => warn!(sessions, gateway_calls, "drain_deadline has passed"),
                    }
                    return None;
                }
                _ = terminate.recv() => return None,
                _ = interrupt.recv() => return None,
                _ = hangup.recv() => reload(&mut relay, source, &mut watch),
                _ = looks.tick() => if watch.has_changed() { reload(&mut relay, source, &mut watch) },
                failure = relay.failure() => return Some(failure),
            }
        }
    });
    relay.shutdown();
    match failure {
        None => {
            info!("stopped");
            Ok(())
        }
        Some(failure) => {
            error!(%failure, "a worker failed");
            Err(Failure::Worker(failure))
        }
    }
}

/// The files that make a relay.
fn watched(source: &Source, config: &Config) -> Vec<PathBuf> {
    let tls = [&config.tls.certificate, &config.tls.private_key];
    source.config.iter().chain(tls).cloned().collect()
}

/// Reads everything anew. What cannot be used changes nothing.
fn reload(relay: &mut Relay, source: &Source, watch: &mut Watch) {
    // What changes from here on is noticed by the next look.
    watch.has_changed();
    let config = read(source);
    if let Ok(config) = &config {
        watch.set(watched(source, config));
    }
    match relay.reload(config) {
        Ok(unchanged) => {
            info!("configuration and certificate read anew");
            if !unchanged.is_empty() {
                warn!("a restart is needed for what changed in {}", unchanged.join(", "));
            }
        }
        Err(error) => error!("going on with the old configuration and certificate: {error}"),
    }
}

/// To standard error, each line whole.
fn begin_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(is_terminal).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

fn check_config(source: &Source) -> Result<(), Failure> {
    for line in summary(&load(source)?)? {
        match line {
            Line::Fact(fact) => writeln!(io::stdout(), "{fact}")?,
            Line::Warning(warning) => writeln!(io::stdout(), "warning: {warning}")?,
        }
    }
    Ok(())
}

fn agent(args: &AgentArgs) -> Result<(), Failure> {
    if args.ttl > LONGEST_TTL {
        return Err(Failure::Ttl(args.ttl));
    }
    let token = token(args.token_file.as_deref())?;
    begin_log(LogFormat::Text);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let agent = Agent::start(AgentOptions { listen: args.listen, token, ttl: args.ttl }).await?;
        info!(
            "looks at this node's packets and ends in {}s; asked at http://{}",
            args.ttl.as_secs(),
            agent.address()?
        );
        tokio::select! {
            () = agent.run() => info!("its time is over"),
            _ = terminate.recv() => info!("stopped"),
            _ = interrupt.recv() => info!("stopped"),
        }
        Ok(())
    })
}

fn token(file: Option<&Path>) -> Result<Token, Failure> {
    let from = file.map_or_else(|| TOKEN.to_owned(), |file| file.display().to_string());
    let text = match file {
        Some(file) => std::fs::read_to_string(file).map_err(TokenFault::File),
        None => std::env::var(TOKEN).map_err(|_| TokenFault::Missing),
    };
    let token = text.and_then(|text| Ok(Zeroizing::new(text).parse()?));
    token.map_err(|source| Failure::Token { from, source })
}

fn credential(secret: &Secret, ttl: Duration, name: &str) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let credential = RestCredential::new(secret, name, (now + ttl).as_secs());
    writeln!(io::stdout(), "username={}\npassword={}", credential.username, credential.password.expose())?;
    Ok(())
}
