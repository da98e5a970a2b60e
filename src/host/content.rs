//! The kinds of OEM strings, and the sources of credentials.

use crate::format::credential::{Credential, Name, Secret};
use crate::format::receipt::Address;
use crate::trust::signature::KeyId;

/// OEM strings that are already on the hypervisor's command line, or in files that this command line names, and that
/// are sent to the same machine. The manifest also lists the credentials in these strings: a guest that requires a
/// manifest accepts only listed credentials.
#[derive(Debug, Default)]
pub struct Existing {
    /// Strings that this program passes to the hypervisor again, before its own strings, and the source of each string.
    pub kept: Vec<(Secret, Origin)>,
    /// Strings that the hypervisor itself reads from files. This program does not pass these strings on a second time.
    pub elsewhere: Vec<Secret>,
    /// Credentials in `fw_cfg` items of the command line, and the source of each. This program writes these items
    /// again.
    pub items: Vec<(Credential, Origin)>,
    /// The address to which the guest must send a receipt.
    pub receipt: Option<Address>,
}

/// The source of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The credentials directory.
    Directory,
    /// The command line, where other users can read the credential.
    CommandLine,
    /// A file that the command line names.
    File,
    /// A packed set.
    Set,
}

/// The kind of an OEM string that is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// A credential.
    Credential {
        /// The credential's name.
        name: Name,
        /// Size of the value in bytes.
        size: usize,
        /// The source of the credential.
        origin: Origin,
    },
    /// An encrypted credential.
    Encrypted {
        /// The credential's name.
        name: Name,
        /// Size in bytes of the encrypted value in base64.
        size: usize,
    },
    /// The manifest, which lists all credentials.
    Manifest,
    /// A signature of the manifest, with the ID of the key that the signature names. The signature may not have been
    /// verified with this key.
    Signature(KeyId),
    /// The address to which the guest must send a receipt.
    Receipt,
    /// A string that belongs to another program.
    Foreign,
}

impl Content {
    /// Returns the name of an encrypted credential, or of a plain credential from the credentials directory or from a
    /// packed set. Returns `None` for other content, such as a manifest.
    pub(super) fn selected(&self) -> Option<&Name> {
        match self {
            Self::Credential { name, origin: Origin::Directory | Origin::Set, .. }
            | Self::Encrypted { name, .. } => Some(name),
            _ => None,
        }
    }
}
