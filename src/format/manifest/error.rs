//! Why a manifest cannot be written or read.

use crate::format::base64::Base64Error;
use crate::format::credential::Name;

/// The version this code writes, and the only one it reads.
pub(super) const VERSION: u32 = 1;

/// Why a manifest cannot be written or read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The same name is given twice.
    #[error("it lists credential {0} twice")]
    Duplicate(Name),
    /// The text after the prefix is not base64.
    #[error("it is not base64: {0}")]
    Base64(#[from] Base64Error),
    /// The base64 does not hold the expected JSON object. The object itself is not shown: the digest of a set of
    /// weak secrets is best kept out of logs.
    #[error("it is not the expected JSON object (line {line}, column {column})")]
    Json {
        /// Line of the JSON text, from 1.
        line: usize,
        /// Column of the JSON text, from 1.
        column: usize,
    },
    /// A machine that the set is meant for has no name that can be one.
    #[error(
        "it is meant for a machine whose name is empty, is longer than 255 bytes, or has a character that is not printable ASCII"
    )]
    Audience,
    /// It lists nothing, so it would prove nothing.
    #[error("it lists no credential")]
    Empty,
    /// A version this program does not know.
    #[error("it has version {0}, this program knows version {VERSION}")]
    Version(u32),
}
