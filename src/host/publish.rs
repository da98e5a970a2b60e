//! A directory of files with secrets that appears at once.
//!
//! It is written beside its destination, into a staging directory that only its owner can enter, and takes the place
//! of what was there by one rename. Killed anywhere, the old directory is whole or the new one is. What a killed
//! process left is removed by the next one.

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

/// Beginning of the name of a staging directory.
const STAGING: &str = ".smbios-creds-host-";

/// How many names for a staging directory are tried.
const ATTEMPTS: u32 = 1000;

/// Mode of a file: it is read by its owner, and never written.
const FILE_MODE: u32 = 0o400;

/// Mode of a new directory.
const DIRECTORY_MODE: u32 = 0o700;

/// What the files are on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Storage {
    /// A tmpfs or a ramfs, which are in memory only.
    Memory,
    /// Anything else.
    Disk,
}

/// Why files could not be put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The kernel refuses something.
    #[error("cannot {action} {path}: {}", .error.desc())]
    System {
        /// What was tried.
        action: &'static str,
        /// On which directory.
        path: ShownPath,
        /// What the kernel says.
        error: Errno,
    },
    /// The path cannot be that of a directory.
    #[error("{0} names no directory; use a path that ends in a name")]
    NoName(ShownPath),
    /// Something else has the name.
    #[error("{0} is not a directory (a link to one is not followed); use another path")]
    NotADirectory(ShownPath),
    /// Another user could read or replace the files.
    #[error("{0}: another user owns it or can change what it holds; use a directory of your own")]
    NotOurs(ShownPath),
    /// The directory holds something that would be lost.
    #[error(
        "{directory} holds '{}', which was not written here; use a new directory, or an empty one",
        Escaped(.other)
    )]
    HoldsOther {
        /// The directory.
        directory: ShownPath,
        /// Name of what it holds.
        other: Vec<u8>,
    },
    /// A mount cannot be replaced.
    #[error("{0} is a mount point, which cannot be replaced at once; use a directory in it")]
    MountPoint(ShownPath),
    /// The file system cannot exchange two directories.
    #[error("{0}: its file system cannot replace a directory at once; remove the directory, or use a tmpfs")]
    NoExchange(ShownPath),
    /// Another process made a directory of this name.
    #[error("{0} appeared in the meantime, and is not replaced; try again")]
    Appeared(ShownPath),
}

/// Writes each structure into a file of the directory `target`, in place of all files that were there.
///
/// A directory that is there must hold nothing else. It keeps its mode and its group. A new one has mode 0700. Returns
/// what they are on.
///
/// # Errors
/// [`PublishError`] says what to do. Nothing has changed then, or the new files are in place and the old ones remain
/// beside them, where the next run removes them.
pub fn publish(target: &Path, slots: &Slots) -> Result<Storage, PublishError> {
    let path = std::path::absolute(target)
        .map_err(|error| Context { path: target }.cannot("find")(io_errno(error)))?;
    let context = Context { path: &path };
    let no_name = || PublishError::NoName(context.shown());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(no_name()) };
    let name = CString::new(name.as_bytes()).map_err(|_| no_name())?;
    let parent = open_parent(parent)?;
    let in_memory = is_memory_only(&parent).map_err(context.cannot("look at"))?;
    let storage = if in_memory { Storage::Memory } else { Storage::Disk };
    let existing = existing(&parent, &name, &context)?;
    remove_stale(&parent).map_err(context.cannot("remove what an interrupted run left next to"))?;
    // Dropped after the staging directory is removed.
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
        staged.directory.take_mode_and_owner(existing).map_err(context.cannot("keep mode and owner of"))?;
    }
    sync(&staged.directory)?;
    staged.put_in_place(&name, existing.is_some(), &context)?;
    sync(&parent)?;
    held.release();
    Ok(storage)
}

/// Opens the directory that the destination is in. Another user who can change any part of its path could replace the
/// destination.
fn open_parent(path: &Path) -> Result<Directory, PublishError> {
    guarded::open(path).map_err(|error| match error {
        Unguarded::Failed(error) => Context { path }.cannot("open")(error),
        Unguarded::By(part) => PublishError::NotOurs(part.as_path().into()),
    })
}

/// The directory that is there already, if any: of this user, and with nothing in it but files of ours.
fn existing(parent: &Directory, name: &CStr, context: &Context) -> Result<Option<Directory>, PublishError> {
    let existing = match parent.open_in(name) {
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(PublishError::NotADirectory(context.shown())),
        result => result.map_err(context.cannot("open"))?,
    };
    let Some(existing) = existing else { return Ok(None) };
    if !existing.stat().map_err(context.cannot("look at"))?.is_protected() {
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

/// A directory beside the destination. It is locked, so that another process can tell it from what a killed one left,
/// and removed if it is dropped before it is in place.
struct Staging<'a> {
    parent: &'a Directory,
    name: CString,
    directory: Directory,
    /// Whether nothing is left under its name.
    in_place: bool,
}

impl<'a> Staging<'a> {
    fn new(parent: &'a Directory, context: &Context) -> Result<Self, PublishError> {
        let failed = |error| context.cannot("make a staging directory next to")(error);
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
                // Empty; if it is not, it is not ours.
                _ = parent.remove_directory(&name);
                failed(error)
            })?;
            let stat = directory.stat().map_err(failed)?;
            // Before it was locked, another process may have taken it for a leftover.
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
            // The error that led here is the one to tell, and the next run removes what is left.
            _ = remove(self.parent, &self.name);
        }
    }
}

/// Removes a directory of our files. If it holds anything else, that is left, and so is the directory.
fn remove(parent: &Directory, name: &CStr) -> Result<(), Errno> {
    let Some(directory) = parent.open_in(name)? else { return Ok(()) };
    // It may have taken over a mode in which nothing can be removed.
    directory.set_mode(DIRECTORY_MODE)?;
    for file in directory.names()?.iter().filter(|file| Slots::is_name(file.to_bytes())) {
        directory.remove_file(&**file)?;
    }
    parent.remove_directory(name)
}

/// Removes staging directories that no process holds.
fn remove_stale(parent: &Directory) -> Result<(), Errno> {
    for name in parent.names()?.iter().filter(|name| staging::is_name(STAGING, name.to_bytes())) {
        // Another user's, or gone by now: not ours to remove.
        let Ok(Some(directory)) = parent.open_in(name) else { continue };
        let stat = directory.stat()?;
        if !stat.is_own() {
            continue;
        }
        // By the time it is locked, the process that it belonged to may have put it in place.
        let still_there = || parent.stat_of(&**name).is_ok_and(|found| found.is_same(&stat));
        if directory.try_lock()? && still_there() {
            match remove(parent, name) {
                // Not empty: somebody put something there, and wants it.
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// What errors are told of.
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
