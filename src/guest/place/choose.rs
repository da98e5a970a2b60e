//! `--into auto`: the right place on the running system, by looking at it.
//!
//! `/run/credentials/@system` belongs to a systemd that is PID 1. It hands the credentials there to its units if it
//! has imported at least one of them itself, and makes its mount read-only then (`finalize_credentials_dir()`,
//! `src/core/import-creds.c`, v252 to v262). Whatever else is there, its units never see: a folder that somebody
//! else filled, and a mount that was complete before systemd came, so that it found every name taken and imported
//! nothing (the mount trap). That mount stays writable, which is how it is told.
//!
//! | PID 1 | stage | sink | handed over in `@initrd` |
//! |---|---|---|---|
//! | is not systemd | | `system` | |
//! | is systemd, and hands out what it imported | initrd | `system`, where it is put right | the report |
//! | | host | `system`, where it is put right | |
//! | is systemd, and hands out nothing | initrd | `credstore` | everything, and the report |
//! | | host | `credstore` | |
//!
//! From 254 on, systemd merges `/run/credentials/@initrd` after switch-root. The report is there even if nothing else
//! has to be: a switch-root that names an init starts systemd without `$CREDENTIALS_DIRECTORY`, it imports again,
//! finds every name taken, and hands out nothing. One name that it has not seen yet makes it hand out everything. In
//! the host stage, what systemd has left in `@initrd` because it had no room, or a credential of that name, is removed.
//! Versions before 254 leave the report there, and that is how we know that they hand out nothing.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::Sink;
use super::publish as directory;

/// The credential that carries the report from the initrd to the host stage.
pub const REPORT: &str = "smbios-creds.report";

/// What becomes of `/run/credentials/@initrd`, where the host stage's systemd finds what the initrd has for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handover {
    /// Nothing: there is no systemd.
    Nothing,
    /// This is the host stage. What systemd has left there is removed, if it is materialized elsewhere.
    Done {
        /// Whether the report goes as well; where systemd hands out nothing, it is what tells so.
        report: bool,
    },
    /// The report, which makes it hand out what it has.
    Report,
    /// Every credential, and the report.
    Everything,
}

/// A sink, and why it is the right one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// Where the credentials go; never [`Sink::Auto`].
    pub sink: Sink,
    /// What goes to the host stage besides.
    pub handover: Handover,
    /// Why, for the log.
    pub reason: &'static str,
}

impl Choice {
    /// The choice of whoever has given `--into`.
    #[must_use]
    pub fn asked(sink: Sink) -> Self {
        Self { sink, handover: Handover::Nothing, reason: "as asked" }
    }
}

/// Looks at the system below `root`, which is `/` on a real one.
#[must_use]
pub fn choose(root: &Path) -> Choice {
    let choice = |sink, handover, reason| Choice { sink, handover, reason };
    if !beside_systemd(root) {
        return choice(Sink::System, Handover::Nothing, "PID 1 is not systemd");
    }
    match (imported_by_systemd(root), in_initrd(root)) {
        (Imported::HandedOut, true) => {
            let reason = "PID 1 is systemd in the initrd, and hands out what it has imported";
            choice(Sink::System, Handover::Report, reason)
        }
        (Imported::HandedOut, false) => choice(
            Sink::System,
            Handover::Done { report: true },
            "PID 1 is systemd, and hands out what it has imported",
        ),
        (Imported::Nothing, true) => {
            let reason = "PID 1 is systemd in the initrd, and has imported nothing";
            choice(Sink::Credstore, Handover::Everything, reason)
        }
        (Imported::Nothing, false) => choice(
            Sink::Credstore,
            Handover::Done { report: true },
            "PID 1 is systemd, and has imported nothing",
        ),
        (Imported::HandsOutNothing, initrd) => {
            let handover = if initrd { Handover::Everything } else { Handover::Done { report: false } };
            let reason = "PID 1 is systemd, and hands out nothing: somebody else has filled its @system";
            choice(Sink::Credstore, handover, reason)
        }
    }
}

/// Whether systemd is PID 1, and we are not about to become it (`sd_booted(3)`).
pub(super) fn beside_systemd(root: &Path) -> bool {
    root.join("run/systemd/system").exists() && std::process::id() != 1
}

/// Whether this is the initrd, in the words of systemd (`in_initrd()`, `src/basic/initrd-util.c`, v262).
#[must_use]
pub fn in_initrd(root: &Path) -> bool {
    match std::env::var("SYSTEMD_IN_INITRD").as_deref() {
        Ok("1" | "yes" | "true" | "on") => true,
        Ok("0" | "no" | "false" | "off") => false,
        _ => root.join("etc/initrd-release").exists(),
    }
}

/// What systemd has done with its folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Imported {
    Nothing,
    HandedOut,
    HandsOutNothing,
}

pub(super) fn imported_by_systemd(root: &Path) -> Imported {
    let folder = match directory::open(&Sink::System.folder(root), false) {
        Ok(folder) => folder,
        Err(Errno::ENOENT) => return Imported::Nothing,
        // Whoever goes on to open it is told why that fails.
        Err(_) => return Imported::HandedOut,
    };
    if directory::names(&folder).is_ok_and(|names| names.is_empty()) {
        return Imported::Nothing;
    }
    let read_only = fstatvfs(&folder).is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY));
    if read_only && !lost_at_switch_root(root) { Imported::HandedOut } else { Imported::HandsOutNothing }
}

/// Whether a switch-root that named an init has made systemd forget that it has credentials. Before 254 it does not
/// know `@initrd`, where the report alone is left then, and does not make its mount writable either. A switch-root
/// that named none has given it the variable.
fn lost_at_switch_root(root: &Path) -> bool {
    let names = || directory::names(&directory::open(&Sink::Initrd.folder(root), false)?);
    let left = names().is_ok_and(|names| names.iter().map(|name| name.to_bytes()).eq([REPORT.as_bytes()]));
    let environment = || std::fs::read(root.join("proc/1/environ")).unwrap_or_default();
    let told = |environment: &[u8]| {
        environment.split(|&byte| byte == 0).any(|variable| variable.starts_with(b"CREDENTIALS_DIRECTORY="))
    };
    !in_initrd(root) && left && !told(&environment())
}
