//! Findings about signatures, and about the terms in a signed manifest: audience, serial and end of validity.

use serde::Serialize;

use crate::trust::signature::{KeyId, SignatureError};

/// The kinds of findings about trust.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TrustFinding {
    /// The host sent no signature with the set.
    SignatureMissing,
    /// A signature is required, but there is no trusted key.
    NoTrustedKey,
    /// The set is signed, but this machine has no trusted key, so the signature is not checked.
    SignatureUnused,
    /// A signature does not have the current format of a minisign signature.
    SignatureInvalid {
        /// What is wrong with the format.
        reason: SignatureError,
    },
    /// No signature was made by a trusted key.
    NotTrusted {
        /// The IDs of the keys in the signatures.
        by: Vec<KeyId>,
        /// The IDs of the trusted keys.
        trusted: Vec<KeyId>,
    },
    /// A signature has the ID of a trusted key, but it is not a valid signature of this manifest.
    SignatureWrong {
        /// The ID of the trusted key.
        key: KeyId,
    },
    /// There are more signatures than this program checks.
    TooManySignatures {
        /// Number of signatures.
        found: usize,
    },
    /// The set is meant for other machines.
    AudienceDiffers {
        /// The machines that the set is meant for.
        audience: Vec<String>,
        /// The names of this machine.
        own: Vec<String>,
    },
    /// The set has no audience: it does not say which machine it is meant for.
    AudienceMissing {
        /// The names of this machine.
        own: Vec<String>,
    },
    /// The set has an audience, but no name is configured for this machine, so the audience is not checked.
    AudienceUnused {
        /// The machines that the set is meant for.
        audience: Vec<String>,
    },
    /// The set's serial is lower than the highest serial that was imported earlier, or than the configured minimum.
    SerialOld {
        /// The set's serial; `None` if the set has no serial.
        #[serde(skip_serializing_if = "Option::is_none")]
        serial: Option<u64>,
        /// The lowest accepted serial.
        minimum: u64,
        /// Whether the minimum comes from an earlier import; otherwise it is configured.
        seen: bool,
    },
    /// The set is no longer valid.
    Expired {
        /// The end of the validity, in seconds since 1970-01-01 00:00 UTC.
        not_after: u64,
        /// The time by this machine's clock; `None` if the clock cannot be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        now: Option<u64>,
    },
    /// systemd itself imports credentials before this program has verified them.
    ImportedBySystemd {
        /// Number of credentials that systemd has already imported.
        credentials: usize,
    },
}
