//! Where a credential came from: a place in the SMBIOS table, or a file.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// Where a credential came from, or what a finding is about: a place in the SMBIOS table, or a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged, from = "Fields")]
#[non_exhaustive]
pub enum Origin {
    /// A place in the SMBIOS table.
    Smbios {
        /// Index of the Type 11 structure, from 0, as the kernel counts (`11-0`).
        #[serde(skip_serializing_if = "Option::is_none")]
        structure: Option<usize>,
        /// Number of the string in the structure, from 1, as SMBIOS counts.
        #[serde(skip_serializing_if = "Option::is_none")]
        string: Option<usize>,
        /// Offset in bytes from the beginning of the table.
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<usize>,
    },
    /// A separate file, for sources that have one file for each credential.
    File {
        /// Path of the file below `/sys/firmware` or in the recorded directory, escaped for printing.
        file: String,
    },
}

/// All fields that an [`Origin`] can have in JSON.
#[derive(Deserialize)]
pub(in crate::guest) struct Fields {
    structure: Option<usize>,
    string: Option<usize>,
    offset: Option<usize>,
    file: Option<String>,
}

impl From<Fields> for Origin {
    fn from(Fields { structure, string, offset, file }: Fields) -> Self {
        match file {
            Some(file) => Self::File { file },
            None => Self::Smbios { structure, string, offset },
        }
    }
}

impl Origin {
    /// Returns the place of a byte in the table that is outside every Type 11 structure.
    #[must_use]
    pub fn offset(offset: usize) -> Self {
        Self::Smbios { structure: None, string: None, offset: Some(offset) }
    }

    /// Returns the place of a whole Type 11 structure.
    #[must_use]
    pub fn structure(structure: usize, offset: usize) -> Self {
        Self::Smbios { structure: Some(structure), string: None, offset: Some(offset) }
    }

    /// Returns the place of a string in a Type 11 structure.
    #[must_use]
    pub fn string(structure: usize, string: usize, offset: usize) -> Self {
        Self::Smbios { structure: Some(structure), string: Some(string), offset: Some(offset) }
    }

    /// Returns the place of the `fw_cfg` item with this key.
    #[must_use]
    pub fn fw_cfg(key: u16) -> Self {
        Self::File { file: format!("qemu_fw_cfg/by_key/{key}") }
    }

    /// Whether both places belong to the same channel: both to the SMBIOS table, or both to files.
    #[must_use]
    pub fn is_same_channel(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Smbios { .. }, Self::Smbios { .. }) | (Self::File { .. }, Self::File { .. })
        )
    }

    /// Returns the short form for the SOURCE column, for example `11-0:2` or the path of a file.
    #[must_use]
    pub fn short(&self) -> impl Display {
        fmt::from_fn(move |f| match self {
            Self::Smbios { structure: Some(structure), string: Some(string), .. } => {
                // itoa writes numbers in fewer steps than `write!`.
                f.write_str("11-")?;
                f.write_str(itoa::Buffer::new().format(*structure))?;
                f.write_str(":")?;
                f.write_str(itoa::Buffer::new().format(*string))
            }
            Self::Smbios { structure: Some(structure), string: None, .. } => write!(f, "11-{structure}"),
            Self::Smbios { structure: None, .. } => f.write_str("-"),
            Self::File { file } => f.write_str(file),
        })
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (structure, string, offset) = match self {
            Self::Smbios { structure, string, offset } => (structure, string, offset),
            Self::File { file } => return f.write_str(file),
        };
        let mut separator = "";
        let mut part = |f: &mut Formatter<'_>, text: fmt::Arguments<'_>| {
            let result = write!(f, "{separator}{text}");
            separator = ", ";
            result
        };
        if let Some(structure) = structure {
            part(f, format_args!("structure 11-{structure}"))?;
        }
        if let Some(string) = string {
            part(f, format_args!("string {string}"))?;
        }
        if let Some(offset) = offset {
            part(f, format_args!("offset {offset}"))?;
        }
        Ok(())
    }
}
