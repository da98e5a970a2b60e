//! Publishes a directory of files with secrets atomically.
//!
//! The files are written to a staging directory next to the destination. Only the owner of the staging directory can
//! enter it. One rename replaces the old directory with the staging directory. If the process is killed at any point,
//! the destination is either the complete old directory or the complete new one. If a killed process has left a staging
//! directory, the next run of this program for the same parent directory removes it.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::slots::Slots;
use crate::format::credential::Secret;
use crate::sys::directory::{Directory, is_memory_only};
use crate::sys::guarded::{self, Unguarded};
use crate::sys::signals::Held;
use crate::sys::{Errno, io_errno, staging};
use crate::text::escape::{Escaped, ShownPath};
use crate::text::help::Help;

/// Start of a staging directory's name.
const STAGING: &str = ".smbios-creds-host-";

/// Maximum number of names to try for a staging directory.
const ATTEMPTS: u32 = 1000;

/// Mode of a file: only its owner can read the file, and no user can write to it.
const FILE_MODE: u32 = 0o400;

/// Mode of a new directory.
const DIRECTORY_MODE: u32 = 0o700;

/// The kind of file system on which the published files are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Storage {
    /// A tmpfs or a ramfs, which are in memory only.
    Memory,
    /// Any other file system.
    Disk,
}

/// Why files could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A system call failed.
    #[error("cannot {action} {path}: {}", .error.desc())]
    System {
        /// The action that failed.
        action: &'static str,
        /// The path at which the directory should appear.
        path: ShownPath,
        /// The kernel's error.
        error: Errno,
    },
    /// The path does not end in a directory name.
    #[error("{0} does not end in a name")]
    NoName(ShownPath),
    /// The path exists, but is not a directory.
    #[error("{0} is not a directory (a link to one is not followed)")]
    NotADirectory(ShownPath),
    /// Another user owns the directory, or can change the files in it.
    #[error("{0}: another user owns it or can change its contents")]
    NotOurs(ShownPath),
    /// The directory contains a file that this program did not write, and that would be lost.
    #[error("{directory} contains '{}', which this program did not write", Escaped(.other))]
    HoldsOther {
        /// The directory that contains the file.
        directory: ShownPath,
        /// Name of the file that would be lost.
        other: Vec<u8>,
    },
    /// The path is a mount point, which cannot be replaced.
    #[error("{0} is a mount point, which cannot be replaced")]
    MountPoint(ShownPath),
    /// The file system cannot exchange two directories.
    #[error("{0}: its file system cannot replace a directory in one step")]
    NoExchange(ShownPath),
    /// Another process created a directory with this name while the files were written.
    #[error("another program created {0} in the meantime, and it is not replaced")]
    Appeared(ShownPath),
}

impl Help for PublishError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::NoName(_) => "use a path that ends in a name",
            Self::NotADirectory(_) => "use another path",
            Self::NotOurs(_) => "use a directory of your own",
            Self::HoldsOther { .. } => "use a new directory, or an empty one",
            Self::MountPoint(_) => "use a directory in it",
            Self::NoExchange(_) => "remove the directory, or use a tmpfs",
            Self::Appeared(_) => "try again",
            Self::System { .. } => return None,
        }))
    }
}

/// Writes each structure to its own file in the directory `target`. The new files replace all files that the directory
/// contained.
///
/// An existing directory must not contain files of other programs. The existing directory keeps its mode and its group.
/// A new directory has mode 0700. Returns the kind of file system on which the files are.
///
/// # Errors
/// [`PublishError`] says why the files could not be published. After an error, either the directory is unchanged, or it
/// contains the new files, and the old files remain in a staging directory next to it. The next run of this program
/// removes the old files.
pub fn publish(target: &Path, slots: &Slots) -> Result<Storage, PublishError> {
    let path = std::path::absolute(target)
        .map_err(|error| Context { path: target }.cannot("find")(io_errno(error)))?;
    let context = Context { path: &path };
    let no_name = || PublishError::NoName(context.shown());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(no_name()) };
    let name = CString::new(name.as_bytes()).map_err(|_| no_name())?;
    let parent = open_parent(parent)?;
    let in_memory = is_memory_only(&parent).map_err(context.cannot("check"))?;
    let storage = if in_memory { Storage::Memory } else { Storage::Disk };
    let existing = existing(&parent, &name, &context)?;
    remove_stale(&parent).map_err(context.cannot("remove what an interrupted run left next to"))?;
    // Signals stay blocked until the staging directory is removed, because `held` is dropped after `staged`.
    let held = Held::new();
    let staged = Staging::new(&parent, &context)?;
    let sync = |directory: &Directory| match storage {
        Storage::Memory => Ok(()),
        Storage::Disk => directory.sync().map_err(context.cannot("write")),
    };
    for (name, content) in slots.files() {
        write(&staged.directory, &name, content, storage).map_err(context.cannot("write"))?;
    }
    if let Some(existing) = &existing {
        staged
            .directory
            .take_mode_and_owner(existing)
            .map_err(context.cannot("copy the mode and owner of"))?;
    }
    sync(&staged.directory)?;
    staged.put_in_place(&name, existing.is_some(), &context)?;
    sync(&parent)?;
    held.release();
    Ok(storage)
}

/// Opens the parent of the destination. Refuses the path if another user can change a directory of it: that user could
/// replace the destination.
fn open_parent(path: &Path) -> Result<Directory, PublishError> {
    guarded::open(path).map_err(|error| match error {
        Unguarded::Failed(error) => Context { path }.cannot("open")(error),
        Unguarded::By(part) => PublishError::NotOurs(part.as_path().into()),
    })
}

/// Opens the directory that is already at the destination, if there is one. The user that runs this program must own
/// the directory, and it must contain only this program's files.
fn existing(parent: &Directory, name: &CStr, context: &Context) -> Result<Option<Directory>, PublishError> {
    let existing = match parent.open_in(name) {
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(PublishError::NotADirectory(context.shown())),
        result => result.map_err(context.cannot("open"))?,
    };
    let Some(existing) = existing else { return Ok(None) };
    if !existing.stat().map_err(context.cannot("check"))?.is_protected() {
        return Err(PublishError::NotOurs(context.shown()));
    }
    for name in existing.names().map_err(context.cannot("read"))? {
        let is_file = existing.stat_of(&*name).map_err(context.cannot("read"))?.is_file();
        if !is_file || !Slots::is_name(name.to_bytes()) {
            let other = name.to_bytes().to_vec();
            return Err(PublishError::HoldsOther { directory: context.shown(), other });
        }
    }
    Ok(Some(existing))
}

fn write(directory: &Directory, name: &str, content: &Secret, storage: Storage) -> Result<(), Errno> {
    let mut file = directory.create(name, FILE_MODE)?;
    file.write_all(content.expose()).map_err(io_errno)?;
    match storage {
        Storage::Memory => Ok(()),
        Storage::Disk => file.sync_all().map_err(io_errno),
    }
}

/// A staging directory next to the destination. The process that writes to the staging directory holds a lock on this
/// directory. A staging directory that a killed process has left is not locked. Dropping this value removes the staging
/// directory, unless it has become the destination.
struct Staging<'a> {
    parent: &'a Directory,
    name: CString,
    directory: Directory,
    /// Whether the staging directory has become the destination, so that nothing must be removed.
    in_place: bool,
}

impl<'a> Staging<'a> {
    fn new(parent: &'a Directory, context: &Context) -> Result<Self, PublishError> {
        let failed = |error| context.cannot("create a temporary directory next to")(error);
        let process = std::process::id();
        for attempt in 0..ATTEMPTS {
            let name = CString::new(staging::name(STAGING, process, attempt));
            let name = name.map_err(|_| failed(Errno::EINVAL))?;
            match parent.make(&name, DIRECTORY_MODE) {
                Err(Errno::EEXIST) => continue,
                result => result.map_err(failed)?,
            }
            let Some(directory) = parent.open_in(&name).map_err(failed)? else { continue };
            let locked = directory.try_lock().map_err(|error| {
                // `remove_directory` removes only an empty directory. If the directory is not empty, another program
                // has written to it, and the directory stays.
                _ = parent.remove_directory(&name);
                failed(error)
            })?;
            let stat = directory.stat().map_err(failed)?;
            // Another process may have removed the directory before this process locked it, because an unlocked staging
            // directory looks like one that a killed process has left.
            if locked && !stat.is_removed() {
                return Ok(Self { parent, name, directory, in_place: false });
            }
        }
        Err(failed(Errno::EEXIST))
    }

    fn put_in_place(mut self, target: &CStr, replaces: bool, context: &Context) -> Result<(), PublishError> {
        if replaces {
            match self.parent.exchange(&self.name, target) {
                Ok(()) => {}
                Err(Errno::EBUSY | Errno::EXDEV) => return Err(PublishError::MountPoint(context.shown())),
                Err(Errno::EINVAL | Errno::ENOSYS) => return Err(PublishError::NoExchange(context.shown())),
                Err(error) => return Err(context.cannot("replace")(error)),
            }
            remove(self.parent, &self.name).map_err(context.cannot("remove the old files of"))?;
        } else {
            match self.parent.rename(&*self.name, target) {
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {
                    return Err(PublishError::Appeared(context.shown()));
                }
                result => result.map_err(context.cannot("make"))?,
            }
        }
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            // If the staging directory cannot be removed, only the earlier error is reported. The next run of this
            // program removes the remaining files.
            _ = remove(self.parent, &self.name);
        }
    }
}

/// Removes a directory and this program's files in it. If the directory contains other files, these files and the
/// directory stay.
fn remove(parent: &Directory, name: &CStr) -> Result<(), Errno> {
    let Some(directory) = parent.open_in(name)? else { return Ok(()) };
    // The directory may have the mode of the destination, and this mode may not allow its owner to remove files.
    directory.set_mode(DIRECTORY_MODE)?;
    for file in directory.names()?.iter().filter(|file| Slots::is_name(file.to_bytes())) {
        directory.remove_file(&**file)?;
    }
    parent.remove_directory(name)
}

/// Removes staging directories that no process has locked.
fn remove_stale(parent: &Directory) -> Result<(), Errno> {
    for name in parent.names()?.iter().filter(|name| staging::is_name(STAGING, name.to_bytes())) {
        // A directory that cannot be opened belongs to another user, or no longer exists. In both cases, the directory
        // is skipped.
        let Ok(Some(directory)) = parent.open_in(name) else { continue };
        let stat = directory.stat()?;
        if !stat.is_own() {
            continue;
        }
        // The process that made the directory may have renamed it to its destination before this process locked it.
        let still_there = || parent.stat_of(&**name).is_ok_and(|found| found.is_same(&stat));
        if directory.try_lock()? && still_there() {
            match remove(parent, name) {
                // If the directory is not empty, another program has written files into it. These files stay.
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The path that is shown in error messages.
struct Context<'a> {
    path: &'a Path,
}

impl Context<'_> {
    fn shown(&self) -> ShownPath {
        ShownPath::from(self.path)
    }

    fn cannot(&self, action: &'static str) -> impl Fn(Errno) -> PublishError {
        let path = self.shown();
        move |error| PublishError::System { action, path: path.clone(), error }
    }
}
