//! What a source received: decoded, and not yet held against a manifest or a policy.

use super::delivery::Entry;
use super::finding::{Finding, FindingKind, Severity};
use super::findings::Findings;
use super::origin::Origin;
use crate::format::credential::Secret;
use crate::format::manifest::{self, Manifest, ManifestError};
use crate::format::smbios::machine::Machine;

/// A manifest as it was sent.
#[derive(Debug)]
pub struct SentManifest {
    /// What it says, or why it cannot be read.
    pub manifest: Result<Manifest, ManifestError>,
    /// Its whole OEM string, prefix included, which is what a signature is of. An item of `fw_cfg` has no prefix, and
    /// counts as if it had.
    pub string: Secret,
    /// Where it is.
    pub origin: Origin,
}

impl SentManifest {
    /// Reads what follows the prefix.
    pub(super) fn read(text: &[u8], origin: Origin) -> Self {
        let string = [manifest::PREFIX.as_bytes(), text].concat().into();
        Self { manifest: Manifest::decode(text), string, origin }
    }
}

/// What a source received.
#[derive(Debug, Default)]
pub struct Received {
    /// Every string that is, or was meant to be, a credential, in the order it was sent.
    pub entries: Vec<Entry>,
    /// Every manifest.
    pub manifests: Vec<SentManifest>,
    /// What stands for a signature of the manifest: text after the prefix, and where it is.
    pub signatures: Vec<(Secret, Origin)>,
    /// What stands for an encrypted credential.
    pub encrypted: Vec<(Secret, Origin)>,
    /// Where the host wants to hear how the import went.
    pub receipts: Vec<(Secret, Origin)>,
    /// What is wrong with the channel itself.
    pub findings: Findings,
    /// Indexes of [`Self::entries`] whose end may be missing, because the channel breaks next to them.
    pub suspects: Vec<usize>,
    /// Whether anything at all was sent: in SMBIOS, whether there is a Type 11 structure.
    pub is_anything_sent: bool,
    /// How many strings belong to other programs.
    pub foreign: usize,
    /// The machine, where the source describes it.
    pub machine: Machine,
}

impl Received {
    /// Adds what another source received after this one. That this other one received nothing is nothing to tell if this
    /// one received something.
    pub fn append(&mut self, mut other: Self) {
        if self.is_anything_sent {
            let is_nothing =
                |kind: &_| matches!(kind, FindingKind::NoOemStrings | FindingKind::NoCredentials);
            other.findings.forget(is_nothing);
        }
        let before = self.entries.len();
        self.suspects.extend(other.suspects.iter().map(|index| before + index));
        self.entries.append(&mut other.entries);
        self.manifests.append(&mut other.manifests);
        self.signatures.append(&mut other.signatures);
        self.encrypted.append(&mut other.encrypted);
        self.receipts.append(&mut other.receipts);
        self.findings.append(other.findings);
        self.is_anything_sent |= other.is_anything_sent;
        self.foreign += other.foreign;
        if self.machine == Machine::default() {
            self.machine = other.machine;
        }
    }

    pub(super) fn find(&mut self, kind: FindingKind, severity: Severity, origin: impl Into<Option<Origin>>) {
        self.findings.push(Finding { kind, severity, credential: None, origin: origin.into(), more: 0 });
    }
}
