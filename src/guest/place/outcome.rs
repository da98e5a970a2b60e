//! The result for a set: how it was placed, what was repaired, and the state of each entry.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use crate::format::credential::Name;
use crate::guest::verify::delivery::Refusal;

/// The result of placing a set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Every credential was in place already; nothing was written.
    Unchanged,
    /// The set is in place.
    Materialized(Storage),
    /// systemd had imported the set, and some credentials in its directory were repaired.
    Repaired(Repair),
}

/// The kind of storage that contains the credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Storage {
    /// A file system in memory.
    Memory,
    /// A tmpfs that the kernel may swap, because the kernel has neither `noswap` nor ramfs.
    Swappable,
    /// A disk, on which the values are in plain text.
    Disk,
}

/// The result of a repair in the directory of a systemd that had imported credentials.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Repair {
    /// Credentials that were cut or missing, and are now complete.
    pub repaired: Vec<Repaired>,
    /// Names that have another value, which did not come from SMBIOS. These values were left unchanged.
    pub foreign: Vec<Name>,
}

/// A credential that systemd had cut or lost.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Repaired {
    /// The credential's name.
    pub name: Name,
    /// Number of bytes before the repair; `None` if the credential was missing.
    pub found: Option<usize>,
    /// Number of bytes after the repair.
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

/// The state of an entry in its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The entry would be imported; no place was checked.
    Intact,
    /// The place has the same bytes.
    Imported,
    /// The place has the same bytes, but its only readers, PID 1 and generators, do not read this place in this boot.
    Ineffective,
    /// The place does not have the credential.
    Missing,
    /// The place has another value, or the same value in a file that others can read.
    Differs,
    /// The place has a file of this name and size, which only its owner can read. The source is closed, so the value
    /// cannot be compared.
    Closed,
    /// The file cannot be read without more permissions.
    Unknown,
    /// The entry is not imported.
    Refused(Refusal),
}

impl State {
    /// Returns the word for the STATE column.
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
