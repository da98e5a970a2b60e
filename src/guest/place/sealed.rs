//! Writes encrypted credentials to `/run/credstore.encrypted`, from which systemd decrypts them for a unit.
//!
//! The encrypted files stay in this directory after a switch-root, so that systemd can still read them.
//! Only systemd can decrypt encrypted credentials. So this program writes them only under systemd, and never to a place
//! for plain credentials.

use std::ffi::CStr;

use super::choose::Into;
use super::content::{self, Buffer, Found, Wanted};
use super::error::Context;
use super::outcome::{Outcome, State};
use super::{Place, PlaceError, own, publish};
use crate::guest::system::System;
use crate::guest::verify::delivery::Delivery;
use crate::guest::verify::finding::{Finding, FindingKind, Severity};
use crate::guest::verify::findings::Findings;
use crate::guest::verify::sealed_entry::SealedEntry;
use crate::guest::verify::sealed_finding::SealedFinding;
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};
use crate::trust::sealed::Sealed;

const NAME: &CStr = c"credstore.encrypted";

/// Returns why an import writes no encrypted credentials to this place or on this system; `None` if it writes them.
fn obstacle(system: &System, into: &Into) -> Option<(FindingKind, Severity)> {
    if matches!(into, Into::At(Place::Directory(_))) {
        Some((FindingKind::Sealed(SealedFinding::NotForDirectory), Severity::Warning))
    } else if system.is_booted_with_systemd() {
        None
    } else {
        Some((FindingKind::Sealed(SealedFinding::NoSystemd), Severity::Error))
    }
}

/// Returns one finding for each encrypted credential that an import does not write. Each finding gives the credential's
/// name.
#[must_use]
pub fn findings(system: &System, into: &Into, delivery: &Delivery) -> Findings {
    let mut findings = Findings::default();
    for entry in delivery.sealed.iter().filter(|entry| entry.intact().is_ok()) {
        let Some((kind, severity)) = obstacle(system, into) else { break };
        let (credential, origin) = (entry.name.clone(), Some(entry.origin.clone()));
        findings.push(Finding { kind, severity, credential, origin, more: 0 });
    }
    findings
}

/// Writes all intact encrypted credentials, or none of them. Returns `None` if there is nothing to write, or if this
/// import writes no encrypted credentials.
pub(in crate::guest) fn fill(
    system: &System,
    into: &Into,
    delivery: &Delivery,
) -> Result<Option<Outcome>, PlaceError> {
    let set: Vec<Wanted<'_>> = delivery.intact_sealed().map(wanted).collect();
    if set.is_empty() || obstacle(system, into).is_some() {
        return Ok(None);
    }
    let path = system.encrypted_credstore();
    let context = Context::new(&path);
    publish::publish(&own::run(system)?, NAME, &set, context).map(Some)
}

fn wanted(sealed: &Sealed) -> Wanted<'_> {
    Wanted { name: &sealed.name, bytes: sealed.blob.text().as_bytes() }
}

/// Returns the state of each encrypted credential of a delivery in `/run/credstore.encrypted`, in the order of the
/// delivery.
#[must_use]
pub fn states(system: &System, into: &Into, delivery: &Delivery) -> Vec<State> {
    if delivery.sealed.is_empty() {
        return Vec::new();
    }
    let is_taken = !matches!(into, Into::At(Place::Directory(_)));
    let directory = Directory::open(&system.encrypted_credstore(), Links::Refuse);
    let mut buffer = Buffer::default();
    let mut state = |sealed: &Sealed| match &directory {
        _ if !is_taken => State::Missing,
        Ok(directory) => match content::compare(directory, wanted(sealed), &mut buffer) {
            Ok(Found::Equal) => State::Imported,
            Ok(Found::Absent) => State::Missing,
            Ok(Found::Other) => State::Differs,
            Err(_) => State::Unknown,
        },
        Err(Errno::ENOENT) => State::Missing,
        Err(_) => State::Unknown,
    };
    let of = |entry: &SealedEntry| entry.intact().map_or_else(State::Refused, &mut state);
    delivery.sealed.iter().map(of).collect()
}
