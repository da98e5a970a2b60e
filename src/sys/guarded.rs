//! Paths of which no other user can change any part.
//!
//! A program that writes to `/a/b/c` trusts everybody who can replace `/a`, `/a/b` or a link among them. So each
//! directory and each link on the way must belong to the effective user, to root, or to the owner of `/`, who can
//! replace everything anyway. (In a user namespace, root's own files have another owner.) A directory that others can
//! write to must be sticky: there, they can replace only what is theirs.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

use super::directory::{Directory, Stat, user};
use super::{Errno, io_errno};

/// Links that are followed in one path, as by the kernel (`MAXSYMLINKS`, `include/linux/namei.h`).
const LINKS_MAX: usize = 40;

/// A directory that can only be passed through.
const PASSED: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

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

/// Opens a directory. Links are followed, one by one.
pub(crate) fn open(path: &Path) -> Result<Directory, Unguarded> {
    let path = std::path::absolute(path).map_err(|error| Unguarded::Failed(io_errno(error)))?;
    let root = || openat(AT_FDCWD, c"/", PASSED, Mode::empty());
    let mut here = root()?;
    let mut at = PathBuf::from("/");
    let root_stat = Stat(fstat(&here)?);
    let is_trusted = |stat: &Stat| [user(), 0, root_stat.owner()].contains(&stat.owner());
    let mut rest: VecDeque<OsString> = names(&path);
    let mut links = 0;
    if root_stat.is_replaceable() {
        return Err(Unguarded::By(at));
    }
    while let Some(name) = rest.pop_front() {
        let stat = Stat(fstatat(&here, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?);
        if !is_trusted(&stat) {
            return Err(Unguarded::By(at.join(name)));
        }
        if SFlag::from_bits_truncate(stat.mode()) & SFlag::S_IFMT == SFlag::S_IFLNK {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::ELOOP.into());
            }
            let target = PathBuf::from(readlinkat(&here, name.as_os_str())?);
            if target.is_absolute() {
                (here, at) = (root()?, PathBuf::from("/"));
            }
            for name in names(&target).into_iter().rev() {
                rest.push_front(name);
            }
            continue;
        }
        here = openat(&here, name.as_os_str(), PASSED, Mode::empty())?;
        at = if name == ".." { at.parent().unwrap_or(Path::new("/")).to_owned() } else { at.join(name) };
        // What was looked at may have been replaced since.
        let stat = Stat(fstat(&here)?);
        if !is_trusted(&stat) || stat.is_replaceable() {
            return Err(Unguarded::By(at));
        }
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(Directory(openat(&here, c".", flags, Mode::empty())?))
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
