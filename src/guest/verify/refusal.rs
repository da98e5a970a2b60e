//! Why something that was sent is not imported, in the word of the STATE column.

use crate::format::oem_string::DecodeError;

/// Why a credential is not imported.
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
    /// The name was sent before.
    Duplicate,
    /// Another channel has delivered the same value.
    Copy,
    /// It has no bytes.
    Empty,
    /// The table breaks next to it.
    MaybeCut,
    /// Its size differs from the size that was sent.
    SizeDiffers,
    /// The set is not the one that was sent.
    DigestDiffers,
    /// The manifest, which is required, does not list it.
    NotListed,
    /// A trusted signature is required, and does not prove the whole set.
    Unproven,
    /// It was to be encrypted, and is no blob of systemd's.
    NotABlob,
    /// It is encrypted by a key that everybody has.
    NullKey,
    /// It is a ciphertext that was sent as a plain credential.
    SentAsPlain,
    /// The same name was sent plain and encrypted.
    AlsoPlain,
    /// The ciphertext is not the one that was sent.
    CiphertextDiffers,
}

impl Refusal {
    /// The word of the STATE column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoEquals => "no-equals",
            Self::BadName => "bad-name",
            Self::BadBase64 => "bad-base64",
            Self::TooLarge => "too-large",
            Self::Duplicate => "duplicate",
            Self::Copy => "copy",
            Self::Empty => "empty",
            Self::MaybeCut => "maybe-cut",
            Self::SizeDiffers => "size-differs",
            Self::DigestDiffers => "digest-differs",
            Self::NotListed => "not-listed",
            Self::Unproven => "unproven",
            Self::NotABlob => "not-a-blob",
            Self::NullKey => "null-key",
            Self::SentAsPlain => "sent-as-plain",
            Self::AlsoPlain => "also-plain",
            Self::CiphertextDiffers => "ciphertext-differs",
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
