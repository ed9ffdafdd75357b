//! `hubs-probe watch`: a deployment live, or a run that was written down.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use clap::{Arg, ArgMatches, Args, FromArgMatches, value_parser};

use super::{
    deployment::DeploymentArgs,
    files,
    terminal::{print, style},
    usage::UsageError,
};
use crate::{
    report::human::{self, Style},
    watch::{self, Recording},
};

const REPLAY: &str = "replay";

/// What is to be shown.
#[derive(Debug)]
pub(super) enum WatchArgs {
    /// A deployment.
    Live(Box<DeploymentArgs>),
    /// What `check --output jsonl` wrote to this file.
    Replay(PathBuf),
}

impl WatchArgs {
    #[cfg(test)]
    pub(super) fn into_deployment(self) -> Option<DeploymentArgs> {
        match self {
            Self::Live(deployment) => Some(*deployment),
            Self::Replay(_) => None,
        }
    }
}

// By hand, because the domain, which others need, is not needed here beside a file.
impl Args for WatchArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let replay = Arg::new(REPLAY)
            .long(REPLAY)
            .value_name("FILE.jsonl")
            .value_parser(value_parser!(PathBuf))
            .conflicts_with("domain")
            .help("Show a run that `hubs-probe check --output jsonl` wrote to this file, as it happened, instead of a deployment");
        DeploymentArgs::augment_args(command)
            .mut_arg("domain", |domain| domain.required(false).required_unless_present(REPLAY))
            .arg(replay)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for WatchArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.get_one::<PathBuf>(REPLAY) {
            Some(file) => Ok(Self::Replay(file.clone())),
            None => DeploymentArgs::from_arg_matches(matches).map(|args| Self::Live(Box::new(args))),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub(super) async fn watch(args: WatchArgs) -> Result<u8, UsageError> {
    let not_ours =
        [("standard input", io::stdin().is_terminal()), ("standard output", io::stdout().is_terminal())];
    let no_terminal = not_ours.into_iter().find(|(_, is_terminal)| !is_terminal);
    if let Some((name, _)) = no_terminal {
        return Err(UsageError::NoTerminal(name));
    }
    let Style { colour, ascii, .. } = style();
    let theme = hubs_tui::Theme { colour, ascii };
    match args {
        WatchArgs::Live(args) => {
            let watched = watch::watch(args.context()?, args.time_limit(), theme).await;
            let watched = watched.map_err(UsageError::Terminal)?;
            print(&human::render(&watched.report, style()));
            Ok(watched.exit_code())
        }
        WatchArgs::Replay(path) => {
            let text = files::text(&path)?.text;
            let recording = Recording::read(&text).map_err(|source| UsageError::Replay { path, source })?;
            watch::replay(recording, theme).await.map_err(UsageError::Terminal)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{super::Cli, *};

    fn parsed(words: &[&str]) -> Result<WatchArgs, clap::Error> {
        let cli = Cli::try_parse_from([&["hubs-probe", "watch"], words].concat())?;
        let super::super::Command::Watch(args) = cli.command else { panic!("{words:?}") };
        Ok(*args)
    }

    #[test]
    fn a_deployment_or_a_file_is_shown_and_not_both_or_none() {
        assert!(matches!(parsed(&["hubs.example.org"]), Ok(WatchArgs::Live(_))));
        assert!(matches!(parsed(&["--replay", "run.jsonl"]), Ok(WatchArgs::Replay(_))));
        assert!(parsed(&[]).is_err());
        assert!(parsed(&["hubs.example.org", "--replay", "run.jsonl"]).is_err());
    }
}
