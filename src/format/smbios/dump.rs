//! A table in one file, as `dmidecode --dump-bin FILE` writes it (`dmidecode.c` of dmidecode 3.0 to 3.6).
//!
//! The file begins with the entry point, padded with zeros to 32 bytes. The table follows. The entry point is changed in
//! one thing: the address of the table is its place in the file, with the checksums to match.

use super::entry_point::{EntryPoint, EntryPointError, SIZE_MAX};

/// Where the table begins in the file.
const TABLE_AT: usize = 32;

/// What `--dump-bin` writes before the table.
const _: () = assert!(TABLE_AT == SIZE_MAX);

/// Why a file is not one of `dmidecode --dump-bin`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// It does not begin with an entry point.
    #[error(transparent)]
    EntryPoint(#[from] EntryPointError),
    /// It ends before the table.
    #[error("it has {found} bytes, but the table begins at byte {TABLE_AT}")]
    Cut {
        /// Bytes in the file.
        found: usize,
    },
    /// The table is in another place, as in an image of a machine's memory.
    #[error("its table is at {address:#x}, not at {TABLE_AT:#x}")]
    Address {
        /// What the entry point says.
        address: u64,
    },
}

/// Where the table begins in the bytes of a file: the entry point is in front of it. What else is wrong with either is
/// found when they are parsed ([`Table::parse`](super::Table::parse)).
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
/// [`DumpError`]: it is a file of another kind, or the table is not in it.
pub fn table_at(file: &[u8]) -> Result<usize, DumpError> {
    let entry_point = file.get(..TABLE_AT).unwrap_or(file);
    match EntryPoint::parse(entry_point) {
        Err(error @ EntryPointError::Anchor) => return Err(error.into()),
        Ok(EntryPoint { address, .. }) if address != TABLE_AT as u64 => {
            return Err(DumpError::Address { address });
        }
        // A damaged entry point is only a finding, because the table may still be intact.
        Ok(_) | Err(_) => {}
    }
    if file.len() > TABLE_AT { Ok(TABLE_AT) } else { Err(DumpError::Cut { found: file.len() }) }
}
