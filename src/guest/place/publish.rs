//! Writes a set to a directory, so that the whole set appears by one rename.
//!
//! The set is written next to its destination, into a staging directory that only its owner can enter. If the import is
//! killed, each credential is either absent or complete at the destination. The next import removes the staging
//! directory that the killed import left.

use std::ffi::{CStr, CString};

use super::content::{Durability, Wanted, holds_all, remove, write_all};
use super::error::{Context, PlaceError};
use super::leftover;
use super::outcome::{Outcome, Storage};
use super::own;
use crate::sys::Errno;
use crate::sys::directory::{Directory, is_memory_only};
use crate::sys::process_id;
use crate::sys::signals::Held;
use crate::text::escape::ShownPath;

/// Maximum number of names that are tried for a staging directory.
const ATTEMPTS: u32 = 1000;

/// Writes a set to the directory `target` in the open directory `parent`. If `target` exists already and another user
/// can change it, the function writes nothing and returns an error.
///
/// Keeps the files in `target` that have other names, and replaces the files that have the name of a credential in the
/// set.
#[inline(never)]
pub(super) fn publish(
    parent: &Directory,
    target: &CStr,
    set: &[Wanted<'_>],
    context: Context<'_>,
) -> Result<Outcome, PlaceError> {
    let (storage, durability) = if is_memory_only(parent).map_err(context.cannot("check"))? {
        (Storage::Memory, Durability::Volatile)
    } else {
        (Storage::Disk, Durability::Synced)
    };
    let existing = existing(parent, target, context)?;
    if let Some(existing) = &existing
        && holds_all(existing, set).map_err(context.cannot("read"))?
    {
        return Ok(Outcome::Unchanged);
    }
    // Signals are blocked from here on, and take effect after the staging directory is renamed or removed.
    let held = Held::new();
    let staging = Staging::new(parent, context)?;
    write_all(&staging.directory, set, durability, context)?;
    if let Some(existing) = &existing {
        staging.take_over(existing, context)?;
    }
    let sync = |directory: &Directory| match durability {
        Durability::Synced => directory.sync().map_err(context.cannot("write")),
        Durability::Volatile => Ok(()),
    };
    sync(&staging.directory)?;
    staging.put_in_place(target, existing.as_ref(), context)?;
    sync(parent)?;
    held.release();
    Ok(Outcome::Materialized(storage))
}

/// Opens the directory `target`; returns `None` if it does not exist. Removes staging directories that a killed import
/// left next to `target`.
fn existing(
    parent: &Directory,
    target: &CStr,
    context: Context<'_>,
) -> Result<Option<Directory>, PlaceError> {
    const LEFTOVERS: &str = "remove what an interrupted import left next to";
    let beside = parent.names().map_err(context.cannot(LEFTOVERS))?;
    let existing = if beside.iter().any(|name| **name == *target) {
        match parent.open_in(target) {
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(PlaceError::NotADirectory(context.shown())),
            result => result.map_err(context.cannot("open"))?,
        }
    } else {
        None
    };
    if let Some(existing) = &existing {
        own::check(existing, context)?;
    }
    remove_stale(parent, &beside).map_err(context.cannot(LEFTOVERS))?;
    Ok(existing)
}

/// A directory next to the destination, in which a set is prepared. The directory is locked, which distinguishes it
/// from the leftovers of a killed import. Dropping this value removes the directory, unless it has become the
/// destination.
struct Staging<'a> {
    parent: &'a Directory,
    name: CString,
    directory: Directory,
    /// Whether the staging directory was renamed or removed, so that its name no longer exists.
    in_place: bool,
}

impl<'a> Staging<'a> {
    fn new(parent: &'a Directory, context: Context<'_>) -> Result<Self, PlaceError> {
        let failed = |error| context.cannot("create a temporary directory next to")(error);
        // The name must be new, so that no other import uses this directory. Another import could rename its staging
        // directory to the destination before this process locks that directory.
        let process = process_id();
        for attempt in 0..ATTEMPTS {
            let name = leftover::staging_directory(process, attempt);
            let name = CString::new(name).map_err(|_| failed(Errno::EINVAL))?;
            match parent.make(&name, 0o700) {
                Err(Errno::EEXIST) => continue,
                result => result.map_err(failed)?,
            }
            let Some(directory) = parent.open_in(&name).map_err(failed)? else { continue };
            // Until this process locks the directory, another import may take it for a leftover and remove it.
            let locked = directory.try_lock().map_err(|error| {
                // An error of `remove_directory` is ignored: the directory cannot be removed if another program has put
                // files into it.
                _ = parent.remove_directory(&name);
                failed(error)
            })?;
            let stat = directory.stat().map_err(failed)?;
            // A user who can write to the parent can replace the staging directory with a directory of their own.
            if !stat.is_protected() {
                let parent = context.path().parent().unwrap_or(context.path());
                return Err(PlaceError::NotOurs(ShownPath::from(parent)));
            }
            if locked && !stat.is_removed() {
                return Ok(Self { parent, name, directory, in_place: false });
            }
        }
        Err(failed(Errno::EEXIST))
    }

    /// Copies the mode and the owner of the directory that will be replaced to the staging directory. In the staging
    /// directory, makes hard links to the files of the replaced directory, except to files that the set replaces.
    fn take_over(&self, existing: &Directory, context: Context<'_>) -> Result<(), PlaceError> {
        self.directory.take_mode_and_owner(existing).map_err(context.cannot("copy the mode and owner of"))?;
        for name in existing.names().map_err(context.cannot("read"))? {
            if !existing.stat_of(&*name).map_err(context.cannot("read"))?.is_file() {
                let other = name.to_bytes().to_vec();
                return Err(PlaceError::HoldsOther { directory: context.shown(), other });
            }
            match existing.link(&*name, &self.directory, &name) {
                // EEXIST: the set has a credential with the name of this file, which replaces the file.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(context.cannot("keep the other files of")(error)),
            }
        }
        Ok(())
    }

    /// Makes the whole set appear at its destination, by one rename or one exchange of two directories.
    fn put_in_place(
        mut self,
        target: &CStr,
        existing: Option<&Directory>,
        context: Context<'_>,
    ) -> Result<(), PlaceError> {
        let Some(existing) = existing else {
            match self.parent.rename(&*self.name, target) {
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => return Err(PlaceError::Appeared(context.shown())),
                result => result.map_err(context.cannot("rename the new directory to"))?,
            }
            self.in_place = true;
            return Ok(());
        };
        match self.parent.exchange(&self.name, target) {
            Ok(()) => {}
            Err(Errno::EBUSY | Errno::EXDEV) => return Err(PlaceError::MountPoint(context.shown())),
            Err(Errno::EINVAL | Errno::ENOSYS) => return Err(PlaceError::NoExchange(context.shown())),
            Err(error) => return Err(context.cannot("replace")(error)),
        }
        // Files that another program added between the check and the exchange are now in the old directory. This loop
        // moves these files to the new directory.
        for name in existing.names_again().map_err(context.cannot("read"))? {
            match existing.move_into(&name, &self.directory) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(context.cannot("keep the other files of")(error)),
            }
        }
        remove(self.parent, &self.name, existing).map_err(context.cannot("remove the old files of"))?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // If remove() fails, the next import removes the directory.
        if !self.in_place
            && let Ok(Some(directory)) = self.parent.open_in(&self.name)
        {
            _ = remove(self.parent, &self.name, &directory);
        }
    }
}

/// Removes staging directories that no process has locked. Does not change a directory that something other than an
/// import may have made.
fn remove_stale(parent: &Directory, beside: &[CString]) -> Result<(), Errno> {
    for name in beside.iter().filter(|name| leftover::is_staging_directory(name.to_bytes())) {
        // If the directory cannot be opened, it belongs to another user or no longer exists.
        let Ok(Some(directory)) = parent.open_in(name) else { continue };
        let stat = directory.stat()?;
        if !stat.is_own() {
            continue;
        }
        // The import that made the directory may have renamed it to the destination before this process locked it.
        let still_there = || parent.stat_of(&**name).is_ok_and(|found| found.is_same(&stat));
        if directory.try_lock()? && still_there() && leftover::has_only_files(&directory)? {
            match remove(parent, name, &directory) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
