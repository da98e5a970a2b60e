//! An open directory, and operations relative to it.
//!
//! These operations do not follow symbolic links, so neither a name nor a race can lead out of the directory.
//! [`Directory::make_in`], [`Directory::make_or_open`] and [`Directory::create_locked`] create a directory or a file with
//! exactly the given mode. In all other calls, the umask removes permissions from a new file or directory.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::NixPath;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::libc;
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, fsync, linkat, unlinkat};
use rustix::fs::{FlockOperation, RawDir, RenameFlags, SeekFrom, flock, renameat_with, seek};

use super::stat::{Stat, stat};
use super::{Errno, errno};

/// File system type that statfs(2) returns for a ramfs, and for a rootfs that is not a tmpfs (Linux
/// `include/uapi/linux/magic.h`).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// How often [`Directory::create_locked`] tries to create a file that other processes remove. Only a file system whose
/// inode numbers are wrong needs more attempts, and never stops.
const ATTEMPTS: u32 = 1000;

/// Whether symbolic links in a path are followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Links {
    /// Links are followed.
    Follow,
    /// A path that contains a link is an error (`ELOOP`, or `ENOTDIR` without openat2(2)).
    Refuse,
}

/// Whether the file system of an open file or directory is only in memory: a tmpfs or a ramfs.
pub(crate) fn is_memory_only(file: impl AsFd) -> Result<bool, Errno> {
    let kind = fstatfs(file)?.filesystem_type();
    Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Directory {
    /// Opens a directory by its path.
    pub(crate) fn open(path: &Path, links: Links) -> Result<Self, Errno> {
        if links == Links::Follow {
            return openat(AT_FDCWD, path, DIRECTORY.difference(OFlag::O_NOFOLLOW), Mode::empty()).map(Self);
        }
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(AT_FDCWD, path, how) {
            // Linux before 5.6 does not have openat2(2). A seccomp filter (of an import or of a unit) refuses
            // openat2(2), because a filter cannot read the flags of this call.
            Err(Errno::ENOSYS | Errno::EPERM) => Self::open_by_component(path),
            result => result.map(Self),
        }
    }

    /// Opens each directory of a path relative to the previous directory. Only the last directory must be readable.
    fn open_by_component(path: &Path) -> Result<Self, Errno> {
        let mut directory = None;
        let mut name = PathBuf::new();
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            name.push(component);
            let is_last = components.peek().is_none();
            // The root directory is opened together with the first directory in it.
            if component != Component::RootDir || is_last {
                let flags = if is_last { DIRECTORY } else { DIRECTORY.union(OFlag::O_PATH) };
                let parent = directory.as_ref().map_or(AT_FDCWD, OwnedFd::as_fd);
                directory = Some(openat(parent, &name, flags, Mode::empty())?);
                name.clear();
            }
        }
        directory.map(Self).ok_or(Errno::ENOENT)
    }

    /// Opens the directory `name` in this directory. Returns `None` if `name` does not exist.
    pub(crate) fn open_in(&self, name: &CStr) -> Result<Option<Self>, Errno> {
        match openat(self, name, DIRECTORY, Mode::empty()) {
            Ok(directory) => Ok(Some(Self(directory))),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the directory `name` in this directory. If `name` does not exist, first creates it with exactly this mode.
    pub(crate) fn make_in(&self, name: &CStr, mode: u32) -> Result<Self, Errno> {
        match self.open_in(name)? {
            Some(directory) => Ok(directory),
            None => self.make_or_open(name, mode),
        }
    }

    /// Does the same as [`Directory::make_in`], with fewer system calls if `name` does not exist.
    pub(crate) fn make_or_open(&self, name: &CStr, mode: u32) -> Result<Self, Errno> {
        let open = || openat(self, name, DIRECTORY, Mode::empty()).map(Self);
        match self.make(name, mode) {
            Ok(()) => open().and_then(|directory| directory.set_mode(mode).map(|()| directory)),
            Err(Errno::EEXIST) => open(),
            Err(error) => Err(error),
        }
    }

    /// Creates the directory `name` in this directory. The umask removes permissions from `mode`.
    pub(crate) fn make(&self, name: &CStr, mode: u32) -> Result<(), Errno> {
        mkdirat(self, name, Mode::from_bits_truncate(mode))
    }

    /// Returns the status of this directory.
    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        stat(self)
    }

    /// Returns the status of the file with this name. Does not follow a link.
    pub(crate) fn stat_of(&self, name: &(impl NixPath + ?Sized)) -> Result<Stat, Errno> {
        fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(Stat)
    }

    /// Whether the file system of this directory is mounted read-only.
    pub(crate) fn is_read_only(&self) -> Result<bool, Errno> {
        Ok(fstatvfs(self)?.flags().contains(FsFlags::ST_RDONLY))
    }

    /// Returns the names in the directory, without `.` and `..`. A second call returns no names, because it continues
    /// where the first call ended.
    pub(crate) fn names(&self) -> Result<Vec<CString>, Errno> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let name = entry.map_err(errno)?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether the directory contains no name except `.` and `..`. Call this before [`Directory::names`].
    pub(crate) fn is_empty(&self) -> Result<bool, Errno> {
        let mut buffer = [MaybeUninit::uninit(); 512];
        let mut entries = RawDir::new(&self.0, &mut buffer);
        while let Some(entry) = entries.next() {
            if !matches!(entry.map_err(errno)?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns all names in the directory, even if an earlier call has already returned them.
    pub(crate) fn names_again(&self) -> Result<Vec<CString>, Errno> {
        seek(&self.0, SeekFrom::Start(0)).map_err(errno)?;
        self.names()
    }

    /// Opens the file `name` for reading. If the file is a FIFO, does not wait for a writer.
    pub(crate) fn read(&self, name: &(impl NixPath + ?Sized)) -> Result<File, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(self, name, flags, Mode::empty()).map(File::from)
    }

    /// Opens the file `name` for reading. Neither a symbolic link nor `..` can lead out of this directory.
    pub(crate) fn read_beneath(&self, name: &(impl NixPath + ?Sized)) -> Result<File, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let opened = match openat2(self, name, OpenHow::new().flags(flags).resolve(resolve)) {
            // openat2(2) fails for the same reasons as in `open`. All callers give a name with only one component, so
            // `O_NOFOLLOW` is enough.
            Err(Errno::ENOSYS | Errno::EPERM) => openat(self, name, flags | OFlag::O_NOFOLLOW, Mode::empty()),
            result => result,
        };
        opened.map(File::from)
    }

    /// Creates the new file `name` for writing. The umask removes permissions from `mode`.
    pub(crate) fn create(&self, name: &(impl NixPath + ?Sized), mode: u32) -> Result<File, Errno> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(self, name, flags, Mode::from_bits_truncate(mode)).map(File::from)
    }

    /// Creates the new file `name` for writing, with exactly this mode, and locks it. Waits while another process has the
    /// lock of a file with this name. A file without a lock was left by a killed process, and is removed. Closing the
    /// returned file removes the lock.
    pub(crate) fn create_locked(&self, name: &str, mode: u32) -> Result<File, Errno> {
        for _ in 0..ATTEMPTS {
            let file = match self.create(name, mode) {
                Err(Errno::EEXIST) => {
                    self.remove_unlocked(name)?;
                    continue;
                }
                created => created?,
            };
            flock(&file, FlockOperation::LockExclusive).map_err(errno)?;
            let found = stat(&file)?;
            // Before this process had the lock, another process may have removed the file.
            if !found.is_removed() {
                // The umask may have removed permissions.
                if found.mode() & 0o7777 != mode {
                    fchmod(&file, Mode::from_bits_truncate(mode))?;
                }
                return Ok(file);
            }
        }
        Err(Errno::EEXIST)
    }

    /// Waits until no other process has the lock of the file `name`. Then removes the file, if it still has this name.
    fn remove_unlocked(&self, name: &str) -> Result<(), Errno> {
        let file = match self.read(name) {
            // A link or a socket, which nobody can lock.
            Err(Errno::ELOOP | Errno::ENXIO) => return self.remove_file(name),
            Err(Errno::ENOENT) => return Ok(()),
            opened => opened?,
        };
        flock(&file, FlockOperation::LockExclusive).map_err(errno)?;
        match self.stat_of(name) {
            Ok(found) if found.is_same(&stat(&file)?) => self.remove_file(name),
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until no other process has a lock on the lock file `name`, and locks the file. Closing the returned
    /// descriptor removes the lock.
    pub(crate) fn lock_file(&self, name: &CStr) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let lock = openat(self, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(errno)?;
        Ok(lock)
    }

    /// Locks this directory until it is closed. Returns `false` if another process has locked it. (nix's `Flock` is not
    /// used, because it panics if it cannot remove the lock.)
    pub(crate) fn try_lock(&self) -> Result<bool, Errno> {
        match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(errno(error)),
        }
    }

    /// Sets the mode of the directory to exactly this mode.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        fchmod(self, Mode::from_bits_truncate(mode))
    }

    /// Gives this directory the mode of `other`. If the owner or the group differs, also sets the owner and group of
    /// `other`. The set-user-ID and set-group-ID bits are not copied: the seccomp filter of an import forbids these
    /// bits, and the bits have no effect on the files that an import writes.
    pub(crate) fn take_mode_and_owner(&self, other: &Self) -> Result<(), Errno> {
        let (Stat(theirs), Stat(own)) = (other.stat()?, self.stat()?);
        if (own.st_uid, own.st_gid) != (theirs.st_uid, theirs.st_gid) {
            fchown(self, Some(Uid::from_raw(theirs.st_uid)), Some(Gid::from_raw(theirs.st_gid)))?;
        }
        self.set_mode(theirs.st_mode & !(libc::S_ISUID | libc::S_ISGID))
    }

    /// Makes a hard link: the file `name` of this directory also gets the name `target` in the directory `other`.
    pub(crate) fn link<N: NixPath + ?Sized>(&self, name: &N, other: &Self, target: &N) -> Result<(), Errno> {
        linkat(self, name, other, target, LinkatFlags::empty())
    }

    /// Renames the file `name` to `target` in this directory. Replaces `target` if it exists.
    pub(crate) fn rename(
        &self,
        name: &(impl NixPath + ?Sized),
        target: &(impl NixPath + ?Sized),
    ) -> Result<(), Errno> {
        renameat(self, name, self, target)
    }

    /// Moves the file `name` into the directory `other`. Fails with `EEXIST` if `other` already contains this name.
    pub(crate) fn move_into(&self, name: &CStr, other: &Self) -> Result<(), Errno> {
        renameat_with(&self.0, name, &other.0, name, RenameFlags::NOREPLACE).map_err(errno)
    }

    /// Exchanges the files or directories of two names in this directory, atomically.
    pub(crate) fn exchange(&self, name: &CStr, target: &CStr) -> Result<(), Errno> {
        renameat_with(&self.0, name, &self.0, target, RenameFlags::EXCHANGE).map_err(errno)
    }

    /// Removes a file.
    pub(crate) fn remove_file(&self, name: &(impl NixPath + ?Sized)) -> Result<(), Errno> {
        unlinkat(self, name, UnlinkatFlags::NoRemoveDir)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&self, name: &CStr) -> Result<(), Errno> {
        unlinkat(self, name, UnlinkatFlags::RemoveDir)
    }

    /// Writes the changes in this directory to the disk, so that they survive a crash of the machine.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        fsync(self)
    }
}
