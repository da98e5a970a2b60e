//! `--into`: which place is the right one, by looking at the running system once.
//!
//! `/run/credentials/@system` belongs to a systemd that is PID 1. It passes the credentials there on to its units if it
//! has imported at least one of them itself, and makes its mount read-only then (`finalize_credentials_dir()`,
//! `src/core/import-creds.c`, v252 to v262). Its units never see anything else there: neither a directory that another
//! program filled, nor a mount that was complete before systemd came. In that mount systemd finds every name taken and
//! imports nothing (the mount trap). Such a mount stays writable, which is how it is recognised.
//!
//! | PID 1 | stage | place | handed over in `@initrd` |
//! |---|---|---|---|
//! | is not systemd | | `system` | |
//! | is systemd, and passes on what it imported | initrd | `system`, where it is repaired | the report |
//! | | host | `system`, where it is repaired | |
//! | is systemd, and passes on nothing | initrd | `credstore` | everything, and the report |
//! | | host | `credstore` | |
//! | is systemd, its environment names `@system`, and that is empty | any | `system` | |
//!
//! The last row is that of `CREDENTIALS_DIRECTORY=/run/credentials/@system` on the kernel's command line, which signed sets
//! need: systemd imports nothing, and passes on what is put there.

use super::handover::{Handover, REPORT};
use super::outcome::Outcome;
use super::{Method, Place, PlaceError};
use crate::format::credential::Credential;
use crate::format::systemd::CREDENTIALS_DIRECTORY;
use crate::guest::system::{Stage, System};
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};

/// Where a person wants credentials to go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Into {
    /// The right place for the running system.
    #[default]
    Auto,
    /// This place.
    At(Place),
}

/// A text that names no place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "it is none of auto, system, initrd, credstore, and not a path either: write a path with a '/', as ./directory"
)]
pub struct UnknownPlace;

impl std::str::FromStr for Into {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Self, UnknownPlace> {
        Ok(Self::At(match text {
            "auto" => return Ok(Self::Auto),
            "system" => Place::System,
            "initrd" => Place::Initrd,
            "credstore" => Place::Credstore,
            // A mistyped word must not become a directory that nobody looks into.
            path if path.contains('/') => Place::Directory(path.into()),
            _ => return Err(UnknownPlace),
        }))
    }
}

/// A place, why it is the right one, and what goes to the host stage.
#[derive(Debug)]
pub struct Choice {
    /// Where the credentials go.
    pub place: Place,
    /// What becomes of `@initrd`.
    pub handover: Handover,
    /// Why, for the log.
    pub reason: &'static str,
    /// How they get there. It holds the directory that was looked at open, so that nothing is looked at twice.
    method: Method,
}

impl Into {
    /// Decides, by looking at the system once.
    #[must_use]
    pub fn choose(&self, system: &System) -> Choice {
        match self {
            Self::Auto => automatic(system),
            Self::At(place) => {
                let method = match place {
                    Place::System => match Seen::look(system) {
                        Seen::NoSystemd | Seen::LeftToUs => Method::Mount,
                        Seen::PassedOn(directory) => Method::Repair(directory),
                        Seen::Nothing | Seen::NotPassedOn => Method::Refuse,
                    },
                    Place::Initrd | Place::Credstore | Place::Directory(_) => Method::Rename,
                };
                Choice { place: place.clone(), handover: Handover::Nothing, reason: "as asked", method }
            }
        }
    }
}

impl Choice {
    /// Materializes a set in the chosen place, all of it at once or nothing.
    ///
    /// # Errors
    /// [`PlaceError`] says what is in the way.
    pub fn fill(&self, system: &System, set: &[&Credential]) -> Result<Outcome, PlaceError> {
        self.place.fill(system, &self.method, set)
    }
}

/// The table above.
fn automatic(system: &System) -> Choice {
    let stage = system.stage();
    let (place, handover, reason, method) = match (Seen::look(system), stage) {
        (Seen::NoSystemd, _) => (Place::System, Handover::Nothing, "PID 1 is not systemd", Method::Mount),
        (Seen::LeftToUs, _) => (
            Place::System,
            Handover::Nothing,
            "PID 1 is systemd, is told to import nothing, and passes on what is in its @system",
            Method::Mount,
        ),
        (Seen::PassedOn(directory), Stage::Initrd) => (
            Place::System,
            Handover::Report,
            "PID 1 is systemd in the initrd, and passes on what it imported",
            Method::Repair(directory),
        ),
        (Seen::PassedOn(directory), Stage::Host) => (
            Place::System,
            Handover::Clear,
            "PID 1 is systemd, and passes on what it imported",
            Method::Repair(directory),
        ),
        (Seen::Nothing, Stage::Initrd) => (
            Place::Credstore,
            Handover::Everything,
            "PID 1 is systemd in the initrd, and has imported nothing",
            Method::Rename,
        ),
        (Seen::Nothing, Stage::Host) => {
            (Place::Credstore, Handover::Clear, "PID 1 is systemd, and has imported nothing", Method::Rename)
        }
        (Seen::NotPassedOn, stage) => (
            Place::Credstore,
            if stage == Stage::Initrd { Handover::Everything } else { Handover::ClearExceptReport },
            "PID 1 is systemd, and passes on nothing: another program populated its @system",
            Method::Rename,
        ),
    };
    Choice { place, handover, reason, method }
}

/// What PID 1 has done with `@system`.
enum Seen {
    /// It is not systemd, or it is this process.
    NoSystemd,
    /// It has imported nothing.
    Nothing,
    /// It has imported nothing, never will, and passes on what it finds.
    LeftToUs,
    /// It passes on what it has imported. The directory is open, or this is why it cannot be opened.
    PassedOn(Result<Directory, Errno>),
    /// Something is there that it does not pass on.
    NotPassedOn,
}

impl Seen {
    fn look(system: &System) -> Self {
        if !system.is_booted_with_systemd() {
            return Self::NoSystemd;
        }
        let directory = match Directory::open(&system.system_credentials(), Links::Refuse) {
            Ok(directory) => directory,
            Err(Errno::ENOENT) => return Self::nothing(system),
            // Who goes on to fill it is told.
            Err(error) => return Self::PassedOn(Err(error)),
        };
        if directory.names().is_ok_and(|names| names.is_empty()) {
            return Self::nothing(system);
        }
        let read_only = directory.is_read_only().is_ok_and(|read_only| read_only);
        if read_only && !is_lost_at_switch_root(system) {
            Self::PassedOn(Ok(directory))
        } else {
            Self::NotPassedOn
        }
    }

    /// What an empty `@system` means.
    fn nothing(system: &System) -> Self {
        if system.pid_1_imports_nothing() { Self::LeftToUs } else { Self::Nothing }
    }
}

/// Whether a switch-root that named an init has made systemd forget that it has credentials. Before 254 it does not
/// know `@initrd`, where the report is the only file left then, and does not make its mount writable either. A
/// switch-root that named none has given it the variable.
fn is_lost_at_switch_root(system: &System) -> bool {
    let names = || Directory::open(&system.initrd_credentials(), Links::Refuse)?.names();
    let left = names().is_ok_and(|names| names.iter().map(|name| name.to_bytes()).eq([REPORT.as_bytes()]));
    system.stage() == Stage::Host && left && !system.pid_1_has(CREDENTIALS_DIRECTORY)
}
