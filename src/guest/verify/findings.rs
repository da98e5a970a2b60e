//! All findings of a delivery, however many there are.

use std::mem::{Discriminant, discriminant};
use std::ops::Deref;

use super::finding::{Finding, FindingKind, Severity};
use super::sealed_finding::SealedFinding;
use super::trust_finding::TrustFinding;
use crate::format::oem_string::DecodeError;

/// Most findings of one group that are kept. The rest is counted: a table of 256 KiB can have 37,449 of one kind.
pub const KEPT_MAX: usize = 8;

/// Findings in the order they were made. Of each group the first [`KEPT_MAX`] are kept, and the last of these says how
/// many more there are ([`Finding::more`]).
///
/// A group is what weighs the same and needs the same: so what is kept has every severity and every kind that was found.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    groups: Vec<Group>,
}

/// The findings of one group so far.
#[derive(Debug)]
struct Group {
    key: Key,
    kept: usize,
    /// The finding that counts those that are not kept.
    counter: usize,
}

/// What findings of one group have in common.
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
    /// How many findings were made, those that are only counted included.
    #[must_use]
    pub fn total(&self) -> usize {
        self.kept.iter().map(|finding| 1 + finding.more).sum()
    }

    /// Adds a finding.
    pub(in crate::guest) fn push(&mut self, finding: Finding) {
        self.add(finding, false);
    }

    /// Adds a finding about a credential that somebody has asked for: the first of its group about it is always kept.
    pub(super) fn push_asked_for(&mut self, finding: Finding) {
        self.add(finding, true);
    }

    /// Adds those that something else has made.
    pub fn append(&mut self, other: Self) {
        for finding in other.kept {
            self.push(finding);
        }
    }

    /// Removes those of kinds that are found once at most.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(&FindingKind) -> bool) {
        let kept = std::mem::take(self).kept;
        for finding in kept.into_iter().filter(|finding| !is_forgotten(&finding.kind)) {
            self.push(finding);
        }
    }

    /// Makes a warning of what is an error, for these kinds.
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
