//! Finds the SMBIOS table in a file that `dmidecode --dump-bin FILE` wrote (`dmidecode.c` of dmidecode 3.0 to 3.6).
//!
//! The file begins with the entry point, padded with zeros to 32 bytes. The table follows the entry point. dmidecode
//! changes one field of the entry point: the address of the table becomes the table's position in the file. dmidecode
//! also corrects the checksums of the entry point.

use super::entry_point::{EntryPoint, EntryPointError, SIZE_MAX};

/// Position of the table in the file, in bytes from the start of the file.
const TABLE_AT: usize = 32;

/// The entry point, padded to its largest size, fills the file up to the table.
const _: () = assert!(TABLE_AT == SIZE_MAX);

/// Why a file is not a file that `dmidecode --dump-bin` wrote.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The file does not begin with an entry point.
    #[error(transparent)]
    EntryPoint(#[from] EntryPointError),
    /// The file ends before the table begins.
    #[error("it has {found} bytes, but the table begins at byte {TABLE_AT}")]
    Cut {
        /// Number of bytes in the file.
        found: usize,
    },
    /// According to the entry point, the table does not begin at byte 32 of the file. For example, the file may be a
    /// copy of a machine's memory.
    #[error("its entry point says that the table is at {address:#x}, not at {TABLE_AT:#x}")]
    Address {
        /// Address of the table according to the entry point.
        address: u64,
    },
}

/// Returns the position of the table in `file`, in bytes. The bytes before this position are the entry point.
/// [`Table::parse`](super::Table::parse) finds other errors of the entry point and of the table.
///
/// ```
/// use smbios_creds::format::smbios::dump::table_at;
/// use smbios_creds::format::smbios::entry_point::write;
/// let file = [&write(6, 32)[..], &[0; 8], &[127, 4, 0, 0, 0, 0]].concat();
/// assert_eq!(&file[table_at(&file)?..], [127, 4, 0, 0, 0, 0]);
/// # Ok::<(), smbios_creds::format::smbios::dump::DumpError>(())
/// ```
///
/// # Errors
/// [`DumpError`] if `dmidecode --dump-bin` did not write this file, or if the file ends before the table.
pub fn table_at(file: &[u8]) -> Result<usize, DumpError> {
    let entry_point = file.get(..TABLE_AT).unwrap_or(file);
    match EntryPoint::parse(entry_point) {
        Err(error @ EntryPointError::Anchor) => return Err(error.into()),
        Ok(EntryPoint { address, .. }) if address != TABLE_AT as u64 => {
            return Err(DumpError::Address { address });
        }
        // This function accepts a damaged entry point, because the table may be intact. `Table::parse` reports the
        // damage to the entry point.
        Ok(_) | Err(_) => {}
    }
    if file.len() > TABLE_AT { Ok(TABLE_AT) } else { Err(DumpError::Cut { found: file.len() }) }
}
