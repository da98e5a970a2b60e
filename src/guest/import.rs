//! The import, which is the main task of the guest's program, in six steps.
//!
//! 1. The sources receive what the host sent. In a confidential VM or a container, the SMBIOS table must not be
//!    trusted, so the import fails instead. The import does not fail if the policy trusts the table, or accepts only
//!    sets that a trusted key has signed for this machine.
//! 2. The received credentials are verified against the manifest and the policy.
//! 3. The import looks at the running system once, chooses a place (a directory), and writes the intact credentials
//!    there. The import writes encrypted credentials to `/run/credstore.encrypted`, from which systemd reads them.
//! 4. In the initrd, the import hands the set over to the stage after switch-root. After switch-root, the import
//!    removes the copy that the initrd handed over. The import adds a finding for each credential that has no effect in
//!    its place.
//! 5. The import writes a report, which says what was done. If `--close` was given and every credential is in its
//!    place, the import then sets the files of the sources to mode 0000, so that nobody can read them.
//! 6. If the host requested a receipt, the import sends one, which says what was done.
//!
//! Each step logs through [`tracing`] what it did. The log never contains a value.

use std::path::{Path, PathBuf};

use super::close;
use super::imported::{CloseError, Closing, Imported, LeftOpen, NotPlaced, NotReceived, Placed};
use super::place::Place;
use super::place::choose::Into;
use super::place::handover::hand_over;
use super::place::outcome::Outcome;
use super::place::sealed;
use super::platform::{self, Distrusted};
use super::report::remembered::Remembered;
use super::report::{last, log, receipt};
use super::source::{self, Input};
use super::system::{Stage, System};
use super::trust;
use super::verify::delivery::Delivery;
use super::verify::policy::{Confidential, Policy};
use super::verify::set::verify;
use crate::format::credential::Credential;

/// What to import, where to write it, and under which conditions.
#[derive(Clone, Debug)]
pub struct Request {
    /// A recorded directory to import from, instead of the running system's sources.
    pub from: Option<PathBuf>,
    /// Where to write the credentials.
    pub into: Into,
    /// The conditions that the received set must meet.
    pub policy: Policy,
    /// Whether to close (set to mode 0000) the files from which the credentials were read, after every credential is in
    /// its place.
    pub close: bool,
}

/// Imports what the host sent.
///
/// ```
/// use smbios_creds::guest::import::{Request, import};
/// use smbios_creds::guest::place::Place;
/// use smbios_creds::guest::place::choose::Into;
/// use smbios_creds::guest::system::System;
/// use smbios_creds::guest::verify::policy::Policy;
///
/// # let directory = tempfile::tempdir()?;
/// let request = Request {
///     from: Some("testdata/cloud-hypervisor-53-api".into()),
///     into: Into::At(Place::Directory(directory.path().join("credentials"))),
///     policy: Policy::default(),
///     close: false,
/// };
/// let imported = import(&System::running(), &request)?;
/// assert!(imported.delivery.passed() && imported.meets(&request.policy));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Returns [`NotReceived`], which says why there is nothing to import. A credential that was received but could not be
/// written is not an error here: see [`Imported::placed`].
pub fn import(system: &System, request: &Request) -> Result<Imported, NotReceived> {
    let mut imported = receive(system, request).map(|mut delivery| {
        let placed = place(system, request, &mut delivery);
        Imported { delivery, placed, closing: Closing::NotAsked }
    });
    if let Ok(Imported { delivery, placed: Ok(_), .. }) = &imported
        && let (None, Some(serial)) =
            (&request.from, delivery.proof.signed().and_then(|signed| signed.serial))
    {
        trust::remember(system, serial);
    }
    if let Ok(imported) = &mut imported
        && request.close
    {
        let is_recording = request.from.is_some().then_some(LeftOpen::Recording);
        let why_not = is_recording.or_else(|| close::why_not(system, imported));
        imported.closing = why_not.map_or(Closing::Closes, Closing::LeftOpen);
    }
    let is_closing = matches!(imported, Ok(Imported { closing: Closing::Closes, .. }));
    // An import to a directory that the user chose changes nothing else on this machine, so it writes no report, unless
    // it closes the sources. If an earlier import closed the sources, the existing report must stay, because only this
    // report says what was imported.
    let is_reported = match &imported {
        Err(error) if error.is_closed() => false,
        _ if matches!(request.into, Into::At(Place::Directory(_))) && !is_closing => false,
        imported => last::leave(system, imported),
    };
    if let Ok(imported) = &mut imported
        && is_closing
    {
        let closed =
            if is_reported { close::close(system) } else { Err(CloseError::NoReport(system.state().into())) };
        match closed {
            Ok(files) => log::closed(files),
            Err(error) => imported.closing = Closing::Failed(error),
        }
    }
    if matches!(imported, Ok(Imported { closing: Closing::Failed(_), .. })) {
        last::leave(system, &imported);
    }
    if let (None, Ok(imported)) = (&request.from, &imported) {
        receipt::send(system, imported);
    }
    imported
}

/// Runs an import whose sources an earlier import closed. Compares the report of that import with the credentials in
/// their place. If closing was requested and the credentials are complete, also closes those files of the sources that
/// are still readable. In the initrd, closes no file. Writes no credential and no report.
///
/// # Errors
/// [`CloseError`] if a file could not be closed.
pub fn import_again(system: &System, request: &Request) -> Result<Remembered, CloseError> {
    let remembered = Remembered::look(system, &request.into, &request.policy);
    if request.close && remembered.is_whole() && system.stage() == Stage::Host {
        match close::close(system)? {
            0 => {}
            files => log::closed(files),
        }
    }
    Ok(remembered)
}

/// Receives what the host sent, and verifies it: the first two steps of an import. Writes nothing.
///
/// # Errors
/// [`NotReceived`] says why nothing was received.
pub fn receive(system: &System, request: &Request) -> Result<Delivery, NotReceived> {
    let delivery = load(system, request.from.as_deref(), &request.policy)?;
    log::findings(&delivery);
    Ok(delivery)
}

/// Receives and verifies a set. Everything in this program that prints or writes a value calls this function. Reads the
/// recorded directory `from` or, if `from` is `None`, the running system's sources. Also checks for every caller
/// whether this system is a confidential VM or a container: there, the policy decides whether the table is trusted, and
/// by default only a set that is signed for this machine is accepted.
///
/// # Errors
/// [`NotReceived`] says why nothing was received.
pub fn load(system: &System, from: Option<&Path>, policy: &Policy) -> Result<Delivery, NotReceived> {
    let mut policy = trust::complete(system, from.is_none(), policy)?;
    // For a recording, this function does not check whether the system is a confidential VM or a container: the
    // recording may come from another machine.
    let is_asked = from.is_none() && policy.confidential != Confidential::Allow;
    let platform = if is_asked { platform::detect(system) } else { None };
    policy.trust.circumstances.is_confidential = platform.is_some();
    if let Some(platform) = platform
        && (policy.confidential == Confidential::Refuse || !policy.trust.names_a_signer_and_an_audience())
    {
        return Err(Distrusted(platform).into());
    }
    let input = from.map_or(Input::Running(system), Input::named);
    let delivery = verify(source::receive(source::ALL, input)?, &policy);
    if let Some(platform) = platform
        && let Some(finding) = delivery.why_not_believed()
    {
        log::findings(&delivery);
        return Err(NotReceived::Unsigned { platform, finding: finding.to_string() });
    }
    Ok(delivery)
}

/// Chooses a place, writes the credentials to it, and hands them over from the initrd to the stage after
/// switch-root. Adds findings about credentials that have no effect in the chosen place.
fn place(system: &System, request: &Request, delivery: &mut Delivery) -> Result<Placed, NotPlaced> {
    if delivery.requires_signature && delivery.proof.signed().is_none() {
        return Err(NotPlaced::Unproven);
    }
    let unwritten = sealed::findings(system, &request.into, delivery);
    log::these(&unwritten, &delivery.machine);
    delivery.findings.append(unwritten);
    if !delivery.passed() && request.policy.strict {
        return Err(NotPlaced::Strict);
    }
    if !delivery.passed() && delivery.requires_signature {
        return Err(NotPlaced::NotWhole);
    }
    let set: Vec<&Credential> = delivery.intact().collect();
    let choice = request.into.choose(system);
    let directory = choice.place.directory(system);
    if request.into == Into::Auto {
        log::choice(&directory, choice.reason);
    }
    let outcome = choice.fill(system, &set)?;
    log::outcome(&directory, &outcome, delivery);
    let sealed = sealed::fill(system, &request.into, delivery)?;
    log::encrypted(&system.encrypted_credstore(), sealed.as_ref(), delivery);
    if let Outcome::Repaired(repair) = &outcome
        && !repair.foreign.is_empty()
    {
        return Err(NotPlaced::Foreign { repair: repair.clone(), total: set.len() });
    }
    let cleared = hand_over(system, choice.handover, &set)?;
    log::cleared(cleared);
    let findings = choice.findings(system, delivery);
    log::these(&findings, &delivery.machine);
    delivery.findings.append(findings);
    let directory = directory.into_owned();
    let place = choice.place;
    Ok(Placed { place, directory, reason: choice.reason, outcome, sealed, handed_over: choice.handover })
}
