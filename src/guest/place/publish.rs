//! A folder of credentials: written, compared, and put in place as a whole.
//!
//! Everything is done relative to open descriptors and without following links, so that no name and no race can
//! lead a write out of its folder. A set is written beside its destination, into a staging folder that only its
//! owner can enter, and appears by one rename. Killed anywhere, a credential is absent or complete, and what is left
//! of the staging folder is removed by the next import.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, fsync, geteuid, linkat, unlinkat};
use rustix::fs::{FlockOperation, RawDir, RenameFlags, SeekFrom, flock, renameat_with, seek};
use zeroize::Zeroizing;

use super::error::{Folder, SinkError};
use crate::format::credential::{Credential, Name, Secret};

/// Beginning of the name of a staging folder.
pub(super) const STAGING: &str = ".smbios-creds-";

/// How many names for a staging folder are tried.
const ATTEMPTS: u32 = 1000;

/// Bits that make a credential readable or writable to others than its owner (systemd calls it insecure then).
const INSECURE: u32 = 0o377;

/// `statfs` type of ramfs and of a rootfs without tmpfs (Linux `include/uapi/linux/magic.h`).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What is materialized under a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::guest) enum Content {
    Absent,
    Equal,
    Differs,
}

/// Opens a folder, following links or not.
pub(in crate::guest) fn open(path: &std::path::Path, follow: bool) -> Result<OwnedFd, Errno> {
    let resolve = if follow { ResolveFlag::empty() } else { ResolveFlag::RESOLVE_NO_SYMLINKS };
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(resolve);
    match openat2(AT_FDCWD, path, how) {
        // Linux before 5.6.
        Err(Errno::ENOSYS) => open_by_component(path, follow),
        result => result,
    }
}

fn open_by_component(path: &std::path::Path, follow: bool) -> Result<OwnedFd, Errno> {
    let flags = if follow { DIRECTORY.difference(OFlag::O_NOFOLLOW) } else { DIRECTORY };
    let mut folder = openat(AT_FDCWD, if path.is_absolute() { c"/" } else { c"." }, flags, Mode::empty())?;
    for component in path.components().filter(|c| !matches!(c, std::path::Component::RootDir)) {
        folder = openat(&folder, component.as_os_str(), flags, Mode::empty())?;
    }
    Ok(folder)
}

/// Opens a folder in a folder; `None` if there is none.
pub(in crate::guest) fn open_in(parent: &OwnedFd, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
    match openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a folder in a folder, making it first if need be, with this mode whatever the umask is.
pub(in crate::guest) fn make_in(parent: &OwnedFd, name: &CStr, mode: Mode) -> Result<OwnedFd, Errno> {
    let open = || openat(parent, name, DIRECTORY, Mode::empty());
    match mkdirat(parent, name, mode) {
        Ok(()) => open().and_then(|folder| fchmod(&folder, mode).map(|()| folder)),
        Err(Errno::EEXIST) => open(),
        Err(error) => Err(error),
    }
}

/// Whether a folder belongs to us, and nobody else can put anything in the place of what is in it.
pub(in crate::guest) fn is_ours(folder: &OwnedFd) -> Result<bool, Errno> {
    fstat(folder).map(|stat| is_owned(&stat))
}

fn is_owned(stat: &FileStat) -> bool {
    let replaceable = stat.st_mode & 0o022 != 0 && stat.st_mode & libc::S_ISVTX == 0;
    stat.st_uid == geteuid().as_raw() && !replaceable
}

/// Whether what is written there stays in memory.
pub(in crate::guest) fn is_memory_only(folder: &OwnedFd) -> Result<bool, Errno> {
    let kind = fstatfs(folder)?.filesystem_type();
    Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
}

/// Names in a folder, without `.` and `..`. It is read from where its descriptor stands, which is left at the end.
pub(in crate::guest) fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(folder, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry.map_err(errno)?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// The same for a folder whose names may have been read before.
fn names_again(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    seek(folder, SeekFrom::Start(0)).map_err(errno)?;
    names(folder)
}

/// What is materialized under the name of a credential, compared with it byte for byte.
pub(in crate::guest) fn compare(folder: &OwnedFd, credential: &Credential) -> Result<Content, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = match openat(folder, credential.name.as_str(), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(Content::Absent),
        Err(Errno::ELOOP) => return Ok(Content::Differs),
        Err(error) => return Err(error),
    };
    let stat = fstat(&file)?;
    let expected = credential.value.expose();
    if !is_kind(&stat, SFlag::S_IFREG) || stat.st_mode & INSECURE != 0 {
        return Ok(Content::Differs);
    }
    if usize::try_from(stat.st_size) != Ok(expected.len()) {
        return Ok(Content::Differs);
    }
    let mut found = Zeroizing::new(vec![0; expected.len()]);
    match file.read_exact(&mut found) {
        Ok(()) if *found == expected => Ok(Content::Equal),
        Ok(()) => Ok(Content::Differs),
        Err(error) => Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
    }
}

/// Whether every credential is materialized, byte for byte.
pub(in crate::guest) fn holds_all(folder: &OwnedFd, set: &[&Credential]) -> Result<bool, Errno> {
    for credential in set {
        if compare(folder, credential)? != Content::Equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes credentials into a folder that only the writer can enter.
pub(in crate::guest) fn write_all(
    folder: &OwnedFd,
    set: &[&Credential],
    sync: bool,
    shown: &Folder,
) -> Result<(), SinkError> {
    for credential in set {
        write(folder, &credential.name, &credential.value, sync)
            .map_err(|error| shown.write_error(&credential.name, error))?;
    }
    Ok(())
}

/// Writes a new file. What is left of it after a failure is for the caller to remove.
pub(in crate::guest) fn write(
    folder: &OwnedFd,
    name: &Name,
    value: &Secret,
    sync: bool,
) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(folder, name.as_str(), flags, Mode::S_IRUSR)?);
    let written = file.write_all(value.expose()).and_then(|()| if sync { file.sync_all() } else { Ok(()) });
    written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// How a set was put in place.
pub(in crate::guest) struct Published {
    /// Whether anything had to be written.
    pub(super) written: bool,
    /// Whether it stays in memory.
    pub(super) memory: bool,
}

/// Puts a set in place in `target`, a folder in `parent`, which was opened for this.
///
/// Files of other names in `target` are kept; a file of the same name is replaced.
pub(in crate::guest) fn publish(
    parent: &OwnedFd,
    target: &CStr,
    set: &[&Credential],
    shown: &Folder,
) -> Result<Published, SinkError> {
    let memory = is_memory_only(parent).map_err(|error| shown.error("look at", error))?;
    let sync = !memory;
    let leftovers = |error| shown.error("remove what an interrupted import left beside", error);
    let beside = names(parent).map_err(leftovers)?;
    remove_stale(parent, &beside).map_err(leftovers)?;
    let existing = if beside.iter().any(|name| **name == *target) {
        match open_in(parent, target) {
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(SinkError::NotAFolder(shown.path.clone())),
            result => result.map_err(|error| shown.error("open", error))?,
        }
    } else {
        None
    };
    if let Some(existing) = &existing
        && holds_all(existing, set).map_err(|error| shown.error("read", error))?
    {
        return Ok(Published { written: false, memory });
    }
    let staging = Staging::new(parent, shown)?;
    write_all(&staging.folder, set, sync, shown)?;
    if let Some(existing) = &existing {
        staging.take_over(existing, shown)?;
    }
    if sync {
        fsync(&staging.folder).map_err(|error| shown.error("write", error))?;
    }
    staging.put_in_place(target, existing.as_ref(), shown)?;
    if sync {
        fsync(parent).map_err(|error| shown.error("write", error))?;
    }
    Ok(Published { written: true, memory })
}

/// A folder beside the destination, in which a set is prepared. It is locked, so that another import can tell it
/// from what a killed one left behind, and removed if it is dropped before it is in place.
struct Staging<'a> {
    parent: &'a OwnedFd,
    name: CString,
    folder: OwnedFd,
    /// Whether nothing is left under its name.
    in_place: bool,
}

impl<'a> Staging<'a> {
    fn new(parent: &'a OwnedFd, shown: &Folder) -> Result<Self, SinkError> {
        let failed = |error| shown.error("make a staging folder beside", error);
        // Of its own, or it could be another import's that is in place by the time it is locked.
        let process = std::process::id();
        for attempt in 0..ATTEMPTS {
            let name = format!("{STAGING}{process}-{attempt}");
            let name = CString::new(name).map_err(|_| failed(Errno::EINVAL))?;
            match mkdirat(parent, &*name, Mode::S_IRWXU) {
                Err(Errno::EEXIST) => continue,
                result => result.map_err(failed)?,
            }
            let Some(folder) = open_in(parent, &name).map_err(failed)? else { continue };
            // Until it is locked, another import may take it for a leftover and remove it.
            let locked = try_lock(&folder).map_err(|error| {
                // Empty; whatever is not, is not ours.
                _ = unlinkat(parent, &*name, UnlinkatFlags::RemoveDir);
                failed(error)
            })?;
            let stat = fstat(&folder).map_err(failed)?;
            // Whoever can write to the parent can put a folder of their own in its place.
            if !is_owned(&stat) {
                let parent = shown.path.parent().unwrap_or(&shown.path);
                return Err(SinkError::NotOurs(parent.to_path_buf()));
            }
            if locked && stat.st_nlink > 0 {
                return Ok(Self { parent, name, folder, in_place: false });
            }
        }
        Err(failed(Errno::EEXIST))
    }

    /// Brings the other files of the folder that is to be replaced, its mode and its owner.
    fn take_over(&self, existing: &OwnedFd, shown: &Folder) -> Result<(), SinkError> {
        let copy = || {
            let stat = fstat(existing)?;
            let own = fstat(&self.folder)?;
            if (own.st_uid, own.st_gid) != (stat.st_uid, stat.st_gid) {
                fchown(&self.folder, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            }
            fchmod(&self.folder, Mode::from_bits_truncate(stat.st_mode))
        };
        copy().map_err(|error| shown.error("keep mode and owner of", error))?;
        for name in names(existing).map_err(|error| shown.error("read", error))? {
            let stat = fstatat(existing, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|error| shown.error("read", error))?;
            if !is_kind(&stat, SFlag::S_IFREG) {
                let other = name.to_bytes().to_vec();
                return Err(SinkError::HoldsOther { folder: shown.path.clone(), other });
            }
            match linkat(existing, &*name, &self.folder, &*name, LinkatFlags::empty()) {
                // A credential of the new set takes the place of the old file.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(shown.error("keep the other files of", error)),
            }
        }
        Ok(())
    }

    /// Makes the set appear, all at once.
    fn put_in_place(
        mut self,
        target: &CStr,
        existing: Option<&OwnedFd>,
        shown: &Folder,
    ) -> Result<(), SinkError> {
        let Some(existing) = existing else {
            match renameat(self.parent, &*self.name, self.parent, target) {
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => return Err(SinkError::Appeared(shown.path.clone())),
                result => result.map_err(|error| shown.error("put the credentials in place as", error))?,
            }
            self.in_place = true;
            return Ok(());
        };
        match rename(self.parent, &self.name, self.parent, target, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::EBUSY | Errno::EXDEV) => return Err(SinkError::MountPoint(shown.path.clone())),
            Err(Errno::EINVAL | Errno::ENOSYS) => return Err(SinkError::NoExchange(shown.path.clone())),
            Err(error) => return Err(shown.error("put the credentials in place in", error)),
        }
        // What somebody added between the look and the exchange is in the old folder now, and is moved over.
        for name in names_again(existing).map_err(|error| shown.error("read", error))? {
            match rename(existing, &name, &self.folder, &name, RenameFlags::NOREPLACE) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(shown.error("keep the other files of", error)),
            }
        }
        remove(self.parent, &self.name, existing)
            .map_err(|error| shown.error("remove the old files of", error))?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // A failure leaves what the next import removes.
        if !self.in_place
            && let Ok(Some(folder)) = open_in(self.parent, &self.name)
        {
            _ = remove(self.parent, &self.name, &folder);
        }
    }
}

/// Removes staging folders that nobody holds.
fn remove_stale(parent: &OwnedFd, beside: &[CString]) -> Result<(), Errno> {
    for name in beside.iter().filter(|name| name.to_bytes().starts_with(STAGING.as_bytes())) {
        // Somebody else's, or gone by now: not ours to remove.
        let Ok(Some(folder)) = open_in(parent, name) else { continue };
        let stat = fstat(&folder)?;
        if stat.st_uid != geteuid().as_raw() {
            continue;
        }
        // By the time it is locked, the import that it belonged to may have put it in place.
        let still_there = || {
            let found = fstatat(parent, &**name, AtFlags::AT_SYMLINK_NOFOLLOW);
            found.is_ok_and(|found| (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino))
        };
        if try_lock(&folder)? && still_there() {
            match remove(parent, name, &folder) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Removes a folder of files.
fn remove(parent: &OwnedFd, name: &CStr, folder: &OwnedFd) -> Result<(), Errno> {
    for file in names_again(folder)? {
        unlinkat(folder, &*file, UnlinkatFlags::NoRemoveDir)?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

/// Locks a folder for as long as its descriptor is open; `false` if somebody else has. (The lock of nix panics if it
/// cannot be released.)
fn try_lock(folder: &OwnedFd) -> Result<bool, Errno> {
    match flock(folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(errno(error)),
    }
}

/// renameat2(2), with the error type of everything else here.
fn rename(from: &OwnedFd, name: &CStr, to: &OwnedFd, target: &CStr, flags: RenameFlags) -> Result<(), Errno> {
    renameat_with(from, name, to, target, flags).map_err(errno)
}

/// The error type of everything else here.
fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

pub(in crate::guest) fn is_kind(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}
