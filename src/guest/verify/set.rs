//! Compares the received set with the manifest and the policy.

use std::collections::BTreeMap;

use super::delivery::{Asked, Delivery, Entry, Listed, Proof, Refusal, Signed, Tally};
use super::finding::{Finding, FindingKind, Severity};
use super::origin::Origin;
use super::policy::{ManifestPolicy, Policy};
use super::received::{Received, SentManifest};
use super::smbios;
use super::trust::{self, Chosen};
use crate::format::credential::{Credential, Name, Secret};
use crate::format::manifest::Manifest;
use crate::format::receipt::Address;
use crate::format::smbios::Table;
use crate::format::systemd::{FILES_MAX, TOTAL_MAX};

/// Decodes and verifies the credentials of a table.
///
/// ```
/// use smbios_creds::format::smbios::Table;
/// use smbios_creds::guest::verify::policy::Policy;
/// use smbios_creds::guest::verify::set::verify_table;
/// let structure = b"\x0b\x05\x00\x0e\x01io.systemd.credential:foo=bar\0\0";
/// let delivery = verify_table(&Table::parse(b"", structure.to_vec()), &Policy::default());
/// assert_eq!(delivery.intact().next().map(|c| c.value.expose()), Some(&b"bar"[..]));
/// assert!(!delivery.passed()); // there is no entry point
/// ```
#[must_use]
pub fn verify_table(table: &Table, policy: &Policy) -> Delivery {
    verify(smbios::receive(table), policy)
}

/// Verifies the received strings and items.
#[must_use]
pub fn verify(received: Received, policy: &Policy) -> Delivery {
    let Received { entries, manifests, signatures, encrypted, receipts, findings, suspects, .. } = received;
    let Received { is_anything_sent, foreign, machine, .. } = received;
    let requires_signature = policy.requires_signature();
    let delivery = Delivery {
        entries,
        sealed: Vec::new(),
        findings,
        proof: Proof::None,
        requires_signature,
        is_anything_sent,
        foreign,
        machine,
        tally: Tally::default(),
        asked: None,
        listed: Listed::NoManifest,
    };
    let first = BTreeMap::new();
    let mut set =
        Set { policy, delivery, manifest: None, is_contradicted: false, is_digest_right: false, first };
    // The order of these calls matters: each call makes findings only about faults that earlier calls did not report.
    let string = set.choose_manifest(manifests);
    let chosen = set.manifest.as_ref().zip(string.as_ref());
    let chosen = chosen.map(|((manifest, origin), string)| Chosen { manifest, string, origin });
    let (signed, found) = trust::judge(&policy.trust, requires_signature, chosen, &signatures);
    for finding in found {
        set.delivery.findings.push(finding);
    }
    set.name_what_is_named();
    set.find_blanks();
    set.refuse_duplicates();
    set.receive_sealed(&encrypted);
    set.refuse_sent_as_plain();
    set.refuse_sealed_again();
    set.hold_against_manifest();
    set.refuse_cut(&suspects);
    set.refuse_empty();
    set.require();
    set.hold_against_systemd();
    set.prove(signed);
    set.count();
    set.prepare_receipt(receipts);
    set.delivery
}

/// Returns the severity of a finding that a name or a manifest was sent again.
pub(super) fn severity_again(identical: bool, is_same_channel: bool) -> Severity {
    match (identical, is_same_channel) {
        (false, _) => Severity::Error,
        (true, true) => Severity::Warning,
        (true, false) => Severity::Note,
    }
}

pub(super) struct Set<'a> {
    pub(super) policy: &'a Policy,
    pub(super) delivery: Delivery,
    /// The manifest with which the set is compared, and its place in the table or in `fw_cfg`.
    manifest: Option<(Manifest, Origin)>,
    /// Whether another manifest was sent that cannot be read, or that has other content.
    is_contradicted: bool,
    /// Whether every credential in the manifest arrived exactly, byte for byte, as it was sent.
    is_digest_right: bool,
    /// For each name, the index of the first entry with this name, whose value is used.
    pub(super) first: BTreeMap<Name, usize>,
}

impl Set<'_> {
    pub(super) fn find(
        &mut self,
        kind: FindingKind,
        severity: Severity,
        credential: Option<Name>,
        origin: Option<Origin>,
    ) {
        let is_asked_for = credential.as_ref().is_some_and(|name| self.policy.asks_for(name));
        let finding = Finding { kind, severity, credential, origin, more: 0 };
        if is_asked_for {
            self.delivery.findings.push_asked_for(finding);
        } else {
            self.delivery.findings.push(finding);
        }
    }

    /// Refuses an entry, and adds a finding that says why.
    pub(super) fn refuse(&mut self, index: usize, kind: FindingKind, severity: Severity, refusal: Refusal) {
        let Some(entry) = self.delivery.entries.get_mut(index) else { return };
        entry.refuse(refusal);
        let (name, origin) = (entry.name.clone(), entry.origin.clone());
        self.find(kind, severity, name, Some(origin));
    }

    pub(super) fn credential(&self, index: usize) -> Option<&Credential> {
        self.delivery.entries.get(index).and_then(Entry::credential)
    }

    /// Returns the value of the credential that is used for this name.
    fn value(&self, name: &Name) -> Option<&Secret> {
        self.credential(*self.first.get(name)?).map(|credential| &credential.value)
    }

    /// Chooses the first manifest that can be decoded, and returns the manifest's whole OEM string.
    fn choose_manifest(&mut self, manifests: Vec<SentManifest>) -> Option<Secret> {
        if self.policy.manifest == ManifestPolicy::Ignore && !self.policy.requires_signature() {
            return None;
        }
        let mut chosen = None;
        for SentManifest { manifest, string, origin } in manifests {
            match (manifest, &self.manifest) {
                (Err(reason), _) => {
                    self.is_contradicted = true;
                    let kind = FindingKind::ManifestInvalid { reason };
                    self.find(kind, Severity::Error, None, Some(origin));
                }
                (Ok(manifest), None) => {
                    self.manifest = Some((manifest, origin));
                    chosen = Some(string);
                }
                (Ok(manifest), Some((first, first_origin))) => {
                    let identical = manifest == *first;
                    self.is_contradicted |= !identical;
                    let severity = severity_again(identical, origin.is_same_channel(first_origin));
                    self.find(FindingKind::ManifestAgain { identical }, severity, None, Some(origin));
                }
            }
        }
        chosen
    }

    /// Makes a credential of a string that may lack its name, if the manifest or the policy lists the string as a name.
    fn name_what_is_named(&mut self) {
        let Self { policy, delivery, manifest, .. } = self;
        let manifest = manifest.as_ref().map(|(manifest, _)| manifest);
        let names = || policy.require.iter().chain(&policy.allow_empty).chain(&policy.about);
        let is_name = |text: &str| names().any(|name| name.as_str() == text);
        for entry in &mut delivery.entries {
            entry.name_if_named(manifest, is_name);
        }
    }

    /// Reports a blank at an end of a name: a service that asks for the name without the blank finds nothing.
    fn find_blanks(&mut self) {
        for index in 0..self.delivery.entries.len() {
            let Some(entry) = self.delivery.entries.get(index) else { continue };
            if entry.credential().is_some_and(|credential| credential.name.has_outer_blank()) {
                let (name, origin) = (entry.name.clone(), entry.origin.clone());
                self.find(FindingKind::NameBlank, Severity::Warning, name, Some(origin));
            }
        }
    }

    /// Uses the first of several credentials with the same name, as systemd does, and refuses the others. Some hosts
    /// send a value over two channels, because a guest may be unable to read one of the channels completely.
    fn refuse_duplicates(&mut self) {
        let mut again = Vec::new();
        for (index, entry) in self.delivery.entries.iter().enumerate() {
            let Some(Credential { name, value }) = entry.credential() else { continue };
            let first = *self.first.entry(name.clone()).or_insert(index);
            let first = self.delivery.entries.get(first).filter(|_| first != index);
            if let Some((first, origin)) = first.and_then(|first| Some((first.credential()?, &first.origin)))
            {
                let identical = first.value.expose() == value.expose();
                again.push((index, identical, origin.is_same_channel(&entry.origin)));
            }
        }
        for (index, identical, is_same_channel) in again {
            let severity = severity_again(identical, is_same_channel);
            let refusal = if severity == Severity::Note { Refusal::Copy } else { Refusal::Duplicate };
            self.refuse(index, FindingKind::Duplicate { identical }, severity, refusal);
        }
    }

    /// Compares the set with the manifest. The digest proves that the set is complete and unchanged only if the
    /// manifest lists every credential and no other manifest contradicts it.
    fn hold_against_manifest(&mut self) {
        let Some((manifest, origin)) = self.manifest.take() else {
            let is_invalid = |finding: &Finding| matches!(finding.kind, FindingKind::ManifestInvalid { .. });
            let is_any_invalid = self.delivery.findings.iter().any(is_invalid);
            if self.policy.requires_listing() && !is_any_invalid {
                self.find(FindingKind::ManifestMissing, Severity::Error, None, None);
            }
            return;
        };
        let is_complete = self.compare_sizes(&manifest);
        let is_all_listed = self.find_unlisted(&manifest);
        let is_all_listed = self.compare_sealed(&manifest) && is_all_listed;
        self.is_digest_right = is_complete && manifest.matches(|name| self.value(name));
        if self.is_digest_right && is_all_listed && !self.is_contradicted {
            self.delivery.proof = Proof::Digest;
        }
        if is_complete && !self.is_digest_right {
            self.find(FindingKind::DigestDiffers, Severity::Error, None, Some(origin.clone()));
            for entry in &mut self.delivery.entries {
                if entry.credential().is_some_and(|c| manifest.size_of(&c.name).is_some()) {
                    entry.refuse(Refusal::DigestDiffers);
                }
            }
        }
        self.manifest = Some((manifest, origin));
    }

    /// Whether every credential that the manifest lists arrived with the size in the manifest.
    fn compare_sizes(&mut self, manifest: &Manifest) -> bool {
        let mut is_complete = true;
        for (name, expected) in manifest.credentials() {
            let first = self.first.get(name);
            match first.and_then(|&index| Some((self.credential(index)?.value.len() as u64, index))) {
                Some((found, _)) if found == expected => continue,
                Some((found, index)) => {
                    let kind = FindingKind::SizeDiffers { expected, found };
                    self.refuse(index, kind, Severity::Error, Refusal::SizeDiffers);
                }
                _ => {
                    let required = self.policy.require.contains(name);
                    let kind = FindingKind::Missing { expected: Some(expected), required, near: None };
                    self.find(kind, Severity::Error, Some(name.clone()), None);
                }
            }
            is_complete = false;
        }
        is_complete
    }

    /// Whether the manifest lists every credential; if the policy requires this, refuses unlisted credentials.
    fn find_unlisted(&mut self, manifest: &Manifest) -> bool {
        let mut is_all_listed = true;
        for index in 0..self.delivery.entries.len() {
            let Some(entry) = self.delivery.entries.get(index) else { continue };
            // The manifest does not list a string that may have lost its name; otherwise the string would have a name.
            let is_listed = match entry.credential() {
                Some(credential) => manifest.size_of(&credential.name).is_some(),
                None => entry.size().is_none(),
            };
            let is_again = matches!(entry.refusal(), Some(Refusal::Duplicate | Refusal::Copy));
            if !is_listed && !is_again {
                is_all_listed = false;
                if self.policy.requires_listing() {
                    self.refuse(index, FindingKind::NotListed, Severity::Error, Refusal::NotListed);
                } else {
                    let (name, origin) = (entry.name.clone(), entry.origin.clone());
                    self.find(FindingKind::NotListed, Severity::Warning, name, Some(origin));
                }
            }
        }
        is_all_listed
    }

    /// Refuses a credential that may have lost its end, unless the manifest proves that the credential is complete.
    fn refuse_cut(&mut self, suspects: &[usize]) {
        for &index in suspects {
            let Some(entry) = self.delivery.entries.get(index) else { continue };
            let Some(found) = entry.size() else { continue };
            let is_listed = |manifest: &Manifest| {
                entry.credential().is_some_and(|credential| manifest.size_of(&credential.name).is_some())
            };
            let is_listed = self.manifest.as_ref().is_some_and(|(manifest, _)| is_listed(manifest));
            if !self.is_digest_right || !is_listed {
                self.refuse(index, FindingKind::MaybeCut { found }, Severity::Error, Refusal::MaybeCut);
            }
        }
    }

    /// Refuses an empty value, unless the policy or the manifest allows it: most likely, the host lost the secret.
    fn refuse_empty(&mut self) {
        for index in 0..self.delivery.entries.len() {
            let Some(entry) = self.delivery.entries.get(index) else { continue };
            if entry.is_maybe_nameless() {
                self.refuse(index, FindingKind::Empty { required: false }, Severity::Error, Refusal::Empty);
                continue;
            }
            let Ok(Credential { name, value }) = entry.intact() else { continue };
            if !value.is_empty() {
                continue;
            }
            let required = self.policy.require.contains(name);
            let meant = self.manifest.as_ref().is_some_and(|(manifest, _)| manifest.size_of(name) == Some(0));
            if self.policy.allow_empty.contains(name) || (meant && !required) {
                continue;
            }
            self.refuse(index, FindingKind::Empty { required }, Severity::Error, Refusal::Empty);
        }
    }

    /// Adds findings for missing required credentials that have no finding yet.
    fn require(&mut self) {
        for name in &self.policy.require {
            // A credential that the manifest lists but that did not arrive already has a finding.
            let is_listed = self.manifest.as_ref().is_some_and(|(manifest, _)| {
                manifest.size_of(name).is_some() || manifest.terms().encrypted.contains_key(name)
            });
            let is_sealed = self.delivery.sealed.iter().any(|entry| entry.name.as_ref() == Some(name));
            if !is_listed && !is_sealed && !self.first.contains_key(name) {
                let kind = self.delivery.missing(name, &self.policy.require);
                self.find(kind, Severity::Error, Some(name.clone()), None);
            }
        }
    }

    /// Makes the trusted signature the proof if the digest is right and no error was found. If a signature is required
    /// but does not prove the set, no credential is imported.
    fn prove(&mut self, signed: Option<Signed>) {
        match signed {
            Some(signed) if self.delivery.proof == Proof::Digest && self.delivery.passed() => {
                self.delivery.proof = Proof::Signature(signed);
            }
            _ if self.delivery.requires_signature => {
                self.delivery.proof = Proof::None;
                self.delivery.entries.iter_mut().for_each(|entry| entry.refuse(Refusal::Unproven));
                self.delivery.sealed.iter_mut().for_each(|entry| entry.refuse(Refusal::Unproven));
            }
            _ => {}
        }
    }

    /// Reports a set that exceeds systemd's limits: PID 1 would lose some of the credentials without a message.
    fn hold_against_systemd(&mut self) {
        let (mut bytes, mut files) = (0, 0);
        for Credential { value, .. } in self.first.values().filter_map(|&index| self.credential(index)) {
            bytes += value.len();
            files += usize::from(!value.is_empty());
        }
        if files > FILES_MAX || bytes > TOTAL_MAX {
            let kind = FindingKind::AboveSystemd { credentials: self.first.len(), bytes };
            self.find(kind, Severity::Warning, None, None);
        }
    }

    /// Counts the credentials that were sent and those that are imported.
    fn count(&mut self) {
        let Delivery { entries, sealed, .. } = &self.delivery;
        let manifest = self.manifest.as_ref().map(|(manifest, _)| manifest);
        let is_listed = |name: &Name| manifest.is_none_or(|manifest| manifest.size_of(name).is_some());
        let is_listed_sealed =
            |name: &Name| manifest.is_none_or(|manifest| manifest.terms().encrypted.contains_key(name));
        let verified = self.delivery.intact().filter(|credential| is_listed(&credential.name)).count();
        let encrypted = self.delivery.intact_sealed().filter(|sealed| is_listed_sealed(&sealed.name));
        let verified = verified + encrypted.count();
        let is_again = |entry: &&Entry| matches!(entry.refusal(), Some(Refusal::Duplicate | Refusal::Copy));
        let arrived = || entries.iter().filter(|entry| !is_again(entry)).count() + sealed.len();
        let listed =
            manifest.map(|manifest| manifest.credentials().count() + manifest.terms().encrypted.len());
        self.delivery.tally = Tally { expected: listed.unwrap_or_else(arrived), verified };
        self.delivery.listed = Listed::by(manifest, self.policy.about.as_ref());
    }

    /// Uses the first receipt address that can be decoded, and reports a second, different address.
    fn prepare_receipt(&mut self, receipts: Vec<(Secret, Origin)>) {
        let mut first = None;
        for (text, origin) in receipts {
            match (Address::decode(text.expose()), first) {
                (Err(reason), _) => {
                    self.find(FindingKind::ReceiptInvalid { reason }, Severity::Warning, None, Some(origin));
                }
                (Ok(address), None) => first = Some(address),
                (Ok(address), Some(first)) if address == first => {}
                (Ok(_), Some(_)) => {
                    self.find(FindingKind::ReceiptAgain, Severity::Warning, None, Some(origin));
                }
            }
        }
        let proof_of = |(manifest, _): &(Manifest, Origin)| manifest.value_proof(|name| self.value(name));
        let proof = || self.manifest.as_ref().filter(|_| self.is_digest_right).map(proof_of);
        self.delivery.asked = first.map(|address| Asked { address, proof: proof() });
    }
}
