//! The handover of credentials from the initrd to the stage after switch-root, in `/run/credentials/@initrd`.
//!
//! systemd 254 and newer merges this directory into `@system` after switch-root. The import in the initrd hands over
//! its report, even if it hands over no credential. If the switch-root command names an init program, systemd starts
//! without `$CREDENTIALS_DIRECTORY`. Without this variable, systemd imports again, finds that every credential exists
//! already, and passes nothing on to units. But if systemd imports at least one credential whose name it does not have
//! yet, it passes on all credentials. The report is such a credential. After switch-root, this program removes the
//! files that systemd has left in `@initrd`: systemd had no room for these files, or already had credentials of the
//! same names. systemd before 254 leaves the report in `@initrd`. From a report in `@initrd`, this program concludes
//! that systemd passes nothing on to units.

use super::content::{self, Buffer, Found};
use super::error::Context;
use super::{Method, Place, PlaceError, own};
use crate::format::credential::Credential;
use crate::guest::system::System;
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};

/// The name of the credential that carries the report from the initrd to the stage after switch-root.
pub const REPORT: &str = "smbios-creds.report";

/// What to do with `/run/credentials/@initrd`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handover {
    /// Do nothing, for example because systemd is not PID 1.
    Nothing,
    /// In the initrd: hand over the report, which makes systemd pass on the credentials that it has.
    Report,
    /// In the initrd: hand over every credential and the report.
    Everything,
    /// After switch-root: remove the report, and the credentials that were also written to another
    /// place.
    Clear,
    /// After switch-root: remove the credentials that were also written to another place, but keep the report. From a
    /// report in `@initrd`, a later import concludes that systemd passes nothing on to units.
    ClearExceptReport,
}

impl Handover {
    /// Whether a report is handed over from the initrd to the stage after switch-root.
    #[must_use]
    pub fn sends_report(self) -> bool {
        matches!(self, Self::Report | Self::Everything)
    }
}

/// In the initrd, hands a set over to the stage after switch-root. After switch-root, removes the credentials that the
/// initrd handed over. Returns the number of removed credentials.
pub(in crate::guest) fn hand_over(
    system: &System,
    handover: Handover,
    set: &[&Credential],
) -> Result<usize, PlaceError> {
    match handover {
        Handover::Nothing | Handover::Report => Ok(0),
        Handover::Everything => Place::Initrd.fill(system, &Method::Rename, set).map(|_| 0),
        Handover::Clear | Handover::ClearExceptReport => clear(system, handover, set),
    }
}

/// Adds the report, the file `name` in the directory `state`, to `@initrd` as one more credential: by a hard link, so
/// that the whole report appears at once. `run` is the directory `/run`. The caller has the lock of the report, so no
/// other import calls this function at the same time.
pub(in crate::guest) fn send_report(
    system: &System,
    run: &Directory,
    state: &Directory,
    name: &str,
) -> Result<(), PlaceError> {
    let path = system.initrd_credentials();
    let context = Context::new(&path);
    let initrd = own::initrd(system, run)?;
    let link = || match state.link(name, &initrd, REPORT) {
        // The report of an earlier import in this boot.
        Err(Errno::EEXIST) => initrd.remove_file(REPORT).and_then(|()| state.link(name, &initrd, REPORT)),
        result => result,
    };
    link().map_err(context.cannot("write the report to"))
}

/// Removes the credentials from `@initrd` that were also written to another place. If systemd already has a credential
/// of the same name, systemd leaves the file in `@initrd`, in plain text for as long as the machine runs.
fn clear(system: &System, handover: Handover, set: &[&Credential]) -> Result<usize, PlaceError> {
    let path = Place::Initrd.directory(system);
    let context = Context::new(&path);
    let directory = match Directory::open(&path, Links::Refuse) {
        Err(Errno::ENOENT) => return Ok(0),
        result => result.map_err(context.cannot("open"))?,
    };
    let (mut removed, mut buffer) = (0, Buffer::default());
    for &credential in set {
        if content::compare(&directory, credential, &mut buffer).map_err(context.cannot("read"))?
            == Found::Equal
        {
            directory
                .remove_file(credential.name.as_str())
                .map_err(context.cannot("remove duplicates from"))?;
            removed += 1;
        }
    }
    if handover == Handover::Clear {
        match directory.remove_file(REPORT) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(context.cannot("remove the report from")(error)),
        }
    }
    // `remove_dir` fails if the directory is not empty: the directory then contains credentials of other programs, and
    // stays.
    _ = std::fs::remove_dir(&path);
    Ok(removed)
}
