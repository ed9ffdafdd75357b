//! The command line: words in, an exit status out. What a check is or means is nobody's business here.

mod azure;
mod check;
mod cluster;
mod declared;
mod deployment;
mod files;
mod lint;
mod nsg;
mod output;
mod progress;
mod reference;
mod sweep;
mod terminal;
mod usage;
mod watch;

use std::{
    fmt::Display,
    future::Future,
    io::{self, Write},
    process::{self, ExitCode},
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use futures_util::FutureExt;

use crate::{
    checks::CHECKS,
    codes::Code,
    demo::{self, Deployment, DeploymentError, Turn, narrative},
    event::Sink,
    finding::printable,
    report::{self, EXIT_BROKEN, EXIT_GOOD, EXIT_USAGE, End},
};
use check::{CheckArgs, check};
use lint::LintArgs;
use nsg::NsgArgs;
use progress::{Scroll, progress};
use reference::ManualOf;
use sweep::{SweepArgs, sweep};
use terminal::{can_show_progress, interrupted, print, style};
use usage::UsageError;
use watch::{WatchArgs, watch};

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
    ///
    /// Or, with --replay, a run that `hubs-probe check --output jsonl` wrote down, as it happened.
    Watch(Box<WatchArgs>),
    /// Evaluate Azure's rules over whole ranges of ports: do they let in what Hubs needs?
    ///
    /// Reads what `az network nsg list -g NODE_GROUP -o json` prints, and besides any mix of: az network nic list-effective-nsg, az
    /// vmss nic list, az network vnet list or subnet show, az network lb list, az network public-ip list, az network nat gateway list, az
    /// aks show, ARM templates, terraform show -json, kubectl get service lb -o json. Of files, contacts nobody.
    Nsg(Box<NsgArgs>),
    /// Look through a manifest of Hubs for what cannot work, and say where it stands. Of a file, contacts nobody.
    Lint(Box<LintArgs>),
    /// Watch the probe find out what is broken, and the relay mend it, on a deployment inside this process.
    ///
    /// Needs no network and no rights, and takes some seconds. Exit status: 0 if all went as announced.
    Demo(DemoArgs),
    /// Find out which ports of dialog's node packets from here reach: each of them with hubs-relay's agent, or a sample.
    ///
    /// With an agent in the cluster (see deploy/README.md) all ports are asked in some seconds, those in use included. Without one,
    /// what is said is an estimate.
    Sweep(Box<SweepArgs>),
    /// Show every check: what it asks, the codes that it reports, whom it contacts.
    List,
    /// Explain a code: what it means, how it is found out, what to do.
    Explain {
        /// The code, such as HP0204. Without one, all codes are listed.
        code: Option<Code>,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, for `man -l -`.
    Man {
        /// The command that it is to be about instead of the whole program.
        command: Option<ManualOf>,
    },
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// The form of the reports: the story for people, or a JSON array of all.
    #[arg(long, value_enum, default_value_t)]
    output: DemoOutput,
    /// Check nothing; keep the deployment running with this TURN server, and say how to look at it.
    #[arg(long, value_enum, value_name = "TURN", num_args = 0..=1, default_missing_value = "relay", conflicts_with = "output")]
    serve: Option<Turn>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum DemoOutput {
    /// For people.
    #[default]
    Human,
    /// A JSON array of all reports.
    Json,
}

/// The command line as a whole.
fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| refuse(&error));
    let code = match cli.command {
        Command::Check(args) => in_runtime(check(*args)),
        Command::Watch(args) => in_runtime(watch(*args)),
        Command::Lint(args) => in_runtime(lint::lint(*args)),
        Command::Nsg(args) => said(nsg::nsg(&args)),
        Command::Demo(args) => in_runtime(demo(args)),
        Command::Sweep(args) => in_runtime(sweep(*args)),
        Command::List => tell(&reference::list(CHECKS)),
        Command::Explain { code: Some(code) } => tell(code.page()),
        Command::Explain { code: None } => tell(&reference::codes()),
        Command::Completions { shell } => tell(&reference::completions(command(), shell)),
        Command::Man { command: of } => tell(&reference::manual(command(), of)),
    };
    ExitCode::from(code)
}

/// Ends the program: what was typed is no command, or asks for help.
fn refuse(error: &clap::Error) -> ! {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) {
        error.exit();
    }
    let _ = writeln!(io::stderr(), "{}", lines(error));
    process::exit(error.exit_code())
}

/// The message with its lines. It may quote what was typed, or what a file is called or says.
fn lines(message: &impl Display) -> String {
    message.to_string().lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn tell(text: &str) -> u8 {
    print(text);
    EXIT_GOOD
}

fn in_runtime(work: impl Future<Output = Result<u8, UsageError>>) -> u8 {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())
        .and_then(|runtime| runtime.block_on(work).map_err(|e| e.to_string()));
    said(outcome)
}

/// The exit status; of a mistake, one is told of it.
fn said(outcome: Result<u8, impl Display>) -> u8 {
    outcome.unwrap_or_else(|message| {
        let _ = writeln!(io::stderr(), "hubs-probe: {}", lines(&message));
        EXIT_USAGE
    })
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

async fn play(output: DemoOutput, stop: impl Future<Output = End> + Clone) -> Result<u8, DeploymentError> {
    let style = style();
    let sink = match output {
        DemoOutput::Human if can_show_progress() => progress(Scroll::Nothing),
        DemoOutput::Human | DemoOutput::Json => Sink::none(),
    };
    let play = demo::play(&sink, stop, |scene| {
        if output == DemoOutput::Human {
            print(&narrative::scene(&scene, style));
        }
    })
    .await?;
    print(&match output {
        DemoOutput::Human => narrative::end(&play, style),
        DemoOutput::Json => report::json::render_all(play.reports()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::Trust,
        target::{DIALOG, HTTPS, Name, TURN},
    };

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_was_typed_is_quoted_without_anything_that_a_terminal_obeys() {
        for typed in ["--no\x1b]0;x\x07\x1b[2J\x08", "a\u{202e}b\rc"] {
            let error = Cli::try_parse_from(["hubs-probe", "check", "hubs.example.org", typed]).unwrap_err();
            let said = lines(&error);
            assert!(said.contains("unexpected argument"), "{said}");
            assert!(said.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_a_mistake_whoever_is_to_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        for path in [folder.path(), &gone] {
            let path = path.to_str().unwrap();
            let nobody = "--resolver=127.0.0.1:1";
            for words in [
                &["nsg", path][..],
                &["lint", path],
                &["check", "hubs.example.org", nobody, "--nsg", path],
                &["check", "hubs.example.org", nobody, "--manifest", path],
                &["check", "hubs.example.org", nobody, "--ca-file", path],
                &["sweep", "hubs.example.org", nobody, "--ca-file", path],
            ] {
                let cli = Cli::try_parse_from([&["hubs-probe"], words].concat()).unwrap();
                let outcome = match cli.command {
                    Command::Nsg(args) => nsg::nsg(&args),
                    Command::Lint(args) => lint::lint(*args).await,
                    Command::Check(args) => check(*args).await,
                    Command::Sweep(args) => sweep(*args).await,
                    other => panic!("{other:?}"),
                };
                let refused = outcome.unwrap_err().to_string();
                assert!(refused.contains(path), "{words:?}: {refused}");
            }
        }
    }

    #[test]
    fn a_sweep_takes_no_options_that_have_no_effect_on_it() {
        for option in ["--manifest=x", "--nsg=x", "--relay-admin=http://127.0.0.1:1", "--long", "--no-audio"]
        {
            let words = |verb| ["hubs-probe", verb, "hubs.example.org", option];
            assert!(Cli::try_parse_from(words("check")).is_ok(), "{option}");
            assert!(Cli::try_parse_from(words("sweep")).is_err(), "{option}");
        }
        let sweep = ["hubs-probe", "sweep", "hubs.example.org"];
        for option in ["--ports=40000", "--expect=40000", "--to=192.0.2.1", "--tcp"] {
            assert!(Cli::try_parse_from([&sweep[..], &[option]].concat()).is_err(), "{option}");
            let with_agent = [&sweep[..], &[option, "--agent=http://192.0.2.1:9642"]].concat();
            assert!(Cli::try_parse_from(with_agent).is_ok(), "{option}");
        }
    }

    #[tokio::test]
    async fn what_the_demo_says_to_type_leads_to_the_demo() {
        let deployment = Deployment::start(Turn::Relay).await.unwrap();
        for verb in ["check", "watch"] {
            let typed = deployment.command("hubs-probe", verb).join(" ");
            let cli = Cli::try_parse_from(typed.split_whitespace()).unwrap();
            let arguments = match cli.command {
                Command::Check(check) => check.deployment,
                Command::Watch(watch) => watch.into_deployment().unwrap(),
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
            args.into_deployment().unwrap().context()
        };
        let refused = context("https://rooms.example.com/k7Xq2Zd/my-room").unwrap_err();
        assert!(refused.to_string().contains("a room of rooms.example.com"), "{refused}");
        for room in ["https://Hubs.example.org/k7Xq2Zd/my-room", "k7Xq2Zd/my-room"] {
            assert_eq!(context(room).unwrap().room.as_ref().unwrap().sid(), "k7Xq2Zd");
        }
    }
}
