//! Why credentials cannot be sent as OEM strings.

use std::borrow::Cow;

use crate::format::credential::Name;
use crate::format::manifest::ManifestError;
use crate::format::oem_string::{DecodeError, EncodeError};
use crate::format::smbios::write::WriteError;
use crate::sys::Errno;
use crate::text::help::Help;
use crate::trust::sealed::SealedError;

/// Why credentials cannot be sent as OEM strings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The credential cannot be written as an OEM string.
    #[error("credential {name}: {error}")]
    Encode {
        /// The credential's name.
        name: Name,
        /// Why the credential cannot be written.
        error: EncodeError,
    },
    /// Two credentials have the same name. The guest would use only the value that it reads first.
    #[error("credential {name}: it would be sent twice, but a name can have only one value: {sources}")]
    Duplicate {
        /// The credential's name.
        name: Name,
        /// The sources of both values.
        sources: &'static str,
        /// What to do.
        help: &'static str,
    },
    /// A string of the command line has the prefix of a credential, but is not a credential.
    #[error("OEM string {string} of the command line {error}, so no guest would read it")]
    Refused {
        /// Number of the string on the command line, from 1.
        string: usize,
        /// What is wrong with the string.
        error: DecodeError,
    },
    /// The text after the prefix of a string on the command line may be a credential's value without a name.
    #[error(
        "OEM string {string} of the command line has an empty value, and its name may be a secret in base64"
    )]
    MaybeNameless {
        /// Number of the string on the command line, from 1.
        string: usize,
    },
    /// The prefix of a string on the command line is almost the prefix of a credential.
    #[error(
        "OEM string {string} of the command line has a mistyped prefix: the correct one is probably '{meant}'"
    )]
    NearMiss {
        /// Number of the string on the command line, from 1.
        string: usize,
        /// The most similar valid prefix.
        meant: &'static str,
    },
    /// The command line already contains the manifest of another set.
    #[error("OEM string {string} of the command line is a manifest, but a machine can have only one")]
    SecondManifest {
        /// Number of the string on the command line, from 1.
        string: usize,
    },
    /// The command line already contains an address for a receipt.
    #[error("OEM string {string} asks for a receipt, as --receipt does")]
    SecondReceipt {
        /// Number of the string, from 1.
        string: usize,
    },
    /// The command line contains a signature of another manifest.
    #[error("OEM string {string} of the command line is a signature of another manifest")]
    OtherSignature {
        /// Number of the string on the command line, from 1.
        string: usize,
    },
    /// The command line contains a credential that the manifest of the packed set does not list. No credential can be
    /// added to a packed set, because its manifest cannot be changed.
    #[error("credential {0}: it is given in addition to the set, but the set's manifest does not list it")]
    BesideSet(Name),
    /// No manifest can be written for this set.
    #[error("cannot write a manifest: {0}")]
    Set(ManifestError),
    /// A string of the command line cannot be in an SMBIOS table.
    #[error("in the OEM strings of the command line, {0}")]
    Unwritable(WriteError),
    /// The kernel returned no random bytes for the manifest's salt.
    #[error("cannot get random bytes for the manifest's salt: {}", .0.desc())]
    Random(Errno),
    /// An encrypted credential on the command line is not valid, or it is encrypted with the empty key, so everybody
    /// can decrypt it.
    #[error("OEM string {string} of the command line {error}")]
    Sealed {
        /// Number of the string on the command line, from 1.
        string: usize,
        /// What is wrong with the string.
        error: SealedError,
    },
    /// The value of a plain credential is a ciphertext.
    #[error(
        "credential {0}: it is the output of 'systemd-creds encrypt', so a service would get the ciphertext as its \
         secret"
    )]
    SentAsPlain(Name),
    /// The name of an encrypted credential contains `=`: every reader would take the text before this `=` for the name.
    #[error("credential {0}: its name contains '=', which ends the name in an OEM string")]
    SealedName(Name),
}

impl Help for EmitError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Refused { .. } | Self::NearMiss { .. } | Self::Sealed { .. } => "correct it or remove it",
            Self::MaybeNameless { .. } => {
                "write it as io.systemd.credential.binary:NAME=BASE64, or remove it"
            }
            Self::SecondManifest { .. } => "remove it",
            Self::SecondReceipt { .. } => "remove one",
            Self::OtherSignature { .. } => "remove it, and send a signed set with --set FILE",
            Self::BesideSet(_) => "pack it into the set, or remove it",
            Self::SentAsPlain(name) => return Some(format!("send it with --encrypted {name}").into()),
            Self::SealedName(_) | Self::Encode { error: EncodeError::EqualsInName, .. } => {
                "send it under another name (--credential GUEST=HOST)"
            }
            Self::Duplicate { help, .. } => help,
            Self::Unwritable(error) => return error.help(),
            Self::Encode { .. } | Self::Set(_) | Self::Random(_) => return None,
        }))
    }
}
