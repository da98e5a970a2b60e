//! Where credentials go, and what is there already.
//!
//! | sink | folder | how the set appears |
//! |---|---|---|
//! | `system` | `/run/credentials/@system` | one mount |
//! | `initrd` | `/run/credentials/@initrd`, which systemd merges after switch-root | one rename |
//! | `credstore` | `/run/credstore`, which `LoadCredential=` and `ImportCredential=` search | one rename |
//! | a path | that folder | one rename |
//!
//! Beside systemd, `@system` is PID 1's: a mount of ours there could make it import nothing and hide every credential
//! from its units. If it hands out what it has imported, `system` puts right in its folder what it has cut or lost;
//! else `system` is refused. What `auto` is, is in [`choose`].

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

pub mod choose;
pub(in crate::guest) mod error;
pub(in crate::guest) mod mount;
pub(in crate::guest) mod publish;
mod repair;

use self::choose::{self as auto, Choice, Imported};
use self::error::Folder;
pub use self::error::SinkError;
use self::publish::{self as directory, Content};
use self::repair::{Repair, repair};
use super::verify::delivery::{Delivery, Refusal};
use crate::format::credential::{Credential, Name};

/// Where credentials are to go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sink {
    /// The right place for the running system.
    Auto,
    /// `/run/credentials/@system`.
    System,
    /// `/run/credentials/@initrd`.
    Initrd,
    /// `/run/credstore`.
    Credstore,
    /// Any folder.
    Path(PathBuf),
}

/// A text that names no sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "it is none of auto, system, initrd, credstore, and not a path either: write a path with a '/', as ./folder"
)]
pub struct UnknownSink;

impl std::str::FromStr for Sink {
    type Err = UnknownSink;

    fn from_str(text: &str) -> Result<Self, UnknownSink> {
        match text {
            "auto" => Ok(Self::Auto),
            "system" => Ok(Self::System),
            "initrd" => Ok(Self::Initrd),
            "credstore" => Ok(Self::Credstore),
            // A mistyped word must not become a folder that nobody looks into.
            path if path.contains('/') => Ok(Self::Path(path.into())),
            _ => Err(UnknownSink),
        }
    }
}

/// A credential that systemd had cut or lost.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Mended {
    /// Which one.
    pub name: Name,
    /// Bytes that were there; `None` if there was nothing.
    pub found: Option<usize>,
    /// Bytes that are there now.
    pub size: usize,
}

impl std::fmt::Display for Mended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, found, size } = self;
        match found {
            None => write!(f, "{name} (nothing was there, {size} bytes are now)"),
            Some(found) => write!(f, "{name} ({found} bytes were there, {size} bytes are now)"),
        }
    }
}

/// What became of an import.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Everything was there already; nothing was written.
    Unchanged,
    /// The set is in place.
    Materialized(Storage),
    /// What systemd had imported was put right.
    Repaired {
        /// What was cut or missing.
        mended: Vec<Mended>,
        /// Names under which somebody else's value was found and left alone.
        foreign: Vec<Name>,
    },
}

/// What keeps the credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Storage {
    /// A file system in memory.
    Memory,
    /// A tmpfs of our own that the kernel may swap, since it knows no better.
    Swappable,
    /// A disk, where the values are in plain text.
    Disk,
}

/// What is materialized of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The same bytes.
    Imported,
    /// Nothing.
    Missing,
    /// Something else, or the same for others to read.
    Differs,
    /// Not to be seen without more permission.
    Unknown,
    /// It is not handed out.
    Refused(Refusal),
}

impl State {
    /// The state in the words of the STATE column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Unknown => "unknown",
            Self::Refused(refusal) => refusal.as_str(),
        }
    }
}

impl Sink {
    /// The sink that is meant below `root`, which is `/` on a real system.
    #[must_use]
    pub fn resolve(&self, root: &Path) -> Choice {
        if *self == Self::Auto { auto::choose(root) } else { Choice::asked(self.clone()) }
    }

    /// The folder of this sink below `root`.
    #[must_use]
    pub fn folder(&self, root: &Path) -> PathBuf {
        match self {
            Self::Auto => auto::choose(root).sink.folder(root),
            Self::System => root.join("run/credentials/@system"),
            Self::Initrd => root.join("run/credentials/@initrd"),
            Self::Credstore => root.join("run/credstore"),
            Self::Path(path) => path.clone(),
        }
    }

    /// Materializes a set, all of it at once or nothing.
    ///
    /// # Errors
    /// [`SinkError`] says what is in the way.
    pub fn import(&self, root: &Path, set: &[&Credential]) -> Result<Outcome, SinkError> {
        if set.is_empty() {
            // An empty mount or folder would say that something has been imported.
            return Ok(Outcome::Unchanged);
        }
        let sink = self.resolve(root).sink;
        let path = sink.folder(root);
        let shown = Folder::new(&path);
        let published = match &sink {
            Self::Auto | Self::System if auto::beside_systemd(root) => {
                if auto::imported_by_systemd(root) != Imported::HandedOut {
                    return Err(SinkError::BesideSystemd(path));
                }
                let folder = directory::open(&path, false).map_err(|error| shown.error("open", error))?;
                let Repair { mended, foreign } = repair(root, &folder, set, &shown)?;
                let unchanged = mended.is_empty() && foreign.is_empty();
                return Ok(if unchanged {
                    Outcome::Unchanged
                } else {
                    Outcome::Repaired { mended, foreign }
                });
            }
            Self::Auto | Self::System => {
                let mounted = mount::publish(root, set, &shown)?;
                return Ok(mounted.map_or(Outcome::Unchanged, Outcome::Materialized));
            }
            Self::Initrd | Self::Credstore => {
                let name = if sink == Self::Initrd { c"@initrd" } else { c"credstore" };
                let parent = own_parent(root, &sink, name)?;
                directory::publish(&parent, name, set, &shown)?
            }
            Self::Path(path) => {
                let Some(name) = path.file_name() else { return Err(SinkError::NoName(path.clone())) };
                let name = CString::new(name.as_bytes()).map_err(|_| SinkError::NoName(path.clone()))?;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                let error = |error| Folder::new(parent).error("open", error);
                let parent = directory::open(parent, true).map_err(error)?;
                directory::publish(&parent, &name, set, &shown)?
            }
        };
        let storage = if published.memory { Storage::Memory } else { Storage::Disk };
        Ok(if published.written { Outcome::Materialized(storage) } else { Outcome::Unchanged })
    }

    /// What is materialized of each entry of a delivery, in its order.
    #[must_use]
    pub fn states(&self, root: &Path, delivery: &Delivery) -> Vec<State> {
        let folder = directory::open(&self.folder(root), matches!(self, Self::Path(_)));
        let state = |credential: &Credential| match &folder {
            Ok(folder) => match directory::compare(folder, credential) {
                Ok(Content::Equal) => State::Imported,
                Ok(Content::Absent) => State::Missing,
                Ok(Content::Differs) => State::Differs,
                Err(_) => State::Unknown,
            },
            Err(Errno::ENOENT) => State::Missing,
            Err(_) => State::Unknown,
        };
        delivery
            .entries
            .iter()
            .map(|entry| match (&entry.credential, entry.refusal) {
                (_, Some(refusal)) => State::Refused(refusal),
                (Some(credential), None) => state(credential),
                (None, None) => State::Unknown,
            })
            .collect()
    }
}

/// Opens the folder that holds `@initrd` or `credstore`, making it first if need be; links are not followed. Both it
/// and what is there already must be ours: whoever else could write there could give services what they like.
fn own_parent(root: &Path, sink: &Sink, name: &CStr) -> Result<OwnedFd, SinkError> {
    let mut parent = mount::folder(root, c"run", &root.join("run"))?;
    if *sink == Sink::Initrd {
        let mode = Mode::from_bits_truncate(0o755);
        parent = mount::folder_in(&parent, c"credentials", mode, &root.join("run/credentials"))?;
    }
    // Whatever else may be there is told when it is opened again.
    match directory::open_in(&parent, name) {
        Ok(Some(existing)) if !directory::is_ours(&existing).unwrap_or(false) => {
            Err(SinkError::NotOurs(sink.folder(root)))
        }
        _ => Ok(parent),
    }
}

/// Removes from `/run/credentials/@initrd` what is materialized elsewhere: systemd leaves a credential there if it has
/// one of that name already, in plain text for as long as the machine runs. Removes the report too, if that is said.
/// Returns how many credentials were removed.
///
/// # Errors
/// [`SinkError`] says what could not be removed.
pub fn remove_duplicates(root: &Path, set: &[&Credential], report: bool) -> Result<usize, SinkError> {
    let path = Sink::Initrd.folder(root);
    let shown = Folder::new(&path);
    let folder = match directory::open(&path, false) {
        Err(Errno::ENOENT) => return Ok(0),
        result => result.map_err(|error| shown.error("open", error))?,
    };
    let remove = |name: &str| unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir);
    let mut removed = 0;
    for credential in set {
        if directory::compare(&folder, credential).map_err(|error| shown.error("read", error))?
            == Content::Equal
        {
            remove(credential.name.as_str()).map_err(|error| shown.error("remove duplicates from", error))?;
            removed += 1;
        }
    }
    if report {
        match remove(auto::REPORT) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(shown.error("remove the report from", error)),
        }
    }
    // Not empty: somebody else's are left.
    _ = std::fs::remove_dir(&path);
    Ok(removed)
}
