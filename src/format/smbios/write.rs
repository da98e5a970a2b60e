//! Type 11 structures, written as [`super`] reads them.
//!
//! systemd up to 256 reads the first 4096 bytes of a structure and loses the rest without a word
//! (`read_virtual_file()`, `src/core/import-creds.c`). So strings are packed into as many structures as it takes for
//! none to be larger, where a hypervisor lets us build them.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{OEM_STRINGS, OEM_STRINGS_LENGTH};
use crate::format::credential::Secret;
use crate::format::systemd;

/// Largest string area of a structure that systemd 256 and older reads whole: 4096 bytes less the formatted area. The
/// two NUL bytes that end the set belong to it.
pub const STRING_AREA_MAX: usize = systemd::STRUCTURE_MAX - OEM_STRINGS_LENGTH as usize;

/// Most strings in one structure: its count is one byte (DSP0134 §7.12).
pub const STRINGS_MAX: usize = 255;

/// Handle of the first structure we write; the next has the next one.
///
/// Hypervisors and firmware number theirs from the bottom: cloud-hypervisor and crosvm from 0, QEMU by type at 0x100
/// each up to 0x2900, with 0x7F00 for the end (`hw/smbios/smbios.c`), OVMF from the lowest that is free, with 0xFEFF
/// for the end. DSP0134 §6.1.2 reserves those above.
pub const FIRST_HANDLE: u16 = 0x8b00;

/// Handles there are for our structures.
const HANDLES: u16 = 0xfe00 - FIRST_HANDLE;

/// Structure type that readers pass over (DSP0134, "Inactive (Type 126)").
pub const INACTIVE: u8 = 126;

/// Bytes of an inactive structure: type, length and handle, and the two NUL bytes of an empty set of strings.
pub const INACTIVE_SIZE: usize = 6;

/// Why strings cannot be written as structures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A string without a byte would end the set, and with it what follows.
    #[error("OEM string {string} is empty, which would end the set of strings before it")]
    Empty {
        /// Which string, from 1.
        string: usize,
    },
    /// A NUL byte would end the string.
    #[error("OEM string {string} holds a NUL byte at position {position}, which would end it there")]
    Nul {
        /// Which string, from 1.
        string: usize,
        /// Position in the string, from 0.
        position: usize,
    },
    /// More structures than there are handles for.
    #[error("the OEM strings take {structures} structures, at most {HANDLES} can be numbered")]
    TooMany {
        /// Structures it would take.
        structures: usize,
    },
    /// More structures than were asked for.
    #[error("the OEM strings take {structures} structures, and there is room for {count}")]
    TooFew {
        /// Structures it would take.
        structures: usize,
        /// Structures that were asked for.
        count: usize,
    },
}

/// Where one structure ends and the next begins: at most [`STRING_AREA_MAX`] bytes and [`STRINGS_MAX`] strings in
/// each, in order. A string that is larger than that has a structure to itself.
///
/// `sizes` are those of the strings, without the NUL that ends each.
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

/// Bytes of a structure with strings of these sizes, without the NUL that ends each.
#[must_use]
pub fn structure_size(sizes: &[usize]) -> usize {
    let area: usize = sizes.iter().map(|size| size + 1).sum();
    // The second NUL that ends the set; an empty set has both to itself.
    usize::from(OEM_STRINGS_LENGTH) + area + if sizes.is_empty() { 2 } else { 1 }
}

/// Writes strings as Type 11 structures, packed as [`pack`] says, with handles from [`FIRST_HANDLE`] on but for those
/// in `taken`.
///
/// ```
/// use smbios_creds::format::smbios::write::structures;
/// let structures = structures(&[b"a".as_slice(), b"bc"], &[])?;
/// assert_eq!(structures[0].expose(), b"\x0b\x05\x00\x8b\x02a\0bc\0\0");
/// # Ok::<(), smbios_creds::format::smbios::write::WriteError>(())
/// ```
///
/// # Errors
/// [`WriteError`] if a reader would not get the same strings back.
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

/// As [`structures`], in exactly so many: inactive structures follow, with the next handles.
///
/// ```
/// use smbios_creds::format::smbios::write::padded;
/// let structures = padded(&[b"a".as_slice()], 2)?;
/// assert_eq!(structures[1].expose(), b"\x7e\x04\x01\x8b\0\0");
/// # Ok::<(), smbios_creds::format::smbios::write::WriteError>(())
/// ```
///
/// # Errors
/// [`WriteError`] if a reader would not get the same strings back, or they take more structures than that.
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
    // In one allocation: one that grows leaves copies behind.
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
