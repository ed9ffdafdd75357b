//! Which cluster is looked at. Without the feature there is none, and no option for it.

use clap::Args;

use super::usage::UsageError;
use crate::lint::Live;

/// The cluster that `kubectl` would ask.
#[cfg(feature = "kube")]
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Look through what the cluster has now, as `hubs-probe lint` does with a file, and compare its certificates with those that hosts show; it only gets and lists.
    #[arg(long)]
    kube: bool,
    /// The context of the kubeconfig that is meant, instead of the current one.
    #[arg(long, value_name = "NAME", requires = "kube")]
    context: Option<String>,
    /// The namespace in which Hubs is.
    #[arg(long, value_name = "NAME", requires = "kube", default_value = "hcce")]
    namespace: String,
}

/// The program was built without what asks clusters.
#[cfg(not(feature = "kube"))]
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {}

impl ClusterArgs {
    /// What the cluster has, if one was asked for.
    #[cfg(feature = "kube")]
    pub(super) fn fetch(&self) -> Result<Option<Live>, UsageError> {
        if !self.kube {
            // Beside a FILE, which excludes --kube, clap asks for nothing.
            return if self.context.is_some() { Err(UsageError::NoCluster) } else { Ok(None) };
        }
        let place =
            crate::cluster::Place { context: self.context.clone(), namespace: self.namespace.clone() };
        Ok(Some(crate::cluster::fetch(&place)?))
    }

    #[cfg(not(feature = "kube"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "with the feature it is otherwise")]
    pub(super) fn fetch(&self) -> Result<Option<Live>, UsageError> {
        Ok(None)
    }
}
