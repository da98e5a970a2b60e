//! Reads the Type 11 strings of a table into [`Received`], and adds findings about the table.

use super::delivery::Entry;
use super::finding::{FindingKind, Severity};
use super::origin::Origin;
use super::received::{Received, SentManifest};
use crate::format::oem_string::{self, BINARY_PREFIX, OemString, TEXT_PREFIX};
use crate::format::smbios::machine::{Hypervisor, Machine};
use crate::format::smbios::{self, Fault, OEM_STRINGS, OEM_STRINGS_LENGTH, OemStructure, Table};
use crate::format::systemd::STRUCTURE_MAX;

/// Decodes every Type 11 string of a table.
///
/// ```
/// use smbios_creds::format::smbios::Table;
/// use smbios_creds::guest::verify::smbios::receive;
/// let structure = b"\x0b\x05\x00\x0e\x01io.systemd.credential:foo=bar\0\0";
/// let received = receive(&Table::parse(b"", structure.to_vec()));
/// assert_eq!(received.entries.len(), 1);
/// assert!(!received.findings.is_empty()); // there is no entry point, and no end of the table
/// ```
#[must_use]
pub fn receive(table: &Table) -> Received {
    let mut received = Received { machine: Machine::of(table), ..Received::default() };
    for fault in table.faults() {
        let (kind, severity, offset) = finding(*fault);
        received.find(kind, severity, offset.map(Origin::offset));
    }
    for structure in table.oem_structures() {
        received.is_anything_sent = true;
        receive_structure(&mut received, &structure);
    }
    if let Some(offset) = table.broken_oem_structure() {
        received.is_anything_sent = true;
        received.find(FindingKind::OemStringsBroken, Severity::Error, Origin::offset(offset));
    } else if !received.is_anything_sent {
        let kind = if table.is_read_to_its_end() {
            FindingKind::NoOemStrings
        } else {
            FindingKind::OemStringsUnknown
        };
        received.find(kind, Severity::Note, None);
    }
    suspect_last(&mut received, table);
    excuse_vendor(&mut received);
    // If strings were lost, credentials may be among them, so the finding that no credential was sent is not added.
    let is_lost = received.findings.iter().any(|finding| finding.severity == Severity::Error);
    let has_any =
        !received.entries.is_empty() || !received.manifests.is_empty() || !received.encrypted.is_empty();
    if received.is_anything_sent && !has_any && !is_lost {
        received.find(FindingKind::NoCredentials, Severity::Note, None);
    }
    received
}

/// If the host cannot send OEM strings to this kind of machine, a broken table has lost no credential, and errors about
/// the table become warnings. But if the table has any trace of a credential, the host can send OEM strings after all,
/// and the errors stay errors.
fn excuse_vendor(received: &mut Received) {
    let Received { entries, manifests, findings, machine, .. } = received;
    let is_trace = |kind: &_| matches!(kind, FindingKind::NearMiss { .. } | FindingKind::OemStringsBroken);
    if machine.hypervisor.is_none_or(Hypervisor::carries_oem_strings)
        || !(entries.is_empty() && manifests.is_empty())
        || findings.iter().any(|finding| is_trace(&finding.kind))
    {
        return;
    }
    findings.excuse(|kind| matches!(kind, FindingKind::TableCut(_) | FindingKind::Damaged { .. }));
}

/// Returns the finding for a fault of the whole table: its kind, severity and offset.
fn finding(fault: Fault) -> (FindingKind, Severity, Option<usize>) {
    match fault {
        Fault::EntryPoint(reason) => (FindingKind::EntryPoint { reason }, Severity::Error, None),
        Fault::Cut(extent) => (FindingKind::TableCut(extent), Severity::Error, None),
        // The size in an _SM3_ entry point is a maximum. In an _SM_ entry point, the size should be exact.
        Fault::Short(extent) if extent.announced_structures.is_none() => {
            (FindingKind::TableShort(extent), Severity::Note, None)
        }
        Fault::Short(extent) => (FindingKind::TableShort(extent), Severity::Warning, None),
        Fault::Long(extent) => (FindingKind::TableLong(extent), Severity::Error, None),
        Fault::MoreStructures(extent) => (FindingKind::MoreStructures(extent), Severity::Warning, None),
        Fault::Damaged { offset, remaining, damage } => {
            (FindingKind::Damaged { remaining, reason: damage }, Severity::Error, Some(offset))
        }
        Fault::NoEndOfTable => (FindingKind::NoEndOfTable, Severity::Warning, None),
        Fault::BehindEndOfTable { offset, remaining } => {
            (FindingKind::BehindEndOfTable { remaining }, Severity::Warning, Some(offset))
        }
    }
}

fn receive_structure(received: &mut Received, structure: &OemStructure<'_>) {
    let is_split = check_shape(received, structure);
    received.entries.reserve(structure.structure.strings.len());
    let mut previous = None;
    for (index, (offset, string)) in structure.strings().enumerate() {
        let entry = receive_string(received, string, Origin::string(structure.index, index + 1, offset));
        // The second part of a split string has no prefix, so the entry before this string may be a cut credential.
        if let (true, None, Some(cut)) = (is_split, entry, previous)
            && !oem_string::is_accompanying(string)
        {
            received.suspects.push(cut);
        }
        previous = entry;
    }
}

/// Checks the size of a structure, and compares its count byte with the number of its strings. Returns whether a NUL
/// byte has split a string, or may have split one.
fn check_shape(received: &mut Received, structure: &OemStructure<'_>) -> bool {
    let (start, end) = (structure.structure.offset, structure.structure.end);
    let origin = || Origin::structure(structure.index, start);
    let length = structure.structure.length;
    if length != OEM_STRINGS_LENGTH {
        received.find(FindingKind::StructureLength { length }, Severity::Warning, origin());
    }
    let size = end - start;
    if size > STRUCTURE_MAX {
        received.find(FindingKind::LongStructure { size }, Severity::Note, origin());
    }
    let found = structure.structure.strings.len();
    let Some(announced) = structure.count().map(usize::from) else { return false };
    if found > 255 && found % 256 == announced {
        let is_proven = possible_tails(structure) <= u8::MAX.into();
        let kind = if is_proven {
            FindingKind::CountWrapped { announced, found }
        } else {
            FindingKind::CountUnclear { announced, found }
        };
        received.find(kind, Severity::Warning, origin());
        return !is_proven;
    }
    if found < announced {
        received.find(FindingKind::StringsMissing { announced, found }, Severity::Error, origin());
        if smbios::looks_like_text(structure.behind()) {
            let origin = Origin::structure(structure.index, end);
            received.find(FindingKind::SetEndedEarly, Severity::Error, origin);
        }
    } else if found > announced {
        received.find(FindingKind::StringSplit { announced, found }, Severity::Error, origin());
    }
    found > announced
}

/// Returns the number of strings that may be the second part of a credential that a NUL byte has split. Such a string
/// follows a credential, and is neither another credential nor another string of this program.
///
/// The count byte differs from the number of strings by at least 256. If NUL bytes cause this difference, the structure
/// has at least 256 second parts of split credentials. So if the structure has fewer than 256 strings that may be such
/// parts, the count byte has wrapped.
fn possible_tails(structure: &OemStructure<'_>) -> usize {
    let mut is_behind = false;
    let is_tail = |(_, string): &(usize, &[u8])| {
        let starts = |prefix: &str| string.starts_with(prefix.as_bytes());
        let is_credential = starts(TEXT_PREFIX) || starts(BINARY_PREFIX);
        is_behind = is_credential || (is_behind && !oem_string::is_accompanying(string));
        is_behind && !is_credential
    };
    structure.strings().filter(is_tail).count()
}

/// Decodes one string. Returns the index of the entry that was made for the string; `None` if no entry was made.
fn receive_string(received: &mut Received, string: &[u8], origin: Origin) -> Option<usize> {
    let entry = match oem_string::decode(string) {
        OemString::Credential(credential, encoding) => Entry::decoded(credential, encoding, origin),
        OemString::MaybeNameless(text) => Entry::maybe_nameless(text, origin),
        OemString::Undecodable(reason, encoding) => {
            let kind = FindingKind::NotACredential { reason, size: string.len() };
            received.find(kind, Severity::Error, origin.clone());
            Entry::undecodable(reason, encoding, origin)
        }
        OemString::Manifest(text) => {
            received.manifests.push(SentManifest::read(text, origin));
            return None;
        }
        OemString::Signature(text) => {
            received.signatures.push((text.to_vec().into(), origin));
            return None;
        }
        OemString::Encrypted(text) => {
            received.encrypted.push((text.to_vec().into(), origin));
            return None;
        }
        OemString::Receipt(text) => {
            received.receipts.push((text.to_vec().into(), origin));
            return None;
        }
        OemString::NearMiss { meant } => {
            received.find(FindingKind::NearMiss { meant }, Severity::Error, origin);
            return None;
        }
        OemString::Foreign if string.is_empty() => {
            received.find(FindingKind::EmptyString, Severity::Warning, origin);
            return None;
        }
        OemString::Foreign => {
            received.foreign += 1;
            return None;
        }
    };
    received.entries.push(entry);
    Some(received.entries.len() - 1)
}

/// Adds the last string before the place where the table is cut or damaged to [`Received::suspects`], because the end
/// of the string may be missing. Firmware that cuts a table leaves zero bytes after the cut, so a cut string ends with
/// a NUL byte like a complete one.
fn suspect_last(received: &mut Received, table: &Table) {
    let broken = table.faults().iter().any(|fault| matches!(fault, Fault::Cut(_) | Fault::Damaged { .. }));
    let last = table.structures().last().filter(|last| broken && last.kind == OEM_STRINGS);
    let Some(start) = last.and_then(|last| last.strings.last()).map(|range| range.start) else { return };
    let is_last =
        |entry: &Entry| matches!(entry.origin, Origin::Smbios { offset, .. } if offset == Some(start));
    received.suspects.extend(received.entries.iter().rposition(is_last));
}
