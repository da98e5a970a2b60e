//! All findings of a delivery, with a limit on the memory that they need.

use std::mem::{Discriminant, discriminant};
use std::ops::Deref;

use super::finding::{Finding, FindingKind, Severity};
use super::sealed_finding::SealedFinding;
use super::trust_finding::TrustFinding;
use crate::format::oem_string::DecodeError;

/// Maximum number of findings that are kept of one group. Further findings are only counted: a table of 256 KiB can
/// have 37,449 findings of one kind.
pub const KEPT_MAX: usize = 8;

/// Findings in the order in which they were made. The first [`KEPT_MAX`] of each group are kept. The last kept finding
/// of a group says how many further findings the group has ([`Finding::more`]).
///
/// All findings of a group have the same severity, kind and reason. So at least one finding of every severity and of
/// every kind is kept.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    groups: Vec<Group>,
}

/// A group of findings, and how many of them are kept so far.
#[derive(Debug)]
struct Group {
    key: Key,
    kept: usize,
    /// Index of the kept finding whose field `more` counts the findings of the group that are not kept.
    counter: usize,
}

/// What the findings of one group have in common.
type Key = (
    Discriminant<FindingKind>,
    Severity,
    Option<Discriminant<DecodeError>>,
    Option<Discriminant<TrustFinding>>,
    Option<Discriminant<SealedFinding>>,
);

fn key(finding: &Finding) -> Key {
    let reason = match &finding.kind {
        FindingKind::NotACredential { reason, .. } | FindingKind::ItemNotACredential { reason, .. } => {
            Some(discriminant(reason))
        }
        _ => None,
    };
    let trust = match &finding.kind {
        FindingKind::Trust(trust) => Some(discriminant(trust)),
        _ => None,
    };
    let sealed = match &finding.kind {
        FindingKind::Sealed(sealed) => Some(discriminant(sealed)),
        _ => None,
    };
    (discriminant(&finding.kind), finding.severity, reason, trust, sealed)
}

impl Findings {
    /// Returns the number of all findings, including those that are only counted.
    #[must_use]
    pub fn total(&self) -> usize {
        self.kept.iter().map(|finding| 1 + finding.more).sum()
    }

    /// Adds a finding.
    pub(in crate::guest) fn push(&mut self, finding: Finding) {
        self.add(finding, false);
    }

    /// Adds a finding about a credential that the policy requires or has in its field `about`. The first finding of
    /// each group about this credential is always kept.
    pub(super) fn push_asked_for(&mut self, finding: Finding) {
        self.add(finding, true);
    }

    /// Adds the findings of another list.
    pub fn append(&mut self, other: Self) {
        for finding in other.kept {
            self.push(finding);
        }
    }

    /// Removes the findings whose kind `is_forgotten` selects. `is_forgotten` must select only kinds of which a
    /// delivery has at most one finding.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(&FindingKind) -> bool) {
        let kept = std::mem::take(self).kept;
        for finding in kept.into_iter().filter(|finding| !is_forgotten(&finding.kind)) {
            self.push(finding);
        }
    }

    /// Turns each error whose kind `is_excused` selects into a warning.
    pub(super) fn excuse(&mut self, is_excused: impl Fn(&FindingKind) -> bool) {
        for finding in &mut self.kept {
            if is_excused(&finding.kind) {
                finding.severity = finding.severity.min(Severity::Warning);
            }
        }
    }

    fn add(&mut self, finding: Finding, is_asked_for: bool) {
        let key = key(&finding);
        let next = self.kept.len();
        let Some(group) = self.groups.iter_mut().find(|group| group.key == key) else {
            self.groups.push(Group { key, kept: 1, counter: next });
            self.kept.push(finding);
            return;
        };
        if group.kept < KEPT_MAX {
            group.kept += 1;
            group.counter = next;
            self.kept.push(finding);
            return;
        }
        let is_like_it = |known: &Finding| known.credential == finding.credential && self::key(known) == key;
        if is_asked_for && !self.kept.iter().any(is_like_it) {
            self.kept.push(finding);
        } else if let Some(counter) = self.kept.get_mut(group.counter) {
            counter.more += 1 + finding.more;
        }
    }
}

impl Deref for Findings {
    type Target = [Finding];

    fn deref(&self) -> &[Finding] {
        &self.kept
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.iter()
    }
}
