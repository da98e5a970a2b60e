//! The import: the main act of the guest, on one page.
//!
//! 1. The sources receive what the host sent. A system whose table must not be believed is refused first.
//! 2. What was received is verified against the manifest and the policy.
//! 3. A place is chosen, by looking at the running system once, and filled with what is intact. Ciphertexts go to systemd's
//!    own place for them.
//! 4. In the initrd, the set is handed over to the host stage; in the host stage, what was handed over is cleared.
//!    What has no effect in its place is added to the findings.
//! 5. A report says what was done. If closing is asked for and everything is in its place, the sources are closed next.
//! 6. A receipt tells the host what was done, if the host asks for one.
//!
//! Each step tells the log what it did, through [`tracing`]. No value is ever part of it.

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

/// What is to be imported, where to, and under which conditions.
#[derive(Clone, Debug)]
pub struct Request {
    /// A directory with a recording, instead of the running system's own sources.
    pub from: Option<PathBuf>,
    /// Where credentials go.
    pub into: Into,
    /// What is expected of them.
    pub policy: Policy,
    /// Whether to close the files by which they came, once all of them are in place.
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
/// [`NotReceived`] says why there is nothing to import. What was received and could not be placed is none: see
/// [`Imported::placed`].
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
    // What goes to a directory of the user's own is nothing that happened to this machine. Where the sources are closed,
    // the report that knows what came by them must stay.
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

/// What an import does where the sources are closed: it holds what the last report knows against what is in the place,
/// and closes what is still open if that is asked for. Nothing else is written.
///
/// # Errors
/// [`CloseError`]: a file could not be closed.
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

/// The first two steps: receives and verifies. Nothing is written.
///
/// # Errors
/// [`NotReceived`] says why nothing was received.
pub fn receive(system: &System, request: &Request) -> Result<Delivery, NotReceived> {
    let delivery = load(system, request.from.as_deref(), &request.policy)?;
    log::findings(&delivery);
    Ok(delivery)
}

/// Receives and verifies, for everything that prints or writes a value: the recording in a directory, or what the running
/// system was sent. A system whose table must not be believed is refused here, so that nothing can forget it. On such a
/// system, a set counts that is signed for this machine.
///
/// # Errors
/// [`NotReceived`] says why nothing was received.
pub fn load(system: &System, from: Option<&Path>, policy: &Policy) -> Result<Delivery, NotReceived> {
    let mut policy = trust::complete(system, from.is_none(), policy)?;
    // A recording speaks for itself.
    let is_asked = from.is_none() && policy.confidential != Confidential::Allow;
    let platform = if is_asked { platform::detect(system) } else { None };
    policy.trust.circumstances.is_confidential = platform.is_some();
    if let Some(platform) = platform
        && (policy.confidential == Confidential::Refuse || !policy.trust.names_a_signer_and_an_audience())
    {
        return Err(Distrusted(platform).into());
    }
    let input = from.map_or(Input::Running(system), Input::Recording);
    let delivery = verify(source::receive(source::ALL, input)?, &policy);
    if let Some(platform) = platform
        && let Some(finding) = delivery.why_not_believed()
    {
        log::findings(&delivery);
        return Err(NotReceived::Unsigned { platform, finding: finding.to_string() });
    }
    Ok(delivery)
}

/// Chooses a place, fills it, and hands over. Adds to the findings what has no effect there.
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
    let place = choice.place;
    Ok(Placed { place, directory, reason: choice.reason, outcome, sealed, handed_over: choice.handover })
}
