//! The kinds of OEM strings, and the sources of credentials.

use crate::format::credential::{Credential, Name, Secret};
use crate::format::receipt::Address;
use crate::trust::signature::KeyId;

/// OEM strings that are already on the command line or in its files, and that reach the same machine. Credentials among
/// them are listed in the manifest: a guest that requires a manifest accepts only listed credentials.
#[derive(Debug, Default)]
pub struct Existing {
    /// Strings that are written again, before this program's strings, and the source of each.
    pub kept: Vec<(Secret, Origin)>,
    /// Strings that the hypervisor itself reads from files. This program does not write them again.
    pub elsewhere: Vec<Secret>,
    /// Credentials in items of `fw_cfg`, which are written as such items again.
    pub items: Vec<(Credential, Origin)>,
    /// The address to which the guest must send a receipt.
    pub receipt: Option<Address>,
}

/// The source of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The credentials directory.
    Directory,
    /// The command line, where others can read it.
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
        /// Size of the base64 in bytes.
        size: usize,
    },
    /// The manifest, which lists all credentials.
    Manifest,
    /// A signature of the manifest. The signature names this key, but was not verified.
    Signature(KeyId),
    /// The address for a receipt.
    Receipt,
    /// Another program's string.
    Foreign,
}

impl Content {
    /// Returns the name of a credential that is from the credentials directory or a packed set, or is encrypted.
    pub(super) fn selected(&self) -> Option<&Name> {
        match self {
            Self::Credential { name, origin: Origin::Directory | Origin::Set, .. }
            | Self::Encrypted { name, .. } => Some(name),
            _ => None,
        }
    }
}
