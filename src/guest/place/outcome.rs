//! The result of writing a set: where the set was stored, which credentials were repaired, and the state of each entry.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use crate::format::credential::Name;
use crate::guest::verify::delivery::Refusal;

/// The result of writing a set to its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Every credential was in place already; nothing was written.
    Unchanged,
    /// The whole set was written to its place.
    Materialized(Storage),
    /// systemd had imported credentials. In systemd's directory, the import repaired credentials that were cut or
    /// missing, or found credentials with a value from another source, which it did not change.
    Repaired(Repair),
}

/// The kind of storage that contains the credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Storage {
    /// A file system in memory.
    Memory,
    /// A tmpfs whose content the kernel may swap to a disk, because the kernel supports neither `noswap` nor ramfs.
    Swappable,
    /// A disk, on which the values are in plain text.
    Disk,
}

/// The result of a repair in `/run/credentials/@system`, into which systemd had imported credentials.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Repair {
    /// Credentials that were cut or missing, and are now complete.
    pub repaired: Vec<Repaired>,
    /// Names of credentials that already had another value, which did not come from SMBIOS. The import left these
    /// values unchanged.
    pub foreign: Vec<Name>,
}

/// A credential that systemd had cut or lost, and that a repair has made complete.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Repaired {
    /// The credential's name.
    pub name: Name,
    /// Size of the value in bytes before the repair; `None` if the credential was missing.
    pub found: Option<usize>,
    /// Size of the value in bytes after the repair.
    pub size: usize,
}

impl Display for Repaired {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, found, size } = self;
        match found {
            None => write!(f, "{name} (it was missing; now it has {size} bytes)"),
            Some(found) => write!(f, "{name} (it had {found} bytes; now it has {size} bytes)"),
        }
    }
}

/// The state of a received credential in its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The credential arrived intact and would be imported; no place was checked.
    Intact,
    /// The place contains the credential, with the bytes that were sent.
    Imported,
    /// The place contains the credential with the bytes that were sent. But only PID 1 and generators use this
    /// credential, and they do not read this place in this boot.
    Ineffective,
    /// The place does not contain the credential.
    Missing,
    /// The place contains the credential with another value, or with the same value in a file that other users can
    /// read.
    Differs,
    /// The place contains a file of the credential's name and size, which only the file's owner can read. The source is
    /// closed (mode 0000), so the value cannot be compared.
    Closed,
    /// The place, or the credential's file in it, cannot be read.
    Unknown,
    /// The credential is not imported. The value is the reason.
    Refused(Refusal),
}

impl State {
    /// Returns the state as a word for the STATE column of the listing.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Imported => "imported",
            Self::Ineffective => "ineffective",
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Closed => "closed",
            Self::Unknown => "unknown",
            Self::Refused(refusal) => refusal.as_str(),
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
