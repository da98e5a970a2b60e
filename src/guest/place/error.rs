//! Why credentials could not be materialized, in words for people.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::Mended;
use crate::format::credential::Name;
use crate::text::escape::Escaped;

/// Why credentials could not be materialized. None of them was, but in a repair beside systemd, which goes credential
/// by credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The kernel refuses something.
    #[error("cannot {action} {}: {}{}", Escaped::from(.path.as_path()), .error.desc(), hint(*.error))]
    System {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the kernel says.
        error: Errno,
    },
    /// A credential could not be written.
    #[error(
        "cannot write credential {name} ({}): {}{}",
        Escaped::from(.folder.as_path()),
        .error.desc(),
        hint(*.error)
    )]
    Write {
        /// Which credential.
        name: Name,
        /// For which folder.
        folder: PathBuf,
        /// What the kernel says.
        error: Errno,
    },
    /// A credential could not be written in a repair, and others before it were.
    #[error("{error}; repaired before that: {}", Listed(.mended))]
    HalfRepaired {
        /// What is whole now.
        mended: Vec<Mended>,
        /// Why the rest is not.
        error: Box<SinkError>,
    },
    /// The path cannot be that of a folder.
    #[error("{} names no folder: give --into a path that ends in a name", Escaped::from(.0.as_path()))]
    NoName(PathBuf),
    /// Something else is in the way.
    #[error("{} is not a folder (a link to one is not followed): give --into another path", Escaped::from(.0.as_path()))]
    NotAFolder(PathBuf),
    /// The folder holds something that cannot be kept.
    #[error(
        "{} holds '{}', which is not a regular file: give --into a folder for credentials alone",
        Escaped::from(.folder.as_path()),
        Escaped(.other)
    )]
    HoldsOther {
        /// The folder.
        folder: PathBuf,
        /// Name of what it holds.
        other: Vec<u8>,
    },
    /// A mount point cannot be replaced as a whole.
    #[error(
        "{path} is a mount point, which cannot be replaced as a whole: give --into a folder below it, as \
         {path}/credentials",
        path = Escaped::from(.0.as_path())
    )]
    MountPoint(PathBuf),
    /// The file system cannot exchange two folders.
    #[error(
        "the file system of {} cannot exchange two folders at once: give --into a path where nothing is yet",
        Escaped::from(.0.as_path())
    )]
    NoExchange(PathBuf),
    /// Somebody else was faster.
    #[error("{} has appeared while the credentials were written: run the import again", Escaped::from(.0.as_path()))]
    Appeared(PathBuf),
    /// Others may write into a folder of ours.
    #[error(
        "{} belongs to somebody else or can be written by others, so nothing is put there: look who made it",
        Escaped::from(.0.as_path())
    )]
    NotOurs(PathBuf),
    /// `@system` already holds something else.
    #[error(
        "{} holds other credentials or lacks some; it was not touched. See what differs with 'smbios-creds list'; to \
         import anew, unmount it first",
        Escaped::from(.0.as_path())
    )]
    InUse(PathBuf),
    /// systemd owns `@system`, and hands out nothing of it.
    #[error(
        "PID 1 is systemd and hands out nothing of {}, so its services would not look there, and it would lose what it \
         imports later; nothing was written. To hand the credentials to services started from now on, use --into \
         credstore",
        Escaped::from(.0.as_path())
    )]
    BesideSystemd(PathBuf),
}

fn hint(error: Errno) -> &'static str {
    match error {
        Errno::EACCES | Errno::EPERM => ". Run this as root, or give --into a path of your own",
        Errno::ENOSPC | Errno::EDQUOT => ". Make room there, or give --into another path",
        Errno::EROFS => ". Give --into a path that can be written",
        Errno::ENOENT => ". Make its parent folder first",
        _ => "",
    }
}

/// A folder as messages name it.
pub(in crate::guest) struct Folder {
    pub(in crate::guest) path: PathBuf,
}

impl Folder {
    pub(in crate::guest) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    pub(in crate::guest) fn error(&self, action: &'static str, error: Errno) -> SinkError {
        SinkError::System { action, path: self.path.clone(), error }
    }

    pub(in crate::guest) fn write_error(&self, name: &Name, error: Errno) -> SinkError {
        SinkError::Write { name: name.clone(), folder: self.path.clone(), error }
    }
}

/// Several of them, with commas between.
struct Listed<'a>(&'a [Mended]);

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, mended) in self.0.iter().enumerate() {
            write!(f, "{}{mended}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
