//! Where something came from.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// Where a credential came from, or where a finding is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged, from = "Fields")]
#[non_exhaustive]
pub enum Origin {
    /// The SMBIOS table.
    Smbios {
        /// Which Type 11 structure, from 0, as the kernel counts them (`11-0`).
        #[serde(skip_serializing_if = "Option::is_none")]
        structure: Option<usize>,
        /// Which string of it, from 1, as SMBIOS counts them.
        #[serde(skip_serializing_if = "Option::is_none")]
        string: Option<usize>,
        /// Bytes from the beginning of the table.
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<usize>,
    },
    /// A file of its own, for sources that have one for each credential.
    File {
        /// Its path below `/sys/firmware` or in the recording, escaped for printing.
        file: String,
    },
}

/// Every field that an [`Origin`] has in JSON.
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
    /// A byte of the table, in no Type 11 structure.
    #[must_use]
    pub fn offset(offset: usize) -> Self {
        Self::Smbios { structure: None, string: None, offset: Some(offset) }
    }

    /// A Type 11 structure as a whole.
    #[must_use]
    pub fn structure(structure: usize, offset: usize) -> Self {
        Self::Smbios { structure: Some(structure), string: None, offset: Some(offset) }
    }

    /// A string of a Type 11 structure.
    #[must_use]
    pub fn string(structure: usize, string: usize, offset: usize) -> Self {
        Self::Smbios { structure: Some(structure), string: Some(string), offset: Some(offset) }
    }

    /// An item of `fw_cfg`, by the number that selects it.
    #[must_use]
    pub fn fw_cfg(key: u16) -> Self {
        Self::File { file: format!("qemu_fw_cfg/by_key/{key}") }
    }

    /// Whether both came through the same channel.
    #[must_use]
    pub fn is_same_channel(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Smbios { .. }, Self::Smbios { .. }) | (Self::File { .. }, Self::File { .. })
        )
    }

    /// In short, as the SOURCE column has it: `11-0:2`, or a file.
    #[must_use]
    pub fn short(&self) -> String {
        match self {
            Self::Smbios { structure: Some(structure), string: Some(string), .. } => {
                format!("11-{structure}:{string}")
            }
            Self::Smbios { structure: Some(structure), string: None, .. } => format!("11-{structure}"),
            Self::Smbios { structure: None, .. } => "-".to_owned(),
            Self::File { file } => file.clone(),
        }
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
