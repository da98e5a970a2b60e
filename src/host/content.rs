//! What an OEM string is, and where it is from.

use crate::format::credential::{Credential, Name, Secret};
use crate::format::receipt::Address;
use crate::trust::signature::KeyId;

/// OEM strings that somebody else sends to the same machine. Credentials among them enter the manifest: a guest that
/// requires one accepts nothing beside it.
#[derive(Debug, Default)]
pub struct Existing {
    /// Those that are written again, in front of ours, and where each is from.
    pub kept: Vec<(Secret, Origin)>,
    /// Those that the hypervisor reads from files itself, and that are not written.
    pub elsewhere: Vec<Secret>,
    /// Credentials in items of `fw_cfg`, which are written as such again.
    pub items: Vec<(Credential, Origin)>,
    /// Where the guest is asked to send a receipt.
    pub receipt: Option<Address>,
}

/// Where a credential is from.
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

/// What an emitted OEM string is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// A credential of this name, with a value of so many bytes.
    Credential {
        /// Its name.
        name: Name,
        /// Bytes of its value.
        size: usize,
        /// Where it is from.
        origin: Origin,
    },
    /// An encrypted credential of this name.
    Encrypted {
        /// Its name.
        name: Name,
        /// Bytes of its base64.
        size: usize,
    },
    /// The manifest of all credentials.
    Manifest,
    /// A signature of the manifest by this key, or one that says so.
    Signature(KeyId),
    /// The address for a receipt.
    Receipt,
    /// Somebody else's string.
    Foreign,
}

impl Content {
    /// The name of a credential that is from the credentials directory, or is encrypted.
    pub(super) fn selected(&self) -> Option<&Name> {
        match self {
            Self::Credential { name, origin: Origin::Directory | Origin::Set, .. }
            | Self::Encrypted { name, .. } => Some(name),
            _ => None,
        }
    }
}
