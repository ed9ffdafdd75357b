//! What is wrong with a command line, or with a file that it names.

use std::{io, path::PathBuf};

use super::azure::AzureError;
use crate::{
    baseline::BaselineError, choice::ChoiceError, net::NetError, nsg::ReadError, target::Target,
    watch::ReplayError,
};

/// Why the command line can't be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("--ca-file {}: {source}", path.display())]
    CaFile { path: PathBuf, source: io::Error },
    #[error("--room is a room of {room}, and {target} is to be checked: give a room of {target}")]
    OtherRoom { room: String, target: Target },
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("--report {}: it is there already; --overwrite writes over it", .0.display())]
    ReportExists(PathBuf),
    #[error("--report {}: its name asks for no form of report; give one with --output", .0.display())]
    NoFormat(PathBuf),
    #[error("--report {}: {source}", path.display())]
    Report { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("--baseline {}: {source}", path.display())]
    Baseline { path: PathBuf, source: BaselineError },
    #[error("--replay {}: {source}", path.display())]
    Replay { path: PathBuf, source: ReplayError },
    #[error("--fix {}: it is there already, and is not written over", .0.display())]
    FixExists(PathBuf),
    #[error(
        "--fix -: the copy has the manifest's secrets in it, and standard output the report: name a file"
    )]
    FixPrinted,
    #[error(
        "--expect {expected}: none of these ports is among those of --ports, {asked}, so none would be asked"
    )]
    ExpectApart { expected: String, asked: String },
    #[error(transparent)]
    Azure(#[from] AzureError),
    #[cfg(feature = "kube")]
    #[error(
        "--context says which cluster is meant, and nothing says to look at one: add --kube in the place of a file"
    )]
    NoCluster,
    #[cfg(feature = "kube")]
    #[error(transparent)]
    Cluster(#[from] crate::cluster::ClusterError),
    #[error(transparent)]
    Rules(#[from] ReadError),
    #[error("--token, or HUBS_SWEEP_TOKEN: {0}")]
    GivenToken(String),
    #[error("--token-file {}: {reason}", path.display())]
    Token { path: PathBuf, reason: String },
    #[error(
        "--agent needs the token that the agent has: give it in the environment's HUBS_SWEEP_TOKEN, or a file with it as --token-file"
    )]
    NoToken,
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    #[error(
        "watch draws on a terminal, and {0} is none: run `hubs-probe check` instead, with --output json for a program"
    )]
    NoTerminal(&'static str),
    #[error("the terminal cannot be used ({0}): run `hubs-probe check` instead")]
    Terminal(#[source] io::Error),
}
