//! `/run/smbios-creds/report.json`: what the last import did, for whoever asks later. It holds no value, and is for
//! root only all the same, since it says which secrets this machine has.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use serde::{Deserialize, Serialize};

use super::bounded;
use super::known::{Delivered, Left};
use super::listing::Judged;
use super::log::placed;
use crate::format::credential::{Credential, Name, NameError};
use crate::guest::imported::{Closing, Ended, Imported, NotPlaced, NotReceived, Placed};
use crate::guest::place::PlaceError;
use crate::guest::place::error::Context;
use crate::guest::place::handover::{self, REPORT};
use crate::guest::place::outcome::{Outcome, Repaired};
use crate::guest::place::own::{self, StateDirectory};
use crate::guest::system::System;
use crate::guest::verify::delivery::Delivery;
use crate::sys::directory::{self, Directory, Links};
use crate::sys::signals::Held;
use crate::sys::{Errno, io_errno};
use crate::text::escape::Escaped;

const FILE: &str = "report.json";
const PART: &str = "report.json.part";

/// What an import did, as the file says it (smbios-creds-format(7)).
#[derive(Serialize)]
pub struct Report<'a> {
    /// The version of this program.
    version: &'static str,
    /// How it ended, in the words of the log.
    summary: String,
    /// Its exit code.
    exit: u8,
    /// The directory that was chosen; `None` if it did not come to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    /// Why it was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Whether the import closes the files by which the set came, as the next thing it does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
    /// What systemd had cut or lost, and has whole now.
    repaired: &'a [Repaired],
    /// What arrived, and everything that verification says of it; `None` if nothing was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Judged<'a>>,
    /// How much of these lists is left out, since the report would be too large; `None` if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<Omitted>,
}

/// Most bytes of a report. It is handed over as a credential beside the others, and systemd takes no more than
/// [`TOTAL_MAX`] bytes of all together.
///
/// [`TOTAL_MAX`]: crate::format::systemd::TOTAL_MAX
pub const SIZE_MAX: usize = 262_144;

/// Most bytes of each list where all of them would be too large. What remains of [`SIZE_MAX`] is for the rest.
const CREDENTIALS_MAX: usize = 131_072;
const FINDINGS_MAX: usize = 65_536;
const REPAIRED_MAX: usize = 32_768;

/// How many entries of a report's lists are left out.
#[derive(Serialize)]
struct Omitted {
    credentials: usize,
    findings: usize,
    repaired: usize,
}

/// What is read of a report later.
#[derive(Deserialize)]
pub struct Summary {
    /// The version that wrote it.
    pub version: String,
    /// How the import ended.
    pub summary: String,
    /// Its exit code.
    #[serde(default)]
    pub(super) exit: u8,
    /// The directory, escaped.
    pub(super) folder: Option<String>,
    /// Whether the import closed the files by which the set came.
    #[serde(default)]
    pub(super) closed: bool,
    pub(super) delivery: Option<Delivered>,
    pub(super) omitted: Option<Left>,
}

/// Why no report is left.
#[derive(Debug, thiserror::Error)]
enum NotReported {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl<'a> Report<'a> {
    /// The report of an import.
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
            Err(error) => return report(error.to_string(), error.ended(), None),
        };
        let (delivery, ended) = (&imported.delivery, imported.ended());
        match &imported.placed {
            Err(error) => report(error.to_string(), ended, Some(delivery)),
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

    /// The file: all of the report if that is at most [`SIZE_MAX`] bytes, else the beginning of each list.
    ///
    /// # Errors
    /// That it cannot be written as JSON.
    pub fn into_json(mut self) -> serde_json::Result<Vec<u8>> {
        // The last byte ends the line.
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

/// How the import of a set that is in its place ended, in the words of the log.
fn summary(set: &Placed, imported: &Imported) -> String {
    let placed = placed(&set.directory, &set.outcome, &imported.delivery);
    match &imported.closing {
        Closing::Failed(error) => format!("{placed}; {error}"),
        Closing::NotAsked | Closing::Closes | Closing::LeftOpen(_) => placed,
    }
}

/// Leaves a report of an import, and hands it over to the host stage. Nothing here can fail an import. Returns whether
/// there is a report that tells of it.
pub(in crate::guest) fn leave(system: &System, imported: &Result<Imported, NotReceived>) -> bool {
    if tells_nothing_new(system, imported) {
        return true;
    }
    let left = write_and_hand_over(system, imported);
    let is_left = left.is_ok();
    if let Err(error) = left {
        // Who may not import may not report either, and has been told.
        let is_told =
            |placed: &Result<Placed, NotPlaced>| placed.as_ref().err().is_none_or(NotPlaced::is_refusal);
        if imported.as_ref().is_ok_and(|imported| is_told(&imported.placed)) {
            tracing::warn!("no report is left: {error}");
        } else {
            tracing::debug!("no report is left: {error}");
        }
    }
    is_left
}

/// Whether an import that went well found everything in place, the report included.
fn tells_nothing_new(system: &System, imported: &Result<Imported, NotReceived>) -> bool {
    let Ok(imported) = imported else { return false };
    let unchanged = imported.placed.as_ref().is_ok_and(|placed| {
        let is_unchanged = |outcome: &Outcome| *outcome == Outcome::Unchanged;
        is_unchanged(&placed.outcome) && placed.sealed.as_ref().is_none_or(is_unchanged)
    });
    imported.ended() == Ended::Well
        && !matches!(imported.closing, Closing::Closes)
        && unchanged
        && open(system).is_some()
        && (!is_handed_over(imported) || system.initrd_credentials().join(REPORT).exists())
}

/// Whether the host stage gets the report.
fn is_handed_over(imported: &Imported) -> bool {
    let sends = imported.placed.as_ref().is_ok_and(|placed| placed.handed_over.sends_report());
    sends && imported.delivery.intact().next().is_some()
}

fn write_and_hand_over(system: &System, imported: &Result<Imported, NotReceived>) -> Result<(), NotReported> {
    let json = Report::new(imported).into_json()?;
    write(system, &json)?;
    let Ok(imported) = imported else { return Ok(()) };
    let name = Name::new(REPORT)?;
    let is_taken = imported.delivery.intact().any(|sent| sent.name == name);
    if is_handed_over(imported) && !is_taken {
        handover::send(system, &[&Credential::new(name, json)])?;
    }
    Ok(())
}

/// Puts a report in the place of the last one.
fn write(system: &System, json: &[u8]) -> Result<(), PlaceError> {
    let state = StateDirectory::lock(system, &own::run(system)?)?;
    let context = Context::new(&state.path);
    // A limit for files must not end an import that is complete.
    let _held = Held::new();
    let replace = || {
        // Whatever else has that name.
        match state.directory.remove_file(PART) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
        let mut file = state.directory.create(PART, 0o600)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(io_errno)?;
        file.write_all(json).map_err(io_errno)?;
        state.directory.rename(PART, FILE)
    };
    replace().map_err(context.cannot("write the report to"))
}

/// Reads what the last report said, if there is one, it is ours, and it may be read.
#[must_use]
pub fn read(system: &System) -> Option<Summary> {
    let mut json = Vec::new();
    open(system)?.read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Opens the report. Nothing that another user has put there is followed, waited for or believed.
fn open(system: &System) -> Option<File> {
    let directory = Directory::open(&system.state(), Links::Refuse).ok()?;
    if !directory.stat().ok()?.is_protected() {
        return None;
    }
    let file = directory.read(FILE).ok()?;
    directory::stat(&file).ok()?.is_file().then_some(file)
}
