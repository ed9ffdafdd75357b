//! `hubs-probe lint`.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{cluster::ClusterArgs, deployment::UsageError, files, output::ReportArgs};
#[cfg(feature = "kube")]
use crate::net::ConnectTo;
use crate::{
    checks::{CHECKS, manifest},
    diagnose::Subject,
    lint::{self, Linted},
    net::{Net, NetOptions},
};

/// The options of `lint`.
#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// The manifest: the hcce.yaml that Hubs' generator made, or what `kubectl get -o yaml` prints; `-` is standard input.
    #[cfg_attr(feature = "kube", arg(required_unless_present = "kube", conflicts_with = "kube"))]
    #[cfg_attr(not(feature = "kube"), arg(required = true))]
    file: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// For HOST:PORT connect to ADDRESS:PORT instead, when the cluster's certificates are compared; can be given several times.
    #[cfg(feature = "kube")]
    #[arg(long, value_name = "HOST:PORT:ADDRESS:PORT", requires = "kube")]
    connect_to: Vec<ConnectTo>,
    /// Write a copy to this file in which everything is mended that needs no decision.
    #[arg(long, value_name = "COPY", requires = "file")]
    fix: Option<PathBuf>,
    #[command(flatten)]
    told: ReportArgs,
}

/// Looks through the file or the cluster, and reports.
pub(super) async fn lint(args: LintArgs) -> Result<u8, UsageError> {
    // Before anything is written.
    args.told.destination()?;
    let mut found = Vec::new();
    let mut name = String::new();
    if let Some(file) = &args.file {
        let source = files::text(file)?;
        let linted = lint::lint(&source.name, &source.text);
        if let Some(path) = &args.fix {
            write_copy(path, &linted)?;
        }
        found.push(("manifest.lint", linted.findings));
        name = source.name;
    }
    if let Some(live) = args.cluster.fetch()? {
        found.push(("manifest.lint", lint::lint_live(&live)));
        found.push(("manifest.served", manifest::compare(&args.net()?, &live).await));
        name.clone_from(&live.name);
    }
    let row = |id| CHECKS.iter().find(|check| check.id == id);
    let checks = found.into_iter().filter_map(|(id, findings)| Some((row(id)?, findings))).collect();
    args.told.tell(Subject::Manifest, name, checks)
}

impl LintArgs {
    #[cfg_attr(
        not(feature = "kube"),
        expect(clippy::unused_self, reason = "with the feature it is otherwise")
    )]
    fn net(&self) -> Result<Net, UsageError> {
        #[cfg(feature = "kube")]
        let connect_to = self.connect_to.clone();
        #[cfg(not(feature = "kube"))]
        let connect_to = Vec::new();
        Ok(Net::new(&NetOptions { connect_to, ..NetOptions::default() })?)
    }
}

/// Never over anything that is there.
fn write_copy(path: &Path, linted: &Linted) -> Result<(), UsageError> {
    let (text, edits) = linted.fixed();
    // It has the secrets of the first one in it.
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => UsageError::FixExists(path.to_owned()),
        _ => UsageError::File { path: path.to_owned(), source },
    })?;
    let _ = writeln!(io::stderr(), "hubs-probe: {}: written, with {edits} changes", path.display());
    Ok(())
}
