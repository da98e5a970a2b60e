//! What became of a set: how it was placed, what was repaired, and the state of each entry.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use crate::format::credential::Name;
use crate::guest::verify::delivery::Refusal;

/// What became of a set that was placed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Every credential was in place already; nothing was written.
    Unchanged,
    /// The set is in place.
    Materialized(Storage),
    /// systemd had imported it, and some credentials were repaired in its directory.
    Repaired(Repair),
}

/// What keeps the credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Storage {
    /// A file system in memory.
    Memory,
    /// A tmpfs of our own that the kernel may swap: it has neither `noswap` nor ramfs.
    Swappable,
    /// A disk, where the values are in plain text.
    Disk,
}

/// What a repair did in the directory of a systemd that had imported.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Repair {
    /// Credentials that were cut or missing, and are whole now.
    pub repaired: Vec<Repaired>,
    /// Names under which another value was found, which SMBIOS did not bring. It was left unchanged.
    pub foreign: Vec<Name>,
}

/// A credential that systemd had cut or lost.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Repaired {
    /// Which one.
    pub name: Name,
    /// Bytes that were there; `None` if there was nothing.
    pub found: Option<usize>,
    /// Bytes that are there now.
    pub size: usize,
}

impl Display for Repaired {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, found, size } = self;
        match found {
            None => write!(f, "{name} (nothing was there, {size} bytes are now)"),
            Some(found) => write!(f, "{name} ({found} bytes were there, {size} bytes are now)"),
        }
    }
}

/// What is materialized of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It would be imported; no place was looked at.
    Intact,
    /// The same bytes.
    Imported,
    /// The same bytes, where the only readers of this name do not look in this boot: PID 1 and generators.
    Ineffective,
    /// Nothing.
    Missing,
    /// Another value, or the same one where others can read it.
    Differs,
    /// A file of this name and size, for its owner only. What was sent cannot be read to compare it: it is closed.
    Closed,
    /// It cannot be read without more permission.
    Unknown,
    /// It is not imported.
    Refused(Refusal),
}

impl State {
    /// The word of the STATE column.
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
