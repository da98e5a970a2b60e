//! Why OEM strings cannot be merged with a command line.

use std::borrow::Cow;

use crate::format::credential::Name;
use crate::format::smbios::write::WriteError;
use crate::text::escape::{Escaped, ShownPath};
use crate::text::help::{Help, Message};

/// Why OEM strings cannot be merged with a command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// An option that needs a value has none.
    #[error("{option} is the last argument, but needs a value")]
    NoValue {
        /// The option that has no value.
        option: &'static str,
    },
    /// An argument that looks like an option follows an option that needs a value.
    #[error(
        "'{}' follows '{}', and may be an option or the value of an option",
        Escaped(.option), Escaped(.before)
    )]
    Ambiguous {
        /// The option that needs a value.
        before: Vec<u8>,
        /// The argument after this option, which may be its value or another option.
        option: Vec<u8>,
    },
    /// An option that may occur only once occurs twice.
    #[error("{option} is given twice, but {hypervisor} accepts only one")]
    Twice {
        /// The option that occurs twice.
        option: &'static str,
        /// The hypervisor's name.
        hypervisor: &'static str,
    },
    /// An option's text cannot be read, or can be read in several ways. The text may contain secrets, so it is not
    /// shown.
    #[error("cannot merge OEM strings with {option}: {reason}")]
    Option {
        /// The option that cannot be read.
        option: &'static str,
        /// What is wrong with the option's text.
        reason: &'static str,
        /// What the user can do about the error.
        help: Option<&'static str>,
    },
    /// A file that an option names cannot be read.
    #[error("cannot merge OEM strings with {option}: cannot read {file}: {reason}")]
    File {
        /// The option that names the file.
        option: &'static str,
        /// The file that cannot be read.
        file: ShownPath,
        /// The kernel's error, or what is wrong with the file.
        reason: String,
    },
    /// The machine would have no SMBIOS, or the hypervisor would start no machine with these arguments.
    #[error("{0}")]
    NoSmbios(Message),
    /// The hypervisor would log the strings.
    #[error("{option} makes {hypervisor} log its whole configuration, including all OEM strings")]
    Logs {
        /// The option that makes the hypervisor log its configuration.
        option: String,
        /// The hypervisor's name.
        hypervisor: &'static str,
    },
    /// The hypervisor's command line does not support the name of a credential.
    #[error(
        "credential {name}: its name contains '{character}', which {hypervisor}'s command line cannot carry"
    )]
    Name {
        /// The credential's name.
        name: Name,
        /// The character that is not supported.
        character: char,
        /// The hypervisor's name.
        hypervisor: &'static str,
    },
    /// The manifest cannot list an item of `fw_cfg`. The item's value may be a secret, so it is not shown.
    #[error("cannot send the -fw_cfg item '{}': {reason}", Escaped(.item))]
    Item {
        /// The item's path.
        item: Vec<u8>,
        /// What is wrong with the item.
        reason: &'static str,
        /// What the user can do about the error.
        help: Option<&'static str>,
    },
    /// The name of a credential is too long for an item of `fw_cfg`.
    #[error(
        "credential {name}: its name has {} characters, but fw_cfg, the only channel of this machine, carries at \
         most {maximum}",
        .name.as_str().len()
    )]
    ItemName {
        /// The credential's name.
        name: Name,
        /// Maximum length of the name in characters.
        maximum: usize,
    },
    /// No channel of this machine can send an OEM string to the guest.
    #[error(
        "OEM string {string} of the command line is not a credential, and this machine has no SMBIOS to carry it"
    )]
    NotCarried {
        /// Number of the string on the command line, from 1.
        string: usize,
    },
    /// No channel of this machine can send an encrypted credential to the guest.
    #[error(
        "credential {0}: it is encrypted, but this machine has no SMBIOS, the only channel that carries encrypted \
         credentials"
    )]
    EncryptedNotCarried(Name),
    /// A string cannot be in a Type 11 structure.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl MergeError {
    /// Returns the error that the machine would have no SMBIOS. `what` is the reason, and `help` is what to do.
    pub(super) fn no_smbios(what: impl Into<String>, help: &'static str) -> Self {
        Self::NoSmbios(Message::new(what).with_help(help))
    }
}

impl Help for MergeError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::NoValue { .. } => "add a value",
            Self::Ambiguous { .. } => "put another option between them",
            Self::Twice { .. } => "merge both into one",
            Self::Option { help, .. } | Self::Item { help, .. } => return help.map(Cow::Borrowed),
            Self::NoSmbios(message) => return message.help(),
            Self::Logs { .. } => "remove it",
            Self::Name { .. } => "send it under another name (--credential GUEST=HOST)",
            Self::ItemName { .. } => "send it under a shorter name (--credential GUEST=HOST)",
            Self::NotCarried { .. } => "remove it, or use another machine type",
            Self::EncryptedNotCarried(_) => "use another machine type, or do not select it",
            Self::Write(error) => return error.help(),
            Self::File { .. } => return None,
        }))
    }
}
