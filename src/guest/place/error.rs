//! Why credentials could not be materialized.

use std::borrow::Cow;
use std::path::Path;

use super::outcome::Repaired;
use crate::format::credential::Name;
use crate::sys::Errno;
use crate::text::escape::{Escaped, ShownPath};
use crate::text::help::Help;
use crate::text::listing::listed;

/// Why credentials could not be materialized. None of them was written, except in a repair of systemd's directory,
/// which writes credential by credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The kernel reports an error.
    #[error("cannot {action} {path}: {}", .error.desc())]
    System {
        /// The action that failed.
        action: &'static str,
        /// The file or directory of the action.
        path: ShownPath,
        /// The kernel's error.
        error: Errno,
    },
    /// A credential could not be written.
    #[error("cannot write credential {name} ({directory}): {}", .error.desc())]
    Write {
        /// The credential's name.
        name: Name,
        /// The directory for the credential.
        directory: ShownPath,
        /// The kernel's error.
        error: Errno,
    },
    /// A repair wrote a credential, but then could not find it unchanged.
    #[error("credential {name} was not found whole in {directory} after the repair")]
    NotKept {
        /// The credential's name.
        name: Name,
        /// The directory for the credential.
        directory: ShownPath,
    },
    /// A repair could not write a credential, but had written others before.
    #[error("{error}; repaired before that: {}", listed(.repaired))]
    HalfRepaired {
        /// The credentials that are complete now.
        repaired: Vec<Repaired>,
        /// Why the other credentials were not repaired.
        error: Box<PlaceError>,
    },
    /// The parent of the directory does not exist.
    #[error("{parent} does not exist, so {path} cannot be made")]
    NoParent {
        /// The parent that does not exist.
        parent: ShownPath,
        /// The directory that should be created in the parent.
        path: ShownPath,
    },
    /// The root directory of the system does not exist.
    #[error("{0} does not exist, so nothing can be imported below it")]
    NoRoot(ShownPath),
    /// The path cannot be the path of a directory.
    #[error("{0} names no directory")]
    NoName(ShownPath),
    /// The path is a file or a link, not a directory.
    #[error("{0} is not a directory (a link to one is not followed)")]
    NotADirectory(ShownPath),
    /// The directory contains a file that cannot be kept.
    #[error("{directory} holds '{}', which is not a regular file", Escaped(.other))]
    HoldsOther {
        /// The directory that contains the file.
        directory: ShownPath,
        /// The name of that file.
        other: Vec<u8>,
    },
    /// A mount point cannot be replaced as a whole.
    #[error("{0} is a mount point, which cannot be replaced as a whole")]
    MountPoint(ShownPath),
    /// The file system cannot exchange two directories.
    #[error("the file system of {0} cannot exchange two directories at once")]
    NoExchange(ShownPath),
    /// Another process created the directory at the same time.
    #[error("{0} has appeared while the credentials were written")]
    Appeared(ShownPath),
    /// Other users may write to a directory that only this user may change.
    #[error("{0} belongs to another user or can be written by others, so nothing is put there")]
    NotOurs(ShownPath),
    /// Only root can import to a directory that belongs to root.
    #[error("{0} belongs to root, and this process runs as user {1}")]
    NeedsRoot(ShownPath, u32),
    /// `@system` already contains other files.
    #[error("{0} holds other credentials or lacks some; it was not touched")]
    InUse(ShownPath),
    /// systemd owns `@system`, but does not pass its content on to units.
    #[error(
        "PID 1 is systemd and passes on nothing of {0}, so its services would not look there, and it would lose what it \
         imports later; nothing was written"
    )]
    BesideSystemd(ShownPath),
}

impl Help for PlaceError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::System { error, .. } | Self::Write { error, .. } => return hint(*error).map(Cow::Borrowed),
            Self::NotKept { .. } => "see who else writes there, and run the import again",
            Self::HalfRepaired { error, .. } => return error.help(),
            Self::NoParent { parent, .. } => {
                return Some(format!("make {parent} first, or give --into another path").into());
            }
            Self::NoRoot(_) => "give --root a directory",
            Self::NoName(_) => "give --into a path that ends in a name",
            Self::NotADirectory(_) => "give --into another path",
            Self::HoldsOther { .. } => "give --into a directory for credentials only",
            Self::MountPoint(path) => {
                return Some(format!("give --into a directory below it, as {path}/credentials").into());
            }
            Self::NoExchange(_) => "give --into a path where nothing is yet",
            Self::Appeared(_) => "run the import again",
            Self::NotOurs(_) => "give --into a path that only you can change, or look who made it",
            Self::NeedsRoot(..) => "run the import as root, or give --into a path of your own",
            Self::InUse(_) => "see what differs with 'smbios-creds list'; to import again, unmount it first",
            Self::BesideSystemd(_) => {
                "to pass the credentials to services that start from now on, use --into credstore"
            }
        }))
    }
}

/// Returns advice for an error that has the same cause for every action. Other errors are explained where they occur.
fn hint(error: Errno) -> Option<&'static str> {
    match error {
        Errno::EACCES | Errno::EPERM => Some("run this as root, or give --into a path of your own"),
        Errno::ENOSPC | Errno::EDQUOT => Some("make room there, or give --into another path"),
        Errno::EROFS => Some("give --into a path that can be written"),
        _ => None,
    }
}

/// The path in an error message.
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

    /// Returns the path, for use in an error.
    pub(in crate::guest) fn shown(&self) -> ShownPath {
        self.path.clone()
    }

    /// Returns the error that the kernel refused this action on the path.
    pub(in crate::guest) fn cannot(&self, action: &'static str) -> impl FnOnce(Errno) -> PlaceError {
        move |error| PlaceError::System { action, path: self.shown(), error }
    }

    /// Returns the error that the kernel refused to write this credential to the path.
    pub(in crate::guest) fn cannot_write(&self, name: &Name) -> impl FnOnce(Errno) -> PlaceError {
        move |error| PlaceError::Write { name: name.clone(), directory: self.shown(), error }
    }
}
