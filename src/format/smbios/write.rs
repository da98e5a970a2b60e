//! Writes Type 11 structures in the form that [`Table::parse`](super::Table::parse) reads.
//!
//! systemd 256 and older reads only the first 4096 bytes of a structure and loses the rest without an error
//! (`read_virtual_file()`, `src/core/import-creds.c`). If the hypervisor accepts whole Type 11 structures, and not only
//! single strings, this program therefore divides the strings into several structures of at most 4096 bytes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::{OEM_STRINGS, OEM_STRINGS_LENGTH};
use crate::format::credential::Secret;
use crate::format::systemd;
use crate::text::help::Help;

/// Size in bytes of the largest string area in a structure that systemd 256 and older reads completely: 4096 bytes
/// minus the formatted area. The string area includes the two NUL bytes that end the string set.
pub const STRING_AREA_MAX: usize = systemd::STRUCTURE_MAX - OEM_STRINGS_LENGTH as usize;

/// Maximum number of strings in one structure: the largest number that fits into the structure's count byte (DSP0134
/// §7.12).
pub const STRINGS_MAX: usize = 255;

/// Handle of the first structure that this program writes. Each further structure gets the next free handle.
///
/// Hypervisors and firmware use low handles, except for some end-of-table structures. cloud-hypervisor and crosvm
/// assign handles from 0 up. QEMU assigns handles by structure type, in steps of 0x100 up to 0x2900. QEMU's
/// end-of-table structure (Type 127) gets the handle 0x7F00 (`hw/smbios/smbios.c`). OVMF gives each structure the
/// lowest free handle. OVMF's end-of-table structure gets the handle 0xFEFF. DSP0134 §6.1.2 reserves the handles above
/// 0xFEFF.
pub const FIRST_HANDLE: u16 = 0x8b00;

/// Number of handles that this program can assign to its structures: the handles from [`FIRST_HANDLE`] to 0xFDFF.
const HANDLES: u16 = 0xfe00 - FIRST_HANDLE;

/// Structure type that readers ignore (DSP0134, "Inactive (Type 126)").
pub const INACTIVE: u8 = 126;

/// Size in bytes of an inactive structure: type, length, handle, and the two NUL bytes of an empty string set.
pub const INACTIVE_SIZE: usize = 6;

/// Why strings cannot be written as structures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A string is empty. An empty string would end the string set, so readers would not see the strings after the
    /// empty string.
    #[error("OEM string {string} is empty, which would end the list of strings")]
    Empty {
        /// Number of the string, counted from 1.
        string: usize,
    },
    /// A string contains a NUL byte, which would end the string at this position.
    #[error("OEM string {string} contains a NUL byte at position {position}, which would end the string")]
    Nul {
        /// Number of the string, counted from 1.
        string: usize,
        /// Position of the NUL byte in the string, from 0.
        position: usize,
    },
    /// The strings need more structures than there are free handles.
    #[error("the OEM strings need {structures} structures, but at most {HANDLES} can be numbered")]
    TooMany {
        /// Number of structures that the strings need.
        structures: usize,
    },
    /// The strings need more structures than the caller requested.
    #[error("the OEM strings need {structures} structures, but only {count} are available")]
    TooFew {
        /// Number of structures that the strings need.
        structures: usize,
        /// Number of structures that the caller requested.
        count: usize,
    },
}

/// Divides strings into structures. Returns one range of string indexes for each structure, in order. A structure gets
/// at most [`STRING_AREA_MAX`] bytes and [`STRINGS_MAX`] strings. A string that is by itself too large for
/// [`STRING_AREA_MAX`] gets a larger structure of its own.
///
/// `sizes` are the sizes of the strings in bytes, without the NUL byte that ends each string.
#[must_use]
pub fn pack(sizes: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut area = 0;
    for (index, size) in sizes.iter().enumerate() {
        match ranges.last_mut() {
            Some(range) if range.len() < STRINGS_MAX && area + size + 1 < STRING_AREA_MAX => {
                range.end = index + 1;
                area += size + 1;
            }
            _ => {
                ranges.push(index..index + 1);
                area = size + 1;
            }
        }
    }
    ranges
}

/// Returns the size in bytes of a structure with strings of these sizes. The sizes do not include the NUL byte that
/// ends each string.
#[must_use]
pub fn structure_size(sizes: &[usize]) -> usize {
    let area: usize = sizes.iter().map(|size| size + 1).sum();
    // One more NUL byte ends the string set. An empty string set consists of two NUL bytes.
    usize::from(OEM_STRINGS_LENGTH) + area + if sizes.is_empty() { 2 } else { 1 }
}

/// Writes strings as Type 11 structures, divided by [`pack`]. The handles of the structures start at [`FIRST_HANDLE`].
/// Handles in `taken` belong to other structures, so this function skips these handles.
///
/// ```
/// use smbios_creds::format::smbios::write::structures;
/// let structures = structures(&[b"a".as_slice(), b"bc"], &[])?;
/// assert_eq!(structures[0].expose(), b"\x0b\x05\x00\x8b\x02a\0bc\0\0");
/// # Ok::<(), smbios_creds::format::smbios::write::WriteError>(())
/// ```
///
/// # Errors
/// [`WriteError`] if a string is empty or contains a NUL byte, or if there are too few free handles.
pub fn structures(strings: &[&[u8]], taken: &[u16]) -> Result<Vec<Secret>, WriteError> {
    for (index, string) in strings.iter().enumerate() {
        if string.is_empty() {
            return Err(WriteError::Empty { string: index + 1 });
        }
        if let Some(position) = string.iter().position(|&byte| byte == 0) {
            return Err(WriteError::Nul { string: index + 1, position });
        }
    }
    let sizes: Vec<usize> = strings.iter().map(|string| string.len()).collect();
    let ranges = pack(&sizes);
    let taken: BTreeSet<&u16> = taken.iter().collect();
    let mut handles = (FIRST_HANDLE..FIRST_HANDLE + HANDLES).filter(|handle| !taken.contains(handle));
    let mut structures = Vec::with_capacity(ranges.len());
    for range in &ranges {
        let handle = handles.next().ok_or(WriteError::TooMany { structures: ranges.len() })?;
        structures.push(structure(handle, strings.get(range.clone()).unwrap_or_default()));
    }
    Ok(structures)
}

/// Writes exactly `count` structures: the Type 11 structures that [`structures`] returns, and after them inactive
/// structures with the next handles.
///
/// ```
/// use smbios_creds::format::smbios::write::padded;
/// let structures = padded(&[b"a".as_slice()], 2)?;
/// assert_eq!(structures[1].expose(), b"\x7e\x04\x01\x8b\0\0");
/// # Ok::<(), smbios_creds::format::smbios::write::WriteError>(())
/// ```
///
/// # Errors
/// [`WriteError`] for the same reasons as in [`structures`], or if the strings need more than `count` structures.
pub fn padded(strings: &[&[u8]], count: usize) -> Result<Vec<Secret>, WriteError> {
    let mut structures = structures(strings, &[])?;
    if structures.len() > count {
        return Err(WriteError::TooFew { structures: structures.len(), count });
    }
    let handles = (FIRST_HANDLE..FIRST_HANDLE + HANDLES).skip(structures.len());
    structures.extend(handles.take(count - structures.len()).map(inactive));
    if structures.len() < count {
        return Err(WriteError::TooMany { structures: count });
    }
    Ok(structures)
}

fn inactive(handle: u16) -> Secret {
    let [low, high] = handle.to_le_bytes();
    let bytes: [u8; INACTIVE_SIZE] = [INACTIVE, 4, low, high, 0, 0];
    bytes.to_vec().into()
}

/// Writes one structure of at most [`STRINGS_MAX`] strings.
fn structure(handle: u16, strings: &[&[u8]]) -> Secret {
    let sizes: Vec<usize> = strings.iter().map(|string| string.len()).collect();
    // The vector is large enough for the whole structure from the start. A vector that grows leaves copies of the
    // strings in freed memory.
    let mut bytes = Vec::with_capacity(structure_size(&sizes));
    let count = u8::try_from(strings.len()).unwrap_or(u8::MAX);
    bytes.extend_from_slice(&[OEM_STRINGS, OEM_STRINGS_LENGTH]);
    bytes.extend_from_slice(&handle.to_le_bytes());
    bytes.push(count);
    for string in strings {
        bytes.extend_from_slice(string);
        bytes.push(0);
    }
    bytes.push(0);
    bytes.into()
}

impl Help for WriteError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Empty { .. } => "remove the string",
            Self::Nul { .. } => "send the value in the binary form",
            Self::TooMany { .. } | Self::TooFew { .. } => "send fewer credentials",
        }))
    }
}
