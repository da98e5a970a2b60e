//! What verification has to say about encrypted credentials: typed, in words, and what to do.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::trust::sealed::SealedError;

/// What a finding about an encrypted credential can be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SealedFinding {
    /// A string with the prefix of an encrypted credential that holds none.
    NotABlob {
        /// Bytes after the prefix.
        size: usize,
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: SealedError,
    },
    /// Its key is one that everybody has.
    NullKey,
    /// No unit of the system can open it, only one of a user's service manager.
    OfOneUser {
        /// The kind of its key.
        key: &'static str,
    },
    /// A ciphertext that was sent as a plain credential.
    SentAsPlain {
        /// The kind of its key.
        key: &'static str,
    },
    /// The same name was sent plain and encrypted.
    AlsoPlain,
    /// A ciphertext of the right size that is not the one that was sent.
    CiphertextDiffers,
    /// systemd is not PID 1, and nothing else would open it.
    NoSystemd,
    /// No key of this machine's opens it.
    CannotOpen,
    /// A directory of the user's own does not take it.
    NotForDirectory,
}

impl Display for SealedFinding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABlob { size, reason } => {
                write!(f, "the OEM string of an encrypted credential, {size} bytes after its prefix, {reason}")
            }
            Self::NullKey => f.write_str("encrypted by the null key, which everybody has; it was refused"),
            Self::OfOneUser { key } => write!(
                f,
                "encrypted for one user ({key}): no service of the system can open it, only one of that user's own manager"
            ),
            Self::SentAsPlain { key } => write!(
                f,
                "a systemd-creds blob ({key}) sent as a plain credential: a service would get the ciphertext as its secret; \
                 it was refused"
            ),
            Self::AlsoPlain => f.write_str("sent both plain and encrypted; both were refused"),
            Self::CiphertextDiffers => f.write_str(
                "the ciphertext differs from the one that was sent, although its size is right; it was refused",
            ),
            Self::NoSystemd => {
                f.write_str("encrypted, and only systemd as PID 1 can open it; it was not written")
            }
            Self::CannotOpen => f.write_str(
                "systemd-creds cannot open it on this machine, so no service gets it: it is sealed to another key or TPM, \
                 under another name, or no longer valid",
            ),
            Self::NotForDirectory => {
                f.write_str("encrypted, and so not written to a directory for plain credentials")
            }
        }
    }
}

impl SealedFinding {
    /// What to do about it.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::NotABlob { .. } => {
                "send what 'systemd-creds encrypt' wrote, with 'smbios-creds-host --encrypted', or update this program"
            }
            Self::NullKey => {
                "encrypt it on the host with 'systemd-creds encrypt --with-key=tpm2' or '--with-key=host'"
            }
            Self::OfOneUser { .. } => "encrypt it without --uid",
            Self::SentAsPlain { .. } => "send it with --encrypted of smbios-creds-host",
            Self::AlsoPlain => "send it in one form only",
            Self::CiphertextDiffers => "it changed on the way: send it again",
            Self::NoSystemd => "run systemd in this guest, or send the credential unencrypted",
            Self::CannotOpen => {
                "seal it again for this machine's TPM or key, under this name; 'systemd-creds decrypt' says why it fails"
            }
            Self::NotForDirectory => {
                "import without --into, under systemd: it goes to /run/credstore.encrypted"
            }
        }
    }
}

fn as_text<S: serde::Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
