//! A new file that only its owner can read. The file is complete, or it does not exist.

use std::fs::{File, remove_file};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::libc;

use crate::sys::directory::is_memory_only;
use crate::sys::signals::Held;
use crate::text::escape::Escaped;

/// A new file of mode 0600. Dropping this value before [`NewFile::keep`] removes the file. While this value exists,
/// signals cannot end the process: otherwise a file could remain that contains only a part of the secrets, but looks
/// complete.
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
    held: Option<Held>,
}

impl NewFile {
    /// Creates the file. Does not follow a symbolic link.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let held = Held::new();
        let file = options.open(path).with_context(|| format!("cannot create {}", Escaped::from(path)))?;
        Ok(Self { path: path.to_owned(), file, held: Some(held) })
    }

    /// Writes the file's whole content.
    pub(super) fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut file = &self.file;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.with_context(|| format!("cannot write {}", Escaped::from(self.path.as_path())))
    }

    /// Whether the file is on a file system that is only in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        is_memory_only(&self.file).unwrap_or(false)
    }

    /// Keeps the file: dropping this value no longer removes it.
    pub(super) fn keep(mut self) {
        if let Some(held) = self.held.take() {
            held.release();
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.held.is_some() {
            // The program reports the error that came first, and ignores an error of this removal.
            _ = remove_file(&self.path);
        }
    }
}

/// Logs a warning that the secrets in this file are on a disk.
pub(super) fn warn_of_disk(path: &Path) {
    let shown = Escaped::from(path);
    tracing::warn!("{shown} is on a disk: the secrets stay there in plain text until the file is removed");
}
