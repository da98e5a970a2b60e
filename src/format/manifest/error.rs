//! Why a manifest cannot be written or read.

use crate::format::base64::Base64Error;
use crate::format::credential::Name;

/// Version number of the manifests that this program writes. This program cannot read manifests of another version.
pub(super) const VERSION: u32 = 1;

/// Why a manifest cannot be written or read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest lists the same name twice.
    #[error("it lists credential {0} twice")]
    Duplicate(Name),
    /// The text after the prefix of the manifest's OEM string is not base64.
    #[error("it is not base64: {0}")]
    Base64(#[from] Base64Error),
    /// The base64 does not contain the expected JSON object. The error does not show the object: with its salt and its
    /// digest, a reader of a log could try weak passwords.
    #[error("it is not the expected JSON object (line {line}, column {column})")]
    Json {
        /// Line of the error in the JSON text, counted from 1.
        line: usize,
        /// Column of the error in the JSON text, counted from 1.
        column: usize,
    },
    /// The name of a machine in the audience is not valid.
    #[error(
        "its audience is empty, is longer than 255 bytes, or contains a character that is not printable ASCII"
    )]
    Audience,
    /// The manifest lists no credentials, so it would prove nothing.
    #[error("it lists no credential")]
    Empty,
    /// This program does not know the manifest's version.
    #[error("it has version {0}, but this program reads only version {VERSION}")]
    Version(u32),
}
