//! Compares encrypted credentials with the manifest and with the plain credentials.
//!
//! This module decrypts nothing. systemd finds out whether this machine has the key, when a service asks for the
//! credential.

use std::collections::BTreeMap;

use super::finding::{FindingKind, Severity};
use super::origin::Origin;
use super::refusal::Refusal;
use super::sealed_entry::SealedEntry;
use super::sealed_finding::SealedFinding;
use super::set::{Set, severity_again};
use crate::format::credential::{Name, Secret};
use crate::format::manifest::Manifest;
use crate::trust::sealed::{Sealed, SealedError, key_of};

impl Set<'_> {
    /// Decodes the encrypted credentials, and refuses those that have no valid name and blob, or that are encrypted
    /// with the null key.
    pub(super) fn receive_sealed(&mut self, strings: &[(Secret, Origin)]) {
        for (text, origin) in strings {
            let sealed = Sealed::decode(text.expose());
            match &sealed {
                Ok(Sealed { name, blob }) if blob.key().is_of_one_user() => {
                    let kind = FindingKind::Sealed(SealedFinding::OfOneUser { key: blob.key().as_str() });
                    self.find(kind, Severity::Warning, Some(name.clone()), Some(origin.clone()));
                }
                Ok(_) => {}
                Err(SealedError::NullKey(name)) => {
                    self.find(
                        FindingKind::Sealed(SealedFinding::NullKey),
                        Severity::Error,
                        Some(name.clone()),
                        Some(origin.clone()),
                    );
                }
                Err(reason) => {
                    let kind = FindingKind::Sealed(SealedFinding::NotABlob {
                        size: text.len(),
                        reason: reason.clone(),
                    });
                    self.find(kind, Severity::Error, None, Some(origin.clone()));
                }
            }
            self.delivery.sealed.push(SealedEntry::new(sealed, origin.clone()));
        }
    }

    /// Refuses a plain credential whose value is a ciphertext: a service would get the ciphertext as its secret.
    pub(super) fn refuse_sent_as_plain(&mut self) {
        for index in 0..self.delivery.entries.len() {
            let key = self.credential(index).and_then(|credential| key_of(credential.value.expose()));
            if let Some(key) = key {
                let kind = FindingKind::Sealed(SealedFinding::SentAsPlain { key: key.as_str() });
                self.refuse(index, kind, Severity::Error, Refusal::SentAsPlain);
            }
        }
    }

    /// Uses the first of several encrypted credentials with the same name, and refuses the others. If a name was sent
    /// both plain and encrypted, both credentials are refused, because the guest cannot know which credential the host
    /// meant.
    pub(super) fn refuse_sealed_again(&mut self) {
        let mut first: BTreeMap<Name, usize> = BTreeMap::new();
        for index in 0..self.delivery.sealed.len() {
            let Some(entry) = self.delivery.sealed.get(index) else { continue };
            let Some(Sealed { name, blob }) = entry.sealed() else { continue };
            let name = name.clone();
            let before = first.get(&name).and_then(|&first| self.delivery.sealed.get(first));
            if let Some((before, sealed)) = before.and_then(|before| Some((before, before.sealed()?))) {
                let identical = sealed.blob == *blob;
                let severity = severity_again(identical, before.origin.is_same_channel(&entry.origin));
                self.refuse_sealed(index, FindingKind::Duplicate { identical }, severity, Refusal::Duplicate);
                continue;
            }
            first.insert(name.clone(), index);
            if let Some(&plain) = self.first.get(&name) {
                self.refuse_sealed(
                    index,
                    FindingKind::Sealed(SealedFinding::AlsoPlain),
                    Severity::Error,
                    Refusal::AlsoPlain,
                );
                if let Some(entry) = self.delivery.entries.get_mut(plain) {
                    entry.refuse(Refusal::AlsoPlain);
                }
            }
        }
    }

    /// Compares the encrypted credentials with the manifest. Returns whether these credentials are exactly the ones
    /// that the manifest lists.
    pub(super) fn compare_sealed(&mut self, manifest: &Manifest) -> bool {
        let listed = &manifest.terms().encrypted;
        let mut is_right = true;
        for (name, expected) in listed {
            let is_it = |entry: &SealedEntry| entry.sealed().is_some_and(|sealed| sealed.name == *name);
            let index = self.delivery.sealed.iter().position(is_it);
            let entry = index.and_then(|index| self.delivery.sealed.get(index));
            let (Some(index), Some(sealed)) = (index, entry.and_then(SealedEntry::sealed)) else {
                is_right = false;
                if !self.delivery.sealed.iter().any(|entry| entry.name.as_ref() == Some(name)) {
                    let required = self.policy.require.contains(name);
                    let kind = FindingKind::Missing { expected: Some(expected.size), required, near: None };
                    self.find(kind, Severity::Error, Some(name.clone()), None);
                }
                continue;
            };
            let found = sealed.blob.ciphertext();
            if found.size != expected.size {
                is_right = false;
                let kind = FindingKind::SizeDiffers { expected: expected.size, found: found.size };
                self.refuse_sealed(index, kind, Severity::Error, Refusal::SizeDiffers);
            } else if found != *expected {
                is_right = false;
                let (kind, refusal) =
                    (FindingKind::Sealed(SealedFinding::CiphertextDiffers), Refusal::CiphertextDiffers);
                self.refuse_sealed(index, kind, Severity::Error, refusal);
            }
        }
        self.find_unlisted_sealed(manifest) && is_right
    }

    /// Whether the manifest lists every encrypted credential. If the manifest must list every credential, refuses each
    /// credential that the manifest does not list.
    fn find_unlisted_sealed(&mut self, manifest: &Manifest) -> bool {
        let mut is_all_listed = true;
        for index in 0..self.delivery.sealed.len() {
            let Some(entry) = self.delivery.sealed.get(index) else { continue };
            let listed = &manifest.terms().encrypted;
            let is_again = entry.intact().err() == Some(Refusal::Duplicate);
            if is_again || entry.name.as_ref().is_some_and(|name| listed.contains_key(name)) {
                continue;
            }
            is_all_listed = false;
            if entry.sealed().is_none() {
                // Another finding already says why this entry is not imported.
            } else if self.policy.requires_listing() {
                self.refuse_sealed(index, FindingKind::NotListed, Severity::Error, Refusal::NotListed);
            } else {
                let (name, origin) = (entry.name.clone(), entry.origin.clone());
                self.find(FindingKind::NotListed, Severity::Warning, name, Some(origin));
            }
        }
        is_all_listed
    }

    /// Refuses an encrypted credential, and adds a finding that says why.
    fn refuse_sealed(&mut self, index: usize, kind: FindingKind, severity: Severity, refusal: Refusal) {
        let Some(entry) = self.delivery.sealed.get_mut(index) else { return };
        entry.refuse(refusal);
        let (name, origin) = (entry.name.clone(), entry.origin.clone());
        self.find(kind, severity, name, Some(origin));
    }
}
