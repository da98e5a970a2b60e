//! Items of QEMU's `fw_cfg` device that carry credentials: what they are named, and what they hold.
//!
//! `opt/io.systemd.credentials/NAME` holds the value of a credential, byte for byte. systemd 251 and newer imports it
//! (`import_credentials_qemu()`, `src/core/import-creds.c`). [`MANIFEST`] holds a manifest, as base64 and without the
//! prefix that an OEM string has. Every other importer ignores it.

use super::credential::{Name, NameError, Secret};
use super::systemd::{FW_CFG_DIRECTORY, TOTAL_MAX};

/// Path of the item that holds a manifest.
pub const MANIFEST: &str = "opt/io.smbios-creds/manifest";

/// Path of the item that holds a signature of the manifest: what an OEM string has after its prefix.
pub const SIGNATURE: &str = "opt/io.smbios-creds/signature";

/// Path of the item that says where the host wants to hear how the import went.
pub const RECEIPT: &str = "opt/io.smbios-creds/receipt";

/// Where the items are that only this program reads.
const OWN_DIRECTORY: &str = "opt/io.smbios-creds/";

/// Path of the item in which QEMU gives the firmware the SMBIOS table (`SMBIOS_TABLES_FILE`, QEMU
/// `include/hw/firmware/smbios.h`). It holds every OEM string.
const SMBIOS_TABLES: &str = "etc/smbios/smbios-tables";

/// Longest path of an item in bytes (`FW_CFG_MAX_FILE_PATH` less a NUL, QEMU `include/hw/nvram/fw_cfg.h`). A longer one
/// ends QEMU.
pub const PATH_MAX: usize = 55;

/// Longest name of a credential in bytes that has an item.
pub const NAME_MAX: usize = PATH_MAX - FW_CFG_DIRECTORY.len();

/// Most bytes of all items that a guest reads: what systemd takes at most in credentials, and room for a manifest.
pub const SIZE_MAX: usize = TOTAL_MAX + 65_536;

/// An item, read from the device or from a recording.
#[derive(Debug)]
pub struct Item {
    /// The number that selects it in the device.
    pub key: u16,
    /// Its path, which QEMU calls its name. What looks like a bad name in it may be a value.
    pub path: Secret,
    /// What it holds.
    pub content: Content,
}

/// What an item holds.
#[derive(Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Secret),
    /// More bytes than a value may have. They were not read.
    TooLarge {
        /// How many.
        size: usize,
    },
}

impl Content {
    /// Number of bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::TooLarge { size } => *size,
        }
    }
}

/// What an item is, by its path.
#[derive(Debug, Eq, PartialEq)]
pub enum Kind {
    /// A credential, or what was meant to be one.
    Credential(Result<Name, NameError>),
    /// A manifest.
    Manifest,
    /// A signature of the manifest.
    Signature,
    /// Where the host wants to hear how the import went.
    Receipt,
}

/// What the item with this path is; `None` if it belongs to the firmware or to another program.
///
/// ```
/// use smbios_creds::format::fw_cfg::{MANIFEST, Kind, kind};
/// assert!(matches!(kind(b"opt/io.systemd.credentials/db"), Some(Kind::Credential(Ok(name))) if name.as_str() == "db"));
/// assert!(matches!(kind(b"opt/io.systemd.credentials/a/b"), Some(Kind::Credential(Err(_)))));
/// assert_eq!(kind(MANIFEST.as_bytes()), Some(Kind::Manifest));
/// assert_eq!(kind(b"etc/smbios/smbios-tables"), None);
/// ```
#[must_use]
pub fn kind(path: &[u8]) -> Option<Kind> {
    for (known, kind) in [(MANIFEST, Kind::Manifest), (SIGNATURE, Kind::Signature), (RECEIPT, Kind::Receipt)]
    {
        if path == known.as_bytes() {
            return Some(kind);
        }
    }
    path.strip_prefix(FW_CFG_DIRECTORY.as_bytes()).map(|name| Kind::Credential(Name::new(name)))
}

/// Whether the item with this path may hold a credential: it is one, it is ours, or it is a copy of the SMBIOS table.
///
/// ```
/// use smbios_creds::format::fw_cfg::holds_secrets;
/// assert!(holds_secrets(b"opt/io.systemd.credentials/db") && holds_secrets(b"etc/smbios/smbios-tables"));
/// assert!(!holds_secrets(b"etc/smbios/smbios-anchor"));
/// ```
#[must_use]
pub fn holds_secrets(path: &[u8]) -> bool {
    [FW_CFG_DIRECTORY, OWN_DIRECTORY].iter().any(|directory| path.starts_with(directory.as_bytes()))
        || path == SMBIOS_TABLES.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_28_characters_have_an_item_and_longer_ones_do_not() {
        assert_eq!(NAME_MAX, 28);
        assert_eq!(MANIFEST.len(), 28);
    }

    #[test]
    fn debug_output_of_an_item_shows_neither_its_path_nor_its_value() {
        let path = [FW_CFG_DIRECTORY, "hunter2\nno name"].concat().into_bytes();
        let content = Content::Bytes(b"hunter3".to_vec().into());
        let shown = format!("{:?}", Item { key: 1, path: path.clone().into(), content });
        let bytes = format!("{path:?}");
        assert!(!shown.contains("hunter") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
    }

    #[test]
    fn path_next_to_ours_is_no_item_of_ours() {
        for path in [
            "",
            "opt/io.systemd.credentials",
            "opt/io.systemd.credential/db",
            "/opt/io.systemd.credentials/db",
            "opt/io.smbios-creds/manifest/",
            "opt/io.smbios-creds/manifest2",
        ] {
            assert_eq!(kind(path.as_bytes()), None, "{path}");
        }
        for name in ["", ".", "..", "a:b", "a\n", "\x1b[31m"] {
            let path = [FW_CFG_DIRECTORY, name].concat();
            assert!(matches!(kind(path.as_bytes()), Some(Kind::Credential(Err(_)))), "{name:?}");
        }
    }
}
