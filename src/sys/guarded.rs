//! Opens directories and files by paths of which no other user can change any part.
//!
//! A program that writes to `/a/b/c` trusts every user who can replace `/a`, `/a/b` or a link among them. So each
//! directory and each link on the path must belong to the effective user, to root, or to the owner of `/`, who can
//! replace everything anyway. (In a user namespace without root, root's files have another owner. Files of all other
//! users without an ID in the namespace have this owner too, so they cannot be distinguished.) A directory that others
//! can write to must be sticky: there, they can replace only their own files.
//!
//! Each part is checked by its path, once, from `/` down. This is sound by induction. No user can replace `/`. If only
//! trusted users can change a directory's content, then a checked part stays unchanged, unless they change it. So the
//! path of the next part only contains checked parts. A link is replaced by its text, so no checked path contains a
//! link. The destination is opened first and stays open, which mounts everything that is mounted on demand: a check
//! does not, and would see the files below the mount. At the end, the open directory must be the one to which the path
//! led.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, readlinkat};
use nix::sys::stat::{SFlag, fstatat};

use super::directory::{self, Directory, Links, Stat, user};
use super::{Errno, file, io_errno};

/// Maximum number of links that are followed in one path, as in the kernel (`MAXSYMLINKS`, `include/linux/namei.h`).
const LINKS_MAX: usize = 40;

/// Why a path is not opened.
#[derive(Debug)]
pub(crate) enum Unguarded {
    /// The kernel reports an error.
    Failed(Errno),
    /// Another user can change this part of the path.
    By(PathBuf),
}

impl From<Errno> for Unguarded {
    fn from(error: Errno) -> Self {
        Self::Failed(error)
    }
}

/// Opens a directory. Follows links.
pub(crate) fn open(path: &Path) -> Result<Directory, Unguarded> {
    let path = std::path::absolute(path).map_err(|error| Unguarded::Failed(io_errno(error)))?;
    let opened = Directory::open(&path, Links::Follow);
    // The path is also checked if opening failed: a user who can change the path is the better explanation.
    let (at, stat) = walk(&path, End::Directory)?;
    let opened = opened?;
    // If another user changed the path in between, they may still change it.
    if opened.stat()?.is_same(&stat) { Ok(opened) } else { Err(Unguarded::By(at)) }
}

/// Opens a file that no other user can write to. Follows links. Also opens a file that is not regular.
pub(crate) fn open_file(path: &Path) -> Result<File, Unguarded> {
    let path = std::path::absolute(path).map_err(|error| Unguarded::Failed(io_errno(error)))?;
    let opened = file::open(&path);
    let (at, stat) = walk(&path, End::File)?;
    let opened = opened?;
    if directory::stat(&opened)?.is_same(&stat) { Ok(opened) } else { Err(Unguarded::By(at)) }
}

/// The expected type at the end of a path.
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
