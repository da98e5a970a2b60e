//! `--into`: chooses the right place for the credentials, by looking at the running system once.
//!
//! `/run/credentials/@system` belongs to a systemd that is PID 1. systemd passes the credentials in this directory on
//! to its units only if it has imported at least one of them itself. After its import, systemd makes its mount of
//! `/run/credentials/@system` read-only (`finalize_credentials_dir()`, `src/core/import-creds.c`, v252 to v262).
//! systemd's units never see other files in `@system`: neither files that another program wrote to the directory, nor
//! files in a mount that another program made and filled before systemd started. In such a mount, systemd finds that
//! every credential exists already, and imports nothing (the mount trap). The mount stays writable, which is how this
//! program recognises the mount trap.
//!
//! | PID 1 | stage | place | handed over in `@initrd` |
//! |---|---|---|---|
//! | is not systemd | | `system` | |
//! | is systemd, and passes on what it imported | initrd | `system`, which is repaired | the report |
//! | | host | `system`, which is repaired | |
//! | is systemd, and passes on nothing | initrd | `credstore` | everything, and the report |
//! | | host | `credstore` | |
//! | is systemd, its environment contains `@system`, and `@system` is empty | any | `system` | |
//!
//! The last row of the table applies if `CREDENTIALS_DIRECTORY=/run/credentials/@system` is on the kernel's command
//! line, which signed sets need. systemd then imports nothing, and passes on the credentials that this program writes
//! to `@system`.

use std::borrow::Cow;
use std::ffi::CStr;

use super::handover::{Handover, REPORT};
use super::outcome::Outcome;
use super::{Method, Place, PlaceError};
use crate::format::credential::Credential;
use crate::format::systemd::CREDENTIALS_DIRECTORY;
use crate::guest::system::{Stage, System};
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};
use crate::text::help::Help;

/// The place for the credentials, as `--into` selects it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Into {
    /// Choose the right place for the running system.
    #[default]
    Auto,
    /// Use this place.
    At(Place),
}

/// The error for a value of `--into` that is neither the name of a place nor a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is neither auto, system, initrd, credstore nor a path")]
pub struct UnknownPlace;

impl Help for UnknownPlace {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some("write a path with a '/', for example ./directory".into())
    }
}

impl std::str::FromStr for Into {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Self, UnknownPlace> {
        Ok(Self::At(match text {
            "auto" => return Ok(Self::Auto),
            "system" => Place::System,
            "initrd" => Place::Initrd,
            "credstore" => Place::Credstore,
            // Only a text with a `/` is a path: a mistyped word must not become a directory that no program reads.
            path if path.contains('/') => Place::Directory(path.into()),
            _ => return Err(UnknownPlace),
        }))
    }
}

/// The chosen place, why it was chosen, and what to hand over from the initrd to the stage after switch-root.
#[derive(Debug)]
pub struct Choice {
    /// The place for the credentials.
    pub place: Place,
    /// What to do with `/run/credentials/@initrd`, the directory for the handover.
    pub handover: Handover,
    /// Why this place was chosen, as a text for the log.
    pub reason: &'static str,
    /// How the credentials are written to the place. If the method is [`Method::Repair`], this field keeps the checked
    /// directory open, so that the directory is not checked twice.
    method: Method,
}

impl Into {
    /// Chooses a place, by looking at the system once.
    #[must_use]
    pub fn choose(&self, system: &System) -> Choice {
        match self {
            Self::Auto => automatic(system),
            Self::At(place) => {
                let method = match place {
                    Place::System => match Seen::look(system, system.stage()) {
                        Seen::NoSystemd | Seen::LeftToUs => Method::Mount,
                        Seen::PassedOn(directory) => Method::Repair(directory),
                        Seen::Nothing | Seen::NotPassedOn => Method::Refuse,
                    },
                    Place::Initrd | Place::Credstore | Place::Directory(_) => Method::Rename,
                };
                let reason = "the option --into names this place";
                Choice { place: place.clone(), handover: Handover::Nothing, reason, method }
            }
        }
    }
}

impl Choice {
    /// Writes a set to the chosen place: either the whole set or nothing.
    ///
    /// # Errors
    /// [`PlaceError`] says why the set cannot be written.
    pub fn fill(&self, system: &System, set: &[&Credential]) -> Result<Outcome, PlaceError> {
        self.place.fill(system, &self.method, set)
    }
}

/// Chooses the place by the table at the top of this file.
fn automatic(system: &System) -> Choice {
    let stage = system.stage();
    let (place, handover, reason, method) = match (Seen::look(system, stage), stage) {
        (Seen::NoSystemd, _) => (Place::System, Handover::Nothing, "PID 1 is not systemd", Method::Mount),
        (Seen::LeftToUs, _) => (
            Place::System,
            Handover::Nothing,
            "PID 1 is systemd, which imports nothing itself ($CREDENTIALS_DIRECTORY is set) and passes on the \
             contents of @system",
            Method::Mount,
        ),
        (Seen::PassedOn(directory), Stage::Initrd) => (
            Place::System,
            Handover::Report,
            "PID 1 is systemd in the initrd, and passes on the credentials that it imported",
            Method::Repair(directory),
        ),
        (Seen::PassedOn(directory), Stage::Host) => (
            Place::System,
            if directory.as_ref().is_ok_and(has_no_handover) { Handover::Nothing } else { Handover::Clear },
            "PID 1 is systemd, and passes on the credentials that it imported",
            Method::Repair(directory),
        ),
        (Seen::Nothing, Stage::Initrd) => (
            Place::Credstore,
            Handover::Everything,
            "PID 1 is systemd in the initrd, and has imported no credentials",
            Method::Rename,
        ),
        (Seen::Nothing, Stage::Host) => (
            Place::Credstore,
            Handover::Clear,
            "PID 1 is systemd, and has imported no credentials",
            Method::Rename,
        ),
        (Seen::NotPassedOn, stage) => (
            Place::Credstore,
            if stage == Stage::Initrd { Handover::Everything } else { Handover::ClearExceptReport },
            "PID 1 is systemd, but passes on no credentials, because another program filled @system",
            Method::Rename,
        ),
    };
    Choice { place, handover, reason, method }
}

/// What PID 1 has done with `/run/credentials/@system`.
enum Seen {
    /// PID 1 is not systemd, or PID 1 is this process.
    NoSystemd,
    /// systemd has imported nothing, and does not pass on files that another program writes to `@system`.
    Nothing,
    /// systemd has imported nothing and will import nothing, but passes on the files that it finds in `@system`.
    LeftToUs,
    /// systemd passes on the credentials that it has imported. The value is the open directory, or the error if the
    /// directory could not be opened.
    PassedOn(Result<Directory, Errno>),
    /// `@system` is not empty, but systemd does not pass its content on to units.
    NotPassedOn,
}

impl Seen {
    fn look(system: &System, stage: Stage) -> Self {
        if !system.is_booted_with_systemd() {
            return Self::NoSystemd;
        }
        let directory = match Directory::open(&system.system_credentials(), Links::Refuse) {
            Ok(directory) => directory,
            Err(Errno::ENOENT) => return Self::nothing(system),
            // The error of opening `@system` is reported later, when the credentials are written.
            Err(error) => return Self::PassedOn(Err(error)),
        };
        if directory.is_empty().is_ok_and(|is_empty| is_empty) {
            return Self::nothing(system);
        }
        let read_only = directory.is_read_only().is_ok_and(|read_only| read_only);
        let is_lost = || stage == Stage::Host && is_lost_at_switch_root(system, &directory);
        if read_only && !is_lost() { Self::PassedOn(Ok(directory)) } else { Self::NotPassedOn }
    }

    /// Returns what an empty or missing `@system` means: [`Self::LeftToUs`] or [`Self::Nothing`].
    fn nothing(system: &System) -> Self {
        if system.pid_1_imports_nothing() { Self::LeftToUs } else { Self::Nothing }
    }
}

/// The path of `@initrd`, relative to `@system`. Neither part of the path can be a symbolic link. With the absolute
/// path, an import would open four directories one after another, because the import's seccomp filter refuses
/// `openat2(2)`.
const INITRD: &CStr = c"../@initrd";

/// Whether `@initrd` does not exist, so that there is nothing to remove from it. `directory` is `@system`.
fn has_no_handover(directory: &Directory) -> bool {
    directory.stat_of(INITRD).is_err_and(|error| error == Errno::ENOENT)
}

/// Whether systemd after switch-root has lost its credentials, because the switch-root command named an init program.
/// systemd before 254 does not know `@initrd`, so the report is the only file that is left in `@initrd`. systemd before
/// 254 also leaves the mount of `@system` read-only, so the mount does not show the loss. If the switch-root command
/// named no init program, systemd has `$CREDENTIALS_DIRECTORY` in its environment. `directory` is `@system`.
fn is_lost_at_switch_root(system: &System, directory: &Directory) -> bool {
    let names =
        directory.open_in(INITRD).and_then(|initrd| initrd.map_or(Ok(Vec::new()), |initrd| initrd.names()));
    let left = names.is_ok_and(|names| names.iter().map(|name| name.to_bytes()).eq([REPORT.as_bytes()]));
    left && !system.pid_1_has(CREDENTIALS_DIRECTORY)
}
