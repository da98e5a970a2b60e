//! The terms of a manifest: the optional fields that are meant for a signed set.

use std::collections::BTreeMap;

use crate::format::credential::Name;

/// The terms of a set: the machines for which the set is meant, the end of its validity, its serial number, and its
/// encrypted credentials.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Terms {
    /// Names of the machines for which the set is meant. If the list is empty, the set is for any machine.
    pub audience: Vec<String>,
    /// Serial number of the set among the sets for the same audience. A later set has a higher serial number.
    pub serial: Option<u64>,
    /// End of the set's validity, in seconds since 1970-01-01 00:00 UTC.
    pub not_after: Option<u64>,
    /// Credentials that are sent encrypted. [`Manifest::credentials`](super::Manifest::credentials) does not return
    /// these credentials.
    pub encrypted: BTreeMap<Name, Ciphertext>,
}

/// The manifest's entry for an encrypted credential. The digest of a ciphertext does not help to guess the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ciphertext {
    /// Size in bytes of the ciphertext's base64 text, which follows the `=` in the OEM string of an encrypted
    /// credential.
    pub size: u64,
    /// SHA-256 of the ciphertext's base64 text.
    pub sha256: [u8; 32],
}

/// Whether the audience of a manifest can contain this name of a machine: 1 to 255 printable ASCII characters.
#[must_use]
pub fn is_audience(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
