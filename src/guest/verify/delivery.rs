//! What arrived: every string that is, or was meant to be, a credential, and what verification says of it.

use serde::Serialize;

use super::finding::{Finding, FindingKind, Severity};
use super::findings::Findings;
use super::origin::Origin;
pub use super::refusal::Refusal;
use super::sealed_entry::SealedEntry;
use crate::format::credential::{Credential, Name};
use crate::format::manifest::Manifest;
use crate::format::oem_string::{DecodeError, Encoding, MaybeNameless};
use crate::format::receipt::{Address, ValueProof};
use crate::format::smbios::machine::Machine;
use crate::trust::sealed::Sealed;
use crate::trust::signature::KeyId;

/// One string that is, or was meant to be, a credential.
#[derive(Debug)]
pub struct Entry {
    /// Its name as it may be shown; `None` if the string did not decode to a credential, or the name may be a value.
    pub name: Option<Name>,
    /// Its form in an OEM string; `None` if it is a file that holds the value itself.
    pub encoding: Option<Encoding>,
    /// Where it is.
    pub origin: Origin,
    content: Content,
}

/// What an entry holds.
#[derive(Debug)]
enum Content {
    /// A credential, and why it is not imported, if it is not.
    Credential(Credential, Option<Refusal>),
    /// What may be a value without a name, and the first reason why it is not imported. It is always empty, as far as it
    /// is a credential.
    MaybeNameless(MaybeNameless, Option<Refusal>),
    /// Nothing that could be decoded.
    Undecodable(Refusal),
}

impl Entry {
    /// A credential that was decoded.
    #[must_use]
    pub fn decoded(credential: Credential, encoding: impl Into<Option<Encoding>>, origin: Origin) -> Self {
        let (name, encoding) = (Some(credential.name.clone()), encoding.into());
        Self { name, encoding, origin, content: Content::Credential(credential, None) }
    }

    /// A string that may be a value without a name. It has no name unless the manifest or the policy names it.
    #[must_use]
    pub fn maybe_nameless(text: MaybeNameless, origin: Origin) -> Self {
        let encoding = Some(Encoding::Binary);
        Self { name: None, encoding, origin, content: Content::MaybeNameless(text, None) }
    }

    /// A string with the prefix of a credential that could not be decoded. It has no name: what looks like one may be a
    /// value.
    #[must_use]
    pub fn undecodable(error: DecodeError, encoding: impl Into<Option<Encoding>>, origin: Origin) -> Self {
        Self { name: None, encoding: encoding.into(), origin, content: Content::Undecodable(error.into()) }
    }

    /// The credential, refused or not, where the string holds one.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        match &self.content {
            Content::Credential(credential, _) => Some(credential),
            Content::MaybeNameless(..) | Content::Undecodable(_) => None,
        }
    }

    /// Bytes of its value, where the string holds one, if only an empty one.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        match &self.content {
            Content::Credential(credential, _) => Some(credential.value.len()),
            Content::MaybeNameless(..) => Some(0),
            Content::Undecodable(_) => None,
        }
    }

    /// Why it is not imported; `None` means it is.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.intact().err()
    }

    /// The credential, or why it is not imported.
    ///
    /// # Errors
    /// [`Refusal`] says why.
    pub fn intact(&self) -> Result<&Credential, Refusal> {
        match &self.content {
            Content::Credential(credential, None) => Ok(credential),
            Content::Credential(_, Some(refusal)) | Content::Undecodable(refusal) => Err(*refusal),
            Content::MaybeNameless(_, refusal) => Err(refusal.unwrap_or(Refusal::Empty)),
        }
    }

    /// Whether it may be a value without a name, and no reason yet says why it is not imported.
    pub(super) fn is_maybe_nameless(&self) -> bool {
        matches!(self.content, Content::MaybeNameless(_, None))
    }

    /// Makes it a credential if it may be a value without a name, but the manifest lists its text or `is_name` knows it.
    pub(super) fn name_if_named(&mut self, manifest: Option<&Manifest>, is_name: impl FnOnce(&str) -> bool) {
        if let Content::MaybeNameless(text, refusal) = &self.content
            && let Some(credential) = text.named(manifest, is_name)
        {
            self.name = Some(credential.name.clone());
            self.content = Content::Credential(credential, *refusal);
        }
    }

    /// Refuses it. The first reason counts.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        if let Content::Credential(_, reason) | Content::MaybeNameless(_, reason) = &mut self.content {
            reason.get_or_insert(refusal);
        }
    }
}

/// What proves that a set is the one that was sent.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Proof {
    /// Nothing.
    None,
    /// The digest of its manifest. It finds faults, not attackers: the manifest is not signed.
    Digest,
    /// A trusted signature of its manifest.
    Signature(Signed),
}

/// Who signed a set, and for what.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Signed {
    /// The key.
    pub key: KeyId,
    /// The name of this machine that the set is meant for; `None` if this machine was not told a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Which set it is of those for this audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
}

impl Proof {
    /// Whether anything proves it.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        *self != Self::None
    }

    /// Who signed the set, if a trusted signature proves it.
    #[must_use]
    pub fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Signature(signed) => Some(signed),
            Self::None | Self::Digest => None,
        }
    }
}

/// The verdict on a delivery, in a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What the host meant to send is here, as far as that can be known, and the policy is met.
    Passed,
    /// It is not, or the policy is not met.
    Failed,
    /// The host sent nothing at all.
    NothingSent,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NothingSent => "nothing-sent",
        }
    }
}

/// What arrived, and what verification says of it.
#[derive(Debug)]
pub struct Delivery {
    /// Every string that is, or was meant to be, a credential, in the order it was sent.
    pub entries: Vec<Entry>,
    /// Every string that is, or was meant to be, an encrypted credential, in the order it was sent.
    pub sealed: Vec<SealedEntry>,
    /// What verification found: in the channel first, in the set as a whole last.
    pub findings: Findings,
    /// What proves that the set is the one that was sent.
    pub proof: Proof,
    /// Whether a trusted signature is required, so that all of the set is imported or nothing.
    pub requires_signature: bool,
    /// Whether anything at all was sent: in SMBIOS, whether there is a Type 11 structure.
    pub is_anything_sent: bool,
    /// OEM strings that belong to other programs.
    pub foreign: usize,
    /// The machine, as its firmware and hypervisor describe it. Nothing of that is proven.
    pub machine: Machine,
    /// How many credentials arrived intact.
    pub tally: Tally,
    /// What the host asked to be told, if it asked.
    pub asked: Option<Asked>,
    /// What the manifest says of the credential that the policy asks about.
    pub listed: Listed,
}

/// What the manifest that counts says of one credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listed {
    /// There is no manifest.
    NoManifest,
    /// It does not list the credential.
    Not,
    /// It lists a value, or a ciphertext, of so many bytes.
    Size(u64),
}

impl Listed {
    pub(super) fn by(manifest: Option<&Manifest>, name: Option<&Name>) -> Self {
        let (Some(manifest), Some(name)) = (manifest, name) else { return Self::NoManifest };
        let sealed = || manifest.terms().encrypted.get(name).map(|ciphertext| ciphertext.size);
        manifest.size_of(name).or_else(sealed).map_or(Self::Not, Self::Size)
    }
}

/// How many credentials arrived intact, of how many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// How many the manifest lists, or how many arrived if there is none.
    pub expected: usize,
    /// How many of these are imported.
    pub verified: usize,
}

/// What a host that asks for a receipt gets.
#[derive(Debug)]
pub struct Asked {
    /// Where it goes.
    pub address: Address,
    /// Proof of the values, if each is the one that was sent.
    pub proof: Option<ValueProof>,
}

impl Delivery {
    /// The credentials that are imported, in the order they were sent.
    pub fn intact(&self) -> impl Iterator<Item = &Credential> {
        self.entries.iter().filter_map(|entry| entry.intact().ok())
    }

    /// The encrypted credentials that are imported, in the order they were sent.
    pub fn intact_sealed(&self) -> impl Iterator<Item = &Sealed> {
        self.sealed.iter().filter_map(|entry| entry.intact().ok())
    }

    /// Whether what the host meant to send is here, and the policy is met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
    }

    /// Why the set is not one that this machine believes, if it takes only signed sets.
    #[must_use]
    pub fn why_not_believed(&self) -> Option<&Finding> {
        let is_why = |finding: &&Finding| {
            finding.severity == Severity::Error
                && matches!(finding.kind, FindingKind::Trust(_) | FindingKind::ManifestMissing)
        };
        self.findings.iter().find(is_why).filter(|_| self.requires_signature)
    }

    /// The verdict in a word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.passed(), self.is_anything_sent) {
            (false, _) => Verdict::Failed,
            (true, true) => Verdict::Passed,
            (true, false) => Verdict::NothingSent,
        }
    }
}
