//! The places for credentials, and how a set is written to a place.
//!
//! | place | directory | how the set appears |
//! |---|---|---|
//! | [`Place::System`] | `/run/credentials/@system` | one mount, or a repair of the files that systemd imported |
//! | [`Place::Initrd`] | `/run/credentials/@initrd`, which systemd merges after switch-root | one rename |
//! | [`Place::Credstore`] | `/run/credstore`, which `LoadCredential=` and `ImportCredential=` search | one rename |
//! | [`Place::Directory`] | any directory | one rename |
//!
//! Encrypted credentials do not go to any of these places: see [`sealed`].
//!
//! Under systemd, `@system` belongs to PID 1. If this program mounted a file system on `@system`, systemd might import
//! nothing, and its units might see no credential. If systemd passes the credentials that it has imported on to its
//! units, this program repairs systemd's directory. If systemd passes no credentials on to its units, this program
//! refuses to write to `@system`. The module [`choose`] decides between a mount, a repair and a refusal only once, when
//! it chooses the place.

pub mod choose;
mod content;
mod effect;
pub(super) mod error;
pub mod found;
pub mod handover;
mod leftover;
mod mount;
pub mod opened;
pub mod outcome;
pub(super) mod own;
mod publish;
mod repair;
pub mod sealed;

use std::borrow::Cow;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use self::content::{Buffer, Found, Wanted};
use self::error::Context;
pub use self::error::PlaceError;
use self::outcome::{Outcome, State};
use super::system::System;
use super::verify::delivery::{Delivery, Entry};
use crate::format::credential::{Credential, Name};
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};

/// A place for credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// `/run/credentials/@system`.
    System,
    /// `/run/credentials/@initrd`.
    Initrd,
    /// `/run/credstore`.
    Credstore,
    /// Any directory.
    Directory(PathBuf),
}

/// How a set is written to its place. The method is decided when the place is chosen, by looking at the system once.
#[derive(Debug)]
pub(in crate::guest) enum Method {
    /// The set appears by one rename of a directory.
    Rename,
    /// The set appears by one mount of a file system.
    Mount,
    /// The set appears credential by credential, in the directory that systemd filled. The value is the open directory,
    /// or the error if the directory could not be opened.
    Repair(Result<Directory, Errno>),
    /// The set is not written: systemd does not pass credentials in this place on to units.
    Refuse,
}

impl Place {
    /// Returns the directory of this place.
    #[must_use]
    pub fn directory(&self, system: &System) -> Cow<'_, Path> {
        match self {
            Self::System => system.system_credentials(),
            Self::Initrd => system.initrd_credentials(),
            Self::Credstore => system.credstore(),
            Self::Directory(path) => path.into(),
        }
    }

    /// Writes a set to this place: either the whole set or nothing.
    pub(in crate::guest) fn fill(
        &self,
        system: &System,
        method: &Method,
        set: &[&Credential],
    ) -> Result<Outcome, PlaceError> {
        let set: Vec<&Credential> = set.iter().copied().filter(|sent| self.takes(&sent.name)).collect();
        let set = set.as_slice();
        if set.is_empty() {
            // Nothing is created for an empty set: an empty mount or directory would look as if something had been
            // imported.
            return Ok(Outcome::Unchanged);
        }
        let directory = self.directory(system);
        let context = Context::new(&directory);
        match method {
            Method::Rename => {
                let (parent, name) = self.parent(system)?;
                publish::publish(&parent, &name, &Wanted::all(set), context)
            }
            Method::Mount => mount::publish(system, set, context),
            Method::Repair(Ok(directory)) => repair::repair(system, directory, set, context),
            Method::Repair(Err(error)) => Err(context.cannot("open")(*error)),
            Method::Refuse => Err(PlaceError::BesideSystemd(context.shown())),
        }
    }

    /// Returns the directory that contains this place, and the name of the place in it. Creates systemd's directories
    /// if they do not exist. Returns an error if another user can change these directories.
    fn parent(&self, system: &System) -> Result<(Directory, CString), PlaceError> {
        let path = self.directory(system);
        let no_name = || PlaceError::NoName((&*path).into());
        let name = path.file_name().ok_or_else(no_name)?;
        let name = CString::new(name.as_bytes()).map_err(|_| no_name())?;
        let parent = match self {
            Self::Directory(path) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                let absent = || PlaceError::NoParent { parent: parent.into(), path: path.as_path().into() };
                own::guarded(parent, absent)?
            }
            Self::Credstore => own::run(system)?,
            Self::Initrd | Self::System => own::credentials(system, &own::run(system)?)?,
        };
        Ok((parent, name))
    }

    /// Returns the state of each credential in `known` in this place. Only the names and the sizes in bytes are known,
    /// so no value is compared.
    pub(in crate::guest) fn states_by_size<'a>(
        &self,
        system: &System,
        known: impl IntoIterator<Item = (&'a Name, u64)>,
    ) -> Vec<State> {
        let directory = self.open(system);
        let state = |(name, size): (&Name, u64)| match &directory {
            Ok(directory) => match content::compare_size(directory, name, size) {
                Ok(Found::Equal) => State::Closed,
                Ok(Found::Absent) => State::Missing,
                Ok(Found::Other) => State::Differs,
                Err(_) => State::Unknown,
            },
            Err(Errno::ENOENT) => State::Missing,
            Err(_) => State::Unknown,
        };
        known.into_iter().map(state).collect()
    }

    fn open(&self, system: &System) -> Result<Directory, Errno> {
        let links = if matches!(self, Self::Directory(_)) { Links::Follow } else { Links::Refuse };
        Directory::open(&self.directory(system), links)
    }

    /// Returns the state of each entry of a delivery in this place, in the order of the entries.
    #[must_use]
    pub fn states(&self, system: &System, delivery: &Delivery) -> Vec<State> {
        let directory = self.open(system);
        let mut buffer = Buffer::default();
        let mut state = |credential: &Credential| match &directory {
            Ok(directory) => match content::compare(directory, credential, &mut buffer) {
                Ok(Found::Equal) => self.placed(system, credential),
                Ok(Found::Absent) => State::Missing,
                Ok(Found::Other) => State::Differs,
                Err(_) => State::Unknown,
            },
            Err(Errno::ENOENT) => State::Missing,
            Err(_) => State::Unknown,
        };
        let of = |entry: &Entry| match entry.intact() {
            Ok(credential) => state(credential),
            Err(refusal) => State::Refused(refusal),
        };
        delivery.entries.iter().map(of).collect()
    }
}
