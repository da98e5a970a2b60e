//! What a source received: decoded, and not yet held against a manifest or a policy.

use super::delivery::Entry;
use super::finding::{Finding, FindingKind, Severity};
use super::findings::Findings;
use super::origin::Origin;
use crate::format::manifest::{Manifest, ManifestError};
use crate::format::smbios::machine::Machine;

/// What a source received.
#[derive(Debug, Default)]
pub struct Received {
    /// Every string that is, or was meant to be, a credential, in the order it was sent.
    pub entries: Vec<Entry>,
    /// Every manifest, or why it cannot be read, and where it is.
    pub manifests: Vec<(Result<Manifest, ManifestError>, Origin)>,
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
