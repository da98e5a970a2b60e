//! A set appears by one rename.
//!
//! It is written beside its destination, into a staging directory that only its owner can enter. Killed anywhere, a
//! credential is absent or complete, and what is left of the staging directory is removed by the next import.

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

/// How many names for a staging directory are tried.
const ATTEMPTS: u32 = 1000;

/// Puts a set in place in `target`, a directory in `parent`, which was opened for this. No other user may be able to
/// change `target` if it is there already.
///
/// Files of other names in `target` are kept; a file of the same name is replaced.
pub(super) fn publish(
    parent: &Directory,
    target: &CStr,
    set: &[Wanted<'_>],
    context: &Context,
) -> Result<Outcome, PlaceError> {
    let (storage, durability) = if is_memory_only(parent).map_err(context.cannot("look at"))? {
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
    // Dropped after the staging directory is removed.
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

/// The directory that is there already, if any. What a killed import left beside it is removed.
fn existing(parent: &Directory, target: &CStr, context: &Context) -> Result<Option<Directory>, PlaceError> {
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

/// A directory beside the destination, in which a set is prepared. It is locked, so that another import can tell it
/// from what a killed one left, and removed if it is dropped before it is in place.
struct Staging<'a> {
    parent: &'a Directory,
    name: CString,
    directory: Directory,
    /// Whether nothing is left under its name.
    in_place: bool,
}

impl<'a> Staging<'a> {
    fn new(parent: &'a Directory, context: &Context) -> Result<Self, PlaceError> {
        let failed = |error| context.cannot("make a staging directory next to")(error);
        // Of its own, or it could be another import's that is in place by the time it is locked.
        let process = process_id();
        for attempt in 0..ATTEMPTS {
            let name = leftover::staging_directory(process, attempt);
            let name = CString::new(name).map_err(|_| failed(Errno::EINVAL))?;
            match parent.make(&name, 0o700) {
                Err(Errno::EEXIST) => continue,
                result => result.map_err(failed)?,
            }
            let Some(directory) = parent.open_in(&name).map_err(failed)? else { continue };
            // Until it is locked, another import may take it for a leftover and remove it.
            let locked = directory.try_lock().map_err(|error| {
                // Empty; if it is not, it is not ours.
                _ = parent.remove_directory(&name);
                failed(error)
            })?;
            let stat = directory.stat().map_err(failed)?;
            // Whoever can write to the parent can put a directory of their own in its place.
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

    /// Brings the other files of the directory that is to be replaced, its mode and its owner.
    fn take_over(&self, existing: &Directory, context: &Context) -> Result<(), PlaceError> {
        self.directory.take_mode_and_owner(existing).map_err(context.cannot("keep mode and owner of"))?;
        for name in existing.names().map_err(context.cannot("read"))? {
            if !existing.stat_of(&*name).map_err(context.cannot("read"))?.is_file() {
                let other = name.to_bytes().to_vec();
                return Err(PlaceError::HoldsOther { directory: context.shown(), other });
            }
            match existing.link_into(&name, &self.directory) {
                // A credential of the new set takes the place of the old file.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(context.cannot("keep the other files of")(error)),
            }
        }
        Ok(())
    }

    /// Makes the set appear, all at once.
    fn put_in_place(
        mut self,
        target: &CStr,
        existing: Option<&Directory>,
        context: &Context,
    ) -> Result<(), PlaceError> {
        let Some(existing) = existing else {
            match self.parent.rename(&*self.name, target) {
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => return Err(PlaceError::Appeared(context.shown())),
                result => result.map_err(context.cannot("put the credentials in place as"))?,
            }
            self.in_place = true;
            return Ok(());
        };
        match self.parent.exchange(&self.name, target) {
            Ok(()) => {}
            Err(Errno::EBUSY | Errno::EXDEV) => return Err(PlaceError::MountPoint(context.shown())),
            Err(Errno::EINVAL | Errno::ENOSYS) => return Err(PlaceError::NoExchange(context.shown())),
            Err(error) => return Err(context.cannot("put the credentials in place in")(error)),
        }
        // What was added between the look and the exchange is in the old directory now, and is moved over.
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
        // A failure leaves what the next import removes.
        if !self.in_place
            && let Ok(Some(directory)) = self.parent.open_in(&self.name)
        {
            _ = remove(self.parent, &self.name, &directory);
        }
    }
}

/// Removes staging directories that no process holds. What is not provably one is left unchanged.
fn remove_stale(parent: &Directory, beside: &[CString]) -> Result<(), Errno> {
    for name in beside.iter().filter(|name| leftover::is_staging_directory(name.to_bytes())) {
        // Another user's, or gone by now: not ours to remove.
        let Ok(Some(directory)) = parent.open_in(name) else { continue };
        let stat = directory.stat()?;
        if !stat.is_own() {
            continue;
        }
        // By the time it is locked, the import that it belonged to may have put it in place.
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
