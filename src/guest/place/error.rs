//! Why credentials could not be materialized.

use std::path::Path;

use super::outcome::Repaired;
use crate::format::credential::Name;
use crate::sys::Errno;
use crate::text::escape::{Escaped, ShownPath};
use crate::text::listing::listed;

/// Why credentials could not be materialized. None of them was, except in a repair of what systemd had imported, which
/// goes credential by credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The kernel refuses something.
    #[error("cannot {action} {path}: {}{}", .error.desc(), hint(*.error))]
    System {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: ShownPath,
        /// What the kernel says.
        error: Errno,
    },
    /// A credential could not be written.
    #[error("cannot write credential {name} ({directory}): {}{}", .error.desc(), hint(*.error))]
    Write {
        /// Which credential.
        name: Name,
        /// For which directory.
        directory: ShownPath,
        /// What the kernel says.
        error: Errno,
    },
    /// What was written in a repair is not there when it is read again.
    #[error(
        "credential {name} was not found whole in {directory} after the repair: see who else writes there, and run the \
         import again"
    )]
    NotKept {
        /// Which credential.
        name: Name,
        /// For which directory.
        directory: ShownPath,
    },
    /// A credential could not be written in a repair, and others before it were.
    #[error("{error}; repaired before that: {}", listed(.repaired))]
    HalfRepaired {
        /// What is whole now.
        repaired: Vec<Repaired>,
        /// Why the rest is not.
        error: Box<PlaceError>,
    },
    /// There is no directory to make another one in.
    #[error(
        "{parent} does not exist, so {path} cannot be made: make {parent} first, or give --into another path"
    )]
    NoParent {
        /// What does not exist.
        parent: ShownPath,
        /// What was to be made in it.
        path: ShownPath,
    },
    /// The root directory of the system does not exist.
    #[error("{0} does not exist, so nothing can be imported below it: give --root a directory")]
    NoRoot(ShownPath),
    /// The path cannot be that of a directory.
    #[error("{0} names no directory: give --into a path that ends in a name")]
    NoName(ShownPath),
    /// Something else is in the way.
    #[error("{0} is not a directory (a link to one is not followed): give --into another path")]
    NotADirectory(ShownPath),
    /// The directory holds something that cannot be kept.
    #[error(
        "{directory} holds '{}', which is not a regular file: give --into a directory for credentials only",
        Escaped(.other)
    )]
    HoldsOther {
        /// The directory.
        directory: ShownPath,
        /// Name of what it holds.
        other: Vec<u8>,
    },
    /// A mount point cannot be replaced as a whole.
    #[error(
        "{0} is a mount point, which cannot be replaced as a whole: give --into a directory below it, as {0}/credentials"
    )]
    MountPoint(ShownPath),
    /// The file system cannot exchange two directories.
    #[error(
        "the file system of {0} cannot exchange two directories at once: give --into a path where nothing is yet"
    )]
    NoExchange(ShownPath),
    /// Another process was faster.
    #[error("{0} has appeared while the credentials were written: run the import again")]
    Appeared(ShownPath),
    /// Others may write into a directory of ours.
    #[error(
        "{0} belongs to another user or can be written by others, so nothing is put there: give --into a path \
         that only you can change, or look who made it"
    )]
    NotOurs(ShownPath),
    /// Only root can import to a directory of root's.
    #[error(
        "{0} belongs to root, and this process runs as user {1}: run the import as root, or give --into a path of \
         your own"
    )]
    NeedsRoot(ShownPath, u32),
    /// `@system` already holds something else.
    #[error(
        "{0} holds other credentials or lacks some; it was not touched. See what differs with 'smbios-creds list'; to \
         import again, unmount it first"
    )]
    InUse(ShownPath),
    /// systemd owns `@system`, and passes nothing of it on to units.
    #[error(
        "PID 1 is systemd and passes on nothing of {0}, so its services would not look there, and it would lose what it \
         imports later; nothing was written. To pass the credentials to services that start from now on, use --into \
         credstore"
    )]
    BesideSystemd(ShownPath),
}

/// What to do about an error that has the same cause whatever was tried. Others are explained where they occur.
fn hint(error: Errno) -> &'static str {
    match error {
        Errno::EACCES | Errno::EPERM => ". Run this as root, or give --into a path of your own",
        Errno::ENOSPC | Errno::EDQUOT => ". Make room there, or give --into another path",
        Errno::EROFS => ". Give --into a path that can be written",
        _ => "",
    }
}

/// The path that errors are about.
pub(in crate::guest) struct Context {
    path: ShownPath,
}

impl Context {
    pub(in crate::guest) fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    pub(in crate::guest) fn path(&self) -> &Path {
        self.path.as_path()
    }

    /// The path, to be put into an error.
    pub(in crate::guest) fn shown(&self) -> ShownPath {
        self.path.clone()
    }

    /// The kernel refused this action on the path.
    pub(in crate::guest) fn cannot(&self, action: &'static str) -> impl FnOnce(Errno) -> PlaceError {
        move |error| PlaceError::System { action, path: self.shown(), error }
    }

    /// The kernel refused to write this credential to the path.
    pub(in crate::guest) fn cannot_write(&self, name: &Name) -> impl FnOnce(Errno) -> PlaceError {
        move |error| PlaceError::Write { name: name.clone(), directory: self.shown(), error }
    }
}
