//! Why an entry is not imported, as a value and as a word for the STATE column of the listing.

use crate::format::oem_string::DecodeError;

/// Why a credential is not imported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The string has no `=`.
    NoEquals,
    /// The name is not valid by systemd's rules.
    BadName,
    /// The value is not base64.
    BadBase64,
    /// The value is larger than systemd accepts.
    TooLarge,
    /// A credential with the same name was sent before.
    Duplicate,
    /// Another channel has already delivered a credential with the same name and the same value.
    Copy,
    /// The value is empty.
    Empty,
    /// The table breaks off next to the credential, so the end of the credential may be missing.
    MaybeCut,
    /// The value's size differs from the size in the manifest.
    SizeDiffers,
    /// The digest in the manifest shows that the received set is not the one that was sent.
    DigestDiffers,
    /// The manifest must list every credential, but does not list this one.
    NotListed,
    /// A trusted signature is required, but no trusted signature proves that the whole set is the one that was sent.
    Unproven,
    /// The credential was sent as an encrypted credential, but it is not a blob of `systemd-creds`.
    NotABlob,
    /// The credential is encrypted with the null key, which everybody has.
    NullKey,
    /// A ciphertext was sent as a plain credential.
    SentAsPlain,
    /// The same name was sent both plain and encrypted.
    AlsoPlain,
    /// The ciphertext differs from the one that the manifest describes.
    CiphertextDiffers,
}

impl Refusal {
    /// Returns the refusal as a word for the STATE column of the listing.
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
