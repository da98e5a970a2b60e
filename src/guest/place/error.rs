//! Why credentials could not be written to their place.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use super::outcome::Repaired;
use crate::format::credential::Name;
use crate::sys::{Errno, errno_of, meaning};
use crate::text::escape::{Escaped, ShownPath};
use crate::text::help::Help;
use crate::text::listing::listed;

/// Why credentials could not be written to their place. After such an error, none of the credentials has been written.
/// Exception: a repair of systemd's directory writes one credential after the other, so it may have written some of
/// them before the error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The kernel reports an error.
    #[error("cannot {action} {path}: {}", meaning(.error))]
    System {
        /// The action that failed.
        action: &'static str,
        /// The file or directory that the action was about.
        path: ShownPath,
        /// The kernel's error.
        error: io::Error,
    },
    /// A credential could not be written.
    #[error("cannot write credential {name} ({directory}): {}", meaning(.error))]
    Write {
        /// The credential's name.
        name: Name,
        /// The directory for the credential.
        directory: ShownPath,
        /// The kernel's error.
        error: io::Error,
    },
    /// A repair wrote a credential, but after the repair the credential's file was missing or had other bytes.
    #[error("credential {name} is not complete in {directory} after the repair")]
    NotKept {
        /// The credential's name.
        name: Name,
        /// The directory for the credential.
        directory: ShownPath,
    },
    /// A repair could not write a credential, but had already written other credentials.
    #[error("{error}; repaired before that: {}", listed(.repaired))]
    HalfRepaired {
        /// The credentials that are complete now.
        repaired: Vec<Repaired>,
        /// Why the other credentials were not repaired.
        error: Box<PlaceError>,
    },
    /// The parent of the directory does not exist.
    #[error("{parent} does not exist, so {path} cannot be created")]
    NoParent {
        /// The parent that does not exist.
        parent: ShownPath,
        /// The directory that should be created in the parent.
        path: ShownPath,
    },
    /// The root directory of the system (`--root`) does not exist.
    #[error("{0} does not exist, so nothing can be imported below it")]
    NoRoot(ShownPath),
    /// The path does not end in a name (but in `..`, for example), so no directory can be created at this path.
    #[error("{0} does not end in a name")]
    NoName(ShownPath),
    /// The path is a file or a link, not a directory.
    #[error("{0} is not a directory (a link to one is not followed)")]
    NotADirectory(ShownPath),
    /// The directory contains a file that is not a regular file, such as a subdirectory. An import that replaces the
    /// directory cannot keep such a file.
    #[error("{directory} contains '{}', which is not a regular file", Escaped(.other))]
    HoldsOther {
        /// The directory that contains the file.
        directory: ShownPath,
        /// The name of the file that is not a regular file.
        other: Vec<u8>,
    },
    /// The directory is a mount point, which an import cannot replace as a whole.
    #[error("{0} is a mount point, which cannot be replaced")]
    MountPoint(ShownPath),
    /// The file system cannot exchange two directories in one step.
    #[error("the file system of {0} cannot replace a directory in one step")]
    NoExchange(ShownPath),
    /// Another process created the directory during the import.
    #[error("another program created {0} during the import")]
    Appeared(ShownPath),
    /// Another user can change a directory that only the user of this process should be able to change.
    #[error("{0} belongs to another user, or other users can write to it, so nothing was written there")]
    NotOurs(ShownPath),
    /// Only root can import to a directory that belongs to root.
    #[error("{0} belongs to root, and this process runs as user {1}")]
    NeedsRoot(ShownPath, u32),
    /// `@system` already contains credentials, but not exactly the credentials of the set.
    #[error("{0} contains other credentials or lacks some, and was not changed")]
    InUse(ShownPath),
    /// systemd owns `@system`, but does not pass its content on to units.
    #[error(
        "PID 1 is systemd, which does not pass on credentials from {0}: services would not get them, and systemd \
         would lose credentials that it imports later; nothing was written"
    )]
    BesideSystemd(ShownPath),
}

impl Help for PlaceError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::System { error, .. } | Self::Write { error, .. } => return hint(error).map(Cow::Borrowed),
            Self::NotKept { .. } => "stop the other program that writes there, and run the import again",
            Self::HalfRepaired { error, .. } => return error.help(),
            Self::NoParent { parent, .. } => {
                return Some(format!("create {parent} first, or use --into with another path").into());
            }
            Self::NoRoot(_) => "use --root with an existing directory",
            Self::NoName(_) => "use --into with a path that ends in a name",
            Self::NotADirectory(_) => "use --into with another path",
            Self::HoldsOther { .. } => "use --into with a directory that contains only credentials",
            Self::MountPoint(path) => {
                return Some(
                    format!("use --into with a directory below it, for example {path}/credentials").into(),
                );
            }
            Self::NoExchange(_) => "use --into with a path that does not exist yet",
            Self::Appeared(_) => "run the import again",
            Self::NotOurs(_) => "use --into with a path that only you can change",
            Self::NeedsRoot(..) => "run the import as root, or use --into with a path of your own",
            Self::InUse(_) => {
                "'smbios-creds list' shows the differences; to import again, unmount the directory first"
            }
            Self::BesideSystemd(_) => {
                "to pass the credentials to services that start from now on, use --into credstore"
            }
        }))
    }
}

/// Returns advice for a kernel error whose cause does not depend on the action that failed; `None` for all other
/// errors.
fn hint(error: &io::Error) -> Option<&'static str> {
    match errno_of(error) {
        Errno::EACCES | Errno::EPERM => Some("run this as root, or use --into with a path of your own"),
        Errno::ENOSPC | Errno::EDQUOT => {
            Some("free space on the file system, or use --into with another path")
        }
        Errno::EROFS => Some("use --into with a path on a writable file system"),
        _ => None,
    }
}

/// The path that an error message names.
#[derive(Clone, Copy)]
pub(in crate::guest) struct Context<'a> {
    path: &'a Path,
}

impl<'a> Context<'a> {
    pub(in crate::guest) fn new(path: &'a Path) -> Self {
        Self { path }
    }

    pub(in crate::guest) fn path(self) -> &'a Path {
        self.path
    }

    /// Returns the path, for use in an error.
    pub(in crate::guest) fn shown(self) -> ShownPath {
        self.path.into()
    }

    /// Makes the error for an action that the kernel refused; the message names the action and the path.
    pub(in crate::guest) fn cannot(self, action: &'static str) -> impl FnOnce(Errno) -> PlaceError {
        move |error| PlaceError::System { action, path: self.shown(), error: error.into() }
    }

    /// Makes the error for a credential that could not be written to the directory at the path.
    pub(in crate::guest) fn cannot_write(self, name: &Name) -> impl FnOnce(Errno) -> PlaceError {
        move |error| PlaceError::Write { name: name.clone(), directory: self.shown(), error: error.into() }
    }
}
