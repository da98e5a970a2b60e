//! Items of QEMU's `fw_cfg` device that contain credentials: their paths and their content.
//!
//! The item `opt/io.systemd.credentials/NAME` contains the value of a credential, byte for byte. systemd 251 and newer
//! imports this item (`import_credentials_qemu()`, `src/core/import-creds.c`). The item [`MANIFEST`] contains a
//! manifest: the same base64 text as the manifest's OEM string, but without the prefix. systemd and other programs
//! ignore the item of the manifest.

use super::credential::{Name, NameError, Secret};
use super::systemd::{FW_CFG_DIRECTORY, TOTAL_MAX};

/// Path of the item that contains a manifest.
pub const MANIFEST: &str = "opt/io.smbios-creds/manifest";

/// Path of the item that contains a signature of the manifest. The item contains the same text as the signature's OEM
/// string, but without the prefix.
pub const SIGNATURE: &str = "opt/io.smbios-creds/signature";

/// Path of the item that contains the address to which the guest sends its receipt.
pub const RECEIPT: &str = "opt/io.smbios-creds/receipt";

/// Start of the paths of items that only this program reads.
const OWN_DIRECTORY: &str = "opt/io.smbios-creds/";

/// Path of the item in which QEMU passes the SMBIOS table to the firmware (`SMBIOS_TABLES_FILE`, QEMU
/// `include/hw/firmware/smbios.h`). The table contains every OEM string.
const SMBIOS_TABLES: &str = "etc/smbios/smbios-tables";

/// Longest path of an item in bytes (`FW_CFG_MAX_FILE_PATH` minus one byte for the NUL, QEMU
/// `include/hw/nvram/fw_cfg.h`). QEMU exits if a path is longer.
pub const PATH_MAX: usize = 55;

/// Length in bytes of the longest credential name that fits into the path of an item.
pub const NAME_MAX: usize = PATH_MAX - FW_CFG_DIRECTORY.len();

/// Maximum number of bytes that a guest reads from all items together: systemd's limit for the values of all
/// credentials, plus 65,536 bytes for a manifest.
pub const SIZE_MAX: usize = TOTAL_MAX + 65_536;

/// An item, read from the `fw_cfg` device or from a recording of this device.
#[derive(Debug)]
pub struct Item {
    /// The number that selects the item in the device.
    pub key: u16,
    /// The item's path. QEMU calls this path the item's name. The path is a [`Secret`], because by mistake it may
    /// contain a value where the credential's name should be.
    pub path: Secret,
    /// The item's content.
    pub content: Content,
}

/// The content of an item.
#[derive(Debug)]
pub enum Content {
    /// The item's bytes.
    Bytes(Secret),
    /// The item is larger than a credential's value may be, so it was not read.
    TooLarge {
        /// Size of the item in bytes.
        size: usize,
    },
}

impl Content {
    /// Returns the size of the item in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::TooLarge { size } => *size,
        }
    }
}

/// The kind of an item. The path of the item determines its kind.
#[derive(Debug, Eq, PartialEq)]
pub enum Kind {
    /// A credential: its name, or why the name is not allowed.
    Credential(Result<Name, NameError>),
    /// A manifest.
    Manifest,
    /// A signature of the manifest.
    Signature,
    /// The address to which the guest sends its receipt.
    Receipt,
}

/// Returns the kind of the item with this path. Returns `None` if the item belongs to the firmware or to another
/// program.
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

/// Whether the item with this path may contain the value of a credential. Values may be in the items of credentials, in
/// the items of this program, and in QEMU's copy of the SMBIOS table.
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
