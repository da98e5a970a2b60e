//! The received strings that are, or were meant to be, credentials, with the findings of verification.

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
use crate::text::near::nearest;
use crate::trust::sealed::Sealed;
use crate::trust::signature::KeyId;

/// One string that is, or was meant to be, a credential.
#[derive(Debug)]
pub struct Entry {
    /// The credential's name, if it may be shown. `None` if the string did not decode to a credential, or if the text
    /// that looks like a name may be a value.
    pub name: Option<Name>,
    /// Whether the value in the OEM string is text or base64; `None` for a file (an item of `fw_cfg`) that contains the
    /// value without an encoding.
    pub encoding: Option<Encoding>,
    /// Where the string or file is.
    pub origin: Origin,
    content: Content,
}

/// The content of an entry.
#[derive(Debug)]
enum Content {
    /// A credential, and the reason why it is not imported, if there is one.
    Credential(Credential, Option<Refusal>),
    /// Text that is either a value without a name, or the name of a credential with an empty value. The second field is
    /// the reason why the text is not imported; if there are several reasons, it is the first one.
    MaybeNameless(MaybeNameless, Option<Refusal>),
    /// A string that could not be decoded.
    Undecodable(Refusal),
}

impl Entry {
    /// Makes the entry of a decoded credential.
    #[must_use]
    pub fn decoded(credential: Credential, encoding: impl Into<Option<Encoding>>, origin: Origin) -> Self {
        let (name, encoding) = (Some(credential.name.clone()), encoding.into());
        Self { name, encoding, origin, content: Content::Credential(credential, None) }
    }

    /// Makes the entry of a string that may be a value without a name. The entry has no name until the manifest or the
    /// policy lists the text as a name.
    #[must_use]
    pub fn maybe_nameless(text: MaybeNameless, origin: Origin) -> Self {
        let encoding = Some(Encoding::Binary);
        Self { name: None, encoding, origin, content: Content::MaybeNameless(text, None) }
    }

    /// Makes the entry of a string that has the prefix of a credential but could not be decoded. The entry has no name:
    /// text that looks like a name may be a value.
    #[must_use]
    pub fn undecodable(error: DecodeError, encoding: impl Into<Option<Encoding>>, origin: Origin) -> Self {
        Self { name: None, encoding: encoding.into(), origin, content: Content::Undecodable(error.into()) }
    }

    /// Returns the decoded credential, even if it is refused.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        match &self.content {
            Content::Credential(credential, _) => Some(credential),
            Content::MaybeNameless(..) | Content::Undecodable(_) => None,
        }
    }

    /// Returns the size of the credential's value in bytes; `None` if the string could not be decoded.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        match &self.content {
            Content::Credential(credential, _) => Some(credential.value.len()),
            Content::MaybeNameless(..) => Some(0),
            Content::Undecodable(_) => None,
        }
    }

    /// Returns why the credential is not imported; `None` if it is imported.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.intact().err()
    }

    /// Returns the credential, or the reason why it is not imported.
    ///
    /// # Errors
    /// [`Refusal`] says why the credential is not imported.
    pub fn intact(&self) -> Result<&Credential, Refusal> {
        match &self.content {
            Content::Credential(credential, None) => Ok(credential),
            Content::Credential(_, Some(refusal)) | Content::Undecodable(refusal) => Err(*refusal),
            Content::MaybeNameless(_, refusal) => Err(refusal.unwrap_or(Refusal::Empty)),
        }
    }

    /// Whether the string may be a value without a name, and is not yet refused for another reason.
    pub(super) fn is_maybe_nameless(&self) -> bool {
        matches!(self.content, Content::MaybeNameless(_, None))
    }

    /// Makes a credential with an empty value from a string that may be a value without a name. Does this only if the
    /// manifest lists the text as a name, or `is_name` says that the text is a name.
    pub(super) fn name_if_named(&mut self, manifest: Option<&Manifest>, is_name: impl FnOnce(&str) -> bool) {
        if let Content::MaybeNameless(text, refusal) = &self.content
            && let Some(credential) = text.named(manifest, is_name)
        {
            self.name = Some(credential.name.clone());
            self.content = Content::Credential(credential, *refusal);
        }
    }

    /// Refuses the entry. If the entry is refused several times, only the first reason is kept.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        if let Content::Credential(_, reason) | Content::MaybeNameless(_, reason) = &mut self.content {
            reason.get_or_insert(refusal);
        }
    }
}

/// What proves that a set is the same as the one that was sent.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Proof {
    /// Nothing proves that the set is the one that was sent.
    None,
    /// The digest in the manifest proves that the set is the one that was sent. A digest detects transmission errors
    /// but not attacks, because the manifest is not signed.
    Digest,
    /// A trusted signature of the manifest proves that the set is the one that was sent.
    Signature(Signed),
}

/// Who signed a set, for which machine, and with which serial.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Signed {
    /// The key that made the signature.
    pub key: KeyId,
    /// The name of this machine in the set's audience; `None` if no name is configured for this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The serial number of the set. A later set for the same audience has a higher number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
}

impl Proof {
    /// Whether a digest or a signature proves that the set is the one that was sent.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        *self != Self::None
    }

    /// Returns who signed the set; `None` if no trusted signature proves that the set is the one that was sent.
    #[must_use]
    pub fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Signature(signed) => Some(signed),
            Self::None | Self::Digest => None,
        }
    }
}

/// The verdict on a delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As far as the guest can know, everything that the host meant to send arrived, and the policy is met.
    Passed,
    /// Not everything arrived as the host meant to send it, or the policy is not met.
    Failed,
    /// The host sent nothing.
    NothingSent,
}

impl Verdict {
    /// Returns the verdict as a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NothingSent => "nothing-sent",
        }
    }
}

/// The received credentials, with the findings of verification.
#[derive(Debug)]
pub struct Delivery {
    /// Every string that is, or was meant to be, a credential, in the order in which the strings were sent.
    pub entries: Vec<Entry>,
    /// Every string that is, or was meant to be, an encrypted credential, in the order in which the strings were sent.
    pub sealed: Vec<SealedEntry>,
    /// The findings of verification: findings about the channel first, findings about the whole set last.
    pub findings: Findings,
    /// What proves that the set is the same as the one that was sent.
    pub proof: Proof,
    /// Whether a trusted signature is required, so that either the whole set is imported or nothing.
    pub requires_signature: bool,
    /// Whether the host sent anything. For SMBIOS, this is true if the table has a Type 11 structure.
    pub is_anything_sent: bool,
    /// Number of OEM strings that belong to other programs.
    pub foreign: usize,
    /// The machine, as its firmware and hypervisor describe it. Nothing proves this description.
    pub machine: Machine,
    /// How many credentials arrived intact and are imported, and how many should have arrived.
    pub tally: Tally,
    /// The receipt that the host requested; `None` if it requested no receipt.
    pub asked: Option<Asked>,
    /// What the manifest says about the credential in the policy's field `about`.
    pub listed: Listed,
}

/// What the manifest says about one credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listed {
    /// There is no manifest, or the policy's field `about` has no name.
    NoManifest,
    /// The manifest does not list the credential.
    Not,
    /// The manifest lists the credential, with this number of bytes in its value or its ciphertext.
    Size(u64),
}

impl Listed {
    pub(super) fn by(manifest: Option<&Manifest>, name: Option<&Name>) -> Self {
        let (Some(manifest), Some(name)) = (manifest, name) else { return Self::NoManifest };
        let sealed = || manifest.terms().encrypted.get(name).map(|ciphertext| ciphertext.size);
        manifest.size_of(name).or_else(sealed).map_or(Self::Not, Self::Size)
    }
}

/// The number of credentials that arrived intact, and the number that should have arrived.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// The number of credentials in the manifest, or the number that arrived if there is no manifest.
    pub expected: usize,
    /// How many of the expected credentials arrived intact. All intact credentials are imported.
    pub verified: usize,
}

/// The data for the receipt that the host requested.
#[derive(Debug)]
pub struct Asked {
    /// The address to which the guest sends the receipt.
    pub address: Address,
    /// Proof that this machine has every value in the manifest; `None` if the manifest is missing or its digest does
    /// not match the values.
    pub proof: Option<ValueProof>,
}

impl Delivery {
    /// Returns the finding that a required credential is missing. The finding suggests a similar name that arrived,
    /// unless that name is required too.
    pub(super) fn missing(&self, name: &Name, required: &[Name]) -> FindingKind {
        let plain = self.entries.iter().map(|entry| entry.name.as_ref());
        let names = plain.chain(self.sealed.iter().map(|entry| entry.name.as_ref())).flatten();
        let names = names.filter(|name| !required.contains(name)).map(Name::as_str);
        let near = nearest(name.as_str(), names).and_then(|name| Name::new(name).ok());
        FindingKind::Missing { expected: None, required: true, near }
    }

    /// Returns the credentials that are imported, in the order in which they were sent.
    pub fn intact(&self) -> impl Iterator<Item = &Credential> {
        self.entries.iter().filter_map(|entry| entry.intact().ok())
    }

    /// Returns the encrypted credentials that are imported, in the order in which they were sent.
    pub fn intact_sealed(&self) -> impl Iterator<Item = &Sealed> {
        self.sealed.iter().filter_map(|entry| entry.intact().ok())
    }

    /// Whether everything that the host meant to send arrived, and whether the policy is met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
    }

    /// Returns the finding because of which this machine, which accepts only signed sets, rejects the set; `None` if it
    /// accepts the set, or accepts unsigned sets too.
    #[must_use]
    pub fn why_not_believed(&self) -> Option<&Finding> {
        let is_why = |finding: &&Finding| {
            finding.severity == Severity::Error
                && matches!(finding.kind, FindingKind::Trust(_) | FindingKind::ManifestMissing)
        };
        self.findings.iter().find(is_why).filter(|_| self.requires_signature)
    }

    /// Returns the verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.passed(), self.is_anything_sent) {
            (false, _) => Verdict::Failed,
            (true, true) => Verdict::Passed,
            (true, false) => Verdict::NothingSent,
        }
    }
}
