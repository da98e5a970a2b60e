//! What a source received: the decoded strings, items and findings, not yet compared with a manifest or a policy.

use super::delivery::Entry;
use super::finding::{Finding, FindingKind, Severity};
use super::findings::Findings;
use super::origin::Origin;
use crate::format::credential::Secret;
use crate::format::manifest::{self, Manifest, ManifestError};
use crate::format::smbios::machine::Machine;

/// A manifest as the host sent it.
#[derive(Debug)]
pub struct SentManifest {
    /// The decoded manifest, or the reason why it cannot be read.
    pub manifest: Result<Manifest, ManifestError>,
    /// The manifest's whole OEM string with its prefix; a signature of the manifest covers exactly these bytes. An item
    /// of `fw_cfg` has no prefix, so the prefix is added.
    pub string: Secret,
    /// Where the manifest was received: in the SMBIOS table or in `fw_cfg`.
    pub origin: Origin,
}

impl SentManifest {
    /// Decodes a manifest from the text after its prefix.
    pub(super) fn read(text: &[u8], origin: Origin) -> Self {
        let string = [manifest::PREFIX.as_bytes(), text].concat().into();
        Self { manifest: Manifest::decode(text), string, origin }
    }
}

/// What a source received.
#[derive(Debug, Default)]
pub struct Received {
    /// Every string that is, or was meant to be, a credential, in the order in which the strings were sent.
    pub entries: Vec<Entry>,
    /// Every manifest that was sent.
    pub manifests: Vec<SentManifest>,
    /// Strings that are meant to be signatures of the manifest: the text after the prefix, and the string's place in
    /// the table or in `fw_cfg`.
    pub signatures: Vec<(Secret, Origin)>,
    /// Strings that are meant to be encrypted credentials: the text after the prefix, and the string's place in the
    /// table.
    pub encrypted: Vec<(Secret, Origin)>,
    /// The addresses to which the host wants a receipt, and their places in the table or in `fw_cfg`.
    pub receipts: Vec<(Secret, Origin)>,
    /// Findings about the channel itself, for example a damaged table.
    pub findings: Findings,
    /// Indexes of the [`Self::entries`] whose end may be missing, because the table breaks off next to these entries or
    /// a NUL byte may have split their strings.
    pub suspects: Vec<usize>,
    /// Whether the host sent anything. For SMBIOS, this is true if the table has a Type 11 structure.
    pub is_anything_sent: bool,
    /// Number of strings that belong to other programs.
    pub foreign: usize,
    /// The machine, as the source describes it; the default value if the source does not describe the machine.
    pub machine: Machine,
}

impl Received {
    /// Adds what a later source received. If the earlier source received something, drops those findings of the later
    /// source which say that the later source received nothing.
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
