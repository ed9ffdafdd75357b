//! The manifest that the deployment was made from, looked through for what cannot work.

use crate::{
    check::{Context, Outcome, Stop},
    finding::{Finding, Status},
    lint,
};

/// What is wrong with it. Beside what packets show, what a file says is no more than a warning: the cluster may have another one.
pub(crate) fn lint(cx: &Context) -> Outcome {
    let reason = "no manifest was given: --manifest hcce.yaml";
    let source = cx.options.manifest.as_deref().ok_or_else(|| Stop::Skip(reason.to_owned()))?;
    let found = lint::lint(&source.name, &source.text).findings.into_iter();
    let softened = |finding: Finding| {
        let status = if finding.status == Status::Fail { Status::Warn } else { finding.status };
        Finding { status, ..finding }
    };
    Ok(found.map(softened).collect())
}
