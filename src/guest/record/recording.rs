//! The content of a recording: the files of every source that received something.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::redact::redact_both;
use crate::format::credential::Secret;
use crate::format::fw_cfg::{Content, Item};
use crate::format::smbios::Table;
use crate::guest::source::dmi::{self, ENTRY_POINT, TABLE};
use crate::guest::source::{Input, SourceError, fw_cfg};

/// The files of an SMBIOS table, and items of `fw_cfg`. A recording contains the table, or items, or both.
pub struct Recording {
    /// The table.
    pub table: Option<dmi::Raw>,
    /// The `fw_cfg` items that this program reads. Other items are not recorded, because some contain a copy of the
    /// table.
    pub items: Vec<Item>,
}

impl Recording {
    /// Reads the sources of the running system, or another recording.
    ///
    /// # Errors
    /// Returns the [`SourceError`] of a source that cannot be read, or the error of the table if neither source exists.
    pub fn read(input: Input<'_>) -> Result<Self, SourceError> {
        let items = match fw_cfg::read(input) {
            Err(error) if !error.lets_others_decide() => return Err(error),
            items => items.unwrap_or_default(),
        };
        let table = match dmi::read(input) {
            Err(error) if items.is_empty() || !error.lets_others_decide() => return Err(error),
            table => table.ok(),
        };
        Ok(Self { table, items })
    }

    /// Returns the recording with filler instead of secrets and personal data.
    #[must_use]
    pub fn redacted(self) -> Self {
        let (entry_point, table) = match self.table {
            Some(raw) => (Some(raw.entry_point.clone()), raw.parse()),
            None => (None, Table::parse(b"", Vec::new())),
        };
        let (data, items) = redact_both(&table, &self.items);
        let data = Zeroizing::new(data);
        Self { table: entry_point.map(|entry_point| dmi::Raw { entry_point, data }), items }
    }

    /// Returns the path in the recording and the content of every file. The files of an item have the same paths in the
    /// recording as below `/sys/firmware`.
    pub(super) fn files(&self) -> Vec<(PathBuf, Secret)> {
        let mut files = Vec::new();
        if let Some(dmi::Raw { entry_point, data }) = &self.table {
            files.push((ENTRY_POINT.into(), entry_point.clone().into()));
            files.push((TABLE.into(), data.clone().into()));
        }
        for Item { key, path, content } in &self.items {
            let directory = PathBuf::from(fw_cfg::DIRECTORY).join(key.to_string());
            let line = |text: &[u8]| Secret::from([text, b"\n"].concat());
            files.push((directory.join("name"), line(path.expose())));
            files.push((directory.join("size"), line(content.size().to_string().as_bytes())));
            // An item that is too large was not read, so its content is not recorded. A guest that reads the recording
            // refuses the item because of its size, which the file `size` gives.
            if let Content::Bytes(bytes) = content {
                files.push((directory.join("raw"), bytes.copy()));
            }
        }
        files
    }
}
