//! What verification has to say about signatures, and about what a signed manifest says of a set.

use serde::Serialize;

use crate::trust::signature::{KeyId, SignatureError};

/// What a finding about trust can be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TrustFinding {
    /// No string of the set is a signature.
    SignatureMissing,
    /// There is no trusted key, and a signature is required.
    NoTrustedKey,
    /// The set is signed, and this machine trusts no key.
    SignatureUnused,
    /// A signature cannot be read.
    SignatureInvalid {
        /// Why.
        reason: SignatureError,
    },
    /// No signature was made by a key that is trusted.
    NotTrusted {
        /// The keys that the signatures say they were made by.
        by: Vec<KeyId>,
        /// The keys that are trusted.
        trusted: Vec<KeyId>,
    },
    /// A signature that says it was made by a trusted key is none of this manifest.
    SignatureWrong {
        /// The key.
        key: KeyId,
    },
    /// There are more signatures than are looked at.
    TooManySignatures {
        /// How many there are.
        found: usize,
    },
    /// The set is meant for other machines.
    AudienceDiffers {
        /// The machines that it is meant for.
        audience: Vec<String>,
        /// The names of this machine.
        own: Vec<String>,
    },
    /// The set does not say which machine it is meant for.
    AudienceMissing {
        /// The names of this machine.
        own: Vec<String>,
    },
    /// The set says which machine it is meant for, and this machine was not told its name.
    AudienceUnused {
        /// The machines that it is meant for.
        audience: Vec<String>,
    },
    /// The set is older than one that this machine has seen, or than it may be.
    SerialOld {
        /// Its serial; `None` if it has none.
        #[serde(skip_serializing_if = "Option::is_none")]
        serial: Option<u64>,
        /// The lowest that counts.
        minimum: u64,
        /// Whether this machine has seen the minimum; else it was told.
        seen: bool,
    },
    /// The set is not valid any more.
    Expired {
        /// When it ended to be valid, in seconds since 1970-01-01 00:00 UTC.
        not_after: u64,
        /// What this machine's clock says; `None` if it cannot be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        now: Option<u64>,
    },
    /// systemd imports by itself what nobody has verified.
    ImportedBySystemd {
        /// How many credentials it has already imported.
        credentials: usize,
    },
}
