//! The file system of `/run/credentials/@system`: mounted where nobody sees it, filled, made read-only, and bound to
//! its place complete.
//!
//! Options are systemd's (`fsmount_credentials_fs()`, `src/shared/mount-util.c`, v262): a tmpfs that is never
//! swapped, else a ramfs, else a tmpfs; `nosuid`, `nodev`, `noexec`, `nosymfollow`; mode 0700. The mount is read-only
//! and the superblock is not, so that systemd can still merge `/run/credentials/@initrd` into it. It is bound and
//! not moved, since a move is refused below a shared parent, which `/run` is beside systemd.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{SysconfVar, UnlinkatFlags, sysconf, unlinkat};
use rustix::fs::{FlockOperation, flock};

use super::Storage;
use super::error::{Folder, SinkError};
use super::publish::{self as directory, holds_all, make_in, names, open_in, write_all};
use crate::format::credential::Credential;

/// Room that systemd gives its own mount; ours has as much besides the set, since systemd may merge more into it.
const SIZE: usize = 1_048_576;
const INODES: usize = 1024;

const FLAGS: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW));

const SYSTEM: &CStr = c"@system";
const STATE: &CStr = c"smbios-creds";
const STAGING: &CStr = c"staging";
const LOCK: &CStr = c"lock";

/// Puts a set in place as `run/credentials/@system` below `root`. Returns what was mounted, if that was necessary.
pub(super) fn publish(
    root: &Path,
    set: &[&Credential],
    shown: &Folder,
) -> Result<Option<Storage>, SinkError> {
    let run = folder(root, c"run", &root.join("run"))?;
    let credentials =
        folder_in(&run, c"credentials", Mode::from_bits_truncate(0o755), &root.join("run/credentials"))?;
    let staging = Staging::new(root, &run)?;

    let made = open_in(&credentials, SYSTEM).map_err(|error| shown.error("open", error))?.is_none();
    let system = make_in(&credentials, SYSTEM, Mode::S_IRWXU).map_err(|error| shown.error("make", error))?;
    let result = mount_once(&staging, &credentials, &system, set, shown);
    if made && result.is_err() {
        // An empty folder would be taken for an import that found nothing.
        _ = unlinkat(&credentials, SYSTEM, UnlinkatFlags::RemoveDir);
    }
    result
}

fn mount_once(
    staging: &Staging,
    credentials: &OwnedFd,
    system: &OwnedFd,
    set: &[&Credential],
    shown: &Folder,
) -> Result<Option<Storage>, SinkError> {
    let is_mounted = || Ok(fstat(system)?.st_dev != fstat(credentials)?.st_dev);
    let mounted = is_mounted().map_err(|error| shown.error("look at", error))?;
    let read = |error| shown.error("read", error);
    if mounted && holds_all(system, set).map_err(read)? {
        return Ok(None);
    }
    if mounted || !names(system).map_err(read)?.is_empty() {
        return Err(SinkError::InUse(shown.path.clone()));
    }

    let storage = staging.mount(set)?;
    write_all(&staging.open()?, set, false, shown)?;
    staging.remount(MsFlags::MS_BIND | MsFlags::MS_RDONLY, None)?;
    bind(&staging.path, &shown.path)?;
    Ok(Some(storage))
}

/// Opens a folder below the root, making it first if need be.
pub(super) fn folder(root: &Path, name: &CStr, path: &Path) -> Result<OwnedFd, SinkError> {
    let shown = Folder::new(root);
    let root = directory::open(root, true).map_err(|error| shown.error("open", error))?;
    folder_in(&root, name, Mode::from_bits_truncate(0o755), path)
}

/// Opens a folder that must belong to us alone: whoever else could write there could lead a mount astray.
pub(super) fn folder_in(
    parent: &OwnedFd,
    name: &CStr,
    mode: Mode,
    path: &Path,
) -> Result<OwnedFd, SinkError> {
    let shown = Folder::new(path);
    let folder = make_in(parent, name, mode).map_err(|error| shown.error("open", error))?;
    let ours = directory::is_ours(&folder).map_err(|error| shown.error("look at", error))?;
    if ours { Ok(folder) } else { Err(SinkError::NotOurs(path.to_path_buf())) }
}

/// `run/smbios-creds`: for root alone, so paths below it are safe to use.
pub(in crate::guest) struct StateFolder {
    pub(in crate::guest) folder: OwnedFd,
    pub(in crate::guest) path: PathBuf,
    /// Held by one process at a time; the kernel lets go of it when the process dies.
    _lock: OwnedFd,
}

impl StateFolder {
    /// Opens it below `root`, making it first if need be, and waits until nobody else has it.
    pub(in crate::guest) fn lock(root: &Path) -> Result<Self, SinkError> {
        Self::lock_in(root, &folder(root, c"run", &root.join("run"))?)
    }

    fn lock_in(root: &Path, run: &OwnedFd) -> Result<Self, SinkError> {
        let path = root.join("run/smbios-creds");
        let folder = folder_in(run, STATE, Mode::S_IRWXU, &path)?;
        let error = |error| Folder::new(&path).error("prepare", error);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let lock = openat(&folder, LOCK, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(error)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| error(Errno::from_raw(e.raw_os_error())))?;
        Ok(Self { folder, path, _lock: lock })
    }
}

/// The hidden place where a file system is filled or mended.
struct Staging {
    state: StateFolder,
    path: PathBuf,
}

impl Staging {
    fn new(root: &Path, run: &OwnedFd) -> Result<Self, SinkError> {
        let state = StateFolder::lock_in(root, run)?;
        let path = state.path.join("staging");
        let staging = Self { state, path };
        // Under the lock, whatever is there was left by an import that was killed.
        staging.remove();
        make_in(&staging.state.folder, STAGING, Mode::S_IRWXU)
            .map_err(|error| staging.error("make", error))?;
        Ok(staging)
    }

    fn error(&self, action: &'static str, error: Errno) -> SinkError {
        Folder::new(&self.path).error(action, error)
    }

    /// What is mounted there.
    fn open(&self) -> Result<OwnedFd, SinkError> {
        let folder = open_in(&self.state.folder, STAGING).and_then(|folder| folder.ok_or(Errno::ENOENT));
        folder.map_err(|error| self.error("open", error))
    }

    /// Changes the flags of the mount (with `MS_BIND`), or the options of the file system.
    fn remount(&self, flags: MsFlags, options: Option<&str>) -> Result<(), SinkError> {
        let flags = FLAGS | MsFlags::MS_REMOUNT | flags;
        mount(None::<&str>, &self.path, None::<&str>, flags, options)
            .map_err(|error| self.error("remount", error))
    }

    fn mount(&self, set: &[&Credential]) -> Result<Storage, SinkError> {
        let tmpfs = format!("mode=0700,{}", room(set));
        let noswap = format!("{tmpfs},noswap");
        let choices = [
            ("tmpfs", noswap.as_str(), Storage::Memory),
            ("ramfs", "mode=0700", Storage::Memory),
            ("tmpfs", &tmpfs, Storage::Swappable),
        ];
        // A kernel may lack the option or the file system, or forbid it in a user namespace: each for its own reason.
        let mut result = Err(Errno::ENODEV);
        for (kind, options, storage) in choices {
            result = mount(Some(kind), &self.path, Some(kind), FLAGS, Some(options)).map(|()| storage);
            if result.is_ok() {
                break;
            }
        }
        result.map_err(|error| self.error("mount a tmpfs on", error))
    }

    fn remove(&self) {
        // Several, if an import was killed twice.
        while umount2(&self.path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
        _ = unlinkat(&self.state.folder, STAGING, UnlinkatFlags::RemoveDir);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes what an import left at the hidden place that was killed.
pub(super) fn remove_leftovers(root: &Path) -> Result<(), SinkError> {
    if root.join("run/smbios-creds/staging").exists() {
        Staging::new(root, &folder(root, c"run", &root.join("run"))?)?;
    }
    Ok(())
}

/// A second view of a mounted folder, writable where the first is read-only: that is a property of a mount, not of
/// what is mounted. So nobody ever sees the folder itself writable.
pub(super) struct View {
    staging: Staging,
    pub(super) folder: OwnedFd,
}

impl View {
    /// A view of `shown`, below `root`.
    pub(super) fn new(root: &Path, shown: &Folder) -> Result<Self, SinkError> {
        let staging = Staging::new(root, &folder(root, c"run", &root.join("run"))?)?;
        bind(&shown.path, &staging.path)?;
        staging.remount(MsFlags::MS_BIND, None)?;
        let folder = staging.open()?;
        Ok(Self { staging, folder })
    }

    /// Makes room for a set, where the file system has a limit.
    pub(super) fn grow(&self, set: &[&Credential]) -> Result<(), SinkError> {
        self.staging.remount(MsFlags::empty(), Some(&room(set)))
    }
}

/// Makes a filled file system appear in its place. A bind mount inherits the flags of what it shows.
fn bind(from: &Path, to: &Path) -> Result<(), SinkError> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| Folder::new(to).error("bind the credentials to", error))
}

/// Options that give a tmpfs room for a set, and systemd's own room besides.
fn room(set: &[&Credential]) -> String {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| usize::try_from(size).ok());
    let page = page.unwrap_or(4096);
    let size: usize = set.iter().map(|c| c.value.len().next_multiple_of(page)).sum();
    format!("nr_inodes={},size={}", set.len() + INODES, size + SIZE)
}
