//! Why OEM strings cannot be merged with a command line.

use crate::format::credential::Name;
use crate::format::smbios::write::WriteError;
use crate::text::escape::{Escaped, ShownPath};

/// Why OEM strings cannot be merged with a command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// An option has no value.
    #[error("{option} is the last argument, and has no value")]
    NoValue {
        /// The option.
        option: &'static str,
    },
    /// Something that looks like an option is where the value of another one belongs.
    #[error(
        "'{}' follows '{}', and it cannot be told whether it is an option or its value; put another option between",
        Escaped(.option), Escaped(.before)
    )]
    Ambiguous {
        /// What it follows.
        before: Vec<u8>,
        /// The option that may be a value.
        option: Vec<u8>,
    },
    /// An option that may be there once is there again.
    #[error("{option} is there twice, and {hypervisor} takes one; make one of them")]
    Twice {
        /// The option.
        option: &'static str,
        /// Who takes one.
        hypervisor: &'static str,
    },
    /// An option's text cannot be read, or not in one way only. It may hold secrets, so it is not shown.
    #[error("cannot merge OEM strings with {option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file that an option names cannot be read.
    #[error("cannot merge OEM strings with {option}: cannot read {file}: {reason}")]
    File {
        /// The option.
        option: &'static str,
        /// The file.
        file: ShownPath,
        /// What the kernel says, or what it is.
        reason: String,
    },
    /// The machine would have no SMBIOS, or the program would start none.
    #[error("{0}")]
    NoSmbios(String),
    /// The hypervisor would log the strings.
    #[error("{option} makes {hypervisor} log its whole configuration, all OEM strings with it; remove it")]
    Logs {
        /// The option.
        option: String,
        /// Who logs.
        hypervisor: &'static str,
    },
    /// The name of a credential cannot pass the hypervisor's command line.
    #[error(
        "credential {name}: its name holds '{character}', which {hypervisor}'s command line cannot carry; send it \
         under another name (--credential GUEST=HOST)"
    )]
    Name {
        /// Its name.
        name: Name,
        /// The character.
        character: char,
        /// Whose command line.
        hypervisor: &'static str,
    },
    /// An item of `fw_cfg` cannot be had for the manifest. Its value may be a secret, so it is not shown.
    #[error("cannot send the -fw_cfg item '{}': {reason}", Escaped(.item))]
    Item {
        /// Its path.
        item: Vec<u8>,
        /// What is wrong, and what to do.
        reason: &'static str,
    },
    /// The name of a credential is too long for an item of `fw_cfg`.
    #[error(
        "credential {name}: its name has {} characters, and fw_cfg, the only channel of this machine, carries {maximum}; \
         send it under a shorter name (--credential GUEST=HOST)",
        .name.as_str().len()
    )]
    ItemName {
        /// Its name.
        name: Name,
        /// Most characters.
        maximum: usize,
    },
    /// An OEM string has no way into the guest.
    #[error(
        "OEM string {string} of the command line is no credential, and this machine has no SMBIOS to carry it; remove it, or \
         use another machine type"
    )]
    NotCarried {
        /// Which of those that were there, from 1.
        string: usize,
    },
    /// An encrypted credential has no way into the guest.
    #[error(
        "credential {0}: it is encrypted, and this machine has no SMBIOS, which is the only channel that carries encrypted \
         ones; use another machine type, or do not select it"
    )]
    EncryptedNotCarried(Name),
    /// A string cannot be in a structure.
    #[error(transparent)]
    Write(#[from] WriteError),
}
