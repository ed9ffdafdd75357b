//! A clock that a test puts forward, for the programs that go by it (libfaketime).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::need;

/// The clock of some programs.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// One that is right until somebody writes to its file in `folder` by how many seconds it is ahead: `+600`.
    pub fn new(folder: &Path) -> Self {
        let file = folder.join("clock");
        fs::write(&file, "+0").unwrap();
        Self { file }
    }

    /// Lets a program go by a clock that is ahead of the right one, or behind it: `+10m`, `-400d`.
    pub fn shift(command: &mut Command, by: &str) {
        command.env("LD_PRELOAD", need::faketime_library().unwrap());
        command.env("FAKETIME", by).env("DONT_FAKE_MONOTONIC", "1");
    }

    /// Its file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Lets a program go by it.
    pub fn give_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", need::faketime_library().unwrap());
        command.env("FAKETIME_TIMESTAMP_FILE", &self.file).env("FAKETIME_NO_CACHE", "1");
    }
}
