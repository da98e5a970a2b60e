//! Writes a recording: the two files of a source, for bug reports and tests.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::guest::source::dmi::{ENTRY_POINT, TABLE};
use crate::sys::signals::Held;
use crate::text::escape::Escaped;

/// Why a recording could not be written. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There is a file already.
    #[error("{} exists and is never overwritten: give another folder", Escaped::from(.0.as_path()))]
    Exists(PathBuf),
    /// The kernel refuses something.
    #[error("cannot write {}: {error}", Escaped::from(.path.as_path()))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel says.
        error: std::io::Error,
    },
}

/// What a recording has in place of secrets, which decides who may read it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Secrets {
    /// The secrets themselves: only the owner of the files can read them.
    Kept,
    /// Filler, as [`redact`](super::redact::redact) leaves it: everybody can read the files.
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

/// Writes `smbios_entry_point` and `DMI` into a directory, and makes the directory if it does not exist. Existing files
/// are never overwritten.
///
/// # Errors
/// [`RecordError`] says what is in the way.
pub fn write(folder: &Path, entry_point: &[u8], data: &[u8], secrets: Secrets) -> Result<(), RecordError> {
    let failed = |path: &Path, error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => RecordError::Exists(path.to_path_buf()),
        _ => RecordError::Io { path: path.to_path_buf(), error },
    };
    // Ended in between, it would leave a part of a recording that nobody asked to keep.
    let held = Held::new();
    let made = match DirBuilder::new().mode(secrets.directory_mode()).create(folder) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed(folder, error)),
    };
    let mut written: Vec<PathBuf> = Vec::new();
    let mut write = |name, content: &[u8]| {
        let path = folder.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(secrets.file_mode())
            .open(&path)
            .map_err(|error| failed(&path, error))?;
        written.push(path.clone());
        file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| failed(&path, error))
    };
    let result = write(ENTRY_POINT, entry_point).and_then(|()| write(TABLE, data));
    if result.is_err() {
        for path in written {
            _ = std::fs::remove_file(path);
        }
        if made {
            _ = std::fs::remove_dir(folder);
        }
    } else {
        held.release();
    }
    result
}
