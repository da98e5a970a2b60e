//! Opens a directory or a file only if no other user can change any part of its path.
//!
//! A program that writes to `/a/b/c` trusts every user who can replace `/a`, `/a/b` or a link in this path. So each
//! directory and each link on the path must belong to the effective user, to root, or to the owner of `/`, who can
//! replace everything anyway. (In a user namespace in which root has no ID, root's files have the overflow user as
//! their owner. The files of all other users without an ID in the namespace have this owner too, so they cannot be
//! distinguished from root's files.) A directory that other users can write to must have the sticky bit: in such a
//! directory, users can replace only their own files.
//!
//! Each part of the path is checked once, from `/` to the destination. One check of each part is enough: no user can
//! replace `/`, and if only trusted users can change the content of a checked directory, no other user can replace the
//! next part after its check. A link is replaced by the path that it contains, so no checked path contains a link. The
//! destination is opened before the checks, and stays open. If a file system is mounted on demand (autofs), opening the
//! destination mounts this file system. A check does not mount this file system, so a check before the mount would
//! check a directory that the mount then hides. At the end, the open directory must be the directory to which the
//! checked path leads.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, readlinkat};
use nix::sys::stat::{SFlag, fstatat};

use super::directory::{Directory, Links};
use super::stat::{self, Stat, user};
use super::{Errno, file, io_errno};

/// Maximum number of links that are followed in one path, as in the kernel (`MAXSYMLINKS`, `include/linux/namei.h`).
const LINKS_MAX: usize = 40;

/// Why a path is not opened.
#[derive(Debug)]
pub(crate) enum Unguarded {
    /// A system call failed with this error.
    Failed(Errno),
    /// Another user can change this part of the path.
    By(PathBuf),
}

impl From<Errno> for Unguarded {
    fn from(error: Errno) -> Self {
        Self::Failed(error)
    }
}

/// Opens a directory if no other user can change a part of its path. Follows links.
pub(crate) fn open(path: &Path) -> Result<Directory, Unguarded> {
    let path = std::path::absolute(path).map_err(|error| Unguarded::Failed(io_errno(error)))?;
    let opened = Directory::open(&path, Links::Follow);
    // Only `/` has no parent. Nobody can replace it, so the open directory is the checked one.
    if path.parent().is_none() {
        let root = opened?;
        return if root.stat()?.is_replaceable() { Err(Unguarded::By(path)) } else { Ok(root) };
    }
    // The path is also checked if the directory could not be opened: if another user can change a part of the path, the
    // error names this part.
    let (at, stat) = walk(&path, End::Directory)?;
    let opened = opened?;
    // If the opened directory is not the directory that the checks found, another user changed the path after it was
    // opened, and may change it again.
    if opened.stat()?.is_same(&stat) { Ok(opened) } else { Err(Unguarded::By(at)) }
}

/// Opens a file if no other user can write to the file, or change a part of its path. Follows links. Also opens files
/// that are not regular, such as devices.
pub(crate) fn open_file(path: &Path) -> Result<File, Unguarded> {
    let path = std::path::absolute(path).map_err(|error| Unguarded::Failed(io_errno(error)))?;
    let opened = file::open(&path);
    let (at, stat) = walk(&path, End::File)?;
    let opened = opened?;
    if stat::stat(&opened)?.is_same(&stat) { Ok(opened) } else { Err(Unguarded::By(at)) }
}

/// The expected type of the destination of a path.
#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    Directory,
    File,
}

/// Follows a path from `/`, and checks each part. Returns the destination and its status.
fn walk(path: &Path, end: End) -> Result<(PathBuf, Stat), Unguarded> {
    let mut at = PathBuf::from("/");
    let mut stat = look(&at)?;
    let owner_of_all = stat.owner();
    if stat.is_replaceable() {
        return Err(Unguarded::By(at));
    }
    let mut rest = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
        } else {
            at.push(name);
        }
        stat = look(&at)?;
        let owner = stat.owner();
        if owner != 0 && owner != owner_of_all && owner != user() {
            return Err(Unguarded::By(at));
        }
        if stat.is_a(SFlag::S_IFLNK) {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::ELOOP.into());
            }
            let target = PathBuf::from(readlinkat(AT_FDCWD, &at)?);
            if target.is_absolute() {
                at = PathBuf::from("/");
            } else {
                at.pop();
            }
            for name in names(&target).into_iter().rev() {
                rest.push_front(name);
            }
        } else if !stat.is_a(SFlag::S_IFDIR) {
            return match (end, rest.is_empty()) {
                (End::File, true) if stat.is_writable_for_others() => Err(Unguarded::By(at)),
                (End::File, true) => Ok((at, stat)),
                _ => Err(Errno::ENOTDIR.into()),
            };
        } else if stat.is_replaceable() {
            return Err(Unguarded::By(at));
        }
    }
    Ok((at, stat))
}

/// Returns the status of the file at a path. Does not follow a link at the path's end.
fn look(path: &Path) -> Result<Stat, Errno> {
    fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).map(Stat)
}

/// Returns the names in a path, in their order.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}
