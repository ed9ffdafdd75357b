//! The command line: words in, an exit status out. What a check is or means is nobody's business here.

use std::{
    fmt::Write as _,
    fs,
    future::Future,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use futures_util::FutureExt;

use crate::{
    check::{Context, Options},
    checks::CHECKS,
    codes::Code,
    demo::{self, Deployment, DeploymentError, Turn, narrative},
    engine,
    event::{Event, Sink},
    facts::Facts,
    net::{ConnectTo, Family, Net, NetError, NetOptions},
    report::{self, EXIT_BROKEN, EXIT_GOOD, EXIT_USAGE, End, FailOn, Report, human::Style},
    target::{Room, Target, TurnLogin},
    watch,
};

/// Finds out why nobody hears anybody in a Hubs room.
///
/// Walks the path of the media from this machine, as a browser does: names, certificates, web, signalling, ICE, TURN. Names
/// the one cause of silence and the command that mends it. Needs no account; leaves nothing behind on the server.
#[derive(Debug, Parser)]
#[command(name = "hubs-probe", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 good, 1 broken, 2 wrong usage, 3 could not be decided, 130/143 interrupted.\n\
    Start with:  hubs-probe check hubs.example.org --room https://hubs.example.org/ROOM"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a deployment and say what is broken.
    Check(Box<CheckArgs>),
    /// Show a deployment live: the checks, then each path to its media server, measured once a second.
    Watch(Box<DeploymentArgs>),
    /// Watch the probe find out what is broken, and the relay mend it, on a deployment inside this process.
    ///
    /// Needs no network and no rights, and takes some seconds. Exit status: 0 if all went as announced.
    Demo(DemoArgs),
    /// Show every check, and every code with what it asserts.
    List,
    /// Explain a code: what it means, how it is found out, what to do.
    Explain {
        /// The code, such as HP0204.
        code: Code,
    },
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    deployment: DeploymentArgs,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Which findings make the exit status 1.
    #[arg(long, value_enum, default_value_t)]
    fail_on: FailOn,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// The form of the reports: the story for people, or a JSON array of both.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Check nothing; keep the deployment running with this TURN server, and say how to look at it.
    #[arg(long, value_enum, value_name = "TURN", num_args = 0..=1, default_missing_value = "relay", conflicts_with = "output")]
    serve: Option<Turn>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
}

/// What is examined, and how to get there: the same for `check` and the live view.
#[derive(Debug, Args)]
pub(crate) struct DeploymentArgs {
    /// The domain that people open in their browser.
    domain: Target,
    /// Join this room (its URL, or the part after the domain) for TURN credentials, as a browser does.
    #[arg(long, value_name = "URL")]
    room: Option<Room>,
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
    /// End after this time with what was found by then: 90s, 2m.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// Why the command line can't be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("--ca-file {}: {source}", path.display())]
    CaFile { path: PathBuf, source: io::Error },
    #[error("--room is a room of {room}, and {target} is to be checked: give a room of {target}")]
    OtherRoom { room: String, target: Target },
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(
        "watch draws on a terminal, and {0} is none: run `hubs-probe check` instead, with --output json for a program"
    )]
    NoTerminal(&'static str),
    #[error("the terminal cannot be used ({0}): run `hubs-probe check` instead")]
    Terminal(#[source] io::Error),
}

impl DeploymentArgs {
    /// A fresh context: nothing is known yet.
    pub(crate) fn context(&self) -> Result<Arc<Context>, UsageError> {
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
            ca_pem,
            connect_to: self.connect_to.clone(),
            family: match (self.ipv4, self.ipv6) {
                (true, _) => Family::V4,
                (_, true) => Family::V6,
                _ => Family::Any,
            },
        })?;
        let turn_login = match (&self.turn_secret, &self.turn_user, &self.turn_password) {
            (Some(secret), ..) => Some(TurnLogin::Secret(secret.clone())),
            (None, Some(name), Some(password)) => {
                Some(TurnLogin::User { name: name.clone(), password: password.clone() })
            }
            _ => None,
        };
        Ok(Arc::new(Context {
            target: self.domain.clone(),
            net,
            room: self.room.clone(),
            turn_login,
            options: Options::default(),
            facts: Facts::default(),
        }))
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = match cli.command {
        Command::Check(args) => in_runtime(check(*args)),
        Command::Watch(args) => in_runtime(watch(*args)),
        Command::Demo(args) => in_runtime(demo(args)),
        Command::List => {
            print(&list());
            0
        }
        Command::Explain { code } => {
            print(code.page());
            0
        }
    };
    ExitCode::from(code)
}

fn in_runtime(work: impl Future<Output = Result<u8, UsageError>>) -> u8 {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())
        .and_then(|runtime| runtime.block_on(work).map_err(|e| e.to_string()));
    outcome.unwrap_or_else(|message| {
        let _ = writeln!(io::stderr(), "hubs-probe: {message}");
        EXIT_USAGE
    })
}

async fn check(args: CheckArgs) -> Result<u8, UsageError> {
    let cx = args.deployment.context()?;
    let sink = sink(args.output);
    let report = engine::run(cx, CHECKS, args.deployment.timeout, &sink, interrupted()).await;
    print(&render(&report, args.output));
    Ok(report.exit_code(args.fail_on))
}

async fn watch(args: DeploymentArgs) -> Result<u8, UsageError> {
    let not_ours =
        [("standard input", io::stdin().is_terminal()), ("standard output", io::stdout().is_terminal())];
    if let Some((name, _)) = not_ours.into_iter().find(|(_, is_terminal)| !is_terminal) {
        return Err(UsageError::NoTerminal(name));
    }
    let Style { colour, ascii, .. } = style();
    let theme = hubs_tui::Theme { colour, ascii };
    let watched = watch::watch(args.context()?, args.timeout, theme).await.map_err(UsageError::Terminal)?;
    print(&report::human::render(&watched.report, style()));
    Ok(watched.exit_code())
}

async fn demo(args: DemoArgs) -> Result<u8, UsageError> {
    let stop = interrupted().shared();
    // Signals are ours from the first poll on; one that came before would leave the deployment's files behind.
    let _ = stop.clone().now_or_never();
    let played = match args.serve {
        Some(turn) => serve(turn, stop).await,
        None => play(args.output, stop).await,
    };
    Ok(played.unwrap_or_else(|e| {
        let _ = writeln!(io::stderr(), "hubs-probe: the demo cannot start: {e}");
        EXIT_BROKEN
    }))
}

async fn play(output: Output, stop: impl Future<Output = End> + Clone) -> Result<u8, DeploymentError> {
    let style = style();
    let play = demo::play(&sink(output), stop, |scene| {
        if output == Output::Human {
            print(&narrative::scene(&scene, style));
        }
    })
    .await?;
    print(&match output {
        Output::Human => narrative::end(&play, style),
        Output::Json => report::json::render_all(play.reports()),
    });
    Ok(play.exit_code())
}

async fn serve(turn: Turn, stop: impl Future<Output = End>) -> Result<u8, DeploymentError> {
    let deployment = Deployment::start(turn).await?;
    let program = std::env::args().next().unwrap_or_else(|| "hubs-probe".to_owned());
    print(&narrative::serving(&deployment, turn, &program));
    stop.await;
    Ok(EXIT_GOOD)
}

fn sink(output: Output) -> Sink {
    match output {
        Output::Human if io::stderr().is_terminal() => progress(),
        Output::Human | Output::Json => Sink::none(),
    }
}

fn render(report: &Report, output: Output) -> String {
    match output {
        Output::Human => report::human::render(report, style()),
        Output::Json => report::json::render(report),
    }
}

/// Completes when the person or the system wants the program to end.
pub(crate) async fn interrupted() -> End {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => End::Interrupted,
        _ = terminated => End::Terminated,
    }
}

/// A line on the terminal that says what is still running, and goes away by itself.
fn progress() -> Sink {
    let state = Mutex::new((0_usize, 0_usize, Vec::<&'static str>::new()));
    Sink::new(move |event| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (total, done, running) = &mut *state;
        match event {
            Event::RunStarted { checks, .. } => *total = checks.len(),
            Event::CheckStarted { check } => running.push(check),
            Event::CheckFinished { check, .. } => {
                *done += 1;
                running.retain(|id| *id != check);
            }
            Event::RunFinished(_) => running.clear(),
        }
        let text = match running.as_slice() {
            [] => String::new(),
            running => format!("  {done} of {total} checks done, waiting for {}", running.join(", ")),
        };
        let text: String = text.chars().take(columns() - 2).collect();
        let _ = write!(io::stderr(), "\r\x1b[2K{text}");
    })
}

/// How many columns the terminal has, as far as lines may be long; a file has as many.
fn columns() -> usize {
    let terminal = io::stdout().is_terminal().then(|| crossterm::terminal::size().ok()).flatten();
    terminal.map_or(Style::COLUMNS, |(columns, _)| usize::from(columns).clamp(40, Style::COLUMNS))
}

/// Decided once, from the terminal and the environment: <https://no-color.org>.
pub(crate) fn style() -> Style {
    let set = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
    let locale =
        set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default().to_uppercase();
    Style {
        colour: io::stdout().is_terminal()
            && set("NO_COLOR").is_none()
            && set("TERM").is_some_and(|t| t != "dumb"),
        ascii: !(locale.contains("UTF-8") || locale.contains("UTF8")),
        columns: columns(),
    }
}

/// Prints to standard output. Somebody who closes it, such as `head`, has read enough.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn list() -> String {
    let mut text = String::from("Checks\n");
    for check in CHECKS {
        let _ = writeln!(text, "  {:<18} {}", check.id, check.question);
    }
    text += "\nCodes (hubs-probe explain CODE)\n";
    for code in Code::ALL {
        let _ = writeln!(text, "  {code}  {}", code.title());
    }
    text
}

fn parse_duration(text: &str) -> Result<Duration, String> {
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
    use clap::CommandFactory;

    use super::*;
    use crate::{
        net::Trust,
        target::{DIALOG, HTTPS, Name, TURN},
    };

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[tokio::test]
    async fn what_the_demo_says_to_type_leads_to_the_demo() {
        let deployment = Deployment::start(Turn::Relay).await.unwrap();
        for verb in ["check", "watch"] {
            let typed = deployment.command("hubs-probe", verb).join(" ");
            let cli = Cli::try_parse_from(typed.split_whitespace()).unwrap();
            let arguments = match cli.command {
                Command::Check(check) => check.deployment,
                Command::Watch(watch) => *watch,
                other => panic!("{other:?}"),
            };
            let cx = arguments.context().unwrap();
            assert_eq!((&cx.target, &cx.room), (deployment.target(), &deployment.context().unwrap().room));
            let stream = cx.target.host(Name::Stream);
            cx.net.lookup(&stream).await.unwrap();
            for port in [HTTPS, DIALOG, TURN] {
                cx.net.tls(&stream, port, Trust::Browser).await.unwrap();
            }
        }
    }

    #[test]
    fn a_room_of_another_deployment_is_a_mistake() {
        let context = |room| {
            let cli =
                Cli::try_parse_from(["hubs-probe", "watch", "hubs.example.org", "--room", room]).unwrap();
            let Command::Watch(args) = cli.command else { panic!() };
            args.context()
        };
        let refused = context("https://rooms.example.com/k7Xq2Zd/my-room").unwrap_err();
        assert!(refused.to_string().contains("a room of rooms.example.com"), "{refused}");
        for room in ["https://Hubs.example.org/k7Xq2Zd/my-room", "k7Xq2Zd/my-room"] {
            assert_eq!(context(room).unwrap().room.as_ref().unwrap().sid(), "k7Xq2Zd");
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
