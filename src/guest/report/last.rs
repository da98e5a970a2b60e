//! `/run/smbios-creds/report.json`: the result of the last import, for programs that run later. The report contains no
//! value, but only root can read it, because it shows which secrets this machine has.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read as _, Write as _};

use serde::{Deserialize, Serialize};

use super::bounded;
use super::known::{Delivered, Left};
use super::listing::Judged;
use super::log::placed;
use crate::guest::imported::{Closing, Ended, Imported, NotPlaced, NotReceived, Placed};
use crate::guest::place::PlaceError;
use crate::guest::place::error::Context;
use crate::guest::place::handover::{self, REPORT};
use crate::guest::place::outcome::{Outcome, Repaired};
use crate::guest::place::own;
use crate::guest::system::System;
use crate::guest::verify::delivery::Delivery;
use crate::sys::directory::{Directory, Links};
use crate::sys::io_errno;
use crate::sys::signals::Held;
use crate::sys::stat;
use crate::text::escape::Escaped;
use crate::text::help::Help;

const FILE: &str = "report.json";
/// The file of a report that is not yet complete, or not yet handed over.
const PART: &str = "report.json.part";

/// Mode of the report's file. In the initrd, the same file is also a credential in `@initrd`.
const MODE: u32 = 0o400;

/// The result of an import, in the format of the file `report.json` (smbios-creds-format(7)).
#[derive(Serialize)]
pub struct Report<'a> {
    /// The version of this program.
    version: &'static str,
    /// How the import ended: one line, with the same words as in the log.
    summary: String,
    /// The import's exit code.
    exit: u8,
    /// The chosen directory; `None` if the import ended before a directory was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    /// Why this directory was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Whether the import is about to close the files from which the set was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
    /// The credentials that systemd had cut or lost, and that are now complete.
    repaired: &'a [Repaired],
    /// The credentials that arrived, with all findings of verification; `None` if nothing was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Judged<'a>>,
    /// The number of entries that were left out of this report's lists because the report would be too large; `None` if
    /// all entries are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<Omitted>,
}

/// Maximum size of a report in bytes. The initrd hands the report over to the stage after switch-root as one more
/// credential, and systemd accepts at most [`TOTAL_MAX`] bytes for all credentials together.
///
/// [`TOTAL_MAX`]: crate::format::systemd::TOTAL_MAX
pub const SIZE_MAX: usize = 262_144;

/// Maximum size in bytes of each of the report's lists, if the report would have more than [`SIZE_MAX`] bytes with the
/// complete lists. The rest of [`SIZE_MAX`] is for the report's other fields.
const CREDENTIALS_MAX: usize = 131_072;
const FINDINGS_MAX: usize = 65_536;
const REPAIRED_MAX: usize = 32_768;

/// The number of entries that were left out of each of a report's lists.
#[derive(Serialize)]
struct Omitted {
    credentials: usize,
    findings: usize,
    repaired: usize,
}

/// The part of a report that a later run of this program reads.
#[derive(Deserialize)]
pub struct Summary {
    /// The version of the program that wrote the report.
    pub version: String,
    /// How the import ended.
    pub summary: String,
    /// The import's exit code.
    #[serde(default)]
    pub(super) exit: u8,
    /// The chosen directory, escaped.
    pub(super) folder: Option<String>,
    /// Whether the import closed the files from which the set was read.
    #[serde(default)]
    pub(super) closed: bool,
    pub(super) delivery: Option<Delivered>,
    pub(super) omitted: Option<Left>,
}

/// Why no report was written.
#[derive(Debug, thiserror::Error)]
enum NotReported {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl Help for NotReported {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Place(error) => error.help(),
            Self::Json(_) => None,
        }
    }
}

impl<'a> Report<'a> {
    /// Makes the report of an import.
    #[must_use]
    pub fn new(imported: &'a Result<Imported, NotReceived>) -> Self {
        let report = |summary, ended: Ended, delivery: Option<&'a Delivery>| Self {
            version: env!("CARGO_PKG_VERSION"),
            summary,
            exit: ended as u8,
            folder: None,
            reason: None,
            closed: false,
            repaired: &[],
            delivery: delivery.map(Judged::new),
            omitted: None,
        };
        let imported = match imported {
            Ok(imported) => imported,
            Err(error) => return report(error.on_one_line(), error.ended(), None),
        };
        let (delivery, ended) = (&imported.delivery, imported.ended());
        match &imported.placed {
            Err(error) => report(error.on_one_line(), ended, Some(delivery)),
            Ok(set) => Self {
                folder: Some(Escaped::from(set.directory.as_path()).to_string()),
                reason: Some(set.reason),
                closed: matches!(imported.closing, Closing::Closes),
                repaired: match &set.outcome {
                    Outcome::Repaired(repair) => &repair.repaired,
                    Outcome::Unchanged | Outcome::Materialized(_) => &[],
                },
                ..report(summary(set, imported), ended, Some(delivery))
            },
        }
    }

    /// Returns the report as JSON, which is the content of the file `report.json`. If the report has more than
    /// [`SIZE_MAX`] bytes, its lists are shortened.
    ///
    /// # Errors
    /// Returns an error if the report cannot be written as JSON.
    pub fn into_json(mut self) -> serde_json::Result<Vec<u8>> {
        // The last byte of the report is a newline, which follows the JSON.
        let maximum = SIZE_MAX - 1;
        let mut json = bounded::json(&self, maximum).or_else(|_| {
            self.shorten();
            bounded::json(&self, maximum)
        })?;
        json.push(b'\n');
        Ok(json)
    }

    fn shorten(&mut self) {
        let (repaired, rest) = self.repaired.split_at(bounded::fitting(self.repaired, REPAIRED_MAX));
        self.repaired = repaired;
        let shortened = self.delivery.as_mut().map(|judged| judged.shorten(CREDENTIALS_MAX, FINDINGS_MAX));
        let (credentials, findings) = shortened.unwrap_or_default();
        self.omitted = Some(Omitted { credentials, findings, repaired: rest.len() });
    }
}

/// Returns one line that says how an import ended, with the same words as in the log. Call this function only for an
/// import whose set is in its place.
fn summary(set: &Placed, imported: &Imported) -> String {
    let placed = placed(&set.directory, &set.outcome, &imported.delivery);
    match &imported.closing {
        Closing::Failed(error) => format!("{placed}; {}", error.on_one_line()),
        Closing::NotAsked | Closing::Closes | Closing::LeftOpen(_) => placed,
    }
}

/// Writes the report of an import, and hands it over from the initrd to the stage after switch-root. If the
/// report cannot be written, the import does not fail. Returns whether a report says what was imported: the report of
/// this import or, if this import changed nothing, the report of an earlier import.
pub(in crate::guest) fn leave(system: &System, imported: &Result<Imported, NotReceived>) -> bool {
    if tells_nothing_new(system, imported) {
        return true;
    }
    let left = write_and_hand_over(system, imported);
    let is_left = left.is_ok();
    if let Err(error) = left {
        // A user without permission to write the credentials has no permission to write the report either. The import
        // has already logged that it could not write the credentials, so there is no warning about the report.
        let is_told =
            |placed: &Result<Placed, NotPlaced>| placed.as_ref().err().is_none_or(NotPlaced::is_refusal);
        if imported.as_ref().is_ok_and(|imported| is_told(&imported.placed)) {
            tracing::warn!(help = %error.help().unwrap_or_default(), "no report of the import was written: {error}");
        } else {
            tracing::debug!("no report of the import was written: {error}");
        }
    }
    is_left
}

/// Whether an import succeeded and changed nothing, and an earlier import has already left a report, so that no new
/// report is needed.
fn tells_nothing_new(system: &System, imported: &Result<Imported, NotReceived>) -> bool {
    let Ok(imported) = imported else { return false };
    let unchanged = imported.placed.as_ref().is_ok_and(|placed| {
        let is_unchanged = |outcome: &Outcome| *outcome == Outcome::Unchanged;
        is_unchanged(&placed.outcome) && placed.sealed.as_ref().is_none_or(is_unchanged)
    });
    imported.ended() == Ended::Well
        && !matches!(imported.closing, Closing::Closes)
        && unchanged
        && system.state().join(FILE).exists()
        && open(system).is_some()
        && (!is_handed_over(imported) || system.initrd_credentials().join(REPORT).exists())
}

/// Whether the report is handed over from the initrd to the stage after switch-root.
fn is_handed_over(imported: &Imported) -> bool {
    let sends = imported.placed.as_ref().is_ok_and(|placed| placed.handed_over.sends_report());
    sends && imported.delivery.intact().next().is_some()
}

/// Writes a report, which replaces the report of the last import, and hands it over.
///
/// A process has the lock of the report as long as the file [`PART`] is its own: until this file is complete and has its
/// final name. Only its owner can open this file, so no other user can lock it.
fn write_and_hand_over(system: &System, imported: &Result<Imported, NotReceived>) -> Result<(), NotReported> {
    let json = Report::new(imported).into_json()?;
    let run = own::run(system)?;
    let state = own::state(system, &run)?;
    let path = system.state();
    let context = Context::new(&path);
    let mut part = state.create_locked(PART, MODE).map_err(context.cannot("write the report to"))?;
    // SIGXFSZ, the signal for a file above the size limit (setrlimit(2)), must not end an import that is already
    // complete.
    let held = Held::new();
    part.write_all(&json).map_err(io_errno).map_err(context.cannot("write the report to"))?;
    let handed_over = match imported {
        Ok(imported) if is_handed_over(imported) && !is_taken(imported) => {
            handover::send_report(system, &run, &state, PART)
        }
        _ => Ok(()),
    };
    state.rename(PART, FILE).map_err(context.cannot("write the report to"))?;
    held.release();
    Ok(handed_over?)
}

/// Whether the host has sent a credential with the name of the report.
fn is_taken(imported: &Imported) -> bool {
    imported.delivery.intact().any(|sent| sent.name.as_str() == REPORT)
}

/// Reads the last report; returns `None` if no report exists, if this process cannot read the report, or if another
/// user can change the report's directory.
#[must_use]
pub fn read(system: &System) -> Option<Summary> {
    let mut json = Vec::new();
    open(system)?.read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Opens the report. Does not follow a link, does not wait for a FIFO, and does not trust a directory that another user
/// can change.
fn open(system: &System) -> Option<File> {
    let directory = Directory::open(&system.state(), Links::Refuse).ok()?;
    if !directory.stat().ok()?.is_protected() {
        return None;
    }
    let file = directory.read(FILE).ok()?;
    stat::stat(&file).ok()?.is_file().then_some(file)
}
