//! Writes a recording: the files of every source that received something, for bug reports and tests.

use std::borrow::Cow;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::recording::Recording;
use crate::sys::signals::Held;
use crate::text::escape::Escaped;
use crate::text::help::Help;

/// Why a recording could not be written. Files that were written before the error are removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A file of the recording exists already, and is not overwritten.
    #[error("{} exists, and a recording never overwrites a file", Escaped::from(.0.as_path()))]
    Exists(PathBuf),
    /// The kernel reports an error.
    #[error("cannot write {}: {error}", Escaped::from(.path.as_path()))]
    Io {
        /// The file or directory that could not be written.
        path: PathBuf,
        /// The kernel's error.
        error: std::io::Error,
    },
}

impl Help for RecordError {
    fn help(&self) -> Option<Cow<'static, str>> {
        matches!(self, Self::Exists(_)).then_some("record to another directory".into())
    }
}

/// Whether a recording contains secrets or filler. This value decides who may read the recording.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Secrets {
    /// The recording contains the secrets themselves: only the owner of the files can read them.
    Kept,
    /// The recording contains filler from [`redact`](super::redact::redact): everybody can read the files.
    Redacted,
}

impl Secrets {
    fn directory_mode(self) -> u32 {
        match self {
            Self::Kept => 0o700,
            Self::Redacted => 0o755,
        }
    }

    fn file_mode(self) -> u32 {
        match self {
            Self::Kept => 0o600,
            Self::Redacted => 0o644,
        }
    }
}

/// Writes a recording to a directory, and creates the directory if it does not exist. Never overwrites existing files.
///
/// # Errors
/// [`RecordError`] says why the recording cannot be written.
pub fn write(directory: &Path, recording: &Recording, secrets: Secrets) -> Result<(), RecordError> {
    // Signals are blocked from here on: a signal that ended the process would leave an incomplete recording.
    let held = Held::new();
    let mut writer = Writer { secrets, files: Vec::new(), directories: Vec::new() };
    let result = writer.write(directory, recording);
    if result.is_err() {
        writer.undo();
    } else {
        held.release();
    }
    result
}

/// Writes files, and remembers which files and directories it has created.
struct Writer {
    secrets: Secrets,
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Writer {
    fn write(&mut self, directory: &Path, recording: &Recording) -> Result<(), RecordError> {
        self.make(directory)?;
        for (path, content) in recording.files() {
            let parents: Vec<&Path> =
                path.ancestors().skip(1).filter(|path| *path != Path::new("")).collect();
            for parent in parents.into_iter().rev() {
                self.make(&directory.join(parent))?;
            }
            self.file(directory.join(path), content.expose())?;
        }
        Ok(())
    }

    fn make(&mut self, directory: &Path) -> Result<(), RecordError> {
        match DirBuilder::new().mode(self.secrets.directory_mode()).create(directory) {
            Ok(()) => self.directories.push(directory.to_path_buf()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(directory, error)),
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, content: &[u8]) -> Result<(), RecordError> {
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(self.secrets.file_mode()).open(&path);
        let mut file = opened.map_err(|error| failed(&path, error))?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        let result = written.map_err(|error| failed(&path, error));
        self.files.push(path);
        result
    }

    fn undo(self) {
        for path in self.files {
            _ = std::fs::remove_file(path);
        }
        for path in self.directories.into_iter().rev() {
            _ = std::fs::remove_dir(path);
        }
    }
}

fn failed(path: &Path, error: std::io::Error) -> RecordError {
    match error.kind() {
        ErrorKind::AlreadyExists => RecordError::Exists(path.to_path_buf()),
        _ => RecordError::Io { path: path.to_path_buf(), error },
    }
}
