//! Notices that files have changed, by looking at what is in them: a mounted secret changes by a swap of symbolic links
//! high above the file, which no other way of watching sees everywhere.

use std::fs;
use std::path::PathBuf;

use ring::digest::{SHA256, digest};

/// Files, and what was in them when they were last looked at.
#[derive(Debug)]
pub(crate) struct Watch {
    files: Vec<(PathBuf, Content)>,
}

/// The digest of a file, so that no key stays in memory; nothing for a file that cannot be read.
type Content = Option<[u8; 32]>;

impl Watch {
    /// Watches these files from now on.
    pub(crate) fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut watch = Self { files: files.into_iter().map(|file| (file, None)).collect() };
        watch.has_changed();
        watch
    }

    /// Watches these files instead. One that is new among them counts as changed.
    pub(crate) fn set(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let known = std::mem::take(&mut self.files);
        let content = |file| known.iter().find(|it| it.0 == file).cloned().unwrap_or((file, None));
        self.files = files.into_iter().map(content).collect();
    }

    /// Whether any has changed since the last look.
    pub(crate) fn has_changed(&mut self) -> bool {
        let mut has_changed = false;
        for (file, known) in &mut self.files {
            let content = content(file);
            has_changed |= *known != content;
            *known = content;
        }
        has_changed
    }
}

fn content(file: &PathBuf) -> Content {
    let bytes = zeroize::Zeroizing::new(fs::read(file).ok()?);
    digest(&SHA256, &bytes).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_is_noticed_once_and_only_a_change_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let mut watch = Watch::new([file.clone()]);
        assert!(!watch.has_changed());
        for content in ["one", "two"] {
            fs::write(&file, content).unwrap();
            assert!(watch.has_changed());
            assert!(!watch.has_changed());
            fs::write(&file, content).unwrap();
            assert!(!watch.has_changed(), "the same again is no change");
        }
        fs::remove_file(&file).unwrap();
        assert!(watch.has_changed());
    }

    #[test]
    fn a_file_that_comes_under_watch_counts_as_changed() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
        fs::write(&old, "1").unwrap();
        fs::write(&new, "2").unwrap();
        let mut watch = Watch::new([old.clone()]);
        watch.set([old.clone()]);
        assert!(!watch.has_changed());
        watch.set([old, new]);
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
    }

    #[test]
    fn a_swap_of_links_above_the_file_is_noticed() {
        // As Kubernetes mounts a secret: file → ..data/file, ..data → ..2026_11_24.
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, content) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tls.crt"), content).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/tls.crt", at("tls.crt")).unwrap();
        let mut watch = Watch::new([at("tls.crt")]);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(watch.has_changed());
    }
}
