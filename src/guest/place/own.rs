//! Directories that must be ours, before anything is mounted or put there.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::error::{Context, PlaceError};
use crate::guest::system::System;
use crate::sys::directory::{Directory, Links};
use crate::text::escape::ShownPath;

const STATE: &CStr = c"smbios-creds";
const LOCK: &CStr = c"lock";

/// Opens `/run`, making it first if need be.
pub(in crate::guest) fn run(system: &System) -> Result<Directory, PlaceError> {
    let context = Context::new(system.root());
    let root = Directory::open(system.root(), Links::Follow).map_err(context.cannot("open"))?;
    directory(&root, c"run", 0o755, &system.run())
}

/// Opens `/run/credentials`, making it first if need be.
pub(super) fn credentials(system: &System, run: &Directory) -> Result<Directory, PlaceError> {
    directory(run, c"credentials", 0o755, &system.credentials())
}

/// Opens a directory that only we may write to, making it first if need be. Whoever else could write there could lead
/// a mount astray, or give services what they like.
fn directory(parent: &Directory, name: &CStr, mode: u32, path: &Path) -> Result<Directory, PlaceError> {
    let context = Context::new(path);
    let directory = parent.make_in(name, mode).map_err(context.cannot("open"))?;
    if directory.stat().map_err(context.cannot("look at"))?.is_protected() {
        Ok(directory)
    } else {
        Err(PlaceError::NotOurs(context.shown()))
    }
}

/// Refuses what is there already under a name, if it is not ours.
pub(super) fn check_existing(parent: &Directory, name: &CStr, path: &Path) -> Result<(), PlaceError> {
    // What is not a directory is told when it is opened again.
    let Ok(Some(existing)) = parent.open_in(name) else { return Ok(()) };
    if existing.stat().is_ok_and(|stat| stat.is_protected()) {
        Ok(())
    } else {
        Err(PlaceError::NotOurs(ShownPath::from(path)))
    }
}

/// `/run/smbios-creds`, for root only, so that paths below it are safe to use.
pub(in crate::guest) struct StateDirectory {
    pub(in crate::guest) directory: Directory,
    pub(in crate::guest) path: PathBuf,
    /// Held by one process at a time; the kernel releases it when the process dies.
    _lock: OwnedFd,
}

impl StateDirectory {
    /// Opens it in `/run`, making it first if need be, and waits until no other process holds it.
    pub(in crate::guest) fn lock(system: &System, run: &Directory) -> Result<Self, PlaceError> {
        let path = system.state();
        let directory = directory(run, STATE, 0o700, &path)?;
        let lock = directory.lock_file(LOCK).map_err(Context::new(&path).cannot("prepare"))?;
        Ok(Self { directory, path, _lock: lock })
    }
}
