//! `hubs-probe lint`.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{deployment::UsageError, files, output::ReportArgs};
use crate::{
    checks::CHECKS,
    diagnose::Subject,
    lint::{self, Linted},
};

/// The options of `lint`.
#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// The manifest: the hcce.yaml that Hubs' generator made, or what `kubectl get -o yaml` prints; `-` is standard input.
    file: PathBuf,
    /// Write a copy to this file in which everything is mended that needs no decision.
    #[arg(long, value_name = "COPY")]
    fix: Option<PathBuf>,
    #[command(flatten)]
    told: ReportArgs,
}

/// Looks through the file, and reports.
pub(super) fn lint(args: &LintArgs) -> Result<u8, UsageError> {
    let source = files::text(&args.file)?;
    let linted = lint::lint(&source.name, &source.text);
    if let Some(path) = &args.fix {
        write_copy(path, &linted)?;
    }
    let row = CHECKS.iter().find(|check| check.id == "manifest.lint");
    let checks = row.map(|check| (check, linted.findings)).into_iter().collect();
    args.told.tell(Subject::Manifest, source.name, checks)
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
