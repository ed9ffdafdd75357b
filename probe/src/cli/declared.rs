//! What declares Azure's rules: files, and Azure itself.

use std::{path::PathBuf, sync::Arc};

use super::{
    azure::{self, Cluster},
    files,
    usage::UsageError,
};
use crate::nsg::{self, Declared};

/// What Azure's rules say in all of these files, and in Azure itself; nothing without either.
pub(super) fn declared(
    paths: &[PathBuf],
    cluster: Option<&Cluster>,
) -> Result<Option<Arc<Declared>>, UsageError> {
    let mut sources = paths.iter().map(|path| files::text(path)).collect::<Result<Vec<_>, _>>()?;
    if let Some(cluster) = cluster {
        sources.extend(azure::fetch(cluster)?);
    }
    if sources.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(nsg::read(&sources)?)))
}
