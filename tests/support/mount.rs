//! A folder as Kubernetes mounts a secret: each file a link through `..data`, which is swapped as a whole.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Such a folder.
#[derive(Debug)]
pub struct Mount {
    folder: PathBuf,
}

impl Mount {
    /// One in this folder, with these files and what is in them at first.
    pub fn new(folder: &Path, files: &[(&str, &str)]) -> Self {
        fs::create_dir(folder).unwrap();
        let mount = Self { folder: folder.to_owned() };
        mount.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mount.at(name)).unwrap();
        }
        mount
    }

    /// A file of it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts all of these in the place of what was there, at one moment.
    pub fn swap(&self, files: &[(&str, &str)]) {
        let old = fs::read_link(self.at("..data")).ok();
        let number = old.as_ref().map_or(0, |old| version(old) + 1);
        let new = format!("..{number}");
        fs::create_dir(self.at(&new)).unwrap();
        for (name, content) in files {
            fs::write(self.at(&new).join(name), content).unwrap();
        }
        symlink(&new, self.at("..data_tmp")).unwrap();
        fs::rename(self.at("..data_tmp"), self.at("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old)).unwrap();
        }
    }
}

fn version(folder: &Path) -> u32 {
    folder.to_str().unwrap().trim_start_matches('.').parse().unwrap()
}
