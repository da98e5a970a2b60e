//! A new file for its owner only, which is whole or not there.

use std::fs::{File, remove_file};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::libc;

use crate::sys::directory::is_memory_only;
use crate::sys::signals::Held;
use crate::text::escape::Escaped;

/// A file of mode 0600 that was not there before. It is removed when this is dropped before [`NewFile::keep`], and while
/// there is one, no signal ends the process: a part of the secrets would be left in a file that looks whole.
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
    held: Option<Held>,
}

impl NewFile {
    /// Makes the file. A link is not followed.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let held = Held::new();
        let file = options.open(path).with_context(|| format!("cannot make {}", Escaped::from(path)))?;
        Ok(Self { path: path.to_owned(), file, held: Some(held) })
    }

    /// Writes all that it is to hold.
    pub(super) fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut file = &self.file;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.with_context(|| format!("cannot write {}", Escaped::from(self.path.as_path())))
    }

    /// Whether it is on a file system that is in memory only.
    pub(super) fn is_in_memory(&self) -> bool {
        is_memory_only(&self.file).unwrap_or(false)
    }

    /// Lets it stay.
    pub(super) fn keep(mut self) {
        if let Some(held) = self.held.take() {
            held.release();
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.held.is_some() {
            // The error that led here is the one to tell.
            _ = remove_file(&self.path);
        }
    }
}

/// Says that secrets are on a disk.
pub(super) fn warn_of_disk(path: &Path) {
    let shown = Escaped::from(path);
    tracing::warn!("{shown} is on a disk: the secrets stay there in plain text until it is removed");
}
