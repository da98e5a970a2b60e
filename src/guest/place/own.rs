//! Opens directories that only the user of this process may change. Checks each directory before the program mounts or
//! writes anything in it.

use std::borrow::Cow;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::{Context, PlaceError};
use crate::guest::system::System;
use crate::sys::Errno;
use crate::sys::directory::Directory;
use crate::sys::guarded::{self, Unguarded};
use crate::sys::stat::user;

const STATE: &CStr = c"smbios-creds";
const LOCK: &CStr = c"lock";

/// Opens `/run`, and creates it if it does not exist.
pub(in crate::guest) fn run(system: &System) -> Result<Directory, PlaceError> {
    let absent = || PlaceError::NoRoot(system.root().into());
    let root = guarded(system.root(), absent)?;
    let path = system.run();
    checked(root.make_in(c"run", 0o755), &path)
}

/// Opens a directory. Refuses a path if another user can change any directory in it. If the directory does not exist,
/// returns the error that `absent` makes.
pub(super) fn guarded(path: &Path, absent: impl FnOnce() -> PlaceError) -> Result<Directory, PlaceError> {
    guarded::open(path).map_err(|error| match error {
        Unguarded::Failed(Errno::ENOENT) => absent(),
        Unguarded::Failed(error) => Context::new(path).cannot("open")(error),
        Unguarded::By(part) => PlaceError::NotOurs(part.as_path().into()),
    })
}

/// Opens `/run/credentials`, and creates it if it does not exist.
pub(super) fn credentials(system: &System, run: &Directory) -> Result<Directory, PlaceError> {
    let path = system.credentials();
    checked(run.make_in(c"credentials", 0o755), &path)
}

/// Opens `/run/credentials/@initrd`, and creates it if it does not exist.
pub(super) fn initrd(system: &System, run: &Directory) -> Result<Directory, PlaceError> {
    let path = system.initrd_credentials();
    checked(credentials(system, run)?.make_or_open(c"@initrd", 0o700), &path)
}

/// Opens `/run/smbios-creds`, and creates it if it does not exist.
pub(in crate::guest) fn state(system: &System, run: &Directory) -> Result<Directory, PlaceError> {
    checked(run.make_or_open(STATE, 0o700), &system.state())
}

/// Returns an opened directory if only the user of this process may write to it. Another user who could write to the
/// directory could redirect a mount, or replace the credentials that services get.
fn checked(opened: Result<Directory, Errno>, path: &Path) -> Result<Directory, PlaceError> {
    let context = Context::new(path);
    let directory = opened.map_err(context.cannot("open"))?;
    check(&directory, context)?;
    Ok(directory)
}

/// Refuses a directory that belongs to another user, or that other users can write to.
pub(super) fn check(directory: &Directory, context: Context<'_>) -> Result<(), PlaceError> {
    let stat = directory.stat().map_err(context.cannot("check"))?;
    if stat.is_protected() {
        return Ok(());
    }
    let user = user();
    if stat.owner() == 0 && user != 0 {
        Err(PlaceError::NeedsRoot(context.shown(), user))
    } else {
        Err(PlaceError::NotOurs(context.shown()))
    }
}

/// The directory `/run/smbios-creds` with its lock. Only the user of this process (root) can enter this directory, so no
/// other user can change a path below it.
pub(super) struct StateDirectory {
    pub(super) directory: Directory,
    pub(super) path: Cow<'static, Path>,
    /// The lock of the directory, which only one process has at a time. The kernel releases the lock when the process
    /// dies. Any user who can read a directory could lock the directory itself, but only its owner can open this file.
    _lock: OwnedFd,
}

impl StateDirectory {
    /// Opens the directory, and creates it if it does not exist. Takes the lock of the directory, and waits while
    /// another process has the lock.
    pub(super) fn lock(system: &System, run: &Directory) -> Result<Self, PlaceError> {
        let path = system.state();
        let directory = state(system, run)?;
        let lock = directory.lock_file(LOCK).map_err(Context::new(&path).cannot("prepare"))?;
        Ok(Self { directory, path, _lock: lock })
    }
}
