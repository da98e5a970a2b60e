//! Why credentials cannot be sent as OEM strings.

use crate::format::credential::Name;
use crate::format::manifest::ManifestError;
use crate::format::oem_string::{DecodeError, EncodeError};
use crate::format::smbios::write::WriteError;
use crate::sys::Errno;
use crate::trust::sealed::SealedError;

/// Why credentials cannot be sent as OEM strings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The credential cannot be written.
    #[error("credential {name}: {error}")]
    Encode {
        /// Its name.
        name: Name,
        /// Why not.
        error: EncodeError,
    },
    /// Two values for one name, of which the guest would take the first.
    #[error("credential {name}: it would be sent twice, and a name can have one value only: {sources}")]
    Duplicate {
        /// Its name.
        name: Name,
        /// Where both come from, and what to do.
        sources: &'static str,
    },
    /// A string that is there already has the prefix of a credential and is none.
    #[error(
        "OEM string {string} of the command line {error}, so no guest would read it; correct it or remove it"
    )]
    Refused {
        /// Which of those that were there, from 1.
        string: usize,
        /// What is wrong.
        error: DecodeError,
    },
    /// A string that is there already may be a value that has lost its name.
    #[error(
        "OEM string {string} of the command line has an empty value, and its name may be a secret in base64; write it as \
         io.systemd.credential.binary:NAME=BASE64, or remove it"
    )]
    MaybeNameless {
        /// Which of those that were there, from 1.
        string: usize,
    },
    /// A string that is there already has nearly the prefix of a credential.
    #[error(
        "OEM string {string} of the command line has a mistyped prefix, '{meant}' was probably meant; correct it or \
         remove it"
    )]
    NearMiss {
        /// Which of those that were there, from 1.
        string: usize,
        /// The prefix that was probably meant.
        meant: &'static str,
    },
    /// There is a manifest already, of another set.
    #[error(
        "OEM string {string} of the command line is a manifest, and a machine can have one only; remove it"
    )]
    SecondManifest {
        /// Which of those that were there, from 1.
        string: usize,
    },
    /// There is an address for a receipt already.
    #[error("OEM string {string} asks for a receipt, as --receipt does; remove one")]
    SecondReceipt {
        /// Which string, from 1.
        string: usize,
    },
    /// A signature that is there already is of another manifest.
    #[error(
        "OEM string {string} of the command line is a signature of another manifest; remove it, and send a signed set with \
         --set FILE"
    )]
    OtherSignature {
        /// Which of those that were there, from 1.
        string: usize,
    },
    /// A packed set does not list a credential that is there already, and nothing can be added to it.
    #[error(
        "credential {0}: it is given beside the set, whose manifest does not list it; pack it into the set, or remove it"
    )]
    BesideSet(Name),
    /// There is no manifest of such a set.
    #[error("cannot write a manifest: {0}")]
    Set(ManifestError),
    /// A string that is there already cannot be in a table.
    #[error("of those on the command line, {0}")]
    Unwritable(WriteError),
    /// The kernel has no random bytes for the salt.
    #[error("cannot get random bytes for the manifest's salt: {}", .0.desc())]
    Random(Errno),
    /// Text that stands for an encrypted credential is none, or one that everybody can open.
    #[error("OEM string {string} of the command line {error}; correct it or remove it")]
    Sealed {
        /// Which of those that were there, from 1.
        string: usize,
        /// What is wrong.
        error: SealedError,
    },
    /// A plain credential is a ciphertext.
    #[error(
        "credential {0}: it is a systemd-creds blob, and a service would get the ciphertext as its secret; send it with \
         --encrypted {0}"
    )]
    SentAsPlain(Name),
    /// The name of an encrypted credential holds `=`, at which every reader would split it.
    #[error("credential {0}: its name holds '=', which ends the name in an OEM string")]
    SealedName(Name),
}
