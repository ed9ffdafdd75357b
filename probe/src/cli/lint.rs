//! `hubs-probe lint`.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{cluster::ClusterArgs, files, output::ReportArgs, usage::UsageError};
#[cfg(feature = "kube")]
use crate::net::ConnectTo;
use crate::{
    checks::{CHECKS, manifest},
    diagnose::Subject,
    finding::{Finding, printable},
    lint::{self, Fixed, Linted},
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
    if args.fix.as_deref() == Some(Path::new("-")) {
        return Err(UsageError::FixPrinted);
    }
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
        found.push(("manifest.served", manifest::compare(&args.net()?, &live, None).await));
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

/// Never over anything that is there, and not at all if it would be the same.
fn write_copy(path: &Path, linted: &Linted) -> Result<(), UsageError> {
    let fixed = linted.fixed();
    if !fixed.changed.is_empty() {
        // It has the secrets of the first one in it.
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.write(true).create_new(true).open(path);
        file.and_then(|mut file| file.write_all(fixed.text.as_bytes())).map_err(|source| {
            match source.kind() {
                io::ErrorKind::AlreadyExists => UsageError::FixExists(path.to_owned()),
                _ => UsageError::File { path: path.to_owned(), source },
            }
        })?;
    }
    let _ = io::stderr().write_all(account(&printable(&path.display().to_string()), &fixed).as_bytes());
    Ok(())
}

/// What was done, and what was not.
fn account(path: &str, fixed: &Fixed<'_>) -> String {
    let place = |finding: &Finding| {
        let line = finding.location.as_ref().and_then(|it| it.line).unwrap_or_default();
        format!("  line {line}: {} {}", finding.code, finding.summary)
    };
    let done = match fixed.changed.len() {
        0 => "not written, since there is nothing to change in it".to_owned(),
        1 => "written, with 1 change".to_owned(),
        many => format!("written, with {many} changes"),
    };
    let mut lines = vec![format!("hubs-probe: {path}: {done}")];
    lines.extend(fixed.changed.iter().map(|changed| place(changed)));
    if !fixed.left.is_empty() {
        lines.push("hubs-probe: left as it is, for you to change".to_owned());
    }
    lines.extend(fixed.left.iter().map(|(left, why)| format!("{}: {why}", place(left))));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGUMENT: &str = "        - --default-ssl-certificate=hcce/cert-hcce\n";

    fn accounted(from: &str, to: &str) -> String {
        let text = include_str!("../lint/hcce.yaml");
        assert!(text.contains(from));
        account("copy.yaml", &lint::lint("hcce.yaml", &text.replacen(from, to, 1)).fixed())
    }

    #[test]
    fn what_was_changed_is_said_and_what_could_not_be() {
        let both = accounted("", "");
        assert!(both.starts_with("hubs-probe: copy.yaml: written, with 2 changes\n  line "), "{both}");
        assert!(both.contains("HP0802 ") && both.contains("HP0807 ") && !both.contains("left as"), "{both}");
        let one = accounted(ARGUMENT, "        - >-\n          --default-ssl-certificate=hcce/cert-hcce\n");
        assert!(one.contains("with 1 change\n"), "{one}");
        let (_, left) = one.split_once("hubs-probe: left as it is").unwrap();
        assert!(left.contains("HP0807 ") && left.ends_with("a line of its own\n"), "{one}");
    }

    #[test]
    fn a_copy_that_would_be_the_same_is_not_written_and_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.yaml");
        write_copy(&path, &lint::lint("x", "kind: Service\n")).unwrap();
        assert!(!path.exists());
        let said = account("copy.yaml", &lint::lint("x", "kind: Service\n").fixed());
        assert_eq!(said, "hubs-probe: copy.yaml: not written, since there is nothing to change in it\n");
    }
}
