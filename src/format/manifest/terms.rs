//! What a manifest may say of a set beside what is in it.

use std::collections::BTreeMap;

use crate::format::credential::Name;

/// For which machines a set is, until when, which one of several, and what is encrypted in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Terms {
    /// The machines that it is meant for, each by a name, or by none if that does not matter.
    pub audience: Vec<String>,
    /// Which set it is of those that were made for the same audience: a later one has a higher number.
    pub serial: Option<u64>,
    /// When it ends to be valid, in seconds since 1970-01-01 00:00 UTC.
    pub not_after: Option<u64>,
    /// Credentials that are sent encrypted. They are not among [`Manifest::credentials`](super::Manifest::credentials).
    pub encrypted: BTreeMap<Name, Ciphertext>,
}

/// What a manifest says of an encrypted credential. A digest of a ciphertext helps nobody to guess the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ciphertext {
    /// Bytes of the text that stands for it in an OEM string, after the `=`.
    pub size: u64,
    /// SHA-256 of that text.
    pub sha256: [u8; 32],
}

/// Whether it can be the name of a machine in a manifest: 1 to 255 printable ASCII characters.
#[must_use]
pub fn is_audience(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
