//! What arrived: every string that is, or was meant to be, a credential, and what is to be said about it.

use super::finding::{Finding, Place, Severity};
use crate::format::credential::Credential;
use crate::format::oem_string::{DecodeError, Encoding};

/// Why a credential is not handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The string has no `=`.
    NoEquals,
    /// The name breaks systemd's rules.
    BadName,
    /// The value is not base64.
    BadBase64,
    /// The value is too large.
    TooLarge,
    /// Another string has given the name before.
    Duplicate,
    /// It has no bytes.
    Empty,
    /// The table breaks next to it.
    MaybeCut,
    /// It has not the size it was sent with.
    SizeDiffers,
    /// The set is not the one that was sent.
    DigestDiffers,
}

impl Refusal {
    /// The reason in the words of the STATE column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoEquals => "no-equals",
            Self::BadName => "bad-name",
            Self::BadBase64 => "bad-base64",
            Self::TooLarge => "too-large",
            Self::Duplicate => "duplicate",
            Self::Empty => "empty",
            Self::MaybeCut => "maybe-cut",
            Self::SizeDiffers => "size-differs",
            Self::DigestDiffers => "digest-differs",
        }
    }

    /// The reason as a sentence would have it, for the REASON column.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoEquals => "no '=' stands between name and value",
            Self::BadName => "systemd allows no such name",
            Self::BadBase64 => "its value is not base64",
            Self::TooLarge => "its value is larger than systemd allows",
            Self::Duplicate => "the name was sent before, and the first one counts",
            Self::Empty => "its value is empty",
            Self::MaybeCut => "the table breaks next to it, so its end may be missing",
            Self::SizeDiffers => "it has not the size it was sent with",
            Self::DigestDiffers => "a value of the set is not the one that was sent",
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NoEquals => Self::NoEquals,
            DecodeError::Name(_) => Self::BadName,
            DecodeError::Base64(_) => Self::BadBase64,
            DecodeError::TooLarge { .. } => Self::TooLarge,
        }
    }
}

/// One string that is, or was meant to be, a credential.
#[derive(Debug)]
pub struct Entry {
    /// Its name, escaped for printing; `None` if it has none.
    pub name: Option<String>,
    /// Its form.
    pub encoding: Encoding,
    /// Where it is.
    pub place: Place,
    /// The credential, where the string holds one.
    pub credential: Option<Credential>,
    /// Why it is not handed out; `None` means it is.
    pub refusal: Option<Refusal>,
}

impl Entry {
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }
}

/// What arrived, and what is to be said about it.
#[derive(Debug)]
pub struct Delivery {
    /// Every string that is, or was meant to be, a credential, in table order.
    pub entries: Vec<Entry>,
    /// What is to be said, in table order, the set as a whole last.
    pub findings: Vec<Finding>,
    /// Whether a manifest proved that the set is the one that was sent.
    pub proven: bool,
    /// Whether there is any Type 11 structure.
    pub has_oem_strings: bool,
    /// OEM strings that are none of ours.
    pub foreign: usize,
}

impl Delivery {
    /// The credentials that are handed out, in table order.
    pub fn intact(&self) -> impl Iterator<Item = &Credential> {
        self.entries
            .iter()
            .filter(|entry| entry.refusal.is_none())
            .filter_map(|entry| entry.credential.as_ref())
    }

    /// Whether what the host meant to send is here, and the policy is met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
    }
}
