//! Findings about encrypted credentials: their types, messages and advice.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::trust::sealed::SealedError;

/// The kinds of findings about an encrypted credential.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SealedFinding {
    /// A string has the prefix of an encrypted credential, but does not contain an encrypted credential.
    NotABlob {
        /// Number of bytes in the string after the prefix.
        size: usize,
        /// Why the string does not contain an encrypted credential.
        #[serde(serialize_with = "as_text")]
        reason: SealedError,
    },
    /// The credential is encrypted with the null key, which everybody has.
    NullKey,
    /// Units of the system cannot decrypt the credential; only units of one user's service manager can.
    OfOneUser {
        /// The kind of key that encrypts the credential.
        key: &'static str,
    },
    /// A ciphertext was sent as a plain credential.
    SentAsPlain {
        /// The kind of key that encrypts the credential.
        key: &'static str,
    },
    /// The same name was sent both plain and encrypted.
    AlsoPlain,
    /// A ciphertext has the size in the manifest, but it is not the ciphertext that was sent.
    CiphertextDiffers,
    /// The credential was not written: systemd is not PID 1, and no other program would decrypt the credential.
    NoSystemd,
    /// No key of this machine can decrypt the credential.
    CannotOpen,
    /// Encrypted credentials are not written to a directory that the user chose.
    NotForDirectory,
}

impl Display for SealedFinding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABlob { size, reason } => {
                write!(f, "the OEM string of an encrypted credential, {size} bytes after its prefix, {reason}")
            }
            Self::NullKey => f.write_str("encrypted with the null key, which everybody has; it was refused"),
            Self::OfOneUser { key } => write!(
                f,
                "encrypted for one user ({key}): no system service can decrypt it, only the services of this user"
            ),
            Self::SentAsPlain { key } => write!(
                f,
                "encrypted ({key}), but sent as a plain credential: a service would get the ciphertext as its \
                 secret; it was refused"
            ),
            Self::AlsoPlain => f.write_str("sent both plain and encrypted; both were refused"),
            Self::CiphertextDiffers => f.write_str(
                "the ciphertext differs from the one that was sent, although its size is right; it was refused",
            ),
            Self::NoSystemd => {
                f.write_str("encrypted, and only systemd as PID 1 can decrypt it; it was not written")
            }
            Self::CannotOpen => f.write_str(
                "systemd-creds cannot decrypt it on this machine, so no service gets it: it was encrypted for \
                 another key or TPM, under another name, or it has expired",
            ),
            Self::NotForDirectory => {
                f.write_str("encrypted, so it was not written to a directory for plain credentials")
            }
        }
    }
}

impl SealedFinding {
    /// Returns what to do about the finding.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::NotABlob { .. } => {
                "send what 'systemd-creds encrypt' wrote, with 'smbios-creds-host --encrypted', or update this program"
            }
            Self::NullKey => {
                "encrypt it in the guest with 'systemd-creds encrypt --with-key=tpm2' or '--with-key=host', and send the \
                 result"
            }
            Self::OfOneUser { .. } => "encrypt it without --uid",
            Self::SentAsPlain { .. } => "send it with --encrypted of smbios-creds-host",
            Self::AlsoPlain => "send it in one form only",
            Self::CiphertextDiffers => "the ciphertext changed on the way: send it again",
            Self::NoSystemd => "run systemd in this guest, or send the credential unencrypted",
            Self::CannotOpen => {
                "encrypt it again for this machine's TPM or key, under this name; 'systemd-creds decrypt' says why \
                 it fails"
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
