//! Table, manifest and policy -> [`Delivery`]: the credentials, and everything there is to say about them.

use std::collections::BTreeMap;

use super::delivery::{Delivery, Entry, Refusal};
use super::finding::{Finding, FindingKind, Place, Severity};
use crate::format::credential::{Credential, Name, Secret};
use crate::format::manifest::Manifest;
use crate::format::oem_string::{self, OemString};
use crate::format::smbios::{self, Fault, OEM_STRINGS, OEM_STRINGS_LENGTH, OemStructure, Table};

/// Credentials that systemd's importer can hold: 256 pages of 4 KiB in its tmpfs, one a file (v252 to v262).
pub const SYSTEMD_FILES_MAX: usize = 256;

/// Bytes of all values that systemd's importer takes (`CREDENTIALS_TOTAL_SIZE_MAX`).
pub const SYSTEMD_TOTAL_MAX: usize = 1_048_576;

/// Bytes of a structure that systemd 256 and older reads: one read of a sysfs file.
pub const SYSTEMD_PAGE: usize = 4096;

/// What the guest expects of a delivery.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Credentials that must be there, and not empty.
    pub require: Vec<Name>,
    /// Credentials that may be empty.
    pub allow_empty: Vec<Name>,
    /// What to do with the manifest.
    pub manifest: ManifestPolicy,
}

/// What to do with the manifest.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ManifestPolicy {
    /// Verify it if it is there.
    #[default]
    Use,
    /// Verify it; fail without it, and on any credential that it does not list.
    Require,
    /// Do not look at it.
    Ignore,
}

/// Decodes and verifies the credentials of a table.
///
/// ```
/// use smbios_creds::guest::verify::set::{Policy, verify};
/// use smbios_creds::format::smbios::Table;
/// let structure = b"\x0b\x05\x00\x0e\x01io.systemd.credential:foo=bar\0\0";
/// let delivery = verify(&Table::parse(b"", structure.to_vec()), &Policy::default());
/// assert_eq!(delivery.intact().next().map(|c| c.value.expose()), Some(&b"bar"[..]));
/// assert!(!delivery.passed()); // there is no entry point
/// ```
#[must_use]
pub fn verify(table: &Table, policy: &Policy) -> Delivery {
    let mut verifier = Verifier::new(policy);
    verifier.faults(table);
    let mut has_oem_strings = false;
    for structure in table.oem_structures() {
        has_oem_strings = true;
        verifier.structure(&structure);
    }
    if !has_oem_strings {
        verifier.find(FindingKind::NoOemStrings, Severity::Note, None, Place::default());
    } else if verifier.entries.is_empty() {
        verifier.find(FindingKind::NoCredentials, Severity::Note, None, Place::default());
    }
    verifier.break_in_table(table);
    verifier.duplicates();
    let proven = verifier.manifest();
    if !proven {
        verifier.maybe_cut();
    }
    verifier.empty();
    verifier.required();
    verifier.systemd_limits();
    let Verifier { entries, findings, foreign, .. } = verifier;
    Delivery { entries, findings, proven, has_oem_strings, foreign }
}

struct Verifier<'a> {
    policy: &'a Policy,
    entries: Vec<Entry>,
    findings: Vec<Finding>,
    /// The first manifest, and where it is.
    manifest: Option<(Manifest, Place)>,
    /// Entries whose end may be missing.
    suspects: Vec<usize>,
    /// The entry that counts for each name.
    first: BTreeMap<Name, usize>,
    foreign: usize,
}

impl<'a> Verifier<'a> {
    fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            entries: vec![],
            findings: vec![],
            manifest: None,
            suspects: vec![],
            first: BTreeMap::new(),
            foreign: 0,
        }
    }

    fn find(&mut self, kind: FindingKind, severity: Severity, credential: Option<String>, place: Place) {
        self.findings.push(Finding { kind, severity, credential, place });
    }

    /// What is wrong with the table as a whole.
    fn faults(&mut self, table: &Table) {
        for fault in table.faults() {
            let (kind, severity, place) = match *fault {
                Fault::EntryPoint(reason) => (FindingKind::EntryPoint { reason }, Severity::Error, None),
                Fault::Cut(extent) => (FindingKind::TableCut(extent), Severity::Error, None),
                // Behind _SM3_ the announced size is a maximum; behind _SM_ it is meant to be exact.
                Fault::Short(extent) if extent.announced_structures.is_none() => {
                    (FindingKind::TableShort(extent), Severity::Note, None)
                }
                Fault::Short(extent) => (FindingKind::TableShort(extent), Severity::Warning, None),
                Fault::Long(extent) => (FindingKind::TableLong(extent), Severity::Error, None),
                Fault::MoreStructures(extent) => {
                    (FindingKind::MoreStructures(extent), Severity::Warning, None)
                }
                Fault::Damaged { offset, remaining, damage } => {
                    (FindingKind::Damaged { remaining, reason: damage }, Severity::Error, Some(offset))
                }
                Fault::NoEndOfTable => (FindingKind::NoEndOfTable, Severity::Warning, None),
                Fault::BehindEndOfTable { offset, remaining } => {
                    (FindingKind::BehindEndOfTable { remaining }, Severity::Warning, Some(offset))
                }
            };
            self.find(kind, severity, None, place.map(Place::offset).unwrap_or_default());
        }
    }

    fn structure(&mut self, structure: &OemStructure<'_>) {
        let place = Place {
            structure: Some(structure.index),
            offset: Some(structure.structure.offset),
            string: None,
        };
        let found = structure.structure.strings.len();
        let split = self.count(structure, found, place);
        let mut previous = None;
        for (index, (offset, string)) in structure.strings().enumerate() {
            let place = Place { string: Some(index + 1), offset: Some(offset), ..place };
            let entry = self.string(string, place);
            // The tail of a split string has lost its prefix, so what stands before it may be a cut credential.
            if let (true, None, Some(cut)) = (split, entry, previous) {
                self.suspects.push(cut);
            }
            previous = entry;
        }
    }

    /// Holds the count byte and the shape of the structure against what is there. Returns whether a string was split.
    fn count(&mut self, structure: &OemStructure<'_>, found: usize, place: Place) -> bool {
        let length = structure.structure.length;
        if length != OEM_STRINGS_LENGTH {
            self.find(FindingKind::StructureLength { length }, Severity::Warning, None, place);
        }
        let size = structure.structure.end - structure.structure.offset;
        if size > SYSTEMD_PAGE {
            self.find(FindingKind::LongStructure { size }, Severity::Note, None, place);
        }
        let Some(announced) = structure.count().map(usize::from) else { return false };
        let wrapped = found > 255 && found % 256 == announced;
        if wrapped {
            self.find(FindingKind::CountWrapped { announced, found }, Severity::Warning, None, place);
        } else if found < announced {
            self.find(FindingKind::StringsMissing { announced, found }, Severity::Error, None, place);
            if smbios::looks_like_text(structure.behind()) {
                let place = Place { offset: Some(structure.structure.end), ..place };
                self.find(FindingKind::SetEndedEarly, Severity::Error, None, place);
            }
        } else if found > announced {
            self.find(FindingKind::StringSplit { announced, found }, Severity::Error, None, place);
        }
        found > announced && !wrapped
    }

    /// Takes in one string. Returns the index of its entry, if it got one.
    fn string(&mut self, string: &[u8], place: Place) -> Option<usize> {
        let (name, encoding, credential, refusal) = match oem_string::decode(string) {
            OemString::Credential(credential, encoding) => {
                (Some(credential.name.to_string()), encoding, Some(credential), None)
            }
            OemString::Refused(refused, encoding) => {
                let kind = FindingKind::NotACredential { reason: refused.error };
                self.find(kind, Severity::Error, refused.name.clone(), place);
                (refused.name, encoding, None, Some(refused.error.into()))
            }
            OemString::Manifest(text) => {
                self.manifest_string(text, place);
                return None;
            }
            OemString::NearMiss { meant } => {
                self.find(FindingKind::NearMiss { meant }, Severity::Error, None, place);
                return None;
            }
            OemString::Foreign if string.is_empty() => {
                self.find(FindingKind::EmptyString, Severity::Warning, None, place);
                return None;
            }
            OemString::Foreign => {
                self.foreign += 1;
                return None;
            }
        };
        self.entries.push(Entry { name, encoding, place, credential, refusal });
        Some(self.entries.len() - 1)
    }

    fn manifest_string(&mut self, text: &[u8], place: Place) {
        if self.policy.manifest == ManifestPolicy::Ignore {
            return;
        }
        match (Manifest::decode(text), &self.manifest) {
            (Err(reason), _) => {
                self.find(FindingKind::ManifestInvalid { reason }, Severity::Error, None, place);
            }
            (Ok(manifest), None) => self.manifest = Some((manifest, place)),
            (Ok(manifest), Some((first, _))) => {
                let identical = manifest == *first;
                let severity = if identical { Severity::Warning } else { Severity::Error };
                self.find(FindingKind::ManifestAgain { identical }, severity, None, place);
            }
        }
    }

    /// The first of several credentials with the same name counts, as in systemd.
    fn duplicates(&mut self) {
        let mut again = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let Some(Credential { name, value }) = &entry.credential else { continue };
            match self.first.get(name).and_then(|&first| self.entries.get(first)) {
                Some(first) => {
                    let first = first.credential.as_ref().map(|first| first.value.expose());
                    again.push((index, first == Some(value.expose())));
                }
                None => _ = self.first.insert(name.clone(), index),
            }
        }
        for (index, identical) in again {
            let severity = if identical { Severity::Warning } else { Severity::Error };
            self.find_entry(index, FindingKind::Duplicate { identical }, severity, Refusal::Duplicate);
        }
    }

    /// The value that counts for a name.
    fn value(&self, name: &Name) -> Option<&Secret> {
        let entry = self.entries.get(*self.first.get(name)?)?;
        entry.credential.as_ref().map(|credential| &credential.value)
    }

    /// A finding about an entry that is refused for it.
    fn find_entry(&mut self, index: usize, kind: FindingKind, severity: Severity, refusal: Refusal) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        entry.refuse(refusal);
        let (name, place) = (entry.name.clone(), entry.place);
        self.find(kind, severity, name, place);
    }

    /// Holds the set against the manifest. Returns whether that proved it to be what was sent.
    fn manifest(&mut self) -> bool {
        let Some((manifest, place)) = self.manifest.take() else {
            let invalid = |finding: &Finding| matches!(finding.kind, FindingKind::ManifestInvalid { .. });
            if self.policy.manifest == ManifestPolicy::Require && !self.findings.iter().any(invalid) {
                self.find(FindingKind::ManifestMissing, Severity::Error, None, Place::default());
            }
            return false;
        };
        let mut complete = true;
        for (name, expected) in manifest.credentials() {
            let found = self.value(name).map(|value| value.len() as u64);
            match (found, self.first.get(name).copied()) {
                (Some(found), _) if found == expected => continue,
                (Some(found), Some(index)) => {
                    let kind = FindingKind::SizeDiffers { expected, found };
                    self.find_entry(index, kind, Severity::Error, Refusal::SizeDiffers);
                }
                _ => {
                    let required = self.policy.require.contains(name);
                    let kind = FindingKind::Missing { expected: Some(expected), required };
                    self.find(kind, Severity::Error, Some(name.to_string()), Place::default());
                }
            }
            complete = false;
        }
        let severity = match self.policy.manifest {
            ManifestPolicy::Require => Severity::Error,
            _ => Severity::Warning,
        };
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            let listed = entry.credential.as_ref().is_none_or(|c| manifest.size_of(&c.name).is_some());
            if !listed && entry.refusal != Some(Refusal::Duplicate) {
                let (name, place) = (entry.name.clone(), entry.place);
                self.find(FindingKind::NotListed, severity, name, place);
            }
        }
        let proven = complete && manifest.matches(|name| self.value(name));
        if complete && !proven {
            self.find(FindingKind::DigestDiffers, Severity::Error, None, place);
            for entry in self.entries.iter_mut().filter(|entry| entry.refusal.is_none()) {
                if entry.credential.as_ref().is_some_and(|c| manifest.size_of(&c.name).is_some()) {
                    entry.refuse(Refusal::DigestDiffers);
                }
            }
        }
        self.manifest = Some((manifest, place));
        proven
    }

    /// Where a table is cut or damaged, the string before the break may have lost its end: firmware that cuts a
    /// table leaves zeroes, which end the string as if nothing had happened.
    fn break_in_table(&mut self, table: &Table) {
        let broken =
            table.faults().iter().any(|fault| matches!(fault, Fault::Cut(_) | Fault::Damaged { .. }));
        let last = table.structures().last().filter(|last| broken && last.kind == OEM_STRINGS);
        let Some(start) = last.and_then(|last| last.strings.last()).map(|range| range.start) else { return };
        self.suspects.extend(self.entries.iter().rposition(|entry| entry.place.offset == Some(start)));
    }

    /// Without a proof that the set is whole, a credential that may have lost its end is not handed out.
    fn maybe_cut(&mut self) {
        for index in std::mem::take(&mut self.suspects) {
            let credential = self.entries.get(index).and_then(|entry| entry.credential.as_ref());
            let Some(found) = credential.map(|credential| credential.value.len()) else { continue };
            self.find_entry(index, FindingKind::MaybeCut { found }, Severity::Error, Refusal::MaybeCut);
        }
    }

    /// An empty value is most likely a secret that got lost on the host, unless somebody says otherwise.
    fn empty(&mut self) {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index).filter(|entry| entry.refusal.is_none()) else {
                continue;
            };
            let Some(Credential { name, value }) = &entry.credential else { continue };
            let required = self.policy.require.contains(name);
            let meant = self.manifest.as_ref().is_some_and(|(manifest, _)| manifest.size_of(name) == Some(0));
            if value.is_empty() && !self.policy.allow_empty.contains(name) && (required || !meant) {
                self.find_entry(index, FindingKind::Empty { required }, Severity::Error, Refusal::Empty);
            }
        }
    }

    /// Required credentials that no finding has spoken of yet.
    fn required(&mut self) {
        for name in &self.policy.require {
            let shown = name.as_str();
            let known = self.entries.iter().any(|entry| entry.name.as_deref() == Some(shown))
                || self.findings.iter().any(|finding| finding.credential.as_deref() == Some(shown));
            if !known {
                let kind = FindingKind::Missing { expected: None, required: true };
                self.find(kind, Severity::Error, Some(name.to_string()), Place::default());
            }
        }
    }

    /// What PID 1 of a systemd guest would lose without a word.
    fn systemd_limits(&mut self) {
        let (mut bytes, mut files) = (0, 0);
        for value in self.first.keys().filter_map(|name| self.value(name)) {
            bytes += value.len();
            files += usize::from(!value.is_empty());
        }
        if files > SYSTEMD_FILES_MAX || bytes > SYSTEMD_TOTAL_MAX {
            let kind = FindingKind::AboveSystemd { credentials: self.first.len(), bytes };
            self.find(kind, Severity::Warning, None, Place::default());
        }
    }
}
