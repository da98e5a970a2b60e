//! Mounts the file system of `/run/credentials/@system`. The program first mounts this file system on a directory that
//! only root can enter, writes the credentials, and makes the mount read-only. Then the program makes a bind mount of
//! the file system at `@system`.
//!
//! The mount options are the same as systemd's (`fsmount_credentials_fs()`, `src/shared/mount-util.c`, v262). The file
//! system is a tmpfs that is never swapped. If the kernel refuses such a tmpfs, the file system is a ramfs. If the
//! kernel also refuses a ramfs, the file system is a tmpfs that may be swapped. The flags are `nosuid`, `nodev`,
//! `noexec` and `nosymfollow`, and the mode is 0700. The mount is read-only but the superblock is not, so that systemd
//! can still merge `/run/credentials/@initrd` into the file system. The program uses a bind mount instead of moving the
//! mount: the kernel refuses to move a mount below a shared parent, and `/run` is shared under systemd.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{SysconfVar, sysconf};

use super::content::{Durability, Wanted, holds_all, write_all};
use super::error::{Context, PlaceError};
use super::outcome::{Outcome, Storage};
use super::own::{self, StateDirectory};
use crate::format::credential::Credential;
use crate::format::systemd::{TMPFS_INODES, TMPFS_SIZE};
use crate::guest::system::System;
use crate::sys::Errno;
use crate::sys::directory::Directory;
use crate::sys::signals::Held;

const FLAGS: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW));

const SYSTEM: &CStr = c"@system";
const STAGING: &CStr = c"staging";

/// Makes a set appear at `/run/credentials/@system`, by one mount.
#[inline(never)]
pub(super) fn publish(
    system: &System,
    set: &[&Credential],
    context: Context<'_>,
) -> Result<Outcome, PlaceError> {
    let run = own::run(system)?;
    let credentials = own::credentials(system, &run)?;
    let staging = Staging::new(system, &run)?;
    let made = credentials.open_in(SYSTEM).map_err(context.cannot("open"))?.is_none();
    let target = credentials.make_in(SYSTEM, 0o700).map_err(context.cannot("make"))?;
    let held = Held::new();
    let result = mount_once(&staging, &credentials, &target, set, context);
    if made && result.is_err() {
        // The import failed. An empty directory would look like an import that found nothing, so the new directory is
        // removed.
        _ = credentials.remove_directory(SYSTEM);
    }
    let finished = staging.finish();
    drop(held);
    result.and_then(|outcome| finished.map(|()| outcome))
}

fn mount_once(
    staging: &Staging,
    credentials: &Directory,
    target: &Directory,
    set: &[&Credential],
    context: Context<'_>,
) -> Result<Outcome, PlaceError> {
    let wanted = Wanted::all(set);
    let is_mounted = || Ok(!target.stat()?.shares_device(&credentials.stat()?));
    let mounted = is_mounted().map_err(context.cannot("check"))?;
    if mounted && holds_all(target, &wanted).map_err(context.cannot("read"))? {
        return Ok(Outcome::Unchanged);
    }
    if mounted || !target.names().map_err(context.cannot("read"))?.is_empty() {
        return Err(PlaceError::InUse(context.shown()));
    }
    let storage = staging.mount(set)?;
    write_all(&staging.open()?, &wanted, Durability::Volatile, context)?;
    staging.remount(MsFlags::MS_BIND | MsFlags::MS_RDONLY, None)?;
    bind(&staging.path, context.path())?;
    Ok(Outcome::Materialized(storage))
}

/// The directory `/run/smbios-creds/staging`, which only root can enter. A file system is mounted on this directory
/// while its credentials are written or repaired.
struct Staging {
    state: StateDirectory,
    path: PathBuf,
}

impl Staging {
    fn new(system: &System, run: &Directory) -> Result<Self, PlaceError> {
        let state = StateDirectory::lock(system, run)?;
        let path = state.path.join("staging");
        let staging = Self { state, path };
        // This process has the lock, so only a killed import can have left a staging directory.
        staging.remove()?;
        staging.state.directory.make_in(STAGING, 0o700).map_err(staging.context().cannot("make"))?;
        Ok(staging)
    }

    fn context(&self) -> Context<'_> {
        Context::new(&self.path)
    }

    /// Opens the file system that is mounted on the staging directory.
    fn open(&self) -> Result<Directory, PlaceError> {
        let directory = self.state.directory.open_in(STAGING);
        directory.and_then(|directory| directory.ok_or(Errno::ENOENT)).map_err(self.context().cannot("open"))
    }

    /// Changes the flags of the mount if `flags` contains `MS_BIND`, otherwise the options of the file system.
    fn remount(&self, flags: MsFlags, options: Option<&str>) -> Result<(), PlaceError> {
        let flags = FLAGS | MsFlags::MS_REMOUNT | flags;
        mount(None::<&str>, &self.path, None::<&str>, flags, options)
            .map_err(self.context().cannot("remount"))
    }

    fn mount(&self, set: &[&Credential]) -> Result<Storage, PlaceError> {
        let tmpfs = format!("mode=0700,{}", room(set));
        let noswap = format!("{tmpfs},noswap");
        let choices = [
            ("tmpfs", noswap.as_str(), Storage::Memory),
            ("ramfs", "mode=0700", Storage::Memory),
            ("tmpfs", &tmpfs, Storage::Swappable),
        ];
        // A kernel may lack `noswap` or ramfs, or forbid one of them in a user namespace. The kernel returns different
        // errors in these cases, so after any error the program tries the next file system in the list.
        let mut result = Err(Errno::ENODEV);
        for (kind, options, storage) in choices {
            result = mount(Some(kind), &self.path, Some(kind), FLAGS, Some(options)).map(|()| storage);
            if result.is_ok() {
                break;
            }
        }
        result.map_err(self.context().cannot("mount a tmpfs on"))
    }

    /// Unmounts the file system from the staging directory. If the file system stayed mounted on this directory, the
    /// credentials would be readable at a second path.
    fn finish(self) -> Result<(), PlaceError> {
        self.remove()
    }

    fn remove(&self) -> Result<(), PlaceError> {
        let unmount = || umount2(&self.path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        let not_unmounted = loop {
            // If several imports were killed, the directory has several mounts, one over the other.
            if let Err(error) = unmount() {
                break error;
            }
        };
        // If the directory is still a mount point, remove_directory() fails with EBUSY.
        match self.state.directory.remove_directory(STAGING) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EBUSY) => Err(self.context().cannot("unmount")(not_unmounted)),
            Err(error) => Err(self.context().cannot("remove")(error)),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If remove() fails after another failure, the error of that other failure is already reported. After finish(),
        // nothing is left to remove.
        _ = self.remove();
    }
}

/// Removes the staging directory that a killed import left, with its mounts.
pub(super) fn remove_leftovers(system: &System) -> Result<(), PlaceError> {
    if system.state().join("staging").exists() {
        Staging::new(system, &own::run(system)?)?;
    }
    Ok(())
}

/// A second, writable mount of a directory whose first mount is read-only. In Linux, one mount can be read-only
/// although another mount of the same file system is not. So at its own path, the directory stays read-only, while this
/// program can write through the second mount.
pub(super) struct View {
    staging: Staging,
    pub(super) directory: Directory,
    /// Keeps signals blocked. The field `_held` is dropped last, after the view is unmounted.
    _held: Held,
}

impl View {
    /// Mounts a writable view of the directory whose path is in `context`.
    pub(super) fn new(system: &System, context: Context<'_>) -> Result<Self, PlaceError> {
        let staging = Staging::new(system, &own::run(system)?)?;
        // If a step fails, `staging` is dropped before `held`: the view is unmounted before the blocked signals take
        // effect.
        let (held, staging) = (Held::new(), staging);
        bind(context.path(), &staging.path)?;
        staging.remount(MsFlags::MS_BIND, None)?;
        let directory = staging.open()?;
        Ok(Self { staging, directory, _held: held })
    }

    /// Unmounts the view. If the view cannot be unmounted, the credentials can still be changed through the view.
    pub(super) fn finish(self) -> Result<(), PlaceError> {
        self.staging.remove()
    }

    /// Raises the limits of the file system for the number and the size of files, so that a set fits.
    pub(super) fn grow(&self, set: &[&Credential]) -> Result<(), PlaceError> {
        self.staging.remount(MsFlags::empty(), Some(&room(set)))
    }
}

/// Makes a bind mount of the directory `from` on the directory `to`. A bind mount inherits the flags of its source.
fn bind(from: &Path, to: &Path) -> Result<(), PlaceError> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(Context::new(to).cannot("bind the credentials to"))
}

/// Returns the mount options of a tmpfs that has room for a set, plus as much room as systemd's own tmpfs. systemd may
/// merge more credentials into this tmpfs.
fn room(set: &[&Credential]) -> String {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| usize::try_from(size).ok());
    let page = page.unwrap_or(4096);
    let size: usize = set.iter().map(|c| c.value.len().next_multiple_of(page)).sum();
    format!("nr_inodes={},size={}", set.len() + TMPFS_INODES, size + TMPFS_SIZE)
}
