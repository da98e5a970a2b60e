//! Paths of which no other user can change any part, to directories and to files.
//!
//! A program that writes to `/a/b/c` trusts everybody who can replace `/a`, `/a/b` or a link among them. So each
//! directory and each link on the way must belong to the effective user, to root, or to the owner of `/`, who can
//! replace everything anyway. (In a user namespace without root, root's files have another owner. Files of other users
//! that it lacks have the same one, and cannot be told from them.) A directory that others can write to must be
//! sticky: there, they can replace only what is theirs.
//!
//! Each part is looked at by its path, once, from `/` down. That is sound by induction. Nobody can replace `/`. If only
//! trusted users can change what a directory holds, then what was seen in it stays what it is, except if they change
//! it. So the path of the next part leads through what was looked at. A link is replaced by its text, so that no path
//! that is looked at has a link in it. The destination is opened first and held, which mounts everything that is
//! mounted on demand: a look does not, and would see what is below the mount. At the end, the open directory must be
//! the one that the path led to.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, readlinkat};
use nix::sys::stat::{SFlag, fstatat};

use super::directory::{self, Directory, Links, Stat, user};
use super::{Errno, file, io_errno};

/// Links that are followed in one path, as by the kernel (`MAXSYMLINKS`, `include/linux/namei.h`).
const LINKS_MAX: usize = 40;

/// Why a path is not opened.
#[derive(Debug)]
pub(crate) enum Unguarded {
    /// The kernel refuses.
    Failed(Errno),
    /// Another user can change this part of the path.
    By(PathBuf),
}

impl From<Errno> for Unguarded {
    fn from(error: Errno) -> Self {
        Self::Failed(error)
    }
}

/// Opens a directory. Links are followed.
pub(crate) fn open(path: &Path) -> Result<Directory, Unguarded> {
    let path = std::path::absolute(path).map_err(|error| Unguarded::Failed(io_errno(error)))?;
    let opened = Directory::open(&path, Links::Follow);
    // Also if that failed: who can change the path is the better answer.
    let (at, stat) = walk(&path, End::Directory)?;
    let opened = opened?;
    // Whoever changed it in between may still change it.
    if opened.stat()?.is_same(&stat) { Ok(opened) } else { Err(Unguarded::By(at)) }
}

/// Opens a file that no other user can write to. Links are followed. What is no regular file is opened as well.
pub(crate) fn open_file(path: &Path) -> Result<File, Unguarded> {
    let path = std::path::absolute(path).map_err(|error| Unguarded::Failed(io_errno(error)))?;
    let opened = file::open(&path);
    let (at, stat) = walk(&path, End::File)?;
    let opened = opened?;
    if directory::stat(&opened)?.is_same(&stat) { Ok(opened) } else { Err(Unguarded::By(at)) }
}

/// What is at the end of a path.
#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    Directory,
    File,
}

/// Follows a path from `/`, and looks at each part. Returns where it leads to.
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

/// What is at a path; a link at its end is not followed.
fn look(path: &Path) -> Result<Stat, Errno> {
    fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).map(Stat)
}

/// The names in a path, from its beginning.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}
